//! A geometric index gives the ids that a scan gives, and looks at less.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use hvs_geometry::{
    Geometry, Precision, Space,
    hierarchy::{EmbedOptions, HierarchyBuilder, embed},
};
use hvs_index::{
    IndexConfig, IndexKind, OpenError, RestartState, SearchAnswer, SearchError, SearchRequest,
    Strategy, VectorIndex,
};
use kit::{Model, Random, config, fill, flat, hyperboloid, metric_spaces, rounded, space};

fn geometric(space: &Space, precision: Precision) -> IndexConfig {
    IndexConfig { kind: IndexKind::Geometric, ..config(space, precision) }
}

fn open(config: IndexConfig) -> (VectorIndex, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
    (index, dir)
}

fn hits(answer: &SearchAnswer) -> Vec<(u64, String, u64)> {
    answer.hits.iter().map(|hit| (hit.key, hit.id.clone(), hit.distance.to_bits())).collect()
}

/// The same rows in a geometric and in a flat index.
struct Pair {
    geometric: VectorIndex,
    flat: VectorIndex,
    _folders: [tempfile::TempDir; 2],
}

impl Pair {
    fn open(space: &Space, precision: Precision) -> Self {
        let (geometric, one) = open(geometric(space, precision));
        let (flat, other) = open(flat(space, precision));
        Self { geometric, flat, _folders: [one, other] }
    }

    fn each(&self, mut act: impl FnMut(&VectorIndex)) {
        act(&self.geometric);
        act(&self.flat);
    }

    /// Answers both and holds them against each other; the distances that each computed.
    fn same(&self, request: &SearchRequest<'_>, what: &str) -> (usize, usize) {
        let bounded = self.geometric.search(request).unwrap();
        let scanned = self.flat.search(request).unwrap();
        assert_eq!(hits(&bounded), hits(&scanned), "{what}: {request:?}");
        assert!(bounded.exact, "{what}");
        assert_eq!(bounded.truncated, scanned.truncated, "{what}");
        assert_eq!(bounded.strategy, Strategy::Bounds);
        (bounded.scanned, scanned.scanned)
    }
}

#[test]
fn ids_are_those_of_a_scan_in_every_space() {
    for space in metric_spaces() {
        for precision in [Precision::F32, Precision::F64] {
            let pair = Pair::open(&space, precision);
            let (mut model, mut random) = (Model::default(), Random(41));
            pair.each(|index| {
                (model, random) = (Model::default(), Random(41));
                fill(index, &mut model, &space, precision, &mut random, 1, 3_000);
                index.flush().unwrap();
                // Some dead, some in the tail, some replaced and some twice in the same place.
                for key in (1..=3_000).filter(|key| key % 10 == 0) {
                    assert!(index.remove(key));
                }
                fill(index, &mut model, &space, precision, &mut random, 3_001, 100);
                for key in 3_101..3_150 {
                    index.insert(key, &format!("id-{}", key - 3_000), &model.rows[7].2).unwrap();
                }
            });
            let accept = |id: &str| id.ends_with('3') || id.ends_with('7');
            let none = |_: &str| false;
            for round in 0..30 {
                let row = &model.rows[random.below(model.rows.len())].2;
                let query = match round % 3 {
                    0 => space.from_storage(row),
                    1 => kit::moved(&space, row, 0.3, &mut random),
                    _ => space.from_storage(&random.stored(&space, 4.0)),
                };
                let what = format!("{space} {precision}");
                for k in [1, 10, 200] {
                    let request = SearchRequest::nearest(&query, k);
                    pair.same(&request, &what);
                    pair.same(&SearchRequest { accept: Some(&accept), ..request }, &what);
                    pair.same(&SearchRequest { accept: Some(&none), ..request }, &what);
                    pair.same(&SearchRequest { radius: Some(1.5), ..request }, &what);
                    pair.same(&SearchRequest { with_vectors: true, ..request }, &what);
                }
                let nearest = model.nearest(&space, &query, 50);
                for radius in [0.0, nearest[0].1, nearest[49].1, f64::INFINITY] {
                    let request = SearchRequest::within(&query, radius);
                    pair.same(&request, &what);
                    pair.same(&SearchRequest { accept: Some(&accept), ..request }, &what);
                }
            }
        }
    }
}

/// Rows that are replaced while no one has removed them yet take the places of others.
#[test]
fn the_newest_of_rows_with_one_id_is_found_and_none_is_missing() {
    let space = hyperboloid(4);
    let pair = Pair::open(&space, Precision::F32);
    pair.each(|index| {
        let mut random = Random(3);
        for key in 1..=2_000_u64 {
            let stored = rounded(&random.stored(&space, 3.0), Precision::F32);
            index.insert(key, &format!("id-{}", key % 40), &stored).unwrap();
        }
        index.flush().unwrap();
    });
    let mut random = Random(4);
    for _ in 0..20 {
        let query = space.from_storage(&random.stored(&space, 3.0));
        for k in [1, 10, 40] {
            let answer = pair.geometric.search(&SearchRequest::nearest(&query, k)).unwrap();
            let ids: HashSet<&str> = answer.hits.iter().map(|hit| hit.id.as_str()).collect();
            assert_eq!(ids.len(), k, "as many as there are ids, each once");
        }
    }
}

#[test]
fn limits_on_hits_are_kept_and_told() {
    let space = hyperboloid(4);
    let (index, _dir) = open(IndexConfig { max_hits: 100, ..geometric(&space, Precision::F32) });
    let (mut model, mut random) = (Model::default(), Random(2));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 600);
    index.flush().unwrap();
    let query = space.from_storage(&model.rows[0].2);
    let all = index.search(&SearchRequest::within(&query, f64::INFINITY)).unwrap();
    assert!(all.truncated);
    let truth = model.nearest(&space, &query, 101);
    assert!(all.hits.iter().map(|hit| hit.key).eq(truth[..100].iter().map(|t| t.0)));
    let exactly = index.search(&SearchRequest::within(&query, truth[99].1)).unwrap();
    assert_eq!((exactly.hits.len(), exactly.truncated), (100, false));
}

/// Bounds between points far out are worth nothing if rounding is not kept out of them.
#[test]
fn ids_are_those_of_a_scan_at_the_edge_of_the_precision() {
    for (geometry, precision, out) in [
        (Geometry::Hyperboloid, Precision::F32, 15.0),
        (Geometry::Hyperboloid, Precision::F64, 34.0),
        (Geometry::Poincare, Precision::F32, 14.0),
        (Geometry::Poincare, Precision::F64, 33.0),
        (Geometry::Klein, Precision::F64, 15.0),
    ] {
        let space = space(geometry, 3, -1.0);
        let pair = Pair::open(&space, precision);
        let mut rows = Vec::new();
        pair.each(|index| {
            let mut random = Random(8);
            rows.clear();
            while rows.len() < 2_000 {
                let stored = rounded(&random.stored(&space, out), precision);
                let key = rows.len() as u64 + 1;
                if index.insert(key, &format!("id-{key}"), &stored).is_ok() {
                    rows.push(stored);
                }
            }
            index.flush().unwrap();
        });
        for row in rows.iter().step_by(40) {
            let query = space.from_storage(row);
            for k in [1, 10] {
                pair.same(&SearchRequest::nearest(&query, k), &format!("{space} {precision}"));
            }
        }
    }
}

/// A hierarchy, as its nodes' points.
fn hierarchy(nodes: usize, dimension: usize) -> Vec<Vec<f64>> {
    let (mut builder, mut random) = (HierarchyBuilder::new(), Random(12));
    builder.node("0");
    for node in 1..nodes {
        // Chosen among few, so that there are many small families and some large ones.
        let parent = random.below(node.min(1 + node / 3));
        builder.edge(&node.to_string(), &parent.to_string());
    }
    let mut options = EmbedOptions::new(dimension);
    options.precision = Precision::F32;
    let embedding = embed(&builder.build().unwrap(), &options).unwrap();
    embedding.points.chunks_exact(dimension).map(<[f64]>::to_vec).collect()
}

#[test]
fn a_hierarchy_is_searched_with_a_fifth_of_the_distances() {
    let space = hyperboloid(10);
    let points = hierarchy(20_000, 10);
    let pair = Pair::open(&space, Precision::F32);
    pair.each(|index| {
        for (key, point) in (1..).zip(&points) {
            index.insert(key, &format!("id-{key}"), &rounded(point, Precision::F32)).unwrap();
        }
        index.flush().unwrap();
    });
    let mut random = Random(6);
    for moved in [0.0, 0.5, 3.0] {
        let (mut bounded, mut scanned) = (0, 0);
        for _ in 0..50 {
            let query = kit::moved(&space, &points[random.below(points.len())], moved, &mut random);
            let (few, all) = pair.same(&SearchRequest::nearest(&query, 10), "a hierarchy");
            bounded += few;
            scanned += all;
        }
        assert!(bounded * 5 <= scanned, "moved by {moved}: {bounded} of {scanned}");
    }
}

#[test]
fn a_restart_finds_the_same_and_a_changed_byte_is_noticed() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let config = geometric(&space, Precision::F32);
    let reopen = || VectorIndex::open(dir.path(), config.clone(), RestartState::default());
    let (mut model, mut random) = (Model::default(), Random(77));
    let query;
    let before = {
        let index = reopen().unwrap();
        fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 1_500);
        index.flush().unwrap();
        query = space.from_storage(&model.rows[5].2);
        hits(&index.search(&SearchRequest::nearest(&query, 20)).unwrap())
    };
    let index = reopen().unwrap();
    let answer = index.search(&SearchRequest::nearest(&query, 20)).unwrap();
    assert_eq!((hits(&answer), answer.strategy), (before, Strategy::Bounds));
    assert!(answer.scanned < 1_500);
    drop(index);

    let file = dir.path().join("segment-1.graph");
    let good = std::fs::read(&file).unwrap();
    for _ in 0..200 {
        let mut bad = good.clone();
        bad[random.below(good.len())] ^= 1 << random.below(8);
        std::fs::write(&file, &bad).unwrap();
        let error = reopen().unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Format { .. }), "{error}");
    }
    std::fs::write(&file, &good).unwrap();
    reopen().unwrap();
}

#[test]
fn an_index_built_otherwise_is_scanned_until_it_is_built_anew() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::default(), Random(7));
    {
        let other = config(&space, Precision::F32);
        let index = VectorIndex::open(dir.path(), other, RestartState::default()).unwrap();
        fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 1_000);
        index.flush().unwrap();
    }
    let config = geometric(&space, Precision::F32);
    let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
    let query = space.from_storage(&model.rows[5].2);
    let answer = index.search(&SearchRequest::nearest(&query, 5)).unwrap();
    assert_eq!((answer.exact, answer.strategy), (true, Strategy::Scan));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1_001, 1_000);
    index.flush().unwrap();
    let answer = index.search(&SearchRequest::nearest(&query, 5)).unwrap();
    assert_eq!((answer.exact, answer.strategy), (true, Strategy::Bounds));
}

#[test]
fn a_space_without_a_metric_is_scanned() {
    let space = space(Geometry::Lorentzian, 4, 1.0);
    let (index, _dir) = open(geometric(&space, Precision::F64));
    let (mut model, mut random) = (Model::default(), Random(3));
    fill(&index, &mut model, &space, Precision::F64, &mut random, 1, 1_000);
    index.flush().unwrap();
    let query = space.from_storage(&model.rows[0].2);
    let answer = index.search(&SearchRequest::nearest(&query, 5)).unwrap();
    assert_eq!((answer.exact, answer.strategy, answer.scanned), (true, Strategy::Scan, 1_000));
}

#[test]
fn a_passed_deadline_stops_it() {
    let space = hyperboloid(12);
    let (index, _dir) = open(geometric(&space, Precision::F32));
    let (mut model, mut random) = (Model::default(), Random(2));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 6_000);
    index.flush().unwrap();
    let query = space.from_storage(&model.rows[0].2);
    let past = Instant::now().checked_sub(Duration::from_secs(1));
    // Everything is wanted, so many nodes are opened.
    let request = SearchRequest { deadline: past, ..SearchRequest::nearest(&query, 6_000) };
    assert!(matches!(index.search(&request), Err(SearchError::Deadline { .. })));
}
