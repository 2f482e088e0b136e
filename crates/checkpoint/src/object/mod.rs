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

mod chunk;
mod pack;
mod read;
#[cfg(test)]
mod tests;

pub use chunk::{Chunk, ChunkWriter};
pub use pack::Packer;
pub use read::ObjectReader;

use bytes::Bytes;

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

/// Makes objects of rows: a [`ChunkWriter`] and a [`Packer`] in one thread.
pub struct ObjectWriter {
    chunks: ChunkWriter,
    packer: Packer,
}

impl ObjectWriter {
    /// A writer without rows.
    pub fn new(sizes: Sizes) -> Result<Self, WriteError> {
        Ok(Self { chunks: ChunkWriter::new(sizes), packer: Packer::new(sizes)? })
    }

    /// Takes the next row. Returns an object once one is full.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Finished>, WriteError> {
        match self.chunks.push(key, value)? {
            Some(chunk) => self.packer.push(&chunk),
            None => Ok(None),
        }
    }

    /// The last objects, if there are rows that no object has yet.
    pub fn finish(self) -> Result<Vec<Finished>, WriteError> {
        let Self { chunks, mut packer } = self;
        let mut objects = Vec::new();
        if let Some(chunk) = chunks.finish() {
            objects.extend(packer.push(&chunk)?);
        }
        objects.extend(packer.finish());
        Ok(objects)
    }
}
