//! Inverted lists: what they promise beside recall, which has its own tests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::time::{Duration, Instant};

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::{
    IndexConfig, IndexKind, MAX_LISTS, OpenError, RestartState, SearchError, SearchRequest,
    Strategy, VectorIndex,
};
use kit::{Model, Random, config, fill, hyperboloid, metric_spaces, space};

fn ivf(space: &Space, precision: Precision) -> IndexConfig {
    let kind = IndexKind::Ivf { nlist: None, nprobe: Some(2) };
    IndexConfig { kind, ..config(space, precision) }
}

fn filled(config: IndexConfig, rows: usize) -> (VectorIndex, Model, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (space, precision) = (config.space.clone(), config.precision);
    let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
    let mut model = Model::default();
    fill(&index, &mut model, &space, precision, &mut Random(5), 1, rows);
    index.flush().unwrap();
    (index, model, dir)
}

fn keys(answer: &hvs_index::SearchAnswer) -> Vec<u64> {
    answer.hits.iter().map(|hit| hit.key).collect()
}

#[test]
fn more_lists_find_more_and_all_of_them_everything() {
    for space in metric_spaces() {
        for precision in [Precision::F32, Precision::F64] {
            let (index, model, _dir) = filled(ivf(&space, precision), 3_000);
            let mut random = Random(9);
            let (mut few, mut more) = (0, 0);
            for _ in 0..20 {
                let query = space.from_storage(&random.stored(&space, 4.0));
                let truth: Vec<u64> =
                    model.nearest(&space, &query, 10).iter().map(|(key, _)| *key).collect();
                let search = |nprobe| {
                    let request = SearchRequest { nprobe, ..SearchRequest::nearest(&query, 10) };
                    index.search(&request).unwrap()
                };
                let (short, long, all) = (search(None), search(Some(12)), search(Some(MAX_LISTS)));
                assert_eq!((short.exact, short.strategy), (false, Strategy::Lists));
                assert!(short.scanned < long.scanned && long.scanned < 3_000);
                assert_eq!(short.hits.len(), 10);
                few += keys(&short).iter().filter(|key| truth.contains(key)).count();
                more += keys(&long).iter().filter(|key| truth.contains(key)).count();
                assert_eq!((keys(&all), all.exact), (truth, true), "{space}");
            }
            assert!(few <= more);
        }
    }
}

#[test]
fn a_filter_never_gets_fewer_than_there_are() {
    let space = hyperboloid(8);
    let (index, model, _dir) = filled(ivf(&space, Precision::F32), 4_000);
    for key in (1..=4_000).filter(|key| key % 3 == 0) {
        index.remove(key);
    }
    let mut random = Random(9);
    for modulus in [2, 100, 1_999, 5_000] {
        let passes = |key: u64| !key.is_multiple_of(3) && key % modulus == 1;
        let accept = |id: &str| passes(id["id-".len()..].parse().unwrap());
        let matching = (1..=4_000).filter(|&key| passes(key)).count();
        for k in [1, 10, 100, 3_000] {
            let query = space.from_storage(&model.rows[random.below(4_000)].2);
            let request =
                SearchRequest { accept: Some(&accept), ..SearchRequest::nearest(&query, k) };
            let answer = index.search(&request).unwrap();
            assert_eq!(answer.hits.len(), k.min(matching), "1 in {modulus}, k {k}");
            assert!(answer.hits.iter().all(|hit| passes(hit.key)));
            if matching < k {
                assert!(answer.exact, "everything was looked at");
            }
        }
    }
}

#[test]
fn a_radius_finds_all_that_lies_within() {
    for space in metric_spaces() {
        let (index, model, _dir) = filled(ivf(&space, Precision::F32), 3_000);
        let mut random = Random(9);
        for _ in 0..10 {
            let query = space.from_storage(&random.stored(&space, 4.0));
            let all = model.nearest(&space, &query, 60);
            let answer = index.search(&SearchRequest::within(&query, all[59].1)).unwrap();
            assert_eq!(keys(&answer), all.iter().map(|(key, _)| *key).collect::<Vec<_>>());
            assert!(answer.exact, "{space}: lists are left out only if nothing of them is within");
        }
    }
}

#[test]
fn figures_out_of_range_are_refused() {
    let space = hyperboloid(4);
    let open = |nlist, nprobe| {
        let dir = tempfile::tempdir().unwrap();
        let config = IndexConfig {
            kind: IndexKind::Ivf { nlist, nprobe },
            ..config(&space, Precision::F32)
        };
        VectorIndex::open(dir.path(), config, RestartState::default()).map(|_| ())
    };
    for good in [None, Some(1), Some(MAX_LISTS)] {
        open(good, good).unwrap();
    }
    for bad in [Some(0), Some(MAX_LISTS + 1)] {
        assert!(matches!(open(bad, None), Err(OpenError::Config { .. })));
        assert!(matches!(open(None, bad), Err(OpenError::Config { .. })));
    }
    let (index, model, _dir) = filled(ivf(&space, Precision::F32), 600);
    let query = space.from_storage(&model.rows[0].2);
    for nprobe in [0, MAX_LISTS + 1] {
        let request = SearchRequest { nprobe: Some(nprobe), ..SearchRequest::nearest(&query, 1) };
        let error = index.search(&request).unwrap_err();
        assert_eq!(error, SearchError::Nprobe { nprobe, limit: MAX_LISTS });
    }
    let past = Instant::now().checked_sub(Duration::from_secs(1));
    let request = SearchRequest { deadline: past, ..SearchRequest::nearest(&query, 1) };
    assert!(matches!(index.search(&request), Err(SearchError::Deadline { .. })));
}

#[test]
fn a_restart_finds_the_same_and_a_changed_byte_is_noticed() {
    let space = hyperboloid(6);
    let config = ivf(&space, Precision::F32);
    let (index, model, dir) = filled(config.clone(), 1_500);
    let query = space.from_storage(&model.rows[5].2);
    let before = index.search(&SearchRequest::nearest(&query, 20)).unwrap();
    drop(index);
    let reopen = || VectorIndex::open(dir.path(), config.clone(), RestartState::default());
    let index = reopen().unwrap();
    let after = index.search(&SearchRequest::nearest(&query, 20)).unwrap();
    assert_eq!((before.hits, after.strategy), (after.hits, Strategy::Lists));
    drop(index);
    let file = dir.path().join("segment-1.graph");
    let good = std::fs::read(&file).unwrap();
    let mut random = Random(4);
    for _ in 0..200 {
        let mut bad = good.clone();
        bad[random.below(good.len())] ^= 1 << random.below(8);
        std::fs::write(&file, &bad).unwrap();
        let error = reopen().unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Format { .. }), "{error}");
    }
}

#[test]
fn a_space_without_a_metric_is_scanned() {
    let space = space(Geometry::Lorentzian, 4, 1.0);
    let (index, model, _dir) = filled(ivf(&space, Precision::F64), 1_000);
    let query = space.from_storage(&model.rows[0].2);
    let answer = index.search(&SearchRequest::nearest(&query, 5)).unwrap();
    assert_eq!((answer.exact, answer.strategy, answer.scanned), (true, Strategy::Scan, 1_000));
}
