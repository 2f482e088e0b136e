//! Scans of rows that may be quantised.

use std::ops::Range;

use super::{Run, Searcher};
use crate::{
    config::IndexKind, graph::walk::TimedOut, metric::Lane, nearest::Candidate, segment::Segment,
};

/// Rows decoded at once: they stay in the nearest cache.
const CHUNK: usize = 256;

impl<T: Lane> Searcher<'_, T> {
    /// Compares every row of the segment that is the run's newest source.
    pub(super) fn scan_coded(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
    ) -> Result<(), TimedOut> {
        for start in (0..segment.rows()).step_by(CHUNK) {
            self.scan_rows(run, segment, start..(start + CHUNK).min(segment.rows()))?;
        }
        Ok(())
    }

    /// Whether ranks of quantised rows will do. A radius cannot be compared with them, and where a
    /// graph is not walked it is because the scan is to be better.
    fn may_be_coarse(&self, run: &Run<'_, T>) -> bool {
        let walks = matches!(self.kind, IndexKind::Hnsw { .. });
        !run.exact && run.request.radius.is_none() && !walks
    }

    /// Compares rows of the segment that is the run's newest source; how many of them came among
    /// the candidates.
    pub(super) fn scan_rows(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        rows: Range<usize>,
    ) -> Result<usize, TimedOut> {
        run.check_clock()?;
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (lanes, keys) = (self.ranker.lanes(), segment.keys());
        let mut ranks = std::mem::take(&mut run.ranks);
        let mut decoded = Vec::new();
        let ranking = match segment.codes() {
            Some((codec, codes)) if self.may_be_coarse(run) => {
                run.walked = true;
                let stride = codec.stride();
                let codes = codes.get(rows.start * stride..rows.end * stride);
                codec.decode(codes.unwrap_or_default(), &mut decoded);
                decoded.as_slice()
            }
            Some(_) => {
                segment.encode_rows(self.ranker, rows.clone(), &mut decoded);
                decoded.as_slice()
            }
            None => segment.ranking().get(rows.start * lanes..rows.end * lanes).unwrap_or_default(),
        };
        self.ranker.scan(&run.prepared, ranking, &[], &mut ranks);
        run.computed += ranks.len();
        let mut offered = 0;
        let mut worst = run.nearest.worst();
        for (row, &rank) in rows.zip(&ranks) {
            if rank > worst || segment.dead.is_dead(row) || !run.lets_through(segment, row) {
                continue;
            }
            let key = keys.get(row).copied().unwrap_or_default();
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            run.nearest.offer(Candidate { rank, key, source, row });
            offered += 1;
            worst = run.nearest.worst();
        }
        run.ranks = ranks;
        Ok(offered)
    }
}
