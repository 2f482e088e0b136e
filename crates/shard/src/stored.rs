//! The rows of the record store.
//!
//! A record, under its id:
//!
//! ```text
//! 1 byte    format version, 1
//! varint    key in the indexes
//! varint    version
//! varint    epoch, varint seq, varint index: the etag
//! 8 bytes   timestamp
//! 32 bytes  content hash
//!           content, see `content`
//! ```
//!
//! A tombstone, under its id: the same up to and including the timestamp, with 0 for the key.

use std::collections::BTreeMap;

use hvs_index::IndexConfig;

use crate::codec::{DecodeError, Decoder, put_varint};
use crate::content::Content;
use crate::record::{Etag, Record, Timestamp, Vectors};

const FORMAT_VERSION: u8 = 1;

/// What is known of the last write of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Key in the indexes; 0 for a tombstone.
    pub(crate) key: u64,
    pub(crate) version: u64,
    pub(crate) etag: Etag,
    pub(crate) timestamp: Timestamp,
}

impl Header {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT_VERSION);
        put_varint(out, self.key);
        put_varint(out, self.version);
        put_varint(out, self.etag.epoch);
        put_varint(out, self.etag.seq);
        put_varint(out, self.etag.index.into());
        out.extend_from_slice(&self.timestamp.0.to_le_bytes());
    }

    fn decode_from(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.version(FORMAT_VERSION)?;
        Ok(Self {
            key: decoder.varint("key")?,
            version: decoder.varint("version")?,
            etag: Etag {
                epoch: decoder.varint("epoch")?,
                seq: decoder.varint("seq")?,
                index: decoder.varint_u32("index")?,
            },
            timestamp: Timestamp(decoder.u64("timestamp")?),
        })
    }

    /// Reads the header of a record or a tombstone.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_from(&mut Decoder::new(bytes))
    }
}

/// Writes the row of a record.
pub(crate) fn encode_record(header: &Header, content_hash: &[u8; 32], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 80);
    header.encode(&mut out);
    out.extend_from_slice(content_hash);
    out.extend_from_slice(content);
    out
}

/// A record's row, taken apart.
pub(crate) struct StoredRecord<'a> {
    pub(crate) header: Header,
    pub(crate) content_hash: [u8; 32],
    pub(crate) content: Content<'a>,
    /// The content's own bytes.
    pub(crate) content_bytes: &'a [u8],
}

/// A record's row with its content as bytes.
pub(crate) struct SplitRecord<'a> {
    pub(crate) content_hash: [u8; 32],
    pub(crate) content: &'a [u8],
}

impl<'a> StoredRecord<'a> {
    /// Takes a row apart without looking at its content.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<SplitRecord<'a>, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        Header::decode_from(&mut decoder)?;
        let content_hash = decoder.array("content hash")?;
        Ok(SplitRecord { content_hash, content: decoder.rest() })
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let header = Header::decode_from(&mut decoder)?;
        let content_hash = decoder.array("content hash")?;
        let content_bytes = decoder.rest();
        let content = Content::decode(content_bytes)?;
        Ok(Self { header, content_hash, content, content_bytes })
    }

    /// The record as readers get it.
    pub(crate) fn into_record(
        self,
        id: &str,
        configs: &BTreeMap<String, IndexConfig>,
    ) -> Result<Record, DecodeError> {
        let Self { header, content_hash, content, .. } = self;
        let mut vectors = Vectors::new();
        content.for_each_vector(|name, stored| {
            // A vector that the namespace no longer has is not shown.
            if let Some(config) = configs.get(name) {
                vectors.insert(name.to_owned(), config.space.from_storage(&stored));
            }
        })?;
        Ok(Record {
            id: id.to_owned(),
            partition_key: content.partition_key.map(str::to_owned),
            vectors,
            metadata: content.metadata()?,
            region: content.region.map(str::to_owned),
            kind: content.kind.to_owned(),
            version: header.version,
            etag: header.etag,
            timestamp: header.timestamp,
            content_hash,
            expires_at: content.expires_at,
        })
    }
}
