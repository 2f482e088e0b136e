//! What the tests of a shard have in common: a shard in a temporary directory.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod unreliable;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hvs_geometry::{Geometry, Precision, Space};
use hvs_kv::embedded::{Embedded, EmbeddedConfig};
use hvs_shard::{
    IndexConfig, NewRecord, OpenError, Shard, ShardConfig, WriteAnswer, WriteError, WriteOutcome,
    WriteRequest, Writer,
};
use uuid::Uuid;

/// Intrinsic dimension of the default vector, which lives on the hyperboloid.
pub(crate) const DIMENSION: usize = 3;
/// The second vector: plane, f64.
pub(crate) const FLAT: &str = "flat";

/// A directory with everything of one shard in it.
pub(crate) struct Home {
    path: PathBuf,
    pub(crate) config: ShardConfig,
    /// Removes the directory in the end.
    directory_guard: Option<tempfile::TempDir>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut home = Self::at(directory.path().to_owned());
        home.directory_guard = Some(directory);
        home
    }

    /// One whose directory outlives it.
    pub(crate) fn at(path: PathBuf) -> Self {
        let writer = Writer { node: "node".to_owned(), incarnation: 1 };
        let mut config =
            ShardConfig::new(Uuid::from_u128(1), Uuid::from_u128(2), writer, vectors());
        // A busy machine must not fail a test.
        config.queue.oldest = std::time::Duration::from_mins(10);
        Self { path, config, directory_guard: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn shard_path(&self) -> PathBuf {
        self.path.join("shard")
    }

    pub(crate) fn kv(&self) -> Arc<Embedded> {
        let config = EmbeddedConfig {
            cache_bytes: 1 << 20,
            memtable_bytes: 64 << 10,
            ..EmbeddedConfig::default()
        };
        Arc::new(Embedded::open(&self.path.join("kv"), config).unwrap())
    }

    pub(crate) fn open(&self) -> Shard {
        Shard::open(self.config.clone(), self.kv(), &self.shard_path()).unwrap()
    }

    /// As [`Self::open`], over a store that commits every write: a state is built from its log.
    pub(crate) fn open_committed(&self) -> Result<Shard, OpenError> {
        let kv = Arc::new(unreliable::Unreliable::committing(self.kv()));
        Shard::open(self.config.clone(), kv, &self.shard_path())
    }
}

/// A hyperboloid in f32 under the default name, a plane in f64 under [`FLAT`]; both with small
/// tails, so that segments come into play.
pub(crate) fn vectors() -> BTreeMap<String, IndexConfig> {
    let mut curved = IndexConfig::new(Space::new(Geometry::Hyperboloid, DIMENSION, -1.0).unwrap());
    curved.tail_limit = 64;
    let mut flat = IndexConfig::new(Space::new(Geometry::Euclidean, 2, 0.0).unwrap());
    flat.precision = Precision::F64;
    flat.tail_limit = 64;
    BTreeMap::from([(String::new(), curved), (FLAT.to_owned(), flat)])
}

/// The point of the hyperboloid with the given spatial coordinates.
pub(crate) fn lift(spatial: [f64; DIMENSION]) -> Vec<f64> {
    let square: f64 = spatial.iter().map(|x| x * x).sum();
    let mut point = vec![(1.0 + square).sqrt()];
    point.extend(spatial);
    point
}

/// A record at a place that depends on the number only.
pub(crate) fn record(id: &str, number: u32) -> NewRecord {
    let x = f64::from(number % 1000) / 500.0 - 1.0;
    let mut record = NewRecord::new(id, lift([x, 0.5 - x / 2.0, x * x]));
    record.metadata.insert("number".to_owned(), number.into());
    record
}

/// Waits for a write.
pub(crate) fn write(shard: &Shard, request: WriteRequest) -> Result<WriteAnswer, WriteError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shard.write(request))
}

/// Puts a record and returns what became of it.
pub(crate) fn put(shard: &Shard, record: NewRecord) -> WriteOutcome {
    write(shard, WriteRequest::put(record)).unwrap().outcomes.remove(0)
}

/// Copies a folder, of which files may be removed meanwhile.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}
