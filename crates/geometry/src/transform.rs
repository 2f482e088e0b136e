//! Moving points between spaces.
//!
//! The three models of hyperbolic space with one curvature are the same space in other
//! coordinates: the transform is an isometry. Between all other spaces it goes through the tangent
//! space at the base point: `exp_to(log_from(x))` in orthonormal coordinates there, components of a
//! product weighted by `√w`. That keeps distances and directions *from the base point* and no
//! others (no map could: the spaces have different curvature). Lorentzian space hands over its time
//! coordinate first, with the sign of its square lost.
//!
//! The inverse is the transform the other way. Where a sphere or Lorentzian space wraps around, it
//! exists only within a half turn of the base point, so a point that would land beyond is refused.

use std::f64::consts::PI;

use thiserror::Error;

use crate::maps::MapError;
use crate::numeric::{Shown, finite, norm, scaled, sinc, sinhc, tanhc};
use crate::point::PointError;
use crate::space::{Geometry, Model, Space};
use crate::{hyperboloid, klein, lorentzian, poincare};

/// Why a point has no image in another space.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The spaces have different intrinsic dimensions.
    #[error("a space of dimension {from} cannot be transformed into one of dimension {to}")]
    Dimension {
        /// Intrinsic dimension of the source.
        from: usize,
        /// Intrinsic dimension of the target.
        to: usize,
    },
    /// The vector is not a point of the source.
    #[error("not a point of the source space: {0}")]
    Source(#[source] PointError),
    /// No single direction leads from the base point of the source to the point.
    #[error("the point cannot be reached from the base point of the source space: {0}")]
    Unreachable(#[source] MapError),
    /// The image would lie beyond half a turn from the base point of the target, where other points
    /// have the same image: there would be no way back.
    #[error(
        "the point lies {:.4} from the base point; beyond {limit:.4} the {geometry} space wraps around and the transform has no inverse",
        Shown(.radius)
    )]
    BeyondInjectivity {
        /// The target's geometry.
        geometry: Geometry,
        /// Distance from the base point.
        radius: f64,
        /// Half a turn, `π/√c`.
        limit: f64,
    },
    /// The image cannot be held in f64.
    #[error("the image cannot be held: {0}")]
    Image(#[source] PointError),
}

/// The point of `to` that corresponds to `x` of `from`; see the module for what is kept.
///
/// # Errors
/// [`TransformError`].
pub fn transform(from: &Space, to: &Space, x: &[f64]) -> Result<Vec<f64>, TransformError> {
    from.check_domain(x).map_err(TransformError::Source)?;
    if from.dimension() != to.dimension() {
        return Err(TransformError::Dimension { from: from.dimension(), to: to.dimension() });
    }
    if from == to {
        return Ok(x.to_vec());
    }
    let mut image = Vec::with_capacity(to.ambient());
    if have_matching_parts(from, to) {
        for ((source, part), target) in from.split(x).zip(to.parts()) {
            image.extend(transform_part(&source, &target.model, part)?);
        }
    } else {
        let mut coordinates = Vec::with_capacity(from.dimension());
        for ((source, part), weighted) in from.split(x).zip(from.parts()) {
            let normal = source.to_normal(part).map_err(TransformError::Unreachable)?;
            coordinates.extend(scaled(weighted.weight.sqrt(), &normal));
        }
        let mut rest = coordinates.as_slice();
        for target in to.parts() {
            let (head, tail) = rest.split_at_checked(target.model.dimension).unwrap_or((rest, &[]));
            rest = tail;
            let normal = scaled(1.0 / target.weight.sqrt(), head);
            image.extend(target.model.at_normal(&normal)?);
        }
    }
    to.check_representable(&image).map_err(TransformError::Image)?;
    Ok(image)
}

impl Space {
    /// Whether [`transform`] to `other` keeps all distances: the same space, models of hyperbolic
    /// space with one curvature, or products of such pairs with equal weights.
    pub fn is_isometric_to(&self, other: &Self) -> bool {
        have_matching_parts(self, other)
            && self.parts().zip(other.parts()).all(|(a, b)| are_isometric(&a.model, &b.model))
    }
}

/// Whether components correspond one to one, so that each can be transformed by itself.
fn have_matching_parts(from: &Space, to: &Space) -> bool {
    from.parts().count() == to.parts().count()
        && from.parts().zip(to.parts()).all(|(a, b)| {
            a.model.dimension == b.model.dimension && a.weight.to_bits() == b.weight.to_bits()
        })
}

fn are_isometric(from: &Model, to: &Model) -> bool {
    let are_hyperbolic = from.geometry.is_hyperbolic() && to.geometry.is_hyperbolic();
    (are_hyperbolic || from.geometry == to.geometry)
        && from.curvature.to_bits() == to.curvature.to_bits()
}

fn transform_part(from: &Model, to: &Model, x: &[f64]) -> Result<Vec<f64>, TransformError> {
    if !are_isometric(from, to) {
        let normal = from.to_normal(x).map_err(TransformError::Unreachable)?;
        return to.at_normal(&normal);
    }
    Ok(match (from.geometry, to.geometry) {
        (Geometry::Poincare, Geometry::Hyperboloid) => {
            hyperboloid::lift(to, poincare::to_hyperboloid(from, x))
        }
        (Geometry::Poincare, Geometry::Klein) => poincare::to_klein(from, x),
        (Geometry::Klein, Geometry::Hyperboloid) => {
            hyperboloid::lift(to, klein::to_hyperboloid(from, x))
        }
        (Geometry::Klein, Geometry::Poincare) => klein::to_poincare(from, x),
        (Geometry::Hyperboloid, Geometry::Poincare) => hyperboloid::to_poincare(to, from.stored(x)),
        (Geometry::Hyperboloid, Geometry::Klein) => hyperboloid::to_klein(to, from.stored(x)),
        _ => x.to_vec(),
    })
}

impl Model {
    /// The logarithm at the base point in orthonormal coordinates: `n` numbers whose norm is the
    /// distance from the base point.
    fn to_normal(self, x: &[f64]) -> Result<Vec<f64>, MapError> {
        let along = |radius: f64, direction: &[f64]| {
            let length = norm(direction);
            let factor = if length == 0.0 { 0.0 } else { radius / length };
            scaled(factor, direction)
        };
        Ok(match self.geometry {
            Geometry::Euclidean => x.to_vec(),
            Geometry::Poincare => along(poincare::radius(&self, x), x),
            Geometry::Hyperboloid => {
                let spatial = self.stored(x);
                along(hyperboloid::radius(&self, spatial), spatial)
            }
            Geometry::Klein => {
                let spatial = klein::to_hyperboloid(&self, x);
                along(hyperboloid::radius(&self, &spatial), &spatial)
            }
            Geometry::Spherical => {
                self.check_not_antipodal(&self.base(), x)?;
                let (height, rest) = x.split_first().unwrap_or((&0.0, &[]));
                along(norm(rest).atan2(*height) / self.scale, rest)
            }
            Geometry::Lorentzian => without_second(&self.log(&self.base(), x)?),
        })
    }

    /// The inverse of [`Model::to_normal`].
    fn at_normal(self, normal: &[f64]) -> Result<Vec<f64>, TransformError> {
        let k = self.scale;
        let radius = norm(normal);
        Ok(match self.geometry {
            Geometry::Euclidean => normal.to_vec(),
            Geometry::Poincare => scaled(tanhc(k * radius / 2.0) / 2.0, normal),
            Geometry::Klein => scaled(tanhc(k * radius), normal),
            Geometry::Hyperboloid => hyperboloid::lift(&self, scaled(sinhc(k * radius), normal)),
            Geometry::Spherical => {
                self.check_injective(radius)?;
                let mut point = vec![(k * radius).cos() / k];
                point.extend(scaled(sinc(k * radius), normal));
                point
            }
            Geometry::Lorentzian => {
                let (time, rest) = normal.split_first().unwrap_or((&0.0, &[]));
                let length = norm(rest);
                let (over, sum) = ((length - time.abs()).max(0.0), length + time.abs());
                self.check_injective(over.sqrt() * sum.sqrt())?;
                let mut velocity = vec![*time, 0.0];
                velocity.extend_from_slice(rest);
                lorentzian::exp(&self, &self.base(), &velocity)
            }
        })
    }

    fn check_injective(&self, radius: f64) -> Result<(), TransformError> {
        let limit = PI / self.scale;
        if radius < limit * (1.0 - INJECTIVITY_MARGIN) {
            return Ok(());
        }
        let radius = finite(radius);
        Err(TransformError::BeyondInjectivity { geometry: self.geometry, radius, limit })
    }

    fn base(&self) -> Vec<f64> {
        let mut point = vec![0.0; self.ambient()];
        let index = usize::from(self.geometry == Geometry::Lorentzian);
        if let Some(coordinate) = point.get_mut(index) {
            *coordinate = 1.0 / self.scale;
        }
        point
    }
}

/// Keeps images clear of the antipode of the base point, which has no way back.
const INJECTIVITY_MARGIN: f64 = 8.0 * f64::EPSILON;

/// The coordinates of the tangent space at the Lorentzian base point `(0, 1/√c, 0, ...)`.
fn without_second(v: &[f64]) -> Vec<f64> {
    v.iter().enumerate().filter(|(index, _)| *index != 1).map(|(_, value)| *value).collect()
}
