//! How a request names a space.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One geometry, or a weighted product of several.
///
/// A single space is `geometry` with `dimension` and `curvature`; a product is `components` alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpaceSpec {
    /// `poincare`, `hyperboloid`, `klein`, `euclidean`, `spherical` or `lorentzian`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<String>,
    /// The intrinsic dimension n. May be left out where a request also holds points, and follows
    /// from the number of their coordinates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// Signed: negative for the hyperbolic models, 0 for Euclidean, positive for spherical and
    /// Lorentzian. Left out: -1, 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// The factors of a product; d² is the weighted sum of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<ComponentSpec>>,
}

/// One factor of a product space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentSpec {
    /// As in [`SpaceSpec`].
    pub geometry: String,
    /// The intrinsic dimension of the factor.
    pub dimension: u64,
    /// As in [`SpaceSpec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// The weight of the factor's squared distance, positive; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// A space as the node understood it: nothing left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpaceInfo {
    /// The geometry, or `product`.
    pub geometry: String,
    /// The intrinsic dimension n; of a product the sum.
    pub dimension: u64,
    /// How many coordinates a point has.
    pub ambient: u64,
    /// The signed curvature; of a product nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// The factors of a product, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentSpec>,
    /// Whether its distance obeys the triangle inequality; false for Lorentzian spaces.
    pub metric: bool,
}
