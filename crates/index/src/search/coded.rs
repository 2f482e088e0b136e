//! Scans of rows that may be quantised.

use std::ops::Range;

use super::{Run, Searcher};
use crate::{
    codec::CodedQuery, config::IndexKind, graph::walk::TimedOut, metric::Lane, nearest::Candidate,
    ranker::Prepared, segment::Segment,
};

/// Rows decoded at once: they stay in the nearest cache.
const CHUNK: usize = 256;

/// What became of rows that were compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looked {
    /// Live ones that were near enough to become candidates.
    pub(super) near: usize,
    /// Of these, those that may be returned.
    pub(super) offered: usize,
}

impl<T: Lane> Searcher<'_, T> {
    /// Compares every row of the segment that is the run's newest source.
    pub(super) fn scan_coded(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
    ) -> Result<(), TimedOut> {
        let mut coded = self.coded_query(run, segment);
        for start in (0..segment.rows()).step_by(CHUNK) {
            let rows = start..(start + CHUNK).min(segment.rows());
            self.scan_rows(run, segment, rows, coded.as_mut())?;
        }
        Ok(())
    }

    /// The query as it is compared with the segment's codes, where these will do.
    pub(super) fn coded_query<'s>(
        &self,
        run: &Run<'_, T>,
        segment: &'s Segment<T>,
    ) -> Option<CodedQuery<'s, T>> {
        let Prepared::Metric(query) = &run.prepared else { return None };
        let (codec, _) = segment.codes().filter(|_| self.may_be_coarse(run))?;
        Some(codec.query(&query.row))
    }

    /// Whether ranks of quantised rows will do. A radius cannot be compared with them, and where a
    /// graph is not walked it is because the scan is to be better.
    fn may_be_coarse(&self, run: &Run<'_, T>) -> bool {
        let walks = matches!(self.kind, IndexKind::Hnsw { .. });
        !run.exact && run.request.radius.is_none() && !walks
    }

    /// Compares rows of the segment that is the run's newest source, by their codes if there is a
    /// query for these.
    pub(super) fn scan_rows(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        rows: Range<usize>,
        coded: Option<&mut CodedQuery<'_, T>>,
    ) -> Result<Looked, TimedOut> {
        run.check_clock()?;
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (lanes, keys) = (self.ranker.lanes(), segment.keys());
        let mut ranks = std::mem::take(&mut run.ranks);
        match (segment.codes(), coded, self.ranker.metric()) {
            (Some((codec, codes)), Some(query), Some(metric)) => {
                run.walked = true;
                let stride = codec.stride();
                let codes = codes.get(rows.start * stride..rows.end * stride);
                query.scan(metric.kernel(), codes.unwrap_or_default(), &mut ranks);
            }
            (Some(_), _, _) => {
                let mut wide = Vec::new();
                segment.encode_rows(self.ranker, rows.clone(), &mut wide);
                self.ranker.scan(&run.prepared, &wide, &[], &mut ranks);
            }
            (None, _, _) => {
                let ranking = segment.ranking().get(rows.start * lanes..rows.end * lanes);
                self.ranker.scan(&run.prepared, ranking.unwrap_or_default(), &[], &mut ranks);
            }
        }
        run.computed += ranks.len();
        let mut looked = Looked::default();
        let mut worst = run.nearest.worst();
        for (row, &rank) in rows.zip(&ranks) {
            if rank > worst || segment.dead.is_dead(row) {
                continue;
            }
            looked.near += 1;
            if !run.lets_through(segment, row) {
                continue;
            }
            looked.offered += 1;
            let key = keys.get(row).copied().unwrap_or_default();
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            run.nearest.offer(Candidate { rank, key, source, row });
            worst = run.nearest.worst();
        }
        run.ranks = ranks;
        Ok(looked)
    }
}
