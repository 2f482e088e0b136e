//! What a node says of itself in the store.

use crate::{
    entry::AttemptId,
    leader::new_attempt,
    records::{DamagedRecord, FORMAT_VERSION, seal, unseal},
};

const SESSION: &str = "session";
const LIVE: u8 = 0;
const FENCED: u8 = 1;

/// Whether a session may be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// By the node itself.
    Live,
    /// By nobody: another node has ended it, or the node itself when it stopped.
    Fenced,
}

/// A node's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Counts the node's starts, and its beginnings after it was fenced.
    pub incarnation: u64,
    /// Counts the renewals of this incarnation.
    pub counter: u64,
    /// Whether it goes on.
    pub state: SessionState,
    /// Random for each write, so that no two are the same.
    pub attempt: AttemptId,
    /// What the node wants others to know: addresses, place, load. Opaque here.
    pub about: Vec<u8>,
}

impl SessionRecord {
    /// With an attempt id of its own.
    pub(super) fn renamed(self) -> Self {
        Self { attempt: new_attempt(), ..self }
    }

    /// Whether an incarnation will not renew again, because it is fenced, or a later one has begun.
    pub fn is_past(&self, incarnation: u64) -> bool {
        self.incarnation > incarnation
            || self.incarnation == incarnation && self.state == SessionState::Fenced
    }

    /// As it is in the store.
    pub fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            SessionState::Live => LIVE,
            SessionState::Fenced => FENCED,
        };
        let mut out = vec![FORMAT_VERSION, state];
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(&self.attempt.0);
        out.extend_from_slice(&self.about);
        seal(out)
    }

    /// Reads what [`fence`](super::fence) or a renewal wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DamagedRecord> {
        let damaged = || DamagedRecord::Damaged { what: SESSION };
        let fields = unseal(SESSION, bytes)?;
        let (state, rest) = fields.split_first().ok_or_else(damaged)?;
        let state = match *state {
            LIVE => SessionState::Live,
            FENCED => SessionState::Fenced,
            _ => return Err(damaged()),
        };
        let (incarnation, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (counter, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (attempt, about) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        Ok(Self {
            incarnation: u64::from_le_bytes(*incarnation),
            counter: u64::from_le_bytes(*counter),
            state,
            attempt: AttemptId(*attempt),
            about: about.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding_and_never_panics(
            incarnation: u64,
            counter: u64,
            is_live: bool,
            attempt: [u8; 16],
            about in proptest::collection::vec(any::<u8>(), 0..50),
            bit: prop::sample::Index,
        ) {
            let state = if is_live { SessionState::Live } else { SessionState::Fenced };
            let attempt = AttemptId(attempt);
            let record = SessionRecord { incarnation, counter, state, attempt, about };
            let mut bytes = record.encode();
            prop_assert_eq!(SessionRecord::decode(&bytes), Ok(record));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(SessionRecord::decode(&bytes).is_err());
        }
    }
}
