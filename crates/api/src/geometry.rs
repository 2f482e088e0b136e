//! Geometry operations.
//!
//! Points are in the ambient coordinates of their space, time first; tangent vectors likewise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Precision, Problem, SpaceInfo, SpaceSpec, Vector, object};

/// Two points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PairRequest {
    /// The space of both.
    pub space: SpaceSpec,
    /// The first point.
    pub x: Vector,
    /// The second point.
    pub y: Vector,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PointRequest {
    /// Its space.
    pub space: SpaceSpec,
    /// The point.
    pub x: Vector,
}

/// A point and a tangent vector there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TangentRequest {
    /// The space.
    pub space: SpaceSpec,
    /// The base point.
    pub x: Vector,
    /// The tangent vector at x.
    pub v: Vector,
}

/// A point and two tangent vectors there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InnerRequest {
    /// The space.
    pub space: SpaceSpec,
    /// The base point.
    pub x: Vector,
    /// A tangent vector at x.
    pub u: Vector,
    /// Another tangent vector at x.
    pub v: Vector,
}

/// A tangent vector to move along the geodesic between two points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransportRequest {
    /// The space.
    pub space: SpaceSpec,
    /// Where v is tangent.
    pub x: Vector,
    /// Where it is moved to.
    pub y: Vector,
    /// The tangent vector at x.
    pub v: Vector,
}

/// A point on the geodesic from x (t = 0) to y (t = 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeodesicRequest {
    /// The space.
    pub space: SpaceSpec,
    /// The start.
    pub x: Vector,
    /// The end.
    pub y: Vector,
    /// The parameter; beyond 0 and 1 the geodesic goes on.
    pub t: f64,
}

/// A scalar and a point of the Poincaré ball.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// The space.
    pub space: SpaceSpec,
    /// The scalar.
    pub r: f64,
    /// The point.
    pub x: Vector,
}

/// Which mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeanKind {
    /// The point with the least weighted sum of squared distances.
    #[default]
    Frechet,
    /// The normalised weighted sum in Lorentz coordinates; hyperbolic spaces.
    LorentzCentroid,
    /// Ungar's gyro-midpoint; hyperbolic spaces.
    GyroMidpoint,
}

/// The mean of points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MeanRequest {
    /// The space.
    pub space: SpaceSpec,
    /// The points, one or more.
    pub points: Vec<Vector>,
    /// One weight of zero or more per point; equal when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
    /// Which mean; `frechet` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MeanKind>,
}

/// A point to examine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateRequest {
    /// The space.
    pub space: SpaceSpec,
    /// The point.
    pub x: Vector,
    /// The precision that is to hold it; `f64` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// Whether a point would be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ValidateResponse {
    /// Whether it would.
    pub valid: bool,
    /// Why it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The space as understood.
    pub space: SpaceInfo,
}

/// A point to carry from one space into another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformRequest {
    /// The space of x.
    pub from: SpaceSpec,
    /// The space of the answer.
    pub to: SpaceSpec,
    /// The point.
    pub x: Vector,
}

/// A distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DistanceResponse {
    /// In f64.
    pub distance: f64,
}

/// A scalar product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InnerResponse {
    /// In f64.
    pub inner: f64,
}

/// A point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointResponse {
    /// In ambient coordinates.
    pub point: Vector,
}

/// A tangent vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TangentResponse {
    /// In the coordinates of the space.
    pub tangent: Vector,
}

/// The interval between two events of a Lorentzian space, and how they can affect one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IntervalResponse {
    /// `timelike`, `lightlike`, `spacelike` or `none` where no geodesic joins them.
    pub kind: String,
    /// The length of the geodesic; absent for `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Of y as seen from x: `future`, `past`, `same` or `unrelated`.
    pub relation: String,
}

/// An option and what it costs: time τ, memory μ, energy ε and money $.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CostOption {
    /// For the answer.
    pub name: String,
    /// Time, memory, energy, money.
    pub cost: [f64; 4],
}

/// Options to choose among.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CostRequest {
    /// The options, their names distinct.
    pub options: Vec<CostOption>,
    /// The most that may be spent of each; unlimited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<[f64; 4]>,
    /// What a unit of each is worth; 1 each when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<[f64; 4]>,
    /// How much of each counts as one unit; 1 each when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<[f64; 4]>,
}

/// The choice among options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostResponse {
    /// The best under the weights; absent when nothing is within the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,
    /// Within the budget and dominated by no other, from past to future.
    pub front: Vec<String>,
    /// Within the budget.
    pub admissible: Vec<String>,
    /// Why each other option lost, by name.
    pub rejected: BTreeMap<String, String>,
}

/// The interval between two costs, −dτ² + dμ² + dε² + d$².
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CostIntervalRequest {
    /// Time, memory, energy, money.
    pub a: [f64; 4],
    /// Time, memory, energy, money.
    pub b: [f64; 4],
    /// How much of each counts as one unit; 1 each when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<[f64; 4]>,
}

/// What is known about data, to choose a geometry for them: declared traits, or a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseRequest {
    /// Declared traits, each from 0 to 1: `hierarchy`, `temporal`, `cyclic`, `flat`.
    #[serde(
        default,
        deserialize_with = "object::optional_unique",
        skip_serializing_if = "Option::is_none"
    )]
    pub traits: Option<BTreeMap<String, f64>>,
    /// A symmetric matrix of distances between a sample of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<Vec<Vec<f64>>>,
    /// A sample of the data as points, compared by their Euclidean distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<Vector>>,
    /// Directed relations between items of the data, by their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<Vec<[u64; 2]>>,
    /// The time of each item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<f64>>,
}

/// The geometry chosen and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChooseResponse {
    /// The geometry, or `product`.
    pub geometry: String,
    /// The geometries of a product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Why.
    pub reason: String,
    /// What was measured, by name.
    pub evidence: BTreeMap<String, f64>,
}
