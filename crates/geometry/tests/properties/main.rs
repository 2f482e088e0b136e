//! Properties that every space promises, each on 100,000 seeded random cases.
//!
//! Plain loops over a seeded generator rather than proptest, whose bookkeeping costs more than the
//! geometry: a failing case prints its points, which are small. Tolerances are roundings of the
//! inputs, as the metric of the space magnifies them, times a small constant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "a failing case must fail the test"
)]

mod boundary;
mod extremes;
mod lorentzian;
mod maps;
mod means;
mod metric;
mod points;
mod transforms;

use hvs_geometry::{Component, Geometry, Space};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Cases of each property, spread over the spaces.
pub const CASES: usize = 100_000;

/// Distance from 1 to the next number.
pub const EPS: f64 = f64::EPSILON;

/// A metric space and the radius within which its points are drawn.
pub struct Sample {
    /// The space.
    pub space: Space,
    /// Largest distance of a point from the base point.
    pub radius: f64,
}

/// Every metric geometry in several dimensions and curvatures, and a product of three.
pub fn metric_samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> = [
        (Geometry::Poincare, 3, -1.0, 8.0),
        (Geometry::Poincare, 8, -0.4, 12.0),
        (Geometry::Poincare, 1, -3.0, 2.0),
        (Geometry::Hyperboloid, 2, -1.0, 8.0),
        (Geometry::Hyperboloid, 12, -2.5, 6.0),
        (Geometry::Klein, 3, -1.0, 4.0),
        (Geometry::Euclidean, 5, 0.0, 10.0),
        (Geometry::Spherical, 2, 1.0, 3.0),
        (Geometry::Spherical, 7, 0.5, 4.0),
    ]
    .into_iter()
    .map(|(geometry, dimension, curvature, radius)| Sample {
        space: Space::new(geometry, dimension, curvature).unwrap(),
        radius,
    })
    .collect();
    samples.push(Sample { space: product(), radius: 3.0 });
    samples
}

/// A weighted product of hyperbolic, spherical and flat components.
pub fn product() -> Space {
    let part = |geometry, dimension, curvature, weight| Component {
        space: Space::new(geometry, dimension, curvature).unwrap(),
        weight,
    };
    Space::product(vec![
        part(Geometry::Hyperboloid, 3, -1.0, 0.5),
        part(Geometry::Spherical, 2, 2.0, 3.0),
        part(Geometry::Euclidean, 2, 0.0, 1.0),
        part(Geometry::Poincare, 2, -0.5, 1.5),
    ])
    .unwrap()
}

/// Runs `check` for [`CASES`] cases over the samples, each with its own generator.
pub fn for_each_case(samples: &[Sample], mut check: impl FnMut(&Sample, &mut StdRng)) {
    for (index, sample) in samples.iter().enumerate() {
        let mut rng = StdRng::seed_from_u64(index as u64 + 1);
        for _ in 0..CASES.div_ceil(samples.len()) {
            check(sample, &mut rng);
        }
    }
}

impl Sample {
    /// A random point.
    pub fn point(&self, rng: &mut StdRng) -> Vec<f64> {
        self.space.random_point(rng, self.radius).unwrap()
    }

    /// A tangent vector at `x` whose length is of the order of the radius, or much shorter.
    pub fn tangent(&self, x: &[f64], rng: &mut StdRng) -> Vec<f64> {
        let end = self.point(rng);
        self.space.log(x, &end).unwrap()
    }
}

/// How far a rounding (relative, one eps) of the coordinates of `x` moves it in the metric, over
/// eps: up to a small factor `e^r` in ball and hyperboloid coordinates, `e^2r` in Klein's.
pub fn rounding(space: &Space, x: &[f64]) -> f64 {
    if space.components().is_empty() {
        let radius = space.distance(x, &space.base_point()).unwrap();
        let scale = space.curvature().abs().sqrt();
        return match space.geometry() {
            Some(Geometry::Klein) => (2.0 * scale * radius).exp() / scale,
            Some(Geometry::Euclidean) => radius,
            Some(Geometry::Spherical) => 1.0 / scale,
            _ => (scale * radius).exp() / scale,
        };
    }
    let mut rest = x;
    let mut sum = 0.0;
    for component in space.components() {
        let (head, tail) = rest.split_at(component.space.ambient());
        rest = tail;
        sum += component.weight.sqrt() * rounding(&component.space, head);
    }
    sum
}

/// Length of a tangent vector.
pub fn length(space: &Space, x: &[f64], v: &[f64]) -> f64 {
    space.inner(x, v, v).unwrap().sqrt()
}
