//! De Sitter space `⟨x,x⟩ = 1/c` with `⟨x,y⟩ = -x0·y0 + Σ xi·yi`: intervals and causal order
//! instead of a distance.
//!
//! Sources: O'Neill, *Semi-Riemannian Geometry*, Prop. 5.38 (which pairs have a geodesic); formulas
//! by analytic continuation of the sphere's.

use std::fmt;

use thiserror::Error;

use crate::hyperboloid;
use crate::numeric::{
    add_scaled, asinh_of_product, combined, difference, dot, norm, scaled, sinc, sinhc, sum_over,
};
use crate::point::{PointError, Precision};
use crate::space::{Geometry, Model, Space};
use crate::spherical;

/// `asinh(√c·|x0|)/√c`: how far in time a point is from the waist of the space.
pub(crate) fn rapidity(model: &Model, x: &[f64]) -> f64 {
    let time = x.first().copied().unwrap_or(0.0);
    asinh_of_product(model.scale, time.abs()) / model.scale
}

/// `√(1/c + x0²)`: what the norm of the spatial coordinates must be.
pub(crate) fn spatial_norm(model: &Model, x: &[f64]) -> f64 {
    (1.0 / model.scale).hypot(x.first().copied().unwrap_or(0.0))
}

/// `⟨x,y⟩ = -x0·y0 + Σ xi·yi`.
pub(crate) fn minkowski(x: &[f64], y: &[f64]) -> f64 {
    let (Some((x_time, x_spatial)), Some((y_time, y_spatial))) = (x.split_first(), y.split_first())
    else {
        return 0.0;
    };
    dot(x_spatial, y_spatial) - x_time * y_time
}

/// `v - c⟨x,v⟩x`.
pub(crate) fn project_tangent(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let mut result = v.to_vec();
    add_scaled(&mut result, -model.c() * minkowski(x, v), x);
    result
}

/// How two points lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IntervalKind {
    /// One lies inside the light cone of the other: a unique timelike geodesic joins them.
    Timelike,
    /// Joined by a ray of light, or the same point.
    Lightlike,
    /// Joined by a spacelike geodesic.
    Spacelike,
    /// No geodesic joins them: one lies in or on the light cone of the other's antipode.
    Disconnected,
}

impl IntervalKind {
    /// The name on the wire and in files: `timelike`, `lightlike`, `spacelike`, `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timelike => "timelike",
            Self::Lightlike => "lightlike",
            Self::Spacelike => "spacelike",
            Self::Disconnected => "none",
        }
    }
}

impl fmt::Display for IntervalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The interval between two points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// How the points lie to each other.
    pub kind: IntervalKind,
    /// Length of the geodesic between them: proper time if timelike, 0 if lightlike, proper length
    /// if spacelike, nothing if there is no geodesic.
    pub length: Option<f64>,
    /// `c⟨x,y⟩`: above 1 timelike, 1 lightlike, within ±1 spacelike, below -1 without geodesic.
    pub inner: f64,
}

/// The order of cause and effect between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CausalRelation {
    /// The second point is the first.
    Same,
    /// The second point is in the causal future of the first.
    Future,
    /// The second point is in the causal past of the first.
    Past,
    /// Neither can influence the other.
    Unrelated,
}

impl CausalRelation {
    /// The name on the wire: `same`, `future`, `past`, `unrelated`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Future => "future",
            Self::Past => "past",
            Self::Unrelated => "unrelated",
        }
    }
}

impl fmt::Display for CausalRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why two vectors have no interval.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum IntervalError {
    /// The first argument is not a point.
    #[error("first point: {0}")]
    First(#[source] PointError),
    /// The second argument is not a point.
    #[error("second point: {0}")]
    Second(#[source] PointError),
    /// The interval, or what leads to it, is larger than the largest number of f64.
    #[error("the interval overflows: the coordinates are too large for f64")]
    Overflow,
    /// Only Lorentzian spaces have intervals.
    #[error("{space} has no causal structure: intervals exist in lorentzian spaces only")]
    NotLorentzian {
        /// The space, for people.
        space: String,
    },
}

/// Two points of a Lorentzian space with what decides how they lie to each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) kind: IntervalKind,
    /// `c⟨x-y,x-y⟩`, which is `2 - 2c⟨x,y⟩` without cancellation near `x = y`.
    pub(crate) gap: f64,
    /// `⟨x+y,x+y⟩`, not scaled.
    pub(crate) sum: f64,
    pub(crate) is_same: bool,
    pub(crate) is_antipodal: bool,
}

impl Pair {
    /// Classifies two points whose coordinates are known to `eps` relative.
    ///
    /// A rounding of the points moves `⟨x-y,x-y⟩` by up to `2|x-y|·eps(|x|+|y|)` in Euclidean
    /// norms; within twice that it counts as zero, and `⟨x+y,x+y⟩` likewise.
    pub(crate) fn new(model: &Model, x: &[f64], y: &[f64], eps: f64) -> Self {
        let roundings = eps * (norm(x) + norm(y));
        let (gap, gap_size) = interval_squared(x, y, |p, q| p - q);
        let (sum, sum_size) = interval_squared(x, y, |p, q| p + q);
        let (gap_tolerance, sum_tolerance) =
            (4.0 * roundings * gap_size, 4.0 * roundings * sum_size);
        let is_same = gap_size <= roundings;
        let is_antipodal = sum_size <= roundings;
        let kind = if is_same || gap.abs() <= gap_tolerance {
            IntervalKind::Lightlike
        } else if gap < 0.0 {
            IntervalKind::Timelike
        } else if is_antipodal || sum > sum_tolerance {
            IntervalKind::Spacelike
        } else {
            IntervalKind::Disconnected
        };
        Self { kind, gap: model.c() * gap, sum, is_same, is_antipodal }
    }

    /// Whether a square is no number, so that the kind means nothing.
    pub(crate) fn overflows(&self) -> bool {
        !(self.gap.is_finite() && self.sum.is_finite())
    }

    /// The geodesic's length in units of curvature 1: `2·asinh(√-gap/2)` or, from `4 - gap = c·sum`,
    /// `2·atan2(√gap, √(c·sum))`.
    fn unit_length(&self, model: &Model) -> Option<f64> {
        match self.kind {
            IntervalKind::Timelike => Some(2.0 * ((-self.gap).sqrt() / 2.0).asinh()),
            IntervalKind::Lightlike => Some(0.0),
            IntervalKind::Spacelike => {
                let sum = (model.c() * self.sum).max(0.0);
                Some(2.0 * self.gap.sqrt().atan2(sum.sqrt()))
            }
            IntervalKind::Disconnected => None,
        }
    }
}

/// `⟨z,z⟩` and the Euclidean norm of `z`, where `z` is a sum or difference of the points.
fn interval_squared(x: &[f64], y: &[f64], f: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    let spatial =
        sum_over(x.get(1..).unwrap_or(&[]), y.get(1..).unwrap_or(&[]), |p, q| f(p, q) * f(p, q));
    let time = match (x.first(), y.first()) {
        (Some(p), Some(q)) => f(*p, *q),
        _ => 0.0,
    };
    // Factored, since near the light cone the two squares almost cancel.
    let length = spatial.sqrt();
    ((length - time) * (length + time), length.hypot(time))
}

/// `cos(t)·x + sin(t)/t·v` for a spacelike `v`, `cosh` and `sinh` for a timelike one, `x + v` for a
/// lightlike one; `t = √|c⟨v,v⟩|`.
pub(crate) fn exp(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let time = v.first().copied().unwrap_or(0.0).abs();
    let length = norm(v.get(1..).unwrap_or(&[]));
    // The root of each factor of `(length - time)(length + time)`, which does not overflow.
    let t = model.scale * (length - time).abs().sqrt() * (length + time).sqrt();
    let (along, across) = if length < time { (t.cosh(), sinhc(t)) } else { (t.cos(), sinc(t)) };
    combined(along, x, across, v)
}

/// `(y - x) + gap/2·x` over `sinh(t)/t` or `sin(t)/t`, for a pair that has a single geodesic.
pub(crate) fn log(model: &Model, x: &[f64], y: &[f64], pair: &Pair) -> Vec<f64> {
    let length = pair.unit_length(model).unwrap_or(0.0);
    let mut direction = difference(y, x);
    add_scaled(&mut direction, pair.gap / 2.0, x);
    let factor = if pair.kind == IntervalKind::Timelike { sinhc(length) } else { sinc(length) };
    scaled(1.0 / factor, &direction)
}

/// `v - c⟨y,v⟩/(1 + c⟨x,y⟩)·(x+y)`, which is `v - 2⟨m,v⟩/⟨m,m⟩·m` with `m = x + y`.
pub(crate) fn transport(x: &[f64], y: &[f64], v: &[f64], pair: &Pair) -> Vec<f64> {
    let middle = combined(1.0, x, 1.0, y);
    let mut result = v.to_vec();
    add_scaled(&mut result, -2.0 * minkowski(&middle, v) / pair.sum, &middle);
    result
}

/// The point at share `t` of the geodesic, for a pair that has a single one.
pub(crate) fn geodesic(model: &Model, x: &[f64], y: &[f64], t: f64, pair: &Pair) -> Vec<f64> {
    let length = pair.unit_length(model).unwrap_or(0.0);
    let (from, to) = match pair.kind {
        IntervalKind::Timelike => hyperboloid::geodesic_weights(length, t),
        _ => spherical::geodesic_weights(length, t),
    };
    combined(from, x, to, y)
}

impl Space {
    /// The interval between two points of a Lorentzian space whose coordinates are known to
    /// `precision`.
    ///
    /// # Errors
    /// [`IntervalError`]: a bad point, a space that is not Lorentzian, or an interval that
    /// overflows.
    pub fn interval(
        &self,
        x: &[f64],
        y: &[f64],
        precision: Precision,
    ) -> Result<Interval, IntervalError> {
        let (model, pair) = self.lorentzian_pair(x, y, precision)?;
        let length = pair.unit_length(&model).map(|length| length / model.scale);
        Ok(Interval { kind: pair.kind, length, inner: 1.0 - pair.gap / 2.0 })
    }

    /// The causal relation of `y` to `x`: whether `y` is in the future of `x`, its past, or neither.
    ///
    /// # Errors
    /// As [`Space::interval`].
    pub fn causal_relation(
        &self,
        x: &[f64],
        y: &[f64],
        precision: Precision,
    ) -> Result<CausalRelation, IntervalError> {
        let (_, pair) = self.lorentzian_pair(x, y, precision)?;
        if pair.is_same {
            return Ok(CausalRelation::Same);
        }
        Ok(match pair.kind {
            IntervalKind::Timelike | IntervalKind::Lightlike if y.first() > x.first() => {
                CausalRelation::Future
            }
            IntervalKind::Timelike | IntervalKind::Lightlike => CausalRelation::Past,
            IntervalKind::Spacelike | IntervalKind::Disconnected => CausalRelation::Unrelated,
        })
    }

    fn lorentzian_pair(
        &self,
        x: &[f64],
        y: &[f64],
        precision: Precision,
    ) -> Result<(Model, Pair), IntervalError> {
        let model = self
            .single()
            .filter(|model| model.geometry == Geometry::Lorentzian)
            .ok_or_else(|| IntervalError::NotLorentzian { space: self.to_string() })?;
        self.check_finite(x).map_err(IntervalError::First)?;
        self.check_finite(y).map_err(IntervalError::Second)?;
        let pair = Pair::new(&model, x, y, precision.epsilon());
        if pair.overflows() {
            return Err(IntervalError::Overflow);
        }
        Ok((model, pair))
    }
}
