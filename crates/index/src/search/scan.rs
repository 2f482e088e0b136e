//! Looking at the rows of one source.

use std::sync::Arc;

use super::{Run, Searcher, lists, matching, matching::MayPass, raise, walk_pays};
use crate::{
    config::{IndexKind, Quantisation},
    graph::walk::{Scratch, TimedOut},
    metric::Lane,
    nearest::Candidate,
    ranker::Prepared,
    request::Filtering,
    segment::Segment,
    snapshot::Source,
    tail::Block,
};

/// Rows compared between two looks at the clock.
const CHUNK: usize = 2_048;

impl<T: Lane> Searcher<'_, T> {
    /// Compares every row of a block, which becomes the run's newest source.
    pub(super) fn scan_block(
        &self,
        run: &mut Run<'_, T>,
        block: &Arc<Block<T>>,
    ) -> Result<(), TimedOut> {
        run.check_clock()?;
        let source = u32::try_from(run.sources.len()).unwrap_or(u32::MAX);
        run.sources.push(Source::Block(Arc::clone(block)));
        let rows = block.read();
        if raise(&mut run.reach, rows.reach()) && run.request.radius.is_some() {
            let limit = self.limit(run);
            run.nearest.set_limit(limit);
        }
        let mut ranks = std::mem::take(&mut run.ranks);
        self.ranker.scan(&run.prepared, rows.ranking(), rows.all_stored(), &mut ranks);
        run.computed += ranks.len();
        let mut worst = run.nearest.worst();
        for (row, (&rank, &key)) in ranks.iter().zip(rows.keys()).enumerate() {
            if rank > worst || block.dead.is_dead(row) {
                continue;
            }
            if !run.request.passes(key, || rows.id(row)) {
                continue;
            }
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            run.nearest.offer(Candidate { rank, key, source, row });
            worst = run.nearest.worst();
        }
        run.ranks = ranks;
        Ok(())
    }

    /// Searches the segment that is the run's newest source, by its graph if that pays.
    pub(super) fn search_segment(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        exact: bool,
    ) -> Result<(), TimedOut> {
        if segment.live() == 0 {
            return Ok(());
        }
        let mut ef = self.base_ef(run.request.k, run.request);
        if segment.quantisation() == Quantisation::Pq {
            // The walk is to find as many as are looked at again.
            ef = ef.max(run.nearest.capacity());
        }
        let may_pass = matching::may_pass(segment, run.request);
        let (is_forced, is_open) = match run.request.filtering {
            Filtering::Cheapest => (false, true),
            Filtering::Matching => (true, true),
            Filtering::FilteredGraph | Filtering::OverFetch => (false, false),
        };
        // Coarse ranks are not those of rows, and a scan of them is cheap.
        let matching = may_pass.map(|rows| rows.count).filter(|&count| {
            segment.codes().is_none() && (is_forced || matching::beats_scan(count, segment.rows()))
        });
        if let Some(count) = matching
            && (exact
                || is_forced
                || !segment.is_organised()
                || is_open && self.matching_pays(run, segment, count, ef))
            && self.scan_matching(run, segment, count)?
        {
            return Ok(());
        }
        if !exact && let Some(tree) = segment.tree() {
            return self.search_tree(run, segment, tree);
        }
        if !exact
            && let IndexKind::Ivf { nprobe, .. } = self.kind
            && let Some(lists) = segment.lists()
        {
            let probes = run.request.nprobe.or(nprobe);
            return self.search_lists(run, segment, lists, probes);
        }
        // A radius cannot be compared with coarse ranks.
        let is_blind = run.request.radius.is_some() && segment.codes().is_some();
        let is_hnsw = matches!(self.kind, IndexKind::Hnsw { .. });
        let walks = is_hnsw && segment.has_graph() && !is_blind;
        if exact || !walks || !walk_pays(ef, segment.rows()) {
            return self.scan_segment(run, segment);
        }
        let mut scratch = self.scratches.lock().pop().unwrap_or_default();
        let outcome = self.walk_graph(run, segment, ef, may_pass, &mut scratch);
        self.scratches.lock().push(scratch);
        if outcome? {
            run.walked = true;
            return Ok(());
        }
        run.rescanned = true;
        if let Some(count) = matching
            && self.scan_matching(run, segment, count)?
        {
            return Ok(());
        }
        self.scan_segment(run, segment)
    }

    /// Walks a segment's graph in the way that the filter calls for; false if that would cost more
    /// than a scan.
    fn walk_graph(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        ef: usize,
        may_pass: Option<MayPass>,
        scratch: &mut Scratch<T>,
    ) -> Result<bool, TimedOut> {
        let request = run.request;
        // A pool of the right size is found without asking about every row that comes into it, but
        // the right size has to be known.
        let counts = match request.filtering {
            Filtering::FilteredGraph => true,
            Filtering::OverFetch => false,
            Filtering::Cheapest | Filtering::Matching => {
                may_pass.is_none_or(|may_pass| !may_pass.is_telling())
            }
        };
        if counts && request.accept.is_some() && request.radius.is_none() {
            return self.walk_filtered(run, segment, ef, scratch);
        }
        // Rows that may not be returned take places in the pool, as dead ones do.
        let useful = may_pass.map_or(segment.live(), |rows| rows.count).clamp(1, segment.live());
        self.walk_segment(run, segment, ef, useful, scratch)
    }

    /// Whether comparing the rows that may pass costs less than what the type does otherwise.
    fn matching_pays(
        &self,
        run: &Run<'_, T>,
        segment: &Segment<T>,
        count: usize,
        ef: usize,
    ) -> bool {
        let rows = segment.rows();
        match (self.kind, segment.lists()) {
            (IndexKind::Ivf { nprobe, .. }, Some(lists)) => {
                let probes = run.request.nprobe.or(nprobe);
                lists::matching_pays(count, rows, lists.count(), probes)
            }
            _ => matching::pays(count, ef, rows),
        }
    }

    /// Walks a segment's graph until enough rows are found that may be returned; false if that
    /// would cost more than a scan.
    fn walk_segment(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
        wanted: usize,
        useful: usize,
        scratch: &mut Scratch<T>,
    ) -> Result<bool, TimedOut> {
        let limit = run.nearest_limit();
        let may_count = limit.is_none()
            && run.request.accept.is_some()
            && run.request.filtering == Filtering::Cheapest;
        let mut offered = Vec::new();
        let mut ef = wanted.saturating_mul(segment.rows()) / useful.max(1);
        if !walk_pays(ef, segment.rows()) {
            return Ok(false);
        }
        loop {
            offered.clear();
            let Prepared::Metric(query) = &run.prepared else { return Ok(false) };
            let Some(mut walk) = segment.walk(self.ranker, &query.row) else { return Ok(false) };
            walk.deadline = run.request.deadline;
            walk.nearest(ef, limit, scratch)?;
            if let Some(limit) = limit {
                walk.flood(limit, self.max_hits, scratch)?;
            }
            run.computed += walk.computed;
            let keys = segment.keys();
            let mut offer = |rank: T, row: u32| {
                let index = row as usize;
                if segment.dead.is_dead(index) {
                    return;
                }
                if let Some(&key) = keys.get(index)
                    && run.request.passes(key, || segment.id(index))
                {
                    offered.push((rank, key, row));
                }
            };
            if limit.is_some() {
                scratch.flooded().for_each(|(rank, row)| offer(rank, row));
            } else {
                scratch.found().for_each(|(rank, row)| offer(rank, row));
            }
            let followed = scratch.flooded().count();
            if limit.is_some() {
                // What lies within the radius is found when the pool reaches well beyond it.
                if followed + followed / 2 < ef || followed > self.max_hits {
                    break;
                }
                ef = 2 * followed + wanted;
                if !walk_pays(ef, segment.rows()) {
                    return Ok(false);
                }
                continue;
            }
            // Half of the candidates, and k of them, must be of use, unless there are no more:
            // a filter that lets fewer through needs a larger pool for the same quality.
            let needed = (wanted / 2).max(run.request.k).min(useful);
            if offered.len() >= needed {
                break;
            }
            if may_count {
                // What passes is rarer here than elsewhere, by how much is not known.
                return self.walk_filtered(run, segment, 2 * wanted, scratch);
            }
            let growth = (2 * wanted).div_ceil(offered.len().max(1)).clamp(2, 8);
            ef = ef.saturating_mul(growth);
            if !walk_pays(ef, segment.rows()) {
                return Ok(false);
            }
        }
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        for (rank, key, row) in offered {
            if rank <= run.nearest.worst() {
                run.nearest.offer(Candidate { rank, key, source, row });
            }
        }
        Ok(true)
    }

    /// Compares every row of the segment that is the run's newest source.
    pub(super) fn scan_segment(
        &self,
        run: &mut Run<'_, T>,
        segment: &Segment<T>,
    ) -> Result<(), TimedOut> {
        if segment.codes().is_some() {
            return self.scan_coded(run, segment);
        }
        let source = u32::try_from(run.sources.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (lanes, stored_len) = (self.ranker.lanes(), self.ranker.stored());
        let (ranking, stored, keys) = (segment.ranking(), segment.all_stored(), segment.keys());
        let mut ranks = std::mem::take(&mut run.ranks);
        for start in (0..segment.rows()).step_by(CHUNK) {
            run.check_clock()?;
            let end = (start + CHUNK).min(segment.rows());
            self.ranker.scan(
                &run.prepared,
                ranking.get(start * lanes..end * lanes).unwrap_or_default(),
                stored.get(start * stored_len..end * stored_len).unwrap_or_default(),
                &mut ranks,
            );
            run.computed += ranks.len();
            let mut worst = run.nearest.worst();
            let chunk_keys = keys.get(start..end).unwrap_or_default();
            for (row, (&rank, &key)) in (start..end).zip(ranks.iter().zip(chunk_keys)) {
                if rank > worst || segment.dead.is_dead(row) {
                    continue;
                }
                if !run.request.passes(key, || segment.id(row)) {
                    continue;
                }
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                run.nearest.offer(Candidate { rank, key, source, row });
                worst = run.nearest.worst();
            }
        }
        run.ranks = ranks;
        Ok(())
    }
}

impl<T: Lane> Run<'_, T> {
    /// The rank of the radius, when there is one.
    fn nearest_limit(&self) -> Option<T> {
        self.request.radius.map(|_| self.nearest.limit())
    }
}
