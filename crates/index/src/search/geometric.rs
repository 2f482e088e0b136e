//! Exact search of a tree of volumes: what is provably too far is never looked at.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{Run, Searcher, closest::Settled};
use crate::{
    graph::walk::TimedOut,
    metric::{Lane, Metric},
    ranker::Prepared,
    segment::Segment,
    tree::{NONE, TreeView, VolumeQuery},
};

/// Nodes opened between two looks at the clock.
const CLOCK_EVERY: usize = 64;

/// A node that is still of interest, the nearest first.
struct Open {
    least: f64,
    node: u32,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        other.least.total_cmp(&self.least).then(other.node.cmp(&self.node))
    }
}

/// The measure beyond which nothing is of interest, and the least that was passed over for it.
struct Border {
    reach: f64,
    measure: f64,
    passed_over: f64,
}

impl Border {
    fn new(query: &VolumeQuery, reach: f64) -> Self {
        Self { reach, measure: query.measure(reach), passed_over: f64::INFINITY }
    }

    #[inline]
    fn update(&mut self, query: &VolumeQuery, reach: f64) {
        if reach < self.reach {
            self.reach = reach;
            self.measure = query.measure(reach);
        }
    }

    #[inline]
    fn pass_over(&mut self, least: f64) {
        self.passed_over = self.passed_over.min(least);
    }
}

/// What looking at leaves needs, kept from one to the next.
struct Leaves<'a, T> {
    metric: &'a Metric<T>,
    segment: &'a Segment<T>,
    ranking: &'a [T],
    stored: &'a [T],
    query: &'a VolumeQuery,
    source: u32,
    reach: Vec<f64>,
    wide: Vec<f64>,
}

impl<T: Lane> Searcher<'_, T> {
    /// Searches the segment that is the run's newest source, by its tree.
    ///
    /// A node is left out only if its volume is farther away than the k nearest rows so far, by a
    /// bound that rounding cannot break, so the answer is that of a scan.
    pub(super) fn search_tree(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        tree: TreeView<'_>,
    ) -> Result<(), TimedOut> {
        let (Some(metric), Prepared::Metric(prepared)) = (self.ranker.metric(), &run.prepared)
        else {
            return self.scan_segment(run, segment);
        };
        let Some(query) = VolumeQuery::of(metric, prepared.stored()) else {
            return self.scan_segment(run, segment);
        };
        run.closest.used = true;
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut leaves = Leaves {
            metric,
            segment,
            ranking: segment.ranking(),
            stored: segment.all_stored(),
            query: &query,
            source,
            reach: Vec::new(),
            wide: Vec::new(),
        };
        let mut open = BinaryHeap::new();
        run.computed += 1;
        open.push(Open { least: query.least(tree.volume(0)), node: 0 });
        let mut border = Border::new(&query, run.closest.reach());
        let mut opened = 0;
        while let Some(Open { least, node: number }) = open.pop() {
            border.update(&query, run.closest.reach());
            if least > border.measure {
                // So is every other one.
                border.pass_over(least);
                break;
            }
            opened += 1;
            if opened % CLOCK_EVERY == 0 {
                run.check_clock()?;
            }
            let Some(node) = tree.node(number) else { continue };
            if node.right == NONE {
                let rows = node.start as usize..node.end as usize;
                look_at_leaf(run, &mut leaves, rows, tree.volume(number));
                continue;
            }
            run.computed += 2;
            for child in [number + 1, node.right] {
                let least = query.least(tree.volume(child)).max(least);
                if least > border.measure {
                    border.pass_over(least);
                } else {
                    open.push(Open { least, node: child });
                }
            }
        }
        if border.passed_over.is_finite() {
            run.closest.pass_over(query.distance(border.passed_over));
        }
        Ok(())
    }
}

/// Offers the rows of a leaf.
fn look_at_leaf<T: Lane>(
    run: &mut Run<'_, T>,
    leaves: &mut Leaves<'_, T>,
    rows: std::ops::Range<usize>,
    volume: &[f64],
) {
    let Prepared::Metric(query) = &run.prepared else { return };
    let Leaves { metric, segment, ranking, stored, query: volumes, source, reach, wide } = leaves;
    let (lanes, length) = (metric.lanes(), metric.stored());
    let mut ranks = std::mem::take(&mut run.ranks);
    let ranking = ranking.get(rows.start * lanes..rows.end * lanes);
    metric.kernel().scan(&query.row, ranking.unwrap_or_default(), &mut ranks);
    run.computed += ranks.len();
    // Ranks may be coarse, so they only tell which rows cannot be near enough.
    let within = run.closest.reach();
    let limit = if within.is_finite() {
        volumes.reach(volume, reach);
        T::from_f64(metric.key_limit(query, within, reach).min(T::MAX.to_f64()))
    } else {
        T::MAX
    };
    for (row, &rank) in rows.zip(&ranks) {
        if segment.dead.is_dead(row) {
            continue;
        }
        if rank > limit {
            run.closest.pass_over(within);
            continue;
        }
        let vector = stored.get(row * length..(row + 1) * length).unwrap_or_default();
        wide.clear();
        wide.extend(vector.iter().map(|lane| lane.to_f64()));
        let distance = metric.true_distance(query, wide);
        // Where k rows are found an equally near one may still come before them by its key.
        if distance > run.closest.reach() {
            run.closest.pass_over(distance);
            continue;
        }
        if !distance.is_finite() || !run.lets_through(segment, row) {
            continue;
        }
        let (key, row) = (segment.key(row).unwrap_or_default(), u32::try_from(row));
        let row = row.unwrap_or(u32::MAX);
        run.closest.offer(Settled { distance, key, source: *source, row });
    }
    run.ranks = ranks;
}

impl<T: Lane> Run<'_, T> {
    /// Whether the filter lets a row of a segment through.
    pub(super) fn lets_through(&self, segment: &Segment<T>, row: usize) -> bool {
        self.request.accept.is_none()
            || segment.key(row).is_some_and(|key| self.request.passes(key, || segment.id(row)))
    }
}
