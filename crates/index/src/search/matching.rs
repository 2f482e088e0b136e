//! Looking only at the rows that may pass a filter.

use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

use super::{Run, Searcher};
use crate::{
    graph::walk::TimedOut,
    metric::Lane,
    nearest::Candidate,
    ranker::Prepared,
    request::{KnownKeys, SearchRequest},
    segment::Segment,
};

/// Rows compared between two looks at the clock.
const CHUNK: usize = 512;
/// A walk costs as much per candidate as so many matching rows whose places are known: measured at
/// 11 (100,000 rows, Euclidean, 96 dimensions) and 18 (200,000, hyperboloid, 12).
const ROWS_PER_CANDIDATE: usize = 16;
/// So many rows are compared in order while one is that must be found first: 3 to 5 were measured.
const ROWS_IN_ORDER: usize = 4;

/// How many rows of a segment may pass a filter, dead ones included.
#[derive(Debug, Clone, Copy)]
pub(super) struct MayPass {
    /// All of them.
    pub(super) count: usize,
    /// Those of which it is not known.
    unsure: usize,
}

impl MayPass {
    /// Whether most of them are known to pass, so that their share says how many do.
    pub(super) fn is_telling(self) -> bool {
        self.unsure <= self.count / 2
    }
}

/// How many rows of a segment may pass, if that is known of all of them.
pub(super) fn may_pass<T: Lane>(
    segment: &Segment<T>,
    request: &SearchRequest<'_>,
) -> Option<MayPass> {
    request.accept?;
    let known = request.known.as_ref()?;
    let range = key_range(segment)?;
    if *range.end() >= known.below {
        return None;
    }
    let unsure = known.maybe.range_cardinality(range.clone());
    let count = known.sure.range_cardinality(range).saturating_add(unsure);
    Some(MayPass { count: usize::try_from(count).ok()?, unsure: usize::try_from(unsure).ok()? })
}

/// Whether comparing all rows that may pass costs less than walking a graph on which only they
/// are of use. A walk needs a pool that is larger by the inverse of their share.
pub(super) fn pays(count: usize, ef: usize, rows: usize) -> bool {
    count.saturating_mul(count) <= ef.saturating_mul(ROWS_PER_CANDIDATE).saturating_mul(rows)
}

/// Whether comparing all rows that may pass, here and there, costs less than comparing every row in
/// order.
pub(super) fn beats_scan(count: usize, rows: usize) -> bool {
    count.saturating_mul(ROWS_IN_ORDER) <= rows
}

fn key_range<T: Lane>(segment: &Segment<T>) -> Option<RangeInclusive<u64>> {
    let order = segment.by_key();
    let first = segment.key(*order.first()? as usize)?;
    let last = segment.key(*order.last()? as usize)?;
    Some(first..=last)
}

impl<T: Lane> Searcher<'_, T> {
    /// Compares the rows of the segment that may pass, which is the run's newest source; false if
    /// the space has no ranking rows to compare.
    pub(super) fn scan_matching(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        count: usize,
    ) -> Result<bool, TimedOut> {
        let (Some(known), Some(range)) = (run.request.known, key_range(segment)) else {
            return Ok(false);
        };
        let (Prepared::Metric(query), Some(metric)) = (&run.prepared, self.ranker.metric()) else {
            return Ok(false);
        };
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (ranking, keys) = (segment.ranking(), segment.keys());
        let slots = slots(segment, &known, range, count);
        let mut ranks = std::mem::take(&mut run.ranks);
        for chunk in slots.chunks(CHUNK) {
            run.check_clock()?;
            metric.kernel().gather(&query.row, ranking, chunk, &mut ranks);
            run.computed += chunk.len();
            let mut worst = run.nearest.worst();
            for (&row, &rank) in chunk.iter().zip(&ranks) {
                let index = row as usize;
                if rank > worst || segment.dead.is_dead(index) {
                    continue;
                }
                let Some(&key) = keys.get(index) else { continue };
                if !run.request.passes(key, || segment.id(index)) {
                    continue;
                }
                run.nearest.offer(Candidate { rank, key, source, row });
                worst = run.nearest.worst();
            }
        }
        run.ranks = ranks;
        run.matched = true;
        Ok(true)
    }
}

/// The rows of the keys that may pass.
fn slots<T: Lane>(
    segment: &Segment<T>,
    known: &KnownKeys<'_>,
    range: RangeInclusive<u64>,
    count: usize,
) -> Vec<u32> {
    let (order, keys) = (segment.by_key(), segment.keys());
    let mut slots = Vec::with_capacity(count);
    let span = range.end() - range.start();
    let is_dense = usize::try_from(span).is_ok_and(|span| span + 1 == order.len());
    for set in [known.sure, known.maybe] {
        let found = within(set, &range);
        if is_dense {
            let place = |key| usize::try_from(key - range.start()).ok();
            slots.extend(found.filter_map(|key| order.get(place(key)?).copied()));
        } else {
            // Both are in order: each search starts where the one before ended.
            let mut rest = order;
            slots.extend(found.filter_map(|key| {
                let at = gallop(rest, |&row| keys.get(row as usize).is_some_and(|k| *k < key));
                rest = rest.get(at..).unwrap_or_default();
                let row = *rest.first()?;
                (keys.get(row as usize) == Some(&key)).then_some(row)
            }));
        }
    }
    slots
}

fn within(set: &RoaringTreemap, range: &RangeInclusive<u64>) -> impl Iterator<Item = u64> {
    let last = *range.end();
    let mut keys = set.iter();
    keys.advance_to(*range.start());
    keys.take_while(move |key| *key <= last)
}

/// The number of leading elements for which the predicate holds, found in steps that double.
fn gallop<E>(sorted: &[E], is_before: impl Fn(&E) -> bool) -> usize {
    let mut step = 1;
    while sorted.get(step - 1).is_some_and(&is_before) {
        step *= 2;
    }
    let start = step / 2;
    let end = step.min(sorted.len());
    start + sorted.get(start..end).unwrap_or_default().partition_point(is_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn galloping_finds_what_a_search_from_the_start_finds() {
        for length in 0..40_u32 {
            let sorted: Vec<u32> = (0..length).map(|n| 2 * n).collect();
            for wanted in 0..82 {
                let found = gallop(&sorted, |n| *n < wanted);
                assert_eq!(found, sorted.partition_point(|n| *n < wanted), "{wanted} in {length}");
            }
        }
    }

    #[test]
    fn few_rows_are_compared_and_many_are_walked() {
        assert!(pays(10_000, 64, 1_000_000));
        assert!(!pays(100_000, 64, 1_000_000));
        assert!(pays(0, 1, 1));
    }
}
