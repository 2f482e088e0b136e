//! Search.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{Coordinates, Filter, Fusion, HitRanks, Vector, object};

/// The nearest records to a point, within a radius, or both; the records whose text fits best; or,
/// with a vector and a text, both orders fused into one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The query point. Left out, `text` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
    /// Words that records are to have, one of them at least, in the text fields of a namespace
    /// whose index is HYBRID. Nothing in it is syntax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How the orders by vector and by text become one; only beside both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// The named vector to search; the default one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// At most this many hits. Without it, a radius, and as many as the node allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u64>,
    /// Hits at most this far away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// How widely the graph is searched: more finds more and takes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef: Option<u64>,
    /// How many lists of an IVF index are looked into: more finds more and takes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nprobe: Option<u64>,
    /// Look at every vector, so that nothing is missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Only records that match.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Filter>,
    /// Only records of this partition key: one shard is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Which coordinates the query holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    /// The geometry that the query is given in, where it is not the namespace's; it is
    /// transformed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<String>,
    /// The curvature that the query is given in. Left out: the namespace's own if the geometry is
    /// the same or both are models of hyperbolic space, else the usual one of the geometry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// Whether a query off the manifold is projected onto it rather than refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<bool>,
    /// Whether hits carry the vector that was compared; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_vectors: Option<bool>,
    /// Whether hits carry metadata; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_metadata: Option<bool>,
    /// Whether the answer says how it was found; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
    /// Whether the answer of an equal search may be given again for as long as nothing has changed;
    /// true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// Gather hits by the values of a field, in place of `k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// Most groups; 10 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// Most hits of a group; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<u64>,
}

/// The hits that have one value of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// The value.
    #[schema(value_type = Object)]
    pub value: Value,
    /// Nearest first; ranks count within the group.
    pub hits: Vec<Hit>,
}

/// One record found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hit {
    /// The record's id.
    pub id: String,
    /// The distance of the space, in f64. In a Lorentzian space the magnitude of the interval.
    /// Absent without a query point, and where a record found by its text has no such vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// By vector 1 / (1 + distance): 1 for the query itself, towards 0 far away. By text BM25.
    /// By both the fused score.
    pub score: f64,
    /// 1 for the best.
    pub rank: u64,
    /// Where the hit stands in each of the orders that were fused, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<HitRanks>,
    /// The vector that was compared, in ambient coordinates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
    /// The record's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// The record's region, if it has one; with the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The record's kind; with the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The hits, best first. Equal distances from several shards, and equal fused scores, are in the
/// order of the ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchResponse {
    /// Nearest first; none if they are in groups.
    pub hits: Vec<Hit>,
    /// With `group_by`: the groups, that of the nearest hit first. Left out without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group>>,
    /// Whether nothing can have been missed.
    pub exact: bool,
    /// Whether more lie within the radius than the node answers at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// How it was found, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
}

/// How a search was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explain {
    /// One per shard and index that was asked.
    pub shards: Vec<ShardExplain>,
    /// The time within the indexes, summed, in microseconds.
    pub index_us: f64,
    /// The time from the decoded request to the answer, in microseconds.
    pub total_us: f64,
}

/// How one shard answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShardExplain {
    /// The shard's number.
    pub shard: u64,
    /// The planner's choice: `graph`, `lists`, `bounds` or `scan`; behind a filter also `matching`,
    /// `over_fetch`, `filtered_graph` or `graph_then_scan`; `text` for the index of text; of an
    /// ordered scroll `ordered_index` or `ordered_scan`.
    pub strategy: String,
    /// How many vectors were compared, where it is known, how many records had a word of the text,
    /// or how many were looked at.
    pub scanned: u64,
    /// Whether this shard missed nothing.
    pub exact: bool,
    /// At most so many records match the filter; absent without one, or while the shard still
    /// indexes its metadata after a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<u64>,
    /// The fields of the filter that the index of metadata knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexed: Vec<String>,
    /// Those that it does not: records that may match are looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unindexed: Vec<String>,
    /// Whether this is the answer to an equal search before, since which nothing has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// The time within the index, in microseconds.
    pub index_us: f64,
}

/// Several searches in one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchSearchRequest {
    /// The searches.
    pub searches: Vec<SearchRequest>,
}

/// One answer per search, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchSearchResponse {
    /// In the order of the searches.
    pub results: Vec<SearchResponse>,
}
