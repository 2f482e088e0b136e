//! Geometry operations as an API.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{MethodRouter, post},
};
use hvs_api::{
    DistanceResponse, GeodesicRequest, InnerRequest, InnerResponse, IntervalResponse, MeanKind,
    MeanRequest, PairRequest, PointRequest, PointResponse, ScaleRequest, SpaceSpec, TangentRequest,
    TangentResponse, TransformRequest, TransportRequest, ValidateRequest, ValidateResponse, Vector,
};
use hvs_geometry::{Geometry, Precision, Space};
use serde::{Serialize, de::DeserializeOwned};

use super::{App, body::Payload, call::Call, failure::Failure};
use crate::{
    catalogue::{build_space, geometry_precision, space_info},
    config::Limits,
};

/// Points come as f64 and are taken at their word.
const EXACT: Precision = Precision::F64;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/geometry/distance", light(distance))
        .route("/v1/geometry/exp", light(exp))
        .route("/v1/geometry/log", light(log))
        .route("/v1/geometry/transport", light(transport))
        .route("/v1/geometry/geodesic", light(geodesic))
        .route("/v1/geometry/midpoint", light(midpoint))
        .route("/v1/geometry/mean", heavy(mean))
        .route("/v1/geometry/inner", light(inner))
        .route("/v1/geometry/mobius_add", light(mobius_add))
        .route("/v1/geometry/mobius_scalar", light(mobius_scalar))
        .route("/v1/geometry/validate", light(validate))
        .route("/v1/geometry/project", light(project))
        .route("/v1/geometry/transform", light(transform))
        .route("/v1/geometry/interval", light(interval))
}

type Operation<Q, A> = fn(&Limits, &Q) -> Result<A, Failure>;

/// A route whose work is over in microseconds.
fn light<Q, A>(operation: Operation<Q, A>) -> MethodRouter<Arc<App>>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + 'static,
{
    post(move |State(app): State<Arc<App>>, call: Call, payload: Payload<Q>| async move {
        call.reply(&operation(&app.config.limits, &payload.value)?)
    })
}

/// A route whose work grows with the request.
pub(super) fn heavy<Q, A>(operation: Operation<Q, A>) -> MethodRouter<Arc<App>>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    post(move |State(app): State<Arc<App>>, call: Call, payload: Payload<Q>| async move {
        let config = Arc::clone(&app.config);
        let work = move || operation(&config.limits, &payload.value);
        let answer = app.workers.run(call.deadline, work).await??;
        call.reply(&answer)
    })
}

/// The space of a request; its dimension may follow from the number of coordinates.
fn space_of(spec: &SpaceSpec, coordinates: usize, limits: &Limits) -> Result<Space, Failure> {
    let geometry = spec.geometry.as_deref().and_then(|name| name.parse::<Geometry>().ok());
    let has_extra_coordinate = matches!(
        geometry,
        Some(Geometry::Hyperboloid | Geometry::Spherical | Geometry::Lorentzian)
    );
    let intrinsic = coordinates.saturating_sub(usize::from(has_extra_coordinate));
    Ok(build_space(spec, Some(intrinsic), limits)?)
}

/// The space of a request, after checking that all points lie in it.
fn space_with(spec: &SpaceSpec, points: &[&[f64]], limits: &Limits) -> Result<Space, Failure> {
    let coordinates = points.first().map_or(0, |point| point.len());
    let space = space_of(spec, coordinates, limits)?;
    for point in points {
        space.validate(point, EXACT)?;
    }
    Ok(space)
}

fn distance(limits: &Limits, request: &PairRequest) -> Result<DistanceResponse, Failure> {
    let space = space_with(&request.space, &[&request.x, &request.y], limits)?;
    Ok(DistanceResponse { distance: space.distance(&request.x, &request.y)? })
}

fn exp(limits: &Limits, request: &TangentRequest) -> Result<PointResponse, Failure> {
    let space = space_with(&request.space, &[&request.x], limits)?;
    Ok(PointResponse { point: Vector(space.exp(&request.x, &request.v)?) })
}

fn log(limits: &Limits, request: &PairRequest) -> Result<TangentResponse, Failure> {
    let space = space_with(&request.space, &[&request.x, &request.y], limits)?;
    Ok(TangentResponse { tangent: Vector(space.log(&request.x, &request.y)?) })
}

fn transport(limits: &Limits, request: &TransportRequest) -> Result<TangentResponse, Failure> {
    let TransportRequest { space, x, y, v } = request;
    let space = space_with(space, &[x, y], limits)?;
    Ok(TangentResponse { tangent: Vector(space.transport(x, y, v)?) })
}

fn geodesic(limits: &Limits, request: &GeodesicRequest) -> Result<PointResponse, Failure> {
    let GeodesicRequest { space, x, y, t } = request;
    let space = space_with(space, &[x, y], limits)?;
    Ok(PointResponse { point: Vector(space.geodesic(x, y, *t)?) })
}

fn midpoint(limits: &Limits, request: &PairRequest) -> Result<PointResponse, Failure> {
    let space = space_with(&request.space, &[&request.x, &request.y], limits)?;
    Ok(PointResponse { point: Vector(space.midpoint(&request.x, &request.y)?) })
}

fn mean(limits: &Limits, request: &MeanRequest) -> Result<PointResponse, Failure> {
    let MeanRequest { space, points, weights, kind } = request;
    check_points(points.len(), limits)?;
    let slices: Vec<&[f64]> = points.iter().map(|point| &**point).collect();
    let space = space_with(space, &slices, limits)?;
    let weights = weights.as_deref();
    let point = match kind.unwrap_or_default() {
        MeanKind::Frechet => space.frechet_mean(&slices, weights)?.point,
        MeanKind::LorentzCentroid => space.lorentz_centroid(&slices, weights)?,
        MeanKind::GyroMidpoint => space.gyro_midpoint(&slices, weights)?,
    };
    Ok(PointResponse { point: Vector(point) })
}

/// Refuses no points and more than the node's limit.
pub(super) fn check_points(count: usize, limits: &Limits) -> Result<(), Failure> {
    super::writes::check_count(count, limits.points)
}

fn inner(limits: &Limits, request: &InnerRequest) -> Result<InnerResponse, Failure> {
    let InnerRequest { space, x, u, v } = request;
    let space = space_with(space, &[x], limits)?;
    Ok(InnerResponse { inner: space.inner(x, u, v)? })
}

fn mobius_add(limits: &Limits, request: &PairRequest) -> Result<PointResponse, Failure> {
    let space = space_with(&request.space, &[&request.x, &request.y], limits)?;
    Ok(PointResponse { point: Vector(space.mobius_add(&request.x, &request.y)?) })
}

fn mobius_scalar(limits: &Limits, request: &ScaleRequest) -> Result<PointResponse, Failure> {
    let space = space_with(&request.space, &[&request.x], limits)?;
    Ok(PointResponse { point: Vector(space.mobius_scalar(request.r, &request.x)?) })
}

fn validate(limits: &Limits, request: &ValidateRequest) -> Result<ValidateResponse, Failure> {
    let space = space_of(&request.space, request.x.len(), limits)?;
    let precision = request.precision.map_or(EXACT, geometry_precision);
    let problem =
        space.validate(&request.x, precision).err().map(|error| *Failure::from(error).problem);
    Ok(ValidateResponse { valid: problem.is_none(), problem, space: space_info(&space) })
}

fn project(limits: &Limits, request: &PointRequest) -> Result<PointResponse, Failure> {
    let space = space_of(&request.space, request.x.len(), limits)?;
    Ok(PointResponse { point: Vector(space.project(&request.x, EXACT)?) })
}

fn transform(limits: &Limits, request: &TransformRequest) -> Result<PointResponse, Failure> {
    let TransformRequest { from, to, x } = request;
    let from = space_with(from, &[x], limits)?;
    let to = build_space(to, Some(from.dimension()), limits)?;
    Ok(PointResponse { point: Vector(hvs_geometry::transform(&from, &to, x)?) })
}

fn interval(limits: &Limits, request: &PairRequest) -> Result<IntervalResponse, Failure> {
    let PairRequest { space, x, y } = request;
    let space = space_with(space, &[x, y], limits)?;
    let interval = space.interval(x, y, EXACT)?;
    let relation = space.causal_relation(x, y, EXACT)?;
    Ok(IntervalResponse {
        kind: interval.kind.name().to_owned(),
        interval: interval.length,
        relation: relation.name().to_owned(),
    })
}
