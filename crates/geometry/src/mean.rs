//! Means of points: the Fréchet mean of every metric space, and the closed-form means of hyperbolic
//! space, which minimise something else and are named apart.

use thiserror::Error;

use crate::numeric::{add_scaled, dot, exponent_of, norm, scaled, scaled_by_power, sinhc};
use crate::point::PointError;
use crate::space::{Geometry, Model, Space};
use crate::{hyperboloid, klein, mean_step, poincare, spherical};

/// Most iterations of a Fréchet mean. Within data radius 8 in hyperbolic space it takes some tens.
pub const MAX_MEAN_ITERATIONS: usize = 500;

/// A Fréchet mean and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FrechetMean {
    /// The point that minimises the weighted sum of squared distances.
    pub point: Vec<f64>,
    /// Number of iterations (of the slowest component, in a product).
    pub iterations: usize,
    /// Length of the last step: how far the point may still be from the limit of the iteration.
    pub residual: f64,
    /// Whether the mean is known to be the only one. Always so in hyperbolic and flat space; on the
    /// sphere if all points lie within less than a quarter turn of it (Afsari 2011), otherwise the
    /// point is a local minimum and there may be a better one.
    pub is_unique: bool,
}

/// Why points have no mean.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MeanError {
    /// There are no points.
    #[error("the mean of no points does not exist")]
    NoPoints,
    /// As many weights as points are needed.
    #[error("{weights} weights given for {points} points")]
    WeightCount {
        /// Number of points.
        points: usize,
        /// Number of weights.
        weights: usize,
    },
    /// A weight is negative or not finite.
    #[error("weight {index} is {weight}: weights must be finite and not negative")]
    Weight {
        /// Index of the weight.
        index: usize,
        /// Its value.
        weight: f64,
    },
    /// The weights add up to zero.
    #[error("the weights add up to {sum}: the sum must be positive")]
    WeightSum {
        /// The sum.
        sum: f64,
    },
    /// One of the vectors is not a point.
    #[error("point {index}: {source}")]
    Point {
        /// Index of the vector.
        index: usize,
        /// What is wrong with it.
        source: PointError,
    },
    /// The space has no distance to minimise.
    #[error(
        "{space} has no Fréchet mean: intervals of a lorentzian space are no distances, so there is nothing to minimise"
    )]
    NotMetric {
        /// The space, for people.
        space: String,
    },
    /// The mean is one of hyperbolic space.
    #[error("{space} has no {mean}: it is defined in hyperbolic space")]
    NotHyperbolic {
        /// Which mean.
        mean: &'static str,
        /// The space, for people.
        space: String,
    },
    /// The points balance each other out around the sphere, so that every direction is as good.
    #[error("the points balance each other out around the sphere, so they have no mean direction")]
    Balanced,
    /// The iteration did not settle.
    #[error("no mean found in {iterations} iterations: the last step was {residual:.3e}")]
    NotConverged {
        /// Number of iterations done.
        iterations: usize,
        /// Length of the last step.
        residual: f64,
    },
    /// The mean lies farther out than f64 can hold, or overflows.
    #[error("the mean cannot be held: {0}")]
    Result(#[source] PointError),
}

impl Space {
    /// The weighted Fréchet mean: the point that minimises `Σ w·d²`. Equal weights if none are
    /// given. In a product, componentwise.
    ///
    /// # Errors
    /// [`MeanError`].
    pub fn frechet_mean<P: AsRef<[f64]>>(
        &self,
        points: &[P],
        weights: Option<&[f64]>,
    ) -> Result<FrechetMean, MeanError> {
        if !self.is_metric() {
            return Err(MeanError::NotMetric { space: self.to_string() });
        }
        let weights = self.check_weighted(points, weights)?;
        let mut mean =
            FrechetMean { point: Vec::new(), iterations: 0, residual: 0.0, is_unique: true };
        for part in self.parts() {
            let range = part.offset..part.offset + part.model.ambient();
            let slices =
                points.iter().map(|point| point.as_ref().get(range.clone()).unwrap_or(&[]));
            let slices: Vec<&[f64]> = slices.collect();
            let found = part.model.frechet_mean(&slices, &weights)?;
            mean.point.extend(found.point);
            mean.iterations = mean.iterations.max(found.iterations);
            mean.residual = mean.residual.max(found.residual);
            mean.is_unique &= found.is_unique;
        }
        self.check_mean(&mean.point)?;
        Ok(mean)
    }

    /// The weighted Lorentz centroid `Σ wx/√(-c⟨Σ wx,Σ wx⟩)`: it minimises the squared Lorentzian
    /// distance `-2/c - 2⟨x,y⟩` (Law et al. 2019), not the squared geodesic one. Close to the
    /// Fréchet mean for data within radius 1, .3 apart at radius 8, and equal for two points of
    /// equal weight.
    ///
    /// # Errors
    /// [`MeanError`]; defined on the three models of hyperbolic space.
    pub fn lorentz_centroid<P: AsRef<[f64]>>(
        &self,
        points: &[P],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, MeanError> {
        self.centroid("Lorentz centroid", points, weights)
    }

    /// The weighted gyro-midpoint (Ungar): in the Poincaré ball `½ ⊗ Σ wλx/Σ w(λ-1)`.
    ///
    /// It is the same point as the Einstein midpoint of the Klein ball and the Lorentz centroid, and
    /// computed as the latter: the closed form loses `e^r` in its square root.
    ///
    /// # Errors
    /// As [`Space::lorentz_centroid`].
    pub fn gyro_midpoint<P: AsRef<[f64]>>(
        &self,
        points: &[P],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, MeanError> {
        self.centroid("gyro-midpoint", points, weights)
    }

    fn centroid<P: AsRef<[f64]>>(
        &self,
        mean: &'static str,
        points: &[P],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, MeanError> {
        let model = self
            .single()
            .filter(|model| model.geometry.is_hyperbolic())
            .ok_or_else(|| MeanError::NotHyperbolic { mean, space: self.to_string() })?;
        let weights = self.check_weighted(points, weights)?;
        let spatial: Vec<Vec<f64>> =
            points.iter().map(|point| model.to_spatial(point.as_ref())).collect();
        let start = rough_centroid(&model, &spatial, &weights);
        let centroid = model.at_spatial(refine_centroid(&model, start, &spatial, &weights));
        self.check_mean(&centroid)?;
        Ok(centroid)
    }

    fn check_weighted<P: AsRef<[f64]>>(
        &self,
        points: &[P],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, MeanError> {
        if points.is_empty() {
            return Err(MeanError::NoPoints);
        }
        for (index, point) in points.iter().enumerate() {
            self.check_domain(point.as_ref())
                .map_err(|source| MeanError::Point { index, source })?;
        }
        let Some(weights) = weights else { return Ok(vec![1.0; points.len()]) };
        if weights.len() != points.len() {
            return Err(MeanError::WeightCount { points: points.len(), weights: weights.len() });
        }
        for (index, weight) in weights.iter().copied().enumerate() {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(MeanError::Weight { index, weight });
            }
        }
        // The power of two of the largest is taken out first, so that the sum cannot overflow.
        let power = exponent_of(weights);
        let shares = scaled_by_power(weights, -power);
        let sum: f64 = shares.iter().sum();
        if sum <= 0.0 {
            return Err(MeanError::WeightSum { sum });
        }
        Ok(shares.iter().map(|share| share / sum).collect())
    }

    fn check_mean(&self, point: &[f64]) -> Result<(), MeanError> {
        self.check_representable(point).map_err(MeanError::Result)
    }
}

impl Model {
    fn to_spatial(self, x: &[f64]) -> Vec<f64> {
        match self.geometry {
            Geometry::Poincare => poincare::to_hyperboloid(&self, x),
            Geometry::Klein => klein::to_hyperboloid(&self, x),
            _ => self.stored(x).to_vec(),
        }
    }

    fn at_spatial(self, spatial: Vec<f64>) -> Vec<f64> {
        match self.geometry {
            Geometry::Poincare => hyperboloid::to_poincare(&self, &spatial),
            Geometry::Klein => hyperboloid::to_klein(&self, &spatial),
            _ => hyperboloid::lift(&self, spatial),
        }
    }

    fn frechet_mean(self, points: &[&[f64]], weights: &[f64]) -> Result<FrechetMean, MeanError> {
        match self.geometry {
            Geometry::Poincare | Geometry::Hyperboloid | Geometry::Klein => {
                let spatial: Vec<Vec<f64>> = points.iter().map(|x| self.to_spatial(x)).collect();
                let start = rough_centroid(&self, &spatial, weights);
                let mut descent = Descent::default();
                let mut mean = start;
                while descent.continues() {
                    let safe = hyperbolic_step(&self, &mean, &spatial, weights, true);
                    let step = mean_step::newton_or(&self, &mean, &spatial, weights, safe);
                    let length = hyperboloid::inner(&self, &mean, &step, &step).sqrt();
                    mean = hyperboloid::exp(&self, &mean, &step);
                    descent.record(self.scale * length, &mean);
                }
                descent.finish(&self, |spatial| self.at_spatial(spatial))
            }
            Geometry::Spherical => {
                let mut mean = spherical_start(&self, points, weights)?;
                let mut descent = Descent::default();
                let mut is_cautious = false;
                while descent.continues() {
                    let step = spherical_step(&self, &mean, points, weights, is_cautious);
                    mean = spherical::exp(&self, &mean, &step);
                    descent.record(self.scale * norm(&step), &mean);
                    // A step that is no shorter than one before overshot.
                    is_cautious |= descent.since_best > 0;
                }
                let mut found = descent.finish(&self, |point| point)?;
                found.is_unique = points
                    .iter()
                    .zip(weights)
                    .all(|(point, weight)| *weight == 0.0 || dot(&found.point, point) > 0.0);
                Ok(found)
            }
            Geometry::Euclidean | Geometry::Lorentzian => {
                let mut point = vec![0.0; self.ambient()];
                let sum: f64 = weights.iter().sum();
                for (x, weight) in points.iter().zip(weights) {
                    add_scaled(&mut point, weight / sum, x);
                }
                Ok(FrechetMean { point, iterations: 1, residual: 0.0, is_unique: true })
            }
        }
    }
}

/// Runs an iteration until its steps stop shrinking, and keeps the best point.
#[derive(Debug)]
struct Descent {
    iterations: usize,
    best: Vec<f64>,
    best_step: f64,
    since_best: usize,
}

impl Default for Descent {
    fn default() -> Self {
        Self { iterations: 0, best: Vec::new(), best_step: f64::INFINITY, since_best: 0 }
    }
}

impl Descent {
    /// A step this short changes nothing.
    const SETTLED: f64 = 1e-15;
    /// Steps above this are progress, below it rounding noise may dominate them.
    const NOISE: f64 = 1e-6;
    /// So many steps without a shorter one mean that rounding is all that is left.
    const PATIENCE: usize = 3;

    fn continues(&self) -> bool {
        let is_noise = self.best_step <= Self::NOISE && self.since_best >= Self::PATIENCE;
        self.iterations < MAX_MEAN_ITERATIONS && self.best_step > Self::SETTLED && !is_noise
    }

    fn record(&mut self, step: f64, point: &[f64]) {
        self.iterations += 1;
        self.since_best += 1;
        if step < self.best_step {
            self.best = point.to_vec();
            self.best_step = step;
            self.since_best = 0;
        }
    }

    fn finish(
        self,
        model: &Model,
        to_ambient: impl Fn(Vec<f64>) -> Vec<f64>,
    ) -> Result<FrechetMean, MeanError> {
        let (iterations, residual) = (self.iterations, self.best_step / model.scale);
        if self.best_step > Self::NOISE || self.best.is_empty() {
            return Err(MeanError::NotConverged { iterations, residual });
        }
        Ok(FrechetMean { point: to_ambient(self.best), iterations, residual, is_unique: true })
    }
}

/// `Σ wx` normalised, and where that cancels (all points far out in one direction) the heaviest
/// point: a start for steps that do not cancel.
fn rough_centroid(model: &Model, points: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    /// Share of the squared time that must be left for the norm to mean anything.
    const LEAST_NORM: f64 = 1e-10;
    let heaviest = points.iter().zip(weights).max_by(|(_, a), (_, b)| a.total_cmp(b));
    let mut sum = vec![0.0; model.dimension];
    let mut time = 0.0;
    for (point, weight) in points.iter().zip(weights) {
        add_scaled(&mut sum, *weight, point);
        time += weight * hyperboloid::time(model, point);
    }
    let length = norm(&sum);
    let norm_squared = (time - length) * (time + length);
    if norm_squared > LEAST_NORM * time * time {
        return scaled(1.0 / (model.scale * norm_squared.sqrt()), &sum);
    }
    heaviest.map_or(sum, |(point, _)| point.clone())
}

/// The step from `mean` to the normalised `Σ w'x`, as a tangent vector at `mean`: with `w' = w` that
/// is the Lorentz centroid, with `w' = w·d/sinh(d)` it is the iteration whose fixed point is the
/// Fréchet mean (iteratively reweighted least squares; compare Lou et al. 2020, arXiv 2003.00335).
///
/// In the frame of `mean`, `S = Σ w'x` has the tangential part `g = Σ w'(x - cosh(d)·mean)` and the
/// normal part `N = Σ w'·cosh(d)`, both sums without cancelling terms; the step is
/// `artanh(|g|/N)` long. Normalising `S` directly loses `e^2r`.
fn hyperbolic_step(
    model: &Model,
    mean: &[f64],
    points: &[Vec<f64>],
    weights: &[f64],
    is_reweighted: bool,
) -> Vec<f64> {
    let mut tangential = vec![0.0; mean.len()];
    let mut normal = 0.0;
    for (point, weight) in points.iter().zip(weights) {
        let key = hyperboloid::half_sinh_squared(model, mean, point);
        let distance = 2.0 * key.sqrt().asinh();
        let weight = if is_reweighted { weight / sinhc(distance) } else { *weight };
        add_scaled(&mut tangential, weight, point);
        add_scaled(&mut tangential, -weight * (1.0 + 2.0 * key), mean);
        normal += weight * (1.0 + 2.0 * key);
    }
    let size = model.scale * hyperboloid::inner(model, mean, &tangential, &tangential).sqrt();
    if size == 0.0 {
        return tangential;
    }
    // Rounding may lift the quotient to 1 where the points are a hundred units away.
    let share = (size / normal).min(1.0 - f64::EPSILON);
    scaled(share.atanh() / size, &tangential)
}

/// One step is exact in exact arithmetic; the following ones remove what the first lost by starting
/// far away.
fn refine_centroid(
    model: &Model,
    start: Vec<f64>,
    points: &[Vec<f64>],
    weights: &[f64],
) -> Vec<f64> {
    const STEPS: usize = 4;
    (0..STEPS).fold(start, |mean, _| {
        let step = hyperbolic_step(model, &mean, points, weights, false);
        hyperboloid::exp(model, &mean, &step)
    })
}

/// `Σ wx` normalised.
fn spherical_start(
    model: &Model,
    points: &[&[f64]],
    weights: &[f64],
) -> Result<Vec<f64>, MeanError> {
    /// Share of the whole weight below which the sum is rounding noise.
    const LEAST_SUM: f64 = 1e-12;
    let mut sum = vec![0.0; model.ambient()];
    for (point, weight) in points.iter().zip(weights) {
        add_scaled(&mut sum, *weight, point);
    }
    let length = model.scale * norm(&sum);
    if length <= LEAST_SUM * weights.iter().sum::<f64>() {
        return Err(MeanError::Balanced);
    }
    Ok(scaled(1.0 / length, &sum))
}

/// `Σ w·log(x)` over `Σ w·θ·cot(θ)`, the curvature of the sum of squares in the directions across:
/// a Newton step where all points are near, a cautious one where they are spread out.
/// The cautious step divides by the whole weight, which the curvature nowhere exceeds.
fn spherical_step(
    model: &Model,
    mean: &[f64],
    points: &[&[f64]],
    weights: &[f64],
    is_cautious: bool,
) -> Vec<f64> {
    /// Below this share of the whole weight the divisor is kept, so that steps stay below a turn.
    const LEAST_DIVISOR: f64 = 0.3;
    let mut gradient = vec![0.0; mean.len()];
    let mut divisor = 0.0;
    for (point, weight) in points.iter().zip(weights) {
        add_scaled(&mut gradient, *weight, &spherical::log(model, mean, point));
        let angle = spherical::angle(mean, point);
        divisor += weight * if angle == 0.0 { 1.0 } else { angle / angle.tan() };
    }
    let sum: f64 = weights.iter().sum();
    let divisor = if is_cautious { sum } else { divisor.clamp(LEAST_DIVISOR * sum, sum) };
    scaled(1.0 / divisor, &gradient)
}
