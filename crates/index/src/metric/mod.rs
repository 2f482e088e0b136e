//! Ranking rows: what vectors are turned into, once, so that comparing two of them is cheap.
//!
//! Every hyperbolic model uses one row, whatever its curvature: the direction u as seen from the
//! origin, then sinh(r)/2, e^(r/2)/√2 and e^(-r/2)/√2 of its distance r in units of curvature 1.
//! The key of two rows is sinh²(d/2), computed without transcendental functions and without
//! subtracting large numbers from each other, good to the last digit at any radius (the polar
//! half-angle form of the hyperbolic law of cosines). Twelve dimensions give 16 lanes, one cache
//! line of f32.
//!
//! Spherical and Euclidean rows are the coordinates, their key is the squared straight-line
//! distance. A product's row is its components' rows one after the other.
//!
//! A Lorentzian space has no rows: its intervals are no metric, so nothing can be ranked cheaply,
//! and every search compares stored vectors.

mod formula;
mod interval;
pub(crate) mod kernel;
mod lane;
mod shape;
#[cfg(test)]
mod tests;

use hvs_geometry::Space;

pub(crate) use self::{
    formula::POLAR_EXTRA,
    interval::Interval,
    lane::Lane,
    shape::{OutOfRange, Shape},
};
use self::{
    formula::{Polar, PolarAny, Product, Straight, StraightAny},
    kernel::Kernel,
};

/// One weighted component of a product.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) shape: Shape,
    pub(crate) weight: f64,
}

#[derive(Debug, Clone)]
enum Layout {
    Single(Shape),
    Product(Vec<Part>),
}

/// How the vectors of one index are turned into rows of `T` and compared.
pub(crate) struct Metric<T> {
    space: Space,
    layout: Layout,
    lanes: usize,
    stored: usize,
    kernel: Box<dyn Kernel<T>>,
}

/// A query in every form that a search needs.
pub(crate) struct Query<T> {
    /// For the kernels.
    pub(crate) row: Vec<T>,
    /// For final distances.
    stored: Vec<f64>,
}

impl<T> Query<T> {
    /// In storage form.
    pub(crate) fn stored(&self) -> &[f64] {
        &self.stored
    }
}

impl<T: Lane> Metric<T> {
    /// The metric of a space, `None` when the space has none (Lorentzian components).
    pub(crate) fn of(space: &Space) -> Option<Self> {
        let layout = if let Some(shape) = Shape::of(space) {
            Layout::Single(shape)
        } else {
            let mut parts = Vec::new();
            for component in space.components() {
                parts.push(Part { shape: Shape::of(&component.space)?, weight: component.weight });
            }
            if parts.is_empty() {
                return None;
            }
            Layout::Product(parts)
        };
        Some(Self::with(space, layout))
    }

    fn with(space: &Space, layout: Layout) -> Self {
        let (lanes, stored, kernel) = match &layout {
            Layout::Single(shape) => (shape.lanes(), shape.stored(), single_kernel(*shape)),
            Layout::Product(parts) => (
                parts.iter().map(|part| part.shape.lanes()).sum(),
                parts.iter().map(|part| part.shape.stored()).sum(),
                kernel::kernel(Product { parts: parts.clone() }),
            ),
        };
        Self { space: space.clone(), layout, lanes, stored, kernel }
    }

    /// The space whose distances keys stand for.
    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    /// The distance that a key stands for.
    pub(crate) fn distance_of_key(&self, key: f64) -> f64 {
        match &self.layout {
            Layout::Single(shape) => shape.distance(key),
            Layout::Product(_) => key.max(0.0).sqrt(),
        }
    }

    /// Numbers in a row.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Coordinates in storage form.
    pub(crate) fn stored(&self) -> usize {
        self.stored
    }

    /// The loops over rows.
    pub(crate) fn kernel(&self) -> &dyn Kernel<T> {
        self.kernel.as_ref()
    }

    /// The components with their weights; a single space is one of weight 1.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Shape, f64)> {
        let (single, product) = match &self.layout {
            Layout::Single(shape) => (Some((*shape, 1.0)), None),
            Layout::Product(parts) => {
                (None, Some(parts.iter().map(|part| (part.shape, part.weight))))
            }
        };
        single.into_iter().chain(product.into_iter().flatten())
    }

    /// Whether distances are put together from components.
    pub(crate) fn is_product(&self) -> bool {
        matches!(self.layout, Layout::Product(_))
    }

    /// Appends the row of a vector in storage form.
    pub(crate) fn encode(&self, stored: &[f64], row: &mut Vec<T>) -> Result<(), OutOfRange> {
        let mut rest = stored;
        let start = row.len();
        for (shape, _) in self.parts() {
            let Some((coordinates, others)) = rest.split_at_checked(shape.stored()) else {
                row.truncate(start);
                return Err(OutOfRange);
            };
            if let Err(error) = shape.encode(coordinates, row) {
                row.truncate(start);
                return Err(error);
            }
            rest = others;
        }
        Ok(())
    }

    /// A query from a vector in storage form.
    pub(crate) fn query(&self, stored: &[f64]) -> Result<Query<T>, OutOfRange> {
        let mut row = Vec::with_capacity(self.lanes);
        self.encode(stored, &mut row)?;
        Ok(Query { row, stored: stored.to_vec() })
    }

    /// The distance in f64 of the query and a stored vector, as the geometry defines it; infinite
    /// if the vector cannot be one of this index.
    pub(crate) fn true_distance(&self, query: &Query<T>, stored: &[f64]) -> f64 {
        self.space.stored_distance(&query.stored, stored).unwrap_or(f64::INFINITY)
    }

    /// Raises `reach`, the largest size per component, to cover a row.
    pub(crate) fn extend_reach(&self, row: &[T], reach: &mut Vec<f64>) {
        reach.resize(self.parts().count(), 0.0);
        let mut rest = row;
        for ((shape, _), reach) in self.parts().zip(reach) {
            let Some((part, others)) = rest.split_at_checked(shape.lanes()) else { return };
            *reach = reach.max(shape.size(part));
            rest = others;
        }
    }

    /// A distance that every row whose computed key is at least `key` truly has, given that no
    /// row is larger than `reach`: what the rounding of rows and keys cannot have hidden.
    pub(crate) fn at_least(&self, query: &Query<T>, key: f64, reach: &[f64]) -> f64 {
        let error = self.error(query, reach);
        let relative = 1.0 - self.rounding();
        match &self.layout {
            Layout::Single(shape) => shape.distance_off(key, relative, -error),
            Layout::Product(_) => (key.sqrt() * relative - error).max(0.0),
        }
    }

    /// The largest key that a row within `radius` can have been computed to have.
    pub(crate) fn key_limit(&self, query: &Query<T>, radius: f64, reach: &[f64]) -> f64 {
        let error = self.error(query, reach);
        let relative = 1.0 + self.rounding();
        match &self.layout {
            Layout::Single(shape) => shape.key_off(radius, relative, error),
            Layout::Product(_) => (radius * relative + error).powi(2),
        }
    }

    /// The relative error of a sum over the lanes, generously.
    fn rounding(&self) -> f64 {
        (32.0 + self.lanes as f64 / 4.0) * T::EPSILON
    }

    /// How far off a computed distance may be (a chord for a sphere).
    fn error(&self, query: &Query<T>, reach: &[f64]) -> f64 {
        let mut rest = query.row.as_slice();
        let mut square = 0.0;
        for ((shape, weight), &reach) in self.parts().zip(reach) {
            let Some((part, others)) = rest.split_at_checked(shape.lanes()) else { break };
            let error = shape.error(shape.size(part), reach, T::EPSILON);
            if matches!(self.layout, Layout::Single(_)) {
                return error;
            }
            square += weight * shape.arc_error(error).powi(2);
            rest = others;
        }
        square.sqrt()
    }
}

/// The kernel for rows of one shape; common widths are compiled with their length known.
fn single_kernel<T: Lane>(shape: Shape) -> Box<dyn Kernel<T>> {
    if shape.is_hyperbolic() {
        return match shape.lanes() - formula::POLAR_EXTRA {
            4 => kernel::kernel(Polar::<4>),
            8 => kernel::kernel(Polar::<8>),
            12 => kernel::kernel(Polar::<12>),
            16 => kernel::kernel(Polar::<16>),
            20 => kernel::kernel(Polar::<20>),
            32 => kernel::kernel(Polar::<32>),
            64 => kernel::kernel(Polar::<64>),
            _ => kernel::kernel(PolarAny),
        };
    }
    match shape.lanes() {
        4 => kernel::kernel(Straight::<4>),
        8 => kernel::kernel(Straight::<8>),
        16 => kernel::kernel(Straight::<16>),
        32 => kernel::kernel(Straight::<32>),
        52 => kernel::kernel(Straight::<52>),
        64 => kernel::kernel(Straight::<64>),
        128 => kernel::kernel(Straight::<128>),
        _ => kernel::kernel(StraightAny),
    }
}
