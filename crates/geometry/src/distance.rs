//! Distances, and the cheaper keys that rank like them.

use std::f64::consts::PI;

use thiserror::Error;

use crate::hyperboloid;
use crate::klein;
use crate::numeric::{distance, distance_squared, is_plain, norm, norm_of_sum, sum_over};
use crate::poincare;
use crate::point::PointError;
use crate::space::{Geometry, Model, Space};

/// Why two vectors have no distance.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum DistanceError {
    /// The first argument is not a point.
    #[error("first point: {0}")]
    First(#[source] PointError),
    /// The second argument is not a point.
    #[error("second point: {0}")]
    Second(#[source] PointError),
    /// The distance, or what leads to it, is larger than the largest number of f64.
    #[error("the distance overflows: the coordinates are too large for f64")]
    Overflow,
    /// The space has intervals, which are no distance.
    #[error(
        "{space} has no distance: intervals of a Lorentzian space are no metric (they violate the triangle inequality, and some pairs have none); use the interval"
    )]
    NotMetric {
        /// The space, for people.
        space: String,
    },
}

impl Space {
    /// Geodesic distance of two points in ambient coordinates. In a product, `√(Σ w·d²)`.
    ///
    /// The points count as given: nothing but their length, finiteness and domain is checked (see
    /// [`Space::validate`]), and a hyperboloid's `x0` is taken from the spatial coordinates.
    /// Distances keep their digits down to the smallest numbers of f64, where the squares of the
    /// coordinates have none.
    ///
    /// # Errors
    /// [`DistanceError`]: a point of wrong length, not finite or outside its ball, a space with a
    /// Lorentzian part, or a distance that overflows.
    pub fn distance(&self, x: &[f64], y: &[f64]) -> Result<f64, DistanceError> {
        self.check_length(x).map_err(DistanceError::First)?;
        self.check_length(y).map_err(DistanceError::Second)?;
        let distance = self.distance_of_parts(|| {
            let pairs = self.split(x).zip(self.split(y));
            pairs.map(|((model, x), (_, y))| (model, model.stored(x), model.stored(y)))
        })?;
        if distance.is_finite() { Ok(distance) } else { Err(self.no_distance(x, y)) }
    }

    /// A number that orders pairs as their distance does, without transcendental functions (except
    /// in a product, where the distances themselves have to be added): `sinh²(√c·d/2)` in
    /// hyperbolic space, `d²` in Euclidean space and products, `tan²(√c·d/2)` on the sphere
    /// (infinite for antipodes).
    ///
    /// Keys are squares: below a distance of about 1e-162 they are all zero, and nearby they have
    /// fewer digits than the distance.
    ///
    /// # Errors
    /// As [`Space::distance`].
    pub fn rank_key(&self, x: &[f64], y: &[f64]) -> Result<f64, DistanceError> {
        self.check_length(x).map_err(DistanceError::First)?;
        self.check_length(y).map_err(DistanceError::Second)?;
        let pairs = self.split(x).zip(self.split(y));
        let key = self.key_of_parts(pairs.map(|((model, x_part), (_, y_part))| {
            (model, model.stored(x_part), model.stored(y_part))
        }))?;
        self.explain(key, x, y)
    }

    /// [`Space::distance`] of two points in storage form, without building their ambient
    /// coordinates.
    ///
    /// # Errors
    /// As [`Space::distance`].
    pub fn stored_distance(&self, x: &[f64], y: &[f64]) -> Result<f64, DistanceError> {
        self.check_length_of(x, self.storage_len()).map_err(DistanceError::First)?;
        self.check_length_of(y, self.storage_len()).map_err(DistanceError::Second)?;
        let distance = self.distance_of_parts(|| {
            let pairs = self.split_storage(x).zip(self.split_storage(y));
            pairs.map(|((model, x), (_, y))| (model, x, y))
        })?;
        if distance.is_finite() {
            return Ok(distance);
        }
        Err(self.no_distance(&self.from_storage(x), &self.from_storage(y)))
    }

    /// [`Space::rank_key`] of two points in storage form.
    ///
    /// # Errors
    /// As [`Space::distance`].
    pub fn stored_rank_key(&self, x: &[f64], y: &[f64]) -> Result<f64, DistanceError> {
        self.check_length_of(x, self.storage_len()).map_err(DistanceError::First)?;
        self.check_length_of(y, self.storage_len()).map_err(DistanceError::Second)?;
        let pairs = self.split_storage(x).zip(self.split_storage(y));
        let key = self.key_of_parts(pairs.map(|((model, x), (_, y))| (model, x, y)))?;
        if key.is_finite() {
            return Ok(key);
        }
        self.explain(key, &self.from_storage(x), &self.from_storage(y))
    }

    /// The distance that belongs to a key of [`Space::rank_key`].
    pub fn distance_from_key(&self, key: f64) -> f64 {
        match self.single() {
            Some(model) => model.distance_from_key(key),
            None => key.sqrt(),
        }
    }

    /// The key that belongs to a distance, for a search within a radius.
    pub fn key_from_distance(&self, distance: f64) -> f64 {
        match self.single() {
            Some(model) => model.key_from_distance(distance),
            None => distance * distance,
        }
    }

    fn key_of_parts<'a>(
        &self,
        mut parts: impl Iterator<Item = (Model, &'a [f64], &'a [f64])>,
    ) -> Result<f64, DistanceError> {
        let not_metric = || DistanceError::NotMetric { space: self.to_string() };
        if self.single().is_some() {
            let (model, x, y) = parts.next().ok_or_else(not_metric)?;
            return model.key(x, y).ok_or_else(not_metric);
        }
        let mut sum = 0.0;
        for ((model, x, y), part) in parts.zip(self.parts()) {
            let key = model.key(x, y).ok_or_else(not_metric)?;
            let distance = model.distance_from_key(key);
            sum += part.weight * distance * distance;
        }
        Ok(sum)
    }

    /// Every distance is that of its key where the key has all its digits, and otherwise computed
    /// without squaring anything. The check is of the key alone, so the usual case pays nothing.
    fn distance_of_parts<'a, I>(&self, parts: impl Fn() -> I) -> Result<f64, DistanceError>
    where
        I: Iterator<Item = (Model, &'a [f64], &'a [f64])>,
    {
        let not_metric = || DistanceError::NotMetric { space: self.to_string() };
        if self.single().is_some() {
            let (model, x, y) = parts().next().ok_or_else(not_metric)?;
            return model.distance(x, y).ok_or_else(not_metric);
        }
        let mut sum = 0.0;
        for ((model, x, y), part) in parts().zip(self.parts()) {
            let distance = model.distance(x, y).ok_or_else(not_metric)?;
            sum += part.weight * distance * distance;
        }
        if is_plain(sum) {
            return Ok(sum.sqrt());
        }
        let weighted = parts().zip(self.parts()).map(|((model, x, y), part)| {
            model.distance(x, y).map(|distance| part.weight.sqrt() * distance)
        });
        let distances: Option<Vec<f64>> = weighted.collect();
        distances.map(|distances| norm(&distances)).ok_or_else(not_metric)
    }

    /// A key that is not finite is either that of antipodes or the fault of the points: says which.
    fn explain(&self, key: f64, x: &[f64], y: &[f64]) -> Result<f64, DistanceError> {
        if key.is_finite() {
            return Ok(key);
        }
        self.check_domain(x).map_err(DistanceError::First)?;
        self.check_domain(y).map_err(DistanceError::Second)?;
        if key.is_nan() {
            return Err(DistanceError::Overflow);
        }
        Ok(key)
    }

    /// Why the distance of `x` and `y` is no finite number.
    fn no_distance(&self, x: &[f64], y: &[f64]) -> DistanceError {
        let first = self.check_domain(x).map_err(DistanceError::First);
        let both = first.and_then(|()| self.check_domain(y).map_err(DistanceError::Second));
        both.err().unwrap_or(DistanceError::Overflow)
    }
}

impl Model {
    /// See [`Space::rank_key`]; of points in storage form. Nothing for a Lorentzian space, NaN for
    /// points outside their ball.
    pub(crate) fn key(&self, x: &[f64], y: &[f64]) -> Option<f64> {
        match self.geometry {
            Geometry::Euclidean => Some(distance_squared(x, y)),
            Geometry::Poincare => Some(poincare::half_sinh_squared(self, x, y)),
            Geometry::Hyperboloid => Some(hyperboloid::half_sinh_squared(self, x, y)),
            Geometry::Klein => {
                let (x, y) = (klein::to_hyperboloid(self, x), klein::to_hyperboloid(self, y));
                Some(hyperboloid::half_sinh_squared(self, &x, &y))
            }
            Geometry::Spherical => {
                let sum_squared = sum_over(x, y, |p, q| (p + q) * (p + q));
                Some(distance_squared(x, y) / sum_squared)
            }
            Geometry::Lorentzian => None,
        }
    }

    /// See [`Space::distance`]; of points in storage form. Nothing for a Lorentzian space, NaN for
    /// points outside their ball.
    fn distance(&self, x: &[f64], y: &[f64]) -> Option<f64> {
        let key = self.key(x, y)?;
        if is_plain(key) {
            return Some(self.distance_from_key(key));
        }
        Some(self.distance_from_root(self.key_root(x, y)?))
    }

    /// The root of [`Model::key`], without squaring anything.
    fn key_root(&self, x: &[f64], y: &[f64]) -> Option<f64> {
        match self.geometry {
            Geometry::Euclidean => Some(distance(x, y)),
            Geometry::Poincare => Some(poincare::half_sinh(self, x, y)),
            Geometry::Hyperboloid => Some(hyperboloid::half_sinh(self, x, y)),
            Geometry::Klein => {
                let (x, y) = (klein::to_hyperboloid(self, x), klein::to_hyperboloid(self, y));
                Some(hyperboloid::half_sinh(self, &x, &y))
            }
            Geometry::Spherical => Some(distance(x, y) / norm_of_sum(x, y)),
            Geometry::Lorentzian => None,
        }
    }

    pub(crate) fn distance_from_key(&self, key: f64) -> f64 {
        self.distance_from_root(key.sqrt())
    }

    fn distance_from_root(&self, root: f64) -> f64 {
        match self.geometry {
            Geometry::Poincare | Geometry::Hyperboloid | Geometry::Klein => {
                2.0 * root.asinh() / self.scale
            }
            Geometry::Spherical => 2.0 * root.atan() / self.scale,
            Geometry::Euclidean | Geometry::Lorentzian => root,
        }
    }

    fn key_from_distance(&self, distance: f64) -> f64 {
        let half = self.scale * distance / 2.0;
        let root = match self.geometry {
            Geometry::Poincare | Geometry::Hyperboloid | Geometry::Klein => half.sinh(),
            Geometry::Spherical if half >= PI / 2.0 => f64::INFINITY,
            Geometry::Spherical => half.tan(),
            Geometry::Euclidean | Geometry::Lorentzian => distance,
        };
        root * root
    }
}
