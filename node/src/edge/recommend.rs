//! Search by examples.
//!
//! The point that is searched from is `exp_m(-s / |N| · Σ log_m(n))`: m is the Fréchet mean of the
//! positive examples, the n are the negative ones, and s is the strength. In Euclidean space with
//! s = 1 that is `2·mean(positive) - mean(negative)`, the average-vector formula (Rocchio's, with
//! weights 2 and 1). On a sphere the step ends where the negative examples are farthest, at the
//! antipode of their mean direction: beyond it they would come nearer again.

use std::{f64::consts::PI, sync::Arc};

use axum::{extract::State, response::Response};
use hvs_api::{Code, Example, RecommendRequest, RecommendResponse, SearchRequest, Vector};
use hvs_geometry::{Geometry, MapError, Precision, Space};

use super::{
    App,
    body::{Params, Payload},
    call::Call,
    failure::Failure,
    points::{Reading, read_point},
    records::{check_id, check_partition_key, shard_of},
    room::Room,
    search::{Prepared, run},
    writes::{check_count, named_vector, reading},
};
use crate::catalogue::Namespace;

const DEFAULT_K: u64 = 10;

pub(super) async fn recommend(
    State(app): State<Arc<App>>,
    Params(namespace): Params<String>,
    call: Call,
    payload: Payload<RecommendRequest>,
) -> Result<Response, Failure> {
    let namespace = app.catalogue.get(&namespace, call.deadline).await?;
    app.scale.admit_queries(1)?;
    let mut request = payload.value;
    let limits = &app.config.limits;
    check_count(request.positive.len(), limits.examples)?;
    check_count(request.positive.len() + request.negative.len(), limits.examples)?;
    let strength = request.strength.unwrap_or(1.0);
    if !(strength.is_finite() && strength >= 0.0) {
        let detail = format!("strength is {strength}, it must be a finite number of at least 0");
        return Err(Failure::new(Code::InvalidArgument, detail));
    }
    for example in request.positive.iter().chain(&request.negative) {
        check_partition_key(example.partition_key.as_deref(), limits)?;
        example.id.as_deref().map_or(Ok(()), |id| check_id(id, limits))?;
    }
    let using = request.using.clone().unwrap_or_default();
    named_vector(&namespace, &using)?;
    let reading = reading(request.coordinates, request.project);
    let positive = std::mem::take(&mut request.positive);
    let negative = std::mem::take(&mut request.negative);
    let ids: Vec<String> =
        positive.iter().chain(&negative).filter_map(|example| example.id.clone()).collect();
    let work = {
        let namespace = Arc::clone(&namespace);
        move || -> Result<Vec<f64>, Failure> {
            let points = |examples: Vec<Example>, what: &str| -> Result<Vec<Vec<f64>>, Failure> {
                let read = |(index, example)| {
                    point(&namespace, &using, example, reading).map_err(|mut failure| {
                        let detail = &failure.problem.detail;
                        failure.problem.detail = format!("{what} example {index}: {detail}");
                        failure.with("index", index)
                    })
                };
                examples.into_iter().enumerate().map(read).collect()
            };
            let space = &named_vector(&namespace, &using)?.space;
            let (positive, negative) =
                (points(positive, "positive")?, points(negative, "negative")?);
            target(space, &positive, &negative, strength)
        }
    };
    let query = app.workers.run(call.deadline, work).await??;
    let search = SearchRequest {
        vector: Some(Vector(query.clone())),
        using: request.using,
        k: request.k.or(request.radius.is_none().then_some(DEFAULT_K.min(limits.k as u64))),
        radius: request.radius,
        ef: request.ef,
        nprobe: request.nprobe,
        exact: request.exact,
        filter: request.filter,
        partition_key: request.partition_key,
        include_vectors: request.include_vectors,
        include_metadata: request.include_metadata,
        explain: request.explain,
        cache: request.cache,
        ..SearchRequest::default()
    };
    let room = Arc::new(Room::new(limits.answer_bytes));
    let mut prepared = Prepared::new(namespace, search, &app, call.deadline, room)?;
    if !ids.is_empty() {
        prepared.leave_out(ids);
    }
    prepared.recall();
    let found = run(&app, prepared).await?;
    call.reply(&RecommendResponse {
        query: Vector(query),
        hits: found.hits,
        exact: found.exact,
        truncated: found.truncated,
        explain: found.explain,
    })
}

/// The point of an example, on the manifold to f64.
fn point(
    namespace: &Namespace,
    using: &str,
    example: Example,
    reading: Reading,
) -> Result<Vec<f64>, Failure> {
    let vector = named_vector(namespace, using)?;
    let point = match (example.id, example.vector) {
        (Some(id), None) => {
            let key = example.partition_key.as_deref();
            let shard = shard_of(namespace, key.unwrap_or(&id))?;
            let found = shard.get(&id)?.filter(|record| {
                key.is_none_or(|key| record.partition_key.as_deref().unwrap_or(&id) == key)
            });
            let Some(mut record) = found else {
                let detail = format!("there is no record {id:?}");
                return Err(Failure::new(Code::VectorNotFound, detail));
            };
            record.vectors.remove(using).ok_or_else(|| {
                let detail = format!("the record {id:?} has no vector {using:?}");
                Failure::new(Code::MissingVector, detail)
            })?
        }
        (None, Some(given)) => read_point(&vector.space, vector.precision, given.0, reading)?,
        _ => {
            let detail = "an example has either an id or a vector";
            return Err(Failure::new(Code::InvalidArgument, detail));
        }
    };
    Ok(vector.space.project(&point, Precision::F64)?)
}

/// The point that examples lead to.
fn target(
    space: &Space,
    positive: &[Vec<f64>],
    negative: &[Vec<f64>],
    strength: f64,
) -> Result<Vec<f64>, Failure> {
    let mean = space.frechet_mean(positive, None)?.point;
    if negative.is_empty() || strength == 0.0 {
        return Ok(mean);
    }
    let mut towards = vec![0.0; mean.len()];
    for point in negative {
        let step = space.log(&mean, point)?;
        for (sum, x) in towards.iter_mut().zip(step) {
            *sum += x / negative.len() as f64;
        }
    }
    let away = away(space, &mean, &towards, strength)?;
    // Sums of tangent vectors are tangent but for rounding.
    Ok(space.exp(&mean, &space.project_tangent(&mean, &away)?)?)
}

/// The step away from where `towards` leads, in each component by itself.
fn away(space: &Space, mean: &[f64], towards: &[f64], strength: f64) -> Result<Vec<f64>, MapError> {
    if !space.components().is_empty() {
        let mut step = Vec::with_capacity(mean.len());
        let (mut mean, mut towards) = (mean, towards);
        for component in space.components() {
            let length = component.space.ambient();
            let (x, v);
            (x, mean) = mean.split_at_checked(length).unwrap_or((mean, &[]));
            (v, towards) = towards.split_at_checked(length).unwrap_or((towards, &[]));
            step.extend(away(&component.space, x, v, strength)?);
        }
        return Ok(step);
    }
    let mut factor = strength;
    if space.geometry() == Some(Geometry::Spherical) {
        let v = space.project_tangent(mean, towards)?;
        let length = space.inner(mean, &v, &v)?.max(0.0).sqrt();
        let farthest = PI / space.curvature().sqrt();
        if length > 0.0 {
            factor = factor.min((farthest - length).max(0.0) / length);
        }
    }
    Ok(towards.iter().map(|x| -factor * x).collect())
}

#[cfg(test)]
mod tests {
    use std::slice;

    use hvs_geometry::Component;

    use super::*;

    fn lead(space: &Space, positive: &[&[f64]], negative: &[&[f64]], strength: f64) -> Vec<f64> {
        let on = |points: &[&[f64]]| -> Vec<Vec<f64>> {
            points.iter().map(|point| space.project(point, Precision::F64).unwrap()).collect()
        };
        target(space, &on(positive), &on(negative), strength).unwrap()
    }

    fn close(left: &[f64], right: &[f64]) {
        let worst = left.iter().zip(right).map(|(l, r)| (l - r).abs()).fold(0.0, f64::max);
        assert!(left.len() == right.len() && worst < 1e-9, "{left:?} is not {right:?}");
    }

    #[test]
    fn in_euclidean_space_it_is_the_formula_of_average_vectors() {
        let plane = Space::new(Geometry::Euclidean, 2, 0.0).unwrap();
        let positive: [&[f64]; 2] = [&[1.0, 2.0], &[3.0, 4.0]];
        let negative: [&[f64]; 2] = [&[0.0, 1.0], &[2.0, -3.0]];
        // 2 * (2, 3) - (1, -1)
        close(&lead(&plane, &positive, &negative, 1.0), &[3.0, 7.0]);
        close(&lead(&plane, &positive, &negative, 0.0), &[2.0, 3.0]);
        close(&lead(&plane, &positive, &[], 1.0), &[2.0, 3.0]);
    }

    #[test]
    fn in_every_metric_space_it_moves_away_along_the_geodesic() {
        for geometry in [
            Geometry::Poincare,
            Geometry::Hyperboloid,
            Geometry::Klein,
            Geometry::Euclidean,
            Geometry::Spherical,
        ] {
            let space = Space::new(geometry, 2, geometry.default_curvature()).unwrap();
            let point =
                |x: f64, y: f64| space.exp(&space.base_point(), &tangent(&space, x, y)).unwrap();
            let (good, bad) = (point(0.3, 0.1), point(-0.2, 0.4));
            let found = target(&space, slice::from_ref(&good), slice::from_ref(&bad), 0.5).unwrap();
            let distance = |x: &[f64], y: &[f64]| space.distance(x, y).unwrap();
            let apart = distance(&good, &bad);
            assert!((distance(&good, &found) - apart / 2.0).abs() < 1e-9, "{geometry}");
            assert!((distance(&bad, &found) - apart * 1.5).abs() < 1e-9, "{geometry}");
        }
    }

    fn tangent(space: &Space, x: f64, y: f64) -> Vec<f64> {
        let mut v = vec![0.0; space.ambient() - 2];
        v.extend([x, y]);
        v
    }

    #[test]
    fn on_a_sphere_it_stops_where_the_negative_is_farthest() {
        let sphere = Space::new(Geometry::Spherical, 2, 4.0).unwrap();
        let at = |angle: f64| vec![angle.cos() / 2.0, angle.sin() / 2.0, 0.0];
        let found = target(&sphere, &[at(0.0)], &[at(2.5)], 1.0).unwrap();
        close(&found, &at(2.5 - PI));
        let component = |space| Component { space, weight: 2.0 };
        let plane = Space::new(Geometry::Euclidean, 1, 0.0).unwrap();
        let product = Space::product(vec![component(sphere), component(plane)]).unwrap();
        let with = |mut point: Vec<f64>, x: f64| {
            point.push(x);
            point
        };
        let found = target(&product, &[with(at(0.0), 1.0)], &[with(at(2.5), 2.0)], 1.0).unwrap();
        close(&found, &with(at(2.5 - PI), 0.0));
    }

    #[test]
    fn where_there_is_no_mean_it_is_refused_with_the_reason() {
        let space = Space::new(Geometry::Lorentzian, 2, 1.0).unwrap();
        let refused = target(&space, &[space.base_point()], &[], 1.0).unwrap_err();
        assert_eq!(refused.problem.code, "undefined_operation");
        assert!(refused.problem.detail.contains("no Fréchet mean"), "{:?}", refused.problem);
    }
}
