//! Filters of which the keys are known, against a search of the matching rows alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::cell::Cell;

use hvs_geometry::{Precision, Space};
use hvs_index::{IndexConfig, KnownKeys, RestartState, SearchRequest, Strategy, VectorIndex};
use kit::{Model, Random, fill, hyperboloid, metric_spaces};
use roaring::RoaringTreemap;

const ROWS: u64 = 6_000;

fn number(id: &str) -> u64 {
    id.strip_prefix("id-").unwrap().parse().unwrap()
}

fn filled(space: &Space, dir: &std::path::Path, tail: usize) -> (VectorIndex, Model) {
    let config = IndexConfig { tail_limit: 100_000, ..IndexConfig::new(space.clone()) };
    let index = VectorIndex::open(dir, config, RestartState::default()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(40));
    fill(&index, &mut model, space, Precision::F32, &mut random, 1, 6_000);
    // Every 70th key is dead before its segment is built, so that keys have gaps.
    model.rows.retain(|row| row.0 % 70 != 0 || !index.remove(row.0));
    index.flush().unwrap();
    fill(&index, &mut model, space, Precision::F32, &mut random, ROWS + 1, tail);
    (index, model)
}

/// One in `every` matches, of which a third is only known to be possible.
fn known(model: &Model, every: u64, below: u64) -> (RoaringTreemap, RoaringTreemap) {
    let keys = || model.rows.iter().map(|row| row.0).filter(|key| *key < below);
    let sure = keys().filter(|key| key % every == 0 && key % 3 != 0).collect();
    // Some of these do not match when they are looked at.
    let maybe = keys().filter(|key| key % every == 0 && key % 3 == 0 || key % 101 == 1);
    (sure, maybe.collect())
}

#[test]
fn known_keys_change_the_way_and_not_the_answer() {
    for space in metric_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let (index, model) = filled(&space, dir.path(), 300);
        let mut random = Random(7);
        for every in [1, 2, 10, 100, 1_000, 10_000] {
            for below in [u64::MAX, ROWS + 150, 3_000, 0] {
                let (sure, maybe) = known(&model, every, below);
                let asked = Cell::new(0_usize);
                let accept = |id: &str| {
                    asked.set(asked.get() + 1);
                    number(id).is_multiple_of(every)
                };
                let query = space.from_storage(&random.stored(&space, 2.0));
                let request = SearchRequest {
                    accept: Some(&accept),
                    known: Some(KnownKeys { sure: &sure, maybe: &maybe, below }),
                    exact: true,
                    ..SearchRequest::nearest(&query, 20)
                };
                let subset = Model {
                    rows: model.rows.iter().filter(|row| row.0 % every == 0).cloned().collect(),
                };
                let truth: Vec<u64> =
                    subset.nearest(&space, &query, 20).into_iter().map(|hit| hit.0).collect();
                let answer = index.search(&request).unwrap();
                let found: Vec<u64> = answer.hits.iter().map(|hit| hit.key).collect();
                assert_eq!(found, truth, "{space} one in {every}, known below {below}");
                assert!(answer.exact);
                if below > ROWS {
                    assert_eq!(answer.strategy, Strategy::Matching);
                }
                // Without `exact` never fewer, and the same where the rows themselves are compared.
                let request = SearchRequest { exact: false, ..request };
                let answer = index.search(&request).unwrap();
                assert_eq!(answer.hits.len(), truth.len());
                assert!(answer.hits.iter().all(|hit| hit.key.is_multiple_of(every)));
                if below > ROWS && every >= 100 {
                    assert_eq!(answer.strategy, Strategy::Matching);
                    assert!(answer.hits.iter().map(|hit| hit.key).eq(truth));
                }
            }
        }
    }
}

#[test]
fn within_a_radius_all_that_match_are_found() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let (index, model) = filled(&space, dir.path(), 0);
    let (sure, maybe) = known(&model, 10, u64::MAX);
    let accept = |id: &str| number(id).is_multiple_of(10);
    let query = space.from_storage(&model.rows[17].2);
    let subset = Model { rows: model.rows.iter().filter(|row| row.0 % 10 == 0).cloned().collect() };
    let truth = subset.nearest(&space, &query, 50);
    let request = SearchRequest {
        accept: Some(&accept),
        known: Some(KnownKeys { sure: &sure, maybe: &maybe, below: u64::MAX }),
        ..SearchRequest::within(&query, truth[40].1 + 1e-9)
    };
    let answer = index.search(&request).unwrap();
    assert!(answer.hits.iter().map(|hit| hit.key).eq(truth[..41].iter().map(|hit| hit.0)));
}

#[test]
fn only_rows_that_may_match_are_compared() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let (index, model) = filled(&space, dir.path(), 0);
    let (sure, maybe) = known(&model, 100, u64::MAX);
    let accept = |id: &str| number(id).is_multiple_of(100);
    let query = space.from_storage(&model.rows[3].2);
    let request = SearchRequest {
        accept: Some(&accept),
        known: Some(KnownKeys { sure: &sure, maybe: &maybe, below: u64::MAX }),
        ..SearchRequest::nearest(&query, 5)
    };
    let answer = index.search(&request).unwrap();
    assert_eq!(answer.scanned as u64, sure.len() + maybe.len());
}
