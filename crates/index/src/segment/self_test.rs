//! Whether a segment is what its metric would make of its vectors.

use super::Segment;
use crate::{
    graph::walk::Scratch,
    metric::{Lane, Metric, kernel::Kernel},
    ranker::{Prepared, Ranker},
    tree::{TreeView, VolumeQuery},
};

/// Rows that are checked against their vectors, and found by a walk, when a segment is opened.
const SELF_TESTS: usize = 8;
const SELF_TEST_EF: usize = 128;

impl<T: Lane> Segment<T> {
    /// Checks that rows are what this metric makes of their vectors, and that walks find them.
    pub(super) fn self_test(&self, ranker: &Ranker<T>) -> Result<(), String> {
        let mut scratch = Scratch::default();
        let (mut tried, mut found) = (0, 0);
        for row in (0..self.rows).step_by((self.rows / SELF_TESTS).max(1)).take(SELF_TESTS) {
            let stored: Vec<f64> =
                self.stored(row).unwrap_or_default().iter().map(|lane| lane.to_f64()).collect();
            let Ok(prepared) = ranker.prepare(&stored) else {
                return Err(format!("the vector of row {row} does not lie on the space"));
            };
            let Prepared::Metric(query) = &prepared else { return Ok(()) };
            let start = row * self.lanes;
            let is_same = if let Some((codec, codes)) = self.codes() {
                let (start, mut code) = (row * codec.stride(), Vec::new());
                codec.encode(&query.row, &mut code);
                codes.get(start..start + codec.stride()) == Some(code.as_slice())
            } else {
                self.ranking().get(start..start + self.lanes) == Some(query.row.as_slice())
            };
            if !is_same {
                return Err(format!("row {row} was made by another metric"));
            }
            if let (Some(tree), Some(metric)) = (self.tree(), ranker.metric()) {
                self_test_tree(tree, metric, row, query.stored())?;
            }
            let Some(mut walk) = self.walk(ranker, &query.row) else { continue };
            tried += 1;
            let own = self.own_rank(walk.kernel, &query.row, row);
            if walk.nearest(SELF_TEST_EF.min(self.rows), None, &mut scratch).is_ok()
                && scratch.found().next().map(|(rank, _)| rank) <= own
            {
                found += 1;
            }
        }
        // A graph may miss a row now and then; half of them it does not.
        if found * 2 < tried {
            return Err(format!("walks found {found} of {tried} rows themselves"));
        }
        Ok(())
    }

    /// The rank that a row has from its own vector: codes are not quite at its place.
    fn own_rank(&self, kernel: &dyn Kernel<T>, own: &[T], row: usize) -> Option<T> {
        let Some((codec, codes)) = self.codes() else { return Some(kernel.pair(own, own)) };
        let code = codes.get(row * codec.stride()..(row + 1) * codec.stride())?;
        let mut ranks = Vec::new();
        codec.query(own).scan(kernel, code, &mut ranks);
        ranks.first().copied()
    }
}

/// Checks that the volumes that should hold a row do.
fn self_test_tree<T: Lane>(
    tree: TreeView<'_>,
    metric: &Metric<T>,
    row: usize,
    stored: &[f64],
) -> Result<(), String> {
    let query = VolumeQuery::of(metric, stored);
    let leaf = u32::try_from(row).ok().and_then(|row| tree.leaf_of(row));
    let (Some(query), Some(leaf)) = (query, leaf) else {
        return Err(format!("the tree has no leaf for row {row}"));
    };
    for number in [0, leaf] {
        let least = query.at_least(tree.volume(number));
        if least > 0.0 {
            return Err(format!("row {row} lies {least} outside its volume"));
        }
    }
    Ok(())
}
