//! The order in which rows enter a graph.
//!
//! Rows near each other get numbers near each other: building and walking then touch memory that
//! is in the caches already. A random sample goes first, so that the graph's long links, which
//! only the early rows make, span the whole data.

use crate::{
    metric::{Lane, Metric},
    random::Random,
};

/// Groups of at most this many rows are left in the order they have.
const LEAF: usize = 32;
/// One row of so many goes first, in random order.
const SAMPLE: usize = 16;

/// An order of the rows of a matrix for insertion.
pub(crate) fn insertion_order<T: Lane>(metric: &Metric<T>, rows: &[T]) -> Vec<u32> {
    let count = u32::try_from(rows.len() / metric.lanes().max(1)).unwrap_or(u32::MAX);
    let mut order: Vec<u32> = (0..count).collect();
    let mut random = Random(0x5EED);
    let sample = order.len() / SAMPLE;
    for position in 0..sample {
        let other = position + random.below(order.len() - position);
        order.swap(position, other);
    }
    let mut splitter = Splitter { metric, rows, random, ranks: Vec::new(), far: Vec::new() };
    if let Some(rest) = order.get_mut(sample..) {
        splitter.split(rest);
    }
    order
}

/// Splits groups of rows in two by which of two far apart rows they are nearer to.
struct Splitter<'a, T> {
    metric: &'a Metric<T>,
    rows: &'a [T],
    random: Random,
    ranks: Vec<T>,
    far: Vec<T>,
}

impl<'a, T: Lane> Splitter<'a, T> {
    fn split(&mut self, group: &mut [u32]) {
        if group.len() <= LEAF {
            return;
        }
        let middle = group.len() / 2;
        let Some(&start) = group.get(self.random.below(group.len())) else { return };
        let Some(left) = self.farthest(start, group) else { return };
        let Some(right) = self.farthest(left, group) else { return };
        // After the second call `ranks` are against `left`.
        std::mem::swap(&mut self.ranks, &mut self.far);
        let Some(row) = self.row(right) else { return };
        self.metric.kernel().gather(row, self.rows, group, &mut self.ranks);
        let mut sided: Vec<(T, u32)> = self
            .far
            .iter()
            .zip(&self.ranks)
            .zip(group.iter())
            .map(|((&to_left, &to_right), &row)| (lean(to_left, to_right), row))
            .collect();
        sided.select_nth_unstable_by(middle, |a, b| {
            a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1))
        });
        for (slot, (_, row)) in group.iter_mut().zip(sided) {
            *slot = row;
        }
        let (left, right) = group.split_at_mut(middle);
        self.split(left);
        self.split(right);
    }

    /// The row of the group farthest from `from`; leaves the group's ranks behind.
    fn farthest(&mut self, from: u32, group: &[u32]) -> Option<u32> {
        let row = self.row(from)?;
        self.metric.kernel().gather(row, self.rows, group, &mut self.ranks);
        let mut best = (T::ZERO, from);
        for (&rank, &row) in self.ranks.iter().zip(group) {
            if rank > best.0 {
                best = (rank, row);
            }
        }
        Some(best.1)
    }

    fn row(&self, row: u32) -> Option<&'a [T]> {
        let start = row as usize * self.metric.lanes();
        self.rows.get(start..start + self.metric.lanes())
    }
}

/// How much nearer to the left than to the right, monotone for any kind of rank.
fn lean<T: Lane>(to_left: T, to_right: T) -> T {
    let (left, right) = (to_left.to_f64(), to_right.to_f64());
    T::from_f64((left + 1e-9) / (left + right + 2e-9))
}
