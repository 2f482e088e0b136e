//! Putting chunks together to objects. This is what takes time.

use bytes::{BufMut as _, Bytes};

use super::{Chunk, FORMAT_VERSION, Finished, MAGIC, Sizes, WriteError};
use crate::hash::Hash;

/// Compresses chunks and puts them together to objects.
pub struct Packer {
    target_bytes: usize,
    compressor: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
    object: Vec<u8>,
    /// Of `object`.
    hasher: blake3::Hasher,
    object_rows: u64,
}

impl Packer {
    /// A packer without chunks.
    pub fn new(sizes: Sizes) -> Result<Self, WriteError> {
        Ok(Self {
            target_bytes: sizes.object,
            compressor: zstd::bulk::Compressor::new(sizes.level).map_err(WriteError::Compress)?,
            frame: Vec::new(),
            object: Vec::new(),
            hasher: blake3::Hasher::new(),
            object_rows: 0,
        })
    }

    /// Takes the next chunk. Returns an object once one is full.
    pub fn push(&mut self, chunk: &Chunk) -> Result<Option<Finished>, WriteError> {
        if self.object.is_empty() {
            self.object.extend_from_slice(&MAGIC);
            self.object.push(FORMAT_VERSION);
            self.hasher.update(&self.object);
        }
        self.frame.clear();
        self.frame.reserve(zstd::zstd_safe::compress_bound(chunk.content.len()));
        self.compressor
            .compress_to_buffer(&chunk.content, &mut self.frame)
            .map_err(WriteError::Compress)?;
        let start = self.object.len();
        self.object.put_u32_le(length(self.frame.len()));
        self.object.put_u32_le(length(chunk.content.len()));
        self.object.put_u32_le(chunk.rows);
        self.object.extend_from_slice(&self.frame);
        self.seal(start);
        self.object_rows += u64::from(chunk.rows);
        Ok(if self.object.len() >= self.target_bytes { self.close() } else { None })
    }

    /// The last object, if there are chunks that no object has yet.
    pub fn finish(mut self) -> Option<Finished> {
        self.close()
    }

    fn close(&mut self) -> Option<Finished> {
        if self.object.is_empty() {
            return None;
        }
        let start = self.object.len();
        self.object.put_u32_le(0);
        self.object.put_u64_le(self.object_rows);
        self.seal(start);
        let rows = std::mem::take(&mut self.object_rows);
        let bytes = Bytes::from(std::mem::take(&mut self.object));
        let hash = Hash(*self.hasher.finalize().as_bytes());
        self.hasher.reset();
        Some(Finished { bytes, hash, rows })
    }

    /// Appends the checksum of everything from `start` on, and hashes it while it is in the
    /// processor's cache.
    fn seal(&mut self, start: usize) {
        let checksum = crc32c::crc32c(self.object.get(start..).unwrap_or_default());
        self.object.put_u32_le(checksum);
        self.hasher.update(self.object.get(start..).unwrap_or_default());
    }
}

/// A chunk is far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
