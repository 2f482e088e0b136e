//! Geometry operations as an API.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{MethodRouter, post},
};
use hvs_api::{
    ChooseResponse, Code, CostResponse, DistanceResponse, GeodesicRequest, InnerRequest,
    InnerResponse, IntervalResponse, MeanKind, MeanRequest, PairRequest, PointRequest,
    PointResponse, ScaleRequest, SpaceSpec, TangentRequest, TangentResponse, TransformRequest,
    TransportRequest, ValidateRequest, ValidateResponse, Vector,
};
use hvs_geometry::{DistanceError, Geometry, IntervalError, MeanError, Precision, Space};
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

/// An answer of a geometry route. JSON has no form for numbers that are not finite, and MessagePack
/// clients have no use for them, so no route answers any.
pub(super) trait Answer: Serialize {
    /// The field and value that is not finite.
    fn unbounded(&self) -> Option<(&str, f64)>;
}

fn unbounded(name: &str, values: impl IntoIterator<Item = f64>) -> Option<(&str, f64)> {
    values.into_iter().find(|value| !value.is_finite()).map(|value| (name, value))
}

impl Answer for DistanceResponse {
    fn unbounded(&self) -> Option<(&str, f64)> {
        unbounded("distance", [self.distance])
    }
}

impl Answer for InnerResponse {
    fn unbounded(&self) -> Option<(&str, f64)> {
        unbounded("inner", [self.inner])
    }
}

impl Answer for PointResponse {
    fn unbounded(&self) -> Option<(&str, f64)> {
        unbounded("point", self.point.iter().copied())
    }
}

impl Answer for TangentResponse {
    fn unbounded(&self) -> Option<(&str, f64)> {
        unbounded("tangent", self.tangent.iter().copied())
    }
}

impl Answer for IntervalResponse {
    fn unbounded(&self) -> Option<(&str, f64)> {
        unbounded("interval", self.interval)
    }
}

impl Answer for ValidateResponse {
    /// The numbers of a problem are JSON already.
    fn unbounded(&self) -> Option<(&str, f64)> {
        None
    }
}

impl Answer for ChooseResponse {
    fn unbounded(&self) -> Option<(&str, f64)> {
        self.evidence.iter().find_map(|(name, value)| unbounded(name, [*value]))
    }
}

impl Answer for CostResponse {
    /// Names and texts.
    fn unbounded(&self) -> Option<(&str, f64)> {
        None
    }
}

/// The answer of an operation, which is an error where a number in it is not finite.
fn answer<Q, A: Answer>(
    operation: Operation<Q, A>,
    limits: &Limits,
    request: &Q,
) -> Result<A, Failure> {
    let answer = operation(limits, request)?;
    match answer.unbounded() {
        None => Ok(answer),
        Some((name, value)) => Err(overflow(format!(
            "{name} is {value}: the result, or a step to it, is beyond the largest number of f64"
        ))),
    }
}

fn overflow(detail: impl Into<String>) -> Failure {
    Failure::new(Code::OutOfDomain, detail)
}

/// A route whose work is over in microseconds.
fn light<Q, A>(operation: Operation<Q, A>) -> MethodRouter<Arc<App>>
where
    Q: DeserializeOwned + Send + 'static,
    A: Answer + 'static,
{
    post(move |State(app): State<Arc<App>>, call: Call, payload: Payload<Q>| async move {
        call.reply(&answer(operation, &app.config.limits, &payload.value)?)
    })
}

/// A route whose work grows with the request.
pub(super) fn heavy<Q, A>(operation: Operation<Q, A>) -> MethodRouter<Arc<App>>
where
    Q: DeserializeOwned + Send + 'static,
    A: Answer + Send + 'static,
{
    post(move |State(app): State<Arc<App>>, call: Call, payload: Payload<Q>| async move {
        let config = Arc::clone(&app.config);
        let work = move || answer(operation, &config.limits, &payload.value);
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
    let distance = space.distance(&request.x, &request.y).map_err(|error| match error {
        DistanceError::Overflow => overflow(error.to_string()),
        other => other.into(),
    })?;
    Ok(DistanceResponse { distance })
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
        MeanKind::Frechet => space.frechet_mean(&slices, weights).map(|mean| mean.point),
        MeanKind::LorentzCentroid => space.lorentz_centroid(&slices, weights),
        MeanKind::GyroMidpoint => space.gyro_midpoint(&slices, weights),
    };
    let point = point.map_err(|error| match error {
        MeanError::Result(_) => overflow(error.to_string()),
        other => other.into(),
    })?;
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
    let refused = |error| match error {
        IntervalError::Overflow => overflow(error.to_string()),
        other => Failure::from(other),
    };
    let interval = space.interval(x, y, EXACT).map_err(refused)?;
    let relation = space.causal_relation(x, y, EXACT).map_err(refused)?;
    Ok(IntervalResponse {
        kind: interval.kind.name().to_owned(),
        interval: interval.length,
        relation: relation.name().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    /// What a route answers, or the code and detail of its refusal.
    fn ask<Q: DeserializeOwned, A: Answer>(
        operation: Operation<Q, A>,
        request: Value,
    ) -> Result<Value, (String, String)> {
        let request = serde_json::from_value(request).unwrap();
        match answer(operation, &Config::default().limits, &request) {
            Ok(answer) => Ok(serde_json::to_value(&answer).unwrap()),
            Err(Failure { problem, .. }) => Err((problem.code, problem.detail)),
        }
    }

    #[test]
    fn what_overflows_is_out_of_domain() {
        let flat = json!({"geometry": "euclidean"});
        let zero = json!([0, 0]);
        let huge = json!([1e200, 0]);
        let product = json!({"space": flat, "x": zero, "u": huge, "v": huge});
        let (code, detail) = ask(inner, product).unwrap_err();
        assert_eq!(code, "out_of_domain");
        assert!(detail.contains("the inner product overflows"), "{detail}");
        let product = json!({"space": flat, "x": zero, "u": huge, "v": [1e-200, 7]});
        assert_eq!(ask(inner, product).unwrap()["inner"], 1.0);

        let sphere = json!({"geometry": "spherical"});
        let v = json!([0, 1.7e308, 1.7e308]);
        let step = json!({"space": sphere, "x": [1, 0, 0], "v": v});
        let (code, detail) = ask(exp, step).unwrap_err();
        assert_eq!(code, "out_of_domain");
        assert!(detail.contains("coordinate 0 overflows"), "{detail}");
        let moved = json!({"space": sphere, "x": [1, 0, 0], "y": [0, 1, 0], "v": v});
        assert_eq!(ask(transport, moved).unwrap()["tangent"], json!([-1.7e308, 0.0, 1.7e308]));

        let moved = json!({
            "space": {"geometry": "klein"},
            "x": [-0.988_750_274_839_623, -0.049_728_201_300_369_83],
            "y": [0.830_692_640_439_534_6, 0.556_731_296_874_528_3],
            "v": [-1e300, -1e300]
        });
        let tangent = &ask(transport, moved).unwrap()["tangent"];
        assert!(tangent[0].is_f64() && tangent[1].is_f64(), "{tangent}");
    }

    /// The last resort, should an operation let a number through.
    #[test]
    fn no_answer_holds_a_number_that_is_not_finite() {
        type Any = Operation<Value, PointResponse>;
        let bad = |numbers: [f64; 2]| PointResponse { point: Vector(numbers.to_vec()) };
        assert!(bad([0.0, f64::MAX]).unbounded().is_none());
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(bad([0.0, value]).unbounded().is_some());
            let tangent = TangentResponse { tangent: Vector(vec![value]) };
            assert!(tangent.unbounded().is_some());
            assert!(DistanceResponse { distance: value }.unbounded().is_some());
            assert!(InnerResponse { inner: value }.unbounded().is_some());
            let (kind, relation) = (String::new(), String::new());
            let interval = IntervalResponse { kind, interval: Some(value), relation };
            assert!(interval.unbounded().is_some());
            let choice = ChooseResponse {
                geometry: String::new(),
                components: Vec::new(),
                reason: String::new(),
                evidence: [("mean_delta".to_owned(), value)].into(),
            };
            assert_eq!(choice.unbounded().map(|(name, _)| name), Some("mean_delta"));
        }
        let broken: Any = |_, _| Ok(PointResponse { point: Vector(vec![0.0, f64::NAN]) });
        let (code, detail) = ask(broken, json!(null)).unwrap_err();
        assert_eq!(code, "out_of_domain");
        assert!(detail.contains("point is NaN"), "{detail}");
    }
}
