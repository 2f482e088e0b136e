//! Why an operation of a shard failed.

use std::path::PathBuf;
use std::time::Duration;

use hvs_geometry::PointError;

use crate::record::InvalidRecord;

/// Why a write was refused, or its outcome is not known.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Too much is queued; nothing was written.
    #[error(
        "the shard has {queued} requests with {bytes} bytes waiting, the oldest for {oldest:?}; repeat in {retry_after:?}"
    )]
    Overloaded {
        /// Requests waiting.
        queued: usize,
        /// Their size together.
        bytes: usize,
        /// For how long the first of them has waited.
        oldest: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// The records in memory would take more than they may; nothing was written.
    #[error(
        "the records in memory take {bytes} bytes, {needed} more are asked for, at most {limit} are allowed; \
         delete some of them, or write with another durability"
    )]
    MemoryFull {
        /// What they take.
        bytes: usize,
        /// What the request would add.
        needed: usize,
        /// The most allowed.
        limit: usize,
    },
    /// The local state cannot be read, so that it is not known what is logged; nothing was written.
    #[error("cannot tell what is logged: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// An operation is not well-formed; nothing was written.
    #[error("operation {index}: {source}")]
    Invalid {
        /// Position in the request.
        index: usize,
        /// What is wrong with it.
        source: InvalidRecord,
    },
    /// A request without operations.
    #[error("the request has no operations; it must have at least one")]
    Empty,
    /// More operations than allowed in one request; nothing was written.
    #[error("the request has {operations} operations, at most {limit} are allowed")]
    TooMany {
        /// Operations given.
        operations: usize,
        /// Most that one request may have.
        limit: usize,
    },
    /// One operation is larger than a log entry; nothing was written.
    #[error("operation {index} needs {bytes} bytes in the log, at most {limit} are allowed")]
    TooLarge {
        /// Position in the request.
        index: usize,
        /// Its encoded size.
        bytes: usize,
        /// Largest that fits into an entry.
        limit: usize,
    },
    /// An atomic request is larger than a log entry; nothing was written.
    #[error(
        "the request needs {bytes} bytes, an atomic one can have at most {limit}; make it smaller, \
         or not atomic"
    )]
    AtomicTooLarge {
        /// Its encoded size.
        bytes: usize,
        /// Largest that fits into an entry.
        limit: usize,
    },
    /// The idempotency key is empty, too long, or has control characters; nothing was written.
    #[error("the idempotency key is not usable: {source}")]
    InvalidIdempotencyKey {
        /// What is wrong with it.
        source: InvalidRecord,
    },
    /// The idempotency key was used before for something else; nothing was written.
    #[error(
        "the idempotency key {key:?} was already used with other operations; a repetition must be \
         the same request, a new request needs a new key"
    )]
    IdempotencyMismatch {
        /// The key.
        key: String,
    },
    /// The shard stopped writing before this request came; nothing was written.
    #[error("the shard stopped writing before: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: String,
    },
    /// Another leader writes this shard now; nothing of the request was written by this one.
    #[error("this replica led the shard in epoch {epoch} and no longer does: {reason}")]
    SteppedDown {
        /// Epoch that ended.
        epoch: u64,
        /// What was found in the log.
        reason: String,
    },
    /// The shard stopped after an error that it must not go on from. The outcome of requests that
    /// were in flight is not known; repeat them with their idempotency key after the cause is
    /// mended and the shard is opened again.
    #[error("the shard has stopped: {reason}")]
    Wedged {
        /// The first error.
        reason: String,
    },
    /// The store of the logs failed while the entry was written, and it is not known whether it has
    /// it. The shard finds out and goes on by itself; repeat the request with its idempotency key.
    #[error("it is not known whether the write is in the log: {reason}")]
    Unknown {
        /// What the store said.
        reason: String,
    },
    /// An earlier write is of unknown outcome, and nothing can be logged before that is known.
    /// Nothing was written.
    #[error("the store of the logs does not answer: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
    /// The shard is closed.
    #[error("the shard is closed")]
    Closed,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The local store failed.
    #[error("cannot read {what} from the local state of the shard: {source}")]
    Storage {
        /// What was being read.
        what: &'static str,
        /// Why.
        source: fjall::Error,
    },
    /// A stored record does not decode.
    #[error("the stored record {id:?} is damaged: {reason}")]
    Corrupt {
        /// Whose record.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// The namespace has no vector of that name.
    #[error("there is no vector named {name:?} here; the vectors are {known:?}")]
    UnknownVector {
        /// The name given.
        name: String,
        /// Names that the namespace has.
        known: Vec<String>,
    },
    /// The records of the answer are larger than allowed together.
    #[error("the records of the answer have more than {limit} bytes")]
    AnswerTooLarge {
        /// The most allowed.
        limit: usize,
    },
    /// More would have to be looked at one by one than allowed.
    #[error("{records} records would have to be looked at one by one, at most {limit} are allowed")]
    TooManyToScan {
        /// How many, at most.
        records: u64,
        /// The most allowed.
        limit: u64,
    },
    /// k is zero or above the limit.
    #[error("k is {k}; it must be between 1 and {limit}")]
    InvalidK {
        /// What was asked for.
        k: usize,
        /// Most that one search may return.
        limit: usize,
    },
    /// A page of no records.
    #[error("the page limit is {limit}; it must be between 1 and {max}")]
    InvalidLimit {
        /// What was asked for.
        limit: usize,
        /// Most records of a page.
        max: usize,
    },
    /// The query is not a point of the vector's space.
    #[error("the query: {source}")]
    InvalidQuery {
        /// What is wrong with it.
        source: PointError,
    },
    /// The radius cannot be compared with distances.
    #[error("the radius is {radius}; it must be a number of at least 0")]
    InvalidRadius {
        /// What was asked for.
        radius: f64,
    },
    /// `ef` is outside its range.
    #[error("ef is {ef}; it must be between 1 and {limit}")]
    InvalidEf {
        /// What was asked for.
        ef: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// `nprobe` is outside its range.
    #[error("nprobe is {nprobe}; it must be between 1 and {limit}")]
    InvalidNprobe {
        /// What was asked for.
        nprobe: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// The deadline passed before the answer was complete.
    #[error("the deadline passed after {scanned} records were looked at")]
    DeadlineExceeded {
        /// Records looked at until then.
        scanned: usize,
    },
    /// There is no index of text.
    #[error("no text is indexed here")]
    NoText,
    /// The index of text is still built from the records.
    #[error("the index of text is still being built from the records")]
    TextBuilding,
    /// The index of text failed, and is built anew.
    #[error("the index of text failed, and is built anew: {reason}")]
    Text {
        /// Why.
        reason: String,
    },
    /// The index failed.
    #[error("the index of the vector {name:?} failed: {reason}")]
    Index {
        /// Which vector.
        name: String,
        /// Why.
        reason: String,
    },
}

/// Why a shard did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The local store does not open or read.
    #[error("cannot open the local state of the shard in {}: {source}", path.display())]
    Storage {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: fjall::Error,
    },
    /// A file of the local store is damaged, or a newer version wrote it. Nothing was changed.
    #[error("cannot open the local state of the shard in {}: {source}{}", path.display(), source.advice())]
    Files {
        /// Its directory.
        path: PathBuf,
        /// Which, and how.
        source: hvs_kv::database::DatabaseError,
    },
    /// There is a state, but never was a log of it in this store of logs.
    #[error(
        "the local state of shard {shard} shows entry {seq} of its log, but the store of logs has never had \
         one: it is that of another node, or was lost; put the right one back, or see what \
         `hvs repair` says can be done"
    )]
    LogMissing {
        /// The shard.
        shard: uuid::Uuid,
        /// What the state shows.
        seq: u64,
    },
    /// The log ends before what the state shows, and was never led in its epoch.
    #[error(
        "the local state of shard {shard} shows entry {seq} in epoch {epoch}, but its log ends before \
         and has not come further than epoch {led}: its end was lost, or one of them belongs to \
         another data directory; put the right one back, or see what `hvs repair` says can be done"
    )]
    OtherLog {
        /// The shard.
        shard: uuid::Uuid,
        /// What the state shows.
        seq: u64,
        /// In which epoch that was.
        epoch: u64,
        /// The highest epoch of the log.
        led: u64,
    },
    /// There is a log, and nothing of the local state, whose log may have lost its end.
    #[error(
        "{} is missing, the local state of shard {shard}, which has a log; put it back, or `hvs repair` \
         builds it from the log and says what that may lack",
        path.display()
    )]
    StateMissing {
        /// The shard.
        shard: uuid::Uuid,
        /// Where it should be.
        path: PathBuf,
    },
    /// Another process, or another shard of this one, has the directory open.
    #[error("the local state in {} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The local state belongs to another shard, or to another configuration.
    #[error("the local state in {} does not belong here: {reason}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// What is stored does not decode.
    #[error("the local state in {} cannot be used: {reason}", path.display())]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The log cannot be read, or leadership not be taken.
    #[error("cannot take over the log of the shard: {0}")]
    Log(#[from] hvs_log::LogError),
    /// Another node leads, and may be alive.
    #[error("shard {shard} is led by node {node} in epoch {epoch}, whose session is not over")]
    Led {
        /// The shard.
        shard: uuid::Uuid,
        /// Who leads.
        node: String,
        /// In which epoch.
        epoch: u64,
    },
    /// It cannot be told whether the node that leads is alive.
    #[error("cannot tell whether the node that leads the shard is alive: {0}")]
    Session(#[from] hvs_log::SessionError),
    /// This node may not lead.
    #[error("the session of this node is not valid at the moment, so that it may not lead")]
    NoLease,
    /// An entry of the log does not apply.
    #[error("cannot apply entry {seq} of the log: {reason}")]
    Apply {
        /// Which entry.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// An index does not open.
    #[error("cannot open the index of the vector {name:?}: {reason}")]
    Index {
        /// Which vector.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file or a thread could not be made.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A limit of the configuration has no meaning.
    #[error("the configuration of the shard is not usable: {reason}")]
    Config {
        /// What is wrong.
        reason: String,
    },
}

/// Why the index of a vector was not changed. The one before it is in use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReindexError {
    /// The namespace has no vector of that name.
    #[error("there is no vector named {name:?} here; the vectors are {known:?}")]
    UnknownVector {
        /// The name given.
        name: String,
        /// Names that the namespace has.
        known: Vec<String>,
    },
    /// The index is being changed already.
    #[error("the index of the vector {name:?} is being changed already")]
    Underway {
        /// Which vector.
        name: String,
    },
    /// The new index cannot be made.
    #[error("the new index of the vector {name:?}: {reason}")]
    Index {
        /// Which vector.
        name: String,
        /// Why.
        reason: String,
    },
    /// The index of text cannot be changed.
    #[error("the index of text: {reason}")]
    Text {
        /// Why.
        reason: String,
    },
    /// The index of metadata cannot be built.
    #[error("cannot start the thread that indexes metadata: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// The records cannot be read.
    #[error("cannot read the local state of the shard: {source}")]
    Storage {
        /// Why.
        source: fjall::Error,
    },
    /// Files cannot be removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was not to go on.
    #[error("the change was cancelled")]
    Cancelled,
}

/// Why a shard did not close cleanly. It is closed all the same, and opens again from its log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("cannot make the shard durable while closing it: {reason}")]
pub struct CloseError {
    /// Why.
    pub reason: String,
}
