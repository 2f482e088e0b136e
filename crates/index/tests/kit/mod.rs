//! Data and brute force for the tests of this crate.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "part of tests, outside of a test function"
)]

use hvs_geometry::{Component, Geometry, Precision, Space};
use hvs_index::{IndexConfig, IndexKind, VectorIndex};

/// `SplitMix64`: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    pub fn direction(&mut self, dimension: usize) -> Vec<f64> {
        loop {
            let v: Vec<f64> = (0..dimension).map(|_| self.normal()).collect();
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length > 1e-9 {
                return v.into_iter().map(|x| x / length).collect();
            }
        }
    }

    /// A radius such that points fill a hyperbolic ball evenly.
    pub fn hyperbolic_radius(&mut self, dimension: usize, most: f64) -> f64 {
        loop {
            let r = most + (1.0 - self.unit()).ln() / (dimension.max(2) - 1) as f64;
            if r > 0.0 {
                return r;
            }
        }
    }

    /// A point of a space in storage form, `spread` about its size in units of curvature.
    pub fn stored(&mut self, space: &Space, spread: f64) -> Vec<f64> {
        let Some(geometry) = space.geometry() else {
            return space
                .components()
                .iter()
                .flat_map(|component| self.stored(&component.space, spread))
                .collect();
        };
        let n = space.dimension();
        let root = space.curvature().abs().sqrt();
        let scaled = |v: Vec<f64>, by: f64| v.into_iter().map(|x| x * by).collect::<Vec<f64>>();
        match geometry {
            Geometry::Hyperboloid => {
                let r = self.hyperbolic_radius(n, spread);
                scaled(self.direction(n), r.sinh() / root)
            }
            Geometry::Poincare => {
                let r = self.hyperbolic_radius(n, spread);
                scaled(self.direction(n), (r / 2.0).tanh() / root)
            }
            Geometry::Klein => {
                let r = self.hyperbolic_radius(n, spread);
                scaled(self.direction(n), r.tanh() / root)
            }
            Geometry::Euclidean => (0..n).map(|_| self.normal() * spread).collect(),
            Geometry::Spherical => scaled(self.direction(n + 1), 1.0 / root),
            _ => {
                let t = self.normal();
                let mut x = scaled(self.direction(n), t.hypot(1.0) / root);
                x.insert(0, t / root);
                x
            }
        }
    }
}

pub fn space(geometry: Geometry, dimension: usize, curvature: f64) -> Space {
    Space::new(geometry, dimension, curvature).unwrap()
}

pub fn hyperboloid(dimension: usize) -> Space {
    space(Geometry::Hyperboloid, dimension, -1.0)
}

/// One of each kind.
pub fn metric_spaces() -> Vec<Space> {
    vec![
        hyperboloid(12),
        space(Geometry::Hyperboloid, 3, -0.25),
        space(Geometry::Poincare, 5, -2.0),
        space(Geometry::Klein, 4, -1.0),
        space(Geometry::Euclidean, 50, 0.0),
        space(Geometry::Spherical, 7, 0.5),
        Space::product(vec![
            Component { space: space(Geometry::Poincare, 4, -1.0), weight: 1.0 },
            Component { space: space(Geometry::Spherical, 3, 1.0), weight: 0.5 },
            Component { space: space(Geometry::Euclidean, 2, 0.0), weight: 2.0 },
        ])
        .unwrap(),
    ]
}

pub fn rounded(stored: &[f64], precision: Precision) -> Vec<f64> {
    match precision {
        Precision::F32 => stored.iter().map(|&x| f64::from(x as f32)).collect(),
        Precision::F64 => stored.to_vec(),
    }
}

/// A point so far from one in storage form, in a random direction, in ambient coordinates; the point
/// itself where it lies too far out to be moved.
pub fn moved(space: &Space, stored: &[f64], by: f64, random: &mut Random) -> Vec<f64> {
    let point = space.from_storage(stored);
    let towards = random.direction(space.ambient());
    let tangent = space.project_tangent(&point, &towards).ok();
    let length =
        tangent.as_ref().and_then(|v| space.inner(&point, v, v).ok()).map_or(0.0, f64::sqrt);
    tangent
        .filter(|_| length > 0.0 && length.is_finite())
        .and_then(|v| {
            let step: Vec<f64> = v.iter().map(|x| x * by / length).collect();
            space.exp(&point, &step).ok()
        })
        .unwrap_or(point)
}

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

/// Overlapping groups of points around centres.
pub struct Groups<'a> {
    space: &'a Space,
    centres: Vec<Vec<f64>>,
}

impl<'a> Groups<'a> {
    pub fn new(space: &'a Space, count: usize, random: &mut Random) -> Self {
        Self { space, centres: (0..count).map(|_| random.stored(space, 3.0)).collect() }
    }

    /// A point of some group in storage form.
    pub fn point(&self, random: &mut Random, precision: Precision) -> Vec<f64> {
        let centre = &self.centres[random.below(self.centres.len())];
        let span = match self.space.geometry() {
            Some(Geometry::Euclidean) => 1.5 * (self.space.dimension() as f64).sqrt(),
            Some(Geometry::Spherical) => 0.8,
            _ => 2.5,
        };
        let by = span * random.unit();
        let point = moved(self.space, centre, by, random);
        rounded(&self.space.to_storage(&point), precision)
    }
}
