//! What is answered: as a whole, cut short, or a refusal in XML.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{Response, StatusCode, body::Frame};

pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A status, and a code and message as S3 has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal(StatusCode, &'static str, &'static str);

impl Refusal {
    pub(crate) const NOT_IMPLEMENTED: Self =
        Self(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "this server has only what is needed");
    pub(crate) const SLOW_DOWN: Self =
        Self(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.");
    pub(crate) const BUSY: Self = Self(
        StatusCode::CONFLICT,
        "ConditionalRequestConflict",
        "A conflicting operation occurred during the request.",
    );
    pub(crate) const NO_SUCH_BUCKET: Self =
        Self(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist");
    pub(crate) const NO_SUCH_KEY: Self =
        Self(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    pub(crate) const PRECONDITION: Self = Self(
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    );
    pub(crate) const RANGE: Self =
        Self(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The range is not satisfiable");
    pub(crate) const ACCESS_DENIED: Self =
        Self(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied");
    pub(crate) const UNKNOWN_KEY: Self = Self(
        StatusCode::FORBIDDEN,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    );
    pub(crate) const SIGNATURE: Self = Self(
        StatusCode::FORBIDDEN,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    );

    pub(crate) fn answer(self) -> Response<Body> {
        let Self(status, code, message) = self;
        let xml = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{message}</Message></Error>"#
        );
        let answer = Response::builder().status(status).header("content-type", "application/xml");
        whole(answer.body(Bytes::from(xml)).unwrap())
    }
}

pub(crate) fn whole(answer: Response<Bytes>) -> Response<Body> {
    answer.map(|bytes| Full::new(bytes).map_err(|never: Infallible| match never {}).boxed())
}

/// Says how much comes, and ends the connection half-way.
pub(crate) fn cut(answer: Response<Bytes>) -> Response<Body> {
    let length = answer.body().len();
    let mut answer = answer.map(|bytes| {
        let half = bytes.slice(..bytes.len() / 2);
        let frames = [Ok(Frame::data(half)), Err(io::ErrorKind::ConnectionReset.into())];
        StreamBody::new(stream::iter(frames)).boxed()
    });
    answer.headers_mut().insert("content-length", length.into());
    answer
}

/// As if the half were all.
pub(crate) fn half(answer: Response<Bytes>) -> Response<Body> {
    let mut answer = answer.map(|bytes| bytes.slice(..bytes.len() / 2));
    let length = answer.body().len();
    answer.headers_mut().insert("content-length", length.into());
    whole(answer)
}
