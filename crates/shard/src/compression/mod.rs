//! Compression of records at rest.
//!
//! A record's labels and metadata are compressed, its vectors are not: coordinates hardly shrink.
//! Records are short, and much alike, so that most is gained by a dictionary, which is trained from
//! the records of the shard. Everything above [`Records`] sees rows as they are without
//! compression: how they are stored is no part of the state of a shard, its log, its digest or its
//! checkpoints.
//!
//! A compressed row of a record, where a plain one has 1 for its version:
//!
//! ```text
//! 1 byte   format version, 2
//! 1 byte   1 for LZ4 (a block), 2 for zstd (a frame)
//! varint   number of the dictionary, 0 for none
//! varint   bytes before the compressed part
//! varint   length of the compressed part once it is plain
//! varint   length of the compressed part
//!          what is before the compressed part; the compressed part; what is after it
//! ```
//!
//! A dictionary, under its number:
//!
//! ```text
//! 1 byte   format version, 1
//! 1 byte   1 for LZ4, 2 for zstd
//! varint   live records when it was trained
//!          its bytes
//! ```
//!
//! # Invariants
//! - A dictionary never changes, and is never removed: rows refer to it by its number.
//! - Opening a row asks for no more memory than [`MAX_PLAIN_BYTES`], whatever it says.

mod dictionary;
mod records;
mod row;
#[cfg(test)]
mod tests;
mod train;
mod upkeep;

use crate::config::Compression;

pub(crate) use records::{RecordRow, Records};
pub(crate) use upkeep::{Uniform, Upkeep};

/// The largest part of a row that is compressed, or is taken for one when it is opened. It is far
/// above what an entry of the log can hold.
const MAX_PLAIN_BYTES: usize = 4 << 20;

/// Live records from which the first dictionary is trained.
const FIRST_RECORDS: u64 = 1_000;

/// How something is compressed, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Lz4,
    Zstd,
}

impl Codec {
    fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::None => None,
            Compression::Lz4 => Some(Self::Lz4),
            Compression::Zstd => Some(Self::Zstd),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// How the setting is written down.
fn compression_byte(compression: Compression) -> u8 {
    Codec::of(compression).map_or(0, Codec::byte)
}

fn compression_from_byte(byte: u8) -> Option<Compression> {
    match byte {
        0 => Some(Compression::None),
        byte => Codec::from_byte(byte).map(|codec| match codec {
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }),
    }
}

/// Why a compressed row does not become a plain one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DamagedRow {
    #[error("a compressed record is damaged: {0}")]
    Layout(#[from] crate::codec::DecodeError),
    #[error(
        "a compressed record says that it is {bytes} bytes long, at most {MAX_PLAIN_BYTES} are possible"
    )]
    TooLong { bytes: u64 },
    #[error("a compressed record needs dictionary {number}, which is not there")]
    NoDictionary { number: u32 },
    #[error("a compressed record does not decompress: {reason}")]
    Content { reason: String },
}

impl From<DamagedRow> for fjall::Error {
    /// As a block whose checksum is wrong: what was read is not what was written.
    fn from(error: DamagedRow) -> Self {
        Self::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}
