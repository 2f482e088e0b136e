//! Quantised rows take less memory, and answers stay what they should be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use hvs_geometry::{Component, Geometry, Precision, Space};
use hvs_index::{
    IndexConfig, IndexKind, IndexStats, OpenError, Quantisation, RestartState, SearchRequest,
    VectorIndex,
};
use kit::{Groups, Random, config, hyperboloid, metric_spaces, space};

const ROWS: usize = 8_000;
/// Vectors in a group.
const GROUP: usize = 80;
const QUERIES: usize = 50;

fn kinds() -> [IndexKind; 3] {
    [IndexKind::Flat, IndexKind::default(), IndexKind::Ivf { nlist: None, nprobe: None }]
}

fn open(config: &IndexConfig, dir: &std::path::Path) -> Result<VectorIndex, OpenError> {
    VectorIndex::open(dir, config.clone(), RestartState::default())
}

/// Fills an index; what it says about itself, and the part of the true nearest that it finds.
fn measure(config: &IndexConfig, rows: usize) -> (IndexStats, f64) {
    let space = config.space.clone();
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let groups = Groups::new(&space, rows / GROUP, &mut random);
    {
        let index = open(config, dir.path()).unwrap();
        for key in 1..=rows as u64 {
            let vector = groups.point(&mut random, config.precision);
            index.insert(key, &format!("id-{key}"), &vector).unwrap();
            // The second half joins what the first became.
            if key == rows as u64 / 2 {
                index.flush().unwrap();
            }
        }
        index.flush().unwrap();
    }
    let index = open(config, dir.path()).unwrap();
    let mut found = 0;
    for _ in 0..QUERIES {
        let query = space.from_storage(&groups.point(&mut random, config.precision));
        let request = SearchRequest::nearest(&query, 10);
        let truth = index.search(&SearchRequest { exact: true, ..request }).unwrap();
        assert!(truth.exact);
        let answer = index.search(&request).unwrap();
        assert!(!answer.exact, "ranks are coarse: {:?}", config.kind);
        for hit in &truth.hits {
            // A distance is the true one, whatever ranked it.
            let same = answer.hits.iter().find(|own| own.key == hit.key);
            let is_true = |d: f64| d.to_bits() == hit.distance.to_bits();
            found += usize::from(same.is_some_and(|own| is_true(own.distance)));
        }
        let radius = truth.hits[4].distance;
        let within = index.search(&SearchRequest::within(&query, radius)).unwrap();
        assert!(within.hits.len() >= 5, "a radius reads the vectors themselves");
        assert!(within.hits.iter().all(|hit| hit.distance <= radius));
    }
    (index.stats(), found as f64 / 10.0 / QUERIES as f64)
}

/// What spaces allow whose coordinates have a common scale.
const FLAT: &[Quantisation] = &[Quantisation::F16, Quantisation::I8, Quantisation::Pq];

#[test]
fn recall_holds_and_memory_shrinks() {
    let flat_product = Space::product(vec![
        Component { space: space(Geometry::Euclidean, 8, 0.0), weight: 1.0 },
        Component { space: space(Geometry::Spherical, 7, 1.0), weight: 2.0 },
    ])
    .unwrap();
    for (space, quantisations) in [
        (space(Geometry::Euclidean, 24, 0.0), FLAT),
        (space(Geometry::Spherical, 15, 2.0), FLAT),
        (flat_product, FLAT),
        (hyperboloid(12), &[Quantisation::F16]),
        (space(Geometry::Poincare, 8, -1.0), &[Quantisation::F16]),
        (space(Geometry::Klein, 5, -1.0), &[Quantisation::F16]),
        (metric_spaces()[6].clone(), &[Quantisation::F16]),
    ] {
        for kind in kinds() {
            let plain = IndexConfig { kind, resident_rows: true, ..config(&space, Precision::F32) };
            for &quantisation in quantisations {
                let config = IndexConfig { quantisation, ..plain.clone() };
                let (stats, recall) = measure(&config, ROWS);
                let what = format!("{space}, {kind:?}, {quantisation}");
                eprintln!(
                    "{what}: recall {recall:.4}, {} bytes per ranking row, {} anonymous",
                    stats.bytes_ranking / ROWS as u64,
                    stats.bytes_anonymous / ROWS as u64
                );
                assert!(recall >= 0.95, "{what}: recall {recall}");
                // Four bytes per lane is what is stored otherwise.
                let lanes = stats.bytes_vectors as f64 / 4.0;
                let share = match (quantisation, space.is_metric()) {
                    (Quantisation::I8, _) => 1.3,
                    (Quantisation::Pq, _) => 0.26,
                    _ if space.geometry() == Some(Geometry::Euclidean) => 2.1,
                    // The numbers of a radius keep their precision.
                    _ => 6.5,
                };
                assert!(stats.bytes_ranking as f64 <= lanes * share, "{what}: {stats:?}");
                assert!(stats.bytes_anonymous <= stats.bytes_ranking + 2 * ROWS as u64 + 8_192);
            }
        }
    }
}

#[test]
#[ignore = "full: a hundred thousand rows in each type of index"]
fn recall_of_product_quantisation_with_a_hundred_thousand_rows() {
    for space in [space(Geometry::Euclidean, 24, 0.0), space(Geometry::Spherical, 15, 1.0)] {
        for kind in kinds() {
            let quantisation = Quantisation::Pq;
            let config = IndexConfig {
                kind,
                quantisation,
                tail_limit: 1 << 20,
                ..IndexConfig::new(space.clone())
            };
            let (stats, recall) = measure(&config, 100_000);
            eprintln!(
                "{space}, {kind:?}: recall {recall:.4}, {} bytes per ranking row",
                stats.bytes_ranking / 100_000
            );
            assert!(recall >= 0.95, "{space}, {kind:?}: recall {recall}");
        }
    }
}

#[test]
fn what_a_space_forbids_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |space: &Space, kind, quantisation| {
        let config = IndexConfig { kind, quantisation, ..config(space, Precision::F32) };
        match open(&config, dir.path()) {
            Err(OpenError::Config { reason }) => reason,
            other => panic!("{space} {quantisation}: {other:?}"),
        }
    };
    for space in [hyperboloid(4), space(Geometry::Klein, 3, -1.0), metric_spaces()[6].clone()] {
        for quantisation in [Quantisation::I8, Quantisation::Pq] {
            let reason = refused(&space, IndexKind::Flat, quantisation);
            assert!(reason.contains("sinh") && reason.contains("f16"), "{reason}");
        }
    }
    let lorentzian = space(Geometry::Lorentzian, 3, 1.0);
    for &quantisation in FLAT {
        let reason = refused(&lorentzian, IndexKind::Flat, quantisation);
        assert!(reason.contains("no metric"), "{reason}");
        let reason =
            refused(&space(Geometry::Euclidean, 3, 0.0), IndexKind::Geometric, quantisation);
        assert!(reason.contains("exact"), "{reason}");
    }
}

/// An index may be opened with another quantisation: new segments have it.
#[test]
fn segments_of_several_kinds_are_searched_together() {
    let space = space(Geometry::Euclidean, 6, 0.0);
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(4);
    let mut rows = Vec::new();
    for (at, quantisation) in
        [Quantisation::Pq, Quantisation::I8, Quantisation::None].into_iter().enumerate()
    {
        let kind = IndexKind::Flat;
        let config = IndexConfig { kind, quantisation, ..config(&space, Precision::F32) };
        let index = open(&config, dir.path()).unwrap();
        // Each too small to join the one before.
        for key in (1 + 10_000 * at as u64..).take(10_000 >> (4 * at)) {
            let vector = kit::rounded(&random.stored(&space, 4.0), Precision::F32);
            index.insert(key, &format!("id-{key}"), &vector).unwrap();
            rows.push((key, vector));
        }
        index.flush().unwrap();
        for (key, vector) in rows.iter().step_by(97) {
            for exact in [true, false] {
                let request = SearchRequest { exact, ..SearchRequest::nearest(vector, 1) };
                assert_eq!(index.search(&request).unwrap().hits[0].key, *key);
            }
        }
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    changed_bytes(Quantisation::I8);
    changed_bytes(Quantisation::Pq);
}

fn changed_bytes(quantisation: Quantisation) {
    let space = space(Geometry::Spherical, 5, 1.0);
    let dir = tempfile::tempdir().unwrap();
    let config = IndexConfig { quantisation, ..config(&space, Precision::F32) };
    {
        let (index, mut random) = (open(&config, dir.path()).unwrap(), Random(4));
        for key in 1..=1_000_u64 {
            let vector = kit::rounded(&random.stored(&space, 4.0), Precision::F32);
            index.insert(key, &format!("id-{key}"), &vector).unwrap();
        }
        index.flush().unwrap();
    }
    let file = dir.path().join("segment-1.graph");
    let good = std::fs::read(&file).unwrap();
    let mut random = Random(4);
    for _ in 0..200 {
        let mut bad = good.clone();
        bad[random.below(good.len())] ^= 1 << random.below(8);
        std::fs::write(&file, &bad).unwrap();
        let error = open(&config, dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Format { .. }), "{error}");
    }
}
