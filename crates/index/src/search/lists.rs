//! Search of inverted lists: the nearest few, and more while there are too few to return.

use super::{Run, Searcher};
use crate::{
    graph::walk::TimedOut, lists::ListsView, metric::Lane, ranker::Prepared, segment::Segment,
    tree::VolumeQuery,
};

/// Lists probed, one in so many, where neither the search nor the configuration says. At least
/// [`FEWEST_PROBES`].
const AUTOMATIC_PART: usize = 8;
const FEWEST_PROBES: usize = 16;

impl<T: Lane> Searcher<'_, T> {
    /// Searches the segment that is the run's newest source, by its lists.
    pub(super) fn search_lists(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        lists: ListsView<'_, T>,
        probes: Option<usize>,
    ) -> Result<(), TimedOut> {
        let (Some(metric), Prepared::Metric(query)) = (self.ranker.metric(), &run.prepared) else {
            return self.scan_segment(run, segment);
        };
        let Some(volumes) = VolumeQuery::of(metric, query.stored()) else {
            return self.scan_segment(run, segment);
        };
        let mut ranks = std::mem::take(&mut run.ranks);
        metric.kernel().scan(&query.row, lists.centres, &mut ranks);
        run.computed += ranks.len();
        let mut order: Vec<(T, usize)> = ranks.iter().copied().zip(0..).collect();
        run.ranks = ranks;
        order.sort_unstable_by(|a, b| {
            a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1))
        });
        let automatic = || (lists.count() / AUTOMATIC_PART).max(FEWEST_PROBES);
        let probes = probes.unwrap_or_else(automatic);
        let reach = run.request.radius.map(|radius| volumes.measure(radius));
        // 0 is everything within the radius.
        let wanted = if run.request.k == 0 { usize::MAX } else { run.request.k };
        let mut coded = self.coded_query(run, segment);
        let mut offered = 0;
        let mut left_out = false;
        for (probed, &(_, list)) in order.iter().enumerate() {
            if reach.is_some_and(|reach| lists.least(&volumes, list) > reach) {
                // Nothing in it is within the radius.
                continue;
            }
            // The nearest that pass a filter are farther away than the nearest of all, and in more
            // lists: there must be as many candidates as are kept.
            let enough = offered >= wanted
                && (run.request.accept.is_none() || run.nearest.len() >= run.nearest.capacity());
            if probed >= probes && enough {
                left_out = true;
                break;
            }
            offered += self.scan_rows(run, segment, lists.rows(list), coded.as_mut())?;
        }
        run.walked |= left_out;
        Ok(())
    }
}
