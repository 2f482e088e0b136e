//! The hyperboloid (Lorentz) model of hyperbolic space: `⟨x,x⟩ = -1/c`, `x0 > 0`, with
//! `⟨x,y⟩ = -x0·y0 + Σ xi·yi`.
//!
//! Only the spatial coordinates of a point count: `x0` is recomputed from them, which is the
//! projection onto the sheet. Formulas: Nickel and Kiela 2018 (arXiv 1806.03417); the polar half-angle
//! form of the distance avoids every cancelling subtraction of large terms (on why that matters:
//! Mishne et al. 2023, arXiv 2211.00181).

use crate::numeric::{norm, norm_squared, sum_over};
use crate::space::Model;

/// `x0 = √(1/c + |x|²)` of spatial coordinates.
pub(crate) fn time(model: &Model, spatial: &[f64]) -> f64 {
    (1.0 / model.scale).hypot(norm(spatial))
}

/// Distance from the apex: `asinh(√c·|x|)/√c`.
pub(crate) fn radius(model: &Model, spatial: &[f64]) -> f64 {
    (model.scale * norm(spatial)).asinh() / model.scale
}

/// Ambient coordinates from spatial ones.
pub(crate) fn lift(model: &Model, mut spatial: Vec<f64>) -> Vec<f64> {
    spatial.insert(0, time(model, &spatial));
    spatial
}

/// `sinh²(√c·d/2)` between points given by their spatial coordinates: monotone in the distance, and
/// no transcendental function.
///
/// With `r` the radius and `u` the direction, in units of curvature 1:
/// `sinh²(d/2) = sinh²((r1-r2)/2) + sinh r1·sinh r2·|u1-u2|²/4`.
/// Both terms are positive. The radial one takes `sinh(r1-r2) = (a-b)(a+b)/(a·y0 + b·x0)` with `a`,
/// `b` the norms and `a-b = (x-y)·(x+y)/(a+b)`; the angular one takes
/// `a·(u1-u2) = (x-y) + y·(b-a)/b`: differences of coordinates, which are exact for near points.
pub(crate) fn half_sinh_squared(model: &Model, x: &[f64], y: &[f64]) -> f64 {
    let k = model.scale;
    let (x_norm_squared, y_norm_squared) = (norm_squared(x), norm_squared(y));
    if x_norm_squared > y_norm_squared {
        return ordered_half_sinh_squared(k, (y, y_norm_squared), (x, x_norm_squared));
    }
    ordered_half_sinh_squared(k, (x, x_norm_squared), (y, y_norm_squared))
}

/// [`half_sinh_squared`] with the nearer point first, each with its squared norm.
fn ordered_half_sinh_squared(k: f64, near: (&[f64], f64), far: (&[f64], f64)) -> f64 {
    let (x, y) = (near.0, far.0);
    let (a, b) = (near.1.sqrt(), far.1.sqrt());
    if b == 0.0 {
        return 0.0;
    }
    let x_time = (1.0 + k * k * near.1).sqrt();
    let y_time = (1.0 + k * k * far.1).sqrt();
    // Where the norms differ by much their difference is accurate as it is, and the direction of
    // the nearer one must not inherit rounding errors of the farther.
    let are_alike = b <= 2.0 * a;
    let gap = if are_alike { sum_over(y, x, |q, p| (q - p) * (q + p)) / (a + b) } else { b - a };
    let sinh_gap = k * gap * (a + b) / (a * y_time + b * x_time);
    let radial = sinh_gap * sinh_gap / (2.0 * (1.0 + sinh_gap.hypot(1.0)));
    let angular = if are_alike {
        let share = gap / b;
        let chord = sum_over(x, y, |p, q| {
            let part = (p - q) + q * share;
            part * part
        });
        k * k * chord * (b / a) / 4.0
    } else if a == 0.0 {
        0.0
    } else {
        let chord = sum_over(x, y, |p, q| {
            let part = p / a - q / b;
            part * part
        });
        k * k * a * b * chord / 4.0
    };
    radial + angular
}
