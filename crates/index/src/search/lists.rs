//! Search of inverted lists: the nearest few, and more while there are too few to return.

use super::{Run, Searcher, coded::Looked};
use crate::{
    graph::walk::TimedOut, lists::ListsView, metric::Lane, ranker::Prepared, segment::Segment,
    tree::VolumeQuery,
};

/// Lists probed, one in so many, where neither the search nor the configuration says. At least
/// [`FEWEST_PROBES`].
const AUTOMATIC_PART: usize = 8;
const FEWEST_PROBES: usize = 16;

/// What a row in no particular place costs to compare, in rows of a list.
const SCATTERED: f64 = 3.0;

fn automatic_probes(lists: usize) -> usize {
    (lists / AUTOMATIC_PART).max(FEWEST_PROBES)
}

/// Whether comparing the `count` rows of `rows` that may pass a filter costs less than looking into
/// as many of the lists as that would take.
pub(super) fn matching_pays(
    count: usize,
    rows: usize,
    lists: usize,
    probes: Option<usize>,
) -> bool {
    let probes = probes.unwrap_or_else(|| automatic_probes(lists));
    let looked = Looked { near: rows, offered: count };
    let part = widened(probes, looked) as f64 / lists.max(1) as f64;
    SCATTERED * count as f64 <= rows as f64 * part.min(1.0)
}

/// How many lists to look into behind a filter: the nearest that pass are farther away than the
/// nearest of all, and in more lists. How many more depends on the data; the root of the inverse
/// of the part that passes was enough where it was measured.
fn widened(probes: usize, looked: Looked) -> usize {
    let share = looked.offered.max(1) as f64 / looked.near.max(1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of lists, and more than there are is all of them"
    )]
    let widened = (probes as f64 / share.sqrt()).ceil() as usize;
    widened.max(probes)
}

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
        let probes = probes.unwrap_or_else(|| automatic_probes(lists.count()));
        let reach = run.request.radius.map(|radius| volumes.measure(radius));
        // 0 is everything within the radius.
        let wanted = if run.request.k == 0 { usize::MAX } else { run.request.k };
        let mut coded = self.coded_query(run, segment);
        let mut looked = Looked::default();
        let mut left_out = false;
        for (probed, &(_, list)) in order.iter().enumerate() {
            if reach.is_some_and(|reach| lists.least(&volumes, list) > reach) {
                // Nothing in it is within the radius.
                continue;
            }
            let enough = looked.offered >= wanted
                && (run.request.accept.is_none() || run.nearest.len() >= run.nearest.capacity());
            if enough && probed >= widened(probes, looked) {
                left_out = true;
                break;
            }
            let list = self.scan_rows(run, segment, lists.rows(list), coded.as_mut())?;
            looked.near += list.near;
            looked.offered += list.offered;
        }
        run.walked |= left_out;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_lists_are_looked_into_the_fewer_rows_pass() {
        let looked = |offered, near| Looked { near, offered };
        assert_eq!(widened(16, looked(0, 0)), 16);
        assert_eq!(widened(16, looked(50, 50)), 16);
        assert_eq!(widened(16, looked(25, 100)), 32);
        assert_eq!(widened(16, looked(1, 10_000)), 1_600);
    }

    #[test]
    fn few_rows_are_compared_where_they_are_and_many_by_their_lists() {
        let pays = |count, probes| matching_pays(count, 100_000, 316, probes);
        assert!(pays(10_000, None) && !pays(50_000, None));
        assert!(pays(1_000, Some(1)) && !pays(10_000, Some(1)));
        assert!(pays(0, None) && matching_pays(0, 0, 0, None));
    }
}
