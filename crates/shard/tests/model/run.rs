//! A run: what happens to the shard and its surroundings.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hvs_index::Quantisation;
use hvs_shard::checkpoint::restore;
use hvs_shard::{
    Compression, FieldType, IndexConfig, IndexKind, NewRecord, PayloadSchema, Shard, ShardConfig,
    WallClock, WriteError, WriteRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::reference::Model;
use crate::support::{FLAT, Home, lift, write};

const STEPS: usize = 400;
/// When a run begins, in milliseconds.
const BEGIN: u64 = 1_700_000_000_000;

pub(crate) struct Run {
    pub(crate) rng: StdRng,
    pub(crate) home: Home,
    /// Whether some records are in memory alone.
    pub(crate) with_memory: bool,
    /// Where the shard is now.
    directory: PathBuf,
    pub(crate) operations: usize,
    /// None only while it is being opened again.
    pub(crate) shard: Option<Shard>,
    pub(crate) model: Model,
    /// What the shard takes for the time.
    clock: Arc<AtomicU64>,
}

impl Run {
    pub(crate) fn new(seed: u64, with_memory: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut home = Home::new();
        home.config.store.memtable_bytes = 1 << rng.random_range(12..20);
        home.config.entry_target_bytes = 1 << rng.random_range(8..16);
        home.config.retention.entries = rng.random_range(1..100);
        home.config.tombstone_millis = u64::MAX;
        for index in home.config.vectors.values_mut() {
            // So that few records are enough for graphs, lists and trees, and for merging them.
            index.graph_from = rng.random_range(4..64);
            index.tail_limit = rng.random_range(8..64);
        }
        let clock = Arc::new(AtomicU64::new(BEGIN));
        home.config.wall = WallClock::new({
            let clock = Arc::clone(&clock);
            move || clock.load(Ordering::Acquire)
        });
        let shard = Some(home.open());
        let model = Model { epoch: 1, now: BEGIN, ..Model::default() };
        let directory = home.shard_path();
        Self { rng, home, with_memory, directory, operations: 0, shard, model, clock }
    }

    /// The number of operations.
    pub(crate) fn run(mut self) -> usize {
        for step in 0..STEPS {
            match self.rng.random_range(0..100) {
                0..2 => self.reopen(),
                2 => self.move_elsewhere(),
                3..6 => self.repeat(),
                6..8 => self.misuse_a_key(),
                8..20 => self.pass_time(),
                20 => self.index_other_metadata(),
                21 => self.change_compression(),
                22 => self.change_an_index_in_use(),
                _ => self.write_something(),
            }
            if step % 40 == 39 {
                self.compare_everything();
            }
            self.compare_one_search();
        }
        self.compare_everything();
        self.reopen();
        self.compare_everything();
        self.shard().flush().unwrap();
        self.compare_everything();
        self.operations
    }

    /// The clock goes on, and some records cease to exist.
    fn pass_time(&mut self) {
        let millis = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(1_000..600_000),
            _ => self.rng.random_range(1..100),
        };
        self.model.pass(millis);
        self.clock.store(self.model.now, Ordering::Release);
    }

    fn index_other_metadata(&mut self) {
        let types = [FieldType::Integer, FieldType::Float, FieldType::Keyword];
        let of = types[self.rng.random_range(0..types.len())];
        let declared = self.rng.random_bool(0.7).then(|| ("bucket".to_owned(), of));
        let only_declared = self.rng.random_bool(0.7);
        let schema = PayloadSchema { only_declared, declared: declared.into_iter().collect() };
        self.home.config.payload_schema = schema.clone();
        self.shard().index_metadata(&schema).unwrap();
    }

    /// At once, and for what is opened from now on.
    fn change_compression(&mut self) {
        let all = [Compression::None, Compression::Lz4, Compression::Zstd];
        let compression = all[self.rng.random_range(0..all.len())];
        self.home.config.compression = compression;
        self.shard().set_compression(compression);
    }

    pub(crate) fn shard(&self) -> &Shard {
        self.shard.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        let old = self.shard.take().unwrap();
        if self.rng.random_bool(0.5) {
            old.close().unwrap();
            assert!(matches!(write(&old, put_request("x")), Err(WriteError::Closed)));
        }
        // Every handle must be gone before the directory can be opened again.
        drop(old);
        if self.rng.random_bool(0.3) {
            self.change_an_index();
        }
        self.open();
        self.model.epoch += 1;
        assert_eq!(self.shard().stats().epoch, self.model.epoch);
    }

    fn open(&mut self) {
        let (config, kv) = (self.home.config.clone(), self.home.kv());
        self.shard = Some(Shard::open(config, kv, &self.directory).unwrap());
        self.model.records.retain(|_, known| !known.in_memory);
        // What nobody can have any more may have been later than what comes.
        self.model.last_timestamp = self.model.last_logged;
    }

    /// A vector, and what its index is to be.
    fn another_index(&mut self) -> (&'static str, IndexConfig) {
        let kind = match self.rng.random_range(0..4) {
            0 => IndexKind::Flat,
            1 => IndexKind::Geometric,
            2 => IndexKind::Ivf { nlist: None, nprobe: None },
            _ => IndexKind::default(),
        };
        let can_be_coded = kind != IndexKind::Geometric;
        let quantisation = if can_be_coded && self.rng.random_bool(0.4) {
            Quantisation::F16
        } else {
            Quantisation::None
        };
        let name = if self.rng.random_bool(0.5) { "" } else { FLAT };
        (name, IndexConfig { kind, quantisation, ..self.home.config.vectors[name].clone() })
    }

    /// While it answers, and while records are written.
    fn change_an_index_in_use(&mut self) {
        let (name, config) = self.another_index();
        let generation = self.home.config.generations.get(name).map_or(1, |before| before + 1);
        let change = self.shard().change_index(name, config.clone(), generation).unwrap();
        self.write_something();
        change.fill(&|_| true).unwrap();
        self.compare_one_search();
        self.write_something();
        if self.rng.random_bool(0.2) {
            // Given up.
            return;
        }
        self.home.config.vectors.insert(name.to_owned(), config);
        self.home.config.generations.insert(name.to_owned(), generation);
        change.switch().unwrap().remove().unwrap();
        self.compare_one_search();
    }

    /// Segments of the old kind stay until they are merged.
    fn change_an_index(&mut self) {
        let (name, config) = self.another_index();
        self.home.config.vectors.insert(name.to_owned(), config);
        if self.rng.random_bool(0.5) {
            // Built anew from the records.
            *self.home.config.generations.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Restores the state into another shard, and goes on with that one.
    fn move_elsewhere(&mut self) {
        let old = self.shard.take().unwrap();
        let export = old.export().unwrap();
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let digest = export.write(None, |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok::<(), Infallible>(())
        });
        let digest = digest.unwrap();
        drop((export, old));
        self.home.config = ShardConfig {
            namespace: Uuid::from_u128(self.rng.random()),
            shard: Uuid::from_u128(self.rng.random()),
            ..self.home.config.clone()
        };
        self.directory = self.home.path().join(self.home.config.shard.to_string());
        {
            let kv: Arc<dyn hvs_kv::Kv> = self.home.kv();
            let rows = rows.iter().map(|(key, value)| Ok::<_, Infallible>((key, value)));
            restore(&self.home.config, &kv, &self.directory, rows, Some(digest), None).unwrap();
        }
        self.open();
        let epoch = self.shard().stats().epoch;
        assert!(epoch > self.model.epoch);
        self.model.epoch = epoch;
    }
}

fn put_request(id: &str) -> WriteRequest {
    WriteRequest::put(NewRecord::new(id, lift([0.0; 3])))
}
