//! What the state machine knows beside its records, stored with every applied entry.

use hvs_log::{EntryHash, Position};

use crate::codec::{DecodeError, Decoder, put_varint};
use crate::config::IdempotencyLimits;
use crate::record::Timestamp;

const FORMAT_VERSION: u8 = 1;

/// Part of the replicated state: a function of the applied entries and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The last entry applied.
    pub(crate) applied: Position,
    /// Its epoch.
    pub(crate) epoch: u64,
    /// Size of all entries so far, about.
    pub(crate) logged_bytes: u64,
    /// Every write so far has an earlier timestamp.
    pub(crate) clock: Timestamp,
    /// Key of the next put in the indexes. Keys start at 1.
    pub(crate) next_key: u64,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    /// Idempotency keys are numbered in the order in which they came; these are remembered.
    pub(crate) first_remembered: u64,
    pub(crate) next_remembered: u64,
    /// The limits last logged.
    pub(crate) idempotency: IdempotencyLimits,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            applied: Position::START,
            logged_bytes: 0,
            epoch: 0,
            clock: Timestamp::default(),
            next_key: 1,
            records: 0,
            tombstones: 0,
            first_remembered: 0,
            next_remembered: 0,
            idempotency: IdempotencyLimits::default(),
        }
    }
}

impl Meta {
    pub(crate) fn remembered(&self) -> u64 {
        self.next_remembered.saturating_sub(self.first_remembered)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.applied.hash.0);
        out.extend_from_slice(&self.clock.0.to_le_bytes());
        for number in [
            self.applied.seq,
            self.logged_bytes,
            self.epoch,
            self.next_key,
            self.records,
            self.tombstones,
            self.first_remembered,
            self.next_remembered,
            self.idempotency.keys,
            self.idempotency.age_millis,
        ] {
            put_varint(&mut out, number);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.version(FORMAT_VERSION)?;
        let hash = EntryHash(decoder.array("hash")?);
        let clock = Timestamp(decoder.u64("clock")?);
        let meta = Self {
            applied: Position { seq: decoder.varint("seq")?, hash },
            logged_bytes: decoder.varint("bytes of the log")?,
            epoch: decoder.varint("epoch")?,
            clock,
            next_key: decoder.varint("next key")?,
            records: decoder.varint("number of records")?,
            tombstones: decoder.varint("number of tombstones")?,
            first_remembered: decoder.varint("first idempotency key")?,
            next_remembered: decoder.varint("next idempotency key")?,
            idempotency: IdempotencyLimits {
                keys: decoder.varint("limit of idempotency keys")?,
                age_millis: decoder.varint("age of idempotency keys")?,
            },
        };
        decoder.finish()?;
        Ok(meta)
    }
}

/// How far tombstones have been forgotten: the last one. They are forgotten in the order in which
/// they came, so that whoever knows this knows which of older ones are gone. It is a function of
/// the applied entries, as [`Meta`] is; shards from before it was kept have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Purged {
    pub(crate) timestamp: Timestamp,
    /// The entry that deleted the record.
    pub(crate) seq: u64,
}

impl Purged {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.timestamp.0.to_le_bytes());
        put_varint(&mut out, self.seq);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.version(FORMAT_VERSION)?;
        let timestamp = Timestamp(decoder.u64("timestamp")?);
        let purged = Self { timestamp, seq: decoder.varint("seq")? };
        decoder.finish()?;
        Ok(purged)
    }
}
