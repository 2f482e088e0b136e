//! The sphere `|x|² = 1/c`.
//!
//! Every formula uses `|x-y|` and `|x+y|` in place of the inner product, whose arccosine loses half
//! of the digits near equal and antipodal points. Between antipodes (half a turn apart) there are
//! infinitely many shortest ways, so `log`, `transport` and `geodesic` do not exist there.

use crate::numeric::{
    add_scaled, combined, difference, distance, distance_squared, dot, norm, norm_of_sum,
    norm_squared, scaled, sinc,
};
use crate::space::Model;

/// Norm of `√c·(x+y)` up to which points count as antipodal: what the rounding of both makes of
/// zero.
const ANTIPODAL: f64 = 8.0 * f64::EPSILON;

/// Angle between two points: `2·atan2(|x-y|, |x+y|)`.
pub(crate) fn angle(x: &[f64], y: &[f64]) -> f64 {
    2.0 * distance(x, y).atan2(norm_of_sum(x, y))
}

/// Whether no single direction leads from `x` to `y`.
pub(crate) fn are_antipodal(model: &Model, x: &[f64], y: &[f64]) -> bool {
    model.scale * norm_of_sum(x, y) <= ANTIPODAL
}

/// `v - c(x·v)x`.
pub(crate) fn project_tangent(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let mut result = v.to_vec();
    add_scaled(&mut result, -model.c() * dot(x, v), x);
    result
}

/// `cos(t)·x + sin(t)/t·v` with `t = √c|v|`.
pub(crate) fn exp(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let t = model.scale * norm(v);
    on_sphere(model, combined(t.cos(), x, sinc(t), v))
}

/// The tangent vector of length `d` towards `y`: its direction is that of
/// `(y - x) + c|x-y|²/2·x`.
pub(crate) fn log(model: &Model, x: &[f64], y: &[f64]) -> Vec<f64> {
    let mut direction = difference(y, x);
    add_scaled(&mut direction, model.c() * distance_squared(x, y) / 2.0, x);
    let length = norm(&direction);
    if length == 0.0 {
        return direction;
    }
    scaled(angle(x, y) / (model.scale * length), &direction)
}

/// `v - c(y·v)/(1 + c·x·y)·(x+y)`, which for a tangent vector is its reflection in the bisecting
/// hyperplane: `v - 2(m·v)/|m|²·m` with `m = x + y`.
pub(crate) fn transport(x: &[f64], y: &[f64], v: &[f64]) -> Vec<f64> {
    let middle = combined(1.0, x, 1.0, y);
    let mut result = v.to_vec();
    add_scaled(&mut result, -2.0 * dot(&middle, v) / norm_squared(&middle), &middle);
    result
}

/// `(sin((1-t)s)·x + sin(t·s)·y)/sin(s)` with `s` the angle.
pub(crate) fn geodesic(model: &Model, x: &[f64], y: &[f64], t: f64) -> Vec<f64> {
    let (from, to) = geodesic_weights(angle(x, y), t);
    on_sphere(model, combined(from, x, to, y))
}

/// The weights `sin((1-t)s)/sin(s)` and `sin(t·s)/sin(s)`; `1-t` and `t` at zero.
pub(crate) fn geodesic_weights(s: f64, t: f64) -> (f64, f64) {
    let base = sinc(s);
    ((1.0 - t) * sinc((1.0 - t) * s) / base, t * sinc(t * s) / base)
}

/// Brings rounding errors of the norm back.
fn on_sphere(model: &Model, x: Vec<f64>) -> Vec<f64> {
    let length = norm(&x);
    if length == 0.0 {
        return x;
    }
    scaled(1.0 / (model.scale * length), &x)
}
