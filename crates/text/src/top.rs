//! The best k of what is offered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::scoring::TextHit;

pub(crate) struct Top {
    most: usize,
    /// The worst on top.
    heap: BinaryHeap<Worst>,
}

struct Worst(TextHit);

/// The better first: the higher score, then the lower key.
fn better(left: (f64, u64), right: (f64, u64)) -> Ordering {
    right.0.total_cmp(&left.0).then(left.1.cmp(&right.1))
}

impl Worst {
    fn rank(&self) -> (f64, u64) {
        (self.0.score, self.0.key)
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        better(self.rank(), other.rank())
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Worst {}

impl Top {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    /// Whether this would be among them.
    pub(crate) fn wants(&self, score: f64, key: u64) -> bool {
        if self.heap.len() < self.most {
            return true;
        }
        self.heap.peek().is_some_and(|worst| better((score, key), worst.rank()).is_lt())
    }

    /// Takes a hit that is wanted.
    pub(crate) fn push(&mut self, hit: TextHit) {
        self.heap.push(Worst(hit));
        if self.heap.len() > self.most {
            self.heap.pop();
        }
    }

    /// Best first.
    pub(crate) fn into_hits(self) -> Vec<TextHit> {
        self.heap.into_sorted_vec().into_iter().map(|Worst(hit)| hit).collect()
    }
}
