//! The hyperboloid (Lorentz) model of hyperbolic space: `⟨x,x⟩ = -1/c`, `x0 > 0`, with
//! `⟨x,y⟩ = -x0·y0 + Σ xi·yi`.
//!
//! Only the spatial coordinates of a point count: `x0` is recomputed from them, which is the
//! projection onto the sheet. Formulas: Nickel and Kiela 2018 (arXiv 1806.03417); the polar half-angle
//! form of the distance avoids every cancelling subtraction of large terms (on why that matters:
//! Mishne et al. 2023, arXiv 2211.00181).

use crate::numeric::{
    add_scaled, asinh_of_product, combined, difference, distance, dot, finite, norm, norm_squared,
    scaled, sinhc, sum_over,
};
use crate::space::Model;

/// `x0 = √(1/c + |x|²)` of spatial coordinates.
pub(crate) fn time(model: &Model, spatial: &[f64]) -> f64 {
    (1.0 / model.scale).hypot(norm(spatial))
}

/// Distance from the apex: `asinh(√c·|x|)/√c`.
pub(crate) fn radius(model: &Model, spatial: &[f64]) -> f64 {
    asinh_of_product(model.scale, finite(norm(spatial))) / model.scale
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
        // Zero, or NaN if the other point's norm is.
        return near.1;
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

/// Norm, in units of curvature 1, below which the space is flat to every digit of f64.
const FLAT_BELOW: f64 = 1e-100;

/// The root of [`half_sinh_squared`], which keeps its digits where squares have none. NaN where
/// even the norms are too large.
///
/// The terms are the roots of those of `half_sinh_squared`, with all norms divided by the larger.
pub(crate) fn half_sinh(model: &Model, x: &[f64], y: &[f64]) -> f64 {
    const LARGEST: f64 = 1e300;
    let k = model.scale;
    let (x_norm, y_norm) = (norm(x), norm(y));
    let ((x, a), (y, b)) =
        if x_norm > y_norm { ((y, y_norm), (x, x_norm)) } else { ((x, x_norm), (y, y_norm)) };
    if k * b < FLAT_BELOW {
        return k * distance(x, y) / 2.0;
    }
    if !(b <= LARGEST && k * b <= LARGEST) {
        return f64::NAN;
    }
    let share = a / b;
    let are_alike = share >= 0.5;
    let gap = if are_alike {
        sum_over(y, x, |q, p| (q - p) * (q / b + p / b)) / (1.0 + share)
    } else {
        b - a
    };
    let sinh_gap = k * gap * (1.0 + share) / (share * (k * b).hypot(1.0) + (k * a).hypot(1.0));
    let radial = sinh_gap.abs() / (2.0 * (1.0 + sinh_gap.hypot(1.0))).sqrt();
    let angular = if are_alike {
        let turn: Vec<f64> = y.iter().zip(x).map(|(q, p)| (p - q) + q * (gap / b)).collect();
        k * norm(&turn) / share.sqrt() / 2.0
    } else if a == 0.0 {
        0.0
    } else {
        let turn: Vec<f64> = y.iter().zip(x).map(|(q, p)| p / a - q / b).collect();
        k * a.sqrt() * b.sqrt() * norm(&turn) / 2.0
    };
    radial.hypot(angular)
}

/// Splits a spatial vector at `x` into its radial length and its tangential rest, which the metric
/// treats differently: radial lengths shrink by `cosh r`. At the apex everything is tangential.
fn split_radially(model: &Model, x: &[f64], v: &[f64]) -> (f64, Vec<f64>) {
    let x_norm = norm(x);
    if model.scale * x_norm < FLAT_BELOW {
        return (0.0, v.to_vec());
    }
    let radial = dot(x, v) / x_norm;
    let mut rest = v.to_vec();
    add_scaled(&mut rest, -radial / x_norm, x);
    (radial, rest)
}

/// `v0 = x·v/x0` of a tangent vector given by its spatial coordinates.
pub(crate) fn tangent_time(model: &Model, x: &[f64], v: &[f64]) -> f64 {
    dot(x, v) / time(model, x)
}

/// Ambient coordinates of a tangent vector at `x` from spatial ones.
pub(crate) fn lift_tangent(model: &Model, x: &[f64], mut v: Vec<f64>) -> Vec<f64> {
    v.insert(0, tangent_time(model, x, &v));
    v
}

/// `⟨u,v⟩` of tangent vectors at `x`: the tangential parts as they are, the radial ones over
/// `cosh² r`, so that no large terms cancel.
pub(crate) fn inner(model: &Model, x: &[f64], u: &[f64], v: &[f64]) -> f64 {
    let (u_radial, u_rest) = split_radially(model, x, u);
    let (v_radial, v_rest) = split_radially(model, x, v);
    let cosh = (model.scale * norm(x)).hypot(1.0);
    dot(&u_rest, &v_rest) + (u_radial / cosh) * (v_radial / cosh)
}

/// `exp_x(v) = cosh(t)·x + sinh(t)/t·v` with `t = √(c⟨v,v⟩)`.
pub(crate) fn exp(model: &Model, x: &[f64], v: &[f64]) -> Vec<f64> {
    let t = model.scale * inner(model, x, v, v).sqrt();
    combined(t.cosh(), x, sinhc(t), v)
}

/// `log_x(y) = t/sinh(t)·(y - cosh(t)·x)` with `t = √c·d`, as `(y - x) - 2·sinh²(t/2)·x`, which
/// does not cancel for near points.
pub(crate) fn log(model: &Model, x: &[f64], y: &[f64]) -> Vec<f64> {
    let key = half_sinh_squared(model, x, y);
    let t = 2.0 * key.sqrt().asinh();
    let mut direction = difference(y, x);
    add_scaled(&mut direction, -2.0 * key, x);
    scaled(1.0 / sinhc(t), &direction)
}

/// `v + c⟨y,v⟩/(1 - c⟨x,y⟩)·(x + y)`, where the divisor is `2·cosh²(√c·d/2)`.
pub(crate) fn transport(model: &Model, x: &[f64], y: &[f64], v: &[f64]) -> Vec<f64> {
    let key = half_sinh_squared(model, x, y);
    let factor = model.c() * inner_with_point(model, x, y, v) / (2.0 * (1.0 + key));
    let mut result = v.to_vec();
    add_scaled(&mut result, factor, x);
    add_scaled(&mut result, factor, y);
    result
}

/// `⟨y,v⟩` of a point and a tangent vector at `x`, in polar form: with the radial length `v_r` and
/// the tangential rest `v_t` of `v`, norms `a`, `b` and directions `p`, `q` of `x` and `y`,
/// `⟨y,v⟩ = v_r·(b·x0 - a·y0 - b·x0·|p-q|²/2)/x0 + b·(q-p)·v_t`.
///
/// `y·v - y0·v0` as it stands is the difference of two terms of size `e^2r`.
fn inner_with_point(model: &Model, x: &[f64], y: &[f64], v: &[f64]) -> f64 {
    let (a, b) = (norm(x), norm(y));
    if model.scale * a.min(b) < FLAT_BELOW {
        return dot(y, v) - time(model, y) * tangent_time(model, x, v);
    }
    let (x_time, y_time) = (time(model, x), time(model, y));
    let (v_radial, v_rest) = split_radially(model, x, v);
    let are_alike = a <= 2.0 * b && b <= 2.0 * a;
    // As in `ordered_half_sinh_squared`: differences of coordinates are exact for near points.
    let gap = if are_alike { sum_over(y, x, |q, p| (q - p) * (q + p)) / (a + b) } else { b - a };
    let turn: Vec<f64> = if are_alike {
        y.iter().zip(x).map(|(q, p)| ((q - p) - q * (gap / b)) / a).collect()
    } else {
        y.iter().zip(x).map(|(q, p)| q / b - p / a).collect()
    };
    // b·x0 - a·y0 = (b² x0² - a² y0²)/(b·x0 + a·y0), and the numerator is (b² - a²)/c.
    let rise = gap * (a + b) / (model.c() * (b * x_time + a * y_time));
    let radial = rise - b * x_time * norm_squared(&turn) / 2.0;
    v_radial * radial / x_time + b * dot(&turn, &v_rest)
}

/// `(sinh((1-t)s)·x + sinh(t·s)·y)/sinh(s)` with `s = √c·d`: for `t` in 0..1 all terms are positive
/// combinations.
pub(crate) fn geodesic(model: &Model, x: &[f64], y: &[f64], t: f64) -> Vec<f64> {
    let s = 2.0 * half_sinh_squared(model, x, y).sqrt().asinh();
    let (from, to) = geodesic_weights(s, t);
    combined(from, x, to, y)
}

/// The weights `sinh((1-t)s)/sinh(s)` and `sinh(t·s)/sinh(s)`; `1-t` and `t` at zero.
pub(crate) fn geodesic_weights(s: f64, t: f64) -> (f64, f64) {
    let base = sinhc(s);
    ((1.0 - t) * sinhc((1.0 - t) * s) / base, t * sinhc(t * s) / base)
}

/// The ball point `x/(1 + √c·x0)` of spatial coordinates.
pub(crate) fn to_poincare(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(1.0 / (1.0 + (model.scale * norm(x)).hypot(1.0)), x)
}

/// The Klein point `x/(√c·x0)` of spatial coordinates.
pub(crate) fn to_klein(model: &Model, x: &[f64]) -> Vec<f64> {
    scaled(1.0 / (model.scale * norm(x)).hypot(1.0), x)
}
