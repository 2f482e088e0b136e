//! The nearest rows by their true distances, for searches that must know how near is near enough.

use std::{cmp::Ordering, collections::BinaryHeap};

/// A row whose true distance is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    pub(super) distance: f64,
    /// The row's key in the shard, which orders equal distances.
    pub(super) key: u64,
    pub(super) source: u32,
    pub(super) row: u32,
}

impl PartialEq for Settled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Settled {}

impl PartialOrd for Settled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Settled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.key.cmp(&other.key))
    }
}

/// Keeps the nearest `capacity` rows within a radius, and remembers how near what it did not look
/// at may have been.
pub(super) struct Closest {
    capacity: usize,
    radius: f64,
    heap: BinaryHeap<Settled>,
    given_up: f64,
    /// Whether any row came from here.
    pub(super) used: bool,
}

impl Closest {
    pub(super) fn new(capacity: usize, radius: Option<f64>) -> Self {
        Self {
            capacity,
            radius: radius.unwrap_or(f64::INFINITY),
            heap: BinaryHeap::new(),
            given_up: f64::INFINITY,
            used: false,
        }
    }

    /// The largest distance that is still of interest.
    #[inline]
    pub(super) fn reach(&self) -> f64 {
        if self.heap.len() < self.capacity {
            return self.radius;
        }
        self.heap.peek().map_or(self.radius, |worst| worst.distance.min(self.radius))
    }

    /// Notes that rows at `least` or farther, which is not below `reach()`, are not looked at.
    #[inline]
    pub(super) fn pass_over(&mut self, least: f64) {
        // While there is room for more, only what lies beyond the radius is passed over.
        if self.heap.len() >= self.capacity {
            self.given_up = self.given_up.min(least);
        }
    }

    /// Adds a row whose distance was compared with `reach()`.
    pub(super) fn offer(&mut self, settled: Settled) {
        if self.heap.len() < self.capacity {
            self.heap.push(settled);
            return;
        }
        let mut passed_over = settled;
        if let Some(mut worst) = self.heap.peek_mut()
            && settled < *worst
        {
            passed_over = *worst;
            *worst = settled;
        }
        self.pass_over(passed_over.distance);
    }

    /// A distance that everything within the radius that is not here is at least away; `None` if
    /// nothing is missing.
    pub(super) fn given_up(&self) -> Option<f64> {
        self.given_up.is_finite().then_some(self.given_up)
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Settled> {
        self.heap.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
