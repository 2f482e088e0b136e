//! Building the local state of a shard from the rows of a checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::OwnedWriteBatch;
use hvs_kv::Kv;
use hvs_log::{Log, LogError, Position};

use crate::block_on::block_on;
use crate::config::ShardConfig;
use crate::content::Content;
use crate::error::OpenError;
use crate::machine::Machine;
use crate::record::check_id;
use crate::store::{BY_ID, BY_KEY, BY_ORDER, BY_TIME, Store, expiring_row, key_row, row_key};

use super::rows::{DamagedState, StateRow, StateRows};

/// Rows that are written in one batch.
const ROWS_AT_ONCE: usize = 10_000;

/// Why a shard was not restored. What is in the directory then is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError<E> {
    /// There is something in the directory.
    #[error("the directory {} is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The rows cannot be had.
    #[error(transparent)]
    Rows(E),
    /// The rows are not a state.
    #[error(transparent)]
    Damaged(#[from] DamagedState),
    /// The rows are another state than was expected.
    #[error("the state of the checkpoint has another digest than its manifest says")]
    Digest,
    /// The local state cannot be written.
    #[error(transparent)]
    Local(#[from] OpenError),
    /// The log cannot be read or begun.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The log that is to be replayed ends before the wanted entry.
    #[error("the log ends at entry {tail}, before {up_to}")]
    EndsBefore {
        /// Its last entry.
        tail: u64,
        /// The wanted one.
        up_to: u64,
    },
}

/// The log of the shard that the checkpoint is of, to go on from there.
#[derive(Debug, Clone, Copy)]
pub struct Replay<'a> {
    /// The shard that the checkpoint is of; its log is in the same store.
    pub source: &'a ShardConfig,
    /// The last entry wanted.
    pub up_to: u64,
}

/// What a shard was restored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The last entry in it. The shard's own log begins after it.
    pub seq: u64,
    /// Its epoch. The shard's own epochs are above it.
    pub epoch: u64,
    /// Live records.
    pub records: u64,
}

/// Builds the local state of a new shard in an empty directory, from the rows of a state with the
/// given digest, or from nothing where there is none, and begins its log after the state's last
/// entry. [`Shard::open`] goes on from
/// there with the same ids, versions, etags and times; it builds the indexes from the records.
///
/// Blocks. Nothing is usable after a failure.
///
/// [`Shard::open`]: crate::Shard::open
pub fn restore<K, V, E>(
    config: &ShardConfig,
    kv: &Arc<dyn Kv>,
    directory: &Path,
    rows: impl Iterator<Item = Result<(K, V), E>>,
    digest: Option<[u8; 32]>,
    replay: Option<Replay<'_>>,
) -> Result<Restored, RestoreError<E>>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let io = |what: &str, source| OpenError::Io {
        what: format!("{what} the directory {}", directory.display()),
        source,
    };
    std::fs::create_dir_all(directory).map_err(|source| io("create", source))?;
    let mut entries = std::fs::read_dir(directory).map_err(|source| io("read", source))?;
    if entries.next().is_some() {
        return Err(RestoreError::NotEmpty { path: directory.to_owned() });
    }
    let store = Store::open(&directory.join("store"), config.store, config.verify_tables)?;
    store.check_identity(config)?;
    if let Some(digest) = digest {
        write_rows(config, &store, rows, digest)?;
    }
    let mut machine = Machine::new(store.clone(), store.load_meta()?, config.wall.clone());
    machine.load_feed().map_err(|source| store.storage(source))?;
    if let Some(replay) = replay {
        apply_log(&mut machine, kv, replay)?;
    }
    let meta = *machine.meta();
    // The log begins here, with nothing kept.
    store.put_trimmed(meta.logged_bytes).map_err(|source| store.storage(source))?;
    store.persist().map_err(|source| store.storage(source))?;
    let log = Log::new(Arc::clone(kv), &config.log_prefix, config.log_id());
    block_on(log.begin_after(meta.applied, meta.epoch, config.writer.clone()))?;
    Ok(Restored { seq: meta.applied.seq, epoch: meta.epoch, records: meta.records })
}

pub(crate) fn write_rows<K, V, E>(
    config: &ShardConfig,
    store: &Store,
    rows: impl Iterator<Item = Result<(K, V), E>>,
    digest: [u8; 32],
) -> Result<(), RestoreError<E>>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut state = StateRows::default();
    let mut batch = store.batch(ROWS_AT_ONCE * 2);
    for row in rows {
        let (key, value) = row.map_err(RestoreError::Rows)?;
        if let Some(row) = state.take(key.as_ref(), value.as_ref())? {
            write_row(config, store, &mut batch, row)?;
        }
        if batch.len() >= ROWS_AT_ONCE {
            batch.commit().map_err(|source| store.storage(source))?;
            batch = store.batch(ROWS_AT_ONCE * 2);
        }
    }
    let known = state.known();
    if state.finish()?.digest != digest {
        return Err(RestoreError::Digest);
    }
    // Last, so that a state that is not whole has none.
    if let Some((meta, purged)) = known {
        store.put_purged(&mut batch, &purged);
        store.put_meta(&mut batch, &meta);
    }
    batch.commit().map_err(|source| store.storage(source))?;
    Ok(())
}

fn write_row(
    config: &ShardConfig,
    store: &Store,
    batch: &mut OwnedWriteBatch,
    row: StateRow<'_>,
) -> Result<(), DamagedState> {
    match row {
        StateRow::Meta => {}
        StateRow::Key { number, timestamp, key, remembered } => {
            let by_order = row_key(BY_ORDER, &number.to_be_bytes());
            let value = [&timestamp.0.to_le_bytes(), key].concat();
            batch.insert(&store.idempotency, by_order, value);
            batch.insert(&store.idempotency, row_key(BY_KEY, key), remembered);
        }
        StateRow::Live { id, row, header, content } => {
            let vectors = checked_vectors(config, id, &content)?;
            store.records.insert(batch, id, row);
            if let Some(at) = content.expires_at {
                batch.insert(&store.expiring, expiring_row(at, id), header.key.to_be_bytes());
            }
            // The indexes are empty, so that each of them needs the row of every record.
            for name in vectors {
                batch.insert(&store.keys, key_row(name, header.key), id);
            }
        }
        StateRow::Tombstone { id, row, header } => {
            let by_time = row_key(BY_TIME, &header.timestamp.0.to_be_bytes());
            batch.insert(&store.tombstones, row_key(BY_ID, id.as_bytes()), row);
            batch.insert(&store.tombstones, by_time, id);
        }
    }
    Ok(())
}

/// The names of a record's vectors that the shard has an index for. A checkpoint comes from
/// outside: what is in it must fit the spaces that it is restored to.
fn checked_vectors<'a>(
    config: &ShardConfig,
    id: &str,
    content: &Content<'a>,
) -> Result<Vec<&'a str>, DamagedState> {
    let damaged = |reason: String| DamagedState::Row { what: "record", row: id.to_owned(), reason };
    check_id(id).map_err(|error| damaged(error.to_string()))?;
    let (mut names, mut misfit) = (Vec::new(), None);
    let visited = content.for_each_vector(|name, vector| {
        let Some(index) = config.vectors.get(name) else { return };
        names.push(name);
        let expected = index.space.storage_len();
        if vector.len() != expected || !vector.iter().all(|x| x.is_finite()) {
            misfit = Some(format!("the vector {name:?} is not one of {expected} finite numbers"));
        }
    });
    visited.map_err(|error| damaged(error.to_string()))?;
    match misfit {
        None => Ok(names),
        Some(reason) => Err(damaged(reason)),
    }
}

fn apply_log<E>(
    machine: &mut Machine,
    kv: &Arc<dyn Kv>,
    Replay { source, up_to }: Replay<'_>,
) -> Result<(), RestoreError<E>> {
    let log = Log::new(Arc::clone(kv), &source.log_prefix, source.log_id());
    let from: Position = machine.meta().applied;
    let mut replay = log.replay(from);
    while machine.meta().applied.seq < up_to {
        let Some((entry, position)) = block_on(replay.next())? else {
            return Err(RestoreError::EndsBefore { tail: replay.position().seq, up_to });
        };
        machine
            .apply(&entry, position)
            .map_err(|error| OpenError::Apply { seq: position.seq, reason: error.to_string() })?;
    }
    Ok(())
}
