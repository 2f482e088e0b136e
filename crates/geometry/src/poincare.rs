//! The Poincaré ball model of hyperbolic space: `√c·|x| < 1` with the conformal factor
//! `λ = 2/(1 - c·|x|²)`.
//!
//! Formulas: Ungar, *A Gyrovector Space Approach to Hyperbolic Geometry*; Ganea, Bécigneul and
//! Hofmann 2018 (arXiv 1805.09112). The factor `α = 1 - c·|x|²` is always taken from a compensated sum: every
//! loss of accuracy near the boundary comes from its cancellation.

use crate::numeric::{distance_squared, one_minus_norm_squared};
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
