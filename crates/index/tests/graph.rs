//! Graphs find what they should.

mod kit;

use hvs_geometry::Precision;
use hvs_index::{RestartState, SearchRequest, Strategy, VectorIndex};
use kit::{Model, Random, config, fill, hyperboloid, metric_spaces, recall};

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
