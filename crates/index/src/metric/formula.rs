//! Ranking keys of two rows: monotone in the distance, total, and free of panics.
//!
//! Everything here is inlined into the loops of `kernel`, once for the portable instruction set
//! and once for AVX2, so the code is written in fixed groups of lanes that compilers turn into
//! vector instructions. Both give the same bits: neither fuses nor reorders.

#![expect(clippy::inline_always, reason = "kernels are compiled once per instruction set")]

use super::{Lane, Part};

/// A key of two rows of equal length.
pub(crate) trait Formula<T>: Send + Sync + 'static {
    fn key(&self, a: &[T], b: &[T]) -> T;
}

/// Lanes after the direction in a hyperbolic row: sinh(r)/2, e^(r/2)/√2, e^(-r/2)/√2, unused.
pub(crate) const POLAR_EXTRA: usize = 4;

/// Sum of squared differences. Lengths beyond a multiple of four are not read: rows are padded.
#[inline(always)]
fn squared_difference<T: Lane>(a: &[T], b: &[T]) -> T {
    let mut wide = [T::ZERO; 8];
    let mut narrow = [T::ZERO; 4];
    let (a_wide, a_rest) = a.as_chunks::<8>();
    let (b_wide, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_wide.iter().zip(b_wide) {
        for ((sum, &p), &q) in wide.iter_mut().zip(x).zip(y) {
            let difference = p - q;
            *sum = *sum + difference * difference;
        }
    }
    for (x, y) in a_rest.as_chunks::<4>().0.iter().zip(b_rest.as_chunks::<4>().0) {
        for ((sum, &p), &q) in narrow.iter_mut().zip(x).zip(y) {
            let difference = p - q;
            *sum = *sum + difference * difference;
        }
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = wide;
    let [n0, n1, n2, n3] = narrow;
    ((s0 + s4 + n0) + (s1 + s5 + n1)) + ((s2 + s6 + n2) + (s3 + s7 + n3))
}

/// Finite, whatever went in: the native index must never see NaN or infinity.
#[inline(always)]
fn total<T: Lane>(key: T) -> T {
    key.min_or(T::MAX)
}

/// The polar half-angle form of the hyperbolic distance:
/// sinh²(d/2) = sinh²((r1-r2)/2) + sinh r1 · sinh r2 · |u1-u2|²/4.
#[inline(always)]
fn polar<T: Lane>(a: &[T], b: &[T], a_extra: [T; 4], b_extra: [T; 4]) -> T {
    let [s1, h1, k1, _] = a_extra;
    let [s2, h2, k2, _] = b_extra;
    let radial = h1 * k2 - k1 * h2;
    total(radial * radial + s1 * s2 * squared_difference(a, b))
}

/// Hyperbolic rows with `U` lanes of direction.
pub(crate) struct Polar<const U: usize>;

impl<T: Lane, const U: usize> Formula<T> for Polar<U> {
    #[inline(always)]
    fn key(&self, a: &[T], b: &[T]) -> T {
        let (Some((a, a_extra)), Some((b, b_extra))) =
            (a.split_first_chunk::<U>(), b.split_first_chunk::<U>())
        else {
            return T::MAX;
        };
        let (Some(a_extra), Some(b_extra)) = (a_extra.first_chunk(), b_extra.first_chunk()) else {
            return T::MAX;
        };
        polar(a, b, *a_extra, *b_extra)
    }
}

/// Hyperbolic rows of any width.
pub(crate) struct PolarAny;

impl<T: Lane> Formula<T> for PolarAny {
    #[inline(always)]
    fn key(&self, a: &[T], b: &[T]) -> T {
        let (Some((a, a_extra)), Some((b, b_extra))) =
            (a.split_last_chunk::<POLAR_EXTRA>(), b.split_last_chunk::<POLAR_EXTRA>())
        else {
            return T::MAX;
        };
        polar(a, b, *a_extra, *b_extra)
    }
}

/// Squared straight-line distance of rows of `U` lanes.
pub(crate) struct Straight<const U: usize>;

impl<T: Lane, const U: usize> Formula<T> for Straight<U> {
    #[inline(always)]
    fn key(&self, a: &[T], b: &[T]) -> T {
        let (Some(a), Some(b)) = (a.first_chunk::<U>(), b.first_chunk::<U>()) else {
            return T::MAX;
        };
        total(squared_difference(a, b))
    }
}

/// Squared straight-line distance of rows of any width.
pub(crate) struct StraightAny;

impl<T: Lane> Formula<T> for StraightAny {
    #[inline(always)]
    fn key(&self, a: &[T], b: &[T]) -> T {
        total(squared_difference(a, b))
    }
}

/// Products: the weighted sum of the components' squared distances.
pub(crate) struct Product {
    pub(crate) parts: Vec<Part>,
}

impl<T: Lane> Formula<T> for Product {
    fn key(&self, a: &[T], b: &[T]) -> T {
        let mut sum = 0.0_f64;
        let (mut a, mut b) = (a, b);
        for part in &self.parts {
            let lanes = part.shape.lanes();
            let (Some((a_part, a_rest)), Some((b_part, b_rest))) =
                (a.split_at_checked(lanes), b.split_at_checked(lanes))
            else {
                return T::MAX;
            };
            let key = if part.shape.is_hyperbolic() {
                PolarAny.key(a_part, b_part)
            } else {
                StraightAny.key(a_part, b_part)
            };
            let distance = part.shape.distance(key.to_f64());
            sum += part.weight * distance * distance;
            (a, b) = (a_rest, b_rest);
        }
        total(T::from_f64(sum))
    }
}
