//! Namespaces and aliases.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ComponentSpec, Durability, PayloadIndex, PayloadIndexing, PayloadState, SpaceInfo, object,
};

/// How many bits a stored coordinate has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 64 bits, for points far from the origin.
    F64,
}

/// The type of a vector index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum IndexType {
    /// A navigable graph: approximate, fast.
    #[default]
    #[serde(rename = "HNSW", alias = "hnsw")]
    Hnsw,
    /// No index: every search looks at every vector, exactly.
    #[serde(rename = "FLAT", alias = "flat")]
    Flat,
    /// A tree of volumes: exact, and leaves out what is provably too far.
    #[serde(rename = "GEOMETRIC", alias = "geometric")]
    Geometric,
    /// Inverted lists: approximate, quick to build.
    #[serde(rename = "IVF", alias = "ivf")]
    Ivf,
    /// One of the others beside an index of text.
    #[serde(rename = "HYBRID", alias = "hybrid")]
    Hybrid,
}

/// How many bits the numbers have that searches compare first. Distances are computed from the
/// vectors themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quantisation {
    /// Those of the precision.
    #[default]
    None,
    /// 16, in every space that is a metric one.
    F16,
    /// 8, in Euclidean and spherical space and products of these.
    I8,
    /// 2: product quantisation of four numbers at a time, where `i8` is allowed.
    Pq,
}

/// What the index of a namespace is to be good at: it stands for an index whose parameters are
/// shown with the namespace. What is given beside it goes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Answers that come soon.
    Latency,
    /// Many answers in a second.
    Throughput,
    /// Little memory.
    Memory,
    /// Answers that miss nothing.
    Accuracy,
}

/// The index of one named vector. Parameters that are left out take the node's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IndexSpec {
    /// The type.
    #[serde(rename = "type", default)]
    pub kind: IndexType,
    /// Connections per node of the graph (HNSW; `M` is accepted as well).
    #[serde(default, alias = "M", skip_serializing_if = "Option::is_none")]
    pub m: Option<u64>,
    /// How widely the graph is searched for neighbours when it is built (HNSW).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_construction: Option<u64>,
    /// How widely the graph is searched when a search names no `ef` (HNSW).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_search: Option<u64>,
    /// Lists per segment (IVF); left out or 0, the square root of its vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nlist: Option<u64>,
    /// Lists that are looked into when a search names no `nprobe` (IVF); left out or 0, one in eight,
    /// but at least 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nprobe: Option<u64>,
    /// Of what is compared first (HNSW, FLAT and IVF); `none` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Quantisation>,
    /// Whether what is compared first is held in memory, where nothing can push it out, and not
    /// mapped from its file; left out, as the node has it (`storage.resident_rows`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<bool>,
    /// The index of the vector (HYBRID); HNSW when left out. Its parameters are given beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<IndexType>,
    /// Where in the metadata the text is (HYBRID): paths as in filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_fields: Option<Vec<String>>,
    /// The language whose stems are searched by (HYBRID), such as `english`; `none` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A new namespace: the space, precision and index of its default vector, and what its other
/// named vectors have of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNamespace {
    /// `poincare`, `hyperboloid`, `klein`, `euclidean`, `spherical` or `lorentzian`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<String>,
    /// The intrinsic dimension n.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// Signed; left out: -1, 0 or 1, as the geometry has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// The factors of a product space, in place of geometry, dimension and curvature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<ComponentSpec>>,
    /// Of stored coordinates, `f32` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// The index, HNSW when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexSpec>,
    /// What its indexes are to be good at, where they are not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Named vectors beside the default one.
    #[serde(
        default,
        deserialize_with = "object::unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub vectors: BTreeMap<String, VectorSpec>,
    /// How many shards; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// When writes are acknowledged that do not say it themselves: `memory`, `buffered` or
    /// `sync`. Left out, as the node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The time to live of records that are put without one, in milliseconds. Left out, they do
    /// not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Which fields of metadata are indexed; `auto` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_indexing: Option<PayloadIndexing>,
    /// Fields of metadata that are indexed in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_indexes: Option<Vec<PayloadIndex>>,
    /// How labels and metadata of records are compressed at rest. Left out, as the node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether records of hits are read before someone asks for them, in the background. Left
    /// out, only with the profile `latency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<bool>,
}

/// How labels and metadata of records are compressed at rest. Vectors are not: coordinates hardly
/// shrink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: quick.
    Lz4,
    /// Zstandard: small.
    Zstd,
}

/// A named vector. The space is either wholly its own or, when none of its four fields is given,
/// that of the default vector; precision and index likewise, each for itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorSpec {
    /// As in [`CreateNamespace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<String>,
    /// As in [`CreateNamespace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// As in [`CreateNamespace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// As in [`CreateNamespace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<ComponentSpec>>,
    /// As in [`CreateNamespace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// As in [`CreateNamespace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexSpec>,
}

/// A namespace with its settings, nothing left out, and its counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamespaceInfo {
    /// The name.
    pub name: String,
    /// Never used again, even when a namespace of this name is deleted and created anew.
    pub uid: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at_ms: u64,
    /// Names that lead here.
    pub aliases: Vec<String>,
    /// The default vector, under the empty name, and the others.
    pub vectors: BTreeMap<String, VectorInfo>,
    /// How many shards.
    pub shards: u64,
    /// What its indexes were chosen to be good at, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The time to live of records that are put without one, in milliseconds, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Live records.
    pub records: u64,
    /// Whether its shards are open. If not, the next request opens them; until then the numbers
    /// here are those of when they were closed.
    #[serde(default = "open")]
    pub loaded: bool,
    /// When writes are acknowledged that do not say it themselves.
    #[serde(default)]
    pub durability: Durability,
    /// How many of the records are in memory alone.
    #[serde(default)]
    pub memory_records: u64,
    /// The state of the index of text, over all shards, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextState>,
    /// Which fields of metadata are indexed.
    #[serde(default)]
    pub payload_indexing: PayloadIndexing,
    /// Fields of metadata that are indexed in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payload_indexes: Vec<PayloadIndex>,
    /// The state of the indexes of metadata.
    #[serde(default)]
    pub payload: PayloadState,
    /// Whether records of hits are read before someone asks for them.
    #[serde(default)]
    pub prefetch: bool,
    /// What the records take on the disk, over all shards.
    #[serde(default)]
    pub storage: StorageState,
}

/// What records take on the disk, indexes and logs aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageState {
    /// How their labels and metadata are compressed.
    pub compression: Compression,
    /// Bytes of their database.
    pub bytes: u64,
    /// Bytes of the records that were written since the node started, before compression.
    pub written_plain_bytes: u64,
    /// The same after compression.
    pub written_stored_bytes: u64,
    /// Whether records are being written anew, because they are compressed otherwise.
    pub rewriting: bool,
}

/// Nodes that do not say it have all shards open.
fn open() -> bool {
    true
}

/// What an index of text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TextState {
    /// Records with text.
    pub documents: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of what was written and waits for the disk. It is found all the same.
    pub pending_bytes: u64,
    /// Whether it is complete. After a start it may still be built, and searches wait for it.
    pub ready: bool,
}

/// One named vector of a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VectorInfo {
    /// Its space.
    pub space: SpaceInfo,
    /// Of stored coordinates.
    pub precision: Precision,
    /// Its index, nothing left out.
    pub index: IndexSpec,
    /// The state of the index, over all shards.
    pub state: IndexState,
}

/// What an index holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IndexState {
    /// Vectors that can be found.
    pub live: u64,
    /// Superseded or deleted vectors that a merge will drop.
    pub dead: u64,
    /// Vectors in the flat tail, scanned exactly until a segment takes them up.
    pub tail: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of stored vectors.
    pub bytes_vectors: u64,
    /// Bytes of graphs.
    pub bytes_graph: u64,
    /// Bytes of the map between ids and vectors.
    pub bytes_ids: u64,
    /// Whether a segment is being built.
    pub building: bool,
}

/// All namespaces, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamespaceList {
    /// In the order of their names.
    pub namespaces: Vec<NamespaceInfo>,
}

/// The target of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAlias {
    /// The namespace that the alias is to lead to, by its own name.
    pub namespace: String,
}

/// Several aliases at once: all of them change, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchAliases {
    /// Alias to namespace; `null` removes the alias.
    #[serde(deserialize_with = "object::unique")]
    pub aliases: BTreeMap<String, Option<String>>,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasInfo {
    /// The alias.
    pub alias: String,
    /// The namespace that it leads to.
    pub namespace: String,
}

/// All aliases, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasList {
    /// In the order of their names.
    pub aliases: Vec<AliasInfo>,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedName {
    /// The namespace or alias.
    pub name: String,
}
