//! Search by examples.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Coordinates, Explain, Filter, Hit, Vector, object};

/// An example: a record by its id, or a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The id of a record, whose vector is the example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// As the record was stored with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// A point, in place of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
}

/// The nearest records to the mean of some examples, moved away from others. The examples
/// themselves are no hits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecommendRequest {
    /// What hits are to be like; at least one.
    pub positive: Vec<Example>,
    /// What they are to be unlike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub negative: Vec<Example>,
    /// How far to move away from the negative examples, in units of their mean distance; 1 when
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// The named vector; the default one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// At most this many hits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u64>,
    /// Hits at most this far from the point that the examples lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// As in a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef: Option<u64>,
    /// As in a search.
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
    /// Which coordinates the examples hold that are points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    /// Whether examples off the manifold are projected onto it rather than refused.
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
    /// As in a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
}

/// The hits, and the point that they are near to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecommendResponse {
    /// The point that the examples lead to, in ambient coordinates.
    pub query: Vector,
    /// Nearest first.
    pub hits: Vec<Hit>,
    /// Whether nothing can have been missed.
    pub exact: bool,
    /// Whether more lie within the radius than the node answers at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// How it was found, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
}
