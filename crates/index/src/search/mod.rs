//! Answering one search from a snapshot.
//!
//! Segments are looked at before the tail, and the tail from old to new. A record is replaced by
//! inserting its new row before the old one is removed, so a search that finds the old row dead
//! still has the new one ahead of it, and no record is ever missing from both.

mod closest;
mod coded;
mod filtered;
mod gather;
mod geometric;
mod lists;
mod matching;
mod scan;

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use hvs_geometry::Space;
use parking_lot::Mutex;

use self::{
    closest::Closest,
    gather::{Gathered, gather},
};
use crate::{
    config::{IndexKind, MAX_EF, MAX_LISTS, Quantisation},
    error::SearchError,
    graph::walk::{Scratch, TimedOut},
    metric::Lane,
    nearest::Nearest,
    ranker::{Prepared, Ranker},
    request::{SearchAnswer, SearchRequest, Strategy},
    snapshot::{Snapshot, Source},
};

/// Candidates kept beyond k, because their ranks may be rounded and ids may occur twice.
const SLACK: usize = 16;
/// A graph is walked only with at most this many candidates; a scan costs less beyond.
const MOST_WALKED: usize = 4_096;
/// A walk compares about so many rows per candidate.
const COMPARED_PER_CANDIDATE: usize = 32;
/// A scan that cannot be proven with so many candidates to spare gives up proving: most rows are
/// copies of each other.
const MOST_SLACK: usize = 1 << 17;
/// Times that a search starts over because blocks moved into segments while it ran.
const RESTARTS: usize = 8;

/// What searching needs from the index.
pub(crate) struct Searcher<'a, T> {
    pub(crate) space: &'a Space,
    pub(crate) ranker: &'a Ranker<T>,
    pub(crate) snapshot: &'a ArcSwap<Snapshot<T>>,
    pub(crate) scratches: &'a Mutex<Vec<Scratch<T>>>,
    pub(crate) kind: IndexKind,
    pub(crate) quantisation: Quantisation,
    pub(crate) max_hits: usize,
}

/// How many candidates a run keeps.
#[derive(Clone, Copy)]
struct Capacity {
    /// Of those that are known by their ranks.
    ranked: usize,
    /// Of those whose distances are known.
    settled: usize,
}

/// A search in progress.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not follow from each other")]
struct Run<'r, T> {
    request: &'r SearchRequest<'r>,
    prepared: Prepared<T>,
    sources: Vec<Source<T>>,
    nearest: Nearest<T>,
    /// What was found by bounds, beside `nearest`.
    closest: Closest,
    /// The largest size of a row per component, over all sources.
    reach: Vec<f64>,
    computed: usize,
    /// Whether every vector must be looked at as it is.
    exact: bool,
    /// Whether a graph was walked, lists were left out, or ranks were coarse.
    walked: bool,
    /// Whether a graph was scanned after a walk had offered too few.
    rescanned: bool,
    /// Whether a walk counted what passes.
    counted: bool,
    /// Whether only the matching rows of a segment were compared.
    matched: bool,
    ranks: Vec<T>,
}

impl<T: Lane> Run<'_, T> {
    fn check_clock(&self) -> Result<(), TimedOut> {
        match self.request.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(TimedOut),
            _ => Ok(()),
        }
    }
}

impl<T: Lane> Searcher<'_, T> {
    pub(crate) fn search(&self, request: &SearchRequest<'_>) -> Result<SearchAnswer, SearchError> {
        let stored = self.validate(request)?;
        if request.k == 0 && request.radius.is_none() {
            return Ok(SearchAnswer {
                hits: Vec::new(),
                exact: true,
                scanned: 0,
                strategy: Strategy::Scan,
                truncated: false,
            });
        }
        let everything = request.k == 0;
        let k = if everything { self.max_hits } else { request.k };
        let mut exact = request.exact;
        let mut rescanned = false;
        let mut computed = 0;
        let least_slack = SLACK + k / 8;
        let mut slack = least_slack;
        loop {
            // Rows whose distances are known need no slack, unless ids turn out to occur twice; one
            // more than k tells that there are more.
            let spare = if slack > least_slack { slack } else { usize::from(everything) };
            let settled = k.saturating_add(spare);
            let rescored = if exact { 1 } else { self.rescored() };
            let ranked = (k + slack).saturating_mul(rescored);
            let prepared = self.ranker.prepare(&stored).map_err(|_| SearchError::OutOfRange)?;
            let mut run = self
                .run(request, prepared, Capacity { ranked, settled }, exact)
                .map_err(|_: TimedOut| SearchError::Deadline { scanned: computed })?;
            computed += run.computed;
            let walked = run.walked;
            rescanned |= run.rescanned;
            let nearest = std::mem::replace(&mut run.nearest, Nearest::new(0, T::ZERO));
            let dropped = nearest.dropped();
            let bound = dropped
                .then(|| self.ranker.at_least(&run.prepared, nearest.worst().to_f64(), &run.reach));
            let bound = bound.into_iter().chain(run.closest.given_up()).reduce(f64::min);
            let Gathered { hits, in_reach, superseded } = gather(self.ranker, &run, nearest, k);
            let proven = match (bound, hits.last()) {
                (None, _) => true,
                (Some(bound), Some(last)) => in_reach >= k && last.distance <= bound,
                (Some(_), None) => false,
            };
            // A walk is trusted to have found the nearest, a scan is made to prove it; but
            // neither may return fewer than there are.
            let enough = hits.len() >= k || request.radius.is_some();
            let settled = if walked { enough && (proven || in_reach >= k) } else { proven };
            if settled || (!walked && slack > MOST_SLACK) {
                return Ok(SearchAnswer {
                    truncated: everything && (in_reach > k || dropped),
                    hits,
                    exact: !walked && proven,
                    scanned: computed,
                    strategy: self.strategy(&run, rescanned),
                });
            }
            if walked {
                exact = true;
                rescanned = matches!(self.kind, IndexKind::Hnsw { .. });
            } else {
                slack = slack.saturating_mul(4).max(superseded);
            }
        }
    }

    /// How many times as many candidates the coarsest ranks call for. Segments may be of an older
    /// configuration than the index.
    fn rescored(&self) -> usize {
        let snapshot = self.snapshot.load();
        let segments = snapshot.segments.iter().map(|segment| segment.quantisation());
        segments.fold(self.quantisation.rescored(), |most, other| most.max(other.rescored()))
    }

    /// How an answer was found.
    fn strategy(&self, run: &Run<'_, T>, rescanned: bool) -> Strategy {
        match (self.kind, run.walked) {
            (IndexKind::Ivf { .. }, true) => Strategy::Lists,
            (IndexKind::Hnsw { .. }, true) if run.counted => Strategy::FilteredGraph,
            (IndexKind::Hnsw { .. }, true) if run.request.accept.is_some() => Strategy::OverFetch,
            (IndexKind::Hnsw { .. }, true) => Strategy::Graph,
            _ if rescanned => Strategy::GraphThenScan,
            _ if run.matched => Strategy::Matching,
            _ if run.closest.used => Strategy::Bounds,
            _ => Strategy::Scan,
        }
    }

    /// The query in storage form.
    fn validate(&self, request: &SearchRequest<'_>) -> Result<Vec<f64>, SearchError> {
        let (found, wanted) = (request.query.len(), self.space.ambient());
        if found != wanted {
            return Err(SearchError::Length { found, wanted });
        }
        if let Some(index) = request.query.iter().position(|x| !x.is_finite()) {
            return Err(SearchError::NotFinite { index });
        }
        if request.k > self.max_hits {
            return Err(SearchError::TooMany { k: request.k, limit: self.max_hits });
        }
        if let Some(radius) = request.radius
            && (radius.is_nan() || radius < 0.0)
        {
            return Err(SearchError::Radius { radius });
        }
        if let Some(ef) = request.ef
            && !(1..=MAX_EF).contains(&ef)
        {
            return Err(SearchError::Ef { ef, limit: MAX_EF });
        }
        if let Some(nprobe) = request.nprobe
            && !(1..=MAX_LISTS).contains(&nprobe)
        {
            return Err(SearchError::Nprobe { nprobe, limit: MAX_LISTS });
        }
        Ok(self.space.to_storage(request.query))
    }

    /// Fills the candidates from every source.
    fn run<'r>(
        &self,
        request: &'r SearchRequest<'r>,
        prepared: Prepared<T>,
        capacity: Capacity,
        exact: bool,
    ) -> Result<Run<'r, T>, TimedOut> {
        let mut run = Run {
            request,
            prepared,
            sources: Vec::new(),
            nearest: Nearest::new(0, T::ZERO),
            closest: Closest::new(0, None),
            reach: Vec::new(),
            computed: 0,
            exact,
            walked: false,
            rescanned: false,
            counted: false,
            matched: false,
            ranks: Vec::new(),
        };
        for attempt in 0..=RESTARTS {
            let snapshot = self.snapshot.load();
            run.sources.clear();
            run.reach.clear();
            run.walked = false;
            run.counted = false;
            run.matched = false;
            for segment in &snapshot.segments {
                raise(&mut run.reach, segment.reach());
            }
            let limit = self.limit(&run);
            run.nearest = Nearest::new(capacity.ranked, limit);
            run.closest = Closest::new(capacity.settled, request.radius);
            for segment in &snapshot.segments {
                run.sources.push(Source::Segment(Arc::clone(segment)));
                self.search_segment(&mut run, segment, exact)?;
            }
            let mut seen = None;
            for block in &snapshot.blocks {
                seen = Some(block.number);
                self.scan_block(&mut run, block)?;
            }
            drop(snapshot);
            if self.scan_newer(&mut run, seen)? || attempt == RESTARTS {
                break;
            }
        }
        Ok(run)
    }

    /// Scans blocks that were added since the snapshot was taken; false if some of them have
    /// already moved into a segment that was not looked at.
    fn scan_newer(&self, run: &mut Run<'_, T>, mut seen: Option<u64>) -> Result<bool, TimedOut> {
        loop {
            let snapshot = self.snapshot.load();
            let scanned = seen;
            let is_new = |number: u64| scanned.is_none_or(|scanned| number > scanned);
            let mut newer = snapshot.blocks.iter().filter(|block| is_new(block.number)).peekable();
            let Some(first) = newer.peek() else { return Ok(true) };
            if first.number != seen.map_or(0, |seen| seen + 1) {
                return Ok(false);
            }
            for block in newer {
                seen = Some(block.number);
                self.scan_block(run, block)?;
            }
        }
    }

    /// The largest rank of interest.
    fn limit(&self, run: &Run<'_, T>) -> T {
        match run.request.radius {
            Some(radius) => {
                let limit = self.ranker.key_limit(&run.prepared, radius, &run.reach);
                T::from_f64(limit.min(T::MAX.to_f64()))
            }
            None => T::MAX,
        }
    }
}

/// Raises each figure to at least the other's; whether that changed one.
fn raise(reach: &mut Vec<f64>, other: &[f64]) -> bool {
    let mut changed = reach.len() < other.len();
    if changed {
        reach.resize(other.len(), 0.0);
    }
    for (figure, &other) in reach.iter_mut().zip(other) {
        changed |= other > *figure;
        *figure = figure.max(other);
    }
    changed
}

/// Whether walking a graph with `ef` candidates costs less than comparing all its rows.
fn walk_pays(ef: usize, rows: usize) -> bool {
    ef <= MOST_WALKED && ef.saturating_mul(COMPARED_PER_CANDIDATE) < rows
}

impl<T: Lane> Searcher<'_, T> {
    fn base_ef(&self, k: usize, request: &SearchRequest<'_>) -> usize {
        let ef_search = match self.kind {
            IndexKind::Hnsw { ef_search, .. } => ef_search,
            IndexKind::Flat | IndexKind::Geometric | IndexKind::Ivf { .. } => 1,
        };
        request.ef.unwrap_or(ef_search).max(k).max(1)
    }
}
