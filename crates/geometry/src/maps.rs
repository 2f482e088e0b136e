//! The maps between a space and its tangent spaces: exponential map, logarithm, parallel transport,
//! geodesics, and the inner product of tangent vectors.
//!
//! A tangent vector has as many coordinates as a point. In a ball its coordinates are those of the
//! ball (its length is measured by [`Space::inner`]); on the hyperboloid, the sphere and in
//! Lorentzian space it is a vector of the surrounding space, orthogonal to its point.

use std::convert::Infallible;

use thiserror::Error;

use crate::lorentzian::Pair;
use crate::numeric::{dot, exponent_of, finite, is_plain, ldexp, norm, scaled_by_power};
use crate::point::{PointError, Precision, check_no_overflow};
use crate::space::{Geometry, Model, Space};
use crate::{euclidean, hyperboloid, klein, lorentzian, poincare, spherical};

/// Why a vector is not a tangent vector.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TangentError {
    /// The number of coordinates is wrong.
    #[error("{found} coordinates given, {expected} expected: as many as the point has")]
    WrongLength {
        /// Number of coordinates given.
        found: usize,
        /// Number of coordinates of a point.
        expected: usize,
    },
    /// A coordinate is NaN or infinite.
    #[error("coordinate {index} is {value}: coordinates must be finite numbers")]
    NonFinite {
        /// Index of the first such coordinate.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The vector leaves the tangent space of its point.
    #[error(
        "not tangent to the {geometry} space at its point: the normal part is {normal:.3e}, {tolerance:.3e} is tolerated; project it first"
    )]
    NotTangent {
        /// The geometry.
        geometry: Geometry,
        /// Size of the part that is not tangent; at most the largest number of f64.
        normal: f64,
        /// How large it may be.
        tolerance: f64,
    },
}

/// Why a map has no value.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The first argument is not a point.
    #[error("first point: {0}")]
    First(#[source] PointError),
    /// The second argument is not a point.
    #[error("second point: {0}")]
    Second(#[source] PointError),
    /// A tangent vector is not one.
    #[error("tangent vector: {0}")]
    Tangent(#[source] TangentError),
    /// The points are a half turn apart: infinitely many geodesics join them.
    #[error(
        "the points are antipodal in the {geometry} space: infinitely many geodesics join them, so no direction leads from one to the other"
    )]
    Antipodal {
        /// The geometry.
        geometry: Geometry,
    },
    /// No geodesic joins the points.
    #[error(
        "no geodesic joins the points: c⟨x,y⟩ is {inner}, and below -1 (or at -1, unless antipodal) there is none in a lorentzian space"
    )]
    NoGeodesic {
        /// `c⟨x,y⟩`.
        inner: f64,
    },
    /// The share of the way is NaN or infinite.
    #[error("t is {t}: it must be a finite number")]
    Share {
        /// The share given.
        t: f64,
    },
    /// The result lies too far out to be held, or overflows.
    #[error("the result cannot be held: {0}")]
    Result(#[source] PointError),
    /// The operation is defined on the Poincaré ball only.
    #[error("{operation} is an operation of the poincare ball, not of {space}")]
    NotPoincare {
        /// The operation.
        operation: &'static str,
        /// The space, for people.
        space: String,
    },
}

impl Space {
    /// The point that the geodesic from `x` with initial velocity `v` reaches at time 1.
    ///
    /// # Errors
    /// [`MapError`]: `x` or `v` is not what it should be, or the result lies farther out than f64
    /// can hold.
    pub fn exp(&self, x: &[f64], v: &[f64]) -> Result<Vec<f64>, MapError> {
        self.check_domain(x).map_err(MapError::First)?;
        self.check_tangent(x, v)?;
        let mut result = Vec::with_capacity(x.len());
        for ((model, x), (_, v)) in self.split(x).zip(self.split(v)) {
            result.extend(model.exp(x, v));
        }
        self.check_result(result)
    }

    /// The initial velocity of the geodesic that leads from `x` to `y` in time 1: the inverse of
    /// [`Space::exp`].
    ///
    /// # Errors
    /// [`MapError`]: a bad point; antipodes; points of a Lorentzian space without a geodesic; a
    /// vector that overflows.
    pub fn log(&self, x: &[f64], y: &[f64]) -> Result<Vec<f64>, MapError> {
        self.check_pair(x, y)?;
        let mut result = Vec::with_capacity(x.len());
        for ((model, x), (_, y)) in self.split(x).zip(self.split(y)) {
            result.extend(model.log(x, y)?);
        }
        finite_tangent(result)
    }

    /// Carries the tangent vector `v` at `x` along the geodesic to `y`, keeping lengths and angles.
    ///
    /// # Errors
    /// As [`Space::log`], and if `v` is not tangent at `x`.
    pub fn transport(&self, x: &[f64], y: &[f64], v: &[f64]) -> Result<Vec<f64>, MapError> {
        self.check_pair(x, y)?;
        self.check_tangent(x, v)?;
        let mut result = Vec::with_capacity(x.len());
        let parts = self.split(x).zip(self.split(y)).zip(self.split(v));
        for (((model, x), (_, y)), (_, v)) in parts {
            result.extend(linear(v, |v| model.transport(x, y, v))?);
        }
        finite_tangent(result)
    }

    /// The point at share `t` of the geodesic from `x` (0) to `y` (1). Values outside 0..1 continue
    /// it.
    ///
    /// # Errors
    /// As [`Space::log`], and if `t` is not finite or the result lies farther out than f64 can
    /// hold.
    pub fn geodesic(&self, x: &[f64], y: &[f64], t: f64) -> Result<Vec<f64>, MapError> {
        self.check_pair(x, y)?;
        if !t.is_finite() {
            return Err(MapError::Share { t });
        }
        let mut result = Vec::with_capacity(x.len());
        for ((model, x), (_, y)) in self.split(x).zip(self.split(y)) {
            result.extend(model.geodesic(x, y, t)?);
        }
        self.check_result(result)
    }

    /// The point half-way between `x` and `y`.
    ///
    /// # Errors
    /// As [`Space::geodesic`].
    pub fn midpoint(&self, x: &[f64], y: &[f64]) -> Result<Vec<f64>, MapError> {
        self.geodesic(x, y, 0.5)
    }

    /// Inner product of two tangent vectors at `x` in the metric of the space; a product adds its
    /// components' by weight. In Lorentzian space it may be negative.
    ///
    /// # Errors
    /// [`MapError`]: `x`, `u` or `v` is not what it should be, or the product overflows.
    pub fn inner(&self, x: &[f64], u: &[f64], v: &[f64]) -> Result<f64, MapError> {
        self.check_domain(x).map_err(MapError::First)?;
        self.check_tangent(x, u)?;
        self.check_tangent(x, v)?;
        let parts = self.split(x).zip(self.split(u)).zip(self.split(v)).zip(self.parts());
        let terms = parts
            .map(|((((model, x), (_, u)), (_, v)), part)| part.weight * model.wide_inner(x, u, v));
        let inner: f64 = terms.sum();
        if inner.is_finite() {
            return Ok(inner);
        }
        Err(MapError::Result(PointError::Overflow { what: "the inner product".to_owned() }))
    }

    /// The tangent vector at `x` nearest to `v`. The hyperboloid keeps the spatial coordinates and
    /// recomputes the time coordinate, as [`Space::project`] does; the sphere and Lorentzian space
    /// remove the normal part; elsewhere every vector is tangent.
    ///
    /// # Errors
    /// [`MapError`]: a bad point, a vector of wrong length or not finite, or a result that
    /// overflows.
    pub fn project_tangent(&self, x: &[f64], v: &[f64]) -> Result<Vec<f64>, MapError> {
        self.check_domain(x).map_err(MapError::First)?;
        self.check_tangent_finite(v)?;
        let mut result = Vec::with_capacity(x.len());
        for ((model, x), (_, v)) in self.split(x).zip(self.split(v)) {
            result.extend(model.project_tangent(x, v));
        }
        finite_tangent(result)
    }

    /// Möbius addition `x ⊕ y` in the Poincaré ball: for small vectors their sum, otherwise the
    /// point that the translation by `x` takes `y` to. Neither commutative nor associative.
    ///
    /// # Errors
    /// [`MapError`]: a bad point, another space, or a sum on the boundary.
    pub fn mobius_add(&self, x: &[f64], y: &[f64]) -> Result<Vec<f64>, MapError> {
        let model = self.poincare_model("mobius_add")?;
        self.check_pair(x, y)?;
        let (x_alpha, y_alpha) = (poincare::alpha(&model, x), poincare::alpha(&model, y));
        self.check_result(poincare::mobius_add(&model, x, x_alpha, y, y_alpha))
    }

    /// Möbius scalar multiplication `t ⊗ x` in the Poincaré ball: the point on the ray through `x`
    /// at `t` times its distance from the centre.
    ///
    /// # Errors
    /// [`MapError`]: a bad point, another space, `t` not finite, or a result on the boundary.
    pub fn mobius_scalar(&self, t: f64, x: &[f64]) -> Result<Vec<f64>, MapError> {
        let model = self.poincare_model("mobius_scalar")?;
        self.check_domain(x).map_err(MapError::First)?;
        if !t.is_finite() {
            return Err(MapError::Share { t });
        }
        self.check_result(poincare::mobius_scalar(&model, t, x))
    }

    fn poincare_model(&self, operation: &'static str) -> Result<Model, MapError> {
        self.single()
            .filter(|model| model.geometry == Geometry::Poincare)
            .ok_or_else(|| MapError::NotPoincare { operation, space: self.to_string() })
    }

    fn check_pair(&self, x: &[f64], y: &[f64]) -> Result<(), MapError> {
        self.check_domain(x).map_err(MapError::First)?;
        self.check_domain(y).map_err(MapError::Second)
    }

    fn check_tangent_finite(&self, v: &[f64]) -> Result<(), MapError> {
        let (found, expected) = (v.len(), self.ambient());
        if found != expected {
            return Err(MapError::Tangent(TangentError::WrongLength { found, expected }));
        }
        match v.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            Some((index, value)) => {
                Err(MapError::Tangent(TangentError::NonFinite { index, value: *value }))
            }
            None => Ok(()),
        }
    }

    fn check_tangent(&self, x: &[f64], v: &[f64]) -> Result<(), MapError> {
        self.check_tangent_finite(v)?;
        for ((model, x), (_, v)) in self.split(x).zip(self.split(v)) {
            model.check_tangent(x, v).map_err(MapError::Tangent)?;
        }
        Ok(())
    }

    /// A result must be a point that f64 can hold: callers may store it.
    fn check_result(&self, x: Vec<f64>) -> Result<Vec<f64>, MapError> {
        match self.check_representable(&x) {
            Ok(()) => Ok(x),
            Err(error) => Err(MapError::Result(error)),
        }
    }
}

/// A tangent vector whose coordinates are all numbers.
fn finite_tangent(v: Vec<f64>) -> Result<Vec<f64>, MapError> {
    check_no_overflow(&v).map_err(MapError::Result)?;
    Ok(v)
}

/// Exponents within which a few products of coordinates neither over- nor underflow.
const TAME: i32 = 300;

/// What a map that is linear in `v` makes of it. Where `v` is so small that products in between
/// would underflow, or so large that they do overflow, the map is applied to `v` scaled by a power
/// of two.
fn linear<E>(v: &[f64], map: impl Fn(&[f64]) -> Result<Vec<f64>, E>) -> Result<Vec<f64>, E> {
    let power = exponent_of(v);
    if power >= -TAME {
        let result = map(v)?;
        if result.iter().all(|value| value.is_finite()) {
            return Ok(result);
        }
    }
    Ok(scaled_by_power(&map(&scaled_by_power(v, -power))?, power))
}

impl Model {
    /// Tangency up to what a client that computes in f32 can achieve; what remains is removed by
    /// [`Model::project_tangent`] before use.
    fn check_tangent(&self, x: &[f64], v: &[f64]) -> Result<(), TangentError> {
        let power = exponent_of(v);
        if power.abs() <= TAME {
            return self.check_tame_tangent(x, v);
        }
        let checked = self.check_tame_tangent(x, &scaled_by_power(v, -power));
        checked.map_err(|error| match error {
            TangentError::NotTangent { geometry, normal, tolerance } => TangentError::NotTangent {
                geometry,
                normal: finite(ldexp(normal, power)),
                tolerance: finite(ldexp(tolerance, power)),
            },
            other => other,
        })
    }

    fn check_tame_tangent(&self, x: &[f64], v: &[f64]) -> Result<(), TangentError> {
        let (normal, size) = match self.geometry {
            Geometry::Poincare | Geometry::Klein | Geometry::Euclidean => return Ok(()),
            Geometry::Hyperboloid => {
                let found = v.first().copied().unwrap_or(0.0);
                let expected = hyperboloid::tangent_time(self, self.stored(x), self.stored(v));
                ((found - expected).abs(), norm(v))
            }
            Geometry::Spherical => ((self.scale * dot(x, v)).abs(), norm(v)),
            Geometry::Lorentzian => {
                let normal = (self.scale * lorentzian::minkowski(x, v)).abs();
                (normal, self.scale * norm(x) * norm(v))
            }
        };
        let tolerance = self.tolerance(Precision::F32) * size;
        if normal <= tolerance {
            return Ok(());
        }
        let (normal, tolerance) = (finite(normal), finite(tolerance));
        Err(TangentError::NotTangent { geometry: self.geometry, normal, tolerance })
    }

    pub(crate) fn project_tangent(&self, x: &[f64], v: &[f64]) -> Vec<f64> {
        let project = |v: &[f64]| match self.geometry {
            Geometry::Poincare | Geometry::Klein | Geometry::Euclidean => v.to_vec(),
            Geometry::Hyperboloid => {
                hyperboloid::lift_tangent(self, self.stored(x), self.stored(v).to_vec())
            }
            Geometry::Spherical => spherical::project_tangent(self, x, v),
            Geometry::Lorentzian => lorentzian::project_tangent(self, x, v),
        };
        let Ok(result) = linear(v, |v| Ok::<_, Infallible>(project(v)));
        result
    }

    pub(crate) fn exp(&self, x: &[f64], v: &[f64]) -> Vec<f64> {
        match self.geometry {
            Geometry::Euclidean => euclidean::exp(x, v),
            Geometry::Poincare => poincare::exp(self, x, v),
            Geometry::Hyperboloid => {
                hyperboloid::lift(self, hyperboloid::exp(self, self.stored(x), self.stored(v)))
            }
            Geometry::Klein => {
                let lifted = klein::tangent_to_hyperboloid(self, x, v);
                let end = hyperboloid::exp(self, &klein::to_hyperboloid(self, x), &lifted);
                hyperboloid::to_klein(self, &end)
            }
            Geometry::Spherical => spherical::exp(self, x, &self.project_tangent(x, v)),
            Geometry::Lorentzian => lorentzian::exp(self, x, &self.project_tangent(x, v)),
        }
    }

    pub(crate) fn log(&self, x: &[f64], y: &[f64]) -> Result<Vec<f64>, MapError> {
        Ok(match self.geometry {
            Geometry::Euclidean => euclidean::log(x, y),
            Geometry::Poincare => poincare::log(self, x, y),
            Geometry::Hyperboloid => {
                let spatial = hyperboloid::log(self, self.stored(x), self.stored(y));
                hyperboloid::lift_tangent(self, self.stored(x), spatial)
            }
            Geometry::Klein => {
                let (x, y) = (klein::to_hyperboloid(self, x), klein::to_hyperboloid(self, y));
                klein::tangent_from_hyperboloid(self, &x, &hyperboloid::log(self, &x, &y))
            }
            Geometry::Spherical => {
                self.check_not_antipodal(x, y)?;
                spherical::log(self, x, y)
            }
            Geometry::Lorentzian => lorentzian::log(self, x, y, &self.joined_pair(x, y)?),
        })
    }

    fn transport(&self, x: &[f64], y: &[f64], v: &[f64]) -> Result<Vec<f64>, MapError> {
        Ok(match self.geometry {
            Geometry::Euclidean => v.to_vec(),
            Geometry::Poincare => poincare::transport(self, x, y, v),
            Geometry::Hyperboloid => {
                let y = self.stored(y);
                let moved = hyperboloid::transport(self, self.stored(x), y, self.stored(v));
                hyperboloid::lift_tangent(self, y, moved)
            }
            Geometry::Klein => {
                let lifted = klein::tangent_to_hyperboloid(self, x, v);
                let (x, y) = (klein::to_hyperboloid(self, x), klein::to_hyperboloid(self, y));
                let moved = hyperboloid::transport(self, &x, &y, &lifted);
                klein::tangent_from_hyperboloid(self, &y, &moved)
            }
            Geometry::Spherical => {
                self.check_not_antipodal(x, y)?;
                spherical::transport(x, y, &spherical::project_tangent(self, x, v))
            }
            Geometry::Lorentzian => {
                let pair = self.joined_pair(x, y)?;
                lorentzian::transport(x, y, &lorentzian::project_tangent(self, x, v), &pair)
            }
        })
    }

    fn geodesic(&self, x: &[f64], y: &[f64], t: f64) -> Result<Vec<f64>, MapError> {
        Ok(match self.geometry {
            Geometry::Euclidean => euclidean::geodesic(x, y, t),
            Geometry::Poincare => poincare::geodesic(self, x, y, t),
            Geometry::Hyperboloid => {
                let (x, y) = (self.stored(x), self.stored(y));
                hyperboloid::lift(self, hyperboloid::geodesic(self, x, y, t))
            }
            Geometry::Klein => {
                let (x, y) = (klein::to_hyperboloid(self, x), klein::to_hyperboloid(self, y));
                hyperboloid::to_klein(self, &hyperboloid::geodesic(self, &x, &y, t))
            }
            Geometry::Spherical => {
                self.check_not_antipodal(x, y)?;
                spherical::geodesic(self, x, y, t)
            }
            Geometry::Lorentzian => lorentzian::geodesic(self, x, y, t, &self.joined_pair(x, y)?),
        })
    }

    pub(crate) fn inner(&self, x: &[f64], u: &[f64], v: &[f64]) -> f64 {
        match self.geometry {
            Geometry::Euclidean | Geometry::Spherical => dot(u, v),
            Geometry::Poincare => poincare::inner(self, x, u, v),
            Geometry::Hyperboloid => {
                hyperboloid::inner(self, self.stored(x), self.stored(u), self.stored(v))
            }
            Geometry::Klein => {
                let u = klein::tangent_to_hyperboloid(self, x, u);
                let v = klein::tangent_to_hyperboloid(self, x, v);
                hyperboloid::inner(self, &klein::to_hyperboloid(self, x), &u, &v)
            }
            Geometry::Lorentzian => lorentzian::minkowski(u, v),
        }
    }

    /// [`Model::inner`] of vectors of any size: where products under- or overflow, of both scaled
    /// by powers of two.
    fn wide_inner(&self, x: &[f64], u: &[f64], v: &[f64]) -> f64 {
        let plain = self.inner(x, u, v);
        if is_plain(plain.abs()) {
            return plain;
        }
        let (u_power, v_power) = (exponent_of(u), exponent_of(v));
        if plain.is_finite() && u_power + v_power >= 0 {
            // Small by cancellation: scaling down could only take digits away.
            return plain;
        }
        let scaled = self.inner(x, &scaled_by_power(u, -u_power), &scaled_by_power(v, -v_power));
        ldexp(scaled, u_power + v_power)
    }

    pub(crate) fn check_not_antipodal(&self, x: &[f64], y: &[f64]) -> Result<(), MapError> {
        if spherical::are_antipodal(self, x, y) {
            return Err(MapError::Antipodal { geometry: self.geometry });
        }
        Ok(())
    }

    /// The pair of Lorentzian points, if exactly one geodesic joins them.
    fn joined_pair(&self, x: &[f64], y: &[f64]) -> Result<Pair, MapError> {
        let pair = Pair::new(self, x, y, Precision::F64.epsilon());
        if pair.overflows() {
            let what = "the interval between the points".to_owned();
            return Err(MapError::Result(PointError::Overflow { what }));
        }
        if pair.is_antipodal {
            return Err(MapError::Antipodal { geometry: self.geometry });
        }
        if pair.kind == lorentzian::IntervalKind::Disconnected {
            return Err(MapError::NoGeodesic { inner: 1.0 - pair.gap / 2.0 });
        }
        Ok(pair)
    }
}
