//! What a point is: validation, projection, the form kept at rest, and how far from the base point
//! each precision can tell points apart.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::hyperboloid;
use crate::lorentzian;
use crate::numeric::{Shown, finite, norm, one_minus_norm_squared, scaled};
use crate::space::{Geometry, Model, Space};

/// The floating-point format in which points are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 24 significant bits.
    F32,
    /// 53 significant bits.
    F64,
}

impl Precision {
    /// Distance from 1 to the next number: 2^-23 or 2^-52.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::EPSILON),
            Self::F64 => f64::EPSILON,
        }
    }

    /// Largest finite number.
    fn largest(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::MAX),
            Self::F64 => f64::MAX,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// A name that is no precision.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown precision {name:?}: expected f32 or f64")]
pub struct UnknownPrecision {
    /// The name as given.
    pub name: String,
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "f32" => Ok(Self::F32),
            "f64" => Ok(Self::F64),
            _ => Err(UnknownPrecision { name: name.to_owned() }),
        }
    }
}

/// Why a vector is not a point of a space.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PointError {
    /// The number of coordinates is wrong.
    #[error(
        "{found} coordinates given, {expected} expected: {space} has dimension {dimension} and its points have {ambient} coordinates"
    )]
    WrongLength {
        /// Number of coordinates given.
        found: usize,
        /// Number of coordinates that would be right: `ambient`, or fewer in storage form.
        expected: usize,
        /// Intrinsic dimension of the space.
        dimension: usize,
        /// Number of coordinates of its points.
        ambient: usize,
        /// The space, for people.
        space: String,
    },
    /// A coordinate is NaN or infinite.
    #[error("coordinate {index} is {value}: coordinates must be finite numbers")]
    NonFinite {
        /// Index of the first such coordinate.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The coordinates do not satisfy the equation of the space.
    #[error(
        "not a point of the {geometry} space: {quantity} is {}, {} would be right (off by {off:.3e}, {tolerance:.3e} is tolerated)",
        Shown(.found), Shown(.expected)
    )]
    OffManifold {
        /// The geometry.
        geometry: Geometry,
        /// What was measured.
        quantity: &'static str,
        /// Its value; as the other numbers, at most the largest of f64.
        found: f64,
        /// The value that would satisfy the equation.
        expected: f64,
        /// How far apart the two are.
        off: f64,
        /// How far apart they may be at this precision.
        tolerance: f64,
    },
    /// The point lies on or outside the boundary of its ball.
    #[error("outside the {geometry} ball: the norm is {}, it must be below {bound}", Shown(.norm))]
    OutsideBall {
        /// The geometry.
        geometry: Geometry,
        /// Euclidean norm of the coordinates; at most the largest number of f64.
        norm: f64,
        /// Radius of the ball, `1/√c`.
        bound: f64,
    },
    /// The point is so far from the base point that the precision cannot tell it from others.
    #[error(
        "too far out for {precision}: radius {:.4}, at most {:.4} can be held in the {geometry} space",
        Shown(.radius), Shown(.limit)
    )]
    BeyondPrecision {
        /// The geometry.
        geometry: Geometry,
        /// The precision.
        precision: Precision,
        /// Distance from the base point; in Lorentzian space the rapidity over `√c`. At most the
        /// largest number of f64.
        radius: f64,
        /// The largest one that the precision holds.
        limit: f64,
    },
    /// The nearest point is not unique, so there is no projection.
    #[error("the {geometry} space has no point nearest to this vector: {why}")]
    NoProjection {
        /// The geometry.
        geometry: Geometry,
        /// The reason.
        why: &'static str,
    },
    /// A result is no number, since it or a step to it is beyond the largest of f64.
    #[error("{what} overflows: it is beyond the largest number of f64")]
    Overflow {
        /// What overflows.
        what: String,
    },
    /// One component of a product is at fault.
    #[error("component {component} (from coordinate {offset}): {source}")]
    InComponent {
        /// Index of the component.
        component: usize,
        /// Index of its first coordinate.
        offset: usize,
        /// What is wrong with it.
        source: Box<PointError>,
    },
}

impl Space {
    /// Checks that `x` is a point that `precision` can hold.
    ///
    /// Tolerances follow the precision and the conditioning: a client that computes in f32 cannot
    /// know the hyperboloid's `x0` better than to `eps·x0`, so that is the unit of tolerance there.
    /// `(64 + n)·eps` relative is allowed: `n` roundings of a sum over `n` coordinates, and a few
    /// dozen of the arithmetic that made the point.
    ///
    /// # Errors
    /// See [`PointError`].
    pub fn validate(&self, x: &[f64], precision: Precision) -> Result<(), PointError> {
        self.check_finite(x)?;
        self.for_each_part(x, |model, part| model.validate(part, precision))
    }

    /// The point of the space nearest to `x` in the sense natural to each geometry, such that it
    /// passes [`Space::validate`] at `precision`: the hyperboloid recomputes `x0` from the spatial
    /// coordinates, a ball pulls in what lies on its boundary or beyond, the sphere normalises,
    /// Lorentzian space keeps the time coordinate and rescales the spatial ones.
    ///
    /// Only what is off the space is moved. A point of it that lies farther out than `precision`
    /// can hold is refused as [`Space::validate`] refuses it: moved, it would be another point.
    ///
    /// # Errors
    /// A wrong length, a coordinate that is not finite, a vector without a nearest point (zero on
    /// the sphere), or a point too far out for `precision`.
    pub fn project(&self, x: &[f64], precision: Precision) -> Result<Vec<f64>, PointError> {
        self.check_finite(x)?;
        let mut result = Vec::with_capacity(x.len());
        self.for_each_part(x, |model, part| {
            result.extend(model.project(part, precision)?);
            Ok(())
        })?;
        Ok(result)
    }

    /// The coordinates kept at rest: a hyperboloid drops `x0`, which is recomputed on the way back
    /// (that is the projection, so a stored point is on the manifold whatever the precision); all
    /// others keep their ambient coordinates.
    pub fn to_storage(&self, x: &[f64]) -> Vec<f64> {
        let mut result = Vec::with_capacity(self.storage_len());
        for (model, part) in self.split(x) {
            result.extend_from_slice(model.stored(part));
        }
        result
    }

    /// Ambient coordinates of a point kept at rest.
    pub fn from_storage(&self, stored: &[f64]) -> Vec<f64> {
        let mut result = Vec::with_capacity(self.ambient());
        for (model, part) in self.split_storage(stored) {
            if model.geometry == Geometry::Hyperboloid {
                result.push(hyperboloid::time(&model, part));
            }
            result.extend_from_slice(part);
        }
        result
    }

    /// The point that everything is measured from: the centre of a ball, the apex of the
    /// hyperboloid, the origin, the pole `(1/√c, 0, ...)` of the sphere, and `(0, 1/√c, 0, ...)` of
    /// Lorentzian space.
    pub fn base_point(&self) -> Vec<f64> {
        let mut result = Vec::with_capacity(self.ambient());
        for part in self.parts() {
            let start = result.len();
            result.resize(start + part.model.ambient(), 0.0);
            let index = match part.model.geometry {
                Geometry::Hyperboloid | Geometry::Spherical => start,
                Geometry::Lorentzian => start + 1,
                Geometry::Poincare | Geometry::Klein | Geometry::Euclidean => continue,
            };
            if let Some(coordinate) = result.get_mut(index) {
                *coordinate = 1.0 / part.model.scale;
            }
        }
        result
    }

    /// Largest distance from the base point that `precision` can hold; infinite for a product,
    /// whose components have their own. See [`PointError::BeyondPrecision`].
    ///
    /// With eps the precision's, in units of curvature 1: the hyperboloid `ln(2/eps)`, where
    /// neighbouring directions are one unit apart; the Poincaré ball `ln(2/(4 eps))`, where the
    /// norm is four steps from 1; Klein half of that, since it squeezes twice as hard; Lorentzian
    /// `ln(2/√eps)`, where the inner product loses its unit; the sphere `π`; Euclidean a quarter of
    /// the root of the largest number, so that no squared distance overflows.
    pub fn radius_limit(&self, precision: Precision) -> f64 {
        self.single().map_or(f64::INFINITY, |model| model.radius_limit(precision))
    }

    pub(crate) fn check_length(&self, x: &[f64]) -> Result<(), PointError> {
        self.check_length_of(x, self.ambient())
    }

    pub(crate) fn check_length_of(&self, x: &[f64], expected: usize) -> Result<(), PointError> {
        if x.len() == expected {
            return Ok(());
        }
        Err(PointError::WrongLength {
            found: x.len(),
            expected,
            dimension: self.dimension(),
            ambient: self.ambient(),
            space: self.to_string(),
        })
    }

    /// Length and finiteness, which every operation needs of its arguments.
    pub(crate) fn check_finite(&self, x: &[f64]) -> Result<(), PointError> {
        self.check_length(x)?;
        match x.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            Some((index, value)) => Err(PointError::NonFinite { index, value: *value }),
            None => Ok(()),
        }
    }

    /// Length, finiteness, and that no coordinate leaves the domain of the formulas.
    pub(crate) fn check_domain(&self, x: &[f64]) -> Result<(), PointError> {
        self.check_finite(x)?;
        self.for_each_part(x, Model::check_domain)
    }

    /// That a result is a point at all: finite, inside its ball, and not so far out that its squared
    /// norm overflows. It may lie beyond what [`Space::validate`] admits for storage.
    pub(crate) fn check_representable(&self, x: &[f64]) -> Result<(), PointError> {
        self.check_length(x)?;
        check_no_overflow(x)?;
        self.for_each_part(x, Model::check_representable)
    }

    fn for_each_part(
        &self,
        x: &[f64],
        mut check: impl FnMut(&Model, &[f64]) -> Result<(), PointError>,
    ) -> Result<(), PointError> {
        if let Some(model) = self.single() {
            return check(&model, x);
        }
        let mut offset = 0;
        for (component, (model, part)) in self.split(x).enumerate() {
            check(&model, part).map_err(|source| PointError::InComponent {
                component,
                offset,
                source: Box::new(source),
            })?;
            offset += part.len();
        }
        Ok(())
    }

    /// The models of the space with their slices of `x`.
    pub(crate) fn split<'a>(&'a self, x: &'a [f64]) -> impl Iterator<Item = (Model, &'a [f64])> {
        split_by(self, x, Model::ambient)
    }

    /// The models of the space with their slices of a stored point.
    pub(crate) fn split_storage<'a>(
        &'a self,
        stored: &'a [f64],
    ) -> impl Iterator<Item = (Model, &'a [f64])> {
        split_by(self, stored, Model::storage_len)
    }
}

fn split_by<'a>(
    space: &'a Space,
    x: &'a [f64],
    length: impl Fn(&Model) -> usize + 'a,
) -> impl Iterator<Item = (Model, &'a [f64])> {
    let mut rest = x;
    space.parts().map(move |part| {
        let (head, tail) = rest.split_at_checked(length(&part.model)).unwrap_or((rest, &[]));
        rest = tail;
        (part.model, head)
    })
}

impl Model {
    /// The slice of ambient coordinates that is kept at rest.
    pub(crate) fn stored<'a>(&self, x: &'a [f64]) -> &'a [f64] {
        match (self.geometry, x) {
            (Geometry::Hyperboloid, [_, spatial @ ..]) => spatial,
            _ => x,
        }
    }

    /// See [`Space::radius_limit`].
    pub(crate) fn radius_limit(&self, precision: Precision) -> f64 {
        let eps = precision.epsilon();
        let unit = match self.geometry {
            Geometry::Hyperboloid => (2.0 / eps).ln(),
            Geometry::Poincare => (2.0 / (BOUNDARY_STEPS * eps)).ln(),
            Geometry::Klein => (2.0 / (BOUNDARY_STEPS * eps)).ln() / 2.0,
            Geometry::Lorentzian => (2.0 / eps.sqrt()).ln(),
            Geometry::Spherical => PI,
            Geometry::Euclidean => precision.largest().sqrt() / 4.0,
        };
        unit / self.scale
    }

    pub(crate) fn tolerance(&self, precision: Precision) -> f64 {
        (64.0 + self.dimension as f64) * precision.epsilon()
    }

    fn check_radius(&self, radius: f64, precision: Precision) -> Result<(), PointError> {
        let limit = self.radius_limit(precision);
        if radius <= limit {
            return Ok(());
        }
        let (geometry, radius) = (self.geometry, finite(radius));
        Err(PointError::BeyondPrecision { geometry, precision, radius, limit })
    }

    fn check_equation(
        &self,
        quantity: &'static str,
        found: f64,
        expected: f64,
        precision: Precision,
    ) -> Result<(), PointError> {
        let off = finite((found - expected).abs());
        let tolerance = self.tolerance(precision) * finite(expected.abs());
        if off <= tolerance {
            return Ok(());
        }
        let (found, expected) = (finite(found), finite(expected));
        let geometry = self.geometry;
        Err(PointError::OffManifold { geometry, quantity, found, expected, off, tolerance })
    }

    fn validate(&self, x: &[f64], precision: Precision) -> Result<(), PointError> {
        self.check_domain(x)?;
        self.check_reach(x, precision)?;
        match self.geometry {
            Geometry::Euclidean | Geometry::Poincare | Geometry::Klein => Ok(()),
            Geometry::Hyperboloid => {
                let expected = hyperboloid::time(self, self.stored(x));
                let found = x.first().copied().unwrap_or(f64::NAN);
                self.check_equation("the time coordinate x0", found, expected, precision)
            }
            Geometry::Spherical => {
                self.check_equation("the norm", norm(x), 1.0 / self.scale, precision)
            }
            Geometry::Lorentzian => {
                let expected = lorentzian::spatial_norm(self, x);
                let found = norm(x.get(1..).unwrap_or(&[]));
                let quantity = "the norm of the spatial coordinates";
                self.check_equation(quantity, found, expected, precision)
            }
        }
    }

    /// That the point is not farther out than `precision` can hold.
    fn check_reach(&self, x: &[f64], precision: Precision) -> Result<(), PointError> {
        match self.geometry {
            Geometry::Spherical => Ok(()),
            Geometry::Euclidean => self.check_radius(norm(x), precision),
            Geometry::Hyperboloid => {
                self.check_radius(hyperboloid::radius(self, self.stored(x)), precision)
            }
            Geometry::Lorentzian => self.check_radius(lorentzian::rapidity(self, x), precision),
            Geometry::Poincare | Geometry::Klein => {
                let gap = self.boundary_gap(x);
                if gap >= BOUNDARY_STEPS * precision.epsilon() {
                    return Ok(());
                }
                let half = if self.geometry == Geometry::Klein { 0.5 } else { 1.0 };
                let radius = half * ((2.0 - gap) / gap.max(0.0)).ln() / self.scale;
                let limit = self.radius_limit(precision);
                Err(PointError::BeyondPrecision {
                    geometry: self.geometry,
                    precision,
                    radius,
                    limit,
                })
            }
        }
    }

    /// `1 - √c·|x|` of a ball, without cancellation and for coordinates of any size.
    fn boundary_gap(&self, x: &[f64]) -> f64 {
        let length = self.scale * norm(x);
        if length >= 2.0 {
            // Far outside nothing cancels, and the squares may overflow.
            return 1.0 - length;
        }
        one_minus_norm_squared(self.c(), x) / (1.0 + length)
    }

    fn check_representable(&self, x: &[f64]) -> Result<(), PointError> {
        let (geometry, precision) = (self.geometry, Precision::F64);
        if !matches!(geometry, Geometry::Hyperboloid | Geometry::Lorentzian) {
            return self.check_reach(x, precision);
        }
        let limit = LARGEST_RADIUS / self.scale;
        let radius = match geometry {
            Geometry::Hyperboloid => hyperboloid::radius(self, self.stored(x)),
            _ => lorentzian::rapidity(self, x),
        };
        if radius <= limit {
            return Ok(());
        }
        Err(PointError::BeyondPrecision { geometry, precision, radius, limit })
    }

    fn check_domain(&self, x: &[f64]) -> Result<(), PointError> {
        match self.geometry {
            Geometry::Poincare | Geometry::Klein if self.boundary_gap(x) <= 0.0 => {
                let (norm, bound) = (finite(norm(x)), 1.0 / self.scale);
                Err(PointError::OutsideBall { geometry: self.geometry, norm, bound })
            }
            _ => Ok(()),
        }
    }

    fn project(&self, x: &[f64], precision: Precision) -> Result<Vec<f64>, PointError> {
        let geometry = self.geometry;
        match geometry {
            Geometry::Euclidean => {
                self.check_radius(norm(x), precision)?;
                Ok(x.to_vec())
            }
            Geometry::Poincare | Geometry::Klein => {
                if self.boundary_gap(x) > 0.0 {
                    self.check_reach(x, precision)?;
                    return Ok(x.to_vec());
                }
                let unit = unit_vector(x).unwrap_or_else(|| x.to_vec());
                // Twice the steps that validation asks for, so that rounding cannot undo it.
                let norm = (1.0 - 2.0 * BOUNDARY_STEPS * precision.epsilon()) / self.scale;
                Ok(scaled(norm, &unit))
            }
            Geometry::Hyperboloid => {
                let spatial = self.stored(x);
                self.check_radius(hyperboloid::radius(self, spatial), precision)?;
                Ok(hyperboloid::lift(self, spatial.to_vec()))
            }
            Geometry::Spherical => {
                let why = "zero is equally far from all points of the sphere";
                let unit = unit_vector(x).ok_or(PointError::NoProjection { geometry, why })?;
                Ok(scaled(1.0 / self.scale, &unit))
            }
            Geometry::Lorentzian => {
                self.check_radius(lorentzian::rapidity(self, x), precision)?;
                let why = "its spatial coordinates are all zero";
                let (time, spatial) =
                    x.split_first().ok_or(PointError::NoProjection { geometry, why })?;
                let unit =
                    unit_vector(spatial).ok_or(PointError::NoProjection { geometry, why })?;
                let mut result = vec![*time];
                result.extend(scaled(lorentzian::spatial_norm(self, x), &unit));
                Ok(result)
            }
        }
    }
}

/// That every coordinate of a result is a number.
pub(crate) fn check_no_overflow(x: &[f64]) -> Result<(), PointError> {
    match x.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(PointError::Overflow { what: format!("coordinate {index}") }),
        None => Ok(()),
    }
}

/// Radius, in units of curvature 1, up to which the square of a norm (`sinh²`) is a finite number.
const LARGEST_RADIUS: f64 = 350.0;

/// How many eps a ball's norm must stay away from the boundary.
const BOUNDARY_STEPS: f64 = 4.0;

/// `x/|x|`, safe from overflow and underflow; nothing for zero.
fn unit_vector(x: &[f64]) -> Option<Vec<f64>> {
    let largest = x.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return None;
    }
    let tame: Vec<f64> = x.iter().map(|value| value / largest).collect();
    let length = norm(&tame);
    Some(tame.iter().map(|value| value / length).collect())
}
