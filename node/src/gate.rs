//! What is answered while the node opens its data, or stands by: the process lives, and is not ready.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderValue, Request, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use hvs_api::{Code, Encoding, PROBLEM_JSON, Problem, encode};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;

use crate::telemetry::Metrics;

/// The media type of metrics.
pub(crate) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes, once there are any.
pub(crate) struct Gate {
    routes: OnceLock<TowerToHyperService<Router>>,
    /// What is answered before.
    refusal: RwLock<Box<Problem>>,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// One that is closed, and answers metrics all the same.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let refusal = Problem::new(Code::NotReady, "the node is starting: it is opening its data");
        Self { routes: OnceLock::new(), refusal: RwLock::new(Box::new(refusal)), metrics }
    }

    /// Has requests refused with this until the gate is opened.
    pub(crate) fn refuse_with(&self, problem: Problem) {
        **self.refusal.write() = problem;
    }

    /// From now on requests reach `routes`, on connections that are open already as well.
    pub(crate) fn open(&self, routes: Router) {
        // A gate is opened once; a second time would change nothing.
        let _ = self.routes.set(TowerToHyperService::new(routes));
    }

    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let Some(routes) = self.routes.get() else { return self.before(request.uri().path()) };
        match routes.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn before(&self, path: &str) -> Response {
        if path == "/livez" {
            return "ok\n".into_response();
        }
        if path == "/metrics"
            && let Ok(text) = self.metrics.text()
        {
            return ([(CONTENT_TYPE, METRICS)], text).into_response();
        }
        let bytes = encode(Encoding::Json, &**self.refusal.read()).unwrap_or_default();
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_starting_node_lives_and_is_not_ready() {
        let gate = Gate::new(Arc::new(Metrics::new().unwrap()));
        for code in [Code::NotReady, Code::Standby] {
            assert_eq!(gate.before("/livez").status(), 200);
            assert_eq!(gate.before("/metrics").status(), 200);
            for path in ["/readyz", "/health", "/v1/namespaces"] {
                let response = gate.before(path);
                assert_eq!(response.status(), 503);
                assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
                let body = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
                let problem: Problem = serde_json::from_slice(&body).unwrap();
                assert_eq!(problem.known_code(), Some(code));
            }
            gate.refuse_with(Problem::new(Code::Standby, "standby of node a"));
        }
    }
}
