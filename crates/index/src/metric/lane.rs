//! The two kinds of number that rows are made of.

#![expect(clippy::inline_always, reason = "kernels are compiled once per instruction set")]

use std::{
    fmt::Debug,
    ops::{Add, Mul, Sub},
};

use bytemuck::Pod;
use hvs_geometry::Precision;
use usearch::{ScalarKind, VectorType};

/// A floating-point number that rows, keys and stored vectors are made of: `f32` or `f64`.
pub(crate) trait Lane:
    Pod
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + VectorType
    + 'static
{
    const ZERO: Self;
    const MAX: Self;
    const INFINITY: Self;
    /// Twice the largest relative rounding error.
    const EPSILON: f64;
    const KIND: ScalarKind;
    const PRECISION: Precision;
    /// How files call it.
    const NAME: &'static str;

    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    /// The smaller of two; `other` when `self` is NaN.
    fn min_or(self, other: Self) -> Self;
}

impl Lane for f32 {
    const ZERO: Self = 0.0;
    const MAX: Self = f32::MAX;
    const INFINITY: Self = f32::INFINITY;
    const EPSILON: f64 = f32::EPSILON as f64;
    const KIND: ScalarKind = ScalarKind::F32;
    const PRECISION: Precision = Precision::F32;
    const NAME: &'static str = "f32";

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rounding to the row's precision")]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn min_or(self, other: Self) -> Self {
        self.min(other)
    }
}

impl Lane for f64 {
    const ZERO: Self = 0.0;
    const MAX: Self = f64::MAX;
    const INFINITY: Self = f64::INFINITY;
    const EPSILON: f64 = f64::EPSILON;
    const KIND: ScalarKind = ScalarKind::F64;
    const PRECISION: Precision = Precision::F64;
    const NAME: &'static str = "f64";

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn min_or(self, other: Self) -> Self {
        self.min(other)
    }
}
