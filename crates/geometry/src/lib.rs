//! Points, distances, maps and means on curved spaces, without any IO.

pub mod choice;
pub mod cost;
mod distance;
mod euclidean;
pub mod golden;
pub mod hierarchy;
mod hyperboloid;
mod klein;
mod lorentzian;
mod maps;
mod mean;
mod mean_step;
mod numeric;
mod poincare;
mod point;
mod random;
mod space;
mod spherical;
mod transform;

pub use distance::DistanceError;
pub use lorentzian::{CausalRelation, Interval, IntervalError, IntervalKind};
pub use maps::{MapError, TangentError};
pub use mean::{FrechetMean, MAX_MEAN_ITERATIONS, MeanError};
pub use point::{PointError, Precision, UnknownPrecision};
pub use random::RandomPointError;
pub use space::{
    Component, Geometry, MAX_COMPONENTS, MAX_CURVATURE, MAX_DIMENSION, MIN_CURVATURE, Space,
    SpaceError, UnknownGeometry,
};
pub use transform::{TransformError, transform};
