//! Finding the nearest rows that pass a filter.
//!
//! Every row is followed as in a walk without a filter, but only rows that pass are counted: the
//! pool grows until it holds as many of them as are wanted, and no farther. So it adapts to
//! filters that pass more, or fewer, of the rows near the query than elsewhere.

use super::walk::{PASSES, Scratch, Seen, TimedOut, Walk};
use crate::metric::Lane;

/// How many rows for each one wanted tell how rare those are that pass.
const SAMPLE: usize = 8;

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As many rows as were wanted were found, or links lead to no more.
    Found,
    /// It would have cost more than was allowed.
    TooDear,
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rows wanted that pass.
    pub(crate) wanted: usize,
    /// Rows in the pool at most, whether they pass or not.
    pub(crate) most: usize,
}

impl Extent {
    /// Whether the most is reached, or would have to be twice as many if what passes stays as rare
    /// as it is among the first.
    fn is_too_dear(self, passing: usize, pooled: usize) -> bool {
        if passing >= self.wanted {
            return false;
        }
        let is_rare = || {
            let reached = passing.saturating_mul(self.most).saturating_mul(2);
            pooled >= self.wanted.saturating_mul(SAMPLE) && reached < self.wanted * pooled
        };
        pooled >= self.most || is_rare()
    }
}

impl<T: Lane> Walk<'_, T> {
    /// Fills the scratch's pool with the nearest rows that links lead to, up to the last of those
    /// wanted that pass. What passes is asked of each row that comes into the pool, once.
    pub(crate) fn nearest_passing(
        &mut self,
        extent: Extent,
        mut passes: impl FnMut(u32) -> bool,
        scratch: &mut Scratch<T>,
    ) -> Result<Ended, TimedOut> {
        if self.links.rows() == 0 {
            scratch.begin(0);
            return Ok(Ended::Found);
        }
        self.start(scratch);
        let (mut passing, mut next, mut followed) = (0, 0, 0);
        take_passing(extent, &mut passes, scratch, &mut passing, &mut next);
        while let Some(slot) = scratch.follow(&mut next) {
            scratch.fresh(self.links.base_of(slot));
            self.rank_slots(scratch);
            take_passing(extent, &mut passes, scratch, &mut passing, &mut next);
            if extent.is_too_dear(passing, scratch.pool.len()) {
                return Ok(Ended::TooDear);
            }
            self.prefetch_next(scratch, next);
            followed += 1;
            self.check_clock(followed)?;
        }
        Ok(Ended::Found)
    }
}

/// Moves ranked slots into the pool, and `next` back to the first that came before it; what comes
/// after the last row wanted goes.
#[inline]
fn take_passing<T: Lane>(
    extent: Extent,
    passes: &mut impl FnMut(u32) -> bool,
    scratch: &mut Scratch<T>,
    passing: &mut usize,
    next: &mut usize,
) {
    let pool = &mut scratch.pool;
    for (&slot, &rank) in scratch.slots.iter().zip(&scratch.ranks) {
        if *passing >= extent.wanted && pool.last().is_some_and(|last| rank >= last.rank) {
            continue;
        }
        let position = pool.partition_point(|seen| seen.rank <= rank);
        let mark = if passes(slot) { PASSES } else { 0 };
        pool.insert(position, Seen { rank, slot: slot | mark });
        *next = (*next).min(position);
        if mark == 0 {
            continue;
        }
        *passing += 1;
        if *passing < extent.wanted {
            continue;
        }
        // The last to stay is the last one wanted.
        let mut surplus = *passing - extent.wanted;
        while let Some(last) = pool.last() {
            let is_passing = last.slot & PASSES != 0;
            if is_passing && surplus == 0 {
                break;
            }
            surplus -= usize::from(is_passing);
            pool.pop();
        }
        *passing = extent.wanted;
    }
    *next = (*next).min(pool.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_given_up_when_what_passes_is_too_rare() {
        let extent = Extent { wanted: 64, most: 3_200 };
        assert!(!extent.is_too_dear(64, 3_200), "all are found");
        assert!(extent.is_too_dear(63, 3_200));
        assert!(!extent.is_too_dear(32, 3_199));
        assert!(!extent.is_too_dear(0, 511), "too early to tell");
        assert!(extent.is_too_dear(5, 512), "one in a hundred");
        assert!(!extent.is_too_dear(6, 512));
    }
}
