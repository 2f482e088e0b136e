//! The shard log: entries, epochs and appends on top of a key-value store.
//!
//! A shard's log is the truth about the shard; everything else can be rebuilt from it and a
//! checkpoint. It is a sequence of [`Entry`] values without holes, each at a key of its own:
//!
//! ```text
//! {prefix}/log/{1-byte hash}/{namespace uid}/{shard uid}/{seq, 8 bytes big-endian}
//! {prefix}/leader/{namespace uid}/{shard uid}
//! {prefix}/floor/{namespace uid}/{shard uid}
//! {prefix}/node/{node id}
//! ```
//!
//! The last one is a node's session, by which others know that it is alive.
//!
//! The hash byte spreads the logs over the key space, so that a store that splits by key range
//! spreads their load.
//!
//! # Invariants
//! - Entry seq + 1 is only ever proposed by someone who knows entry seq, and carries its hash.
//! - A leader has one append in flight. While the outcome of a proposal is unknown it proposes
//!   the same bytes again and nothing else.
//! - An empty slot is the end of the log only if a floor that was read afterwards is below it.
//! - The floor is raised before anything below it is deleted.
//! - A leader's first entry is a barrier; entries of lower epochs cannot follow it.

#![allow(
    clippy::missing_errors_doc,
    reason = "each operation has an error type of its own, whose variants say when they occur"
)]

mod entry;
mod keys;
mod leader;
mod log;
mod records;
mod session;
mod verify;

pub use entry::{
    AttemptId, DamagedEntry, ENTRY_OVERHEAD_BYTES, Entry, EntryHash, EntryKind, MAX_ENTRY_BYTES,
    MAX_NODE_BYTES, Writer,
};
pub use keys::LogId;
pub use leader::{AppendError, Appended, BarrierOutcome, Claim, Leader};
pub use log::{Log, LogError, Position, Replay};
pub use records::{DamagedRecord, Floor, LeaderRecord};
pub use session::{
    ClockTime, Fenced, Liveness, Renewal, Session, SessionError, SessionLost, SessionRecord,
    SessionState, SessionTimes, Watch, begin_incarnation, fence, is_over, session_key,
};
pub use verify::Examined;
