//! Points, distances, maps and means on curved spaces, without any IO.

mod distance;
mod hyperboloid;
mod klein;
mod lorentzian;
mod numeric;
mod poincare;
mod point;
mod space;

pub use distance::DistanceError;
pub use point::{PointError, Precision, UnknownPrecision};
pub use space::{
    Component, Geometry, MAX_COMPONENTS, MAX_CURVATURE, MAX_DIMENSION, MIN_CURVATURE, Space,
    SpaceError, UnknownGeometry,
};
