//! The Klein (Beltrami) ball model of hyperbolic space, in which geodesics are straight lines.
//!
//! It serves to exchange points with others: every operation goes through the hyperboloid, since
//! the model itself runs out of precision at half the radius of the Poincaré ball.

use crate::numeric::{one_minus_norm_squared, scaled};
use crate::space::Model;

/// Spatial hyperboloid coordinates: `x/√(1 - c·|x|²)`.
pub(crate) fn to_hyperboloid(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(1.0 / one_minus_norm_squared(model.c(), x).sqrt(), x)
}
