//! Points of every space for tests, also for those beside the code of this crate.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "part of tests, outside of a test function"
)]

use hvs_geometry::{Component, Geometry, Precision, Space};

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
        match geometry {
            Geometry::Hyperboloid | Geometry::Poincare | Geometry::Klein => {
                let r = self.hyperbolic_radius(n, spread);
                placed(space, &self.direction(n), r)
            }
            Geometry::Euclidean => (0..n).map(|_| self.normal() * spread).collect(),
            Geometry::Spherical => placed(space, &self.direction(n + 1), 0.0),
            _ => {
                let t = self.normal();
                let length = t.hypot(1.0) / root;
                let mut x: Vec<f64> = self.direction(n).iter().map(|x| x * length).collect();
                x.insert(0, t / root);
                x
            }
        }
    }
}

/// A point of a single space in storage form: `r` from the origin, in units of curvature 1, as seen
/// in some direction; the first axis where that has no length. On a sphere `r` says nothing.
pub fn placed(space: &Space, direction: &[f64], r: f64) -> Vec<f64> {
    let root = space.curvature().abs().sqrt();
    let mut v = direction.to_vec();
    let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length < 1e-3 {
        v = vec![0.0; v.len()];
        v[0] = 1.0;
    } else {
        for x in &mut v {
            *x /= length;
        }
    }
    let size = match space.geometry().unwrap() {
        Geometry::Hyperboloid => r.sinh() / root,
        Geometry::Poincare => (r / 2.0).tanh() / root,
        Geometry::Klein => r.tanh() / root,
        Geometry::Spherical => 1.0 / root,
        _ => r,
    };
    v.iter().map(|x| x * size).collect()
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
