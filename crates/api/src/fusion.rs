//! Fusing the orders by vector and by text.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reciprocal-rank fusion: a record scores weight / (k + rank), summed over the orders that it is
/// in. What is left out takes its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fusion {
    /// How little the first ranks stand out; 60 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u64>,
    /// How much each order counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<FusionWeights>,
    /// How many records of each order are fused, at least the k of the search; when left out, four
    /// times that, but at least 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<u64>,
}

/// How much each order counts; above 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FusionWeights {
    /// Of the order by vector; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<f64>,
    /// Of the order by text; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
}

/// Where a hit stands in the orders that were fused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HitRanks {
    /// 1 for the nearest; absent if it was not among the candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<u64>,
    /// 1 for the best text; absent if it was not among the candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<u64>,
    /// BM25, if the hit has a rank by text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_score: Option<f64>,
}
