//! Reading requests: bodies, path parameters and query strings.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT},
        request::Parts,
    },
};
use http_body_util::BodyExt;
use hvs_api::{Code, DecodeError, Encoding, decode};
use prometheus::IntGauge;
use serde::de::DeserializeOwned;

use super::{App, call::Call, failure::Failure};

/// How much of a body beyond the limit is read and dropped, so that a client that is still
/// sending gets to see the answer instead of a broken connection.
const DRAINED_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Bounds the bytes of all bodies together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    gauge: IntGauge,
}

/// Bytes taken from a [`Budget`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize, gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), gauge })
    }

    fn empty_share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Takes more; false, and nothing is taken, if that much is not left.
    fn grow(&mut self, bytes: usize) -> bool {
        let Budget { limit, used, gauge } = &*self.budget;
        let taken = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| sum <= limit)
        });
        if taken.is_ok() {
            gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.gauge.sub(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

/// A decoded body. Its bytes count against the node's budget until this is dropped.
pub(crate) struct Payload<T> {
    pub(crate) value: T,
    pub(super) share: Share,
}

impl<T> Payload<T> {
    /// The size of the body.
    pub(super) fn bytes(&self) -> usize {
        self.share.bytes
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Payload<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        let encoding = body_encoding(request.headers())?;
        let (bytes, share) = read_body(request, app).await?;
        let value = decode(encoding, &bytes).map_err(|error| decode_failure(&error))?;
        Ok(Self { value, share })
    }
}

/// A body that is not decoded, for measurements.
pub(crate) struct RawPayload(pub(crate) Bytes);

impl FromRequest<Arc<App>> for RawPayload {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        let (bytes, _share) = read_body(request, app).await?;
        Ok(Self(bytes))
    }
}

fn body_encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    // Decoded as it is, it would be called bad JSON.
    if let Some(value) = headers.get(CONTENT_ENCODING)
        && !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
    {
        let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect();
        let detail = format!("the Content-Encoding is {shown:?}; send the body as it is");
        return Err(Failure::new(Code::UnsupportedMediaType, detail));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(Failure::new(Code::UnsupportedMediaType, "the request has no Content-Type"));
    };
    value.to_str().ok().and_then(Encoding::from_content_type).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect();
        Failure::new(Code::UnsupportedMediaType, format!("the Content-Type is {shown:?}"))
    })
}

fn decode_failure(error: &DecodeError) -> Failure {
    let code = match error {
        DecodeError::Json(_) => Code::InvalidJson,
        DecodeError::MessagePack(_) => Code::InvalidMessagePack,
        _ => Code::InvalidBody,
    };
    Failure::new(code, error.to_string())
}

async fn read_body(request: Request, app: &App) -> Result<(Bytes, Share), Failure> {
    let limit = app.config.limits.body_bytes;
    let (parts, body) = request.into_parts();
    let deadline = parts.extensions.get::<Call>().map(|call| call.deadline);
    let read = read_within(&parts, body, limit, &app.budget);
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), read).await.map_err(|_| {
            Failure::new(Code::DeadlineExceeded, "the deadline passed before the body had arrived")
        })?,
        None => read.await,
    }
}

async fn read_within(
    parts: &Parts,
    mut body: Body,
    limit: usize,
    budget: &Arc<Budget>,
) -> Result<(Bytes, Share), Failure> {
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        // A client that asked first has not begun to send.
        if !parts.headers.contains_key(EXPECT) {
            drain(&mut body).await;
        }
        return Err(too_large(limit).with("length", announced));
    }
    // Taken as bytes arrive: who announces much and sends nothing holds up nobody.
    let mut share = budget.empty_share();
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Failure::new(Code::InvalidBody, "the connection failed before the body had arrived")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len();
        if length > limit {
            drain(&mut body).await;
            return Err(too_large(limit));
        }
        if !share.grow(data.len()) {
            drop((first, rest, share));
            drain(&mut body).await;
            let detail =
                format!("bodies of {} bytes, the most allowed, are in flight", budget.limit);
            return Err(Failure::new(Code::Overloaded, detail).with("limit", budget.limit));
        }
        match &first {
            None => first = Some(data),
            Some(begun) if rest.is_empty() => {
                // Twice what has arrived at most, whatever was announced.
                rest.reserve(announced.unwrap_or(length).min(2 * length));
                rest.extend_from_slice(begun);
                rest.extend_from_slice(&data);
                first = Some(Bytes::new());
            }
            Some(_) => rest.extend_from_slice(&data),
        }
    }
    let bytes = if rest.is_empty() { first.unwrap_or_default() } else { Bytes::from(rest) };
    Ok((bytes, share))
}

fn too_large(limit: usize) -> Failure {
    Failure::new(Code::BodyTooLarge, format!("a body may have at most {limit} bytes"))
        .with("limit", limit)
}

async fn drain(body: &mut Body) {
    let dropping = async {
        let mut dropped = 0;
        while dropped < DRAINED_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => dropped += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            }
        }
    };
    // Whether the client went on sending or not, it gets its answer.
    let _ = tokio::time::timeout(DRAIN_TIME, dropping).await;
}

/// Parameters of the path, percent-decoded.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(value)) => Ok(Self(value)),
            // The routes take strings, so all that can fail is their decoding.
            Err(_) => Err(Failure::new(
                Code::InvalidName,
                "the path does not decode: percent-encoded bytes must be UTF-8",
            )),
        }
    }
}

/// Parameters of the query string.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for QueryParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        // The decoder below would put replacement characters.
        if !decodes(parts.uri.query().unwrap_or_default()) {
            let detail = "percent-encoded bytes of the query string must be UTF-8";
            return Err(Failure::new(Code::InvalidQuery, detail));
        }
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::new(Code::InvalidQuery, rejection.body_text())),
        }
    }
}

fn decodes(query: &str) -> bool {
    let bytes = query.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            decoded.push(u8::try_from(16 * high + low).unwrap_or_default());
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_decodes_to_utf8_or_is_refused() {
        for fine in ["", "a=b", "a=%C3%A4", "a=%2", "a=%zz", "a=%25ff", "ä"] {
            assert!(decodes(fine), "{fine}");
        }
        for broken in ["a=%ff", "a=%C3", "%c3x"] {
            assert!(!decodes(broken), "{broken}");
        }
    }

    #[test]
    fn a_budget_is_never_overdrawn_and_is_given_back() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let budget = Budget::new(10, gauge.clone());
        let mut first = budget.empty_share();
        assert!(first.grow(5) && first.grow(2));
        let mut second = budget.empty_share();
        assert!(!second.grow(4));
        assert!(second.grow(3));
        assert_eq!(gauge.get(), 10);
        drop(first);
        assert!(!second.grow(8));
        assert!(second.grow(7));
        assert!(!second.grow(usize::MAX));
        drop(second);
        assert_eq!(gauge.get(), 0);
    }
}
