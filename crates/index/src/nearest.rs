//! The best candidates seen so far.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::metric::Lane;

/// A row that may become a hit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<T> {
    pub(crate) rank: T,
    /// The row's key in the shard, which orders equal ranks.
    pub(crate) key: u64,
    /// Which source of the search, and which row of it.
    pub(crate) source: u32,
    pub(crate) row: u32,
}

impl<T: Lane> PartialEq for Candidate<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Lane> Eq for Candidate<T> {}

impl<T: Lane> PartialOrd for Candidate<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Lane> Ord for Candidate<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Ranks are never NaN.
        self.rank.partial_cmp(&other.rank).unwrap_or(Ordering::Equal).then(self.key.cmp(&other.key))
    }
}

/// Keeps the best `capacity` of what is offered, and nothing that ranks above `limit`.
pub(crate) struct Nearest<T> {
    capacity: usize,
    limit: T,
    heap: BinaryHeap<Candidate<T>>,
    dropped: bool,
}

impl<T: Lane> Nearest<T> {
    pub(crate) fn new(capacity: usize, limit: T) -> Self {
        Self { capacity, limit, heap: BinaryHeap::new(), dropped: false }
    }

    /// The largest rank that is still of interest.
    #[inline]
    pub(crate) fn worst(&self) -> T {
        if self.heap.len() < self.capacity {
            return self.limit;
        }
        self.heap.peek().map_or(self.limit, |worst| worst.rank)
    }

    /// Adds a candidate whose rank was compared with `worst()`.
    pub(crate) fn offer(&mut self, candidate: Candidate<T>) {
        if self.heap.len() < self.capacity {
            self.heap.push(candidate);
            return;
        }
        self.dropped = true;
        if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// What ranks above it is of no interest, however few there are.
    pub(crate) fn limit(&self) -> T {
        self.limit
    }

    pub(crate) fn set_limit(&mut self, limit: T) {
        self.limit = limit;
    }

    /// The most that is kept.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether candidates within the limit were given up for better ones.
    pub(crate) fn dropped(&self) -> bool {
        self.dropped
    }

    /// In no order.
    pub(crate) fn into_candidates(self) -> Vec<Candidate<T>> {
        self.heap.into_vec()
    }
}
