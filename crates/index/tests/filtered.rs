//! Filters of which the keys are known, against a search of the matching rows alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::cell::Cell;

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::{
    Filtering, Hit, IndexConfig, KnownKeys, RestartState, SearchRequest, Strategy, VectorIndex,
};
use kit::{Model, Random, fill, hyperboloid, metric_spaces, space};
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
                // So many are compared faster in the order in which they lie.
                if below > ROWS && every >= 10 {
                    assert_eq!(answer.strategy, Strategy::Matching);
                } else if below > ROWS {
                    assert_eq!(answer.strategy, Strategy::Scan);
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

/// The share of `truth` among hits that are all accepted.
fn recall(hits: &[Hit], truth: &[u64], accept: impl Fn(u64) -> bool) -> f64 {
    assert_eq!(hits.len(), truth.len(), "never fewer");
    assert!(hits.iter().all(|hit| accept(hit.key)));
    assert!(hits.windows(2).all(|two| two[0].distance <= two[1].distance));
    let found = hits.iter().filter(|hit| truth.contains(&hit.key)).count();
    found as f64 / truth.len() as f64
}

#[test]
fn each_way_finds_the_nearest_that_match() {
    for space in metric_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let (index, model) = filled(&space, dir.path(), 100);
        let mut random = Random(8);
        for every in [2, 4] {
            let (sure, maybe) = known(&model, every, u64::MAX);
            let accept = |id: &str| number(id).is_multiple_of(every);
            let subset = Model {
                rows: model.rows.iter().filter(|row| row.0 % every == 0).cloned().collect(),
            };
            let ways = [
                (Filtering::Matching, Strategy::Matching),
                (Filtering::FilteredGraph, Strategy::FilteredGraph),
                (Filtering::OverFetch, Strategy::OverFetch),
            ];
            for ((filtering, strategy), is_known) in
                ways.into_iter().flat_map(|way| [(way, true), (way, false)])
            {
                let mut recalls = Vec::new();
                for _ in 0..10 {
                    let query = space.from_storage(&random.stored(&space, 2.0));
                    let nearest = subset.nearest(&space, &query, 10);
                    let truth: Vec<u64> = nearest.into_iter().map(|hit| hit.0).collect();
                    let known = KnownKeys { sure: &sure, maybe: &maybe, below: u64::MAX };
                    let request = SearchRequest {
                        accept: Some(&accept),
                        known: is_known.then_some(known),
                        filtering,
                        ef: Some(24),
                        ..SearchRequest::nearest(&query, 10)
                    };
                    let answer = index.search(&request).unwrap();
                    // Without the keys there is nothing to compare alone, and no right size to fetch.
                    if is_known || filtering == Filtering::FilteredGraph {
                        assert_eq!(answer.strategy, strategy, "{space} {every} {is_known}");
                    }
                    let even = |key: u64| key.is_multiple_of(every);
                    recalls.push(recall(&answer.hits, &truth, even));
                }
                let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
                let least = if strategy == Strategy::Matching && is_known { 1.0 } else { 0.9 };
                assert!(mean >= least, "{space} one in {every} {filtering:?} {is_known}: {mean}");
            }
        }
    }
}

#[test]
fn what_matches_only_far_from_the_query_is_found_by_walking_on() {
    let space = space(Geometry::Euclidean, 6, 0.0);
    let dir = tempfile::tempdir().unwrap();
    let (index, model) = filled(&space, dir.path(), 0);
    let mut sides: Vec<f64> = model.rows.iter().map(|row| row.2[0]).collect();
    sides.sort_by(f64::total_cmp);
    let edge = sides[sides.len() / 2];
    let beyond: RoaringTreemap =
        model.rows.iter().filter(|row| row.2[0] >= edge).map(|row| row.0).collect();
    let subset = Model { rows: model.rows.iter().filter(|r| r.2[0] >= edge).cloned().collect() };
    let accept = |id: &str| beyond.contains(number(id));
    let none = RoaringTreemap::new();
    let mut walked = 0;
    for row in model.rows.iter().filter(|row| row.2[0] < edge).step_by(60) {
        let query = space.from_storage(&row.2);
        let nearest = subset.nearest(&space, &query, 10);
        let truth: Vec<u64> = nearest.into_iter().map(|hit| hit.0).collect();
        let request = SearchRequest {
            accept: Some(&accept),
            known: Some(KnownKeys { sure: &beyond, maybe: &none, below: u64::MAX }),
            ef: Some(16),
            ..SearchRequest::nearest(&query, 10)
        };
        let answer = index.search(&request).unwrap();
        assert!(recall(&answer.hits, &truth, |key| beyond.contains(key)) >= 0.5, "{truth:?}");
        walked += usize::from(answer.strategy == Strategy::FilteredGraph);
        // Half of all match, but not half of the candidates.
        let strategies = [Strategy::OverFetch, Strategy::FilteredGraph, Strategy::GraphThenScan];
        assert!(strategies.contains(&answer.strategy), "{:?}", answer.strategy);
    }
    assert!(walked > 10, "{walked}");
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
