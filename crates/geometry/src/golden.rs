//! Evaluation of reference cases: what a library computed against what HVS computes, and how far
//! the two may differ.
//!
//! A case's inputs are exact f64 numbers, its outputs have more digits than f64. A bound is the
//! *conditioning* of the operation, how much its result moves when the inputs move by one rounding,
//! times a small constant; so a good implementation passes however extreme the points are, and a
//! formula that loses digits does not. The private module `bounds` derives each one.

mod bounds;
mod case;

use thiserror::Error;

pub use case::{Case, CaseError, Coordinates, Fields, Operation, Value};

use crate::lorentzian::IntervalError;
use crate::maps::MapError;
use crate::mean::MeanError;
use crate::point::{PointError, Precision};
use crate::space::{Geometry, Space, SpaceError};
use crate::transform::{TransformError, transform};
use crate::{DistanceError, numeric};

/// What came of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What HVS computes.
    pub value: Value,
    /// Relative error of the expected value against it, in the Euclidean norm for vectors; absolute
    /// where HVS has zero. Infinite if they differ in kind or length.
    pub error: f64,
    /// The error that conditioning allows.
    pub bound: f64,
}

impl Outcome {
    /// Whether the error is within its bound.
    pub fn passes(&self) -> bool {
        self.error <= self.bound
    }
}

/// Why a case has no outcome.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The case lacks a field, or one has the wrong form.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The space cannot exist.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// An input is not a point.
    #[error(transparent)]
    Point(#[from] PointError),
    /// The distance does not exist.
    #[error(transparent)]
    Distance(#[from] DistanceError),
    /// The map has no value.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The mean does not exist.
    #[error(transparent)]
    Mean(#[from] MeanError),
    /// The interval does not exist.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// The transform does not exist.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// No bound is known for this operation on this geometry.
    #[error("{operation} cases are not supported for {geometry}")]
    Unsupported {
        /// The geometry.
        geometry: Geometry,
        /// The operation.
        operation: Operation,
    },
}

/// Computes a case and compares.
///
/// # Errors
/// [`EvaluationError`] if it cannot be computed; a wrong expected value is no error but an outcome
/// that does not pass.
pub fn evaluate(case: &Case) -> Result<Outcome, EvaluationError> {
    let space = case.space()?;
    let unsupported =
        || EvaluationError::Unsupported { geometry: case.geometry, operation: case.operation };
    let (value, condition) = match case.operation {
        Operation::Distance => {
            let (x, y) = (case.point(&space, "x")?, case.point(&space, "y")?);
            let value = Value::Number(space.distance(&x, &y)?);
            (value, bounds::distance(&space, &x, &y).ok_or_else(unsupported)?)
        }
        Operation::Exp => {
            let (x, v) = (case.point(&space, "x")?, case.tangent(&space, "v")?);
            let end = space.exp(&x, &v)?;
            let condition = bounds::exp(&space, &x, &v, &end).ok_or_else(unsupported)?;
            (Value::Vector(end), condition)
        }
        Operation::Log => {
            let (x, y) = (case.point(&space, "x")?, case.point(&space, "y")?);
            let direction = space.log(&x, &y)?;
            let condition = bounds::log(&space, &x, &y, &direction).ok_or_else(unsupported)?;
            (Value::Vector(direction), condition)
        }
        Operation::Transport => {
            let (x, y) = (case.point(&space, "x")?, case.point(&space, "y")?);
            let v = case.tangent(&space, "v")?;
            let moved = space.transport(&x, &y, &v)?;
            let condition =
                bounds::transport(&space, &x, &y, &v, &moved).ok_or_else(unsupported)?;
            (Value::Vector(moved), condition)
        }
        Operation::Geodesic => {
            let (x, y) = (case.point(&space, "x")?, case.point(&space, "y")?);
            let t = case.share()?;
            let point = space.geodesic(&x, &y, t)?;
            let condition = bounds::geodesic(&space, &x, &y, t, &point).ok_or_else(unsupported)?;
            (Value::Vector(point), condition)
        }
        Operation::MobiusAdd => {
            let (x, y) = (case.point(&space, "x")?, case.point(&space, "y")?);
            let sum = space.mobius_add(&x, &y)?;
            let condition = bounds::mobius_add(&space, &x, &y, &sum).ok_or_else(unsupported)?;
            (Value::Vector(sum), condition)
        }
        Operation::ToPoincare | Operation::ToHyperboloid | Operation::ToKlein => {
            let x = case.point(&space, "x")?;
            let target = case.operation.target().ok_or_else(unsupported)?;
            let target = Space::new(target, space.dimension(), space.curvature())?;
            let image = transform(&space, &target, &x)?;
            let condition = bounds::transform(&space, &target, &x).ok_or_else(unsupported)?;
            (Value::Vector(image), condition)
        }
        Operation::FrechetMean | Operation::Centroid | Operation::GyroMidpoint => {
            let points = case.points(&space)?;
            let weights = case.weights.as_deref();
            let mean = match case.operation {
                Operation::FrechetMean => space.frechet_mean(&points, weights)?.point,
                Operation::GyroMidpoint => space.gyro_midpoint(&points, weights)?,
                _ => space.lorentz_centroid(&points, weights)?,
            };
            let condition = bounds::mean(&space, &points, &mean).ok_or_else(unsupported)?;
            (Value::Vector(mean), condition)
        }
        Operation::Interval => return evaluate_interval(case, &space),
    };
    let error = error_of(&case.expected, &value);
    Ok(Outcome { value, error, bound: condition * bounds::UNIT })
}

/// An interval has two numbers with bounds of their own; the one nearer to its bound counts.
fn evaluate_interval(case: &Case, space: &Space) -> Result<Outcome, EvaluationError> {
    let (x, y) = (case.point(space, "x")?, case.point(space, "y")?);
    let interval = space.interval(&x, &y, Precision::F64)?;
    let value = Value::Interval(interval);
    let Value::Interval(expected) = &case.expected else {
        return Ok(Outcome { value, error: f64::INFINITY, bound: 0.0 });
    };
    if expected.kind != interval.kind || expected.length.is_some() != interval.length.is_some() {
        return Ok(Outcome { value, error: f64::INFINITY, bound: 0.0 });
    }
    let inner_error = relative(expected.inner - interval.inner, interval.inner);
    let inner_bound = bounds::interval_inner(space, &x, &y, interval.inner) * bounds::UNIT;
    let Some((wanted, found)) = expected.length.zip(interval.length) else {
        return Ok(Outcome { value, error: inner_error, bound: inner_bound });
    };
    let error = relative(wanted - found, found);
    let bound = bounds::interval_length(space, &x, &y, &interval) * bounds::UNIT;
    if inner_error * bound > error * inner_bound {
        return Ok(Outcome { value, error: inner_error, bound: inner_bound });
    }
    Ok(Outcome { value, error, bound })
}

fn error_of(expected: &Value, value: &Value) -> f64 {
    match (expected, value) {
        (Value::Number(expected), Value::Number(value)) => relative(expected - value, *value),
        (Value::Vector(expected), Value::Vector(value)) if expected.len() == value.len() => {
            relative(numeric::distance_squared(expected, value).sqrt(), numeric::norm(value))
        }
        _ => f64::INFINITY,
    }
}

fn relative(difference: f64, reference: f64) -> f64 {
    if reference == 0.0 {
        return difference.abs();
    }
    (difference / reference).abs()
}

/// The cases of one geometry and operation, together.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The geometry.
    pub geometry: Geometry,
    /// The operation.
    pub operation: Operation,
    /// Number of cases.
    pub cases: usize,
    /// How many of them exceed their bound, or could not be computed.
    pub failed: usize,
    /// The largest relative error.
    pub worst_error: f64,
    /// The bound of the case with that error.
    pub bound: f64,
    /// The largest share of its bound that a case used; above 1 is a failure.
    pub worst_share: f64,
}

/// Adds outcomes up per geometry and operation, in order of first appearance.
pub fn summarise<'a>(
    outcomes: impl IntoIterator<Item = (&'a Case, &'a Result<Outcome, EvaluationError>)>,
) -> Vec<Summary> {
    let mut summaries: Vec<Summary> = Vec::new();
    for (case, outcome) in outcomes {
        let (geometry, operation) = (case.geometry, case.operation);
        let place = summaries
            .iter()
            .position(|summary| summary.geometry == geometry && summary.operation == operation);
        let place = place.unwrap_or_else(|| {
            summaries.push(Summary {
                geometry,
                operation,
                cases: 0,
                failed: 0,
                worst_error: 0.0,
                bound: 0.0,
                worst_share: 0.0,
            });
            summaries.len() - 1
        });
        let Some(summary) = summaries.get_mut(place) else { continue };
        summary.cases += 1;
        let Ok(outcome) = outcome else {
            summary.failed += 1;
            continue;
        };
        if !outcome.passes() {
            summary.failed += 1;
        }
        if outcome.error >= summary.worst_error {
            summary.worst_error = outcome.error;
            summary.bound = outcome.bound;
        }
        let share = if outcome.error == 0.0 { 0.0 } else { outcome.error / outcome.bound };
        summary.worst_share = summary.worst_share.max(share);
    }
    summaries
}
