//! Radius, limits and bad requests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod kit;

use std::time::{Duration, Instant};

use hvs_geometry::{Geometry, Precision};
use hvs_index::{
    IndexConfig, IndexKind, InsertError, OpenError, RestartState, SearchError, SearchRequest,
    VectorIndex,
};
use kit::{Model, Random, config, fill, hyperboloid, metric_spaces, space};

fn open(config: IndexConfig) -> (VectorIndex, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
    (index, dir)
}

#[test]
fn a_radius_finds_what_lies_within() {
    for space in metric_spaces() {
        let (index, _dir) = open(config(&space, Precision::F32));
        let (mut model, mut random) = (Model::default(), Random(31));
        fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 4_000);
        index.flush().unwrap();
        fill(&index, &mut model, &space, Precision::F32, &mut random, 4_001, 200);
        let (mut wanted, mut got) = (0, 0);
        for _ in 0..20 {
            let query = space.from_storage(&random.stored(&space, 4.0));
            let all = model.nearest(&space, &query, usize::MAX);
            let radius = all[60].1;
            let truth: Vec<u64> =
                all.iter().take_while(|(_, d)| *d <= radius).map(|(key, _)| *key).collect();
            let exact = SearchRequest { exact: true, ..SearchRequest::within(&query, radius) };
            let answer = index.search(&exact).unwrap();
            let found: Vec<u64> = answer.hits.iter().map(|hit| hit.key).collect();
            assert_eq!(found, truth, "{space}");
            let answer = index.search(&SearchRequest::within(&query, radius)).unwrap();
            assert!(answer.hits.iter().all(|hit| hit.distance <= radius));
            wanted += truth.len();
            got += answer.hits.len();
            let both = SearchRequest { k: 7, ..SearchRequest::within(&query, radius) };
            let answer = index.search(&both).unwrap();
            assert_eq!(answer.hits.len(), 7);
            assert!(!answer.truncated);
        }
        assert!(got * 100 >= wanted * 98, "{got} of {wanted} in {space}");
    }
}

#[test]
fn a_radius_of_nothing_and_of_everything() {
    let space = hyperboloid(4);
    let (index, _dir) = open(IndexConfig { max_hits: 100, ..config(&space, Precision::F32) });
    let (mut model, mut random) = (Model::default(), Random(2));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 150);
    let query = space.from_storage(&model.rows[0].2);
    let own = index.search(&SearchRequest::within(&query, 0.0)).unwrap();
    assert_eq!(own.hits.len(), 1);
    assert_eq!(own.hits[0].key, 1);
    let all = index.search(&SearchRequest::within(&query, f64::INFINITY)).unwrap();
    assert!(all.truncated, "150 lie within, 100 are let through");
    assert_eq!(all.hits.len(), 100);
    let truth = model.nearest(&space, &query, 100);
    assert!(all.hits.iter().map(|hit| hit.key).eq(truth.iter().map(|t| t.0)));
}

#[test]
fn vectors_come_when_asked_for() {
    let space = hyperboloid(4);
    let (index, _dir) = open(config(&space, Precision::F32));
    let (mut model, mut random) = (Model::default(), Random(2));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 600);
    for _ in 0..2 {
        let query = space.from_storage(&model.rows[7].2);
        let request = SearchRequest { with_vectors: true, ..SearchRequest::nearest(&query, 1) };
        let hit = index.search(&request).unwrap().hits.remove(0);
        assert_eq!((hit.key, hit.id.as_str()), (8, "id-8"));
        assert_eq!(hit.vector.as_deref(), Some(model.rows[7].2.as_slice()));
        assert!(hit.distance.abs() < 1e-12);
        index.flush().unwrap();
    }
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let space = hyperboloid(4);
    let (index, _dir) = open(IndexConfig { max_hits: 100, ..config(&space, Precision::F32) });
    let query = space.from_storage(&[0.1, 0.2, 0.3, 0.4]);
    let search = |request: SearchRequest<'_>| index.search(&request).unwrap_err();
    assert_eq!(
        search(SearchRequest::nearest(&query[..4], 1)),
        SearchError::Length { found: 4, wanted: 5 }
    );
    let mut odd = query.clone();
    odd[2] = f64::NAN;
    assert_eq!(search(SearchRequest::nearest(&odd, 1)), SearchError::NotFinite { index: 2 });
    assert_eq!(
        search(SearchRequest::nearest(&query, 101)),
        SearchError::TooMany { k: 101, limit: 100 }
    );
    assert!(index.search(&SearchRequest::nearest(&query, 100)).is_ok());
    assert!(matches!(search(SearchRequest::within(&query, f64::NAN)), SearchError::Radius { .. }));
    assert_eq!(search(SearchRequest::within(&query, -1.0)), SearchError::Radius { radius: -1.0 });
    for ef in [0, 65_537] {
        let request = SearchRequest { ef: Some(ef), ..SearchRequest::nearest(&query, 1) };
        assert_eq!(search(request), SearchError::Ef { ef, limit: 65_536 });
    }
    assert!(index.search(&SearchRequest::nearest(&query, 0)).unwrap().hits.is_empty());
}

#[test]
fn a_passed_deadline_stops_graph_and_scan() {
    let space = hyperboloid(4);
    let (index, _dir) = open(config(&space, Precision::F32));
    let (mut model, mut random) = (Model::default(), Random(2));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, 3_000);
    index.flush().unwrap();
    let query = space.from_storage(&model.rows[7].2);
    let passed = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    for exact in [false, true] {
        let request = SearchRequest {
            exact,
            // Enough candidates that a walk looks at the clock.
            ef: Some(90),
            deadline: Some(passed),
            ..SearchRequest::nearest(&query, 80)
        };
        assert!(matches!(index.search(&request), Err(SearchError::Deadline { .. })));
    }
}

#[test]
fn bad_rows_change_nothing() {
    let space = hyperboloid(4);
    let (index, _dir) = open(config(&space, Precision::F32));
    let good = [0.1, 0.2, 0.3, 0.4];
    index.insert(5, "a", &good).unwrap();
    let refuse = |key, id: &str, vector: &[f64]| index.insert(key, id, vector).unwrap_err();
    assert_eq!(refuse(5, "b", &good), InsertError::KeyOrder { key: 5, newest: 5 });
    assert_eq!(refuse(u64::MAX, "b", &good), InsertError::ReservedKey);
    assert_eq!(refuse(6, "b", &good[..3]), InsertError::Length { found: 3, wanted: 4 });
    assert_eq!(refuse(6, "b", &[0.0, 1e300, 0.0, 0.0]), InsertError::NotFinite { index: 1 });
    assert_eq!(refuse(6, "b", &[0.0, f64::NAN, 0.0, 0.0]), InsertError::NotFinite { index: 1 });
    assert_eq!(refuse(6, "b", &[3e38, 3e38, 3e38, 3e38]), InsertError::OutOfRange);
    let long = "x".repeat(65_537);
    assert!(matches!(refuse(6, &long, &good), InsertError::LongId { bytes: 65_537, .. }));
    assert_eq!(index.stats().live, 1);
    index.insert(6, &long[1..], &good).unwrap();

    let ball = space_of_ball();
    let (index, _dir) = open(config(&ball, Precision::F32));
    assert_eq!(index.insert(1, "a", &[0.8, 0.7]), Err(InsertError::OutOfRange));
    assert!(matches!(
        index.search(&SearchRequest::nearest(&[0.8, 0.7], 1)),
        Err(SearchError::OutOfRange)
    ));
}

fn space_of_ball() -> hvs_geometry::Space {
    space(Geometry::Poincare, 2, -1.0)
}

#[test]
fn figures_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = config(&hyperboloid(3), Precision::F32);
    let hnsw = |m, ef_construction, ef_search| IndexConfig {
        kind: IndexKind::Hnsw { m, ef_construction, ef_search },
        ..base.clone()
    };
    let bad = [
        hnsw(1, 128, 64),
        hnsw(257, 128, 64),
        hnsw(16, 0, 64),
        hnsw(16, 128, 65_537),
        IndexConfig { tail_limit: 0, ..base.clone() },
        IndexConfig { max_hits: 0, ..base.clone() },
    ];
    for config in bad {
        let error = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap_err();
        assert!(matches!(error, OpenError::Config { .. }), "{error}");
    }
    VectorIndex::open(dir.path(), hnsw(2, 1, 1), RestartState::default()).unwrap();
}

/// Many copies of one vector rank alike: the oldest keys come first, and nothing hangs.
#[test]
fn copies_of_one_vector_are_ordered_by_key() {
    let space = hyperboloid(3);
    let (index, _dir) = open(config(&space, Precision::F32));
    for key in 1..=3_000 {
        index.insert(key, &format!("id-{key}"), &[0.5, 0.25, 0.125]).unwrap();
    }
    index.flush().unwrap();
    let query = space.from_storage(&[0.5, 0.25, 0.125]);
    let request = SearchRequest { exact: true, ..SearchRequest::nearest(&query, 5) };
    let answer = index.search(&request).unwrap();
    assert!(answer.hits.iter().map(|hit| hit.key).eq(1..=5));
    assert_eq!(index.search(&SearchRequest::nearest(&query, 5)).unwrap().hits.len(), 5);
}
