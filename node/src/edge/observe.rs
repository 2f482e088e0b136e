//! The one middleware: request id, trace, metrics, log line, and the body of problems.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use hvs_api::{Code, Encoding, NEAR_LIMIT, PROBLEM_JSON, PROBLEM_MESSAGE_PACK, REQUEST_ID, encode};
use tracing::Instrument;

use super::{App, call::Call, failure::Failure};
use crate::telemetry::request_span;

const NAMESPACES: &str = "/v1/namespaces/";
/// Longest part of a path that is logged as a namespace; a valid name is shorter.
const LOGGED_NAME_BYTES: usize = 128;

pub(super) async fn observe(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    app.metrics.in_flight.inc();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = known_method(request.method());
    let uri = request.uri().clone();
    let longest = Duration::from_millis(app.config.limits.deadline_ms);
    let (call, usable) = Call::read(request.headers(), &app.request_ids, longest);
    request.extensions_mut().insert(call.clone());

    let answer =
        async {
            match usable {
                // A handler that panics is a defect, but must not take the connection with it.
                Ok(()) => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(
                    |panic| Failure::internal(Code::Internal, panic_text(&*panic)).into_response(),
                ),
                Err(failure) => failure.into_response(),
            }
        };
    let mut response = if app.traced {
        let span = request_span(method, route, &call.request_id, call.trace);
        let response = answer.instrument(span.clone()).await;
        span.record("http.response.status_code", response.status().as_u16());
        response
    } else {
        answer.await
    };

    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(failure) = &failure {
        write_problem(&mut response, failure, &call);
    }
    if let Some(warning) = app.scale.warning()
        && let Ok(value) = HeaderValue::from_str(&warning)
    {
        response.headers_mut().append(NEAR_LIMIT, value);
    }
    if let Ok(value) = HeaderValue::from_str(&call.request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let duration = started.elapsed();
    app.metrics.in_flight.dec();
    app.metrics.answered(route, method, response.status().as_str(), duration);
    let line = Line { method, route, uri: &uri, call: &call, duration, failure };
    line.log(response.status());
    response
}

/// Clients choose their methods freely, metrics must not grow with them.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// The namespace in a path, as it was sent: still percent-encoded.
fn namespace_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix(NAMESPACES)?.split('/').next()?;
    (!name.is_empty() && name.len() <= LOGGED_NAME_BYTES).then_some(name)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("without a message"))
}

fn write_problem(response: &mut Response, failure: &Failure, call: &Call) {
    let mut problem = failure.problem.clone();
    problem.request_id = Some(call.request_id.to_string());
    let media_type = match call.answer {
        Encoding::MessagePack => PROBLEM_MESSAGE_PACK,
        Encoding::Json => PROBLEM_JSON,
    };
    let bytes = encode(call.answer, &*problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let comes_again = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    if comes_again.contains(&response.status()) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    *response.body_mut() = bytes.into();
}

/// The log line of a request.
struct Line<'a> {
    method: &'static str,
    route: &'a str,
    uri: &'a Uri,
    call: &'a Call,
    duration: Duration,
    failure: Option<Failure>,
}

impl Line<'_> {
    /// What went well is for those who look closely, what the client did wrong for its
    /// developers, and what the node did wrong for whoever runs it.
    fn log(&self, status: StatusCode) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    http.request.method = self.method,
                    url.path_template = self.route,
                    http.response.status_code = u64::from(status.as_u16()),
                    event.duration = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX),
                    http.request.id = &*self.call.request_id,
                    trace.id = self.call.trace.map(|trace| trace.trace_id().to_string()),
                    hvs.namespace = namespace_of(self.uri.path()),
                    error.code = self.failure.as_ref().map(|failure| failure.problem.code.as_str()),
                    error.message =
                        self.failure.as_ref().and_then(|failure| failure.cause.as_deref()),
                    "request"
                )
            };
        }
        if status.is_server_error() {
            line!(warn);
        } else if status.is_client_error() {
            line!(info);
        } else {
            line!(debug);
        }
    }
}
