//! Building one segment.

use std::{borrow::Cow, sync::atomic::Ordering};

use parking_lot::RwLockReadGuard;

use super::{BuildError, plan::Plan};
use crate::{
    codec::Codec,
    config::{IndexKind, Quantisation},
    engine::Shared,
    files::{manifest::Manifest, manifest::SegmentEntry, sync_dir},
    graph::{Auditor, Links, MAX_ROWS, grow::Builder, order::insertion_order, repair},
    lists,
    metric::{Lane, Metric},
    ranker::Ranker,
    segment::{Content, Segment, Structure, write_graph, write_rows},
    tail::BlockRows,
    tree,
};

/// What a build made.
pub(crate) struct Built<T> {
    /// `None` when every row was dead.
    pub(crate) segment: Option<Segment<T>>,
}

/// Where new rows come from.
enum Origin<'a, T: Lane> {
    /// With its ranking rows.
    Segment(&'a Segment<T>, Cow<'a, [T]>),
    Block(RwLockReadGuard<'a, BlockRows<T>>),
}

impl<T: Lane> Origin<'_, T> {
    fn ranking(&self) -> &[T] {
        match self {
            Self::Segment(_, ranking) => ranking,
            Self::Block(rows) => rows.ranking(),
        }
    }

    fn key(&self, row: usize) -> u64 {
        match self {
            Self::Segment(segment, _) => segment.key(row),
            Self::Block(rows) => rows.keys().get(row).copied(),
        }
        .unwrap_or_default()
    }

    fn id(&self, row: usize) -> &str {
        match self {
            Self::Segment(segment, _) => segment.id(row),
            Self::Block(rows) => rows.id(row),
        }
        .unwrap_or_default()
    }

    fn stored(&self, row: usize) -> &[T] {
        match self {
            Self::Segment(segment, _) => segment.stored(row),
            Self::Block(rows) => rows.stored(row),
        }
        .unwrap_or_default()
    }
}

/// A row of an origin.
#[derive(Clone, Copy)]
struct Place {
    origin: u32,
    row: u32,
}

/// The rows of the new segment: those of the base as they are, then the new ones.
struct Rows<'a, T: Lane> {
    base: Option<&'a Segment<T>>,
    origins: Vec<Origin<'a, T>>,
    places: Vec<Place>,
}

impl<'a, T: Lane> Rows<'a, T> {
    fn collect(plan: &'a Plan<T>, ranker: &Ranker<T>) -> Self {
        let base = plan.base.as_deref();
        let mut rows = Self { base, origins: Vec::new(), places: Vec::new() };
        for segment in &plan.replaced {
            if base.is_some_and(|base| base.number == segment.number) {
                continue;
            }
            rows.take((0..segment.rows()).filter(|&row| !segment.dead.is_dead(row)));
            rows.origins.push(Origin::Segment(segment, segment.full_ranking(ranker)));
        }
        for block in &plan.blocks {
            let guard = block.read();
            rows.take((0..guard.len()).filter(|&row| !block.dead.is_dead(row)));
            rows.origins.push(Origin::Block(guard));
        }
        rows
    }

    /// Adds rows of the origin that is pushed next.
    fn take(&mut self, live: impl Iterator<Item = usize>) {
        let origin = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        self.places
            .extend(live.map(|row| Place { origin, row: u32::try_from(row).unwrap_or(u32::MAX) }));
    }

    fn base_rows(&self) -> usize {
        self.base.map_or(0, Segment::rows)
    }

    /// Appends the ranking rows of what is not in the base.
    fn new_ranking(&self, lanes: usize, matrix: &mut Vec<T>) {
        matrix.reserve(self.places.len() * lanes);
        let matrices: Vec<&[T]> = self.origins.iter().map(Origin::ranking).collect();
        for place in &self.places {
            let start = place.row as usize * lanes;
            let row = matrices
                .get(place.origin as usize)
                .and_then(|ranking| ranking.get(start..start + lanes));
            matrix.extend_from_slice(row.unwrap_or_default());
        }
    }

    fn place(&self, row: usize) -> Option<(&Origin<'a, T>, usize)> {
        let place = self.places.get(row.checked_sub(self.base_rows())?)?;
        Some((self.origins.get(place.origin as usize)?, place.row as usize))
    }
}

impl<T: Lane> Content<T> for Rows<'_, T> {
    fn rows(&self) -> usize {
        self.base_rows() + self.places.len()
    }

    fn key(&self, row: usize) -> u64 {
        if let Some(key) = self.base.and_then(|base| base.key(row)) {
            return key;
        }
        self.place(row).map_or(0, |(origin, row)| origin.key(row))
    }

    fn id(&self, row: usize) -> &str {
        if let Some(id) = self.base.and_then(|base| base.id(row)) {
            return id;
        }
        self.place(row).map_or("", |(origin, row)| origin.id(row))
    }

    fn stored(&self, row: usize) -> &[T] {
        if let Some(stored) = self.base.and_then(|base| base.stored(row)) {
            return stored;
        }
        self.place(row).map_or(&[], |(origin, row)| origin.stored(row))
    }
}

/// Builds what a plan asks for, up to a durable manifest that names it.
pub(super) fn build<T: Lane>(shared: &Shared<T>, plan: &Plan<T>) -> Result<Built<T>, BuildError> {
    let mut rows = Rows::collect(plan, &shared.ranker);
    let mut manifest = match Manifest::read(&shared.dir)? {
        Some(manifest) => manifest,
        None => Manifest::new(&shared.config),
    };
    let number = manifest.next_segment;
    let segment = if rows.rows() == 0 {
        None
    } else {
        if rows.rows() > MAX_ROWS {
            return Err(BuildError::TooMany { rows: rows.rows(), limit: MAX_ROWS });
        }
        Some(build_segment(shared, &mut rows, number)?)
    };
    manifest.owner.clone_from(&shared.config.owner);
    manifest.next_segment = number + 1;
    manifest.covered_below = plan.covered_below;
    manifest.segments.retain(|entry| !plan.replaced.iter().any(|old| old.number == entry.number));
    manifest.segments.extend(segment.as_ref().map(Segment::entry));
    manifest.write(&shared.dir)?;
    Ok(Built { segment })
}

fn build_segment<T: Lane>(
    shared: &Shared<T>,
    rows: &mut Rows<'_, T>,
    number: u64,
) -> Result<Segment<T>, BuildError> {
    let ranker = &shared.ranker;
    let mut graph = false;
    if let Some(metric) = ranker.metric() {
        let mut ranking: Vec<T> = Vec::new();
        rows.new_ranking(ranker.lanes(), &mut ranking);
        let (order, structure) = arrange(shared, rows, metric, &ranking)?;
        let places: Vec<Place> =
            order.iter().filter_map(|&row| rows.places.get(row as usize).copied()).collect();
        rows.places = places;
        ranking.clear();
        if let Some(base) = rows.base {
            ranking.extend_from_slice(&base.full_ranking(ranker));
        }
        rows.new_ranking(ranker.lanes(), &mut ranking);
        let structure = match build_links(shared, rows, &ranking)? {
            Some(links) => Structure::Graph(links),
            None => structure,
        };
        graph = matches!(structure, Structure::Graph(_));
        let quantisation = shared.config.quantisation;
        let is_small = rows.rows() < shared.config.graph_from;
        let codec = if quantisation == Quantisation::None || is_small {
            None
        } else {
            let stopped = || shared.stop.load(Ordering::Acquire);
            let codec = Codec::fit(metric, quantisation, &ranking, &stopped);
            Some(codec.ok_or(BuildError::Stopped)?)
        };
        write_graph(&shared.dir, number, ranker, &ranking, &structure, codec.as_ref())?;
    }
    write_rows(&shared.dir, number, ranker.stored(), rows)?;
    sync_dir(&shared.dir)?;
    let entry = SegmentEntry { number, rows: rows.rows() as u64, graph };
    Ok(Segment::open(&shared.dir, &entry, ranker, shared.config.resident_rows)?)
}

/// The order of the new rows, and what their order is part of: the tree or the lists over them,
/// none of which are from a base.
fn arrange<T: Lane>(
    shared: &Shared<T>,
    rows: &Rows<'_, T>,
    metric: &Metric<T>,
    ranking: &[T],
) -> Result<(Vec<u32>, Structure<T>), BuildError> {
    let stopped = || shared.stop.load(Ordering::Acquire);
    let stored = |row| rows.stored(row);
    let kind = shared.config.kind;
    let built = match kind {
        _ if rows.rows() < shared.config.graph_from => None,
        IndexKind::Hnsw { .. } | IndexKind::Flat => None,
        IndexKind::Geometric => Some(
            tree::build(metric, ranking, &stored, &stopped)
                .map(|(order, tree)| (order, Structure::Tree(tree))),
        ),
        IndexKind::Ivf { nlist, .. } => {
            let count = nlist.unwrap_or_else(|| lists::automatic_lists(rows.rows()));
            Some(
                lists::build(metric, count, ranking, &stored, &stopped)
                    .map(|(order, lists)| (order, Structure::Lists(lists))),
            )
        }
    };
    match built {
        None => Ok((insertion_order(metric, ranking), Structure::None)),
        Some(Some(built)) => Ok(built),
        Some(None) if stopped() => Err(BuildError::Stopped),
        Some(None) => Err(BuildError::OffSpace),
    }
}

/// The graph of the new segment; `None` where a scan does.
fn build_links<T: Lane>(
    shared: &Shared<T>,
    rows: &Rows<'_, T>,
    ranking: &[T],
) -> Result<Option<Links>, BuildError> {
    let IndexKind::Hnsw { m, ef_construction, ef_search } = shared.config.kind else {
        return Ok(None);
    };
    let Some(metric) = shared.ranker.metric() else { return Ok(None) };
    if rows.rows() < shared.config.graph_from {
        return Ok(None);
    }
    let threads = shared.config.builders.threads();
    let base = rows.base.and_then(Segment::links);
    let builder = match base {
        Some(linked) => Builder::resume(metric, ranking, linked, ef_construction, threads),
        None => Builder::new(metric, ranking, m, ef_construction, threads),
    };
    let stopped = || shared.stop.load(Ordering::Acquire);
    let mut links = builder.build(&stopped).ok_or(BuildError::Stopped)?;
    let unreached = repair(&mut links);
    let is_dead = |base: &Segment<T>, row| row < base.rows() && base.dead.is_dead(row);
    let live = |row: u32| rows.base.is_none_or(|base| !is_dead(base, row as usize));
    let auditor = Auditor {
        kernel: metric.kernel(),
        rows: ranking,
        lanes: metric.lanes(),
        ef: ef_search,
        threads,
    };
    let audit = auditor.audit(&mut links, &live, &stopped).ok_or(BuildError::Stopped)?;
    let (lost, left, orphans) = (audit.lost, audit.left, links.orphans.len());
    tracing::debug!(rows = rows.rows(), unreached, lost, left, orphans, "built a graph");
    Ok(Some(links))
}
