//! Building a local state anew: from its log, from a checkpoint, or from what is left of it.

use std::path::Path;
use std::sync::Arc;

use hvs_kv::Kv;

use super::LocalState;
use super::verify::{check_key, check_tombstone};
use crate::checkpoint::RestoreError;
use crate::checkpoint::restore::write_rows;
use crate::config::ShardConfig;
use crate::error::OpenError;
use crate::machine::Machine;
use crate::meta::Meta;
use crate::store::{BY_ID, BY_KEY, BY_ORDER, BY_TIME, Store, expiring_row, key_row, row_key};
use crate::stored::{Header, StoredRecord};

/// Rows that are written in one batch.
const ROWS_AT_ONCE: usize = 10_000;

/// What was built.
pub struct Rebuilt {
    /// The state, in its folder.
    pub state: LocalState,
    /// Records that it lacks.
    pub lost_records: u64,
}

fn empty(config: &ShardConfig, folder: &Path) -> Result<Store, OpenError> {
    let store = Store::open(folder, config.store, false)?;
    store.check_identity(config)?;
    Ok(store)
}

/// Makes a state of nothing, in an empty folder.
pub fn make_empty(config: &ShardConfig, folder: &Path) -> Result<(), OpenError> {
    let store = empty(config, folder)?;
    store.persist().map_err(|source| store.storage(source))
}

/// Applies the whole log of a shard to an empty state, in an empty folder. The log must begin
/// with its first entry.
pub fn rebuild_from_log(
    config: &ShardConfig,
    kv: &Arc<dyn Kv>,
    folder: &Path,
) -> Result<LocalState, OpenError> {
    let machine = Machine::new(empty(config, folder)?, Meta::default(), config.wall.clone());
    let mut state = LocalState { config: config.clone().owning(), machine };
    state.catch_up(kv)?;
    Ok(state)
}

/// Builds a state from the rows of a checkpoint of the same shard, in an empty folder. What the
/// log has after it is not applied yet.
pub fn rebuild_from_rows<K, V, E>(
    config: &ShardConfig,
    folder: &Path,
    rows: impl Iterator<Item = Result<(K, V), E>>,
    digest: [u8; 32],
) -> Result<LocalState, RestoreError<E>>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let store = empty(config, folder)?;
    write_rows(config, &store, rows, digest)?;
    let meta = store.load_meta()?;
    Ok(LocalState {
        config: config.clone().owning(),
        machine: Machine::new(store, meta, config.wall.clone()),
    })
}

impl LocalState {
    /// Writes every whole row into a new state, in an empty folder. It shows the same entry of the
    /// log and lacks what is damaged.
    ///
    /// Of a state whose records are `mixed` with those of another shard only those count as whole
    /// whose keys it has noted.
    pub fn save_what_is_whole(&self, folder: &Path, mixed: bool) -> Result<Rebuilt, OpenError> {
        let store = empty(&self.config, folder)?;
        let mut meta = *self.meta();
        let was = meta.records;
        meta.records = self.save_records(&store, mixed)?;
        meta.tombstones = self.save_tombstones(&store)?;
        meta.next_remembered =
            meta.first_remembered.saturating_add(self.save_keys(&store, meta.first_remembered)?);
        let failed = |source| store.storage(source);
        let mut batch = store.batch(2);
        let (_, purged) = self.store().meta_of(&self.store().snapshot())?;
        store.put_purged(&mut batch, &purged);
        store.put_meta(&mut batch, &meta);
        batch.commit().map_err(failed)?;
        let machine = Machine::new(store, meta, self.config.wall.clone());
        let state = LocalState { config: self.config.clone(), machine };
        Ok(Rebuilt { state, lost_records: was.saturating_sub(meta.records) })
    }

    /// From both ends: what cannot be read in between is jumped over.
    fn save_records(&self, store: &Store, mixed: bool) -> Result<u64, OpenError> {
        let failed = |source| store.storage(source);
        let mut saved = 0_u64;
        let mut batch = store.batch(ROWS_AT_ONCE * 2);
        let mut save = |id: &[u8], value: &[u8]| -> Result<(), OpenError> {
            let Ok((header, expires_at)) = self.check_record(id, value) else { return Ok(()) };
            let Ok(record) = StoredRecord::decode(value) else { return Ok(()) };
            if mixed && !self.noted(id, value, header.key).iter().any(|(_, is_noted)| *is_noted) {
                return Ok(());
            }
            if store.records.contains(id).map_err(failed)? {
                return Ok(());
            }
            store.records.insert(&mut batch, id, value);
            if let (Some(at), Ok(id)) = (expires_at, std::str::from_utf8(id)) {
                batch.insert(&store.expiring, expiring_row(at, id), header.key.to_be_bytes());
            }
            // Errors were found when it was checked.
            let _ = record.content.for_each_vector(|name, _| {
                if self.config.vectors.contains_key(name) {
                    batch.insert(&store.keys, key_row(name, header.key), id);
                }
            });
            saved += 1;
            if batch.len() >= ROWS_AT_ONCE {
                let full = std::mem::replace(&mut batch, store.batch(ROWS_AT_ONCE * 2));
                full.commit().map_err(failed)?;
            }
            Ok(())
        };
        let mut is_all_read = true;
        for row in self.store().records.iter() {
            let Ok((id, value)) = row else {
                is_all_read = false;
                break;
            };
            save(&id, &value)?;
        }
        if !is_all_read {
            for row in self.store().records.iter().rev() {
                let Ok((id, value)) = row else { break };
                save(&id, &value)?;
            }
        }
        batch.commit().map_err(failed)?;
        Ok(saved)
    }

    fn save_tombstones(&self, store: &Store) -> Result<u64, OpenError> {
        let failed = |source| store.storage(source);
        let mut saved = 0;
        let mut batch = store.batch(ROWS_AT_ONCE);
        for row in self.store().tombstones.prefix([BY_ID]) {
            let Ok((key, value)) = row.into_inner() else { break };
            let id = key.get(1..).unwrap_or_default();
            let Ok(header) = Header::decode(&value) else { continue };
            if check_tombstone(self.store(), id, &value).is_err() {
                continue;
            }
            let by_time = row_key(BY_TIME, &header.timestamp.0.to_be_bytes());
            batch.insert(&store.tombstones, row_key(BY_ID, id), value);
            batch.insert(&store.tombstones, by_time, id);
            saved += 1;
        }
        batch.commit().map_err(failed)?;
        Ok(saved)
    }

    /// Numbers them anew, because there are no gaps.
    fn save_keys(&self, store: &Store, first: u64) -> Result<u64, OpenError> {
        let failed = |source| store.storage(source);
        let mut saved = 0;
        let mut batch = store.batch(ROWS_AT_ONCE);
        for row in self.store().idempotency.prefix([BY_ORDER]) {
            let Ok((_, value)) = row.into_inner() else { break };
            if check_key(self.store(), &value).is_err() {
                continue;
            }
            let by_key = row_key(BY_KEY, value.get(8..).unwrap_or_default());
            let Ok(Some(remembered)) = self.store().idempotency.get(&by_key) else { continue };
            let number = first.saturating_add(saved);
            batch.insert(&store.idempotency, row_key(BY_ORDER, &number.to_be_bytes()), value);
            batch.insert(&store.idempotency, by_key, remembered);
            saved += 1;
        }
        batch.commit().map_err(failed)?;
        Ok(saved)
    }
}
