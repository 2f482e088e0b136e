//! An open namespace: its spaces, and the shards that its records are spread over.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Weak},
    time::Duration,
};

use hvs_geometry::Space;
use hvs_index::Builders;
use hvs_kv::Kv;
use hvs_shard::{
    CloseError, Durability, Expiry, Lease, LogRetention, Operation, PayloadLimits, QueueLimits,
    Shard, ShardConfig, ShardMemory, ShardStats, WriteAnswer, WriteError, WriteOutcome,
    WriteRequest, Writer,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    CatalogueError, profile,
    settings::{Settings, shard_compression},
    slot::Pin,
};
use crate::config::Config;

/// What the catalogue keeps of a namespace.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Never used again.
    pub uid: Uuid,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Of each shard, in the order of their numbers.
    pub shards: Vec<Uuid>,
    /// Nothing left out.
    pub settings: Settings,
}

/// A named vector of an open namespace.
#[derive(Clone, Debug)]
pub struct VectorSpace {
    /// Its space.
    pub space: Space,
    /// Of stored coordinates.
    pub precision: hvs_geometry::Precision,
    /// Whether every search of it looks at every vector.
    pub scans: bool,
}

/// What is known of a namespace whether its shards are open or not.
pub struct Description {
    /// Its own name.
    pub name: String,
    /// What the catalogue keeps of it.
    pub entry: Entry,
    /// How often that was changed since the node was started.
    pub revision: u64,
    /// By name; the default vector has the empty one.
    pub vectors: BTreeMap<String, VectorSpace>,
    /// When writes are acknowledged that do not say it.
    pub durability: hvs_api::Durability,
    /// How records are compressed at rest.
    pub compression: hvs_api::Compression,
    /// Whether records of hits are read ahead.
    pub prefetch: bool,
    /// The language of its index of text, if there is one.
    pub text: Option<hvs_shard::Language>,
}

impl Description {
    /// Of what the catalogue keeps.
    ///
    /// # Errors
    /// [`CatalogueError`] if its settings mean nothing here.
    pub fn new(name: &str, entry: Entry, config: &Config) -> Result<Self, CatalogueError> {
        Ok(Self {
            name: name.to_owned(),
            vectors: vector_spaces(&entry.settings, config)?,
            durability: entry.settings.durability.unwrap_or(config.writes.durability),
            compression: entry.settings.compression(config),
            prefetch: entry.settings.prefetch(),
            text: entry.settings.text_config(config)?.map(|config| config.language),
            entry,
            revision: 0,
        })
    }

    /// The largest dimension of its vectors.
    pub fn dimension(&self) -> usize {
        self.vectors.values().map(|vector| vector.space.dimension()).max().unwrap_or(0)
    }

    /// The expiry of records that are put without one.
    pub fn default_expiry(&self) -> Option<Expiry> {
        self.entry.settings.ttl_ms.map(Expiry::After)
    }
}

/// The open shards of a namespace.
pub struct Loaded {
    shards: Vec<Shard>,
    /// Held by everyone who holds the shards, so that a deletion can wait for the last.
    _held: mpsc::Sender<()>,
}

impl Loaded {
    /// The shard of this number, if there is one.
    pub(crate) fn shard(&self, number: usize) -> Option<&Shard> {
        self.shards.get(number)
    }

    /// The counters of every shard.
    pub(super) fn stats(&self) -> Vec<ShardStats> {
        self.shards.iter().map(Shard::stats).collect()
    }

    /// What all shards hold in memory.
    pub(super) fn memory(&self) -> ShardMemory {
        self.shards.iter().map(Shard::memory).sum()
    }

    /// Makes everything durable and stops it. Blocks. Whoever still holds the shards can read on.
    pub(super) fn close(&self, name: &str) -> Result<(), CatalogueError> {
        // All of them, even after one that failed.
        let outcomes: Vec<_> = self.shards.iter().map(Shard::close).collect();
        outcomes.into_iter().collect::<Result<(), CloseError>>().map_err(|source| {
            CatalogueError::Close { namespace: name.to_owned(), source: Box::new(source) }
        })
    }
}

/// A namespace in use: its shards stay open for as long as this is held.
pub struct Namespace {
    description: Arc<Description>,
    loaded: Arc<Loaded>,
    pin: Pin,
}

impl Deref for Namespace {
    type Target = Description;

    fn deref(&self) -> &Description {
        &self.description
    }
}

fn vector_spaces(
    settings: &Settings,
    config: &Config,
) -> Result<BTreeMap<String, VectorSpace>, CatalogueError> {
    let mut vectors = BTreeMap::new();
    for (vector, config) in settings.index_configs(config)? {
        // A geometric index may have to look at everything, inverted lists at a good part.
        let walks = matches!(config.kind, hvs_index::IndexKind::Hnsw { .. });
        let scans = !walks || !config.space.is_metric();
        let space = config.space;
        vectors.insert(vector, VectorSpace { space, precision: config.precision, scans });
    }
    Ok(vectors)
}

/// Tells when nobody holds a namespace any more.
pub struct Released(mpsc::Receiver<()>);

impl Released {
    /// Waits for it.
    pub async fn wait(mut self) {
        // Nothing is ever sent: this ends when the sender is gone.
        while self.0.recv().await.is_some() {}
    }
}

/// What opening shards needs beside the entry.
#[derive(Clone)]
pub struct Surroundings {
    /// The configuration of the node.
    pub config: Arc<Config>,
    /// Where logs are.
    pub kv: Arc<dyn Kv>,
    /// Who writes.
    pub writer: Writer,
    /// Whether this node may lead, where others have the same store of logs.
    pub lease: Option<Lease>,
    /// With whom builds of indexes take turns.
    pub builders: Builders,
}

impl Surroundings {
    pub(crate) fn shard_config(
        &self,
        entry: &Entry,
        shard: Uuid,
    ) -> Result<ShardConfig, CatalogueError> {
        let mut vectors = entry.settings.index_configs(&self.config)?;
        for index in vectors.values_mut() {
            index.builders = self.builders.clone();
        }
        let limits = &self.config.limits;
        let storage = &self.config.storage;
        let writes = &self.config.writes;
        Ok(ShardConfig {
            queue: QueueLimits {
                requests: writes.queue_requests,
                bytes: writes.queue_bytes,
                oldest: Duration::from_millis(writes.queue_ms),
            },
            store: profile::store_sizes(entry.settings.profile, storage),
            verify_tables: storage.verify_tables,
            retention: LogRetention {
                entries: self.config.feed.entries,
                bytes: self.config.feed.bytes,
            },
            compression: shard_compression(entry.settings.compression(&self.config)),
            generations: entry.settings.generations(),
            memory_bytes: writes.memory_bytes,
            payload: PayloadLimits {
                fields: self.config.payload.fields,
                bytes: self.config.payload.bytes,
                text_bytes: self.config.payload.text_bytes,
            },
            payload_schema: entry.settings.payload.schema(),
            text: entry.settings.text_config(&self.config)?,
            text_generation: entry.settings.text_generation,
            max_operations: limits.batch_operations,
            max_k: limits.k,
            max_page: limits.page,
            max_metadata_bytes: limits.metadata_bytes,
            max_scanned: limits.exact_vectors,
            log_prefix: self.config.log_prefix().to_owned(),
            lease: self.lease.clone(),
            ..ShardConfig::new(entry.uid, shard, self.writer.clone(), vectors)
        })
    }

    pub(crate) fn shard_directory(&self, shard: Uuid) -> std::path::PathBuf {
        self.config.storage.data_dir.join("shards").join(shard.to_string())
    }

    /// What is known of a namespace without opening it.
    ///
    /// # Errors
    /// [`CatalogueError`] if its settings mean nothing here.
    pub fn describe(&self, name: &str, entry: Entry) -> Result<Description, CatalogueError> {
        Description::new(name, entry, &self.config)
    }

    /// Opens or creates the shards of a namespace. Blocks for as long as there is log to replay.
    ///
    /// # Errors
    /// [`CatalogueError`]; shards that were opened before are closed again.
    pub fn open(&self, description: &Description) -> Result<(Loaded, Released), CatalogueError> {
        self.open_shards(description, self.config.storage.verify_tables)
    }

    /// The same for shards that this process has had open before: their files were checked then,
    /// if they are to be.
    ///
    /// # Errors
    /// [`CatalogueError`]; shards that were opened before are closed again.
    pub fn reopen(&self, description: &Description) -> Result<(Loaded, Released), CatalogueError> {
        self.open_shards(description, false)
    }

    fn open_shards(
        &self,
        description: &Description,
        verify_tables: bool,
    ) -> Result<(Loaded, Released), CatalogueError> {
        let entry = &description.entry;
        let mut shards = Vec::with_capacity(entry.shards.len());
        for &shard in &entry.shards {
            let config = ShardConfig { verify_tables, ..self.shard_config(entry, shard)? };
            let directory = self.shard_directory(shard);
            let open = Shard::open(config, Arc::clone(&self.kv), &directory).map_err(|source| {
                CatalogueError::Shard {
                    namespace: description.name.clone(),
                    shard,
                    source: Box::new(source),
                }
            })?;
            shards.push(open);
        }
        let (held, released) = mpsc::channel(1);
        Ok((Loaded { shards, _held: held }, Released(released)))
    }

    /// Removes the shards of a namespace, which nobody holds open. Blocks.
    ///
    /// # Errors
    /// [`CatalogueError`]; may be repeated.
    pub fn destroy(&self, name: &str, entry: &Entry) -> Result<(), CatalogueError> {
        for &shard in &entry.shards {
            let config = self.shard_config(entry, shard)?;
            let directory = self.shard_directory(shard);
            Shard::destroy(&config, Arc::clone(&self.kv), &directory).map_err(|source| {
                CatalogueError::Shard {
                    namespace: name.to_owned(),
                    shard,
                    source: Box::new(source),
                }
            })?;
        }
        Ok(())
    }
}

impl Namespace {
    pub(super) fn new(description: Arc<Description>, loaded: Arc<Loaded>, pin: Pin) -> Self {
        Self { description, loaded, pin }
    }

    /// All shards, in the order of their numbers.
    pub fn shards(&self) -> &[Shard] {
        &self.loaded.shards
    }

    /// The same for whoever can do without them.
    pub(crate) fn shards_unheld(&self) -> Weak<Loaded> {
        Arc::downgrade(&self.loaded)
    }

    /// Keeps it loaded after this is dropped, without keeping it from being deleted.
    pub fn pin(&self) -> Pin {
        self.pin.clone()
    }

    /// The shard of an id or partition key.
    pub fn shard_of(&self, key: &str) -> Option<&Shard> {
        self.shards().get(self.shard_number(key))
    }

    /// The number of that shard.
    pub fn shard_number(&self, key: &str) -> usize {
        shard_number(key, self.shards().len())
    }

    /// Carries out operations on the shards that they touch, each part for itself.
    ///
    /// # Errors
    /// The error of the first shard that failed, with the operations of other shards that took
    /// effect; a repetition of the request with the same idempotency key leaves those as they are.
    pub async fn write(
        &self,
        operations: Vec<Routed>,
        options: WriteOptions,
    ) -> Result<Vec<Written>, RoutedWriteError> {
        if let [shard] = self.shards() {
            let operations = operations.into_iter().map(|routed| routed.operation).collect();
            return Ok(written(shard.write(options.request(operations)).await?).collect());
        }
        let total = operations.len();
        let mut parts: BTreeMap<usize, (Vec<usize>, Vec<Operation>)> = BTreeMap::new();
        for (position, routed) in operations.into_iter().enumerate() {
            let part = parts.entry(shard_number(routed.key(), self.shards().len())).or_default();
            part.0.push(position);
            part.1.push(routed.operation);
        }
        if options.atomic && parts.len() > 1 {
            return Err(RoutedWriteError::AtomicAcrossShards { shards: parts.len() });
        }
        let writes = parts.into_iter().filter_map(|(number, (positions, operations))| {
            let shard = self.shards().get(number)?;
            let request = options.request(operations);
            Some(async move { (positions, shard.write(request).await) })
        });
        let answers = futures_util::future::join_all(writes).await;
        gather(total, answers)
    }
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its outcome.
    pub outcome: WriteOutcome,
    /// How durable that is: as asked, or more.
    pub durability: Durability,
}

fn written(answer: WriteAnswer) -> impl Iterator<Item = Written> {
    let WriteAnswer { outcomes, durability, .. } = answer;
    outcomes.into_iter().map(move |outcome| Written { outcome, durability })
}

/// An operation and what chooses its shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// In place of the id.
    pub partition_key: Option<String>,
    /// The operation.
    pub operation: Operation,
}

impl Routed {
    fn key(&self) -> &str {
        self.partition_key.as_deref().unwrap_or_else(|| self.operation.id())
    }
}

/// What holds for all operations of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteOptions {
    /// When to answer.
    pub durability: Durability,
    /// All or nothing.
    pub atomic: bool,
    /// Remembered by each shard for its part.
    pub idempotency_key: Option<String>,
}

impl WriteOptions {
    fn request(&self, operations: Vec<Operation>) -> WriteRequest {
        WriteRequest {
            operations,
            durability: self.durability,
            atomic: self.atomic,
            idempotency_key: self.idempotency_key.clone(),
        }
    }
}

/// The number of the shard that a key belongs to. It is part of the stored format: the first
/// eight bytes of the BLAKE3 hash, as a little-endian number, modulo the number of shards.
fn shard_number(key: &str, shards: usize) -> usize {
    if shards <= 1 {
        return 0;
    }
    let hash = blake3::hash(key.as_bytes());
    let Some(first) = hash.as_bytes().first_chunk::<8>() else { return 0 };
    usize::try_from(u64::from_le_bytes(*first) % shards as u64).unwrap_or_default()
}

/// Why a write over shards failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutedWriteError {
    /// A shard failed, or refused.
    #[error(transparent)]
    Shard(#[from] WriteError),
    /// A shard failed, or refused, after others had done their part.
    #[error("{source}; {} operations that belong to other shards took effect", .applied.len())]
    Partial {
        /// Positions of what took effect, in order.
        applied: Vec<usize>,
        /// Why the rest did not.
        source: WriteError,
    },
    /// One log entry belongs to one shard.
    #[error(
        "the records of an atomic batch must be of one shard, but these are of {shards}; give them one partition_key"
    )]
    AtomicAcrossShards {
        /// How many shards the batch touches.
        shards: usize,
    },
    /// A shard answered less than it was asked, which would be a defect.
    #[error("a shard left operation {position} without an outcome")]
    Incomplete {
        /// The operation.
        position: usize,
    },
}

fn gather(
    total: usize,
    answers: Vec<(Vec<usize>, Result<WriteAnswer, WriteError>)>,
) -> Result<Vec<Written>, RoutedWriteError> {
    let mut outcomes: BTreeMap<usize, Written> = BTreeMap::new();
    let mut failure = None;
    for (positions, answer) in answers {
        match answer {
            Ok(answer) => outcomes.extend(positions.into_iter().zip(written(answer))),
            Err(error) if failure.is_none() => {
                failure = Some(at_original_position(error, &positions));
            }
            Err(_) => {}
        }
    }
    if let Some(source) = failure {
        let took_effect = |written: &Written| {
            matches!(written.outcome, WriteOutcome::Put { .. } | WriteOutcome::Deleted { .. })
        };
        let applied: Vec<usize> = outcomes
            .iter()
            .filter(|(_, written)| took_effect(written))
            .map(|(&position, _)| position)
            .collect();
        return Err(if applied.is_empty() {
            source.into()
        } else {
            RoutedWriteError::Partial { applied, source }
        });
    }
    (0..total)
        .map(|position| outcomes.remove(&position).ok_or(RoutedWriteError::Incomplete { position }))
        .collect()
}

/// A shard counts the operations of its own part; clients count those of the request.
fn at_original_position(error: WriteError, positions: &[usize]) -> WriteError {
    let original = |index: usize| positions.get(index).copied().unwrap_or(index);
    match error {
        WriteError::Invalid { index, source } => {
            WriteError::Invalid { index: original(index), source }
        }
        WriteError::TooLarge { index, bytes, limit } => {
            WriteError::TooLarge { index: original(index), bytes, limit }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_shards_and_spread() {
        // Stored data depends on these.
        let numbers: Vec<_> = ["", "a", "b", "n00000001"].map(|key| shard_number(key, 7)).into();
        assert_eq!(numbers, [1, 4, 6, 0]);
        let mut counts = [0_u32; 4];
        for number in 0..4_000 {
            counts[shard_number(&format!("id-{number}"), 4)] += 1;
        }
        assert!(counts.iter().all(|&count| (900..1_100).contains(&count)), "{counts:?}");
    }

    #[test]
    fn outcomes_come_back_in_the_order_of_the_request() {
        let durability = Durability::Sync;
        let answer =
            |outcomes| Ok(WriteAnswer { outcomes, epoch: 1, seq: 1, repeated: false, durability });
        let failed = WriteOutcome::ConditionFailed { current: None };
        let outcomes = gather(
            3,
            vec![
                (vec![1], answer(vec![WriteOutcome::NotFound])),
                (vec![0, 2], answer(vec![failed.clone(), WriteOutcome::NotApplied])),
            ],
        );
        let expected = [failed, WriteOutcome::NotFound, WriteOutcome::NotApplied]
            .map(|outcome| Written { outcome, durability });
        assert_eq!(outcomes.unwrap(), expected);
        let deleted = WriteOutcome::Deleted {
            etag: hvs_shard::Etag { epoch: 1, seq: 1, index: 0 },
            version: 2,
            timestamp: hvs_shard::Timestamp::from_millis(1),
        };
        let refusal = || Err(WriteError::IdempotencyMismatch { key: "k".to_owned() });
        let partly = gather(3, vec![(vec![0, 2], refusal()), (vec![1], answer(vec![deleted]))]);
        assert!(matches!(partly, Err(RoutedWriteError::Partial { applied, .. }) if applied == [1]));
        let nothing = vec![(vec![0], refusal()), (vec![1], answer(vec![WriteOutcome::NotFound]))];
        assert!(matches!(gather(2, nothing), Err(RoutedWriteError::Shard(_))));
        let short = gather(1, vec![]);
        assert!(matches!(short, Err(RoutedWriteError::Incomplete { position: 0 })));
    }
}
