//! An index of one precision: the tail, the segments, and the one writer.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{
    baseline::RawSearch,
    build,
    config::{IndexConfig, IndexKind, RestartState},
    error::{FlushError, InsertError, OpenError, SearchError},
    files::manifest::Manifest,
    graph::walk::Scratch,
    metric::Lane,
    ranker::Ranker,
    request::{SearchAnswer, SearchRequest},
    search::Searcher,
    segment::Segment,
    snapshot::Snapshot,
    stats::IndexStats,
    tail::{Block, NewRow},
    visit::visit_live,
};

/// The longest id that is held, far above what records allow.
const MAX_ID_BYTES: usize = 65_536;

/// Called with the new `covered_below` after segments were published.
pub(crate) type OnCovered = Box<dyn Fn(u64) + Send + Sync>;

/// What only one thread at a time may change.
pub(crate) struct Writer {
    /// The largest key inserted so far.
    pub(crate) newest: Option<u64>,
    /// Every key below it is in durable segments.
    pub(crate) covered_below: u64,
    pub(crate) next_block: u64,
    /// Rows in the tail.
    pub(crate) tail_rows: usize,
    /// Keys removed while a build runs: the new segment does not know them yet.
    pub(crate) removed_during_build: Option<Vec<u64>>,
    /// `flush` wants every key below it in segments.
    pub(crate) flush_below: u64,
    /// The thread of the running or last build.
    pub(crate) builder: Option<JoinHandle<()>>,
    pub(crate) building: bool,
    pub(crate) failed_builds: u64,
    pub(crate) last_failure: String,
    /// When to try again after a failed build.
    pub(crate) retry_after: Option<Instant>,
}

/// What the index and its builder share.
pub(crate) struct Shared<T> {
    pub(crate) dir: PathBuf,
    pub(crate) config: IndexConfig,
    /// How widely is searched unless a search says it: `ef_search` or `nprobe`, 0 for none. It may
    /// change while the index is open.
    width: AtomicUsize,
    pub(crate) ranker: Ranker<T>,
    pub(crate) snapshot: ArcSwap<Snapshot<T>>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) changed: Condvar,
    pub(crate) stop: AtomicBool,
    pub(crate) builds: AtomicU64,
    pub(crate) on_covered: Mutex<Option<OnCovered>>,
    scratches: Mutex<Vec<Scratch<T>>>,
}

/// Told of a row: its key, its id, and its vector in storage form.
pub(crate) type VisitRow<'a> = dyn FnMut(u64, &str, &[f64]) + 'a;

/// The operations of an index, whatever its precision.
pub(crate) trait Engine: Send + Sync {
    fn covered_below(&self) -> u64;
    fn insert(&self, key: u64, id: &str, vector: &[f64]) -> Result<(), InsertError>;
    fn remove(&self, key: u64) -> bool;
    fn search(&self, request: &SearchRequest<'_>) -> Result<SearchAnswer, SearchError>;
    fn on_covered(&self, callback: OnCovered);
    fn flush(&self) -> Result<(), FlushError>;
    fn flush_below(&self, below: u64, within: Duration) -> Result<bool, FlushError>;
    fn stop(&self);
    fn tune(&self, kind: IndexKind) -> bool;
    fn stats(&self) -> IndexStats;
    fn holds(&self, key: u64) -> bool;
    fn id(&self, key: u64) -> Option<String>;
    fn raw(&self) -> Result<Option<RawSearch>, FlushError>;
    fn visit_live(&self, visit: &mut VisitRow<'_>);
}

/// An index of rows of `T`.
pub(crate) struct TypedEngine<T: Lane>(Arc<Shared<T>>);

impl<T: Lane> TypedEngine<T> {
    pub(crate) fn open(
        dir: PathBuf,
        config: IndexConfig,
        manifest: &Manifest,
        state: RestartState,
    ) -> Result<Self, OpenError> {
        let ranker = Ranker::of(&config.space).ok_or_else(|| OpenError::Config {
            reason: "a product with a Lorentzian component has no order to search by".to_owned(),
        })?;
        let mut segments = Vec::new();
        for entry in &manifest.segments {
            let segment = Segment::open(&dir, entry, &ranker, config.resident_rows)?;
            segments.push(Arc::new(segment));
        }
        let covered_below = manifest.covered_below;
        let shared = Shared {
            dir,
            width: AtomicUsize::new(width(config.kind)),
            config,
            ranker,
            snapshot: ArcSwap::from_pointee(Snapshot { segments, blocks: Vec::new() }),
            writer: Mutex::new(Writer {
                newest: covered_below.checked_sub(1),
                covered_below,
                next_block: 0,
                tail_rows: 0,
                removed_during_build: None,
                flush_below: 0,
                builder: None,
                building: false,
                failed_builds: 0,
                last_failure: String::new(),
                retry_after: None,
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            builds: AtomicU64::new(0),
            on_covered: Mutex::new(None),
            scratches: Mutex::new(Vec::new()),
        };
        let engine = Self(Arc::new(shared));
        for row in state.tail {
            if row.key < covered_below {
                continue;
            }
            engine
                .insert(row.key, &row.id, &row.vector)
                .map_err(|source| OpenError::Row { key: row.key, source })?;
        }
        for key in state.dead {
            engine.remove(key);
        }
        Ok(engine)
    }
}

impl<T: Lane> Engine for TypedEngine<T> {
    fn covered_below(&self) -> u64 {
        self.0.writer.lock().covered_below
    }

    fn insert(&self, key: u64, id: &str, vector: &[f64]) -> Result<(), InsertError> {
        let shared = &self.0;
        let (found, wanted) = (vector.len(), shared.ranker.stored());
        if found != wanted {
            return Err(InsertError::Length { found, wanted });
        }
        if id.len() > MAX_ID_BYTES {
            return Err(InsertError::LongId { bytes: id.len(), limit: MAX_ID_BYTES });
        }
        if key == u64::MAX {
            return Err(InsertError::ReservedKey);
        }
        let stored: Vec<T> = vector.iter().map(|&x| T::from_f64(x)).collect();
        if let Some(index) = stored.iter().position(|x| !x.to_f64().is_finite()) {
            return Err(InsertError::NotFinite { index });
        }
        // The row must be what the stored vector gives, so that it can be made again from it.
        let rounded: Vec<f64> = stored.iter().map(|x| x.to_f64()).collect();
        let mut ranking = Vec::with_capacity(shared.ranker.lanes());
        shared.ranker.encode(&rounded, &mut ranking).map_err(|_| InsertError::OutOfRange)?;

        let mut writer = shared.writer.lock();
        if let Some(newest) = writer.newest
            && key <= newest
        {
            return Err(InsertError::KeyOrder { key, newest });
        }
        shared.append(&mut writer, &NewRow { key, id, ranking: &ranking, stored: &stored });
        if writer.tail_rows >= shared.config.tail_limit {
            build::start(shared, &mut writer);
        }
        Ok(())
    }

    fn remove(&self, key: u64) -> bool {
        let shared = &self.0;
        let mut writer = shared.writer.lock();
        let Some(fresh) = shared.mark_dead(key) else { return false };
        if fresh {
            if let Some(removed) = &mut writer.removed_during_build {
                removed.push(key);
            }
            if build::is_due(&shared.snapshot.load().segments) {
                build::start(shared, &mut writer);
            }
        }
        fresh
    }

    fn search(&self, request: &SearchRequest<'_>) -> Result<SearchAnswer, SearchError> {
        self.0.searcher().search(request)
    }

    fn on_covered(&self, callback: OnCovered) {
        *self.0.on_covered.lock() = Some(callback);
    }

    fn flush(&self) -> Result<(), FlushError> {
        let below = self.0.writer.lock().newest.map_or(0, |newest| newest.saturating_add(1));
        self.0.flush(below, None).map(drop)
    }

    fn flush_below(&self, below: u64, within: Duration) -> Result<bool, FlushError> {
        self.0.flush(below, Some(Instant::now() + within))
    }

    fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        let _writer = self.0.writer.lock();
        self.0.changed.notify_all();
    }

    fn tune(&self, kind: IndexKind) -> bool {
        let is_alike = with_width(kind, 1) == with_width(self.0.config.kind, 1);
        if is_alike {
            self.0.width.store(width(kind), Ordering::Relaxed);
        }
        is_alike
    }

    fn stats(&self) -> IndexStats {
        let shared = &self.0;
        let writer = shared.writer.lock();
        let snapshot = shared.snapshot.load();
        let mut stats = IndexStats {
            tail: writer.tail_rows,
            tail_excess: writer.tail_rows.saturating_sub(shared.config.tail_limit),
            segments: snapshot.segments.len(),
            building: writer.building,
            builds: shared.builds.load(Ordering::Relaxed),
            failed_builds: writer.failed_builds,
            ..IndexStats::default()
        };
        let mut rows = writer.tail_rows;
        for segment in &snapshot.segments {
            rows += segment.rows();
            stats.dead += segment.dead.count();
            stats.largest_segment = stats.largest_segment.max(segment.rows());
            stats.bytes_vectors += segment.bytes_vectors();
            stats.bytes_graph += segment.bytes_graph();
            stats.bytes_ranking += segment.bytes_ranking();
            stats.bytes_ids += segment.bytes_ids();
            stats.bytes_anonymous += segment.bytes_anonymous();
        }
        for block in &snapshot.blocks {
            let block_rows = block.read();
            let vectors = size_of_val(block_rows.all_stored()) as u64;
            let ranking = size_of_val(block_rows.ranking()) as u64;
            let ids = block_rows.id_bytes() as u64;
            stats.dead += block.dead.count();
            stats.bytes_vectors += vectors;
            stats.bytes_graph += ranking;
            stats.bytes_ids += ids;
            stats.bytes_anonymous += vectors + ranking + ids;
        }
        stats.live = rows.saturating_sub(stats.dead);
        stats
    }

    fn raw(&self) -> Result<Option<RawSearch>, FlushError> {
        RawSearch::of(&self.0)
    }

    fn visit_live(&self, visit: &mut VisitRow<'_>) {
        visit_live(&self.0.snapshot.load(), visit);
    }

    fn id(&self, key: u64) -> Option<String> {
        let snapshot = self.0.snapshot.load();
        if let Some(block) = block_of(&snapshot, key) {
            let rows = block.read();
            if let Ok(row) = rows.keys().binary_search(&key) {
                return rows.id(row).map(str::to_owned);
            }
        }
        snapshot.segments.iter().find_map(|segment| {
            let row = segment.find(key)?;
            segment.id(row).map(str::to_owned)
        })
    }

    fn holds(&self, key: u64) -> bool {
        let _writer = self.0.writer.lock();
        let snapshot = self.0.snapshot.load();
        snapshot.segments.iter().any(|segment| segment.find(key).is_some())
            || self
                .0
                .block_of(key)
                .is_some_and(|block| block.read().keys().binary_search(&key).is_ok())
    }
}

impl<T: Lane> Shared<T> {
    pub(crate) fn searcher(&self) -> Searcher<'_, T> {
        Searcher {
            space: &self.config.space,
            ranker: &self.ranker,
            snapshot: &self.snapshot,
            scratches: &self.scratches,
            kind: with_width(self.config.kind, self.width.load(Ordering::Relaxed)),
            quantisation: self.config.quantisation,
            max_hits: self.config.max_hits,
        }
    }

    /// Waits until every key below this is in durable segments; whether that was so before the
    /// time was over. Without an end it also waits until no build runs. Keys that were never
    /// inserted are not waited for.
    fn flush(self: &Arc<Self>, below: u64, until: Option<Instant>) -> Result<bool, FlushError> {
        let mut writer = self.writer.lock();
        let below = below.min(writer.newest.map_or(0, |newest| newest.saturating_add(1)));
        let failures = writer.failed_builds;
        writer.flush_below = writer.flush_below.max(below);
        while writer.covered_below < below || (until.is_none() && writer.building) {
            if self.stop.load(Ordering::Acquire) {
                return Err(FlushError::Closing);
            }
            if writer.failed_builds > failures {
                return Err(FlushError::Build { reason: writer.last_failure.clone() });
            }
            build::start(self, &mut writer);
            match until {
                Some(until) if self.changed.wait_until(&mut writer, until).timed_out() => {
                    return Ok(writer.covered_below >= below);
                }
                Some(_) => {}
                None => self.changed.wait(&mut writer),
            }
        }
        Ok(true)
    }

    /// Appends a row to the newest block, or to a new one.
    fn append(&self, writer: &mut MutexGuard<'_, Writer>, row: &NewRow<'_, T>) {
        let fits = {
            let snapshot = self.snapshot.load();
            snapshot.blocks.last().is_some_and(|block| block.push(&self.ranker, row))
        };
        if !fits {
            let block = self.new_block(writer);
            block.push(&self.ranker, row);
        }
        writer.newest = Some(row.key);
        writer.tail_rows += 1;
    }

    /// Publishes an empty block, which closes the one before it.
    pub(crate) fn new_block(&self, writer: &mut Writer) -> Arc<Block<T>> {
        let block =
            Arc::new(Block::new(writer.next_block, self.ranker.lanes(), self.ranker.stored()));
        writer.next_block += 1;
        let before = self.snapshot.load_full();
        let mut blocks = Vec::with_capacity(before.blocks.len() + 1);
        blocks.extend(before.blocks.iter().cloned());
        blocks.push(Arc::clone(&block));
        self.snapshot.store(Arc::new(Snapshot { segments: before.segments.clone(), blocks }));
        block
    }

    /// The block whose keys may include this one.
    fn block_of(&self, key: u64) -> Option<Arc<Block<T>>> {
        block_of(&self.snapshot.load(), key).cloned()
    }

    /// Marks the row of a key; `None` if there is no such row, else whether it was alive.
    fn mark_dead(&self, key: u64) -> Option<bool> {
        if let Some(fresh) = self.block_of(key).and_then(|block| block.remove(key)) {
            return Some(fresh);
        }
        let snapshot = self.snapshot.load();
        snapshot
            .segments
            .iter()
            .find_map(|segment| segment.find(key).map(|row| segment.dead.set(row)))
    }
}

/// The block whose keys may include this one.
fn block_of<T: Lane>(snapshot: &Snapshot<T>, key: u64) -> Option<&Arc<Block<T>>> {
    let after = snapshot
        .blocks
        .partition_point(|block| block.read().keys().first().is_some_and(|&first| first <= key));
    snapshot.blocks.get(after.checked_sub(1)?)
}

/// What a search of this kind takes when it does not say how widely; 0 for what has no such figure
/// and for the automatic one.
fn width(kind: IndexKind) -> usize {
    match kind {
        IndexKind::Hnsw { ef_search, .. } => ef_search,
        IndexKind::Ivf { nprobe, .. } => nprobe.unwrap_or(0),
        IndexKind::Flat | IndexKind::Geometric => 0,
    }
}

/// The kind, with another figure for searches that do not say how widely.
fn with_width(kind: IndexKind, width: usize) -> IndexKind {
    match kind {
        IndexKind::Hnsw { m, ef_construction, .. } => {
            IndexKind::Hnsw { m, ef_construction, ef_search: width }
        }
        IndexKind::Ivf { nlist, .. } => {
            IndexKind::Ivf { nlist, nprobe: (width > 0).then_some(width) }
        }
        kind => kind,
    }
}

impl<T: Lane> Drop for TypedEngine<T> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        let builder = {
            let mut writer = self.0.writer.lock();
            self.0.changed.notify_all();
            writer.builder.take()
        };
        if let Some(builder) = builder {
            // The builder cannot panic; if it did, there is nothing left to do about it.
            let _ = builder.join();
        }
    }
}
