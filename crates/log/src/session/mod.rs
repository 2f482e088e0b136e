//! That a node is alive, as others can see it, and what follows when it is not.
//!
//! A node rewrites its record `{prefix}/node/{id}` by compare-and-swap, with a counter that rises
//! ([`Session`]). Others read it again and again ([`Watch`]), and call it dead when it has not
//! changed for the time to live, by their own clocks. Whoever wants to take something over from a
//! dead node first marks its record as fenced ([`fence`]), from exactly the value that it saw.
//! The renewals of the holder compete for the same key, so that it either renews and is not
//! fenced, or learns that it is.
//!
//! # Invariants
//! - *Session bound*: a node leads only until [`SessionTimes::serving`] after the moment just
//!   before its last successful renewal was sent.
//! - *Fence first*: nobody takes over from a node whose record was not fenced before, or that
//!   has begun a new incarnation.
//! - A fenced incarnation never renews again.
//! - No time of one node is ever compared with one of another.
//!
//! # Clocks
//! Times are of a clock that goes on while the machine sleeps (`CLOCK_BOOTTIME`), since any start
//! of its own. A holder stops after 0.8 of the time to live by its clock, counted from before a
//! renewal that a watcher saw later; the watcher waits for all of it by its own. So a holder has
//! stopped when it is called dead as long as no clock goes faster than another by more than a
//! quarter: by far more than real ones do. What depends on it are a leader's reads, and that it
//! acknowledges without reading the floor; entries are kept apart by the log itself.

mod own;
mod record;
mod watch;

use std::time::Duration;

use hvs_kv::{CompareAndSwap, Durability, Kv, KvError};

pub use own::{Renewal, Session, SessionLost, begin_incarnation};
pub use record::{SessionRecord, SessionState};
pub use watch::{Liveness, Watch};

use crate::records::DamagedRecord;

/// A time by a node's clock, since a start that means nothing elsewhere.
pub type ClockTime = Duration;

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimes {
    /// After how long without a change a session is dead.
    pub time_to_live: Duration,
    /// How often it is renewed, and looked at.
    pub heartbeat: Duration,
}

impl Default for SessionTimes {
    /// 5 s, and 1 s.
    fn default() -> Self {
        Self { time_to_live: Duration::from_secs(5), heartbeat: Duration::from_secs(1) }
    }
}

impl SessionTimes {
    /// How long a leader serves after a renewal: 0.8 of the time to live.
    pub fn serving(self) -> Duration {
        self.time_to_live.mul_f64(0.8)
    }

    /// A watcher that did not look for longer than this begins anew: the store may have been away,
    /// and then nobody could renew.
    pub fn longest_gap(self) -> Duration {
        self.time_to_live / 2
    }
}

/// Where a node's record is.
pub fn session_key(prefix: &str, node: &str) -> Vec<u8> {
    [prefix.as_bytes(), b"/node/", node.as_bytes()].concat()
}

/// What came of fencing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fenced {
    /// The incarnation that was seen will not renew again, whoever has fenced it.
    Yes,
    /// The record has changed: the node lives, or has begun anew.
    Changed(SessionRecord),
}

/// Why a session could not be read or fenced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The store failed. A fence may have been set, or may be later.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The record does not decode.
    #[error(transparent)]
    Damaged(#[from] DamagedRecord),
    /// The record is gone.
    #[error("the session of the node is gone")]
    Gone,
}

/// Marks a session as fenced, if it is still what was observed.
pub async fn fence(kv: &dyn Kv, key: &[u8], observed: &[u8]) -> Result<Fenced, SessionError> {
    let record = SessionRecord::decode(observed)?;
    if record.state == SessionState::Fenced {
        return Ok(Fenced::Yes);
    }
    let fenced = SessionRecord { state: SessionState::Fenced, ..record.clone() }.renamed();
    let swap = kv.compare_and_swap(key, Some(observed), &fenced.encode(), Durability::Sync).await?;
    match swap {
        CompareAndSwap::Swapped => Ok(Fenced::Yes),
        CompareAndSwap::Different(None) => Err(SessionError::Gone),
        CompareAndSwap::Different(Some(found)) => {
            let found = SessionRecord::decode(&found)?;
            let is_over = found.is_past(record.incarnation);
            Ok(if is_over { Fenced::Yes } else { Fenced::Changed(found) })
        }
    }
}

/// Whether an incarnation of a node will not renew again, by the session of the node: it is fenced,
/// or a later one has begun. Without a record it is not known to be over.
pub async fn is_over(kv: &dyn Kv, key: &[u8], incarnation: u64) -> Result<bool, SessionError> {
    let Some(found) = kv.get(key).await? else { return Ok(false) };
    Ok(SessionRecord::decode(&found)?.is_past(incarnation))
}
