//! Rows as they are encoded, not yet compressed.

use super::{MAX_FIELD_BYTES, Sizes, WriteError};

/// Encoded rows, one after the other.
#[derive(Debug, Default)]
pub struct Chunk {
    pub(super) content: Vec<u8>,
    pub(super) rows: u32,
}

/// Encodes rows and cuts them into chunks.
pub struct ChunkWriter {
    target_bytes: usize,
    chunk: Chunk,
    rows: u64,
    last: Vec<u8>,
}

impl ChunkWriter {
    /// A writer without rows.
    pub fn new(sizes: Sizes) -> Self {
        Self { target_bytes: sizes.chunk, chunk: Chunk::default(), rows: 0, last: Vec::new() }
    }

    /// Takes the next row. Returns a chunk once one is full.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Chunk>, WriteError> {
        let row = self.rows;
        if row > 0 && key <= self.last.as_slice() {
            return Err(WriteError::Order { row });
        }
        let bytes = key.len().max(value.len());
        if bytes > MAX_FIELD_BYTES {
            return Err(WriteError::TooLong { row, bytes });
        }
        for field in [key, value] {
            put_varint(&mut self.chunk.content, field.len());
            self.chunk.content.extend_from_slice(field);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.rows += 1;
        self.chunk.rows += 1;
        Ok((self.chunk.content.len() >= self.target_bytes).then(|| self.take()))
    }

    /// Gives a buffer back that is no longer needed, so that the next chunk needs none of its own.
    pub fn reuse(&mut self, mut chunk: Chunk) {
        if self.chunk.content.capacity() == 0 {
            chunk.content.clear();
            chunk.rows = 0;
            self.chunk = chunk;
        }
    }

    /// The last chunk, if there are rows that no chunk has yet.
    pub fn finish(mut self) -> Option<Chunk> {
        (self.chunk.rows > 0).then(|| self.take())
    }

    fn take(&mut self) -> Chunk {
        std::mem::take(&mut self.chunk)
    }
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
