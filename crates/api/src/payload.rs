//! Which metadata is indexed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which fields of metadata are indexed beside `$kind` and `$region`, which always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadIndexing {
    /// Every field, as far as the node's limits go.
    #[default]
    Auto,
    /// Those that are declared in `payload_indexes`.
    Declared,
}

/// What the values of a field are expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadType {
    /// Texts that are compared as a whole.
    Keyword,
    /// Numbers without a fraction.
    Integer,
    /// Numbers.
    Float,
    /// `true` and `false`.
    Bool,
    /// Texts that are dates or times of RFC 3339. They are compared as texts.
    Datetime,
}

/// A field of metadata that is to be indexed. It decides what a filter costs and not what it means:
/// records with a value of another type are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayloadIndex {
    /// A path as in filters.
    pub field: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: PayloadType,
}

/// What the indexes of metadata hold, over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayloadState {
    /// Fields; of several shards the most that one of them has.
    pub fields: u64,
    /// Distinct values of all fields.
    pub values: u64,
    /// Bytes, estimated.
    pub bytes: u64,
    /// Records of which some value is not indexed although its field is: for lack of room, or
    /// because its type is not the declared one.
    pub partial: u64,
    /// Whether they are complete. After a start they are being built, and filters look at records;
    /// while they are built for other fields, those before answer.
    pub ready: bool,
}
