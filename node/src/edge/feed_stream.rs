//! The feed of changes as server-sent events.
//!
//! Each event is a page and its id is the token after it, so that a reader has all of a page or
//! nothing. The next page is read when the connection takes more: a slow reader waits for itself
//! alone, and costs one page of memory.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use hvs_api::{ChangesResponse, Problem};

use super::{
    changes::{Reader, Woken},
    failure::Failure,
};

const COMMENT: &[u8] = b":\n\n";

struct Stream {
    reader: Reader,
    /// What is sent next, without asking.
    ready: Option<Bytes>,
    has_ended: bool,
}

/// Answers with a stream, if the first page can be read.
pub(super) async fn stream(mut reader: Reader, deadline: Instant) -> Result<Response, Failure> {
    let first = reader.page(deadline).await?;
    // Something, so that the client learns at once that it is connected.
    let ready = if first.changes.is_empty() { Bytes::from_static(COMMENT) } else { event(&first) };
    let stream = Stream { reader, ready: Some(ready), has_ended: false };
    let events = futures_util::stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, Infallible>(bytes), stream))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        if self.has_ended {
            return None;
        }
        let config = &self.reader.app.config;
        let heartbeat = Instant::now() + Duration::from_millis(config.feed.heartbeat_ms);
        let patience = Duration::from_millis(config.limits.deadline_ms);
        loop {
            if self.reader.app.is_stopping() {
                return None;
            }
            match self.reader.page(Instant::now() + patience).await {
                Ok(page) if page.changes.is_empty() => {}
                Ok(page) => return Some(event(&page)),
                Err(failure) => {
                    self.has_ended = true;
                    return Some(problem(&failure.problem));
                }
            }
            match self.reader.wait(heartbeat).await {
                Woken::Changed => {}
                Woken::TimedOut => return Some(Bytes::from_static(COMMENT)),
                Woken::Stopping => return None,
            }
        }
    }
}

/// JSON has no line breaks, so that one line holds it.
fn event(page: &ChangesResponse) -> Bytes {
    let data = serde_json::to_string(page).unwrap_or_default();
    format!("event: changes\nid: {}\ndata: {data}\n\n", page.token).into()
}

fn problem(problem: &Problem) -> Bytes {
    let data = serde_json::to_string(problem).unwrap_or_default();
    format!("event: problem\ndata: {data}\n\n").into()
}
