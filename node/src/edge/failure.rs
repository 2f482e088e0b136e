//! How a failure leaves the node.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hvs_api::{Code, Problem};

/// A problem for the client and, where that must not hold it, the cause for the log.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Box<Problem>,
    /// For the log only: paths, and what the operating system said.
    pub(crate) cause: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// A failure that is the node's own. The client learns that it happened, the log learns why.
    pub(crate) fn internal(code: Code, cause: impl std::fmt::Display) -> Self {
        let detail = match code {
            Code::StorageFailed => "the request failed because the storage did",
            Code::OutcomeUnknown => "the shard stopped while the write was in progress",
            _ => "the request failed for a reason that is not its own",
        };
        Self { problem: Box::new(Problem::new(code, detail)), cause: Some(cause.to_string()) }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.problem = Box::new(self.problem.with(name, value));
        self
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }
}

impl IntoResponse for Failure {
    /// Only the status: the middleware that knows the request's encoding and id writes the body.
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
