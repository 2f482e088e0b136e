//! The index as its users see it.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hvs_geometry::Precision;

use crate::{
    baseline::RawSearch,
    codec::refusal,
    config::{IndexConfig, IndexKind, MAX_EF, MAX_LISTS, MAX_M, Quantisation, RestartState},
    engine::{Engine, TypedEngine},
    error::{FlushError, InsertError, OpenError, SearchError},
    files::{create_dirs, damaged, io_error, manifest::Manifest, sync_dir},
    request::{SearchAnswer, SearchRequest},
    segment::{graph_path, rows_path},
    stats::IndexStats,
};

/// One named vector of one shard replica.
///
/// All methods take `&self` and may be called from any thread. Searches never wait for writers;
/// writers wait for each other.
pub struct VectorIndex {
    engine: Box<dyn Engine>,
}

impl VectorIndex {
    /// The key below which every row is in durable segments of a directory: what `open` wants as
    /// the tail starts there. 0 for a directory without an index.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] and [`OpenError::Format`] for a manifest that cannot be used,
    /// [`OpenError::Io`] when it cannot be read.
    pub fn covered(dir: &Path) -> Result<u64, OpenError> {
        Ok(Manifest::read(dir)?.map_or(0, |manifest| manifest.covered_below))
    }

    /// The same of an owner's index; none if it cannot be read, or does not say that it is that
    /// owner's.
    pub fn covered_of(dir: &Path, owner: &str) -> Option<u64> {
        let manifest = Manifest::read(dir).ok().flatten()?;
        (manifest.owner == owner && !owner.is_empty()).then_some(manifest.covered_below)
    }

    /// Removes every file of an index, so that it can be built anew from records: the answer to
    /// [`OpenError::Damaged`], [`OpenError::Format`] and [`OpenError::Mismatch`]. The manifest
    /// goes first, so an interruption leaves an index that is empty rather than damaged.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn discard(dir: &Path) -> Result<(), OpenError> {
        let manifest = Manifest::path(dir);
        crate::files::remove_if_there(&manifest).map_err(io_error(&manifest))?;
        if dir.is_dir() {
            sync_dir(dir).map_err(io_error(dir))?;
            remove_unreferenced(dir, &HashSet::new())?;
        }
        Ok(())
    }

    /// Opens the index in a directory, which is created if need be. Nothing else may have it open.
    ///
    /// # Errors
    /// [`OpenError::Config`] for figures out of range, [`OpenError::Mismatch`] for files of
    /// another space or precision, [`OpenError::Damaged`] when a file does not hold,
    /// [`OpenError::Row`] when a row of the restart state cannot be inserted, and
    /// [`OpenError::Io`].
    pub fn open(dir: &Path, config: IndexConfig, state: RestartState) -> Result<Self, OpenError> {
        config.check()?;
        create_dirs(dir).map_err(io_error(dir))?;
        let fresh = Manifest::new(&config);
        let manifest = Manifest::read(dir)?.unwrap_or_else(|| fresh.clone());
        if manifest.space != fresh.space || manifest.precision != fresh.precision {
            return Err(OpenError::Mismatch {
                path: Manifest::path(dir),
                found: format!("{} in {}", manifest.space, manifest.precision),
                wanted: format!("{} in {}", fresh.space, fresh.precision),
            });
        }
        if !manifest.owner.is_empty() && manifest.owner != fresh.owner {
            let reason = format!("it is that of {}, not of {:?}", manifest.owner, fresh.owner);
            return Err(damaged(&Manifest::path(dir), reason));
        }
        let wanted: HashSet<PathBuf> = manifest
            .segments
            .iter()
            .flat_map(|entry| [rows_path(dir, entry.number), graph_path(dir, entry.number)])
            .collect();
        remove_unreferenced(dir, &wanted)?;
        let dir = dir.to_owned();
        let engine: Box<dyn Engine> = match config.precision {
            Precision::F32 => Box::new(TypedEngine::<f32>::open(dir, config, &manifest, state)?),
            Precision::F64 => Box::new(TypedEngine::<f64>::open(dir, config, &manifest, state)?),
        };
        Ok(Self { engine })
    }

    /// Every key below it is in durable segments, or was dead when they were built.
    pub fn covered_below(&self) -> u64 {
        self.engine.covered_below()
    }

    /// Adds a vector in storage form; searches see it when this returns. To replace a record,
    /// insert its new vector first, then remove the old key.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing has changed.
    pub fn insert(&self, key: u64, id: &str, vector: &[f64]) -> Result<(), InsertError> {
        self.engine.insert(key, id, vector)
    }

    /// Removes a vector; searches do not see it when this returns. Whether it was there.
    pub fn remove(&self, key: u64) -> bool {
        self.engine.remove(key)
    }

    /// Whether a row of this key is held, dead or alive. A removed key that is not held needs no
    /// mention in a later [`RestartState`].
    pub fn holds(&self, key: u64) -> bool {
        self.engine.holds(key)
    }

    /// The id of the row of a key, dead or alive; none if no such row is held.
    pub fn id(&self, key: u64) -> Option<String> {
        self.engine.id(key)
    }

    /// Calls with the key, the id and the vector, in storage form, of every row that a search can
    /// return, in no order. What changes meanwhile may be among them or not.
    pub fn visit_live(&self, mut visit: impl FnMut(u64, &str, &[f64])) {
        self.engine.visit_live(&mut visit);
    }

    /// Finds what is near.
    ///
    /// # Errors
    /// See [`SearchError`].
    pub fn search(&self, request: &SearchRequest<'_>) -> Result<SearchAnswer, SearchError> {
        self.engine.search(request)
    }

    /// Sets what is called, from the building thread, with the new `covered_below` whenever
    /// segments were published. It must not call the index's `flush` or drop it.
    pub fn on_covered(&self, callback: impl Fn(u64) + Send + Sync + 'static) {
        self.engine.on_covered(Box::new(callback));
    }

    /// Waits until everything inserted before the call is in durable segments and no build runs.
    ///
    /// # Errors
    /// [`FlushError::Build`] when a build failed, [`FlushError::Closing`] when the index closes.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.engine.flush()
    }

    /// As [`flush`](Self::flush), of what was inserted with keys below this, and for this long.
    /// Whether it was done in that time. Other builds may be running afterwards.
    ///
    /// # Errors
    /// As those of [`flush`](Self::flush).
    pub fn flush_below(&self, below: u64, within: Duration) -> Result<bool, FlushError> {
        self.engine.flush_below(below, within)
    }

    /// Ends what is being built, for good: the index is about to be given up. Searches and
    /// insertions go on.
    pub fn stop(&self) {
        self.engine.stop();
    }

    /// Changes how widely is searched when a search does not say it: `ef_search` or `nprobe`.
    /// Whether the kind is otherwise that of the index; if not, nothing has changed.
    pub fn tune(&self, kind: IndexKind) -> bool {
        self.engine.tune(kind)
    }

    /// The bare native index over the largest segment, for benchmarks to compare with; `None`
    /// when no segment has a graph. It holds a copy of the segment in memory.
    ///
    /// # Errors
    /// [`FlushError::Build`] when the native index refuses.
    pub fn raw_search(&self) -> Result<Option<RawSearch>, FlushError> {
        self.engine.raw()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> IndexStats {
        self.engine.stats()
    }
}

impl std::fmt::Debug for VectorIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorIndex").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl IndexConfig {
    /// Whether an index can be opened so: figures in their ranges, and nothing that the space
    /// forbids.
    ///
    /// # Errors
    /// [`OpenError::Config`].
    pub fn check(&self) -> Result<(), OpenError> {
        check(self)
    }
}

fn check(config: &IndexConfig) -> Result<(), OpenError> {
    let refuse = |reason: String| Err(OpenError::Config { reason });
    if let IndexKind::Hnsw { m, ef_construction, ef_search } = config.kind {
        if !(2..=MAX_M).contains(&m) {
            return refuse(format!("m is {m}, it must be from 2 to {MAX_M}"));
        }
        for (name, ef) in [("ef_construction", ef_construction), ("ef_search", ef_search)] {
            if !(1..=MAX_EF).contains(&ef) {
                return refuse(format!("{name} is {ef}, it must be from 1 to {MAX_EF}"));
            }
        }
    }
    if let IndexKind::Ivf { nlist, nprobe } = config.kind {
        for (name, figure) in [("nlist", nlist), ("nprobe", nprobe)] {
            if let Some(figure) = figure
                && !(1..=MAX_LISTS).contains(&figure)
            {
                return refuse(format!("{name} is {figure}, it must be from 1 to {MAX_LISTS}"));
            }
        }
    }
    if let Some(reason) = refusal(&config.space, config.quantisation) {
        return refuse(reason);
    }
    if config.quantisation != Quantisation::None && config.kind == IndexKind::Geometric {
        return refuse(format!(
            "quantisation {}: a geometric index is exact, and quantised rows are not",
            config.quantisation
        ));
    }
    if config.tail_limit == 0 || config.max_hits == 0 {
        return refuse("tail_limit and max_hits must be at least 1".to_owned());
    }
    Ok(())
}

/// Removes index files that the manifest does not name: leftovers of an interrupted build.
fn remove_unreferenced(dir: &Path, wanted: &HashSet<PathBuf>) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let path = entry.map_err(io_error(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ours = name.starts_with("segment-") || name == "manifest.json.tmp";
        if is_ours && !wanted.contains(&path) {
            fs::remove_file(&path).map_err(io_error(&path))?;
        }
    }
    Ok(())
}
