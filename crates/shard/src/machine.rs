//! Applying log entries: the state machine.
//!
//! Everything here is a function of the entries applied before. It runs on one thread at a time:
//! the opening thread during replay, the writer afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hvs_log::{Entry, EntryKind, Position};

use crate::arena::Arena;
use crate::changes::Changes;
use crate::codec::DecodeError;
use crate::command::{Command, LoggedRequest};
use crate::expiry::Clock;
use crate::feed::Feed;
use crate::indexes::{IndexFailure, Indexes};
use crate::meta::Meta;
use crate::operation::WriteOutcome;
use crate::record::{Etag, Timestamp};
use crate::store::Store;
use crate::wall::WallClock;

/// What an entry counts beside its payload when the size of the log is reckoned. Its real frame
/// depends on the writer's name, which must not matter to the state.
const ENTRY_FRAME_BYTES: u64 = 100;

/// Why an entry does not apply. The shard must not go on after any of these.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("the entry before it, {expected}, is not applied; {applied} is")]
    Order { expected: u64, applied: u64 },
    #[error("its payload is damaged: {0}")]
    Payload(DecodeError),
    #[error("the local {what} of {id:?} is damaged: {damage}")]
    Stored { what: &'static str, id: String, damage: DecodeError },
    #[error("the local state cannot be read: {0}")]
    Read(fjall::Error),
    #[error("the local state cannot be written: {0}")]
    Write(fjall::Error),
    #[error(transparent)]
    Index(#[from] IndexFailure),
    #[error("the idempotency key {key:?} is at operation {known}, not at {logged}")]
    Idempotency { key: String, known: u64, logged: u64 },
}

/// What readers may know of the machine without waiting for it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) applied: AtomicU64,
    pub(crate) epoch: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) tombstones: AtomicU64,
    pub(crate) remembered: AtomicU64,
    pub(crate) operations: AtomicU64,
    /// Odd while an entry is applied, so that readers can tell whether two looks at the state saw
    /// the same one.
    pub(crate) changes: AtomicU64,
    pub(crate) clock: Clock,
    pub(crate) feed: Feed,
}

impl Progress {
    /// The clock of the log.
    pub(crate) fn clock(&self) -> Timestamp {
        self.clock.now()
    }

    fn publish(&self, meta: &Meta) {
        self.clock.advance(meta.clock);
        self.epoch.store(meta.epoch, Ordering::Relaxed);
        self.records.store(meta.records, Ordering::Relaxed);
        self.tombstones.store(meta.tombstones, Ordering::Relaxed);
        self.remembered.store(meta.remembered(), Ordering::Relaxed);
        // A reader that sees this seq sees all state that belongs to it.
        self.applied.store(meta.applied.seq, Ordering::Release);
        self.feed.publish(meta.applied.seq);
    }
}

/// The state of the shard, with what it takes to change it.
pub(crate) struct Machine {
    store: Store,
    /// Not there while the log is replayed: they are opened from the state after it.
    indexes: Option<Arc<Indexes>>,
    meta: Meta,
    progress: Arc<Progress>,
}

impl Machine {
    pub(crate) fn new(store: Store, meta: Meta, wall: WallClock) -> Self {
        let progress = Progress { clock: Clock::new(wall), ..Progress::default() };
        let progress = Arc::new(progress);
        progress.publish(&meta);
        Self { store, indexes: None, meta, progress }
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn indexes(&self) -> Option<&Indexes> {
        self.indexes.as_deref()
    }

    /// From now on the indexes are told of what is applied.
    pub(crate) fn attach(&mut self, indexes: Arc<Indexes>) {
        self.indexes = Some(indexes);
    }

    /// Looks up when the next record ceases to exist. Nothing may be applied meanwhile.
    pub(crate) fn find_next_expiry(&self) -> Result<(), ApplyError> {
        let next = self.store.first_expiry().map_err(ApplyError::Read)?;
        self.progress.clock.set_next_expiry(next);
        Ok(())
    }

    /// Finds out which changes are kept for followers. Nothing may be applied before.
    pub(crate) fn load_feed(&self) -> fjall::Result<()> {
        self.progress.feed.load(&self.store, self.meta.applied.seq)
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Applies the next entry. For a batch it returns the outcomes of each of its requests.
    pub(crate) fn apply(
        &mut self,
        entry: &Entry,
        position: Position,
    ) -> Result<Vec<Vec<WriteOutcome>>, ApplyError> {
        let expected = position.seq.saturating_sub(1);
        if self.meta.applied.seq != expected {
            return Err(ApplyError::Order { expected, applied: self.meta.applied.seq });
        }
        // It stays odd if this fails: nothing is known of the state then.
        self.progress.changes.fetch_add(1, Ordering::AcqRel);
        let mut meta = self.meta;
        meta.applied = position;
        meta.epoch = entry.epoch;
        let bytes = ENTRY_FRAME_BYTES.saturating_add(entry.payload.len() as u64);
        meta.logged_bytes = meta.logged_bytes.saturating_add(bytes);
        let store = self.store.clone();
        let arena = Arena::default();
        let mut changes = Changes::new(&store, &arena, meta);
        let mut outcomes = Vec::new();
        if entry.kind == EntryKind::Data {
            match Command::decode(&entry.payload).map_err(ApplyError::Payload)? {
                Command::Configure(limits) => changes.configure(limits),
                Command::Purge { before } => changes.purge_tombstones(before)?,
                Command::Expire { at } => {
                    let first = Etag { epoch: entry.epoch, seq: position.seq, index: 0 };
                    changes.expire(first, at)?;
                }
                Command::Batch { first, requests } => {
                    let etag = Etag { epoch: entry.epoch, seq: position.seq, index: 0 };
                    outcomes = self.apply_batch(&mut changes, etag, first, &requests)?;
                }
            }
        }
        // Before they can be read.
        if let Some(at) = changes.first_expiry() {
            self.progress.clock.expect_expiry(at);
        }
        let (meta, index_changes) = changes.commit(&self.progress.clock, &self.progress.feed)?;
        self.meta = meta;
        // After the records, so that an index never offers what cannot be read.
        if let Some(indexes) = &self.indexes {
            indexes.apply(&index_changes, &meta)?;
        }
        self.progress.clock.have_left(|| self.progress.publish(&meta));
        self.progress.changes.fetch_add(1, Ordering::AcqRel);
        Ok(outcomes)
    }

    fn apply_batch<'a>(
        &self,
        changes: &mut Changes<'a>,
        mut etag: Etag,
        mut timestamp: Timestamp,
        requests: &[LoggedRequest<'a>],
    ) -> Result<Vec<Vec<WriteOutcome>>, ApplyError> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(changes.request(request, etag, timestamp)?);
            let count = u32::try_from(request.operations.len()).unwrap_or(u32::MAX);
            etag.index = etag.index.saturating_add(count);
            timestamp = timestamp.plus(count.into());
        }
        changes.advance_clock(timestamp);
        self.progress.operations.fetch_add(etag.index.into(), Ordering::Relaxed);
        Ok(outcomes)
    }
}
