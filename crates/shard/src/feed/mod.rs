//! The feed of changes: what each applied entry changed, kept for those who follow the shard.
//!
//! The log says what was asked for, and not what came of it: conditions, versions and expiry
//! depend on the state. So applying an entry also writes a row with its changes, in the same
//! atomic batch. The rows follow from the log, are no part of the replicated state, and are
//! trimmed with it.

mod read;
mod row;

use std::sync::atomic::{AtomicU64, Ordering};

use fjall::OwnedWriteBatch;
use tokio::sync::watch;

use crate::codec::DecodeError;
use crate::record::{Etag, Record, Timestamp};
use crate::store::Store;

pub use read::ChangesError;
pub(crate) use row::{FedChange, Row};

/// Rows that are removed in one step.
const ROWS_AT_ONCE: usize = 2_000;
/// Rows are removed when there are more than are to be kept by this part of it.
const SLACK_DIVISOR: u64 = 4;

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was stored as a whole.
    Put,
    /// Parts of it were changed.
    Patch,
    /// It was deleted.
    Delete,
    /// Its time had come: it was deleted, or never stored.
    Expire,
}

/// A place in the feed: after the change `index` of the entry `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedPosition {
    /// The entry; 0 before the first.
    pub seq: u64,
    /// The last change in it that lies before the place; [`Self::WHOLE`] for all of them.
    pub index: u32,
}

impl FeedPosition {
    /// The index of a place after all changes of an entry.
    pub const WHOLE: u32 = u32::MAX;
    /// Before the first change.
    pub const START: Self = Self::after(0);

    /// After all changes of an entry.
    pub const fn after(seq: u64) -> Self {
        Self { seq, index: Self::WHOLE }
    }
}

/// What to read of the feed.
#[derive(Debug, Clone)]
pub struct ChangesRequest {
    /// Only what lies after it.
    pub after: FeedPosition,
    /// Epoch of the entry at that place, if it is known: another one there means that what was
    /// read before was lost in a crash.
    pub epoch: Option<u64>,
    /// Most changes, from 1.
    pub limit: usize,
    /// No change is added once ids and records together reach this many bytes.
    pub max_bytes: usize,
    /// Whether records are wanted, as they were written then.
    pub with_records: bool,
}

/// One change of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Whose record.
    pub id: String,
    /// Of the record, or of its tombstone.
    pub version: u64,
    /// Names the change: its entry, and its place in that.
    pub etag: Etag,
    /// When, by the clock of the shard.
    pub timestamp: Timestamp,
    /// What it became by a put or a patch, if that was asked for.
    pub record: Option<Record>,
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangesPage {
    /// In the order in which they took effect.
    pub changes: Vec<Change>,
    /// After the last of them, and after entries that changed nothing.
    pub next: FeedPosition,
    /// Epoch of the entry at `next`; 0 before the first entry.
    pub epoch: u64,
    /// The last entry that is applied.
    pub newest: u64,
    /// Of ids and records.
    pub bytes: usize,
}

/// What writer and followers share.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// Changes up to this entry are not kept.
    begins: AtomicU64,
    /// Bytes of all rows ever written, as the last of them says.
    written: AtomicU64,
    /// The last row that was removed, and its own sum of bytes.
    removed: AtomicU64,
    removed_sum: AtomicU64,
    /// The last entry that was applied. It ends with the shard.
    applied: watch::Sender<u64>,
}

impl Feed {
    /// Up to which entry changes are not kept.
    pub(crate) fn begins(&self) -> u64 {
        self.begins.load(Ordering::Acquire)
    }

    /// From now on changes up to an entry are not kept.
    pub(crate) fn begin_after(&self, seq: u64) {
        self.begins.fetch_max(seq, Ordering::AcqRel);
    }

    pub(crate) fn publish(&self, applied: u64) {
        // Nothing but a comparison when nobody follows.
        self.applied.send_replace(applied);
    }

    /// Has everyone who waits look again.
    pub(crate) fn wake(&self) {
        self.applied.send_modify(|_| {});
    }

    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Finds out what is kept. Rows that do not lead up to the last entry are none: another
    /// version of the program went on without them.
    pub(crate) fn load(&self, store: &Store, applied: u64) -> fjall::Result<()> {
        let entry = |(key, row): (fjall::Slice, fjall::Slice)| {
            Some((row_seq(&key)?, Row::decode(&row).ok().map(|row| (row.sum, row.bytes()))?))
        };
        let last = store.feed.iter().next_back().map(fjall::Guard::into_inner).transpose()?;
        let first = store.feed.iter().next().map(fjall::Guard::into_inner).transpose()?;
        if let Some((seq, (sum, bytes))) = first.and_then(entry) {
            self.removed.store(seq.saturating_sub(1), Ordering::Release);
            self.removed_sum.store(sum.saturating_sub(bytes), Ordering::Release);
        }
        let begins = match last.and_then(entry) {
            Some((seq, (sum, _))) if seq == applied => {
                self.written.store(sum, Ordering::Release);
                store.load_feed_begins()?.unwrap_or(applied)
            }
            _ => applied,
        };
        self.begin_after(begins);
        store.put_feed_begins(self.begins())
    }

    /// Adds the row of an entry to the batch that applies it.
    pub(crate) fn write(
        &self,
        store: &Store,
        batch: &mut OwnedWriteBatch,
        seq: u64,
        epoch: u64,
        changes: Vec<FedChange<'_>>,
    ) {
        let mut row = Row { epoch, sum: self.written.load(Ordering::Acquire), changes };
        row.sum = row.sum.saturating_add(row.bytes());
        self.written.store(row.sum, Ordering::Release);
        batch.insert(&store.feed, seq.to_be_bytes(), row.encode());
    }

    /// Removes rows of entries that the log no longer has, or beyond the bytes to be kept.
    pub(crate) fn trim(&self, store: &Store, applied: u64, bytes: u64) -> fjall::Result<()> {
        let written = self.written.load(Ordering::Acquire);
        let kept_after = |sum: u64| written.saturating_sub(sum);
        let removed_sum = self.removed_sum.load(Ordering::Acquire);
        let is_over = kept_after(removed_sum) > bytes.saturating_add(bytes / SLACK_DIVISOR);
        let (begins, removed) = (self.begins(), self.removed.load(Ordering::Acquire));
        if begins <= removed && !is_over {
            return Ok(());
        }
        let (mut gone, mut up_to, mut sum) = (Vec::new(), removed, removed_sum);
        // Not from the first key: removed rows are only marked until they are compacted.
        for row in store.feed.range(removed.saturating_add(1).to_be_bytes()..).take(ROWS_AT_ONCE) {
            let (key, row) = row.into_inner()?;
            let seq = row_seq(&key).unwrap_or(0);
            let is_too_much = is_over && kept_after(sum) > bytes;
            // The last row says up to which entry there are rows.
            if seq >= applied || (seq > begins && !is_too_much) {
                break;
            }
            sum = Row::decode(&row).map_or(sum, |row| row.sum);
            up_to = seq;
            gone.push(key);
        }
        if gone.is_empty() {
            return Ok(());
        }
        // First, so that whoever misses a row learns why.
        self.begin_after(up_to);
        let mut batch = store.batch(gone.len() + 1);
        for key in gone {
            batch.remove(&store.feed, key);
        }
        store.insert_feed_begins(&mut batch, self.begins());
        batch.commit()?;
        self.removed.store(up_to, Ordering::Release);
        self.removed_sum.store(sum, Ordering::Release);
        Ok(())
    }
}

pub(crate) fn row_seq(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

fn kind_of(byte: u8) -> Result<ChangeKind, DecodeError> {
    match byte {
        0 => Ok(ChangeKind::Put),
        1 => Ok(ChangeKind::Patch),
        2 => Ok(ChangeKind::Delete),
        3 => Ok(ChangeKind::Expire),
        _ => Err(DecodeError::Field { field: "kind" }),
    }
}

fn byte_of(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Put => 0,
        ChangeKind::Patch => 1,
        ChangeKind::Delete => 2,
        ChangeKind::Expire => 3,
    }
}
