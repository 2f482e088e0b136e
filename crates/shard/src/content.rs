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
    InvalidRecord, MAX_NAME_BYTES, MAX_PARTITION_KEY_BYTES, Metadata, NewRecord, check_id,
    check_optional,
};

const REGION: u8 = 1;
const PARTITION_KEY: u8 = 2;
const EXPIRY: u8 = 4;

/// Checks a record and writes its content. The vectors must be points of their spaces.
pub(crate) fn encode(
    record: &NewRecord,
    vectors: &BTreeMap<String, IndexConfig>,
    out: &mut Vec<u8>,
) -> Result<(), InvalidRecord> {
    check_id(&record.id)?;
    check_optional("kind", Some(&record.kind), MAX_NAME_BYTES)?;
    check_optional("region", record.region.as_deref(), MAX_NAME_BYTES)?;
    check_optional("partition key", record.partition_key.as_deref(), MAX_PARTITION_KEY_BYTES)?;

    let flag = |present: bool, bit: u8| if present { bit } else { 0 };
    out.push(
        flag(record.region.is_some(), REGION) | flag(record.partition_key.is_some(), PARTITION_KEY),
    );
    put_bytes(out, record.kind.as_bytes());
    for text in [&record.region, &record.partition_key].into_iter().flatten() {
        put_bytes(out, text.as_bytes());
    }
    if record.metadata.is_empty() {
        put_bytes(out, b"");
    } else {
        let json = serde_json::to_vec(&record.metadata)
            .map_err(|error| InvalidRecord::Metadata { reason: error.to_string() })?;
        put_bytes(out, &json);
    }
    put_varint(out, record.vectors.len() as u64);
    for (name, vector) in &record.vectors {
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
    metadata: &'a [u8],
    vectors: Decoder<'a>,
}

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
            let name = decoder.str("name of a vector")?;
            let width = decoder.u8("width of a coordinate")?;
            let count = decoder.count("number of coordinates")?;
            let bytes = count.saturating_mul(width.into());
            let coordinates = decoder.take(bytes, "coordinates")?;
            visit(name, widen(coordinates, width)?);
        }
        decoder.finish()
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
