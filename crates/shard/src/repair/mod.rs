//! Looking at the local state of a shard that is not open, and building it anew.
//!
//! Nothing here touches what a node would open: [`LocalState`] works on a copy of a store, and what
//! is built is built in a folder of its own. Whoever calls this decides what takes the place of
//! what.

mod indexes;
mod rebuild;
mod verify;

use std::path::Path;
use std::sync::Arc;

use hvs_kv::Kv;
use hvs_log::Position;

use crate::block_on::block_on;
use crate::command::{Command, LoggedChange};
use crate::config::ShardConfig;
use crate::error::OpenError;
use crate::machine::Machine;
use crate::meta::Meta;
use crate::record::Record;
use crate::store::Store;
use crate::stored::StoredRecord;

pub use hvs_log::{Examined, Log, LogError};
pub use indexes::IndexState;
pub use rebuild::{Rebuilt, make_empty, rebuild_from_log, rebuild_from_rows};
pub use verify::StateReport;

/// The local state of a shard, without log, indexes and writer.
pub struct LocalState {
    config: ShardConfig,
    machine: Machine,
}

impl LocalState {
    /// Opens a store, which nothing else has open and which may be written to.
    pub fn open(config: &ShardConfig, store: &Path) -> Result<Self, OpenError> {
        let store = Store::open(store, config.store, false)?;
        store.check_identity(config)?;
        let meta = store.load_meta()?;
        let machine = Machine::new(store, meta, config.wall.clone());
        Ok(Self { config: config.clone().owning(), machine })
    }

    /// The last entry of the log that it shows.
    pub fn position(&self) -> Position {
        self.meta().applied
    }

    /// The epoch of that entry.
    pub fn epoch(&self) -> u64 {
        self.meta().epoch
    }

    /// The last entry that its log is known to have had on the disk; 0 if none is.
    pub fn log_synced(&self) -> u64 {
        self.store().load_log_synced().unwrap_or(0)
    }

    /// How many records it says that it has.
    pub fn records(&self) -> u64 {
        self.meta().records
    }

    /// Applies what the log has after it. The log may end before it. Returns how many entries
    /// were applied.
    pub fn catch_up(&mut self, kv: &Arc<dyn Kv>) -> Result<u64, OpenError> {
        let log = Log::new(Arc::clone(kv), &self.config.log_prefix, self.config.log_id());
        let mut replay = log.replay(self.position());
        let mut applied = 0;
        loop {
            match block_on(replay.next()) {
                Ok(Some((entry, position))) => {
                    self.machine.apply(&entry, position).map_err(|error| OpenError::Apply {
                        seq: position.seq,
                        reason: error.to_string(),
                    })?;
                    applied += 1;
                }
                Ok(None) | Err(LogError::EndsBefore { .. }) => return Ok(applied),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// All records, in order of their ids.
    pub fn read_records(&self) -> Result<Vec<Record>, OpenError> {
        let store = self.store();
        let mut records = Vec::new();
        for row in store.records.iter() {
            let (id, value) = row.map_err(|source| store.storage(source))?;
            let id = String::from_utf8_lossy(&id).into_owned();
            let record = StoredRecord::decode(&value)
                .and_then(|stored| stored.into_record(&id, &self.config.vectors));
            records.push(
                record.map_err(|error| store.corrupt(&format!("the record {id:?}: {error}")))?,
            );
        }
        Ok(records)
    }

    /// Makes everything durable and lets go of the store.
    pub fn close(self) -> Result<(), OpenError> {
        let store = self.machine.store().clone();
        drop(self);
        store.persist().map_err(|source| store.storage(source))
    }

    fn meta(&self) -> &Meta {
        self.machine.meta()
    }

    fn store(&self) -> &Store {
        self.machine.store()
    }
}

/// The log of a shard.
pub fn log_of(config: &ShardConfig, kv: Arc<dyn Kv>) -> Log {
    Log::new(kv, &config.log_prefix, config.log_id())
}

/// How many records a payload of the log deletes, as far as their ids say; none if it does not
/// decode.
pub fn deletions_in(payload: &[u8]) -> Option<u64> {
    let Command::Batch { requests, .. } = Command::decode(payload).ok()? else { return Some(0) };
    let operations = requests.iter().flat_map(|request| request.operations.iter());
    Some(operations.filter(|one| matches!(one.change, LoggedChange::Delete)).count() as u64)
}

/// How many operations a payload of the log has; none if it does not decode.
pub fn operations_in(payload: &[u8]) -> Option<u64> {
    match Command::decode(payload).ok()? {
        Command::Batch { requests, .. } => {
            Some(requests.iter().map(|request| request.operations.len() as u64).sum())
        }
        _ => Some(0),
    }
}
