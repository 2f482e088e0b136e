//! Finding near rows by following links.

use std::time::Instant;

use super::{LinksView, NONE};
use crate::{
    codec::CodedQuery,
    metric::{
        Lane,
        kernel::{Kernel, prefetch},
    },
};

/// Marks a pool entry whose links were followed.
const FOLLOWED: u32 = 1 << 31;
/// Marks a pool entry that passes a filter.
pub(super) const PASSES: u32 = 1 << 30;
/// Rows followed between two looks at the clock.
const CLOCK_EVERY: u32 = 64;

/// A row and its rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<T> {
    pub(super) rank: T,
    /// With the marks above.
    pub(super) slot: u32,
}

/// What a walk needs besides the graph, kept between walks.
pub(crate) struct Scratch<T> {
    visited: Vec<u64>,
    touched: Vec<u32>,
    pub(super) pool: Vec<Seen<T>>,
    within: Vec<Seen<T>>,
    pub(super) slots: Vec<u32>,
    pub(super) ranks: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self {
            visited: Vec::new(),
            touched: Vec::new(),
            pool: Vec::new(),
            within: Vec::new(),
            slots: Vec::new(),
            ranks: Vec::new(),
        }
    }
}

impl<T: Lane> Scratch<T> {
    pub(super) fn begin(&mut self, rows: usize) {
        for slot in self.touched.drain(..) {
            if let Some(word) = self.visited.get_mut(slot as usize / 64) {
                *word = 0;
            }
        }
        if self.visited.len() < rows.div_ceil(64) {
            self.visited.resize(rows.div_ceil(64), 0);
        }
        self.pool.clear();
        self.within.clear();
    }

    /// Whether the slot had not been visited before; marks it.
    #[inline]
    fn visit(&mut self, slot: u32) -> bool {
        let Some(word) = self.visited.get_mut(slot as usize / 64) else { return false };
        let bit = 1_u64 << (slot % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.touched.push(slot);
        true
    }

    /// Collects into `slots` those of `links` that had not been visited.
    #[inline]
    pub(super) fn fresh(&mut self, links: &[u32]) {
        self.slots.clear();
        for &link in links {
            if link == NONE {
                break;
            }
            if self.visit(link) {
                self.slots.push(link);
            }
        }
    }

    /// The nearest row of the pool whose links were not followed, which is marked; `next` is where
    /// to look from.
    #[inline]
    pub(super) fn follow(&mut self, next: &mut usize) -> Option<u32> {
        while let Some(seen) = self.pool.get_mut(*next) {
            *next += 1;
            if seen.slot & FOLLOWED == 0 {
                seen.slot |= FOLLOWED;
                return Some(row_of(seen.slot));
            }
        }
        None
    }

    /// What the last walk found, nearest first.
    pub(crate) fn found(&self) -> impl Iterator<Item = (T, u32)> {
        self.pool.iter().map(|seen| (seen.rank, row_of(seen.slot)))
    }

    /// Those of what the last walk found that pass its filter, nearest first.
    pub(crate) fn passing(&self) -> impl Iterator<Item = (T, u32)> {
        let passing = self.pool.iter().filter(|seen| seen.slot & PASSES != 0);
        passing.map(|seen| (seen.rank, row_of(seen.slot)))
    }

    /// What the last flood found, in no order.
    pub(crate) fn flooded(&self) -> impl Iterator<Item = (T, u32)> {
        self.within.iter().map(|seen| (seen.rank, seen.slot))
    }
}

/// The deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// One graph, its rows, and a query.
pub(crate) struct Walk<'a, T> {
    pub(crate) links: LinksView<'a>,
    pub(crate) rows: &'a [T],
    /// In place of rows, where they are quantised.
    pub(crate) codes: Option<(CodedQuery<'a, T>, &'a [u8])>,
    pub(crate) kernel: &'a dyn Kernel<T>,
    pub(crate) query: &'a [T],
    pub(crate) deadline: Option<Instant>,
    /// Distances computed.
    pub(crate) computed: usize,
}

impl<T: Lane> Walk<'_, T> {
    /// Fills the scratch's pool with the `ef` nearest rows that links lead to. Rows whose rank is
    /// at most `within` are collected besides.
    pub(crate) fn nearest(
        &mut self,
        ef: usize,
        within: Option<T>,
        scratch: &mut Scratch<T>,
    ) -> Result<(), TimedOut> {
        if self.links.rows() == 0 {
            scratch.begin(0);
            return Ok(());
        }
        self.start(scratch);
        let mut next = 0;
        Self::take(ef, within, scratch, &mut next);
        let mut followed = 0;
        while let Some(slot) = scratch.follow(&mut next) {
            scratch.fresh(self.links.base_of(slot));
            self.rank_slots(scratch);
            Self::take(ef, within, scratch, &mut next);
            self.prefetch_next(scratch, next);
            followed += 1;
            self.check_clock(followed)?;
        }
        Ok(())
    }

    /// Ranks the rows where a walk of the base layer starts; the pool is empty.
    pub(super) fn start(&mut self, scratch: &mut Scratch<T>) {
        scratch.begin(self.links.rows());
        let entry = self.descend(scratch);
        scratch.begin(self.links.rows());
        scratch.slots.clear();
        for start in std::iter::once(entry).chain(self.links.orphans.iter().copied()) {
            if scratch.visit(start) {
                scratch.slots.push(start);
            }
        }
        self.rank_slots(scratch);
    }

    /// Asks for the links that are likely to be followed next.
    #[inline]
    pub(super) fn prefetch_next(&self, scratch: &Scratch<T>, next: usize) {
        if let Some(seen) = scratch.pool.get(next) {
            prefetch(self.links.base_of(row_of(seen.slot)));
        }
    }

    /// Collects, beyond what `nearest` collected, every row of rank at most `within` that links
    /// between such rows lead to, but stops when there are more than `most`.
    pub(crate) fn flood(
        &mut self,
        within: T,
        most: usize,
        scratch: &mut Scratch<T>,
    ) -> Result<(), TimedOut> {
        let mut next = 0;
        let mut followed = 0;
        while let Some(&Seen { slot, .. }) = scratch.within.get(next) {
            if scratch.within.len() > most {
                return Ok(());
            }
            next += 1;
            scratch.fresh(self.links.base_of(slot));
            self.rank_slots(scratch);
            for (&slot, &rank) in scratch.slots.iter().zip(&scratch.ranks) {
                if rank <= within {
                    scratch.within.push(Seen { rank, slot });
                }
            }
            followed += 1;
            self.check_clock(followed)?;
        }
        Ok(())
    }

    /// Fills `found`, for each layer from the base on, with the `ef` nearest rows that links of that
    /// layer lead to, nearest first. Layers above the top of the graph have none.
    pub(super) fn nearest_on_layers(
        &mut self,
        ef: usize,
        scratch: &mut Scratch<T>,
        found: &mut [Vec<Seen<T>>],
    ) {
        scratch.begin(self.links.rows());
        let mut starts = vec![self.descend_to(found.len() - 1, scratch)];
        for (layer, found) in found.iter_mut().enumerate().rev() {
            if layer > self.links.shape.top {
                continue;
            }
            scratch.begin(self.links.rows());
            for seen in &starts {
                scratch.visit(seen.slot);
            }
            scratch.pool.append(&mut starts);
            let mut next = 0;
            while let Some(slot) = scratch.follow(&mut next) {
                scratch.fresh(self.links.list_of(slot, layer));
                self.rank_slots(scratch);
                Self::take(ef, None, scratch, &mut next);
                self.prefetch_next(scratch, next);
            }
            found.extend(scratch.found().map(|(rank, slot)| Seen { rank, slot }));
            starts.extend_from_slice(found);
        }
    }

    /// The row on the base layer that the upper layers lead to.
    fn descend(&mut self, scratch: &mut Scratch<T>) -> u32 {
        self.descend_to(0, scratch).slot
    }

    /// The row on a layer that those above it lead to.
    fn descend_to(&mut self, lowest: usize, scratch: &mut Scratch<T>) -> Seen<T> {
        let mut best = self.links.shape.entry;
        scratch.slots.clear();
        scratch.slots.push(best);
        self.rank_slots(scratch);
        let mut best_rank = scratch.ranks.first().copied().unwrap_or(T::MAX);
        for layer in (lowest + 1..=self.links.shape.top).rev() {
            loop {
                scratch.fresh(self.links.upper_of(best, layer));
                self.rank_slots(scratch);
                let before = best;
                for (&slot, &rank) in scratch.slots.iter().zip(&scratch.ranks) {
                    if rank < best_rank {
                        (best, best_rank) = (slot, rank);
                    }
                }
                if best == before {
                    break;
                }
            }
        }
        Seen { rank: best_rank, slot: best }
    }

    /// Ranks what is in `slots`.
    #[inline]
    pub(super) fn rank_slots(&mut self, scratch: &mut Scratch<T>) {
        self.computed += scratch.slots.len();
        if let Some((query, codes)) = &mut self.codes {
            query.gather(self.kernel, codes, &scratch.slots, &mut scratch.ranks);
            return;
        }
        self.kernel.gather(self.query, self.rows, &scratch.slots, &mut scratch.ranks);
    }

    /// Moves ranked slots into the pool, and `next` back to the first that came before it.
    #[inline]
    fn take(ef: usize, within: Option<T>, scratch: &mut Scratch<T>, next: &mut usize) {
        if let Some(within) = within {
            for (&slot, &rank) in scratch.slots.iter().zip(&scratch.ranks) {
                if rank <= within {
                    scratch.within.push(Seen { rank, slot });
                }
            }
        }
        let pool = &mut scratch.pool;
        let mut worst = if pool.len() < ef { T::INFINITY } else { pool_worst(pool) };
        for (&slot, &rank) in scratch.slots.iter().zip(&scratch.ranks) {
            if rank >= worst {
                continue;
            }
            let position = pool.partition_point(|seen| seen.rank <= rank);
            if pool.len() >= ef {
                pool.pop();
            }
            pool.insert(position.min(pool.len()), Seen { rank, slot });
            *next = (*next).min(position);
            if pool.len() >= ef {
                worst = pool_worst(pool);
            }
        }
    }

    #[inline]
    pub(super) fn check_clock(&self, followed: u32) -> Result<(), TimedOut> {
        if followed.is_multiple_of(CLOCK_EVERY)
            && let Some(deadline) = self.deadline
            && Instant::now() >= deadline
        {
            return Err(TimedOut);
        }
        Ok(())
    }
}

/// The row of a pool entry.
#[inline]
fn row_of(slot: u32) -> u32 {
    slot & !(FOLLOWED | PASSES)
}

#[inline]
fn pool_worst<T: Lane>(pool: &[Seen<T>]) -> T {
    pool.last().map_or(T::INFINITY, |seen| seen.rank)
}
