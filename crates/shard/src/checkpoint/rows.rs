//! Reading the rows of a state.

use crate::codec::{DecodeError, Decoder, put_bytes, put_varint};
use crate::content::Content;
use crate::meta::{Meta, Purged};
use crate::record::Timestamp;
use crate::remembered::Remembered;
use crate::stored::{Header, StoredRecord};

use super::{FORMAT_VERSION, KEY, LIVE, META, RECORD, TOMBSTONE};

/// Bytes that are gathered before they are hashed: short ones one by one cost several times more.
const HASHED_AT_ONCE: usize = 64 << 10;

/// Why rows are not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedState {
    /// A row does not decode.
    #[error("the {what} {row:?} of the checkpoint is damaged: {reason}")]
    Row {
        /// What kind of row.
        what: &'static str,
        /// Its key, printable.
        row: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no row of what is known beside the records, or it is not the first.
    #[error("the checkpoint does not begin with the row that says what it is")]
    NoMeta,
    /// The rows are not as many as the state says.
    #[error("the checkpoint has {found} {what}, but says that it has {expected}")]
    Count {
        /// Of what.
        what: &'static str,
        /// In it.
        found: u64,
        /// As it says.
        expected: u64,
    },
}

/// What the rows of a whole state are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The last entry in it.
    pub seq: u64,
    /// Hash of that entry.
    pub entry: [u8; 32],
    /// Its epoch.
    pub epoch: u64,
    /// Live records.
    pub records: u64,
    /// Deleted ids that are remembered.
    pub tombstones: u64,
    /// Hash of the state: equal states have equal ones, whatever they were read from.
    pub digest: [u8; 32],
}

/// A row of the state, taken apart.
pub(crate) enum StateRow<'a> {
    Meta,
    Key { number: u64, timestamp: Timestamp, key: &'a [u8], remembered: &'a [u8] },
    Live { id: &'a str, row: &'a [u8], header: Header, content: Content<'a> },
    Tombstone { id: &'a str, row: &'a [u8], header: Header },
}

/// Checks the rows of a state as they come and sums them up.
///
/// The rows may come from a base with deltas over it: what the shard had forgotten by the last
/// delta is dropped here.
pub struct StateRows {
    known: Option<(Meta, Purged)>,
    digest: Digest,
    records: u64,
    tombstones: u64,
    keys: u64,
}

impl Default for StateRows {
    fn default() -> Self {
        Self { known: None, digest: Digest::new(), records: 0, tombstones: 0, keys: 0 }
    }
}

impl StateRows {
    /// Takes the next row, in the order of the keys.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), DamagedState> {
        self.take(key, value).map(drop)
    }

    /// Takes the next row and returns it, unless the shard had forgotten it.
    pub(crate) fn take<'a>(
        &mut self,
        key: &'a [u8],
        value: &'a [u8],
    ) -> Result<Option<StateRow<'a>>, DamagedState> {
        let row = self.decode(key, value)?;
        if row.is_some() {
            self.digest.push(key, value);
        }
        Ok(row)
    }

    pub(crate) fn known(&self) -> Option<(Meta, Purged)> {
        self.known
    }

    /// What all rows were.
    pub fn finish(self) -> Result<Summary, DamagedState> {
        let (meta, _) = self.known.ok_or(DamagedState::NoMeta)?;
        for (what, found, expected) in [
            ("records", self.records, meta.records),
            ("tombstones", self.tombstones, meta.tombstones),
            ("idempotency keys", self.keys, meta.remembered()),
        ] {
            if found != expected {
                return Err(DamagedState::Count { what, found, expected });
            }
        }
        Ok(Summary {
            seq: meta.applied.seq,
            entry: meta.applied.hash.0,
            epoch: meta.epoch,
            records: meta.records,
            tombstones: meta.tombstones,
            digest: self.digest.finish(),
        })
    }

    fn decode<'a>(
        &mut self,
        key: &'a [u8],
        value: &'a [u8],
    ) -> Result<Option<StateRow<'a>>, DamagedState> {
        let damaged = |what: &'static str| {
            move |error: DecodeError| DamagedState::Row {
                what,
                row: key.escape_ascii().to_string(),
                reason: error.to_string(),
            }
        };
        let field = |what, field| damaged(what)(DecodeError::Field { field });
        let Some((kind, rest)) = key.split_first() else { return Err(field("row", "key")) };
        if *kind == META && rest.is_empty() {
            self.known = Some(decode_meta(value).map_err(damaged("meta row"))?);
            return Ok(Some(StateRow::Meta));
        }
        let Some((meta, purged)) = self.known else { return Err(DamagedState::NoMeta) };
        match *kind {
            KEY => {
                let number = rest.try_into().map(u64::from_be_bytes);
                let number = number.map_err(|_| field("idempotency key", "number"))?;
                if !(meta.first_remembered..meta.next_remembered).contains(&number) {
                    return Ok(None);
                }
                let row = decode_key(number, value).map_err(damaged("idempotency key"))?;
                self.keys += 1;
                Ok(Some(row))
            }
            RECORD => {
                let id = std::str::from_utf8(rest).map_err(|_| field("record", "id"))?;
                match value.split_first() {
                    Some((&LIVE, row)) => {
                        let stored = StoredRecord::decode(row).map_err(damaged("record"))?;
                        self.records += 1;
                        let StoredRecord { header, content, .. } = stored;
                        Ok(Some(StateRow::Live { id, row, header, content }))
                    }
                    Some((&TOMBSTONE, row)) => {
                        let header = Header::decode(row).map_err(damaged("tombstone"))?;
                        if header.timestamp <= purged.timestamp {
                            return Ok(None);
                        }
                        self.tombstones += 1;
                        Ok(Some(StateRow::Tombstone { id, row, header }))
                    }
                    _ => Err(field("record", "kind")),
                }
            }
            _ => Err(field("row", "kind")),
        }
    }
}

pub(crate) fn encode_meta(meta: &Meta, purged: &Purged) -> Vec<u8> {
    let mut out = vec![FORMAT_VERSION];
    put_bytes(&mut out, &meta.encode());
    put_bytes(&mut out, &purged.encode());
    out
}

fn decode_meta(value: &[u8]) -> Result<(Meta, Purged), DecodeError> {
    let mut decoder = Decoder::new(value);
    decoder.version(FORMAT_VERSION)?;
    let meta = Meta::decode(decoder.bytes("meta row")?)?;
    let purged = Purged::decode(decoder.bytes("purged row")?)?;
    decoder.finish()?;
    Ok((meta, purged))
}

pub(crate) fn encode_key(timestamp: Timestamp, key: &[u8], remembered: &[u8]) -> Vec<u8> {
    let mut out = timestamp.0.to_le_bytes().to_vec();
    put_bytes(&mut out, key);
    out.extend_from_slice(remembered);
    out
}

fn decode_key(number: u64, value: &[u8]) -> Result<StateRow<'_>, DecodeError> {
    let mut decoder = Decoder::new(value);
    let timestamp = Timestamp(decoder.u64("timestamp")?);
    let key = decoder.bytes("key")?;
    let remembered = decoder.rest();
    Remembered::decode(remembered)?;
    Ok(StateRow::Key { number, timestamp, key, remembered })
}

/// BLAKE3 of rows with their lengths.
pub(crate) struct Digest {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self { hasher: blake3::Hasher::new(), gathered: Vec::with_capacity(HASHED_AT_ONCE * 2) }
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        for field in [key, value] {
            put_varint(&mut self.gathered, field.len() as u64);
            self.gathered.extend_from_slice(field);
        }
        if self.gathered.len() >= HASHED_AT_ONCE {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        *self.hasher.finalize().as_bytes()
    }
}
