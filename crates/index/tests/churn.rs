//! Inserting, replacing and removing, while segments are built and merged underneath.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod kit;

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use hvs_geometry::Precision;
use hvs_index::{IndexConfig, RestartState, Row, SearchRequest, Strategy, VectorIndex};
use kit::{Model, Random, config, fill, flat, hyperboloid, rounded};

/// A small index whose tail overflows often.
fn small(space: &hvs_geometry::Space) -> IndexConfig {
    IndexConfig { tail_limit: 300, small_segments: 2, ..config(space, Precision::F32) }
}

/// Inserts and removes at random, and checks exact answers against brute force all the way,
/// through restarts.
#[test]
fn answers_stay_right_under_churn_and_restarts() {
    let space = hyperboloid(4);
    let flat = IndexConfig { tail_limit: 300, ..flat(&space, Precision::F32) };
    for config in [small(&space), flat] {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(21);
        // What records hold: id to key and vector; and every key that was ever removed.
        let mut live: BTreeMap<String, (u64, Vec<f64>)> = BTreeMap::new();
        let mut dead = Vec::new();
        let mut next = 1_u64;
        for _ in 0..4 {
            let covered = VectorIndex::covered(dir.path()).unwrap();
            let mut tail: Vec<Row> = live
                .iter()
                .filter(|(_, (key, _))| *key >= covered)
                .map(|(id, (key, vector))| Row {
                    key: *key,
                    id: id.clone(),
                    vector: vector.clone(),
                })
                .collect();
            tail.sort_by_key(|row| row.key);
            let state = RestartState { tail, dead: dead.clone() };
            let index = VectorIndex::open(dir.path(), config.clone(), state).unwrap();
            assert_eq!(index.stats().live, live.len());
            for step in 0..1_500 {
                let id = format!("r{}", random.below(1_200));
                if random.below(5) == 0 {
                    if let Some((key, _)) = live.remove(&id) {
                        assert!(index.remove(key));
                        assert!(!index.remove(key), "a second time");
                        dead.push(key);
                    }
                } else {
                    let stored = rounded(&random.stored(&space, 3.0), Precision::F32);
                    index.insert(next, &id, &stored).unwrap();
                    if let Some((old, _)) = live.insert(id, (next, stored)) {
                        assert!(index.remove(old));
                        dead.push(old);
                    }
                    next += 1 + random.below(3) as u64;
                }
                if step % 50 == 0 {
                    let model = Model {
                        rows: live
                            .iter()
                            .map(|(id, (key, v))| (*key, id.clone(), v.clone()))
                            .collect(),
                    };
                    let query = space.from_storage(&random.stored(&space, 3.0));
                    let request =
                        SearchRequest { exact: true, ..SearchRequest::nearest(&query, 10) };
                    let answer = index.search(&request).unwrap();
                    let found: Vec<u64> = answer.hits.iter().map(|hit| hit.key).collect();
                    let truth: Vec<u64> =
                        model.nearest(&space, &query, 10).iter().map(|(key, _)| *key).collect();
                    assert_eq!(found, truth);
                    let near = index.search(&SearchRequest::nearest(&query, 10)).unwrap();
                    assert_eq!(near.hits.len(), truth.len());
                }
            }
            index.flush().unwrap();
            let stats = index.stats();
            assert_eq!((stats.live, stats.tail), (live.len(), 0));
            assert_eq!(index.covered_below(), VectorIndex::covered(dir.path()).unwrap());
            assert!(stats.segments <= 6, "{stats:?}");
        }
    }
}

/// Every reader sees every record exactly once, alive, while records are replaced, blocks move
/// into segments and segments merge.
#[test]
fn readers_never_miss_a_record_nor_see_it_twice() {
    const RECORDS: usize = 700;
    let space = hyperboloid(3);
    let dir = tempfile::tempdir().unwrap();
    let index = VectorIndex::open(dir.path(), small(&space), RestartState::default()).unwrap();
    let mut random = Random(8);
    let mut keys = Vec::new();
    for (id, key) in (0..RECORDS).zip(1..) {
        index.insert(key, &format!("r{id}"), &random.stored(&space, 2.0)).unwrap();
        keys.push(key);
    }
    let done = AtomicBool::new(false);
    let searches = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in [100, 200] {
            let (index, done, searches, space) = (&index, &done, &searches, &space);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !done.load(Ordering::Acquire) {
                    let query = space.from_storage(&random.stored(space, 2.0));
                    let request = SearchRequest {
                        exact: random.below(2) == 0,
                        ..SearchRequest::nearest(&query, RECORDS + 50)
                    };
                    let answer = index.search(&request).unwrap();
                    let ids: HashSet<&str> =
                        answer.hits.iter().map(|hit| hit.id.as_str()).collect();
                    assert_eq!(ids.len(), answer.hits.len(), "an id came twice");
                    assert_eq!(ids.len(), RECORDS, "a record was missing");
                    searches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut next = RECORDS as u64 + 1;
        // Until enough happened on both sides.
        while index.stats().builds < 12 || searches.load(Ordering::Relaxed) < 200 {
            let record = random.below(RECORDS);
            index.insert(next, &format!("r{record}"), &random.stored(&space, 2.0)).unwrap();
            assert!(index.remove(keys[record]));
            keys[record] = next;
            next += 1;
            if next.is_multiple_of(2_000) {
                index.flush().unwrap();
            }
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(index.stats().failed_builds, 0);
}

#[test]
fn a_removed_row_is_gone_at_once_from_tail_and_segment() {
    let space = hyperboloid(5);
    let dir = tempfile::tempdir().unwrap();
    let index =
        VectorIndex::open(dir.path(), config(&space, Precision::F32), RestartState::default())
            .unwrap();
    let (mut model, mut random) = (Model::default(), Random(4));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 1_000);
    index.flush().unwrap();
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1_001, 100);
    for row in [5, 1_050] {
        let (key, _, stored) = &model.rows[row];
        let query = space.from_storage(stored);
        let first = |index: &VectorIndex| {
            index.search(&SearchRequest::nearest(&query, 1)).unwrap().hits[0].key
        };
        assert_eq!(first(&index), *key);
        assert!(index.holds(*key));
        assert!(index.remove(*key));
        assert_ne!(first(&index), *key);
    }
    assert!(!index.remove(999_999), "never inserted");
    assert_eq!((index.stats().live, index.stats().dead), (1_098, 2));
}

#[test]
fn a_segment_that_is_a_fifth_dead_is_built_anew() {
    let space = hyperboloid(5);
    let dir = tempfile::tempdir().unwrap();
    let index =
        VectorIndex::open(dir.path(), config(&space, Precision::F32), RestartState::default())
            .unwrap();
    let (mut model, mut random) = (Model::default(), Random(4));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 2_000);
    index.flush().unwrap();
    for key in 1..=401 {
        assert!(index.remove(key));
    }
    index.flush().unwrap();
    let stats = index.stats();
    assert_eq!((stats.live, stats.dead, stats.builds), (1_599, 0, 2));
    assert!(!index.holds(1), "a rebuilt segment forgets dead keys");
    for key in 402..=2_000 {
        assert!(index.remove(key));
    }
    index.flush().unwrap();
    assert_eq!((index.stats().segments, index.stats().live), (0, 0));
    let query = space.from_storage(&model.rows[0].2);
    assert!(index.search(&SearchRequest::nearest(&query, 3)).unwrap().hits.is_empty());
}

#[test]
fn filters_never_return_fewer_than_there_are() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let index =
        VectorIndex::open(dir.path(), config(&space, Precision::F32), RestartState::default())
            .unwrap();
    let (mut model, mut random) = (Model::default(), Random(40));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 6_000);
    index.flush().unwrap();
    for every in [2, 10, 100, 1_000] {
        let accept = |id: &str| {
            id.strip_prefix("id-").unwrap().parse::<u64>().unwrap().is_multiple_of(every)
        };
        let query = space.from_storage(&random.stored(&space, 4.0));
        let request = SearchRequest { accept: Some(&accept), ..SearchRequest::nearest(&query, 20) };
        let answer = index.search(&request).unwrap();
        let matching = 6_000 / usize::try_from(every).unwrap();
        assert_eq!(answer.hits.len(), matching.min(20), "one in {every}");
        assert!(answer.hits.iter().all(|hit| hit.key % every == 0));
        if every >= 100 {
            assert_eq!(answer.strategy, Strategy::GraphThenScan);
            let subset = Model {
                rows: model.rows.iter().filter(|row| row.0 % every == 0).cloned().collect(),
            };
            let truth = subset.nearest(&space, &query, 20);
            assert!(answer.hits.iter().map(|hit| hit.key).eq(truth.iter().map(|t| t.0)));
        }
    }
}

/// Rows that die while the segment that takes them is being built are dead in it.
#[test]
fn what_is_removed_during_a_build_stays_removed() {
    let space = hyperboloid(5);
    let dir = tempfile::tempdir().unwrap();
    let config = IndexConfig { tail_limit: 3_000, ..config(&space, Precision::F32) };
    let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(6));
    // The last row starts a build, and the second round extends the first one's graph. The
    // searches stretch the removals over the builds.
    for first in [1, 3_001] {
        fill(&index, &mut model, &space, Precision::F32, &mut random, first, 3_000);
        for key in (1..first + 3_000).filter(|key| key % 20 == 1) {
            index.remove(key);
            let query = space.from_storage(&model.rows[usize::try_from(key).unwrap() - 1].2);
            let request = SearchRequest { exact: true, ..SearchRequest::nearest(&query, 1) };
            assert_ne!(index.search(&request).unwrap().hits[0].key, key);
        }
        index.flush().unwrap();
        // Dead rows of the segment that the second round extends.
        index.remove(first + 1);
    }
    let is_live = |key: u64| key % 20 != 1 && key != 2 && key != 3_002;
    assert_eq!(index.stats().live, (1..=6_000).filter(|&key| is_live(key)).count());
    for (_, _, stored) in &model.rows {
        let query = space.from_storage(stored);
        let answer = index.search(&SearchRequest::nearest(&query, 1)).unwrap();
        assert!(is_live(answer.hits[0].key), "{}", answer.hits[0].key);
    }
}
