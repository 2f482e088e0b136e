//! The client against a server that answers as told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use hvs_api::{
    BatchRequest, Code, Encoding, PutRecord, SearchRequest, SearchResponse, Vector, WriteResult,
    WriteStatus, decode, encode,
};
use hvs_client::{Client, ClientConfig, ClientError, DeleteOptions};

/// What arrived.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

enum Answer {
    Respond(Response<Body>),
    Hang,
}

impl Server {
    /// Listens, and gives the answers in turn.
    async fn start(answers: impl IntoIterator<Item = Answer>) -> (Self, ClientConfig) {
        let server = Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            ..Self::default()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let config =
            ClientConfig { first_pause: Duration::from_millis(1), ..ClientConfig::new(url) };
        (server, config)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    State(server): State<Server>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    server.seen.lock().unwrap().push(Seen { method, uri, headers, body });
    let next = server.answers.lock().unwrap().pop_front();
    match next {
        Some(Answer::Respond(response)) => response,
        Some(Answer::Hang) => std::future::pending().await,
        None => problem(Code::Internal, Encoding::Json, None),
    }
}

fn ok<T: serde::Serialize>(value: &T) -> Answer {
    let body = encode(Encoding::MessagePack, value).unwrap();
    let response = Response::builder().header("content-type", "application/msgpack");
    Answer::Respond(response.body(body.into()).unwrap())
}

fn problem(code: Code, encoding: Encoding, retry_after: Option<&str>) -> Response<Body> {
    let problem = hvs_api::Problem::new(code, "as told");
    let media_type = match encoding {
        Encoding::Json => hvs_api::PROBLEM_JSON,
        Encoding::MessagePack => hvs_api::PROBLEM_MESSAGE_PACK,
    };
    let mut response =
        Response::builder().status(problem.status).header("content-type", media_type);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(encode(encoding, &problem).unwrap().into()).unwrap()
}

fn refused(code: Code) -> Answer {
    Answer::Respond(problem(code, Encoding::MessagePack, Some("0")))
}

fn stored() -> WriteResult {
    WriteResult {
        id: "a".into(),
        status: WriteStatus::Created,
        version: None,
        etag: None,
        durability: None,
    }
}

fn record(id: &str) -> PutRecord {
    PutRecord { id: Some(id.into()), vector: Some(Vector(vec![0.1])), ..PutRecord::default() }
}

#[tokio::test]
async fn a_write_is_repeated_under_one_key_until_the_node_takes_it() {
    let (server, config) = Server::start([
        refused(Code::Overloaded),
        refused(Code::OutcomeUnknown),
        ok(&stored()),
        ok(&stored()),
    ])
    .await;
    let client = Client::new(config).unwrap();
    client.put("n", &record("a"), None).await.unwrap();
    client.put("n", &record("a"), Some("mine")).await.unwrap();
    let keys: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| seen.headers["idempotency-key"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(keys[0] == keys[1] && keys[1] == keys[2], "{keys:?}");
    assert_eq!(keys[3], "mine");
}

#[tokio::test]
async fn a_deletion_of_a_namespace_is_repeated_only_if_it_was_not_done() {
    let deleted = hvs_api::DeletedName { name: "n".into() };
    let (server, config) = Server::start([refused(Code::NotReady), ok(&deleted)]).await;
    Client::new(config).unwrap().delete_namespace("n").await.unwrap();
    assert_eq!(server.seen().len(), 2);

    let (server, config) = Server::start([refused(Code::OutcomeUnknown), ok(&deleted)]).await;
    let error = Client::new(config).unwrap().delete_namespace("n").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OutcomeUnknown));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn refusals_are_not_repeated_and_carry_their_code_in_both_encodings() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let response = problem(Code::InvalidK, encoding, None);
        let (server, config) = Server::start([Answer::Respond(response)]).await;
        let client = Client::new(config).unwrap();
        let error = client.search("n", &SearchRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::InvalidK));
        assert_eq!(error.to_string(), "as told (invalid_k)");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_asked_until_the_patience_ends() {
    let codes = [Code::NotReady, Code::ShuttingDown, Code::Overloaded];
    let refusals = || codes.into_iter().cycle().take(40).map(refused);
    let answer = ok(&hvs_api::NamespaceList { namespaces: Vec::new() });
    let (server, config) = Server::start(refusals().chain([answer])).await;
    Client::new(config).unwrap().list_namespaces().await.unwrap();
    assert_eq!(server.seen().len(), 41);

    let (server, config) = Server::start(refusals()).await;
    let client = Client::new(ClientConfig { patience: Duration::ZERO, ..config }).unwrap();
    let error = client.list_namespaces().await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(server.seen().len(), 1);
}

/// The port of a node that was there is tried until the patience ends, that of one that never was
/// only for a moment.
#[tokio::test]
async fn a_node_that_answered_once_may_restart() {
    let list = || ok(&hvs_api::NamespaceList { namespaces: Vec::new() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |listener| {
        let server = Server { answers: Arc::new(Mutex::new([list()].into())), ..Server::default() };
        let router = Router::new().fallback(answer).with_state(server);
        // Without keep-alive nothing of the first server outlives it.
        let router = router.layer(axum::middleware::map_response(closed));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    };
    let first = serve(listener);
    let config = ClientConfig {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
        connect_patience: Duration::ZERO,
        ..ClientConfig::new(format!("http://{address}"))
    };
    let client = Client::new(config.clone()).unwrap();
    client.list_namespaces().await.unwrap();
    first.abort();
    first.await.unwrap_err();

    let stranger = Client::new(config).unwrap().list_namespaces().await.unwrap_err();
    assert!(matches!(stranger, ClientError::Connect { .. }), "{stranger}");
    let waiting = tokio::spawn(async move { client.list_namespaces().await });
    // Long enough for several attempts; however long it is, the client waits.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    serve(tokio::net::TcpListener::bind(address).await.unwrap());
    waiting.await.unwrap().unwrap();
}

async fn closed(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert("connection", "close".parse().unwrap());
    response
}

#[tokio::test]
async fn bodies_are_messagepack_and_odd_ids_reach_the_node_whole() {
    for id in ["a/b", "ä ö?#%2F", "..a", "a.", "100%", "+"] {
        let (server, config) = Server::start([ok(&stored())]).await;
        Client::new(config).unwrap().put("n", &record(id), None).await.unwrap();
        let seen = server.seen().remove(0);
        assert_eq!(seen.method, Method::PUT);
        let segment = seen.uri.path().strip_prefix("/v1/namespaces/n/vectors/").unwrap();
        assert!(!segment.contains('/'), "{segment}");
        let sent: PutRecord = decode(Encoding::MessagePack, &seen.body).unwrap();
        assert_eq!(sent, record(id));
        assert_eq!(seen.headers["content-type"], "application/msgpack");
        assert_eq!(seen.headers["accept"], "application/msgpack");
        assert_eq!(seen.headers["x-deadline-ms"], "30000");
    }
}

#[tokio::test]
async fn ids_that_no_path_can_hold_go_another_way() {
    for id in [".", "..", ""] {
        let results = hvs_api::BatchResponse { results: vec![stored()], failed: 0 };
        let nothing = hvs_api::FetchResponse { records: Vec::new(), missing: vec![id.to_owned()] };
        let (server, config) = Server::start([ok(&results), ok(&nothing), ok(&results)]).await;
        let client = Client::new(config).unwrap();
        client.put("n", &record(id), None).await.unwrap();
        let error = client.get("n", id, None).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::VectorNotFound));
        client.delete("n", id, &DeleteOptions::default(), None).await.unwrap();
        let paths: Vec<_> = server.seen().iter().map(|seen| seen.uri.path().to_owned()).collect();
        let batch = "/v1/namespaces/n/batch";
        assert_eq!(paths, [batch, "/v1/namespaces/n/fetch", batch]);
        let error = client.get_namespace(id).await.unwrap_err();
        assert!(matches!(error, ClientError::InvalidName(_)), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_time_out_and_asked_for_again() {
    let (server, config) =
        Server::start([Answer::Hang, ok(&SearchResponse::default()), Answer::Hang]).await;
    let config = ClientConfig { timeout: Duration::from_millis(50), ..config };
    let client = Client::new(config.clone()).unwrap();
    client.search("n", &SearchRequest::default()).await.unwrap();
    assert_eq!(server.seen().len(), 2);
    let client = Client::new(ClientConfig { patience: Duration::ZERO, ..config }).unwrap();
    let error = client.search("n", &SearchRequest::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let big = hvs_api::FetchResponse { records: Vec::new(), missing: vec!["x".repeat(1000)] };
    let length = encode(Encoding::MessagePack, &big).unwrap().len();
    let (_server, config) = Server::start([ok(&big), ok(&big)]).await;
    let request = hvs_api::FetchRequest::default();
    let at = Client::new(ClientConfig { answer_bytes: length, ..config.clone() }).unwrap();
    assert_eq!(at.fetch("n", &request).await.unwrap(), big);
    let below = Client::new(ClientConfig { answer_bytes: length - 1, ..config }).unwrap();
    let error = below.fetch("n", &request).await.unwrap_err();
    assert!(matches!(error, ClientError::AnswerTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_does_not_come_from_a_node_is_said() {
    let html = Response::builder().status(StatusCode::BAD_GATEWAY).body("<h1>no</h1>".into());
    let text = Response::builder().header("content-type", "application/json").body("{".into());
    let (_server, config) =
        Server::start([Answer::Respond(html.unwrap()), Answer::Respond(text.unwrap())]).await;
    let client = Client::new(ClientConfig { patience: Duration::ZERO, ..config }).unwrap();
    let error = client.list_namespaces().await.unwrap_err().to_string();
    assert!(error.ends_with("answered 502 without saying why: <h1>no</h1>"), "{error}");
    let error = client.list_namespaces().await.unwrap_err();
    assert!(matches!(error, ClientError::Decode { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client =
        Client::new(ClientConfig { patience: Duration::ZERO, ..ClientConfig::new(&url) }).unwrap();
    let error = client.batch("n", &BatchRequest::default(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
}

#[test]
fn addresses_that_are_none_are_refused() {
    for url in ["", "127.0.0.1:9001", "ftp://x", "https://x", "http://", "mailto:a"] {
        let error = Client::new(ClientConfig::new(url)).unwrap_err();
        assert!(matches!(error, ClientError::InvalidUrl { .. }), "{url}");
    }
    assert!(Client::new(ClientConfig::new("http://[::1]:9001/prefix/")).is_ok());
}
