//! The local state on disk: records and what belongs to them, in a database of their own.
//!
//! The database's journal is not forced to disk entry by entry, and handed to the operating system
//! twice a second only: what a crash takes is replayed from the log. What it never takes is a part of an
//! entry, since the database makes its journal durable before any sorted file that holds writes
//! of it, and drops an incomplete batch at the journal's end.

use std::path::{Path, PathBuf};

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice,
    Snapshot,
};

use hvs_kv::database::DatabaseError;
use uuid::Uuid;

use crate::codec::{DecodeError, Decoder, put_bytes, put_varint};
use crate::commits::{Batch, Commits};
use crate::compression::{Records, Uniform};
use crate::config::{ShardConfig, StoreSizes};
use crate::error::OpenError;
use crate::meta::{Meta, Purged};

/// Made before anything is written. `feed` came later: earlier states do not have it.
const KEYSPACES: [&str; 7] =
    ["meta", "records", "tombstones", "keys", "dead", "idempotency", "expiring"];
const META: &[u8] = b"meta";
const TRIMMED: &[u8] = b"trimmed";
const PURGED: &[u8] = b"purged";
const KEYS_TRIMMED: &[u8] = b"keys trimmed/";
const FEED_BEGINS: &[u8] = b"feed begins";
const LOG_SYNCED: &[u8] = b"log synced";
const UNIFORM: &[u8] = b"compressed";
const DICTIONARY: &[u8] = b"dictionary/";
const IDENTITY: &[u8] = b"identity";
const IDENTITY_VERSION: u8 = 1;

/// First byte of a tombstone's row by id, and of its row by time.
pub(crate) const BY_ID: u8 = b'i';
pub(crate) const BY_TIME: u8 = b't';
/// First byte of an idempotency key's row, and of its row by order.
pub(crate) const BY_KEY: u8 = b'k';
pub(crate) const BY_ORDER: u8 = b'o';

/// Handles to the database; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
    commits: Commits,
    pub(crate) records: Records,
    /// `BY_ID` id → tombstone; `BY_TIME` timestamp (big-endian) → id.
    pub(crate) tombstones: Keyspace,
    /// [`key_row`] → id, for keys that are not yet in segments of the vector's index.
    pub(crate) keys: Keyspace,
    /// Index key (big-endian) of a superseded or deleted record, while a segment may hold it.
    pub(crate) dead: Keyspace,
    /// `BY_KEY` idempotency key → answer; `BY_ORDER` number (big-endian) → key.
    pub(crate) idempotency: Keyspace,
    /// [`expiring_row`] → index key (big-endian), for records that expire. It follows from the
    /// records.
    pub(crate) expiring: Keyspace,
    /// Seq of an entry (big-endian) → what it changed, for those who follow.
    pub(crate) feed: Keyspace,
    meta: Keyspace,
}

impl Store {
    /// `verify_tables`: whether all sorted files are read and checked.
    pub(crate) fn open(
        path: &Path,
        sizes: StoreSizes,
        verify_tables: bool,
    ) -> Result<Self, OpenError> {
        let failed = |source| match source {
            fjall::Error::Locked => OpenError::Locked { path: path.to_owned() },
            source => OpenError::Storage { path: path.to_owned(), source },
        };
        // The database would cut a damaged journal off, and say nothing.
        let damaged = |error| match error {
            DatabaseError::InUse { path } => OpenError::Locked { path },
            error => OpenError::Files { path: path.to_owned(), source: error },
        };
        let before = hvs_kv::database::prepare(path, verify_tables).map_err(damaged)?;
        let database = Database::builder(path)
            .cache_size(sizes.cache_bytes)
            .worker_threads(2)
            .max_journaling_size(64 << 20)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        hvs_kv::database::check_opened(&before, &database, &KEYSPACES).map_err(damaged)?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            let options = || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_bytes)
                    .manual_journal_persist(true)
            };
            database.keyspace(name, options).map_err(failed)
        };
        let small = (sizes.memtable_bytes / 4).max(1 << 10);
        let meta = keyspace("meta", small)?;
        let corrupt = |reason: String| OpenError::Corrupt { path: path.to_owned(), reason };
        let records = Records::new(
            keyspace("records", sizes.memtable_bytes)?,
            dictionaries(&meta).map_err(failed)?,
        );
        let store = Self {
            path: path.to_owned(),
            records: records.map_err(|error| corrupt(format!("a dictionary: {error}")))?,
            tombstones: keyspace("tombstones", small)?,
            keys: keyspace("keys", small)?,
            dead: keyspace("dead", small)?,
            idempotency: keyspace("idempotency", small)?,
            expiring: keyspace("expiring", small)?,
            feed: keyspace("feed", small)?,
            meta,
            database,
            commits: Commits::default(),
        };
        hvs_kv::database::check_end(before, store.keyspaces()).map_err(damaged)?;
        // Before anything of the log is trimmed because it is in here.
        hvs_kv::directory::sync_database(path)
            .map_err(|error| store.storage(fjall::Error::Io(error)))?;
        Ok(store)
    }

    /// Frees what opening the database has brought into memory.
    pub(crate) fn settle(&self) -> fjall::Result<()> {
        hvs_kv::memtables::settle(&self.path, self.keyspaces())
    }

    fn keyspaces(&self) -> [&Keyspace; 8] {
        [
            self.records.keyspace(),
            &self.tombstones,
            &self.keys,
            &self.dead,
            &self.idempotency,
            &self.expiring,
            &self.feed,
            &self.meta,
        ]
    }

    pub(crate) fn batch(&self, capacity: usize) -> Batch {
        self.commits.batch(&self.database, capacity)
    }

    /// One state of all keyspaces.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.commits.snapshot(&self.database)
    }

    /// How all rows of records are compressed, if a pass over them has ever ended.
    pub(crate) fn load_uniform(&self) -> fjall::Result<Uniform> {
        let stored = self.meta.get(UNIFORM)?;
        Ok(stored.and_then(|bytes| Uniform::decode(&bytes).ok()).unwrap_or_default())
    }

    pub(crate) fn put_uniform(&self, uniform: Uniform) -> fjall::Result<()> {
        self.meta.insert(UNIFORM, uniform.encode())
    }

    /// A dictionary never changes.
    pub(crate) fn put_dictionary(&self, number: u32, dictionary: &[u8]) -> fjall::Result<()> {
        self.meta.insert([DICTIONARY, &number.to_be_bytes()].concat(), dictionary)
    }

    /// When the first of the stored records expires, in milliseconds.
    pub(crate) fn first_expiry(&self) -> fjall::Result<Option<u64>> {
        let Some(row) = self.expiring.iter().next() else { return Ok(None) };
        Ok(row.key()?.first_chunk().map(|at| u64::from_be_bytes(*at)))
    }

    pub(crate) fn put_meta(&self, batch: &mut OwnedWriteBatch, meta: &Meta) {
        batch.insert(&self.meta, META, meta.encode());
    }

    pub(crate) fn put_purged(&self, batch: &mut OwnedWriteBatch, purged: &Purged) {
        batch.insert(&self.meta, PURGED, purged.encode());
    }

    /// What the state machine knows beside its records, as of a snapshot.
    pub(crate) fn meta_of(&self, snapshot: &Snapshot) -> Result<(Meta, Purged), OpenError> {
        let row = |key| snapshot.get(&self.meta, key).map_err(|source| self.storage(source));
        let damaged = |error: DecodeError| self.corrupt(&format!("the meta row: {error}"));
        let meta = row(META)?.map(|bytes| Meta::decode(&bytes)).transpose().map_err(damaged)?;
        let purged = row(PURGED)?.map(|bytes| Purged::decode(&bytes)).transpose();
        Ok((meta.unwrap_or_default(), purged.map_err(damaged)?.unwrap_or_default()))
    }

    pub(crate) fn load_meta(&self) -> Result<Meta, OpenError> {
        let stored = self.meta.get(META).map_err(|source| self.storage(source))?;
        let Some(bytes) = stored else { return Ok(Meta::default()) };
        Meta::decode(&bytes).map_err(|error| self.corrupt(&format!("the meta row: {error}")))
    }

    /// The size of the log up to the floor, kept when the floor is raised.
    pub(crate) fn load_trimmed(&self) -> fjall::Result<u64> {
        let stored = self.meta.get(TRIMMED)?;
        Ok(stored.and_then(|bytes| Decoder::new(&bytes).varint("bytes").ok()).unwrap_or(0))
    }

    pub(crate) fn put_trimmed(&self, bytes: u64) -> fjall::Result<()> {
        let mut value = Vec::new();
        put_varint(&mut value, bytes);
        self.meta.insert(TRIMMED, value)
    }

    /// Up to which entry the feed of changes is not kept.
    pub(crate) fn load_feed_begins(&self) -> fjall::Result<Option<u64>> {
        let stored = self.meta.get(FEED_BEGINS)?;
        Ok(stored.and_then(|bytes| Decoder::new(&bytes).varint("seq").ok()))
    }

    pub(crate) fn put_feed_begins(&self, seq: u64) -> fjall::Result<()> {
        let mut batch = self.batch(1);
        self.insert_feed_begins(&mut batch, seq);
        batch.commit()
    }

    /// Belongs into the batch that removes the rows.
    pub(crate) fn insert_feed_begins(&self, batch: &mut OwnedWriteBatch, seq: u64) {
        let mut value = Vec::new();
        put_varint(&mut value, seq);
        batch.insert(&self.meta, FEED_BEGINS, value);
    }

    /// The last entry that the log is known to have had on the medium; 0 if none is.
    pub(crate) fn load_log_synced(&self) -> fjall::Result<u64> {
        let stored = self.meta.get(LOG_SYNCED)?;
        Ok(stored.and_then(|bytes| Decoder::new(&bytes).varint("seq").ok()).unwrap_or(0))
    }

    /// Belongs after the sync of the log, so that the state never says more than is so.
    pub(crate) fn put_log_synced(&self, seq: u64) -> fjall::Result<()> {
        let mut value = Vec::new();
        put_varint(&mut value, seq);
        self.meta.insert(LOG_SYNCED, value)
    }

    /// For a vector the key below which rows of `keys` have been removed.
    pub(crate) fn load_keys_trimmed(&self, vector: &str) -> fjall::Result<u64> {
        let stored = self.meta.get(keys_trimmed_row(vector))?;
        Ok(stored.and_then(|bytes| Decoder::new(&bytes).varint("key").ok()).unwrap_or(0))
    }

    /// Belongs into the batch that removes the rows.
    pub(crate) fn put_keys_trimmed(&self, batch: &mut OwnedWriteBatch, vector: &str, key: u64) {
        let mut value = Vec::new();
        put_varint(&mut value, key);
        batch.insert(&self.meta, keys_trimmed_row(vector), value);
    }

    /// Refuses a directory that belongs to another shard, and marks a new one.
    pub(crate) fn check_identity(&self, config: &ShardConfig) -> Result<(), OpenError> {
        let mut wanted = vec![IDENTITY_VERSION];
        put_bytes(&mut wanted, config.namespace.as_bytes());
        put_bytes(&mut wanted, config.shard.as_bytes());
        let stored = self.meta.get(IDENTITY).map_err(|source| self.storage(source))?;
        let Some(found) = stored else {
            self.meta.insert(IDENTITY, wanted).map_err(|source| self.storage(source))?;
            return Ok(());
        };
        if *found == wanted {
            return Ok(());
        }
        Err(OpenError::Foreign { path: self.path.clone(), reason: describe_identity(&found) })
    }

    /// Hands everything applied so far to the operating system, so that the end of the process
    /// does not take it. The log has it as well; this is for the case that the log is damaged.
    pub(crate) fn hand_over(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::Buffer)
    }

    /// Makes everything applied so far durable.
    pub(crate) fn persist(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// Bytes of blocks that are kept in memory.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.database.cache_size()
    }

    /// Bytes of writes that are gathered in memory.
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    pub(crate) fn storage(&self, source: fjall::Error) -> OpenError {
        OpenError::Storage { path: self.path.clone(), source }
    }

    pub(crate) fn corrupt(&self, reason: &str) -> OpenError {
        OpenError::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// The dictionaries of compression, by number.
fn dictionaries(meta: &Keyspace) -> fjall::Result<Vec<(u32, Slice)>> {
    let mut dictionaries = Vec::new();
    for row in meta.prefix(DICTIONARY) {
        let (key, bytes) = row.into_inner()?;
        let number = key.get(DICTIONARY.len()..).unwrap_or_default();
        dictionaries.push((number.try_into().map_or(0, u32::from_be_bytes), bytes));
    }
    Ok(dictionaries)
}

fn describe_identity(stored: &[u8]) -> String {
    let mut decoder = Decoder::new(stored);
    if decoder.version(IDENTITY_VERSION).is_err() {
        return "it was made by a newer version of HVS; upgrade to that version".to_owned();
    }
    let mut uid = || {
        let uid = Uuid::from_slice(decoder.bytes("uid").unwrap_or_default());
        uid.map_or_else(|_| "unreadable".to_owned(), |uid| uid.to_string())
    };
    format!("it is that of namespace {}, shard {}", uid(), uid())
}

fn keys_trimmed_row(vector: &str) -> Vec<u8> {
    [KEYS_TRIMMED, vector.as_bytes()].concat()
}

/// The row of an index key: 8 bytes that stand for the vector's name, then the key, so that each
/// index finds its own keys in order and an idle one keeps none of the others.
pub(crate) fn key_row(vector: &str, key: u64) -> [u8; 16] {
    let digest = blake3::hash(vector.as_bytes());
    let mut row = [0; 16];
    let (name, number) = row.split_at_mut(8);
    name.copy_from_slice(digest.as_bytes().split_at(8).0);
    number.copy_from_slice(&key.to_be_bytes());
    row
}

/// The row of a record that expires: 8 bytes when (big-endian), then its id.
pub(crate) fn expiring_row(at_millis: u64, id: &str) -> Vec<u8> {
    [&at_millis.to_be_bytes(), id.as_bytes()].concat()
}

/// The end of the rows of records that have expired by then.
pub(crate) fn expiring_until(now_millis: u64) -> [u8; 8] {
    now_millis.saturating_add(1).to_be_bytes()
}

/// A row's key: its kind, then the rest.
pub(crate) fn row_key(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], rest].concat()
}
