//! Random points, for tests, samples and demonstrations.

use std::f64::consts::PI;

use rand::{Rng, RngExt};
use thiserror::Error;

use crate::numeric::{norm, scaled, sinhc, tanhc};
use crate::point::Precision;
use crate::space::{Geometry, Model, Space};
use crate::{hyperboloid, lorentzian};

/// Why no random point can be drawn.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RandomPointError {
    /// The radius is negative, not a number, or beyond what f64 can hold.
    #[error(
        "radius {radius} is not possible in the {geometry} space: it must be between 0 and {limit:.4}"
    )]
    Radius {
        /// The geometry, of the first component at fault in a product.
        geometry: Geometry,
        /// The radius asked for.
        radius: f64,
        /// The largest possible one.
        limit: f64,
    },
}

impl Space {
    /// A point whose direction from the base point is uniform and whose distance from it is uniform
    /// in `0..=radius`. (Not uniform by volume: in hyperbolic space nearly all volume lies at the
    /// rim, and samples by volume would never show the middle.)
    ///
    /// On the sphere a radius beyond half a turn counts as half a turn. In Lorentzian space the
    /// rapidity `asinh(√c·x0)/√c` is uniform in `-radius..=radius` and the spatial direction is
    /// uniform. In a product each component is drawn by itself.
    ///
    /// # Errors
    /// A radius that is negative, not a number, or beyond [`Space::radius_limit`] in f64.
    pub fn random_point(
        &self,
        rng: &mut impl Rng,
        radius: f64,
    ) -> Result<Vec<f64>, RandomPointError> {
        let mut point = Vec::with_capacity(self.ambient());
        for part in self.parts() {
            point.extend(part.model.random_point(rng, radius)?);
        }
        Ok(point)
    }
}

impl Model {
    fn random_point(&self, rng: &mut impl Rng, radius: f64) -> Result<Vec<f64>, RandomPointError> {
        let limit = self.radius_limit(Precision::F64);
        let radius = if self.geometry == Geometry::Spherical { radius.min(limit) } else { radius };
        if !(0.0..=limit).contains(&radius) {
            return Err(RandomPointError::Radius { geometry: self.geometry, radius, limit });
        }
        let k = self.scale;
        if self.geometry == Geometry::Lorentzian {
            let rapidity = k * radius * (2.0 * rng.random::<f64>() - 1.0);
            let mut point = vec![rapidity.sinh() / k];
            let length = lorentzian::spatial_norm(self, &point);
            point.extend(scaled(length, &random_direction(rng, self.dimension)));
            return Ok(point);
        }
        let distance = radius * rng.random::<f64>();
        let direction = random_direction(rng, self.dimension);
        Ok(match self.geometry {
            Geometry::Poincare => scaled(tanhc(k * distance / 2.0) * distance / 2.0, &direction),
            Geometry::Klein => scaled(tanhc(k * distance) * distance, &direction),
            Geometry::Hyperboloid => {
                hyperboloid::lift(self, scaled(sinhc(k * distance) * distance, &direction))
            }
            Geometry::Spherical => {
                let mut point = vec![(k * distance).cos() / k];
                point.extend(scaled((k * distance).sin() / k, &direction));
                point
            }
            Geometry::Euclidean | Geometry::Lorentzian => scaled(distance, &direction),
        })
    }
}

/// A uniformly distributed unit vector: normal coordinates, divided by their norm.
fn random_direction(rng: &mut impl Rng, dimension: usize) -> Vec<f64> {
    loop {
        let mut direction = Vec::with_capacity(dimension + 1);
        while direction.len() < dimension {
            // Box and Muller; 1 - u lies in (0, 1], whose logarithm exists.
            let length = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            let angle = 2.0 * PI * rng.random::<f64>();
            direction.push(length * angle.cos());
            direction.push(length * angle.sin());
        }
        direction.truncate(dimension);
        let length = norm(&direction);
        if length > 0.0 {
            return scaled(1.0 / length, &direction);
        }
    }
}
