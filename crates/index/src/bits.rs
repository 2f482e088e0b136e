//! One bit per row, set once and read without a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Which rows are dead.
pub(crate) struct DeadRows {
    words: Box<[AtomicU64]>,
    count: AtomicUsize,
}

impl DeadRows {
    /// All alive.
    pub(crate) fn none(rows: usize) -> Self {
        Self {
            words: (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
        }
    }

    /// Marks a row; false if it was dead already or does not exist.
    pub(crate) fn set(&self, row: usize) -> bool {
        let Some(word) = self.words.get(row / 64) else { return false };
        let bit = 1_u64 << (row % 64);
        let fresh = word.fetch_or(bit, Ordering::AcqRel) & bit == 0;
        if fresh {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        fresh
    }

    #[inline]
    pub(crate) fn is_dead(&self, row: usize) -> bool {
        self.words
            .get(row / 64)
            .is_none_or(|word| word.load(Ordering::Acquire) & (1_u64 << (row % 64)) != 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_once_and_counts() {
        let dead = DeadRows::none(70);
        assert!(dead.set(69));
        assert!(!dead.set(69));
        assert!(dead.is_dead(69));
        assert!(!dead.is_dead(0));
        assert_eq!(dead.count(), 1);
        assert!(!dead.set(1_000), "a row that does not exist");
    }
}
