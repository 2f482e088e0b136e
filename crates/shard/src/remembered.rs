//! What is remembered of a request under its idempotency key.
//!
//! ```text
//! 1 byte   format version: 2 where something of it is used, else 1
//! 16 bytes digest of the request
//! varint   operations of the request
//! varint   number of parts, one for each log entry that holds some of it, for each:
//!   varint epoch, varint seq, varint index of the first operation
//!   8 bytes timestamp of the first operation
//!   varint number of outcomes, for each:
//!     1 byte 0 created, 1 replaced, 2 deleted: varint version; 3 not found;
//!            4 condition failed, no record; 5 condition failed: varint epoch, seq, index;
//!            6 not applied; 7 too large: varint bytes, limit (version 2)
//! ```

use crate::codec::{DecodeError, Decoder, put_varint};
use crate::command::RequestDigest;
use crate::operation::{Durability, WriteAnswer, WriteOutcome};
use crate::record::{Etag, Timestamp};

const FORMAT_VERSION: u8 = 1;
const FORMAT_VERSION_2: u8 = 2;

/// A request that was applied, or as much of it as has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) digest: RequestDigest,
    /// Operations of the whole request.
    pub(crate) total: u64,
    pub(crate) parts: Vec<Part>,
}

/// The operations of a request in one log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Etag and timestamp of its first operation.
    pub(crate) first: Etag,
    pub(crate) timestamp: Timestamp,
    pub(crate) outcomes: Vec<WriteOutcome>,
}

impl Remembered {
    /// Operations applied so far.
    pub(crate) fn done(&self) -> u64 {
        self.parts.iter().map(|part| part.outcomes.len() as u64).sum()
    }

    /// The answer to a repetition, once all of it is applied.
    pub(crate) fn answer(&self) -> Option<WriteAnswer> {
        let last = self.parts.last().filter(|_| self.done() == self.total)?;
        Some(WriteAnswer {
            outcomes: self.parts.iter().flat_map(|part| part.outcomes.iter().cloned()).collect(),
            epoch: last.first.epoch,
            seq: last.first.seq,
            repeated: true,
            durability: Durability::Buffered,
        })
    }

    fn version(&self) -> u8 {
        let is_new = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::TooLarge { .. });
        let has_new = self.parts.iter().flat_map(|part| &part.outcomes).any(is_new);
        if has_new { FORMAT_VERSION_2 } else { FORMAT_VERSION }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.version()];
        out.extend_from_slice(&self.digest);
        put_varint(&mut out, self.total);
        put_varint(&mut out, self.parts.len() as u64);
        for part in &self.parts {
            put_etag(&mut out, part.first);
            out.extend_from_slice(&part.timestamp.0.to_le_bytes());
            put_varint(&mut out, part.outcomes.len() as u64);
            part.outcomes.iter().for_each(|outcome| put_outcome(&mut out, outcome));
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let version = decoder.version_up_to(FORMAT_VERSION_2)?;
        let digest = decoder.array("digest")?;
        let total = decoder.varint("number of operations")?;
        let count = decoder.count("number of parts")?;
        let parts = (0..count).map(|_| decode_part(&mut decoder)).collect::<Result<_, _>>()?;
        decoder.finish()?;
        let remembered = Self { digest, total, parts };
        // One form only: what needs no later version has none.
        if remembered.version() != version {
            return Err(DecodeError::Field { field: "format version" });
        }
        Ok(remembered)
    }
}

fn put_etag(out: &mut Vec<u8>, etag: Etag) {
    put_varint(out, etag.epoch);
    put_varint(out, etag.seq);
    put_varint(out, etag.index.into());
}

fn put_outcome(out: &mut Vec<u8>, outcome: &WriteOutcome) {
    let mut versioned = |tag: u8, version: u64| {
        out.push(tag);
        put_varint(out, version);
    };
    match outcome {
        WriteOutcome::Put { version, created: true, .. } => versioned(0, *version),
        WriteOutcome::Put { version, created: false, .. } => versioned(1, *version),
        WriteOutcome::Deleted { version, .. } => versioned(2, *version),
        WriteOutcome::NotFound => out.push(3),
        WriteOutcome::ConditionFailed { current: None } => out.push(4),
        WriteOutcome::ConditionFailed { current: Some(etag) } => {
            out.push(5);
            put_etag(out, *etag);
        }
        WriteOutcome::NotApplied => out.push(6),
        WriteOutcome::TooLarge { bytes, limit } => {
            out.push(7);
            put_varint(out, *bytes);
            put_varint(out, *limit);
        }
    }
}

fn decode_etag(decoder: &mut Decoder<'_>) -> Result<Etag, DecodeError> {
    Ok(Etag {
        epoch: decoder.varint("epoch")?,
        seq: decoder.varint("seq")?,
        index: decoder.varint_u32("index")?,
    })
}

fn decode_part(decoder: &mut Decoder<'_>) -> Result<Part, DecodeError> {
    let first = decode_etag(decoder)?;
    let timestamp = Timestamp(decoder.u64("timestamp")?);
    let count = decoder.count("number of outcomes")?;
    let mut outcomes = Vec::with_capacity(count);
    for position in 0..count {
        outcomes.push(decode_outcome(decoder, first, timestamp, position)?);
    }
    Ok(Part { first, timestamp, outcomes })
}

fn decode_outcome(
    decoder: &mut Decoder<'_>,
    first: Etag,
    timestamp: Timestamp,
    position: usize,
) -> Result<WriteOutcome, DecodeError> {
    let wrong_index = DecodeError::Field { field: "index" };
    let offset = u32::try_from(position).map_err(|_| wrong_index.clone())?;
    let index = first.index.checked_add(offset).ok_or(wrong_index)?;
    let etag = Etag { index, ..first };
    let timestamp = timestamp.plus(offset.into());
    Ok(match decoder.u8("outcome")? {
        tag @ (0 | 1) => {
            let version = decoder.varint("version")?;
            WriteOutcome::Put { etag, version, timestamp, created: tag == 0 }
        }
        2 => WriteOutcome::Deleted { etag, version: decoder.varint("version")?, timestamp },
        3 => WriteOutcome::NotFound,
        4 => WriteOutcome::ConditionFailed { current: None },
        5 => WriteOutcome::ConditionFailed { current: Some(decode_etag(decoder)?) },
        6 => WriteOutcome::NotApplied,
        7 => {
            let bytes = decoder.varint("bytes")?;
            WriteOutcome::TooLarge { bytes, limit: decoder.varint("limit")? }
        }
        _ => return Err(DecodeError::Field { field: "outcome" }),
    })
}
