//! Vector arithmetic that the geometries share: sums that keep their accuracy, and functions with
//! removable singularities, and numbers as messages show them.

use std::fmt;

/// Number of partial sums in [`dot`]; it shortens the error from `n·eps` to `n/LANES·eps` and lets
/// the compiler use vector registers.
const LANES: usize = 4;

/// Euclidean inner product over the shorter length.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let mut x_chunks = x.chunks_exact(LANES);
    let mut y_chunks = y.chunks_exact(LANES);
    for (xs, ys) in (&mut x_chunks).zip(&mut y_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(xs.iter().zip(ys)) {
            *lane += a * b;
        }
    }
    let done = (x.len() / LANES).min(y.len() / LANES) * LANES;
    let rest: f64 = x.iter().zip(y).skip(done).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Sum of `f(x_i, y_i)` with the same partial sums as [`dot`].
pub(crate) fn sum_over(x: &[f64], y: &[f64], f: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let mut x_chunks = x.chunks_exact(LANES);
    let mut y_chunks = y.chunks_exact(LANES);
    for (xs, ys) in (&mut x_chunks).zip(&mut y_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(xs.iter().zip(ys)) {
            *lane += f(*a, *b);
        }
    }
    let done = (x.len() / LANES).min(y.len() / LANES) * LANES;
    let rest: f64 = x.iter().zip(y).skip(done).map(|(a, b)| f(*a, *b)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Squared Euclidean norm.
pub(crate) fn norm_squared(x: &[f64]) -> f64 {
    dot(x, x)
}

/// Euclidean norm, right for coordinates of any size. Infinite only where it is larger than the
/// largest number of f64.
pub(crate) fn norm(x: &[f64]) -> f64 {
    let squared = norm_squared(x);
    if is_plain(squared) {
        return squared.sqrt();
    }
    wide_norm(x.iter().copied())
}

/// Squared Euclidean distance.
pub(crate) fn distance_squared(x: &[f64], y: &[f64]) -> f64 {
    sum_over(x, y, |a, b| (a - b) * (a - b))
}

/// Euclidean distance, as [`norm`] right for coordinates of any size.
pub(crate) fn distance(x: &[f64], y: &[f64]) -> f64 {
    let squared = distance_squared(x, y);
    if is_plain(squared) {
        return squared.sqrt();
    }
    let gaps = wide_norm(x.iter().zip(y).map(|(a, b)| a - b));
    if gaps.is_finite() {
        return gaps;
    }
    2.0 * wide_norm(x.iter().zip(y).map(|(a, b)| a / 2.0 - b / 2.0))
}

/// Norm of `x + y`, as [`norm`] right for coordinates of any size.
pub(crate) fn norm_of_sum(x: &[f64], y: &[f64]) -> f64 {
    let squared = sum_over(x, y, |a, b| (a + b) * (a + b));
    if is_plain(squared) {
        return squared.sqrt();
    }
    let sums = wide_norm(x.iter().zip(y).map(|(a, b)| a + b));
    if sums.is_finite() {
        return sums;
    }
    2.0 * wide_norm(x.iter().zip(y).map(|(a, b)| a / 2.0 + b / 2.0))
}

/// Whether a sum of squares (or a quotient of such) is so far from the ends of f64 that neither
/// over- nor underflow of its terms can have spoilt it.
pub(crate) fn is_plain(squared: f64) -> bool {
    (1e-240..=1e240).contains(&squared)
}

/// Norm of numbers of any size: scaled by a power of two, which rounds nothing.
fn wide_norm(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 || largest.is_infinite() {
        // Zero or infinite, or NaN if one of them is.
        return values.map(f64::abs).sum();
    }
    let power = exponent(largest);
    let squared: f64 = values.map(|value| ldexp(value, -power).powi(2)).sum();
    ldexp(squared.sqrt(), power)
}

/// The `e` for which `2^e <= |x| < 2^(e+1)`; 0 for zero, above 1023 for what is not finite.
pub(crate) fn exponent(x: f64) -> i32 {
    const SUBNORMAL_SHIFT: i32 = 64;
    if x == 0.0 {
        return 0;
    }
    let biased = |x: f64| i32::try_from((x.to_bits() >> 52) & 0x7ff).unwrap_or(0) - 1023;
    if x.is_subnormal() {
        return biased(ldexp(x, SUBNORMAL_SHIFT)) - SUBNORMAL_SHIFT;
    }
    biased(x)
}

/// The exponent of the largest coordinate.
pub(crate) fn exponent_of(x: &[f64]) -> i32 {
    exponent(x.iter().fold(0.0, |largest, value| value.abs().max(largest)))
}

/// `x·2^e`, rounded only where the result is subnormal.
pub(crate) fn ldexp(x: f64, e: i32) -> f64 {
    const STEP: i32 = 1000;
    let (mut result, mut rest) = (x, e.clamp(-5 * STEP, 5 * STEP));
    while rest != 0 {
        let step = rest.clamp(-STEP, STEP);
        result *= 2.0_f64.powi(step);
        rest -= step;
    }
    result
}

/// `x·2^e` of each coordinate.
pub(crate) fn scaled_by_power(x: &[f64], e: i32) -> Vec<f64> {
    x.iter().map(|value| ldexp(*value, e)).collect()
}

/// `a·x`.
pub(crate) fn scaled(a: f64, x: &[f64]) -> Vec<f64> {
    x.iter().map(|value| a * value).collect()
}

/// `a·x + b·y`.
pub(crate) fn combined(a: f64, x: &[f64], b: f64, y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(p, q)| a * p + b * q).collect()
}

/// `x - y`.
pub(crate) fn difference(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(p, q)| p - q).collect()
}

/// `x + a·y`, in place.
pub(crate) fn add_scaled(x: &mut [f64], a: f64, y: &[f64]) {
    for (p, q) in x.iter_mut().zip(y) {
        *p += a * q;
    }
}

/// `a + b` as the rounded sum and its exact rounding error (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// `a · b` as the rounded product and its exact rounding error (Veltkamp and Dekker, which needs no
/// fused multiply-add; exact while nothing over- or underflows).
fn two_product(a: f64, b: f64) -> (f64, f64) {
    const SPLITTER: f64 = 134_217_729.0; // 2^27 + 1
    let split = |value: f64| {
        let wide = SPLITTER * value;
        let high = wide - (wide - value);
        (high, value - high)
    };
    let product = a * b;
    let (a_high, a_low) = split(a);
    let (b_high, b_low) = split(b);
    let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, error)
}

/// `1 - c·|x|²` with a relative error of a few eps even when it nearly cancels.
///
/// A plain subtraction loses `eps·e^r` of it at hyperbolic radius `r`, and with it every distance
/// near the boundary of the ball. The products and the sum carry their rounding errors along
/// (compensated dot product of Ogita, Rump and Oishi, 2005).
pub(crate) fn one_minus_norm_squared(c: f64, x: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut error = 0.0;
    for value in x {
        let (square, square_error) = two_product(*value, *value);
        let (next, sum_error) = two_sum(sum, square);
        sum = next;
        error += square_error + sum_error;
    }
    let (high, low) = two_product(c, sum);
    let (rest, rest_error) = two_sum(1.0, -high);
    rest + (rest_error - (low + c * error))
}

/// `asinh(a·b)` for a scale and a length of any size: the product may overflow.
pub(crate) fn asinh_of_product(a: f64, b: f64) -> f64 {
    /// From here `asinh(t)` is `ln(2t)` to every digit.
    const LARGE: f64 = 1e100;
    if b > LARGE {
        return a.ln() + b.ln() + std::f64::consts::LN_2;
    }
    (a * b).asinh()
}

/// `x`, or the nearest finite number: what a message says of a size that no f64 holds. NaN is the
/// difference of two such sizes, and becomes the largest number.
pub(crate) fn finite(x: f64) -> f64 {
    if x.is_nan() { f64::MAX } else { x.clamp(f64::MIN, f64::MAX) }
}

/// A number in a message: in scientific form where its digits would not fit.
#[derive(Debug)]
pub(crate) struct Shown<'a>(pub(crate) &'a f64);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size.is_finite() && size != 0.0 && !(1e-9..1e16).contains(&size) {
            return fmt::LowerExp::fmt(self.0, f);
        }
        fmt::Display::fmt(self.0, f)
    }
}

/// `sinh(t)/t`, 1 at zero.
pub(crate) fn sinhc(t: f64) -> f64 {
    if t.abs() < SERIES_BELOW {
        return 1.0 + t * t / 6.0;
    }
    t.sinh() / t
}

/// `sin(t)/t`, 1 at zero.
pub(crate) fn sinc(t: f64) -> f64 {
    if t.abs() < SERIES_BELOW {
        return 1.0 - t * t / 6.0;
    }
    t.sin() / t
}

/// `tanh(t)/t`, 1 at zero.
pub(crate) fn tanhc(t: f64) -> f64 {
    if t.abs() < SERIES_BELOW {
        return 1.0 - t * t / 3.0;
    }
    t.tanh() / t
}

/// Below this the next term of the series, of order `t^4`, is less than half an eps.
const SERIES_BELOW: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_covers_every_length() {
        for length in 0..13_u32 {
            let x: Vec<f64> = (0..length).map(f64::from).collect();
            let expected = x.iter().fold(0.0, |sum, value| sum + value * value);
            // Sums of small integers are exact in any order.
            assert_eq!(dot(&x, &x).to_bits(), expected.to_bits(), "length {length}");
            let sum = sum_over(&x, &x, |a, b| a * b);
            assert_eq!(sum.to_bits(), expected.to_bits(), "length {length}");
        }
    }

    #[test]
    fn norms_are_right_at_every_size() {
        let (x, y) = ([3.0, 0.0, -1.0, 2.0, 7.0], [0.5, 4.0, 1.0, -2.0, 1.0]);
        let norms = |x: &[f64], y: &[f64]| [norm(x), distance(x, y), norm_of_sum(x, y)];
        let truth = norms(&x, &y);
        for power in [-1060, -1000, -540, -500, 0, 500, 540, 1000, 1020] {
            let at = |x: &[f64]| scaled_by_power(x, power);
            for (found, truth) in norms(&at(&x), &at(&y)).into_iter().zip(truth) {
                let truth = ldexp(truth, power);
                // Subnormal numbers have fewer digits.
                let allowed = 2.0 * f64::EPSILON * truth + f64::from_bits(4);
                assert!((found - truth).abs() <= allowed, "2^{power}: {found:e} {truth:e}");
            }
        }
        let far = distance(&[1e308, 0.0], &[-0.5e308, 0.0]);
        assert!((far - 1.5e308).abs() <= 1e293, "{far:e}");
        let across = distance(&[1.2e308, 0.0], &[0.3e308, 0.0]);
        assert!((across - 0.9e308).abs() <= 1e293, "{across:e}");
        assert!(norm(&[f64::NAN, 0.0]).is_nan());
        assert!(distance(&[f64::MAX], &[f64::MIN]).is_infinite());
    }

    #[test]
    fn powers_of_two_are_taken_out_and_put_back() {
        for x in [1.0, -1.5, 0.1, 1e308, f64::MAX, f64::MIN_POSITIVE, 5e-324, 3e-310] {
            let power = exponent(x);
            let mantissa = ldexp(x, -power);
            assert!((1.0..2.0).contains(&mantissa.abs()), "{x:e}: {mantissa}");
            assert_eq!(ldexp(mantissa, power).to_bits(), x.to_bits());
        }
        assert_eq!(exponent(0.0), 0);
    }

    #[test]
    fn messages_show_short_numbers() {
        let shown = |x: f64| format!("{} {:.4}", Shown(&x), Shown(&x));
        assert_eq!(shown(0.0), "0 0.0000");
        assert_eq!(shown(1.25), "1.25 1.2500");
        assert_eq!(shown(-1e200), "-1e200 -1.0000e200");
        assert_eq!(shown(2.5e-300), "2.5e-300 2.5000e-300");
    }

    #[test]
    fn the_boundary_factor_does_not_cancel() {
        // 1 - (1-h)² = 2h - h², exactly known for h a power of two.
        let h = 2.0_f64.powi(-50);
        let got = one_minus_norm_squared(1.0, &[1.0 - h]);
        let expected = 2.0 * h - h * h;
        assert!((got - expected).abs() <= 2.0 * f64::EPSILON * expected);
        // (3/5)² + (4/5)² = 1 needs the rounding errors of both inputs to come out right.
        let (a, b) = (0.6_f64, 0.8_f64);
        let (a_square, a_error) = two_product(a, a);
        let (b_square, b_error) = two_product(b, b);
        let exact = ((1.0 - a_square) - b_square) - (a_error + b_error);
        assert!((one_minus_norm_squared(1.0, &[a, b]) - exact).abs() < 1e-30);
    }

    #[test]
    fn removable_singularities_are_removed() {
        for t in [0.0, 1e-200, 1e-9, 9.9e-5, 1.1e-4] {
            assert!((sinhc(t) - 1.0).abs() < 1e-8);
            assert!((sinc(t) - 1.0).abs() < 1e-8);
            assert!((tanhc(t) - 1.0).abs() < 1e-8);
        }
    }
}
