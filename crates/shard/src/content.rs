//! What a writer gives of a record, as bytes: the part that log entries and the record store have
//! in common, so that applying an entry copies it as it is.
//!
//! ```text
//! 1 byte   flags: 1 region, 2 partition key, 4 expiry
//! varint   expiry in milliseconds since 1970, if flagged
//! bytes    kind
//! bytes    region, if flagged
//! bytes    partition key, if flagged
//! bytes    metadata: JSON text with sorted keys; empty for no metadata
//! varint   number of vectors, then for each, sorted by name:
//!   bytes  name
//!   1 byte width of a coordinate, 4 or 8
//!   varint number of coordinates
//!          coordinates in storage form, IEEE 754, little-endian
//! ```

use std::collections::BTreeMap;

use hvs_geometry::Precision;
use hvs_index::IndexConfig;

use crate::codec::{DecodeError, Decoder, put_bytes, put_varint};
use crate::record::{
    InvalidRecord, MAX_NAME_BYTES, MAX_PARTITION_KEY_BYTES, Metadata, NewRecord, Vectors, check_id,
    check_optional,
};

const REGION: u8 = 1;
const PARTITION_KEY: u8 = 2;
const EXPIRY: u8 = 4;

/// Checks a record and writes its content. The vectors must be points of their spaces. The expiry
/// is that which the record's own one stands for now.
pub(crate) fn encode(
    record: &NewRecord,
    expires_at: Option<u64>,
    vectors: &BTreeMap<String, IndexConfig>,
    out: &mut Vec<u8>,
) -> Result<(), InvalidRecord> {
    check_id(&record.id)?;
    check_optional("kind", Some(&record.kind), MAX_NAME_BYTES)?;
    check_optional("region", record.region.as_deref(), MAX_NAME_BYTES)?;
    check_optional("partition key", record.partition_key.as_deref(), MAX_PARTITION_KEY_BYTES)?;

    let labels = Labels {
        expires_at,
        kind: &record.kind,
        region: record.region.as_deref(),
        partition_key: record.partition_key.as_deref(),
    };
    labels.encode(out);
    put_bytes(out, &metadata_bytes(&record.metadata)?);
    encode_vectors(&record.vectors, vectors, out)
}

/// What a content begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels<'a> {
    pub(crate) expires_at: Option<u64>,
    pub(crate) kind: &'a str,
    pub(crate) region: Option<&'a str>,
    pub(crate) partition_key: Option<&'a str>,
}

impl Labels<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flag = |present: bool, bit: u8| if present { bit } else { 0 };
        out.push(
            flag(self.region.is_some(), REGION)
                | flag(self.partition_key.is_some(), PARTITION_KEY)
                | flag(self.expires_at.is_some(), EXPIRY),
        );
        if let Some(expires_at) = self.expires_at {
            put_varint(out, expires_at);
        }
        put_bytes(out, self.kind.as_bytes());
        for text in [self.region, self.partition_key].into_iter().flatten() {
            put_bytes(out, text.as_bytes());
        }
    }
}

/// Metadata as it is stored.
pub(crate) fn metadata_bytes(metadata: &Metadata) -> Result<Vec<u8>, InvalidRecord> {
    if metadata.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::to_vec(metadata)
        .map_err(|error| InvalidRecord::Metadata { reason: error.to_string() })
}

/// The vectors of a content, from their number on.
pub(crate) fn encode_vectors(
    given: &Vectors,
    vectors: &BTreeMap<String, IndexConfig>,
    out: &mut Vec<u8>,
) -> Result<(), InvalidRecord> {
    put_varint(out, given.len() as u64);
    for (name, vector) in given {
        let Some(config) = vectors.get(name) else {
            let known = vectors.keys().cloned().collect();
            return Err(InvalidRecord::UnknownVector { name: name.clone(), known });
        };
        put_bytes(out, name.as_bytes());
        encode_vector(name, vector, config, out)?;
    }
    Ok(())
}

fn encode_vector(
    name: &str,
    vector: &[f64],
    config: &IndexConfig,
    out: &mut Vec<u8>,
) -> Result<(), InvalidRecord> {
    config
        .space
        .validate(vector, config.precision)
        .map_err(|source| InvalidRecord::Point { name: name.to_owned(), source })?;
    let stored = config.space.to_storage(vector);
    out.push(match config.precision {
        Precision::F32 => 4,
        Precision::F64 => 8,
    });
    put_varint(out, stored.len() as u64);
    match config.precision {
        Precision::F32 => {
            out.extend(stored.iter().flat_map(|&x| narrow(x).to_le_bytes()));
        }
        Precision::F64 => out.extend(stored.iter().flat_map(|x| x.to_le_bytes())),
    }
    Ok(())
}

/// The storage precision of a coordinate; validated points are well within its range.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked for")]
fn narrow(coordinate: f64) -> f32 {
    coordinate as f32
}

/// The parts of a content, still in its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Content<'a> {
    pub(crate) expires_at: Option<u64>,
    pub(crate) kind: &'a str,
    pub(crate) region: Option<&'a str>,
    pub(crate) partition_key: Option<&'a str>,
    pub(crate) metadata: &'a [u8],
    vectors: Decoder<'a>,
}

/// A vector as it is stored: all that follows its name.
pub(crate) type StoredVector<'a> = &'a [u8];

impl<'a> Content<'a> {
    /// Reads everything up to the vectors.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let flags = decoder.u8("flags")?;
        if flags & !(REGION | PARTITION_KEY | EXPIRY) != 0 {
            return Err(DecodeError::Field { field: "flags" });
        }
        let flagged = |bit| flags & bit != 0;
        let expires_at = flagged(EXPIRY).then(|| decoder.varint("expiry")).transpose()?;
        let kind = decoder.str("kind")?;
        let region = flagged(REGION).then(|| decoder.str("region")).transpose()?;
        let partition_key =
            flagged(PARTITION_KEY).then(|| decoder.str("partition key")).transpose()?;
        let metadata = decoder.bytes("metadata")?;
        Ok(Self { expires_at, kind, region, partition_key, metadata, vectors: decoder })
    }

    /// Bytes from the number of vectors to the end.
    pub(crate) fn vector_bytes(&self) -> usize {
        self.vectors.rest().len()
    }

    /// Parses the metadata.
    pub(crate) fn metadata(&self) -> Result<Metadata, DecodeError> {
        if self.metadata.is_empty() {
            return Ok(Metadata::new());
        }
        serde_json::from_slice(self.metadata).map_err(|_| DecodeError::Field { field: "metadata" })
    }

    /// Calls with each vector's name and its coordinates in storage form.
    pub(crate) fn for_each_vector(
        &self,
        mut visit: impl FnMut(&'a str, Vec<f64>),
    ) -> Result<(), DecodeError> {
        let mut decoder = self.vectors.clone();
        for _ in 0..decoder.count("number of vectors")? {
            let (name, width, coordinates) = next_vector(&mut decoder)?;
            visit(name, widen(coordinates, width)?);
        }
        decoder.finish()
    }

    /// The vectors by name, as they are stored.
    pub(crate) fn stored_vectors(
        &self,
    ) -> Result<BTreeMap<&'a str, StoredVector<'a>>, DecodeError> {
        stored_vectors(self.vectors.clone())
    }

    /// The vector of a name, in storage form.
    pub(crate) fn vector(&self, wanted: &str) -> Result<Option<Vec<f64>>, DecodeError> {
        let mut found = None;
        self.for_each_vector(|name, vector| {
            if name == wanted {
                found = Some(vector);
            }
        })?;
        Ok(found)
    }
}

/// Reads what [`encode_vectors`] wrote without looking into it.
pub(crate) fn stored_vectors(
    mut decoder: Decoder<'_>,
) -> Result<BTreeMap<&str, StoredVector<'_>>, DecodeError> {
    let mut vectors = BTreeMap::new();
    for _ in 0..decoder.count("number of vectors")? {
        let before = decoder.rest();
        let (name, _, _) = next_vector(&mut decoder)?;
        let mut named = Decoder::new(before);
        named.str("name of a vector")?;
        let length = named.rest().len().saturating_sub(decoder.rest().len());
        vectors.insert(name, named.take(length, "coordinates")?);
    }
    decoder.finish()?;
    Ok(vectors)
}

/// The name of a vector, the width of its coordinates, and these.
fn next_vector<'a>(decoder: &mut Decoder<'a>) -> Result<(&'a str, u8, &'a [u8]), DecodeError> {
    let name = decoder.str("name of a vector")?;
    let width = decoder.u8("width of a coordinate")?;
    let count = decoder.count("number of coordinates")?;
    let bytes = count.saturating_mul(width.into());
    Ok((name, width, decoder.take(bytes, "coordinates")?))
}

/// Whether a record that ceases to exist at a time no longer does.
pub(crate) fn is_expired(expires_at: Option<u64>, now_millis: u64) -> bool {
    expires_at.is_some_and(|at| at <= now_millis)
}

fn widen(coordinates: &[u8], width: u8) -> Result<Vec<f64>, DecodeError> {
    match width {
        4 => Ok(coordinates
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes).into())
            .collect()),
        8 => Ok(coordinates
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect()),
        _ => Err(DecodeError::Field { field: "width of a coordinate" }),
    }
}
