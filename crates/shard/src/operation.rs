//! What can be written, under which conditions, and what came of it.

use crate::record::{Etag, Expiry, NewRecord, Patch, Timestamp};

/// One change of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Creates the record or replaces it as a whole.
    Put {
        /// What to store.
        record: NewRecord,
        /// What must hold for it to be stored.
        condition: Option<Condition>,
    },
    /// Removes the record and leaves a tombstone.
    Delete {
        /// Whose record.
        id: String,
        /// What must hold for it to be removed.
        condition: Option<Condition>,
    },
    /// Changes parts of the record. It is merged when it is applied, so that no write in between
    /// is lost.
    Patch {
        /// Whose record.
        id: String,
        /// What to change.
        patch: Patch,
        /// What must hold for it to be changed.
        condition: Option<Condition>,
    },
}

impl Operation {
    /// The id that the operation is about.
    pub fn id(&self) -> &str {
        match self {
            Self::Put { record, .. } => &record.id,
            Self::Delete { id, .. } | Self::Patch { id, .. } => id,
        }
    }

    pub(crate) fn condition(&self) -> Option<Condition> {
        match self {
            Self::Put { condition, .. }
            | Self::Delete { condition, .. }
            | Self::Patch { condition, .. } => *condition,
        }
    }

    /// The expiry that it gives.
    pub(crate) fn expiry(&self) -> Option<Expiry> {
        match self {
            Self::Put { record, .. } => record.expiry,
            Self::Patch { patch, .. } => patch.expiry.flatten(),
            Self::Delete { .. } => None,
        }
    }
}

/// Checked when the operation is applied, against everything logged before it and the earlier
/// operations of its own batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The record exists in exactly this version.
    IfMatch(Etag),
    /// There is no such record.
    IfAbsent,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// In memory: readable and searchable, and lost when the shard is closed or the process ends.
    /// A request that touches a logged record, or has an idempotency key, is carried out as
    /// [`Self::Buffered`].
    Memory,
    /// Written to the log, but the embedded store may not yet have it on the medium: it survives
    /// the end of the process, not of the machine.
    #[default]
    Buffered,
    /// Committed: on the medium in the embedded store, replicated in TiKV.
    Sync,
}

/// Operations to be applied in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WriteRequest {
    /// In the order in which they take effect.
    pub operations: Vec<Operation>,
    /// When to answer.
    pub durability: Durability,
    /// All or nothing: if one condition fails, no operation takes effect. Refused when the
    /// operations do not fit into one log entry.
    pub atomic: bool,
    /// A repetition with the same key and the same operations changes nothing and gets the first
    /// answer.
    pub idempotency_key: Option<String>,
}

impl WriteRequest {
    /// One put without a condition, buffered.
    pub fn put(record: NewRecord) -> Self {
        Self { operations: vec![Operation::Put { record, condition: None }], ..Self::default() }
    }

    /// One delete without a condition, buffered.
    pub fn delete(id: impl Into<String>) -> Self {
        let operation = Operation::Delete { id: id.into(), condition: None };
        Self { operations: vec![operation], ..Self::default() }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteAnswer {
    /// One for each operation, in the same order.
    pub outcomes: Vec<WriteOutcome>,
    /// Epoch of the leader that wrote it.
    pub epoch: u64,
    /// Last log entry that holds a part of the request. A read at or past it sees the write.
    pub seq: u64,
    /// The request was applied before under its idempotency key, and this is its first answer.
    pub repeated: bool,
    /// How durable it is: as asked, or more.
    pub durability: Durability,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The record is stored.
    Put {
        /// For later conditions.
        etag: Etag,
        /// Of the record, from 1.
        version: u64,
        /// When.
        timestamp: Timestamp,
        /// There was no such record before.
        created: bool,
    },
    /// The record is gone.
    Deleted {
        /// Of the tombstone.
        etag: Etag,
        /// Of the tombstone.
        version: u64,
        /// When.
        timestamp: Timestamp,
    },
    /// There was nothing to delete or to patch, and nothing was changed.
    NotFound,
    /// The condition did not hold, and nothing was changed.
    ConditionFailed {
        /// Version that the record has instead; none if there is no such record.
        current: Option<Etag>,
    },
    /// Another operation of the same atomic request failed, and nothing was changed.
    NotApplied,
    /// The record would be larger after the patch than allowed, and nothing was changed.
    TooLarge {
        /// What the metadata, or the record as a whole, would have.
        bytes: u64,
        /// The most that it may have.
        limit: u64,
    },
}
