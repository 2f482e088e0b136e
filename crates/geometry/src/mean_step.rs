//! Steps towards the Fréchet mean of points of hyperbolic space.
//!
//! Half the weighted sum of squared distances is strictly convex along geodesics, so a Newton step
//! that lowers it leads to the one minimum. Reweighted averaging alone (iteratively reweighted
//! least squares, compare Lou et al. 2020, arXiv 2003.00335) always lowers it, but takes hundreds of
//! steps where few points lie far apart; it is the fallback.

use crate::hyperboloid;
use crate::numeric::{add_scaled, dot, norm, scaled};
use crate::space::Model;

/// Most rounds of conjugate gradients for one Newton step. The eigenvalues lie between 1 and
/// `d·coth d` of the farthest point, so few are needed.
const MAX_ROUNDS: usize = 24;
/// Share of the gradient that may be left over: the next step takes care of it.
const LEFT_OVER: f64 = 1e-4;
/// Newton steps are halved at most so often before the fallback.
const HALVINGS: usize = 3;
/// Steps this short, in units of curvature 1, are taken without comparing sums that rounding has
/// made equal.
const LOCAL: f64 = 1e-3;

/// A point as seen from the current mean: its logarithm, by length and unit direction, in a frame
/// in which the metric at the mean is the Euclidean one.
struct Sight {
    weight: f64,
    distance: f64,
    direction: Vec<f64>,
}

/// The step, as spatial coordinates of a tangent vector at `mean`. `fallback` is the step that is
/// known to go down.
pub(crate) fn newton_or(
    model: &Model,
    mean: &[f64],
    points: &[Vec<f64>],
    weights: &[f64],
    fallback: Vec<f64>,
) -> Vec<f64> {
    let sights: Vec<Sight> = points
        .iter()
        .zip(weights)
        .map(|(point, weight)| see(model, mean, point, *weight))
        .collect();
    let mut gradient = vec![0.0; mean.len()];
    for sight in &sights {
        add_scaled(&mut gradient, sight.weight * sight.distance, &sight.direction);
    }
    let newton = solve(&sights, &gradient);
    let length = norm(&newton);
    if !length.is_finite() {
        return fallback;
    }
    let mut step = from_frame(model, mean, &scaled(1.0 / model.scale, &newton));
    if length <= LOCAL {
        return step;
    }
    let here = sum_of_squares(model, mean, points, weights);
    for _ in 0..=HALVINGS {
        let there = hyperboloid::exp(model, mean, &step);
        if sum_of_squares(model, &there, points, weights) < here {
            return step;
        }
        step = scaled(0.5, &step);
    }
    fallback
}

fn see(model: &Model, mean: &[f64], point: &[f64], weight: f64) -> Sight {
    let log = to_frame(model, mean, &hyperboloid::log(model, mean, point));
    let length = norm(&log);
    let direction = if length > 0.0 { scaled(1.0 / length, &log) } else { log };
    Sight { weight, distance: model.scale * length, direction }
}

/// Solves `H·v = g` by conjugate gradients. In the direction of a point at distance `d` the squared
/// half distance has curvature 1, across it `d·coth d`.
fn solve(sights: &[Sight], gradient: &[f64]) -> Vec<f64> {
    let mut solution = vec![0.0; gradient.len()];
    let mut rest = gradient.to_vec();
    let mut direction = gradient.to_vec();
    let mut rest_squared = dot(&rest, &rest);
    let enough = LEFT_OVER * LEFT_OVER * rest_squared;
    for _ in 0..MAX_ROUNDS.min(2 * gradient.len()) {
        if rest_squared <= enough {
            break;
        }
        let image = curvature_times(sights, &direction);
        let length = rest_squared / dot(&direction, &image);
        add_scaled(&mut solution, length, &direction);
        add_scaled(&mut rest, -length, &image);
        let next = dot(&rest, &rest);
        let turn = next / rest_squared;
        rest_squared = next;
        direction = rest.iter().zip(&direction).map(|(r, p)| r + turn * p).collect();
    }
    solution
}

fn curvature_times(sights: &[Sight], v: &[f64]) -> Vec<f64> {
    let mut image = vec![0.0; v.len()];
    for Sight { weight, distance, direction } in sights {
        let across = if *distance > 0.0 { distance / distance.tanh() } else { 1.0 };
        add_scaled(&mut image, weight * across, v);
        add_scaled(&mut image, weight * (1.0 - across) * dot(direction, v), direction);
    }
    image
}

fn sum_of_squares(model: &Model, mean: &[f64], points: &[Vec<f64>], weights: &[f64]) -> f64 {
    let squares = points.iter().zip(weights).map(|(point, weight)| {
        let d = 2.0 * hyperboloid::half_sinh_squared(model, mean, point).sqrt().asinh();
        weight * d * d
    });
    squares.sum()
}

/// Shortens the radial part of a tangent vector's spatial coordinates by `cosh r`: then the metric
/// is the Euclidean one.
fn to_frame(model: &Model, mean: &[f64], v: &[f64]) -> Vec<f64> {
    stretch_radially(mean, v, 1.0 / (model.scale * norm(mean)).hypot(1.0))
}

fn from_frame(model: &Model, mean: &[f64], v: &[f64]) -> Vec<f64> {
    stretch_radially(mean, v, (model.scale * norm(mean)).hypot(1.0))
}

fn stretch_radially(mean: &[f64], v: &[f64], factor: f64) -> Vec<f64> {
    let length = norm(mean);
    // Next to the apex the factor is 1, and the quotients below have no digits.
    let excess = factor - 1.0;
    if excess == 0.0 || length == 0.0 {
        return v.to_vec();
    }
    let radial = dot(mean, v) / length;
    let mut stretched = v.to_vec();
    add_scaled(&mut stretched, excess * radial / length, mean);
    stretched
}
