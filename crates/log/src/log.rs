//! Reading a log: entries in order, each checked against the one before it.

use std::collections::VecDeque;
use std::sync::Arc;

use hvs_kv::{CompareAndSwap, Durability, Kv, KvError, PutIfAbsent, ScanLimit};

use crate::entry::{DamagedEntry, Entry, EntryHash, Writer};
use crate::keys::{Keys, LogId};
use crate::leader::new_attempt;
use crate::records::{DamagedRecord, Floor, LeaderRecord};

/// A place in a log: after the entry `seq`, which has the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last entry before the place; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
}

impl Position {
    /// Before the first entry.
    pub const START: Self = Self { seq: 0, hash: EntryHash::NONE };
}

/// Why the log could not be read, or leadership not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The store failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// An entry is damaged, or not the one that its successor was built on.
    #[error("entry {seq} of the log {}: {damage}", damage.verdict())]
    Damaged {
        /// Which entry.
        seq: u64,
        /// How.
        damage: DamagedEntry,
    },
    /// There are later entries, but not this one.
    #[error("entry {seq} of the log is missing, although entry {next} is there")]
    Hole {
        /// Which entry.
        seq: u64,
        /// The first one after it that exists.
        next: u64,
    },
    /// The entries asked for have been trimmed.
    #[error("entry {seq} of the log is gone: it was trimmed up to {}; start from a checkpoint", floor.seq)]
    Trimmed {
        /// The first entry asked for.
        seq: u64,
        /// What has been trimmed.
        floor: Floor,
    },
    /// The entry before the place to start from is not in the log, nor trimmed.
    #[error("the log ends before entry {seq}, which was there once")]
    EndsBefore {
        /// That entry.
        seq: u64,
    },
    /// The entry before the place to start from is another one.
    #[error("entry {seq} of the log is {found}, but {expected} was applied here")]
    Diverged {
        /// That entry.
        seq: u64,
        /// Hash that was expected.
        expected: EntryHash,
        /// Hash in the log.
        found: EntryHash,
    },
    /// The leader or the floor is damaged.
    #[error(transparent)]
    Record(#[from] DamagedRecord),
    /// Another writer leads the shard in a higher epoch.
    #[error("epoch {epoch} has ended: {reason}")]
    SteppedDown {
        /// The epoch that was claimed.
        epoch: u64,
        /// What was found.
        reason: String,
    },
    /// The leader is not the one that was observed.
    #[error(
        "the shard is led by {} by now",
        by.as_ref().map_or_else(
            || "nobody".to_owned(),
            |by| format!("node {:?} in epoch {}", by.writer.node, by.epoch),
        )
    )]
    Overtaken {
        /// Who it is.
        by: Option<Box<LeaderRecord>>,
    },
    /// The node id is empty or too long.
    #[error("a node id of {bytes} bytes is not usable; it must have 1 to 255 bytes")]
    NodeId {
        /// Its length.
        bytes: usize,
    },
}

/// One shard's log.
#[derive(Clone)]
pub struct Log {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) keys: Keys,
}

impl Log {
    /// The log of a shard below a prefix of the store. Nothing is read or written yet.
    pub fn new(kv: Arc<dyn Kv>, prefix: &str, id: LogId) -> Self {
        Self { kv, keys: Keys::new(prefix, id) }
    }

    /// Up to where the log has been trimmed.
    pub async fn floor(&self) -> Result<Floor, LogError> {
        Ok(self.stored_floor().await?.1)
    }

    /// Who leads, if anyone ever did.
    pub async fn leader(&self) -> Result<Option<LeaderRecord>, LogError> {
        let stored = self.kv.get(&self.keys.leader).await?;
        Ok(stored.map(|bytes| LeaderRecord::decode(&bytes)).transpose()?)
    }

    /// One entry by itself, or none if it is not there. Its place in the chain is not checked.
    pub async fn entry(&self, seq: u64) -> Result<Option<Entry>, LogError> {
        let Some(bytes) = self.kv.get(&self.keys.entry(seq)).await? else { return Ok(None) };
        let entry = Entry::decode(&bytes).map_err(|damage| LogError::Damaged { seq, damage })?;
        if entry.seq != seq {
            let damage = DamagedEntry::Misplaced { found: entry.seq };
            return Err(LogError::Damaged { seq, damage });
        }
        Ok(Some(entry))
    }

    /// Reads from a place on.
    pub fn replay(&self, from: Position) -> Replay<'_> {
        Replay { log: self, position: from, base_checked: false, page: VecDeque::new() }
    }

    /// Goes on after a place that the log itself ends before: what a store that may lose buffered
    /// writes needs when the state built from them has survived. The state is the checkpoint, and
    /// everything up to it counts as trimmed.
    pub async fn restart_after(&self, position: Position) -> Result<(), LogError> {
        self.raise_floor(position).await?;
        let end = self.keys.entry(position.seq.saturating_add(1));
        self.kv.delete_range(&self.keys.entry(0), &end).await?;
        self.kv.sync().await?;
        Ok(())
    }

    /// Begins a log that has neither entries nor a leader after a place and an epoch of another
    /// one, as a shard does whose state came from a checkpoint: the state is the start, everything
    /// up to it counts as trimmed, and the next leader has a higher epoch.
    pub async fn begin_after(
        &self,
        position: Position,
        epoch: u64,
        writer: Writer,
    ) -> Result<(), LogError> {
        let leader = LeaderRecord { epoch, writer, attempt: new_attempt() }.encode();
        let put = self.kv.put_if_absent(&self.keys.leader, &leader, Durability::Sync).await?;
        if let PutIfAbsent::Present(found) = put
            && found != leader
        {
            let found = LeaderRecord::decode(&found)?;
            let reason = format!("node {:?} led it in epoch {}", found.writer.node, found.epoch);
            return Err(LogError::SteppedDown { epoch, reason });
        }
        self.raise_floor(position).await
    }

    /// Removes the log with everything beside it, when its namespace is gone for good.
    pub async fn destroy(&self) -> Result<(), LogError> {
        self.kv.delete_range(&self.keys.entry(0), &self.keys.entries_end()).await?;
        self.kv.delete(&self.keys.floor, Durability::Buffered).await?;
        self.kv.delete(&self.keys.leader, Durability::Sync).await?;
        Ok(())
    }

    /// Raises the floor to a place, unless it is there or above.
    pub(crate) async fn raise_floor(&self, to: Position) -> Result<(), LogError> {
        let wanted = Floor { seq: to.seq, hash: to.hash };
        let (mut stored, mut floor) = self.stored_floor().await?;
        while floor.seq < wanted.seq {
            let swap = self
                .kv
                .compare_and_swap(
                    &self.keys.floor,
                    stored.as_deref(),
                    &wanted.encode(),
                    Durability::Sync,
                )
                .await?;
            match swap {
                CompareAndSwap::Swapped => return Ok(()),
                CompareAndSwap::Different(found) => {
                    floor = decode_floor(found.as_deref())?;
                    stored = found;
                }
            }
        }
        Ok(())
    }

    async fn stored_floor(&self) -> Result<(Option<Vec<u8>>, Floor), LogError> {
        let stored = self.kv.get(&self.keys.floor).await?;
        let floor = decode_floor(stored.as_deref())?;
        Ok((stored, floor))
    }
}

fn decode_floor(stored: Option<&[u8]>) -> Result<Floor, DamagedRecord> {
    stored.map_or(Ok(Floor::default()), Floor::decode)
}

/// Reads entries in order and checks each of them.
pub struct Replay<'a> {
    log: &'a Log,
    position: Position,
    base_checked: bool,
    page: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Replay<'_> {
    /// After the last entry returned.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next entry with the place after it, or none at the end of the log. It may be called
    /// again after the end, for entries that have come since.
    pub async fn next(&mut self) -> Result<Option<(Entry, Position)>, LogError> {
        if !self.base_checked {
            self.check_base().await?;
            self.base_checked = true;
        }
        let seq = self.position.seq.saturating_add(1);
        if self.page.is_empty() {
            let (start, end) = (self.log.keys.entry(seq), self.log.keys.entries_end());
            self.page = self.log.kv.scan(&start, &end, ScanLimit::default()).await?.pairs.into();
        }
        let Some((key, mut value)) = self.page.pop_front() else {
            // Read after the miss, or an entry trimmed in between would look like the end.
            let floor = self.log.floor().await?;
            if floor.seq >= seq {
                return Err(LogError::Trimmed { seq, floor });
            }
            return Ok(None);
        };
        let found = self.log.keys.seq(&key).unwrap_or(u64::MAX);
        if found != seq {
            // A page is no snapshot: where the store reads it in parts, an entry may have come
            // after its part was read, and the next one before the next part was.
            self.page.clear();
            let Some(missed) = self.log.kv.get(&self.log.keys.entry(seq)).await? else {
                let floor = self.log.floor().await?;
                if floor.seq >= seq {
                    return Err(LogError::Trimmed { seq, floor });
                }
                return Err(LogError::Hole { seq, next: found });
            };
            value = missed;
        }
        let (entry, position) = check_entry(&value, self.position)?;
        self.position = position;
        Ok(Some((entry, position)))
    }

    /// The place to start from must be one of this log.
    async fn check_base(&self) -> Result<(), LogError> {
        let Position { seq, hash } = self.position;
        if seq == 0 {
            return Ok(());
        }
        let found = if let Some(bytes) = self.log.kv.get(&self.log.keys.entry(seq)).await? {
            EntryHash::of(&bytes)
        } else {
            let floor = self.log.floor().await?;
            if floor.seq < seq {
                return Err(LogError::EndsBefore { seq });
            }
            if floor.seq > seq {
                return Ok(());
            }
            floor.hash
        };
        if found != hash {
            return Err(LogError::Diverged { seq, expected: hash, found });
        }
        Ok(())
    }
}

/// Decodes the entry after a place and checks that it belongs there.
pub(crate) fn check_entry(bytes: &[u8], after: Position) -> Result<(Entry, Position), LogError> {
    let seq = after.seq.saturating_add(1);
    let entry = Entry::decode(bytes).map_err(|damage| LogError::Damaged { seq, damage })?;
    if entry.seq != seq {
        let damage = DamagedEntry::Misplaced { found: entry.seq };
        return Err(LogError::Damaged { seq, damage });
    }
    if entry.previous != after.hash {
        let damage = DamagedEntry::Chain { expected: entry.previous, found: after.hash };
        return Err(LogError::Damaged { seq, damage });
    }
    Ok((entry, Position { seq, hash: EntryHash::of(bytes) }))
}
