//! Building a tree: rows are split in two until few are left.

use super::{NONE, Tree, volume};
use crate::{
    metric::{Lane, Metric},
    random::Random,
};

/// Leaves hold at most this many rows.
const LEAF: usize = 24;
/// A split that leaves less than one part in so many on one side is made in the middle instead.
const LOPSIDED: usize = 16;
/// Rows up to which much effort is spent on a small volume.
const SMALL: usize = 4_096;

/// The order in which rows are to be laid out, and the tree over them in that order. `stored`
/// gives the vector of a row in the order that `ranking` has now. `None` if a vector lies off its
/// space, or `stop` asks to give up.
pub(crate) fn build<'a, T: Lane>(
    metric: &Metric<T>,
    ranking: &[T],
    stored: &dyn Fn(usize) -> &'a [T],
    stop: &dyn Fn() -> bool,
) -> Option<(Vec<u32>, Tree)> {
    let count = u32::try_from(ranking.len() / metric.lanes().max(1)).unwrap_or(u32::MAX);
    let mut order: Vec<u32> = (0..count).collect();
    let mut builder = Builder {
        metric,
        ranking,
        stored,
        stop,
        random: Random(0x5EED),
        ranks: Vec::new(),
        far: Vec::new(),
        tree: Tree::default(),
    };
    builder.grow(&mut order)?;
    Some((order, builder.tree))
}

struct Builder<'a, 'b, T> {
    metric: &'b Metric<T>,
    ranking: &'b [T],
    stored: &'b dyn Fn(usize) -> &'a [T],
    stop: &'b dyn Fn() -> bool,
    random: Random,
    ranks: Vec<T>,
    far: Vec<T>,
    tree: Tree,
}

/// What is still to become a node.
struct Pending {
    start: usize,
    end: usize,
    /// The node whose right child it becomes.
    parent: Option<usize>,
}

impl<'b, T: Lane> Builder<'_, 'b, T> {
    fn grow(&mut self, order: &mut [u32]) -> Option<()> {
        let mut pending = vec![Pending { start: 0, end: order.len(), parent: None }];
        while let Some(Pending { start, end, parent }) = pending.pop() {
            if (self.stop)() {
                return None;
            }
            let group = order.get_mut(start..end).filter(|group| !group.is_empty())?;
            let number = self.tree.nodes.len();
            self.enclose(group)?;
            let row = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
            self.tree.nodes.push([row(start), row(end), NONE, 0]);
            if let Some(parent) = parent.and_then(|parent| self.tree.nodes.get_mut(parent)) {
                let [_, _, right, _] = parent;
                *right = row(number);
            }
            if group.len() > LEAF {
                let middle = start + self.split(group)?;
                pending.push(Pending { start: middle, end, parent: Some(number) });
                pending.push(Pending { start, end: middle, parent: None });
            }
        }
        Some(())
    }

    fn enclose(&mut self, group: &[u32]) -> Option<()> {
        let effort = if group.len() <= SMALL { 12 } else { 3 };
        let mut wide = Vec::new();
        let stored = self.stored;
        let wide = std::cell::RefCell::new(&mut wide);
        volume::enclose(
            self.metric,
            effort,
            &|look| {
                let mut wide = wide.borrow_mut();
                for &row in group {
                    wide.clear();
                    wide.extend(stored(row as usize).iter().map(|lane| lane.to_f64()));
                    look(wide.as_slice());
                }
            },
            &mut self.tree.volumes,
        )
    }

    /// Parts a group by which of two far apart rows its rows are nearer to; how many are left of
    /// the border.
    fn split(&mut self, group: &mut [u32]) -> Option<usize> {
        let start = *group.get(self.random.below(group.len()))?;
        let left = self.farthest(start, group)?;
        let right = self.farthest(left, group)?;
        // After the second call `ranks` are against `left`.
        std::mem::swap(&mut self.ranks, &mut self.far);
        let row = self.row(right)?;
        self.metric.kernel().gather(row, self.ranking, group, &mut self.ranks);
        let mut sided: Vec<(f64, u32)> = self
            .far
            .iter()
            .zip(&self.ranks)
            .zip(group.iter())
            .map(|((&to_left, &to_right), &row)| (lean(to_left, to_right), row))
            .collect();
        let nearer_left = sided.iter().filter(|(lean, _)| *lean < 0.5).count();
        let least = (group.len() / LOPSIDED).max(1);
        let middle = if nearer_left < least || group.len() - nearer_left < least {
            group.len() / 2
        } else {
            nearer_left
        };
        sided.select_nth_unstable_by(middle, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (slot, (_, row)) in group.iter_mut().zip(sided) {
            *slot = row;
        }
        Some(middle)
    }

    /// The row of the group farthest from `from`; leaves the group's ranks behind.
    fn farthest(&mut self, from: u32, group: &[u32]) -> Option<u32> {
        let row = self.row(from)?;
        self.metric.kernel().gather(row, self.ranking, group, &mut self.ranks);
        let mut best = (T::ZERO, from);
        for (&rank, &row) in self.ranks.iter().zip(group) {
            if rank > best.0 {
                best = (rank, row);
            }
        }
        Some(best.1)
    }

    fn row(&self, row: u32) -> Option<&'b [T]> {
        let start = row as usize * self.metric.lanes();
        self.ranking.get(start..start + self.metric.lanes())
    }
}

/// How much nearer to the left than to the right, below a half if it is nearer.
fn lean<T: Lane>(to_left: T, to_right: T) -> f64 {
    let (left, right) = (to_left.to_f64(), to_right.to_f64());
    (left + 1e-9) / (left + right + 2e-9)
}
