//! Changes of a namespace that is in use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Compression, IndexType, NamespaceInfo, PayloadIndex, PayloadIndexing, Quantisation, TaskInfo,
    object,
};

/// What is to change of a namespace. Spaces, dimensions and precisions never do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlterNamespace {
    /// Of the index of the default vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<AlterIndex>,
    /// Of the indexes of the other named vectors.
    #[serde(
        default,
        deserialize_with = "object::unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub vectors: BTreeMap<String, AlterVector>,
    /// Which fields of metadata are indexed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_indexing: Option<PayloadIndexing>,
    /// All fields of metadata that are to be indexed in any case, in place of those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_indexes: Option<Vec<PayloadIndex>>,
    /// How records are compressed at rest. Those that are there are written anew in the
    /// background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether records of hits are read before someone asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<bool>,
}

/// What is to change of a named vector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlterVector {
    /// Of its index.
    pub index: AlterIndex,
}

/// What is to change of an index. What is left out stays as it is; where the type changes, it
/// takes the node's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlterIndex {
    /// The type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<IndexType>,
    /// Connections per node of the graph (HNSW; `M` is accepted as well).
    #[serde(default, alias = "M", skip_serializing_if = "Option::is_none")]
    pub m: Option<u64>,
    /// How widely the graph is searched for neighbours when it is built (HNSW).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_construction: Option<u64>,
    /// How widely the graph is searched when a search names no `ef` (HNSW). Takes effect at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_search: Option<u64>,
    /// Lists per segment (IVF); with 0 the square root of its vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nlist: Option<u64>,
    /// Lists that are looked into when a search names no `nprobe` (IVF); with 0 one in eight, but
    /// at least 16. Takes effect at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nprobe: Option<u64>,
    /// Of what is compared first (HNSW, FLAT and IVF).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Quantisation>,
    /// Whether what is compared first is held in memory and not mapped from its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<bool>,
    /// The index of the vector (HYBRID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<IndexType>,
    /// Where in the metadata the text is (HYBRID): all paths, in place of those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_fields: Option<Vec<String>>,
    /// The language whose stems are searched by (HYBRID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A namespace that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlteredNamespace {
    /// With what has changed at once.
    pub namespace: NamespaceInfo,
    /// What builds the indexes that had to be built anew; until it is done, those before answer.
    /// None if nothing had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskInfo>,
}
