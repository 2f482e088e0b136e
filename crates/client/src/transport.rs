//! One request and its repetitions.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use hvs_api::{DEADLINE_MS, Encoding, IDEMPOTENCY_KEY, Problem, decode, encode};
use reqwest::{
    Method, Response, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ClientConfig, ClientError,
    retry::{self, Progress, Repeat},
};

const ENCODING: Encoding = Encoding::MessagePack;
/// How much of an answer that nobody understands is shown.
const SHOWN_BYTES: usize = 200;

/// A client of one node.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    config: ClientConfig,
    /// Whether anybody has ever answered.
    reached: Arc<AtomicBool>,
}

/// A request before it is sent.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) repeat: Repeat,
}

/// A failed attempt, with what the node said about the next one.
struct Failure {
    error: ClientError,
    retry_after: Option<Duration>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url, repeat: Repeat) -> Self {
        Self { method, url, headers: Vec::new(), body: None, repeat }
    }

    pub(crate) fn body<T: Serialize>(mut self, value: &T) -> Result<Self, ClientError> {
        self.body = Some(encode(ENCODING, value)?.into());
        Ok(self)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Under the caller's key, or a new one.
    pub(crate) fn idempotent(self, key: Option<&str>) -> Self {
        let key = key.map_or_else(crate::idempotency_key, str::to_owned);
        self.header(IDEMPOTENCY_KEY, key)
    }
}

impl Client {
    /// A client of the node that `config` names. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none that a client can use.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let invalid = |reason: String| ClientError::InvalidUrl { url: config.url.clone(), reason };
        let base = Url::parse(&config.url).map_err(|error| invalid(error.to_string()))?;
        match base.scheme() {
            "http" => {}
            "https" => return Err(invalid("TLS is not available yet".to_owned())),
            other => return Err(invalid(format!("{other} is not http"))),
        }
        if base.host_str().is_none_or(str::is_empty) {
            return Err(invalid("it has no host".to_owned()));
        }
        let http = reqwest::Client::builder()
            // A proxy for the web is no way to a database on this machine or network.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("hvs-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Setup(causes(&error)))?;
        Ok(Self { http, base, config, reached: Arc::default() })
    }

    /// How this client was set up.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The address of a path given by its segments, each escaped as a whole.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        let Ok(mut path) = url.path_segments_mut() else {
            let reason = "it cannot have a path".to_owned();
            return Err(ClientError::InvalidUrl { url: self.config.url.clone(), reason });
        };
        path.pop_if_empty();
        for segment in segments {
            // These would be taken as steps within the path, escaped or not.
            if matches!(*segment, "" | "." | "..") {
                return Err(ClientError::InvalidName((*segment).to_owned()));
            }
            path.push(segment);
        }
        drop(path);
        Ok(url)
    }

    /// Sends `request`, again where that is safe, and reads the answer.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<T, ClientError> {
        let (encoding, bytes) = self.send_raw(&request).await?;
        decode(encoding, &bytes)
            .map_err(|source| ClientError::Decode { url: self.config.url.clone(), source })
    }

    pub(crate) async fn send_raw(
        &self,
        request: &Request,
    ) -> Result<(Encoding, Bytes), ClientError> {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            let left = self.config.patience.saturating_sub(begun.elapsed());
            // The first attempt has all its time, even where nothing is repeated.
            let limit =
                if attempts == 0 { self.config.timeout } else { self.config.timeout.min(left) };
            let limited = tokio::time::timeout(limit, self.attempt(request, limit)).await;
            attempts += 1;
            let failure = match limited {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure { error: self.timed_out(begun.elapsed()), retry_after: None },
            };
            let progress = Progress {
                attempts,
                elapsed: begun.elapsed(),
                reached: self.reached.load(Ordering::Relaxed),
            };
            let pause = retry::pause(
                &self.config,
                request.repeat,
                progress,
                &failure.error,
                failure.retry_after,
            );
            let Some(pause) = pause else { return Err(failure.error) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<(Encoding, Bytes), Failure> {
        let milliseconds = limit.as_millis().max(1);
        let mut builder = self
            .http
            .request(request.method.clone(), request.url.clone())
            .header(ACCEPT, ENCODING.content_type())
            .header(DEADLINE_MS, milliseconds.to_string());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, ENCODING.content_type()).body(body.clone());
        }
        let response = builder.send().await.map_err(|error| self.transport_failure(&error))?;
        self.reached.store(true, Ordering::Relaxed);
        let status = response.status();
        let encoding = encoding_of(response.headers());
        let retry_after = retry_after(response.headers());
        let body = self.read_body(response).await?;
        if status.is_success() {
            return Ok((encoding.unwrap_or(ENCODING), body));
        }
        let problem = encoding.and_then(|encoding| decode::<Problem>(encoding, &body).ok());
        let error = match problem {
            Some(problem) => ClientError::Problem(Box::new(problem)),
            None => ClientError::UnexpectedStatus {
                url: self.config.url.clone(),
                status: status.as_u16(),
                text: beginning(&body),
            },
        };
        Err(Failure { error, retry_after })
    }

    async fn read_body(&self, mut response: Response) -> Result<Bytes, Failure> {
        let limit = self.config.answer_bytes;
        let too_large =
            || Failure { error: ClientError::AnswerTooLarge { limit }, retry_after: None };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.transport_failure(&error))?
        {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn transport_failure(&self, error: &reqwest::Error) -> Failure {
        let url = self.config.url.clone();
        let reason = causes(error);
        let error = if error.is_timeout() && !error.is_connect() {
            self.timed_out(self.config.timeout)
        } else if error.is_connect() {
            ClientError::Connect { url, reason }
        } else {
            ClientError::Transport { url, reason }
        };
        Failure { error, retry_after: None }
    }

    fn timed_out(&self, after: Duration) -> ClientError {
        ClientError::TimedOut { url: self.config.url.clone(), after }
    }
}

/// The encoding of a body. A problem's media types name it with a suffix or by themselves.
fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    if value.split(';').next().unwrap_or_default().trim() == hvs_api::PROBLEM_MESSAGE_PACK {
        return Some(Encoding::MessagePack);
    }
    Encoding::from_content_type(value)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The innermost causes say what happened; the outermost repeat the address.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        if !text.ends_with(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        cause = inner.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

fn beginning(body: &[u8]) -> String {
    let shown = body.get(..SHOWN_BYTES).unwrap_or(body);
    let text = String::from_utf8_lossy(shown);
    if text.trim().is_empty() { "(no text)".to_owned() } else { text.trim().to_owned() }
}
