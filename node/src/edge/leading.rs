//! Nothing is answered from what may not be the newest state: a node whose session is not valid
//! may have been taken over from.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hvs_api::Code;

use super::{App, failure::Failure};

/// What everything that is served to clients begins with; health and metrics do not.
const API: &str = "/v1/";
/// The ends of routes that take a body and change nothing.
const READS: [&str; 7] =
    ["/count", "/facets", "/fetch", "/recommend", "/scroll", "/search", "/search/batch"];

/// What is answered meanwhile.
pub(super) fn refusal() -> Failure {
    Failure::new(
        Code::NotLeading,
        "the session of this node is not valid at the moment: it could not be renewed in time",
    )
}

/// Lets requests through while the session is valid. A read that has seen it end meanwhile is
/// refused as well, since it may have missed what another node has written; of a write the shard
/// knows what it has come to.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(API) {
        return next.run(request).await;
    }
    if !app.may_serve() {
        return refusal().into_response();
    }
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_read = is_read(request.method(), route.unwrap_or_default());
    let response = next.run(request).await;
    if is_read && !app.may_serve() {
        return refusal().into_response();
    }
    response
}

fn is_read(method: &Method, route: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) || READS.iter().any(|end| route.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_from_writes() {
        let one = "/v1/namespaces/{namespace}";
        assert!(is_read(&Method::GET, &format!("{one}/vectors/{{id}}")));
        assert!(is_read(&Method::POST, &format!("{one}/search/batch")));
        assert!(!is_read(&Method::POST, &format!("{one}/batch")));
        assert!(!is_read(&Method::POST, &format!("{one}/vectors/{{id}}")));
        assert!(!is_read(&Method::PUT, one));
    }
}
