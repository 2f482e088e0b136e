//! The state of a shard as rows, for checkpoints: what it is at one applied entry, independent of
//! where and how it is stored.
//!
//! ```text
//! key                          value
//! 'a'                          1 byte format version, 1; bytes meta row; bytes purged row
//! 'k' number (big-endian)      8 bytes timestamp, bytes idempotency key, what is remembered
//! 'r' id                       1, then the row of the record; or 0, then that of the tombstone
//! ```
//!
//! [`Export`] writes them, all or those that changed since an entry. [`StateRows`] reads them from
//! a base with the deltas laid over it, drops what the shard had forgotten by the end of the
//! deltas, and computes the digest. Rows that indexes need are not state: they follow from the
//! records.

mod export;
pub(crate) mod restore;
mod rows;

pub use export::{Export, ExportError};
pub use restore::{Replay, RestoreError, Restored, restore};
pub use rows::{DamagedState, StateRows, Summary};

use crate::config::ShardConfig;

use std::sync::Arc;

use hvs_kv::Kv;
use hvs_log::{EntryHash, Log, LogError, Position};

use crate::block_on::block_on;

/// What the log of a shard still says about a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// The entry is the one that was meant, and those after it can be read.
    Kept,
    /// The entries after it are gone; they were trimmed up to this seq.
    Trimmed {
        /// The floor.
        floor: u64,
    },
    /// The log has another entry there, or ends before it: the shard went back to an older state.
    Diverged,
}

/// What the log of a shard says about the entry `seq` with the hash `entry`. Blocks.
pub fn history(
    config: &ShardConfig,
    kv: Arc<dyn Kv>,
    seq: u64,
    entry: [u8; 32],
) -> Result<History, LogError> {
    let log = Log::new(kv, &config.log_prefix, config.log_id());
    let mut replay = log.replay(Position { seq, hash: EntryHash(entry) });
    match block_on(replay.next()) {
        Ok(_) => Ok(History::Kept),
        Err(LogError::Trimmed { floor, .. }) => Ok(History::Trimmed { floor: floor.seq }),
        Err(
            LogError::Diverged { .. }
            | LogError::EndsBefore { .. }
            | LogError::Damaged { damage: hvs_log::DamagedEntry::Chain { .. }, .. },
        ) => Ok(History::Diverged),
        Err(error) => Err(error),
    }
}

/// First byte of the row of what is known beside the records.
pub(crate) const META: u8 = b'a';
/// First byte of the row of an idempotency key.
pub(crate) const KEY: u8 = b'k';
/// First byte of the row of a record or tombstone.
pub(crate) const RECORD: u8 = b'r';
/// First byte of the value of a live record, and of a tombstone.
pub(crate) const LIVE: u8 = 1;
pub(crate) const TOMBSTONE: u8 = 0;
/// Version of the row of what is known beside the records.
pub(crate) const FORMAT_VERSION: u8 = 1;
