//! A bucket in memory that speaks the part of S3's protocol which checkpoints need, and that fails
//! when it is told to. It also understands the generations of Google Cloud Storage's XML API, which
//! is otherwise the same.
//!
//! What it does is what S3 documents: a conditional PUT answers 412 when its condition does not
//! hold, 404 when there is nothing to match, and 409 while another conditional PUT of the same key
//! is on its way; lists come in pages; every request must carry a signature (version 4) that the
//! secret key gives. What no client of ours sends is refused with 501, so that a client which begins
//! to send it shows.

mod answer;
mod bucket;
mod sign;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hvs_checkpoint::CheckpointStore;
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

use answer::{Body, Refusal};
use bucket::{Bucket, Condition};

pub(crate) const BUCKET: &str = "backups";
pub(crate) const ACCESS_KEY: &str = "AKIAHVSTEST";
pub(crate) const SECRET_KEY: &str = "the-secret/of+the=tests";

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// 503, and nothing is done.
    SlowDown,
    /// 409 as for a conditional PUT while another one is on its way, and nothing is done.
    Busy,
    /// The connection ends before anything is done.
    LostRequest,
    /// It is done, and then the connection ends without an answer.
    LostReply,
    /// It is done, somebody else replaces the object with this, and there is no answer.
    LostReplyThenReplaced(Bytes),
    /// The connection ends in the middle of the body.
    Cut,
    /// The connection ends in the middle of the body, and the object is replaced with this.
    CutThenReplaced(Bytes),
    /// The first half of the body, as if it were all.
    Half,
    /// 403, and nothing is done.
    Forbidden,
}

struct Planned {
    method: Method,
    /// What the path ends with.
    path: String,
    fault: Fault,
}

/// The server. It ends with the test.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    bucket: Mutex<Bucket>,
    faults: Mutex<VecDeque<Planned>>,
    requests: Mutex<Vec<String>>,
    /// Connections that end are reset instead of closed.
    resets: AtomicBool,
    /// Clients are those of Google Cloud Storage, whose emulators ask for no token.
    is_google: bool,
}

/// A conditional PUT that is on its way.
struct OnItsWay<'a> {
    shared: &'a Shared,
    path: String,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.shared.bucket.lock().unwrap().end(&self.path);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_as(false).await
    }

    pub(crate) async fn start_as_google() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(is_google: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            bucket: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            resets: AtomicBool::new(false),
            is_google,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// What a node's environment says of this server.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        self.settings_with(ACCESS_KEY, SECRET_KEY)
    }

    pub(crate) fn settings_with(&self, access: &str, secret: &str) -> Vec<(String, String)> {
        pairs(&[
            ("AWS_ENDPOINT", &format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", access),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ])
    }

    /// Those of a node that takes it for Google Cloud Storage.
    pub(crate) fn settings_of_google(&self) -> Vec<(String, String)> {
        let key = format!(
            r#"{{"private_key": "", "private_key_id": "", "client_email": "",
                "disable_oauth": true, "gcs_base_url": "http://{}"}}"#,
            self.address
        );
        pairs(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &key), ("GOOGLE_ALLOW_HTTP", "true")])
    }

    /// A place below the bucket, opened as a node does.
    pub(crate) fn place(&self, prefix: &str) -> CheckpointStore {
        CheckpointStore::open(&format!("s3://{BUCKET}/{prefix}"), self.settings()).unwrap()
    }

    /// The next request of this method whose path ends so goes wrong. Several for one path happen
    /// one after the other.
    pub(crate) fn plan(&self, method: Method, path: &str, fault: Fault) {
        let planned = Planned { method, path: path.to_owned(), fault };
        self.shared.faults.lock().unwrap().push_back(planned);
    }

    /// Faults that have not happened yet.
    pub(crate) fn planned(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }

    pub(crate) fn reset_connections(&self) {
        self.shared.resets.store(true, Ordering::Relaxed);
    }

    /// Requests so far that begin like this, as `PUT /bucket/key?query`.
    pub(crate) fn requests(&self, beginning: &str) -> Vec<String> {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|request| request.starts_with(beginning)).cloned().collect()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.shared.bucket.lock().unwrap().keys()
    }
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        if shared.resets.load(Ordering::Relaxed) {
            stream.set_zero_linger().unwrap();
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { shared.serve(request).await }
            });
            // An error of the service is a connection that ends without an answer.
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A request, read as a whole.
struct Asked {
    method: Method,
    key: String,
    query: Vec<(String, String)>,
    headers: hyper::HeaderMap,
    body: Bytes,
    is_google: bool,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Shared {
    async fn serve(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let path = percent_decoded(parts.uri.path());
        self.requests.lock().unwrap().push(format!("{} {}", parts.method, parts.uri));
        let fault = self.fault(&parts.method, &path);
        let is_conditional = parts.headers.keys().any(|name| {
            ["if-match", "if-none-match", "x-goog-if-generation-match"].contains(&name.as_str())
        });
        let is_alone = !is_conditional || self.bucket.lock().unwrap().begin(&path);
        let _on_its_way =
            (is_conditional && is_alone).then(|| OnItsWay { shared: self, path: path.clone() });
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        // Whoever else comes by now is refused.
        tokio::task::yield_now().await;
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let Some(path) = path.strip_prefix('/') else {
            return Ok(Refusal::NOT_IMPLEMENTED.answer());
        };
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (headers, uri, method) = (parts.headers, parts.uri, parts.method);
        let is_google = self.is_google;
        let asked = Asked { method, key: key.to_owned(), query, headers, body, is_google };
        match fault {
            Some(Fault::SlowDown) => return Ok(Refusal::SLOW_DOWN.answer()),
            Some(Fault::Busy) => return Ok(Refusal::BUSY.answer()),
            Some(Fault::Forbidden) => return Ok(Refusal::ACCESS_DENIED.answer()),
            Some(Fault::LostRequest) => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
        let allowed = if is_google { Ok(()) } else { sign::check(&asked, &uri) };
        let done = allowed.and_then(|()| match bucket {
            BUCKET if is_alone => self.perform(&asked),
            BUCKET => Err(Refusal::BUSY),
            _ => Err(Refusal::NO_SUCH_BUCKET),
        });
        if let Some(Fault::LostReplyThenReplaced(by) | Fault::CutThenReplaced(by)) = &fault {
            self.bucket.lock().unwrap().replace(&asked.key, by.clone());
        }
        let answer = match fault {
            Some(Fault::LostReply | Fault::LostReplyThenReplaced(_)) => {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Some(Fault::Cut | Fault::CutThenReplaced(_)) => answer::cut,
            Some(Fault::Half) => answer::half,
            _ => answer::whole,
        };
        Ok(done.map_or_else(Refusal::answer, answer))
    }

    fn fault(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|one| one.method == *method && path.ends_with(&one.path));
        Some(faults.remove(at?)?.fault)
    }

    fn perform(&self, asked: &Asked) -> Result<Response<Bytes>, Refusal> {
        let mut bucket = self.bucket.lock().unwrap();
        match (&asked.method, asked.key.as_str()) {
            (&Method::GET, "") => bucket.list(asked),
            (&Method::POST, "") if asked.parameter("delete").is_some() => bucket.delete_all(asked),
            (&Method::PUT, key) if !key.is_empty() && asked.query.is_empty() => {
                let body = asked.body.clone();
                bucket.put(key, body, &Condition::of(asked)?)
            }
            (&Method::GET | &Method::HEAD, key) if asked.query.is_empty() => bucket.get(key, asked),
            (&Method::DELETE, key) if asked.query.is_empty() => bucket.delete(key, asked),
            // Uploads in several parts, copies, versions.
            _ => Err(Refusal::NOT_IMPLEMENTED),
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = || {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        };
        let byte = (first == b'%').then(escaped).flatten();
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}
