//! Changes of parts of a record, as the log has them and as they are carried out.
//!
//! ```text
//! 1 byte   flags: 1 a region, 2 no region any more, 4 an expiry, 8 no expiry any more
//! varint   expiry in milliseconds since 1970, if flagged
//! bytes    region, if flagged
//! bytes    a merge patch (RFC 7396) of the metadata: JSON text; empty for none
//! varint   most bytes that the metadata may have afterwards
//!          vectors that replace those of their names, as in `content`
//! ```
//!
//! A patch is merged when it is applied and not before, so that it meets exactly the record that
//! the log has at this place. The result is a function of the record's bytes and the patch's.

use std::collections::BTreeMap;

use hvs_index::IndexConfig;
use serde_json::Value;

use crate::codec::{DecodeError, Decoder, put_bytes, put_varint};
use crate::content::{self, Content, Labels, StoredVector};
use crate::prepare::MAX_OPERATIONS_BYTES;
use crate::record::{InvalidRecord, MAX_NAME_BYTES, Metadata, Patch, check_optional};

const REGION: u8 = 1;
const NO_REGION: u8 = 2;
const EXPIRY: u8 = 4;
const NO_EXPIRY: u8 = 8;

/// Most bytes of a record's content after a patch: what a put of it could hold, with room for the
/// id and the rest of an operation. Replicas must agree on it.
const MAX_CONTENT_BYTES: usize = MAX_OPERATIONS_BYTES - 4_096;

/// Checks a patch and writes it.
pub(crate) fn encode(
    patch: &Patch,
    expires_at: Option<u64>,
    vectors: &BTreeMap<String, IndexConfig>,
    max_metadata_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), InvalidRecord> {
    check_optional("region", patch.region.as_ref().and_then(Option::as_deref), MAX_NAME_BYTES)?;
    let region = match &patch.region {
        None => 0,
        Some(Some(_)) => REGION,
        Some(None) => NO_REGION,
    };
    let expiry = match (&patch.expiry, expires_at) {
        (None, _) => 0,
        (Some(_), Some(_)) => EXPIRY,
        (Some(_), None) => NO_EXPIRY,
    };
    out.push(region | expiry);
    if expiry == EXPIRY {
        put_varint(out, expires_at.unwrap_or_default());
    }
    if let Some(Some(region)) = &patch.region {
        put_bytes(out, region.as_bytes());
    }
    match &patch.metadata {
        Some(metadata) => put_bytes(out, &content::metadata_bytes(metadata)?),
        None => put_bytes(out, b""),
    }
    put_varint(out, max_metadata_bytes as u64);
    content::encode_vectors(&patch.vectors, vectors, out)
}

/// A patch as it stands in the log.
#[derive(Debug, PartialEq)]
#[expect(clippy::option_option, reason = "left as it is, removed, or replaced")]
pub(crate) struct LoggedPatch<'a> {
    region: Option<Option<&'a str>>,
    expires_at: Option<Option<u64>>,
    metadata: &'a [u8],
    max_metadata_bytes: u64,
    vectors: BTreeMap<&'a str, StoredVector<'a>>,
}

/// What comes of a patch.
#[derive(Debug, PartialEq)]
pub(crate) enum Patched {
    /// The new content.
    Content(Vec<u8>),
    /// The result would be larger than allowed.
    TooLarge { bytes: u64, limit: u64 },
}

impl<'a> LoggedPatch<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let flags = decoder.u8("flags")?;
        let both = |one: u8, other: u8| flags & one != 0 && flags & other != 0;
        if flags & !(REGION | NO_REGION | EXPIRY | NO_EXPIRY) != 0
            || both(REGION, NO_REGION)
            || both(EXPIRY, NO_EXPIRY)
        {
            return Err(DecodeError::Field { field: "flags" });
        }
        let expires_at = match flags & (EXPIRY | NO_EXPIRY) {
            EXPIRY => Some(Some(decoder.varint("expiry")?)),
            NO_EXPIRY => Some(None),
            _ => None,
        };
        let region = match flags & (REGION | NO_REGION) {
            REGION => Some(Some(decoder.str("region")?)),
            NO_REGION => Some(None),
            _ => None,
        };
        let metadata = decoder.bytes("metadata")?;
        let max_metadata_bytes = decoder.varint("limit of metadata")?;
        let vectors = content::stored_vectors(Decoder::new(decoder.rest()))?;
        Ok(Self { region, expires_at, metadata, max_metadata_bytes, vectors })
    }

    /// The content that a record has afterwards.
    pub(crate) fn apply(&self, before: &[u8]) -> Result<Patched, DecodeError> {
        let before = Content::decode(before)?;
        let metadata = if self.metadata.is_empty() {
            before.metadata.to_vec()
        } else {
            let mut merged = before.metadata()?;
            merge(&mut merged, parse(self.metadata)?);
            let bytes = content::metadata_bytes(&merged)
                .map_err(|_| DecodeError::Field { field: "metadata" })?;
            if bytes.len() as u64 > self.max_metadata_bytes {
                let (bytes, limit) = (bytes.len() as u64, self.max_metadata_bytes);
                return Ok(Patched::TooLarge { bytes, limit });
            }
            bytes
        };
        let mut vectors = before.stored_vectors()?;
        vectors.extend(&self.vectors);
        let labels = Labels {
            expires_at: self.expires_at.unwrap_or(before.expires_at),
            kind: before.kind,
            region: self.region.unwrap_or(before.region),
            partition_key: before.partition_key,
        };
        let mut out = Vec::new();
        labels.encode(&mut out);
        put_bytes(&mut out, &metadata);
        put_varint(&mut out, vectors.len() as u64);
        for (name, vector) in vectors {
            put_bytes(&mut out, name.as_bytes());
            out.extend_from_slice(vector);
        }
        if out.len() > MAX_CONTENT_BYTES {
            let (bytes, limit) = (out.len() as u64, MAX_CONTENT_BYTES as u64);
            return Ok(Patched::TooLarge { bytes, limit });
        }
        Ok(Patched::Content(out))
    }
}

fn parse(metadata: &[u8]) -> Result<Metadata, DecodeError> {
    serde_json::from_slice(metadata).map_err(|_| DecodeError::Field { field: "metadata" })
}

/// RFC 7396, section 2, for objects.
fn merge(target: &mut Metadata, patch: Metadata) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(inner) => {
                let place = target.entry(name).or_insert(Value::Null);
                if !place.is_object() {
                    *place = Value::Object(Metadata::new());
                }
                if let Value::Object(place) = place {
                    merge(place, inner);
                }
            }
            value => {
                target.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7396, appendix A, that are objects.
    #[test]
    fn merging_is_that_of_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({"a": "foo"}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let (Value::Object(mut merged), Value::Object(patch)) = (target, patch) else {
                panic!("not objects")
            };
            merge(&mut merged, patch.clone());
            assert_eq!(Value::Object(merged), result, "{patch:?}");
        }
    }
}
