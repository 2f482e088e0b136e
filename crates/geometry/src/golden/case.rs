//! Reference cases, and the fields of the file that they come from.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::EvaluationError;
use crate::hyperboloid;
use crate::lorentzian::{Interval, IntervalKind};
use crate::numeric::{norm, scaled};
use crate::point::Precision;
use crate::space::{Geometry, Space, SpaceError, UnknownGeometry};

/// An operation that reference cases exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Geodesic distance of `x` and `y`.
    Distance,
    /// Möbius addition `x ⊕ y`.
    MobiusAdd,
    /// Exponential map at `x` of `v`.
    Exp,
    /// Logarithm at `x` of `y`.
    Log,
    /// Parallel transport of `v` from `x` to `y`.
    Transport,
    /// The point at share `t` of the way from `x` to `y`.
    Geodesic,
    /// `x` in the Poincaré ball.
    ToPoincare,
    /// `x` on the hyperboloid.
    ToHyperboloid,
    /// `x` in the Klein ball.
    ToKlein,
    /// Weighted Fréchet mean of the points.
    FrechetMean,
    /// Weighted Lorentz centroid of the points.
    Centroid,
    /// Weighted gyro-midpoint of the points.
    GyroMidpoint,
    /// Lorentzian interval of `x` and `y`.
    Interval,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 13] = [
        Self::Distance,
        Self::MobiusAdd,
        Self::Exp,
        Self::Log,
        Self::Transport,
        Self::Geodesic,
        Self::ToPoincare,
        Self::ToHyperboloid,
        Self::ToKlein,
        Self::FrechetMean,
        Self::Centroid,
        Self::GyroMidpoint,
        Self::Interval,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Distance => "distance",
            Self::MobiusAdd => "mobius_add",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Transport => "transport",
            Self::Geodesic => "geodesic",
            Self::ToPoincare => "to_poincare",
            Self::ToHyperboloid => "to_hyperboloid",
            Self::ToKlein => "to_klein",
            Self::FrechetMean => "frechet_mean",
            Self::Centroid => "centroid",
            Self::GyroMidpoint => "gyro_midpoint",
            Self::Interval => "interval",
        }
    }

    pub(super) fn target(self) -> Option<Geometry> {
        match self {
            Self::ToPoincare => Some(Geometry::Poincare),
            Self::ToHyperboloid => Some(Geometry::Hyperboloid),
            Self::ToKlein => Some(Geometry::Klein),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Operation {
    type Err = CaseError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
            .ok_or_else(|| CaseError::Operation { name: name.to_owned() })
    }
}

/// The fields of a case in the file, its decimal strings parsed. Absent ones are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// `geometry`.
    pub geometry: String,
    /// `op`.
    pub op: String,
    /// `c`, the magnitude of the curvature; 1 if absent.
    pub c: Option<f64>,
    /// `x`, ambient coordinates.
    pub x: Option<Vec<f64>>,
    /// `y`, ambient coordinates.
    pub y: Option<Vec<f64>>,
    /// `v`, coordinates of a tangent vector at `x`.
    pub v: Option<Vec<f64>>,
    /// `x_spatial`: without the time coordinate.
    pub x_spatial: Option<Vec<f64>>,
    /// `y_spatial`.
    pub y_spatial: Option<Vec<f64>>,
    /// `v_spatial`.
    pub v_spatial: Option<Vec<f64>>,
    /// `x0`: time coordinate of a Lorentzian point.
    pub x0: Option<f64>,
    /// `y0`.
    pub y0: Option<f64>,
    /// `x_dir`: direction of its spatial part.
    pub x_dir: Option<Vec<f64>>,
    /// `y_dir`.
    pub y_dir: Option<Vec<f64>>,
    /// `t`, share of the way.
    pub t: Option<f64>,
    /// `points`, ambient coordinates.
    pub points: Option<Vec<Vec<f64>>>,
    /// `points_spatial`.
    pub points_spatial: Option<Vec<Vec<f64>>>,
    /// `weights`.
    pub weights: Option<Vec<f64>>,
    /// `normalize`: project `x` and `y` first.
    pub normalize: bool,
    /// `inner`, with an interval: `c⟨x,y⟩`.
    pub inner: Option<f64>,
    /// `kind`, with an interval.
    pub kind: Option<String>,
    /// `out`, if it is one number.
    pub out_number: Option<f64>,
    /// `out`, if it is a list.
    pub out_vector: Option<Vec<f64>>,
}

/// How a vector is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Coordinates {
    /// All ambient coordinates.
    Ambient(Vec<f64>),
    /// All but the time coordinate, which follows.
    Spatial(Vec<f64>),
    /// The time coordinate, and the direction of the spatial ones, whose length follows.
    TimeAndDirection {
        /// Time coordinate.
        time: f64,
        /// Direction, of any length but zero.
        direction: Vec<f64>,
    },
}

/// What an operation yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A distance.
    Number(f64),
    /// A point or tangent vector.
    Vector(Vec<f64>),
    /// A Lorentzian interval.
    Interval(Interval),
}

/// One reference case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The geometry of the inputs.
    pub geometry: Geometry,
    /// The operation.
    pub operation: Operation,
    /// Magnitude of the curvature.
    pub c: f64,
    /// First point.
    pub x: Option<Coordinates>,
    /// Second point.
    pub y: Option<Coordinates>,
    /// Tangent vector at `x`.
    pub v: Option<Coordinates>,
    /// Share of the way.
    pub t: Option<f64>,
    /// Points to average.
    pub points: Vec<Coordinates>,
    /// Their weights.
    pub weights: Option<Vec<f64>>,
    /// Whether `x` and `y` are to be projected first.
    pub normalize: bool,
    /// The reference value.
    pub expected: Value,
}

/// What is wrong with a case.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CaseError {
    /// No such geometry.
    #[error(transparent)]
    Geometry(#[from] UnknownGeometry),
    /// No such operation.
    #[error("unknown operation {name:?}")]
    Operation {
        /// Its name.
        name: String,
    },
    /// No such kind of interval.
    #[error("unknown kind {name:?}: expected timelike, lightlike, spacelike or none")]
    Kind {
        /// Its name.
        name: String,
    },
    /// A field is needed.
    #[error("{operation} needs the field {field:?}")]
    Missing {
        /// The operation.
        operation: Operation,
        /// The field.
        field: &'static str,
    },
    /// A direction of length zero.
    #[error("the direction of a spatial part must not be zero")]
    NoDirection,
}

impl Case {
    /// Makes a case of the fields of a file.
    ///
    /// # Errors
    /// [`CaseError`]: an unknown name, or no expected value.
    pub fn new(fields: Fields) -> Result<Self, CaseError> {
        let geometry: Geometry = fields.geometry.parse()?;
        let operation: Operation = fields.op.parse()?;
        let missing = |field| CaseError::Missing { operation, field };
        let expected = if operation == Operation::Interval {
            let name = fields.kind.ok_or(missing("kind"))?;
            Value::Interval(Interval {
                kind: kind_of(&name).ok_or(CaseError::Kind { name })?,
                length: fields.out_number,
                inner: fields.inner.ok_or(missing("inner"))?,
            })
        } else if operation == Operation::Distance {
            Value::Number(fields.out_number.ok_or(missing("out"))?)
        } else {
            Value::Vector(fields.out_vector.ok_or(missing("out"))?)
        };
        let points = match (fields.points, fields.points_spatial) {
            (Some(points), _) => points.into_iter().map(Coordinates::Ambient).collect(),
            (None, Some(points)) => points.into_iter().map(Coordinates::Spatial).collect(),
            (None, None) => Vec::new(),
        };
        Ok(Self {
            geometry,
            operation,
            c: fields.c.unwrap_or(1.0),
            x: coordinates(fields.x, fields.x_spatial, fields.x0, fields.x_dir),
            y: coordinates(fields.y, fields.y_spatial, fields.y0, fields.y_dir),
            v: coordinates(fields.v, fields.v_spatial, None, None),
            t: fields.t,
            points,
            weights: fields.weights,
            normalize: fields.normalize,
            expected,
        })
    }

    pub(super) fn space(&self) -> Result<Space, SpaceError> {
        let dimension = [&self.x, &self.y].into_iter().flatten().chain(&self.points).next();
        let dimension = dimension.map_or(0, |first| match first {
            Coordinates::Ambient(x) => match self.geometry {
                Geometry::Hyperboloid | Geometry::Spherical | Geometry::Lorentzian => {
                    x.len().saturating_sub(1)
                }
                _ => x.len(),
            },
            Coordinates::Spatial(x) => x.len(),
            Coordinates::TimeAndDirection { direction, .. } => direction.len(),
        });
        let sign = self.geometry.default_curvature();
        let curvature = if self.geometry == Geometry::Euclidean { 0.0 } else { sign * self.c };
        Space::new(self.geometry, dimension, curvature)
    }

    pub(super) fn point(
        &self,
        space: &Space,
        field: &'static str,
    ) -> Result<Vec<f64>, EvaluationError> {
        let given = if field == "y" { &self.y } else { &self.x };
        let given =
            given.as_ref().ok_or(CaseError::Missing { operation: self.operation, field })?;
        let point = ambient(space, given)?;
        if self.normalize {
            return Ok(space.project(&point, Precision::F64)?);
        }
        Ok(point)
    }

    pub(super) fn points(&self, space: &Space) -> Result<Vec<Vec<f64>>, EvaluationError> {
        let points: Result<_, CaseError> =
            self.points.iter().map(|given| ambient(space, given)).collect();
        Ok(points?)
    }

    pub(super) fn tangent(
        &self,
        space: &Space,
        field: &'static str,
    ) -> Result<Vec<f64>, EvaluationError> {
        let missing = CaseError::Missing { operation: self.operation, field };
        let x = self.point(space, "x")?;
        match self.v.as_ref().ok_or(missing.clone())? {
            Coordinates::Ambient(v) => Ok(v.clone()),
            Coordinates::Spatial(spatial) => {
                let mut v = vec![0.0];
                v.extend_from_slice(spatial);
                Ok(space.project_tangent(&x, &v)?)
            }
            Coordinates::TimeAndDirection { .. } => Err(missing.into()),
        }
    }

    pub(super) fn share(&self) -> Result<f64, CaseError> {
        self.t.ok_or(CaseError::Missing { operation: self.operation, field: "t" })
    }
}

fn kind_of(name: &str) -> Option<IntervalKind> {
    let kinds = [
        IntervalKind::Timelike,
        IntervalKind::Lightlike,
        IntervalKind::Spacelike,
        IntervalKind::Disconnected,
    ];
    kinds.into_iter().find(|kind| kind.name() == name)
}

fn coordinates(
    ambient: Option<Vec<f64>>,
    spatial: Option<Vec<f64>>,
    time: Option<f64>,
    direction: Option<Vec<f64>>,
) -> Option<Coordinates> {
    let with_time = time
        .zip(direction)
        .map(|(time, direction)| Coordinates::TimeAndDirection { time, direction });
    ambient.map(Coordinates::Ambient).or(spatial.map(Coordinates::Spatial)).or(with_time)
}

fn ambient(space: &Space, given: &Coordinates) -> Result<Vec<f64>, CaseError> {
    match given {
        Coordinates::Ambient(x) => Ok(x.clone()),
        Coordinates::Spatial(spatial) => Ok(match space.single() {
            Some(model) if model.geometry == Geometry::Hyperboloid => {
                hyperboloid::lift(&model, spatial.clone())
            }
            _ => spatial.clone(),
        }),
        Coordinates::TimeAndDirection { time, direction } => {
            let length = norm(direction);
            if length == 0.0 {
                return Err(CaseError::NoDirection);
            }
            let scale = space.curvature().abs().sqrt();
            let mut point = vec![*time];
            point.extend(scaled((1.0 / scale).hypot(*time) / length, direction));
            Ok(point)
        }
    }
}
