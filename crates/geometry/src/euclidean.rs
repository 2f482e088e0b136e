//! Flat space: points and tangent vectors are the same thing.

use crate::numeric::{combined, difference};

/// `x + v`.
pub(crate) fn exp(x: &[f64], v: &[f64]) -> Vec<f64> {
    combined(1.0, x, 1.0, v)
}

/// `y - x`.
pub(crate) fn log(x: &[f64], y: &[f64]) -> Vec<f64> {
    difference(y, x)
}

/// `(1-t)·x + t·y`.
pub(crate) fn geodesic(x: &[f64], y: &[f64], t: f64) -> Vec<f64> {
    combined(1.0 - t, x, t, y)
}
