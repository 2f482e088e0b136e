//! How much results move when inputs move by one rounding: the relative condition of each operation,
//! to be multiplied by [`UNIT`].
//!
//! Radii, lengths and distances are in units of curvature 1. A rounding of the coordinates of a
//! ball point moves it by `λ·eps` in the metric, `λ = 2/(1-c|x|²)`; of a hyperboloid point (its
//! spatial coordinates) by `sinh(r)·eps`. In negative curvature, displacements along a geodesic of
//! length `s` grow by at most `cosh(s)`, those of an initial velocity by `sinh(s)/s`, and
//! logarithms and convex combinations do not grow them. A metric displacement `δ` of a result shows
//! in ball coordinates as `δ/λ`, in hyperboloid coordinates as up to `√2·cosh(r)·δ`.

use crate::lorentzian::{Interval, IntervalKind};
use crate::numeric::{combined, difference, norm, one_minus_norm_squared, sinhc};
use crate::space::{Geometry, Model, Space};

/// One rounding times the small constant: an implementation makes a few roundings where the
/// conditioning counts one.
pub(super) const UNIT: f64 = 4.0 * f64::EPSILON;

/// Rounding a distance `d` of points at radius up to `r`: `sinh(r)/d` on the hyperboloid (its
/// directions resolve `eps`), `e^r/d` and for the radius itself `e^r` in the ball, the square of
/// that in the Klein ball, `1/d` on the sphere, `(|x|+|y|)/d` in flat space.
pub(super) fn distance(space: &Space, x: &[f64], y: &[f64]) -> Option<f64> {
    let model = space.single()?;
    let d = unit_distance(space, x, y);
    let r = radius(&model, x).max(radius(&model, y));
    match model.geometry {
        Geometry::Hyperboloid => Some(at_least_one(r.cosh() / d)),
        Geometry::Poincare => Some(at_least_one(r.exp().max(r.exp() / d))),
        Geometry::Klein => Some(at_least_one((2.0 * r).exp().max((2.0 * r).exp() / d))),
        Geometry::Spherical => Some(at_least_one(1.0 / d)),
        Geometry::Euclidean => Some(at_least_one((norm(x) + norm(y)) / d)),
        Geometry::Lorentzian => None,
    }
}

/// Moving `x` moves the end by up to `cosh(s)` as much, and lengthens `v`; moving `v` moves it by
/// `sinh(s)/s`.
pub(super) fn exp(space: &Space, x: &[f64], v: &[f64], end: &[f64]) -> Option<f64> {
    let model = space.single()?;
    let k = model.scale;
    let s = k * space.inner(x, v, v).ok()?.abs().sqrt();
    match model.geometry {
        Geometry::Poincare => {
            let moved = lambda(&model, x) * (s.cosh() + s) + s.sinh();
            Some(1.0 + moved / (lambda(&model, end) * k * norm(end)))
        }
        Geometry::Hyperboloid => {
            let moved = radius(&model, x).sinh() * s.cosh() + k * norm(v) * sinhc(s);
            Some(1.0 + 2.0_f64.sqrt() * moved)
        }
        Geometry::Spherical => Some(1.0 + s),
        Geometry::Euclidean => Some(1.0 + (norm(x) + norm(v)) / norm(end)),
        Geometry::Klein | Geometry::Lorentzian => None,
    }
}

/// Moving `y` by `δ` changes the logarithm by at most `δ`, moving `x` by `s·coth(s)·δ`; against its
/// length `s`.
pub(super) fn log(space: &Space, x: &[f64], y: &[f64], direction: &[f64]) -> Option<f64> {
    let model = space.single()?;
    let s = unit_distance(space, x, y);
    match model.geometry {
        Geometry::Poincare => {
            let (x_lambda, y_lambda) = (lambda(&model, x), lambda(&model, y));
            Some(1.0 + y_lambda / s + x_lambda * (1.0 + 1.0 / s.tanh()))
        }
        Geometry::Hyperboloid => {
            let (x_radius, y_radius) = (radius(&model, x), radius(&model, y));
            let moved = y_radius.sinh() + x_radius.sinh() * s / s.tanh();
            let shown = 2.0_f64.sqrt() * x_radius.cosh() * moved;
            Some(1.0 + shown / (model.scale * norm(direction)))
        }
        Geometry::Spherical => Some(1.0 + 1.0 / s.sin()),
        Geometry::Euclidean => Some(1.0 + (norm(x) + norm(y)) / norm(direction)),
        Geometry::Klein | Geometry::Lorentzian => None,
    }
}

/// Moving an end by `δ` turns the result by at most the change of the area between the centre and
/// the ends, `δ`, and changes `λ` by a share `δ`.
pub(super) fn transport(
    space: &Space,
    x: &[f64],
    y: &[f64],
    v: &[f64],
    moved: &[f64],
) -> Option<f64> {
    let model = space.single()?;
    match model.geometry {
        Geometry::Poincare => Some(1.0 + lambda(&model, x) + lambda(&model, y)),
        Geometry::Hyperboloid => {
            let (x_radius, y_radius) = (radius(&model, x), radius(&model, y));
            let length = space.inner(x, v, v).ok()?.abs().sqrt();
            let turned = norm(v) + (x_radius.sinh() + y_radius.sinh()) * length;
            Some(1.0 + 2.0_f64.sqrt() * y_radius.cosh() * turned / norm(moved))
        }
        Geometry::Spherical => {
            let s = unit_distance(space, x, y);
            Some(1.0 + 1.0 / (s / 2.0).cos())
        }
        Geometry::Euclidean => Some(1.0),
        Geometry::Klein | Geometry::Lorentzian => None,
    }
}

/// Distances between geodesics are convex: between the ends the point moves by at most
/// `(1-t)·δ_x + t·δ_y`; rounding `t` moves it by `t·s`.
pub(super) fn geodesic(space: &Space, x: &[f64], y: &[f64], t: f64, point: &[f64]) -> Option<f64> {
    let model = space.single()?;
    let k = model.scale;
    let s = unit_distance(space, x, y);
    // Beyond the ends a geodesic spreads like an exponential map over the excess.
    let excess = (t.abs().max((1.0 - t).abs()) - 1.0).max(0.0);
    let (x_share, y_share) = ((1.0 - t).abs(), t.abs());
    match model.geometry {
        Geometry::Poincare => {
            let moved = x_share * lambda(&model, x) + y_share * lambda(&model, y) + t.abs() * s;
            let moved = moved * (excess * s).cosh();
            Some(1.0 + moved / (lambda(&model, point) * k * norm(point)))
        }
        Geometry::Hyperboloid => {
            let (x_radius, y_radius) = (radius(&model, x), radius(&model, y));
            let moved = x_share * x_radius.sinh() + y_share * y_radius.sinh() + t.abs() * s;
            Some(1.0 + 2.0_f64.sqrt() * moved * (excess * s).cosh())
        }
        Geometry::Spherical => Some((1.0 + t.abs() * s) / s.sin().abs()),
        Geometry::Euclidean => Some(1.0 + (x_share * norm(x) + y_share * norm(y)) / norm(point)),
        Geometry::Klein | Geometry::Lorentzian => None,
    }
}

/// Translations are isometries: the sum moves by what either summand does.
pub(super) fn mobius_add(space: &Space, x: &[f64], y: &[f64], sum: &[f64]) -> Option<f64> {
    let model = space.single()?;
    if model.geometry != Geometry::Poincare {
        return None;
    }
    let moved = lambda(&model, x) + lambda(&model, y);
    Some(1.0 + moved / (lambda(&model, sum) * model.scale * norm(sum)))
}

/// Only the way out of a ball onto the hyperboloid magnifies roundings: by `λ`, squared from the
/// Klein ball, whose way to the Poincaré ball magnifies by `cosh(r)`.
pub(super) fn transform(from: &Space, to: &Space, x: &[f64]) -> Option<f64> {
    let model = from.single()?;
    match (model.geometry, to.geometry()?) {
        (Geometry::Poincare, Geometry::Hyperboloid) => Some(1.0 + lambda(&model, x)),
        (Geometry::Klein, Geometry::Hyperboloid) => Some(1.0 + radius(&model, x).cosh().powi(2)),
        (Geometry::Klein, Geometry::Poincare) => Some(1.0 + radius(&model, x).cosh()),
        _ if model.geometry.is_hyperbolic() => Some(1.0),
        _ => None,
    }
}

/// The mean moves by at most the weighted mean of what the points move, each growing with
/// `s·coth(s) ≤ 1 + s` of its distance from the mean.
pub(super) fn mean(space: &Space, points: &[Vec<f64>], mean: &[f64]) -> Option<f64> {
    let model = space.single()?;
    let displacement = |point: &Vec<f64>| {
        let s = unit_distance(space, point, mean);
        let rounding = match model.geometry {
            Geometry::Hyperboloid => Some(radius(&model, point).sinh()),
            Geometry::Poincare => Some(lambda(&model, point)),
            Geometry::Spherical => Some(1.0),
            Geometry::Euclidean => Some(norm(point)),
            Geometry::Klein | Geometry::Lorentzian => None,
        };
        rounding.map(|rounding| rounding * (1.0 + s))
    };
    let mut largest = 0.0_f64;
    for point in points {
        largest = largest.max(displacement(point)?);
    }
    match model.geometry {
        Geometry::Poincare => {
            Some(1.0 + largest / (lambda(&model, mean) * model.scale * norm(mean)))
        }
        Geometry::Euclidean => Some(1.0 + largest / norm(mean)),
        _ => Some(1.0 + 2.0_f64.sqrt() * largest),
    }
}

/// `c⟨x,y⟩` is a sum of terms as large as the product of the Euclidean norms.
pub(super) fn interval_inner(space: &Space, x: &[f64], y: &[f64], inner: f64) -> f64 {
    at_least_one(space.curvature() * norm(x) * norm(y) / inner.abs())
}

/// A rounding moves `⟨x∓y,x∓y⟩` by `2|x∓y|(|x|+|y|)·eps`, and that is `±2 - 2·cosh` or `-2·cos` of
/// the length `s`: relative to `s`, division by `s·sinh(s)` or `s·sin(s)`.
pub(super) fn interval_length(space: &Space, x: &[f64], y: &[f64], interval: &Interval) -> f64 {
    let c = space.curvature();
    let s = c.sqrt() * interval.length.unwrap_or(0.0);
    let size = norm(x) + norm(y);
    let gap = c * norm(&difference(x, y)) * size;
    let sum = c * norm(&combined(1.0, x, 1.0, y)) * size;
    match interval.kind {
        IntervalKind::Timelike => 1.0 + gap / (s * s.sinh()),
        IntervalKind::Spacelike => 1.0 + gap.min(sum) / (s * s.sin().abs()),
        IntervalKind::Lightlike | IntervalKind::Disconnected => 1.0,
    }
}

fn at_least_one(condition: f64) -> f64 {
    // NaN, from a distance of zero, is no licence.
    condition.max(1.0)
}

/// Distance in units of curvature 1; 0 where there is none.
fn unit_distance(space: &Space, x: &[f64], y: &[f64]) -> f64 {
    let scale = space.single().map_or(1.0, |model| model.scale);
    scale * space.distance(x, y).unwrap_or(0.0)
}

/// Distance from the base point in units of curvature 1, of hyperbolic points.
fn radius(model: &Model, x: &[f64]) -> f64 {
    let length = model.scale * norm(model.stored(x));
    let factor = one_minus_norm_squared(model.c(), x);
    match model.geometry {
        Geometry::Hyperboloid => length.asinh(),
        Geometry::Poincare => 2.0 * (length / factor.sqrt()).asinh(),
        Geometry::Klein => (length / factor.sqrt()).asinh(),
        _ => 0.0,
    }
}

/// `2/(1-c|x|²)` of a ball point.
fn lambda(model: &Model, x: &[f64]) -> f64 {
    2.0 / one_minus_norm_squared(model.c(), x)
}
