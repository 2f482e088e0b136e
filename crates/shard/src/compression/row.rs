//! The form of a compressed row.

use std::ops::Range;

use super::dictionary::Dictionary;
use super::{Codec, DamagedRow, MAX_PLAIN_BYTES};
use crate::codec::{Decoder, put_varint};

/// First byte of a compressed row.
pub(super) const COMPRESSED: u8 = 2;
/// Shorter parts are left as they are: what could be saved is less than what it costs to tell.
pub(super) const MIN_PLAIN_BYTES: usize = 64;
/// The same without a dictionary.
pub(super) const MIN_PLAIN_BYTES_ALONE: usize = 128;

/// What a compressed row begins with, and its parts.
pub(super) struct Layout<'a> {
    pub(super) codec: Codec,
    pub(super) dictionary: u32,
    before: &'a [u8],
    plain_bytes: usize,
    compressed: &'a [u8],
    after: &'a [u8],
}

impl<'a> Layout<'a> {
    /// Reads a row whose first byte is [`COMPRESSED`].
    pub(super) fn read(row: &'a [u8]) -> Result<Self, DamagedRow> {
        let mut decoder = Decoder::new(row);
        decoder.version(COMPRESSED)?;
        let codec = Codec::from_byte(decoder.u8("codec")?);
        let codec = codec.ok_or(crate::codec::DecodeError::Field { field: "codec" })?;
        let dictionary = decoder.varint_u32("dictionary")?;
        let length = |bytes: u64| match usize::try_from(bytes) {
            Ok(length) if length <= MAX_PLAIN_BYTES => Ok(length),
            _ => Err(DamagedRow::TooLong { bytes }),
        };
        let before = length(decoder.varint("length of the beginning")?)?;
        let plain_bytes = length(decoder.varint("plain length")?)?;
        let compressed = length(decoder.varint("compressed length")?)?;
        let before = decoder.take(before, "beginning")?;
        let compressed = decoder.take(compressed, "compressed part")?;
        let after = decoder.rest();
        Ok(Self { codec, dictionary, before, plain_bytes, compressed, after })
    }

    /// The row as it was before it was compressed.
    pub(super) fn open(&self, dictionary: &Dictionary) -> Result<Vec<u8>, DamagedRow> {
        let start = self.before.len();
        let end = start.saturating_add(self.plain_bytes);
        let mut plain = Vec::with_capacity(end.saturating_add(self.after.len()));
        plain.extend_from_slice(self.before);
        plain.resize(end, 0);
        let part = plain.get_mut(start..).unwrap_or_default();
        dictionary.decompress(self.compressed, part)?;
        plain.extend_from_slice(self.after);
        Ok(plain)
    }
}

/// Compresses a part of a row, if that makes the row shorter.
pub(super) fn compress(row: &[u8], part: Range<usize>, with: &Dictionary) -> Option<Vec<u8>> {
    let least = if with.number == 0 { MIN_PLAIN_BYTES_ALONE } else { MIN_PLAIN_BYTES };
    if !(least..=MAX_PLAIN_BYTES).contains(&part.len()) {
        return None;
    }
    let (before, plain) = (row.get(..part.start)?, row.get(part.clone())?);
    let after = row.get(part.end..)?;
    let mut compressed = Vec::new();
    if !with.compress(plain, &mut compressed) {
        return None;
    }
    let mut out = Vec::with_capacity(before.len() + compressed.len() + after.len() + 16);
    out.extend_from_slice(&[COMPRESSED, with.codec.byte()]);
    put_varint(&mut out, with.number.into());
    for length in [before.len(), plain.len(), compressed.len()] {
        put_varint(&mut out, length as u64);
    }
    for bytes in [before, &compressed, after] {
        out.extend_from_slice(bytes);
    }
    (out.len() < row.len()).then_some(out)
}
