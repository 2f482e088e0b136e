//! Intervals of a Lorentzian (de Sitter) space, which rank without being a metric.

use hvs_geometry::{Precision, Space};

/// Ranks by the length of the geodesic that joins two points.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    space: Space,
    precision: Precision,
}

impl Interval {
    pub(crate) fn of(space: &Space, precision: Precision) -> Self {
        Self { space: space.clone(), precision }
    }

    pub(crate) fn stored(&self) -> usize {
        self.space.storage_len()
    }

    /// The magnitude of the interval, infinite if no geodesic joins the two. Points are stored as
    /// they are in Lorentzian space.
    pub(crate) fn magnitude(&self, x: &[f64], y: &[f64]) -> f64 {
        let interval = self.space.interval(x, y, self.precision);
        interval.ok().and_then(|interval| interval.length).unwrap_or(f64::INFINITY)
    }
}
