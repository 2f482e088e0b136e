//! Taking objects apart.

use bytes::Bytes;

use super::{
    CHUNK_HEAD_BYTES, DamagedObject, FORMAT_VERSION, HEAD_BYTES, MAGIC, MAX_CHUNK_BYTES, Row,
    TAIL_BYTES,
};

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
