//! Vector arithmetic that the geometries share: sums that keep their accuracy, and functions with
//! removable singularities.

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

/// Euclidean norm.
pub(crate) fn norm(x: &[f64]) -> f64 {
    norm_squared(x).sqrt()
}

/// Squared Euclidean distance.
pub(crate) fn distance_squared(x: &[f64], y: &[f64]) -> f64 {
    sum_over(x, y, |a, b| (a - b) * (a - b))
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
