//! What the edge knows of a request before it is routed to a handler.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
        request::Parts,
    },
    response::Response,
};
use hvs_api::{Code, DEADLINE_MS, Encoding, REQUEST_ID, encode};
use serde::Serialize;

use super::failure::Failure;
use crate::telemetry::TraceParent;

/// Longest request id that is taken from a client.
const REQUEST_ID_BYTES: usize = 128;

/// A request's frame: who it is, how its answer is written, and until when it is of use.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) request_id: Arc<str>,
    pub(crate) trace: Option<TraceParent>,
    pub(crate) answer: Encoding,
    /// Whether a stream of events is asked for, where there is one.
    pub(crate) events: bool,
    pub(crate) deadline: Instant,
}

/// Makes request ids: a part that differs between starts, and a counter.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let (start, ..) = uuid::Uuid::new_v4().as_fields();
        Self { start, next: AtomicU64::new(1) }
    }

    fn next(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number:x}", self.start).into()
    }
}

impl Call {
    /// Reads the headers. The frame is usable even beside a failure, which is answered in it.
    pub(crate) fn read(
        headers: &HeaderMap,
        ids: &RequestIds,
        longest: Duration,
    ) -> (Self, Result<(), Failure>) {
        let request_id = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES)
            .map_or_else(|| ids.next(), Arc::from);
        let trace = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .and_then(TraceParent::parse);
        let (answer, acceptable) = negotiate(headers);
        let events = asks_for_events(headers);
        let acceptable = if events { Ok(()) } else { acceptable };
        let (allowed, deadline_read) = allowed_time(headers, longest);
        let call = Self { request_id, trace, answer, events, deadline: Instant::now() + allowed };
        (call, acceptable.and(deadline_read))
    }

    /// Refuses what would only begin after the deadline. What has begun is carried out.
    pub(crate) fn check_deadline(&self) -> Result<(), Failure> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(Failure::new(Code::DeadlineExceeded, "the deadline passed before the write began"))
    }

    /// A 200 with `value` as its body.
    pub(crate) fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Response, Failure> {
        let bytes =
            encode(self.answer, value).map_err(|error| Failure::internal(Code::Internal, error))?;
        Ok(respond(StatusCode::OK, self.answer.content_type(), bytes))
    }
}

/// A response of a media type.
pub(crate) fn respond(status: StatusCode, content_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer's encoding: what Accept gives the highest weight, the first of several; else that
/// of the request's body, else JSON.
fn negotiate(headers: &HeaderMap) -> (Encoding, Result<(), Failure>) {
    let sent = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(Encoding::from_content_type)
        .unwrap_or_default();
    let Some(accept) = headers.get(ACCEPT) else { return (sent, Ok(())) };
    let Ok(accept) = accept.to_str() else {
        return (sent, Err(Failure::new(Code::InvalidHeader, "Accept is not ASCII text")));
    };
    let mut best: Option<(f32, Encoding)> = None;
    for range in accept.split(',') {
        let (range, weight) = weighted(range);
        let encoding = match Encoding::from_content_type(range) {
            Some(encoding) => encoding,
            None if matches!(range, "*/*" | "application/*" | "") => sent,
            None => continue,
        };
        if weight > best.map_or(0.0, |(weight, _)| weight) {
            best = Some((weight, encoding));
        }
    }
    if let Some((_, encoding)) = best {
        return (encoding, Ok(()));
    }
    let shown: String = accept.chars().take(100).collect();
    let detail = format!("Accept is {shown:?}, which has neither JSON nor MessagePack");
    (sent, Err(Failure::new(Code::NotAcceptable, detail)))
}

/// Whether Accept names a stream of events. Routes without one answer such a request in JSON.
fn asks_for_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept
        .split(',')
        .map(weighted)
        .any(|(range, weight)| weight > 0.0 && range.eq_ignore_ascii_case("text/event-stream"))
}

/// A media range and its weight (RFC 9110, 12.4.2); one that is no number is 1.
fn weighted(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let weight = weight.and_then(|weight| weight.parse::<f32>().ok()).filter(|q| q.is_finite());
    (media, weight.unwrap_or(1.0).clamp(0.0, 1.0))
}

fn allowed_time(headers: &HeaderMap, longest: Duration) -> (Duration, Result<(), Failure>) {
    let Some(value) = headers.get(DEADLINE_MS) else { return (longest, Ok(())) };
    let parsed = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(millis) = parsed {
        return (Duration::from_millis(millis).min(longest), Ok(()));
    }
    let detail = format!("{DEADLINE_MS} is not a whole number of milliseconds");
    (longest, Err(Failure::new(Code::InvalidHeader, detail)))
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Failure::internal(Code::Internal, "a route without its middleware"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> (Call, Result<(), Failure>) {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        Call::read(&headers, &RequestIds::new(), Duration::from_secs(30))
    }

    #[test]
    fn the_answer_has_the_encoding_that_was_asked_for() {
        let json = "application/json";
        let packed = "application/msgpack";
        for (headers, expected) in [
            (vec![], Encoding::Json),
            (vec![("content-type", packed)], Encoding::MessagePack),
            (vec![("content-type", packed), ("accept", "*/*")], Encoding::MessagePack),
            (vec![("content-type", packed), ("accept", json)], Encoding::Json),
            (vec![("content-type", json), ("accept", packed)], Encoding::MessagePack),
            (vec![("accept", "text/html, application/msgpack;q=0.9")], Encoding::MessagePack),
            (vec![("accept", "application/problem+json")], Encoding::Json),
            (vec![("accept", "application/msgpack;q=0, application/json")], Encoding::Json),
            (vec![("accept", "application/msgpack;q=0.5,application/json;q=0.9")], Encoding::Json),
            (vec![("accept", "application/msgpack, application/json")], Encoding::MessagePack),
            (vec![("accept", "*/*;q=0.1, application/msgpack;q=0.2")], Encoding::MessagePack),
        ] {
            let (call, outcome) = read(&headers);
            assert!(outcome.is_ok(), "{headers:?}");
            assert_eq!(call.answer, expected, "{headers:?}");
        }
        for refused in ["text/html", "application/json;q=0"] {
            let (_, outcome) = read(&[("accept", refused)]);
            assert_eq!(outcome.unwrap_err().problem.code, "not_acceptable", "{refused}");
        }
    }

    #[test]
    fn request_ids_are_taken_over_or_made() {
        let (call, _) = read(&[("x-request-id", "mine-7")]);
        assert_eq!(&*call.request_id, "mine-7");
        let ids = RequestIds::new();
        assert_ne!(ids.next(), ids.next());
    }

    #[test]
    fn a_deadline_only_shortens() {
        let (call, outcome) = read(&[("x-deadline-ms", "999999999")]);
        assert!(outcome.is_ok());
        assert!(call.deadline <= Instant::now() + Duration::from_secs(30));
        let (call, _) = read(&[("x-deadline-ms", "5")]);
        assert!(call.deadline <= Instant::now() + Duration::from_millis(5));
        let (_, outcome) = read(&[("x-deadline-ms", "soon")]);
        assert_eq!(outcome.unwrap_err().problem.code, "invalid_header");
    }
}
