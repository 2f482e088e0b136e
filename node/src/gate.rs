//! What is answered while the node opens its data: the process lives, and is not ready yet.

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

/// The routes, once there are any.
#[derive(Default)]
pub(crate) struct Gate(OnceLock<TowerToHyperService<Router>>);

impl Gate {
    /// From now on requests reach `routes`, on connections that are open already as well.
    pub(crate) fn open(&self, routes: Router) {
        // A gate is opened once; a second time would change nothing.
        let _ = self.0.set(TowerToHyperService::new(routes));
    }

    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let Some(routes) = self.0.get() else { return before(request.uri().path()) };
        match routes.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn before(path: &str) -> Response {
    if path == "/livez" {
        return "ok\n".into_response();
    }
    let problem = Problem::new(Code::NotReady, "the node is starting: it is opening its data");
    let bytes = encode(Encoding::Json, &problem).unwrap_or_default();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_starting_node_lives_and_is_not_ready() {
        assert_eq!(before("/livez").status(), 200);
        for path in ["/readyz", "/health", "/v1/namespaces"] {
            let response = before(path);
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
            let body = axum::body::to_bytes(response.into_body(), 4_096).await.unwrap();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem.known_code(), Some(Code::NotReady));
        }
    }
}
