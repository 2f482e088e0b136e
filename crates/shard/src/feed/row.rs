//! The row of an entry in the feed, under its seq (big-endian):
//!
//! ```text
//! 1 byte    format version, 1
//! varint    epoch
//! varint    bytes of all rows so far, this one included, about
//! varint    number of changes, then for each:
//!   1 byte    kind: 0 put, 1 patch, 2 delete, 3 expire
//!   varint    index in the entry
//!   bytes     id
//!   varint    version
//!   8 bytes   timestamp
//!   bytes     of a patch: the content that the record became
//! ```
//!
//! The content of a put is in the log and not here.

use super::{ChangeKind, byte_of, kind_of};
use crate::codec::{DecodeError, Decoder, put_bytes, put_varint};
use crate::record::Timestamp;

const FORMAT_VERSION: u8 = 1;
/// What a row and a change take at least, when they are counted.
const FRAME_BYTES: u64 = 32;

#[derive(Debug, PartialEq)]
pub(crate) struct Row<'a> {
    pub(crate) epoch: u64,
    pub(crate) sum: u64,
    pub(crate) changes: Vec<FedChange<'a>>,
}

/// A change as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FedChange<'a> {
    pub(crate) kind: ChangeKind,
    pub(crate) index: u32,
    pub(crate) id: &'a str,
    pub(crate) version: u64,
    pub(crate) timestamp: Timestamp,
    /// Of a patch.
    pub(crate) content: &'a [u8],
}

impl<'a> Row<'a> {
    pub(super) fn bytes(&self) -> u64 {
        let change = |change: &FedChange<'_>| change.id.len() + change.content.len();
        let bytes: usize = self.changes.iter().map(change).sum();
        (bytes as u64).saturating_add(FRAME_BYTES * (1 + self.changes.len() as u64))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(usize::try_from(self.bytes()).unwrap_or(0));
        out.push(FORMAT_VERSION);
        put_varint(&mut out, self.epoch);
        put_varint(&mut out, self.sum);
        put_varint(&mut out, self.changes.len() as u64);
        for change in &self.changes {
            out.push(byte_of(change.kind));
            put_varint(&mut out, change.index.into());
            put_bytes(&mut out, change.id.as_bytes());
            put_varint(&mut out, change.version);
            out.extend_from_slice(&change.timestamp.0.to_le_bytes());
            if change.kind == ChangeKind::Patch {
                put_bytes(&mut out, change.content);
            }
        }
        out
    }

    /// Reads what [`Self::encode`] wrote. Takes any bytes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.version(FORMAT_VERSION)?;
        let epoch = decoder.varint("epoch")?;
        let sum = decoder.varint("bytes of all rows")?;
        let count = decoder.count("number of changes")?;
        let changes = (0..count).map(|_| change(&mut decoder)).collect::<Result<_, _>>()?;
        decoder.finish()?;
        Ok(Self { epoch, sum, changes })
    }
}

fn change<'a>(decoder: &mut Decoder<'a>) -> Result<FedChange<'a>, DecodeError> {
    let kind = kind_of(decoder.u8("kind")?)?;
    Ok(FedChange {
        kind,
        index: decoder.varint_u32("index")?,
        id: decoder.str("id")?,
        version: decoder.varint("version")?,
        timestamp: Timestamp(decoder.u64("timestamp")?),
        content: if kind == ChangeKind::Patch { decoder.bytes("content")? } else { &[] },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Row<'static> {
        let change = |kind, index, content| FedChange {
            kind,
            index,
            id: "犬",
            version: 300,
            timestamp: Timestamp::from_millis(5),
            content,
        };
        let changes = vec![
            change(ChangeKind::Put, 0, &[][..]),
            change(ChangeKind::Patch, 2, &[1, 2, 3]),
            change(ChangeKind::Delete, 3, &[]),
            change(ChangeKind::Expire, 700, &[]),
        ];
        Row { epoch: 7, sum: 1_000, changes }
    }

    /// Rows of the first format must be readable for ever: the file is never written again.
    #[test]
    fn golden_bytes_of_format_1() {
        let golden = include_bytes!("../../golden/feed_v1.bin");
        assert_eq!(Row::decode(golden), Ok(example()));
        assert_eq!(example().encode(), golden);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Row::decode(&bytes);
            let _ = Row::decode(&[&[FORMAT_VERSION], bytes.as_slice()].concat());
        }
    }
}
