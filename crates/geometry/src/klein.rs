//! The Klein (Beltrami) ball model of hyperbolic space, in which geodesics are straight lines.
//!
//! It serves to exchange points with others: every operation goes through the hyperboloid, since
//! the model itself runs out of precision at half the radius of the Poincaré ball.

use crate::hyperboloid;
use crate::numeric::{add_scaled, dot, one_minus_norm_squared, scaled};
use crate::space::Model;

/// `γ = 1 - c·|x|²`.
fn gamma(model: &Model, x: &[f64]) -> f64 {
    one_minus_norm_squared(model.c(), x)
}

/// Spatial hyperboloid coordinates: `x/√γ`; NaN outside the ball.
pub(crate) fn to_hyperboloid(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(1.0 / gamma(model, x).sqrt(), x)
}

/// Poincaré coordinates: `x/(1 + √γ)`.
pub(crate) fn to_poincare(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(1.0 / (1.0 + gamma(model, x).sqrt()), x)
}

/// Spatial hyperboloid coordinates of a tangent vector: the differential of `x/√γ`.
pub(crate) fn tangent_to_hyperboloid(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let gamma = gamma(model, x);
    let mut result = v.to_vec();
    add_scaled(&mut result, model.c() * dot(x, v) / gamma, x);
    scaled(1.0 / gamma.sqrt(), &result)
}

/// The tangent vector of a hyperboloid tangent vector `v` at `x` (spatial): the differential of
/// `x/(√c·x0)`.
pub(crate) fn tangent_from_hyperboloid(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let time = hyperboloid::time(model, x);
    let mut result = v.to_vec();
    add_scaled(&mut result, -dot(x, v) / (time * time), x);
    scaled(1.0 / (model.scale * time), &result)
}
