//! Loops over rows, compiled for the instruction sets that machines have.

#![expect(clippy::inline_always, reason = "kernels are compiled once per instruction set")]

use super::{Lane, formula::Formula};

/// Keys of one row against others.
pub(crate) trait Kernel<T>: Send + Sync {
    /// The key of two rows.
    fn pair(&self, a: &[T], b: &[T]) -> T;

    /// Keys of `query` against the rows at `slots` of a matrix with rows as long as the query.
    /// Slots outside it get the largest key.
    fn gather(&self, query: &[T], rows: &[T], slots: &[u32], keys: &mut Vec<T>);

    /// Keys of `query` against each row of the matrix.
    fn scan(&self, query: &[T], rows: &[T], keys: &mut Vec<T>);
}

/// The kernel of a formula for this machine.
pub(crate) fn kernel<T: Lane, F: Formula<T>>(formula: F) -> Box<dyn Kernel<T>> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return Box::new(avx2::Avx2::detected(formula));
    }
    Box::new(Portable(formula))
}

/// For any instruction set.
pub(crate) struct Portable<F>(pub(crate) F);

impl<T: Lane, F: Formula<T>> Kernel<T> for Portable<F> {
    fn pair(&self, a: &[T], b: &[T]) -> T {
        self.0.key(a, b)
    }

    fn gather(&self, query: &[T], rows: &[T], slots: &[u32], keys: &mut Vec<T>) {
        gather(&self.0, query, rows, slots, keys);
    }

    fn scan(&self, query: &[T], rows: &[T], keys: &mut Vec<T>) {
        scan(&self.0, query, rows, keys);
    }
}

#[inline(always)]
fn row_at<T>(rows: &[T], slot: u32, lanes: usize) -> Option<&[T]> {
    let start = (slot as usize).checked_mul(lanes)?;
    rows.get(start..start.checked_add(lanes)?)
}

#[inline(always)]
fn gather<T: Lane, F: Formula<T>>(
    formula: &F,
    query: &[T],
    rows: &[T],
    slots: &[u32],
    keys: &mut Vec<T>,
) {
    keys.clear();
    for &slot in slots {
        if let Some(row) = row_at(rows, slot, query.len()) {
            prefetch(row);
        }
    }
    keys.extend(slots.iter().map(|&slot| {
        row_at(rows, slot, query.len()).map_or(T::MAX, |row| formula.key(query, row))
    }));
}

#[inline(always)]
fn scan<T: Lane, F: Formula<T>>(formula: &F, query: &[T], rows: &[T], keys: &mut Vec<T>) {
    keys.clear();
    if !query.is_empty() {
        keys.extend(rows.chunks_exact(query.len()).map(|row| formula.key(query, row)));
    }
}

/// Asks for a row's cache lines, so that many arrive at once instead of one after the other.
#[inline(always)]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        const LINE: usize = 64;
        /// Further lines follow by the machine's own stream detection.
        const MOST: usize = 4;
        let bytes = size_of_val(row);
        let start = row.as_ptr().cast::<i8>();
        for line in 0..bytes.div_ceil(LINE).min(MOST) {
            #[allow(unsafe_code, reason = "the prefetch instruction has no safe form")]
            // SAFETY: a prefetch reads nothing that a program can observe and cannot fault;
            // the address lies within the row.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Formula, Kernel, Lane};

    /// Proves by existing that the machine has AVX2.
    pub(super) struct Avx2<F>(F);

    impl<F> Avx2<F> {
        /// The caller has seen that the machine has AVX2.
        pub(super) fn detected(formula: F) -> Self {
            debug_assert!(std::arch::is_x86_feature_detected!("avx2"), "checked by the caller");
            Self(formula)
        }
    }

    impl<T: Lane, F: Formula<T>> Kernel<T> for Avx2<F> {
        fn pair(&self, a: &[T], b: &[T]) -> T {
            #[allow(unsafe_code, reason = "calls a function compiled for AVX2")]
            // SAFETY: an `Avx2` exists only where AVX2 was detected.
            unsafe {
                pair(&self.0, a, b)
            }
        }

        fn gather(&self, query: &[T], rows: &[T], slots: &[u32], keys: &mut Vec<T>) {
            #[allow(unsafe_code, reason = "calls a function compiled for AVX2")]
            // SAFETY: an `Avx2` exists only where AVX2 was detected.
            unsafe {
                gather(&self.0, query, rows, slots, keys);
            }
        }

        fn scan(&self, query: &[T], rows: &[T], keys: &mut Vec<T>) {
            #[allow(unsafe_code, reason = "calls a function compiled for AVX2")]
            // SAFETY: an `Avx2` exists only where AVX2 was detected.
            unsafe {
                scan(&self.0, query, rows, keys);
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn pair<T: Lane, F: Formula<T>>(formula: &F, a: &[T], b: &[T]) -> T {
        formula.key(a, b)
    }

    #[target_feature(enable = "avx2")]
    fn gather<T: Lane, F: Formula<T>>(
        formula: &F,
        query: &[T],
        rows: &[T],
        slots: &[u32],
        keys: &mut Vec<T>,
    ) {
        super::gather(formula, query, rows, slots, keys);
    }

    #[target_feature(enable = "avx2")]
    fn scan<T: Lane, F: Formula<T>>(formula: &F, query: &[T], rows: &[T], keys: &mut Vec<T>) {
        super::scan(formula, query, rows, keys);
    }
}
