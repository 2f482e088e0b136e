//! Records: put, get, delete, batch, fetch, scroll and count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{Explain, PatchRecord, Vector, object};

/// The kind of a record that names none.
pub const DEFAULT_KIND: &str = "vector";

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When it is in memory: readable and searchable, and lost at a restart. A record that is
    /// logged already stays so, and is written as `buffered`.
    Memory,
    /// When it is written in order, though not yet forced to the disk.
    #[default]
    Buffered,
    /// When it is forced to the disk.
    Sync,
    /// When a mirror has it too. Not available yet.
    Replicated,
    /// When a quorum of replicas has it. Not available yet.
    Quorum,
}

/// Which coordinates the vectors of a request hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coordinates {
    /// All of them.
    #[default]
    Ambient,
    /// Hyperboloid: the n spatial ones; the time coordinate follows from them.
    Spatial,
}

/// A record to store, in place of the one of the same id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRecord {
    /// 1 to 512 bytes without control characters. In a batch required; where the path names the
    /// id, left out or the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Chooses the shard in place of the id, so that records of one key stay together. Reads of
    /// the record then name it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// The default vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
    /// Vectors by name.
    #[serde(
        default,
        deserialize_with = "object::optional_unique",
        skip_serializing_if = "Option::is_none"
    )]
    pub vectors: Option<BTreeMap<String, Vector>>,
    /// Anything that JSON can say, as an object.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// The named part of the namespace that the record lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What the record is for; `vector` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// After so many milliseconds the record ceases to exist; 0 means never. Left out together
    /// with `expires_at_ms`, the namespace's own.
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
    /// Store only over the record of this etag. The header If-Match says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// Store only where no record of this id exists. The header If-None-Match: * says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_absent: Option<bool>,
    /// When to acknowledge; as the namespace has it when left out. Within a batch, the batch says
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// A record to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRecord {
    /// The record's id.
    pub id: String,
    /// As the record was stored with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Delete only the record of this etag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
}

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "EitherOperation")]
pub enum BatchOperation {
    /// Store a record.
    Put(PutRecord),
    /// Delete a record.
    Delete(DeleteRecord),
    /// Change parts of a record.
    Patch(PatchRecord),
}

/// What a [`BatchOperation`] is read from, because it can say what is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EitherOperation {
    put: Option<PutRecord>,
    delete: Option<DeleteRecord>,
    patch: Option<PatchRecord>,
}

impl TryFrom<EitherOperation> for BatchOperation {
    type Error = &'static str;

    fn try_from(operation: EitherOperation) -> Result<Self, Self::Error> {
        match (operation.put, operation.delete, operation.patch) {
            (Some(put), None, None) => Ok(Self::Put(put)),
            (None, Some(delete), None) => Ok(Self::Delete(delete)),
            (None, None, Some(patch)) => Ok(Self::Patch(patch)),
            _ => Err("an operation is an object with one of put, delete and patch"),
        }
    }
}

/// Several operations in one request. An operation that is bad in itself refuses the batch as a
/// whole and changes nothing; a condition that does not hold fails its own operation alone,
/// unless the batch is atomic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// In order; an id occurs once.
    pub operations: Vec<BatchOperation>,
    /// When to acknowledge; as the namespace has it when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// All operations or none; every record must be of one shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atomic: Option<bool>,
    /// For the puts and patches that do not say their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    /// For the puts and patches that do not say their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<bool>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteStatus {
    /// A record of a new id was stored.
    Created,
    /// A record was replaced.
    Updated,
    /// A record was deleted.
    Deleted,
    /// There was nothing to delete, or nothing to patch.
    NotFound,
    /// The condition did not hold; nothing changed.
    ConditionFailed,
    /// Another operation of the same atomic batch failed; nothing changed.
    NotApplied,
    /// The record would be larger after the patch than allowed; nothing changed.
    TooLarge,
}

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WriteResult {
    /// The record's id.
    pub id: String,
    /// How it ended.
    pub status: WriteStatus,
    /// Counts the writes of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// For conditions. After `condition_failed` that of the record as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// How durable the change is: as asked, or more. Absent where nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// What became of each operation of a batch, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchResponse {
    /// One per operation.
    pub results: Vec<WriteResult>,
    /// How many operations failed: their condition does not hold, or the record would be too
    /// large.
    pub failed: u64,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordInfo {
    /// The record's id.
    pub id: String,
    /// Where it is not the id itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// The default vector, in ambient coordinates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
    /// The other vectors by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vectors: BTreeMap<String, Vector>,
    /// As it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// The named part of the namespace that it lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What it is for.
    #[serde(default = "default_kind")]
    pub kind: String,
    /// Counts the writes of this id.
    pub version: u64,
    /// For conditions.
    pub etag: String,
    /// When it was written: milliseconds since 1970-01-01 UTC.
    pub updated_at_ms: u64,
    /// When it ceases to exist, if it does: milliseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// What a node that does not tell kinds yet means.
fn default_kind() -> String {
    DEFAULT_KIND.to_owned()
}

/// Many records by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// The ids; each once.
    pub ids: Vec<String>,
    /// Of all of them, where they were stored with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Whether to answer vectors; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_vectors: Option<bool>,
    /// Whether to answer metadata; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_metadata: Option<bool>,
}

/// The records found, in the order of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FetchResponse {
    /// What was found.
    pub records: Vec<RecordInfo>,
    /// The ids that were not.
    pub missing: Vec<String>,
}

/// Metadata fields (nested ones with dots), each with a value that it must equal or an object of
/// operators (`$eq $ne $in $nin $gt $gte $lt $lte $exists $contains $not`); `$and`, `$or` and
/// `$not` of filters; `$kind` and `$region`. All members must hold.
pub type Filter = Map<String, Value>;

/// One page of all records, or of those that match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScrollRequest {
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Records per page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Which records; the same for all pages.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Filter>,
    /// In the order of a field's values, rather than of ids; only records that have a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
    /// From the largest value to the smallest; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descending: Option<bool>,
    /// Whether to answer vectors; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_vectors: Option<bool>,
    /// Whether to answer metadata; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_metadata: Option<bool>,
    /// Whether the answer says how it was found; only with `order_by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
}

/// A page, in the order of the ids within each shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScrollResponse {
    /// The records.
    pub records: Vec<RecordInfo>,
    /// For the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How it was found, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
}

/// How many records, or how many of them match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountRequest {
    /// Which records.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Filter>,
}

/// The count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountResponse {
    /// Exact.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeError, Encoding, decode, encode};

    #[test]
    fn a_key_that_occurs_twice_is_refused_in_every_map() {
        let json = r#"{"vectors": {"a": [1], "a": [2]}}"#;
        let error = decode::<PutRecord>(Encoding::Json, json.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("occurs twice"), "{error}");
        let packed = b"\x81\xa7vectors\x82\xa1a\x91\x01\xa1a\x91\x02";
        let error = decode::<PutRecord>(Encoding::MessagePack, packed).unwrap_err();
        assert!(error.to_string().contains("occurs twice"), "{error}");
        let json = r#"{"aliases": {"a": "x", "a": "y"}}"#;
        assert!(decode::<crate::SwitchAliases>(Encoding::Json, json.as_bytes()).is_err());
        let json = r#"{"traits": {"a": 0.1, "a": 0.2}}"#;
        assert!(decode::<crate::ChooseRequest>(Encoding::Json, json.as_bytes()).is_err());
        let json = r#"{"geometry": "euclidean", "dimension": 2, "vectors": {"a": {}, "a": {}}}"#;
        assert!(decode::<crate::CreateNamespace>(Encoding::Json, json.as_bytes()).is_err());
    }

    #[test]
    fn an_operation_is_one_of_its_kinds() {
        let put = serde_json::json!({"put": {"id": "a", "vector": [1.0]}});
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let operation: BatchOperation =
                decode(encoding, &encode(encoding, &put).unwrap()).unwrap();
            assert!(
                matches!(&operation, BatchOperation::Put(put) if put.id.as_deref() == Some("a"))
            );
            let again = decode(encoding, &encode(encoding, &operation).unwrap()).unwrap();
            assert_eq!(operation, again);
            for wrong in [
                serde_json::json!({}),
                serde_json::json!({"put": {"id": "a"}, "delete": {"id": "a"}}),
            ] {
                let bytes = encode(encoding, &wrong).unwrap();
                let error = decode::<BatchOperation>(encoding, &bytes).unwrap_err();
                assert!(matches!(error, DecodeError::Shape(_)), "{error:?}");
                assert!(error.to_string().contains("one of put, delete and patch"), "{error}");
            }
        }
    }
}
