//! A node's own session.

use std::collections::BTreeMap;

use hvs_kv::CompareAndSwap;

use super::{ClockTime, SessionRecord, SessionState, SessionTimes};
use crate::{entry::AttemptId, leader::new_attempt, records::DamagedRecord};

/// The incarnation that a node may begin with at once, or none if it first has to watch whether
/// another process with its id is alive. `previous` is the last one that its data folder knows of,
/// which nobody else has open.
pub fn begin_incarnation(found: Option<&SessionRecord>, previous: u64) -> Option<u64> {
    let Some(found) = found else { return Some(previous.saturating_add(1)) };
    let is_over = found.state == SessionState::Fenced || found.incarnation == previous;
    is_over.then(|| found.incarnation.max(previous).saturating_add(1))
}

/// A session that is renewed by this node.
#[derive(Debug)]
pub struct Session {
    times: SessionTimes,
    incarnation: u64,
    counter: u64,
    /// What the store has, as far as it is known.
    stored: Option<Vec<u8>>,
    /// Its counter, if it is of this incarnation.
    stored_counter: u64,
    /// When the renewals were sent whose outcome is not known.
    sent: BTreeMap<[u8; 16], ClockTime>,
    /// Just before the last successful renewal was sent.
    renewed: Option<ClockTime>,
    lost: bool,
}

/// A write that renews a session: `expected` is to be replaced by `bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// What the store must have.
    pub expected: Option<Vec<u8>>,
    /// What it gets.
    pub bytes: Vec<u8>,
    counter: u64,
    attempt: AttemptId,
}

/// Why a session cannot be renewed any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionLost {
    /// Another node has called this one dead.
    #[error("the session was fenced by another node")]
    Fenced,
    /// There is another process with the id of this node.
    #[error("another process runs with the id of this node, as its incarnation {incarnation}")]
    Replaced {
        /// The other one's.
        incarnation: u64,
    },
    /// The record was removed.
    #[error("the session is gone from the store")]
    Gone,
    /// The record does not decode.
    #[error(transparent)]
    Damaged(#[from] DamagedRecord),
}

impl Session {
    /// Begins an incarnation, in the place of what the store has.
    pub fn new(times: SessionTimes, incarnation: u64, stored: Option<Vec<u8>>) -> Self {
        Self {
            times,
            incarnation,
            counter: 0,
            stored,
            stored_counter: 0,
            sent: BTreeMap::new(),
            renewed: None,
            lost: false,
        }
    }

    /// The incarnation.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether this node may serve what it leads: by its own clock, the session bound.
    pub fn is_valid(&self, now: ClockTime) -> bool {
        let serving = self.times.serving();
        !self.lost && self.renewed.is_some_and(|at| now.saturating_sub(at) < serving)
    }

    /// The next renewal, to be sent after `now`.
    pub fn renew(&mut self, now: ClockTime, about: Vec<u8>) -> Renewal {
        self.counter = self.counter.saturating_add(1);
        let record = SessionRecord {
            incarnation: self.incarnation,
            counter: self.counter,
            state: SessionState::Live,
            attempt: new_attempt(),
            about,
        };
        self.sent.insert(record.attempt.0, now);
        Renewal {
            expected: self.stored.clone(),
            bytes: record.encode(),
            counter: record.counter,
            attempt: record.attempt,
        }
    }

    /// What ends the session for good: nobody has to wait for the time to live.
    pub fn end(&mut self) -> Renewal {
        self.lost = true;
        let record = SessionRecord {
            incarnation: self.incarnation,
            counter: self.counter.saturating_add(1),
            state: SessionState::Fenced,
            attempt: new_attempt(),
            about: Vec::new(),
        };
        Renewal {
            expected: self.stored.clone(),
            bytes: record.encode(),
            counter: record.counter,
            attempt: record.attempt,
        }
    }

    /// What came of a renewal. Of one that failed nothing is told: the next one learns it.
    pub fn renewed(
        &mut self,
        renewal: &Renewal,
        outcome: CompareAndSwap,
    ) -> Result<(), SessionLost> {
        match outcome {
            CompareAndSwap::Swapped => {
                self.is_stored(renewal.bytes.clone(), renewal.counter, renewal.attempt);
                Ok(())
            }
            CompareAndSwap::Different(None) if self.renewed.is_none() => {
                // It has not begun, and what was there is gone.
                self.stored = None;
                Ok(())
            }
            CompareAndSwap::Different(None) => self.lose(SessionLost::Gone),
            CompareAndSwap::Different(Some(found)) => {
                let record = match SessionRecord::decode(&found) {
                    Ok(record) => record,
                    Err(damage) => return self.lose(damage.into()),
                };
                if record.incarnation > self.incarnation {
                    let incarnation = record.incarnation;
                    return self.lose(SessionLost::Replaced { incarnation });
                }
                if record.incarnation == self.incarnation {
                    if record.state == SessionState::Fenced {
                        return self.lose(SessionLost::Fenced);
                    }
                    // An own renewal whose reply was lost.
                    self.is_stored(found, record.counter, record.attempt);
                    return Ok(());
                }
                if self.renewed.is_some() {
                    // Nobody goes back to an earlier incarnation.
                    return self.lose(SessionLost::Gone);
                }
                self.stored = Some(found);
                Ok(())
            }
        }
    }

    fn is_stored(&mut self, bytes: Vec<u8>, counter: u64, attempt: AttemptId) {
        // Of one that is not remembered it is not known when it was sent, so that it proves nothing.
        if let Some(sent) = self.sent.remove(&attempt.0) {
            self.renewed = self.renewed.max(Some(sent));
            self.sent.retain(|_, other| *other > sent);
        }
        // Replies may come in another order than the store answered.
        if counter >= self.stored_counter {
            (self.stored, self.stored_counter) = (Some(bytes), counter);
        }
    }

    fn lose(&mut self, why: SessionLost) -> Result<(), SessionLost> {
        self.lost = true;
        Err(why)
    }
}
