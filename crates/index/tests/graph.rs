//! Graphs find what they should.

mod kit;

use hvs_geometry::{Geometry, Precision};
use hvs_index::{RestartState, SearchRequest, Strategy, VectorIndex};
use kit::{Model, Random, config, fill, hyperboloid, metric_spaces, moved, recall, rounded, space};

#[test]
fn recall_on_seeded_data_in_every_space() {
    for space in metric_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let index =
            VectorIndex::open(dir.path(), config(&space, Precision::F32), RestartState::default())
                .unwrap();
        let (mut model, mut random) = (Model::default(), Random(11));
        fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 5_000);
        index.flush().unwrap();
        assert_eq!(index.stats().segments, 1);
        let mut total = 0.0;
        for _ in 0..50 {
            let query = space.from_storage(&random.stored(&space, 4.0));
            let answer = index.search(&SearchRequest::nearest(&query, 10)).unwrap();
            assert_eq!(answer.strategy, Strategy::Graph);
            let found: Vec<u64> = answer.hits.iter().map(|hit| hit.key).collect();
            total += recall(&found, &model.nearest(&space, &query, 10)) / 50.0;
        }
        assert!(total >= 0.90, "recall {total} in {space}");
    }
}

#[test]
fn every_live_row_finds_itself() {
    let space = hyperboloid(12);
    let dir = tempfile::tempdir().unwrap();
    let index =
        VectorIndex::open(dir.path(), config(&space, Precision::F32), RestartState::default())
            .unwrap();
    let (mut model, mut random) = (Model::default(), Random(5));
    // The second half is added to the first one's graph.
    for first in [1, 4_001] {
        fill(&index, &mut model, &space, Precision::F32, &mut random, first, 4_000);
        index.flush().unwrap();
    }
    assert_eq!(index.stats().segments, 1);
    for (key, _, stored) in &model.rows {
        let query = space.from_storage(stored);
        let answer = index.search(&SearchRequest::nearest(&query, 1)).unwrap();
        assert_eq!(answer.hits[0].key, *key);
    }
}

/// A walk that comes to one group first is full of it, and must find its way to the others.
#[test]
fn all_of_many_tight_groups_far_apart_are_found() {
    const GROUPS: usize = 60;
    for space in [
        hyperboloid(12),
        space(Geometry::Poincare, 3, -1.0),
        space(Geometry::Euclidean, 4, 0.0),
        space(Geometry::Spherical, 7, 1.0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&space, Precision::F32);
        let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
        let mut random = Random(17);
        let centres: Vec<Vec<f64>> = (0..GROUPS).map(|_| random.stored(&space, 6.0)).collect();
        let mut rows = Vec::new();
        for key in 1..=9_000_u64 {
            let centre = &centres[random.below(GROUPS)];
            let by = 0.05 * random.unit();
            let point = moved(&space, centre, by, &mut random);
            let stored = rounded(&space.to_storage(&point), Precision::F32);
            index.insert(key, &format!("id-{key}"), &stored).unwrap();
            rows.push((key, stored));
            // What comes later is added to the first graph.
            if key == 6_000 {
                index.flush().unwrap();
            }
        }
        index.flush().unwrap();
        assert_eq!((index.stats().segments, index.stats().tail), (1, 0));
        let lost = rows.iter().filter(|(key, stored)| {
            let query = space.from_storage(stored);
            let answer = index.search(&SearchRequest::nearest(&query, 1)).unwrap();
            assert_eq!(answer.strategy, Strategy::Graph);
            answer.hits[0].key != *key && answer.hits[0].distance > 0.0
        });
        assert_eq!(lost.count(), 0, "{space}");
    }
}
