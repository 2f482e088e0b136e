//! The Poincaré ball model of hyperbolic space: `√c·|x| < 1` with the conformal factor
//! `λ = 2/(1 - c·|x|²)`.
//!
//! Formulas: Ungar, *A Gyrovector Space Approach to Hyperbolic Geometry*; Ganea, Bécigneul and
//! Hofmann 2018 (arXiv 1805.09112). The factor `α = 1 - c·|x|²` is always taken from a compensated sum: every
//! loss of accuracy near the boundary comes from its cancellation.

use crate::hyperboloid;
use crate::numeric::{
    add_scaled, combined, difference, distance, distance_squared, dot, norm, norm_squared,
    one_minus_norm_squared, scaled, tanhc,
};
use crate::space::Model;

/// `α = 1 - c·|x|²`.
pub(crate) fn alpha(model: &Model, x: &[f64]) -> f64 {
    one_minus_norm_squared(model.c(), x)
}

/// `sinh²(√c·d/2) = c·|x-y|²/(α_x·α_y)`; NaN outside the ball.
pub(crate) fn half_sinh_squared(model: &Model, x: &[f64], y: &[f64]) -> f64 {
    let (x_alpha, y_alpha) = (alpha(model, x), alpha(model, y));
    if !(x_alpha > 0.0 && y_alpha > 0.0) {
        return f64::NAN;
    }
    model.c() * distance_squared(x, y) / (x_alpha * y_alpha)
}

/// The root of [`half_sinh_squared`], which keeps its digits where squares have none.
pub(crate) fn half_sinh(model: &Model, x: &[f64], y: &[f64]) -> f64 {
    let (x_alpha, y_alpha) = (alpha(model, x), alpha(model, y));
    if !(x_alpha > 0.0 && y_alpha > 0.0) {
        return f64::NAN;
    }
    model.scale * distance(x, y) / (x_alpha * y_alpha).sqrt()
}

/// Möbius addition `x ⊕ y`, given `α` of both.
///
/// The textbook form `((1 + 2c·x·y + c|y|²)x + (1 - c|x|²)y)/(1 + 2c·x·y + c²|x|²|y|²)` is rewritten
/// with `1 + 2c·x·y + c|y|² = α_x + c|x+y|²`, and its divisor is `α_x·α_y + c|x+y|²`: positive terms
/// only, so the result keeps its accuracy where `x` and `-y` are near and close to the boundary.
pub(crate) fn mobius_add(
    model: &Model,
    x: &[f64],
    x_alpha: f64,
    y: &[f64],
    y_alpha: f64,
) -> Vec<f64> {
    let sum = combined(1.0, x, 1.0, y);
    let sum_squared = model.c() * norm_squared(&sum);
    let divisor = x_alpha * y_alpha + sum_squared;
    combined(x_alpha / divisor, &sum, sum_squared / divisor, x)
}

/// Möbius scalar multiplication `t ⊗ x = tanh(t·artanh(√c|x|))/(√c|x|)·x`.
pub(crate) fn mobius_scalar(model: &Model, t: f64, x: &[f64]) -> Vec<f64> {
    let length = model.scale * norm(x);
    if length == 0.0 {
        return scaled(t, x);
    }
    scaled((t * half_radius(length, alpha(model, x))).tanh() / length, x)
}

/// `artanh(√c|x|)`, half the distance from the centre, as `asinh(√c|x|/√α)`.
fn half_radius(length: f64, alpha: f64) -> f64 {
    (length / alpha.sqrt()).asinh()
}

/// Distance from the centre.
pub(crate) fn radius(model: &Model, x: &[f64]) -> f64 {
    2.0 * half_radius(model.scale * norm(x), alpha(model, x)) / model.scale
}

/// `λ_x²·u·v`.
pub(crate) fn inner(model: &Model, x: &[f64], u: &[f64], v: &[f64]) -> f64 {
    let lambda = 2.0 / alpha(model, x);
    lambda * lambda * dot(u, v)
}

/// From here `tanh` is 1 to every digit.
const LONG: f64 = 50.0;

/// `exp_x(v) = x ⊕ tanh(√c·λ_x|v|/2)·v/(√c|v|)`. The factor `1 - tanh²` of the second summand is
/// known as `1/cosh²`.
pub(crate) fn exp(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let x_alpha = alpha(model, x);
    let length = norm(v);
    let t = model.scale * length / x_alpha;
    // Steps this long end on the boundary, and the quotient of the general form has no digits.
    let factor = if t > LONG { 1.0 / (model.scale * length) } else { tanhc(t) / x_alpha };
    let step = scaled(factor, v);
    let cosh = t.cosh();
    mobius_add(model, x, x_alpha, &step, 1.0 / (cosh * cosh))
}

/// `log_x(y) = 2/(√c·λ_x)·artanh(√c|m|)·m/|m|` with `m = (-x) ⊕ y`: its length is `d/λ_x`, its
/// direction that of `α_x(y-x) - c|y-x|²·x`, whose norm is `|y-x|·√(α_x·α_y + c|y-x|²)`.
pub(crate) fn log(model: &Model, x: &[f64], y: &[f64]) -> Vec<f64> {
    let (x_alpha, y_alpha) = (alpha(model, x), alpha(model, y));
    let gap = difference(y, x);
    let gap_norm = norm(&gap);
    if gap_norm == 0.0 {
        return vec![0.0; x.len()];
    }
    let alphas = x_alpha * y_alpha;
    let scaled_gap = model.c() * gap_norm * gap_norm;
    let distance = 2.0 * (model.scale * gap_norm / alphas.sqrt()).asinh() / model.scale;
    let direction_norm = gap_norm * (alphas + scaled_gap).sqrt();
    let factor = x_alpha * distance / (2.0 * direction_norm);
    combined(factor * x_alpha, &gap, -factor * scaled_gap, x)
}

/// `(λ_x/λ_y)·gyr[y,-x]v`.
///
/// The gyration, a rotation in the plane of `x` and `y`, is written with `δ = y - x`:
/// `v + 2c/D·((α_x·δ·v - c|δ|²·x·v)·x - ((1-α_x)·δ·v + (α_y + c|δ|²)·x·v)·δ)`,
/// `D = α_x·α_y + c|δ|²`. Each term is bounded by a small multiple of `|v|`, so the error is a few
/// eps everywhere in the ball; the textbook form loses `e^2r`.
pub(crate) fn transport(model: &Model, x: &[f64], y: &[f64], v: &[f64]) -> Vec<f64> {
    let (x_alpha, y_alpha) = (alpha(model, x), alpha(model, y));
    let gap = difference(y, x);
    let scaled_gap = model.c() * norm_squared(&gap);
    let (gap_part, x_part) = (dot(&gap, v), dot(x, v));
    let factor = 2.0 * model.c() / (x_alpha * y_alpha + scaled_gap);
    let along_x = x_alpha * gap_part - scaled_gap * x_part;
    let along_gap = (1.0 - x_alpha) * gap_part + (y_alpha + scaled_gap) * x_part;
    let mut result = v.to_vec();
    add_scaled(&mut result, factor * along_x, x);
    add_scaled(&mut result, -factor * along_gap, &gap);
    scaled(y_alpha / x_alpha, &result)
}

/// The point at share `t` of the way from `x` to `y`: the hyperboloid's combination
/// `(sinh((1-t)s)·X + sinh(t·s)·Y)/sinh(s)`, written with `X = 2x/α` and `√c·X0 = (2-α)/α`. Passing
/// through `exp` and `log` would lose `e^r` where the way leads past the centre.
pub(crate) fn geodesic(model: &Model, x: &[f64], y: &[f64], t: f64) -> Vec<f64> {
    let (x_alpha, y_alpha) = (alpha(model, x), alpha(model, y));
    let s = 2.0 * half_sinh_squared(model, x, y).sqrt().asinh();
    let (from, to) = hyperboloid::geodesic_weights(s, t);
    let (from, to) = (from / x_alpha, to / y_alpha);
    let divisor = 1.0 + from * (2.0 - x_alpha) + to * (2.0 - y_alpha);
    combined(2.0 * from / divisor, x, 2.0 * to / divisor, y)
}

/// Spatial hyperboloid coordinates: `2x/α`.
pub(crate) fn to_hyperboloid(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(2.0 / alpha(model, x), x)
}

/// Klein coordinates: `2x/(1 + c|x|²)`.
pub(crate) fn to_klein(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(2.0 / (1.0 + model.c() * norm_squared(x)), x)
}
