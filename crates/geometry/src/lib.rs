//! Points, distances, maps and means on curved spaces, without any IO.

mod distance;
mod euclidean;
mod hyperboloid;
mod klein;
mod lorentzian;
mod maps;
mod numeric;
mod poincare;
mod point;
mod space;
mod spherical;

pub use distance::DistanceError;
pub use lorentzian::{CausalRelation, Interval, IntervalError, IntervalKind};
pub use maps::{MapError, TangentError};
pub use point::{PointError, Precision, UnknownPrecision};
pub use space::{
    Component, Geometry, MAX_COMPONENTS, MAX_CURVATURE, MAX_DIMENSION, MIN_CURVATURE, Space,
    SpaceError, UnknownGeometry,
};
