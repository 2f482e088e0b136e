//! Changing parts of records.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{Coordinates, Durability, Filter, Vector, object};

/// What to change of a record. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRecord {
    /// The record's id. In a batch required; where the path names it, left out or the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// As the record was stored with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// In place of the default vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
    /// In place of the vectors of these names; the others stay.
    #[serde(
        default,
        deserialize_with = "object::optional_unique",
        skip_serializing_if = "Option::is_none"
    )]
    pub vectors: Option<BTreeMap<String, Vector>>,
    /// A merge patch (RFC 7396) of the metadata: objects are merged, `null` removes a member,
    /// everything else replaces it.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// The new region; `null` removes it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub region: Option<Option<String>>,
    /// From now on so many milliseconds; 0 removes the expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// When the record ceases to exist: milliseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Which coordinates the vectors hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    /// Whether points off the manifold are projected onto it rather than refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<bool>,
    /// Change only the record of this etag. The header If-Match says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// When to acknowledge; `buffered` when left out. Within a batch, the batch says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// Deletes the records that match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteByFilter {
    /// Which records; required, and not empty.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Filter>,
    /// At most so many; what is left follows with another request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only count what would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// The `next` of the answer before, to go on where that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When to acknowledge; `buffered` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// Changes parts of the records that match, all in the same way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchByFilter {
    /// Which records; required, and not empty.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Filter>,
    /// What to change; without id, partition key, condition and durability.
    pub patch: PatchRecord,
    /// At most so many; what is left follows with another request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only count what would be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// The `next` of the answer before, to go on where that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When to acknowledge; `buffered` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// What became of the records that match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByFilterResponse {
    /// Records that matched when they were looked at.
    pub matched: u64,
    /// Records that were deleted or changed; none with `dry_run`.
    pub changed: u64,
    /// Records that others wrote in between; they stay as they are.
    pub skipped: u64,
    /// Records that would be larger than they may be; they stay as they are.
    #[serde(default)]
    pub too_large: u64,
    /// Whether every record was looked at.
    pub complete: bool,
    /// Where to go on; absent when complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Tells `null` from a field that is left out.
#[expect(clippy::option_option, reason = "left out, null, or a text")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Encoding, decode, encode};

    #[test]
    fn null_and_nothing_are_told_apart() {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            for (sent, region) in [
                (json!({}), None),
                (json!({"region": null}), Some(None)),
                (json!({"region": "a"}), Some(Some("a".to_owned()))),
            ] {
                let bytes = encode(encoding, &sent).unwrap();
                let patch: PatchRecord = decode(encoding, &bytes).unwrap();
                assert_eq!(patch.region, region);
                let again = decode(encoding, &encode(encoding, &patch).unwrap()).unwrap();
                assert_eq!(patch, again);
            }
        }
    }
}
