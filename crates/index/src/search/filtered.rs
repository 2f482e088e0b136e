//! Walking a graph until enough is found that passes a filter.

use super::{COMPARED_PER_CANDIDATE, MOST_WALKED, Run, Searcher};
use crate::{
    graph::{
        passing::{Ended, Extent},
        walk::{Scratch, TimedOut},
    },
    metric::Lane,
    nearest::Candidate,
    ranker::Prepared,
    segment::Segment,
};

impl<T: Lane> Searcher<'_, T> {
    /// Finds the nearest rows that pass in the segment that is the run's newest source; false, with
    /// nothing taken, if that would cost more than a scan.
    pub(super) fn walk_filtered(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        wanted: usize,
        scratch: &mut Scratch<T>,
    ) -> Result<bool, TimedOut> {
        let Prepared::Metric(query) = &run.prepared else { return Ok(false) };
        let Some(mut walk) = segment.walk(self.ranker, &query.row) else { return Ok(false) };
        walk.deadline = run.request.deadline;
        let keys = segment.keys();
        let request = run.request;
        let passes = |row: u32| {
            let row = row as usize;
            !segment.dead.is_dead(row)
                && keys.get(row).is_some_and(|&key| request.passes(key, || segment.id(row)))
        };
        let most = MOST_WALKED.min(segment.rows() / COMPARED_PER_CANDIDATE);
        let ended = walk.nearest_passing(Extent { wanted, most }, passes, scratch)?;
        run.computed += walk.computed;
        if ended == Ended::TooDear {
            return Ok(false);
        }
        run.counted = true;
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        for (rank, row) in scratch.passing() {
            if let Some(&key) = keys.get(row as usize)
                && rank <= run.nearest.worst()
            {
                run.nearest.offer(Candidate { rank, key, source, row });
            }
        }
        Ok(true)
    }
}
