//! What a shard is told when it opens, and every limit it keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use hvs_filter::{PayloadLimits, PayloadSchema};
use hvs_index::IndexConfig;
use hvs_log::{LogId, Writer};
use hvs_text::TextConfig;
use uuid::Uuid;

use crate::error::OpenError;
use crate::lease::Lease;
use crate::wall::WallClock;

/// Most operations of one request, unless configured otherwise.
pub const DEFAULT_MAX_OPERATIONS: usize = 1_000;

/// Most bytes of records that are in memory alone, unless configured otherwise.
pub const DEFAULT_MEMORY_BYTES: usize = 64 << 20;

/// For how long the version of a deleted record is remembered: 7 days.
pub const DEFAULT_TOMBSTONE_MILLIS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Everything that decides how a shard behaves.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Uid of the namespace.
    pub namespace: Uuid,
    /// Uid of the shard.
    pub shard: Uuid,
    /// First part of every key in the store, the same for the whole deployment.
    pub log_prefix: String,
    /// Who opens the shard, for the log.
    pub writer: Writer,
    /// Where other nodes have the same store of logs: whether this one may lead. The log is then
    /// never trimmed, since others build their state from it. None: no other process has the store.
    pub lease: Option<Lease>,
    /// The named vectors of the namespace; the default name is the empty string.
    pub vectors: BTreeMap<String, IndexConfig>,
    /// How often the index of a vector was changed, 0 where it is not named: which of the indexes
    /// on disk is the one in use.
    pub generations: BTreeMap<String, u64>,
    /// The queue in front of the log.
    pub queue: QueueLimits,
    /// What is remembered of idempotency keys. A change is logged before it takes effect.
    pub idempotency: IdempotencyLimits,
    /// How much of the log is kept behind what is durable locally.
    pub retention: LogRetention,
    /// For how long the version of a deleted record is remembered, by the shard's clock.
    pub tombstone_millis: u64,
    /// What the shard's clock follows.
    pub wall: WallClock,
    /// Memory of the local state.
    pub store: StoreSizes,
    /// How records are compressed at rest.
    pub compression: Compression,
    /// Whether all sorted files of the local state are read and checked when the shard is opened.
    pub verify_tables: bool,
    /// Most bytes of records that are in memory alone.
    pub memory_bytes: usize,
    /// How much memory the index of metadata may take.
    pub payload: PayloadLimits,
    /// Which fields of metadata are indexed.
    pub payload_schema: PayloadSchema,
    /// The text that is indexed, if any is.
    pub text: Option<TextConfig>,
    /// How often the index of text was changed or added: which of those on disk is the one in use.
    pub text_generation: u64,
    /// Most operations of one request.
    pub max_operations: usize,
    /// Payload at which a log entry is closed although more is waiting, in bytes.
    pub entry_target_bytes: usize,
    /// Most hits of one search.
    pub max_k: usize,
    /// Most records of one scroll page.
    pub max_page: usize,
    /// Most bytes of a record's metadata after a patch, as JSON.
    pub max_metadata_bytes: usize,
    /// Most vectors or records that one read may look at one by one; 0 for no limit.
    pub max_scanned: u64,
}

impl ShardConfig {
    /// The defaults for a shard with the given vectors.
    pub fn new(
        namespace: Uuid,
        shard: Uuid,
        writer: Writer,
        vectors: BTreeMap<String, IndexConfig>,
    ) -> Self {
        Self {
            namespace,
            shard,
            log_prefix: "hvs".to_owned(),
            writer,
            lease: None,
            vectors,
            generations: BTreeMap::new(),
            queue: QueueLimits::default(),
            idempotency: IdempotencyLimits::default(),
            retention: LogRetention::default(),
            tombstone_millis: DEFAULT_TOMBSTONE_MILLIS,
            wall: WallClock::default(),
            store: StoreSizes::default(),
            compression: Compression::default(),
            verify_tables: true,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            payload: PayloadLimits::default(),
            payload_schema: PayloadSchema::default(),
            text: None,
            text_generation: 0,
            max_operations: DEFAULT_MAX_OPERATIONS,
            entry_target_bytes: 1 << 20,
            max_k: 10_000,
            max_page: 10_000,
            max_metadata_bytes: 1 << 20,
            max_scanned: 0,
        }
    }

    /// With the shard as the owner of its indexes, so that another shard's are told from its own.
    pub(crate) fn owning(mut self) -> Self {
        let owner = self.shard.to_string();
        for config in self.vectors.values_mut() {
            config.owner.clone_from(&owner);
        }
        if let Some(text) = &mut self.text {
            text.owner = owner;
        }
        self
    }

    pub(crate) fn log_id(&self) -> LogId {
        LogId { namespace: self.namespace, shard: self.shard }
    }

    pub(crate) fn vector_names(&self) -> Vec<String> {
        self.vectors.keys().cloned().collect()
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let positive = [
            ("the queue's limit of requests", self.queue.requests),
            ("the queue's limit of bytes", self.queue.bytes),
            ("the limit of operations", self.max_operations),
            ("the target size of a log entry", self.entry_target_bytes),
            ("the limit of k", self.max_k),
            ("the limit of a page", self.max_page),
            ("the number of vectors", self.vectors.len()),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((what, _)) => Err(OpenError::Config { reason: format!("{what} is 0") }),
            None => Ok(()),
        }
    }
}

/// What may wait for the log. Beyond any of these a write is refused as overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Requests waiting.
    pub requests: usize,
    /// Encoded size of what waits. A single request larger than this is let through when nothing
    /// else waits.
    pub bytes: usize,
    /// For how long the first request has waited.
    pub oldest: Duration,
}

impl Default for QueueLimits {
    /// 4,096 requests, 32 MiB, 50 ms.
    fn default() -> Self {
        Self { requests: 4_096, bytes: 32 << 20, oldest: Duration::from_millis(50) }
    }
}

/// How long idempotency keys are remembered. Whichever limit is reached first forgets the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyLimits {
    /// Keys remembered.
    pub keys: u64,
    /// Age by the shard's clock, which moves with its writes.
    pub age_millis: u64,
}

impl Default for IdempotencyLimits {
    /// 100,000 keys, 24 hours.
    fn default() -> Self {
        Self { keys: 100_000, age_millis: 24 * 60 * 60 * 1_000 }
    }
}

/// How much of the log is kept. Entries are deleted only when the state built from them is
/// durable on this node, which for a single node is the checkpoint, and then down to whichever of
/// these keeps less. What is kept serves readers that follow the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRetention {
    /// Entries kept.
    pub entries: u64,
    /// Bytes kept.
    pub bytes: u64,
}

impl Default for LogRetention {
    /// 100,000 entries, 64 MiB.
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 << 20 }
    }
}

/// How the labels and metadata of records are compressed at rest. It may be changed at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: quick.
    Lz4,
    /// Zstandard: small.
    Zstd,
}

/// Memory of the local state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSizes {
    /// Bytes of blocks that are kept in memory.
    pub cache_bytes: u64,
    /// Bytes of records that are gathered in memory before they become a sorted file.
    pub memtable_bytes: u64,
}

impl Default for StoreSizes {
    /// 32 MiB of cache, 16 MiB of writes.
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, memtable_bytes: 16 << 20 }
    }
}
