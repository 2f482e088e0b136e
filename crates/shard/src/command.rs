//! What a log entry tells the state machine.
//!
//! ```text
//! 1 byte   format version: 2 where something of it is used, else 1
//! 1 byte   0 configure, 1 batch, 2 purge, 3 expire (version 2)
//! configure: varint idempotency keys, varint their age in milliseconds
//! purge:     8 bytes timestamp; tombstones below it may go
//! expire:    8 bytes timestamp; records whose time has come by then are deleted, so many at once
//! batch:     8 bytes timestamp of the first operation, varint number of requests, for each:
//!   1 byte   flags: 1 atomic, 2 idempotency key
//!            if flagged: bytes key, 16 bytes digest of the whole request,
//!            varint operations of the whole request, varint operations in earlier entries
//!   varint   number of operations, for each:
//!     1 byte   0 put, 1 delete, 2 patch (version 2)
//!     1 byte   condition: 0 none, 1 absent, 2 match: varint epoch, varint seq, varint index
//!     bytes    id
//!              put: 32 bytes content hash, bytes content
//!              patch: bytes patch, see `patch`
//! ```
//!
//! Operation i of an entry has index i in its etag, and the timestamp i ticks after the first.

use crate::codec::{DecodeError, Decoder, put_bytes, put_varint};
use crate::config::IdempotencyLimits;
use crate::operation::{Condition, Operation};
use crate::patch::LoggedPatch;
use crate::record::{Etag, Timestamp};

/// What everything is written in that it can be written in, so that an older program reads it.
const FORMAT_VERSION: u8 = 1;
/// With patches and expiry.
const FORMAT_VERSION_2: u8 = 2;
const CONFIGURE: u8 = 0;
const BATCH: u8 = 1;
const PURGE: u8 = 2;
const EXPIRE: u8 = 3;

const ATOMIC: u8 = 1;
const IDEMPOTENT: u8 = 2;

const PUT: u8 = 0;
const DELETE: u8 = 1;
const PATCH: u8 = 2;

/// Bytes of a batch with one request of one operation that are not the operation, at most: with
/// the longest idempotency key and every integer at its longest.
pub(crate) const BATCH_OVERHEAD_BYTES: usize = 512;

/// Tells one request from another under the same idempotency key.
pub(crate) type RequestDigest = [u8; 16];

/// A decoded payload, its texts and contents still in the payload's bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Command<'a> {
    Configure(IdempotencyLimits),
    Purge { before: Timestamp },
    Expire { at: Timestamp },
    Batch { first: Timestamp, requests: Vec<LoggedRequest<'a>> },
}

/// A request, or the part of one that fitted into the entry.
#[derive(Debug, PartialEq)]
pub(crate) struct LoggedRequest<'a> {
    pub(crate) atomic: bool,
    pub(crate) idempotency: Option<LoggedKey<'a>>,
    pub(crate) operations: Vec<LoggedOperation<'a>>,
}

/// An idempotency key with what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoggedKey<'a> {
    pub(crate) key: &'a str,
    pub(crate) digest: RequestDigest,
    /// Operations of the whole request.
    pub(crate) total: u64,
    /// Operations of the request in earlier entries.
    pub(crate) offset: u64,
}

#[derive(Debug, PartialEq)]
pub(crate) struct LoggedOperation<'a> {
    pub(crate) id: &'a str,
    pub(crate) condition: Option<Condition>,
    pub(crate) change: LoggedChange<'a>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum LoggedChange<'a> {
    Put { content_hash: [u8; 32], content: &'a [u8] },
    Delete,
    Patch(LoggedPatch<'a>),
}

pub(crate) fn encode_expire(at: Timestamp) -> Vec<u8> {
    let mut out = vec![FORMAT_VERSION_2, EXPIRE];
    out.extend_from_slice(&at.0.to_le_bytes());
    out
}

pub(crate) fn encode_configure(limits: IdempotencyLimits) -> Vec<u8> {
    let mut out = vec![FORMAT_VERSION, CONFIGURE];
    put_varint(&mut out, limits.keys);
    put_varint(&mut out, limits.age_millis);
    out
}

pub(crate) fn encode_purge(before: Timestamp) -> Vec<u8> {
    let mut out = vec![FORMAT_VERSION, PURGE];
    out.extend_from_slice(&before.0.to_le_bytes());
    out
}

/// Writes a batch of the given requests, each with its operations already encoded.
pub(crate) fn encode_batch<'a>(
    first: Timestamp,
    requests: impl ExactSizeIterator<Item = EncodedRequest<'a>>,
    capacity: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    let mut version = FORMAT_VERSION;
    out.extend_from_slice(&[version, BATCH]);
    out.extend_from_slice(&first.0.to_le_bytes());
    put_varint(&mut out, requests.len() as u64);
    for request in requests {
        let atomic = if request.atomic { ATOMIC } else { 0 };
        let idempotent = if request.idempotency.is_some() { IDEMPOTENT } else { 0 };
        out.push(atomic | idempotent);
        if let Some(logged) = request.idempotency {
            put_bytes(&mut out, logged.key.as_bytes());
            out.extend_from_slice(&logged.digest);
            put_varint(&mut out, logged.total);
            put_varint(&mut out, logged.offset);
        }
        put_varint(&mut out, request.operations.len() as u64);
        for operation in request.operations {
            if operation.first() == Some(&PATCH) {
                version = FORMAT_VERSION_2;
            }
            out.extend_from_slice(operation);
        }
    }
    if let Some(place) = out.first_mut() {
        *place = version;
    }
    out
}

/// A request on its way into a batch.
pub(crate) struct EncodedRequest<'a> {
    pub(crate) atomic: bool,
    pub(crate) idempotency: Option<LoggedKey<'a>>,
    pub(crate) operations: &'a [Vec<u8>],
}

/// Writes one operation; `body` is the content of a put, or a patch.
pub(crate) fn encode_operation(operation: &Operation, body: &[u8]) -> Vec<u8> {
    let id = operation.id();
    let mut out = Vec::with_capacity(id.len() + body.len() + 48);
    out.push(match operation {
        Operation::Put { .. } => PUT,
        Operation::Delete { .. } => DELETE,
        Operation::Patch { .. } => PATCH,
    });
    put_condition(&mut out, operation.condition());
    put_bytes(&mut out, id.as_bytes());
    match operation {
        Operation::Put { .. } => {
            out.extend_from_slice(&content_hash(id, body));
            put_bytes(&mut out, body);
        }
        Operation::Patch { .. } => put_bytes(&mut out, body),
        Operation::Delete { .. } => {}
    }
    out
}

fn put_condition(out: &mut Vec<u8>, condition: Option<Condition>) {
    match condition {
        None => out.push(0),
        Some(Condition::IfAbsent) => out.push(1),
        Some(Condition::IfMatch(etag)) => {
            out.push(2);
            put_varint(out, etag.epoch);
            put_varint(out, etag.seq);
            put_varint(out, etag.index.into());
        }
    }
}

/// Writes a put without a condition, of content that was encoded before.
pub(crate) fn encode_put(id: &str, content_hash: &[u8; 32], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + content.len() + 48);
    out.push(PUT);
    put_condition(&mut out, None);
    put_bytes(&mut out, id.as_bytes());
    out.extend_from_slice(content_hash);
    put_bytes(&mut out, content);
    out
}

/// An encoded operation under another condition; as it is, if it does not decode.
pub(crate) fn with_condition(encoded: &[u8], condition: Condition) -> Vec<u8> {
    let mut decoder = Decoder::new(encoded);
    let Ok(tag) = decoder.u8("operation") else { return encoded.to_vec() };
    if decode_condition(&mut decoder).is_err() {
        return encoded.to_vec();
    }
    let mut out = Vec::with_capacity(encoded.len() + 24);
    out.push(tag);
    put_condition(&mut out, Some(condition));
    out.extend_from_slice(decoder.rest());
    out
}

pub(crate) fn content_hash(id: &str, content: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(id.len() as u64).to_le_bytes());
    hasher.update(id.as_bytes());
    hasher.update(content);
    *hasher.finalize().as_bytes()
}

impl<'a> Command<'a> {
    /// Reads a payload. Takes any bytes.
    pub(crate) fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(payload);
        let version = decoder.version_up_to(FORMAT_VERSION_2)?;
        let command = match decoder.u8("command")? {
            CONFIGURE => Self::Configure(IdempotencyLimits {
                keys: decoder.varint("number of idempotency keys")?,
                age_millis: decoder.varint("age of idempotency keys")?,
            }),
            PURGE => Self::Purge { before: Timestamp(decoder.u64("timestamp")?) },
            EXPIRE if version >= FORMAT_VERSION_2 => {
                Self::Expire { at: Timestamp(decoder.u64("timestamp")?) }
            }
            BATCH => {
                let first = Timestamp(decoder.u64("timestamp")?);
                let count = decoder.count("number of requests")?;
                let requests = (0..count).map(|_| decode_request(&mut decoder, version));
                Self::Batch { first, requests: requests.collect::<Result<_, _>>()? }
            }
            _ => return Err(DecodeError::Field { field: "command" }),
        };
        decoder.finish()?;
        Ok(command)
    }
}

fn decode_request<'a>(
    decoder: &mut Decoder<'a>,
    version: u8,
) -> Result<LoggedRequest<'a>, DecodeError> {
    let flags = decoder.u8("flags")?;
    if flags & !(ATOMIC | IDEMPOTENT) != 0 {
        return Err(DecodeError::Field { field: "flags" });
    }
    let idempotency = if flags & IDEMPOTENT == 0 {
        None
    } else {
        Some(LoggedKey {
            key: decoder.str("idempotency key")?,
            digest: decoder.array("digest")?,
            total: decoder.varint("number of operations")?,
            offset: decoder.varint("operations before")?,
        })
    };
    let count = decoder.count("number of operations")?;
    let operations = (0..count).map(|_| decode_next(decoder, version)).collect::<Result<_, _>>()?;
    Ok(LoggedRequest { atomic: flags & ATOMIC != 0, idempotency, operations })
}

/// Reads one operation by itself.
pub(crate) fn decode_operation(encoded: &[u8]) -> Result<LoggedOperation<'_>, DecodeError> {
    decode_next(&mut Decoder::new(encoded), FORMAT_VERSION_2)
}

fn decode_next<'a>(
    decoder: &mut Decoder<'a>,
    version: u8,
) -> Result<LoggedOperation<'a>, DecodeError> {
    let tag = decoder.u8("operation")?;
    let condition = decode_condition(decoder)?;
    let id = decoder.str("id")?;
    let change = match tag {
        PUT => LoggedChange::Put {
            content_hash: decoder.array("content hash")?,
            content: decoder.bytes("content")?,
        },
        DELETE => LoggedChange::Delete,
        PATCH if version >= FORMAT_VERSION_2 => {
            LoggedChange::Patch(LoggedPatch::decode(decoder.bytes("patch")?)?)
        }
        _ => return Err(DecodeError::Field { field: "operation" }),
    };
    Ok(LoggedOperation { id, condition, change })
}

fn decode_condition(decoder: &mut Decoder<'_>) -> Result<Option<Condition>, DecodeError> {
    Ok(match decoder.u8("condition")? {
        0 => None,
        1 => Some(Condition::IfAbsent),
        2 => Some(Condition::IfMatch(Etag {
            epoch: decoder.varint("epoch")?,
            seq: decoder.varint("seq")?,
            index: decoder.varint_u32("index")?,
        })),
        _ => return Err(DecodeError::Field { field: "condition" }),
    })
}
