//! The format of an object: sorted rows in compressed chunks, each with a checksum.
//!
//! ```text
//! 4 bytes   magic "HVSC"
//! 1 byte    format version, 1
//! chunks, each:
//!   4 bytes length of the frame, not 0
//!   4 bytes length of its content
//!   4 bytes number of rows
//!           a zstd frame of the rows
//!   4 bytes CRC-32C of all the above of this chunk
//! 4 bytes   0: no chunk follows
//! 8 bytes   number of rows in all
//! 4 bytes   CRC-32C of the 12 bytes before
//! ```
//!
//! A row is `varint` length of the key, the key, `varint` length of the value, the value. Integers
//! are little-endian; a `varint` has seven bits a byte, least significant first. The hash of the
//! whole object is kept by whoever refers to it.

use bytes::{BufMut as _, Bytes};

use crate::hash::Hash;

const MAGIC: [u8; 4] = *b"HVSC";
const FORMAT_VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const CHUNK_HEAD_BYTES: usize = 12;
const TAIL_BYTES: usize = 16;

/// Longest key or value of a row, in bytes: twice the largest entry of a log.
pub const MAX_FIELD_BYTES: usize = 4 << 20;
/// The largest content of a chunk that is read. It bounds the memory that damage can ask for.
const MAX_CHUNK_BYTES: usize = 32 << 20;

/// How rows are cut into chunks and objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Content at which a chunk is closed, in bytes.
    pub chunk: usize,
    /// Size at which an object is closed, in bytes.
    pub object: usize,
    /// Effort of zstd: 1 is the fastest of its usual levels, 19 the slowest.
    pub level: i32,
}

impl Default for Sizes {
    /// Chunks of 512 KiB, objects of 32 MiB, level 1.
    fn default() -> Self {
        Self { chunk: 512 << 10, object: 32 << 20, level: 1 }
    }
}

/// A pair of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What rows are sorted by.
    pub key: Bytes,
    /// Anything.
    pub value: Bytes,
}

/// Why a row was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Rows come in increasing order of their keys, each key once.
    #[error("row {row} does not come after the one before it")]
    Order {
        /// Which row, counted from 0.
        row: u64,
    },
    /// A key or value is too long.
    #[error("row {row} has a field of {bytes} bytes, at most {MAX_FIELD_BYTES} are allowed")]
    TooLong {
        /// Which row.
        row: u64,
        /// The length.
        bytes: usize,
    },
    /// The compressor failed.
    #[error("cannot compress: {0}")]
    Compress(#[source] std::io::Error),
}

/// Why bytes are not an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedObject {
    /// It begins with something else.
    #[error("it does not begin as an object of a checkpoint does")]
    Magic,
    /// A later version wrote it.
    #[error(
        "it was made by a newer version of HVS: it has format {found}, this version reads {FORMAT_VERSION}; \
         upgrade to that version"
    )]
    Version {
        /// As stored.
        found: u8,
    },
    /// It ends too early.
    #[error("it ends within chunk {chunk}")]
    Truncated {
        /// Which chunk, counted from 0.
        chunk: u64,
    },
    /// It goes on after its end.
    #[error("{bytes} bytes follow its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The checksum of a chunk is wrong.
    #[error("the checksum of chunk {chunk} is {found:08x}, its bytes have {expected:08x}")]
    Checksum {
        /// Which chunk.
        chunk: u64,
        /// As stored.
        found: u32,
        /// Of the bytes.
        expected: u32,
    },
    /// A chunk's rows do not decode.
    #[error("the rows of chunk {chunk} do not decode: {reason}")]
    Rows {
        /// Which chunk.
        chunk: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

/// A complete object.
#[derive(Clone, Debug)]
pub struct Finished {
    /// All of it.
    pub bytes: Bytes,
    /// Its hash.
    pub hash: Hash,
    /// Rows in it.
    pub rows: u64,
}

/// Makes objects of rows.
pub struct ObjectWriter {
    sizes: Sizes,
    compressor: zstd::bulk::Compressor<'static>,
    object: Vec<u8>,
    chunk: Vec<u8>,
    chunk_rows: u32,
    object_rows: u64,
    rows: u64,
    last: Vec<u8>,
}

impl ObjectWriter {
    /// A writer without rows.
    pub fn new(sizes: Sizes) -> Result<Self, WriteError> {
        Ok(Self {
            sizes,
            compressor: zstd::bulk::Compressor::new(sizes.level).map_err(WriteError::Compress)?,
            object: Vec::new(),
            chunk: Vec::new(),
            chunk_rows: 0,
            object_rows: 0,
            rows: 0,
            last: Vec::new(),
        })
    }

    /// Takes the next row. Returns an object once one is full.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Finished>, WriteError> {
        let row = self.rows;
        if row > 0 && key <= self.last.as_slice() {
            return Err(WriteError::Order { row });
        }
        let bytes = key.len().max(value.len());
        if bytes > MAX_FIELD_BYTES {
            return Err(WriteError::TooLong { row, bytes });
        }
        for field in [key, value] {
            put_varint(&mut self.chunk, field.len());
            self.chunk.extend_from_slice(field);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.rows += 1;
        self.chunk_rows += 1;
        if self.chunk.len() >= self.sizes.chunk {
            self.close_chunk()?;
        }
        Ok(if self.object.len() >= self.sizes.object { self.close_object() } else { None })
    }

    /// The last object, if there are rows that no object has yet.
    pub fn finish(mut self) -> Result<Option<Finished>, WriteError> {
        self.close_chunk()?;
        Ok(self.close_object())
    }

    fn close_chunk(&mut self) -> Result<(), WriteError> {
        if self.chunk_rows == 0 {
            return Ok(());
        }
        if self.object.is_empty() {
            self.object.extend_from_slice(&MAGIC);
            self.object.push(FORMAT_VERSION);
        }
        let frame = self.compressor.compress(&self.chunk).map_err(WriteError::Compress)?;
        let start = self.object.len();
        self.object.put_u32_le(length(frame.len()));
        self.object.put_u32_le(length(self.chunk.len()));
        self.object.put_u32_le(self.chunk_rows);
        self.object.extend_from_slice(&frame);
        let checksum = crc32c::crc32c(self.object.get(start..).unwrap_or_default());
        self.object.put_u32_le(checksum);
        self.object_rows += u64::from(self.chunk_rows);
        self.chunk.clear();
        self.chunk_rows = 0;
        Ok(())
    }

    fn close_object(&mut self) -> Option<Finished> {
        if self.object.is_empty() {
            return None;
        }
        let start = self.object.len();
        self.object.put_u32_le(0);
        self.object.put_u64_le(self.object_rows);
        let checksum = crc32c::crc32c(self.object.get(start..).unwrap_or_default());
        self.object.put_u32_le(checksum);
        let rows = std::mem::take(&mut self.object_rows);
        let bytes = Bytes::from(std::mem::take(&mut self.object));
        Some(Finished { hash: Hash::of(&bytes), bytes, rows })
    }
}

/// A chunk is far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

/// Reads the rows of an object, chunk by chunk.
pub struct ObjectReader {
    rest: Bytes,
    chunk: Bytes,
    chunk_number: u64,
    chunk_rows: u32,
    rows: u64,
    done: bool,
}

impl ObjectReader {
    /// A reader of an object's bytes.
    pub fn new(bytes: &Bytes) -> Result<Self, DamagedObject> {
        let Some((head, _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(DamagedObject::Truncated { chunk: 0 });
        };
        let [magic @ .., version] = head;
        if *magic != MAGIC {
            return Err(DamagedObject::Magic);
        }
        if *version != FORMAT_VERSION {
            return Err(DamagedObject::Version { found: *version });
        }
        let rest = bytes.slice(HEAD_BYTES..);
        let chunk = Bytes::new();
        Ok(Self { rest, chunk, chunk_number: 0, chunk_rows: 0, rows: 0, done: false })
    }

    /// The next row, or none at the end, which has been checked then.
    #[expect(clippy::should_implement_trait, reason = "errors are told apart from the end")]
    pub fn next(&mut self) -> Result<Option<Row>, DamagedObject> {
        while self.chunk_rows == 0 {
            if self.done {
                return Ok(None);
            }
            self.open_chunk()?;
        }
        let key = self.field()?;
        let value = self.field()?;
        self.chunk_rows -= 1;
        self.rows += 1;
        if self.chunk_rows == 0 && !self.chunk.is_empty() {
            return Err(self.damaged("bytes follow its last row"));
        }
        Ok(Some(Row { key, value }))
    }

    fn damaged(&self, reason: &'static str) -> DamagedObject {
        DamagedObject::Rows { chunk: self.chunk_number.saturating_sub(1), reason }
    }

    fn open_chunk(&mut self) -> Result<(), DamagedObject> {
        let chunk = self.chunk_number;
        let truncated = DamagedObject::Truncated { chunk };
        let frame_bytes = word(&self.rest, 0).ok_or(truncated.clone())?;
        if frame_bytes == 0 {
            return self.close(chunk);
        }
        let content_bytes = word(&self.rest, 4).ok_or(truncated.clone())?;
        let rows = word(&self.rest, 8).ok_or(truncated.clone())?;
        let end = CHUNK_HEAD_BYTES.saturating_add(size(frame_bytes));
        let found = word(&self.rest, end).ok_or(truncated)?;
        let sealed = self.rest.split_to(end);
        self.rest = self.rest.slice(4..);
        self.chunk_number += 1;
        let expected = crc32c::crc32c(&sealed);
        if found != expected {
            return Err(DamagedObject::Checksum { chunk, found, expected });
        }
        if size(content_bytes) > MAX_CHUNK_BYTES {
            return Err(self.damaged("its content is too long"));
        }
        let frame = sealed.slice(CHUNK_HEAD_BYTES..);
        let content = zstd::bulk::decompress(&frame, size(content_bytes))
            .map_err(|_| self.damaged("its frame does not decompress"))?;
        if content.len() != size(content_bytes) || rows == 0 {
            return Err(self.damaged("its content has another length"));
        }
        self.chunk = content.into();
        self.chunk_rows = rows;
        Ok(())
    }

    fn close(&mut self, chunk: u64) -> Result<(), DamagedObject> {
        let truncated = DamagedObject::Truncated { chunk };
        let found = word(&self.rest, TAIL_BYTES - 4).ok_or(truncated)?;
        if let Some(bytes) = self.rest.len().checked_sub(TAIL_BYTES).filter(|&bytes| bytes > 0) {
            return Err(DamagedObject::Trailing { bytes });
        }
        let sealed = self.rest.slice(..TAIL_BYTES - 4);
        let expected = crc32c::crc32c(&sealed);
        if found != expected {
            return Err(DamagedObject::Checksum { chunk, found, expected });
        }
        let rows =
            sealed.get(4..).and_then(<[u8]>::first_chunk::<8>).map(|b| u64::from_le_bytes(*b));
        if rows != Some(self.rows) {
            return Err(DamagedObject::Rows { chunk, reason: "their number is another" });
        }
        self.done = true;
        Ok(())
    }

    fn field(&mut self) -> Result<Bytes, DamagedObject> {
        let mut length = 0_usize;
        for shift in (0..28).step_by(7) {
            let Some(byte) = self.chunk.first().copied() else {
                return Err(self.damaged("it ends within a length"));
            };
            self.chunk = self.chunk.slice(1..);
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if length > self.chunk.len() {
                    return Err(self.damaged("it ends within a field"));
                }
                return Ok(self.chunk.split_to(length));
            }
        }
        Err(self.damaged("a length is too long"))
    }
}

fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(*bytes.get(at..end)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> Sizes {
        Sizes { chunk: 64, object: 300, level: 1 }
    }

    fn encode(rows: &[(Vec<u8>, Vec<u8>)], sizes: Sizes) -> Vec<Finished> {
        let mut writer = ObjectWriter::new(sizes).unwrap();
        let mut objects = Vec::new();
        for (key, value) in rows {
            objects.extend(writer.push(key, value).unwrap());
        }
        objects.extend(writer.finish().unwrap());
        objects
    }

    fn decode(bytes: &Bytes) -> Result<Vec<Row>, DamagedObject> {
        let mut reader = ObjectReader::new(bytes)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next()? {
            rows.push(row);
        }
        assert_eq!(reader.next(), Ok(None), "the end stays the end");
        Ok(rows)
    }

    fn sample() -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..40_u8).map(|n| (vec![b'a', n], vec![n ^ 0x5a; usize::from(n) * 3])).collect()
    }

    #[test]
    fn rows_come_back_in_order_over_several_objects() {
        let rows = sample();
        let objects = encode(&rows, small());
        assert!(objects.len() > 2, "{}", objects.len());
        assert_eq!(objects.iter().map(|object| object.rows).sum::<u64>(), 40);
        let read: Vec<_> = objects.iter().flat_map(|o| decode(&o.bytes).unwrap()).collect();
        assert_eq!(read.len(), rows.len());
        for (row, (key, value)) in read.iter().zip(&rows) {
            assert_eq!((&row.key[..], &row.value[..]), (&key[..], &value[..]));
        }
        assert!(encode(&[], small()).is_empty());
    }

    #[test]
    fn rows_out_of_order_and_fields_beyond_the_limit_are_refused() {
        let mut writer = ObjectWriter::new(small()).unwrap();
        writer.push(b"b", b"").unwrap();
        assert!(matches!(writer.push(b"b", b""), Err(WriteError::Order { row: 1 })));
        assert!(matches!(writer.push(b"a", b""), Err(WriteError::Order { row: 1 })));
        let longest = vec![0; MAX_FIELD_BYTES];
        writer.push(b"c", &longest).unwrap();
        let longer = vec![0; MAX_FIELD_BYTES + 1];
        assert!(matches!(writer.push(b"d", &longer), Err(WriteError::TooLong { .. })));
    }

    /// Without the hash, which finds all of it: the checksums alone.
    #[test]
    fn every_flipped_bit_and_every_truncation_is_found_by_the_format_itself() {
        let bytes = encode(&sample(), Sizes { object: 1 << 20, ..small() })[0].bytes.clone();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged.into()).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes.slice(..length)).is_err(), "length {length}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(decode(&longer.into()), Err(DamagedObject::Trailing { bytes: 1 }));
    }

    #[test]
    fn what_version_1_wrote_is_read() {
        let golden = "485653430112000000090000000200000028b52ffd200949000001610178016202000058b2\
                      e1a1000000000200000000000000134f18b9";
        let bytes: Vec<u8> = (0..golden.len() / 2)
            .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let row = |key: &'static [u8], value: &'static [u8]| Row {
            key: Bytes::from_static(key),
            value: Bytes::from_static(value),
        };
        let expected = vec![row(b"a", b"x"), row(b"b", &[0, 0])];
        assert_eq!(decode(&bytes.into()), Ok(expected));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&MAGIC[..], &[FORMAT_VERSION], &body].concat();
            let _ = decode(&bytes.into());
            let _ = decode(&body.into());
        }
    }
}
