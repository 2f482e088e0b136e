//! Data and brute force for the tests of this crate.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "part of tests, outside of a test function"
)]

mod points;

use hvs_geometry::{Precision, Space};
use hvs_index::{IndexConfig, IndexKind, VectorIndex};

pub use self::points::*;

/// Rows as a caller holds them.
#[derive(Default, Clone)]
pub struct Model {
    pub rows: Vec<(u64, String, Vec<f64>)>,
}

impl Model {
    /// Keys and distances of the nearest, by the geometry crate.
    pub fn nearest(&self, space: &Space, query: &[f64], k: usize) -> Vec<(u64, f64)> {
        let mut all: Vec<(u64, f64)> = self
            .rows
            .iter()
            .map(|(key, _, stored)| {
                (*key, space.distance(query, &space.from_storage(stored)).unwrap())
            })
            .collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }
}

pub fn config(space: &Space, precision: Precision) -> IndexConfig {
    let mut config = IndexConfig::new(space.clone());
    config.precision = precision;
    config.graph_from = 500;
    config
}

pub fn flat(space: &Space, precision: Precision) -> IndexConfig {
    IndexConfig { kind: IndexKind::Flat, ..config(space, precision) }
}

/// Inserts `count` random rows with keys from `first` on.
pub fn fill(
    index: &VectorIndex,
    model: &mut Model,
    space: &Space,
    precision: Precision,
    random: &mut Random,
    first: u64,
    count: usize,
) {
    for key in (first..).take(count) {
        let stored = rounded(&random.stored(space, 4.0), precision);
        let id = format!("id-{key}");
        index.insert(key, &id, &stored).unwrap();
        model.rows.push((key, id, stored));
    }
}

pub fn recall(found: &[u64], truth: &[(u64, f64)]) -> f64 {
    let hits = truth.iter().filter(|(key, _)| found.contains(key)).count();
    hits as f64 / truth.len() as f64
}
