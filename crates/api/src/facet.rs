//! The values of a field, and how many records have each.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{Filter, object};

/// Counts records by the values of a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FacetsRequest {
    /// A field of the metadata, nested ones with dots, or `$kind` or `$region`.
    pub field: String,
    /// Which records.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Filter>,
    /// Most values, the most frequent ones; 10 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A value and its count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FacetValue {
    /// A text, a number, `true`, `false` or `null`.
    #[schema(value_type = Object)]
    pub value: Value,
    /// How many records have it, or have a list that holds it.
    pub count: u64,
}

/// The most frequent values, those of equal counts in the order of values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FacetsResponse {
    /// Most frequent first.
    pub values: Vec<FacetValue>,
    /// Whether the counts are right and no value is missing. Otherwise there were more distinct
    /// values than the node holds at once (`limits.facet_values`).
    pub exact: bool,
}
