//! Limits of connections and of what arrives on them, at their edges.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{io, time::Duration};

use serde_json::json;
use support::TestNode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_mins(1);
const GET: &str = "GET /v1/aliases HTTP/1.1\r\nhost: x\r\n\r\n";

/// A connection that is written to and read from by hand.
struct Raw(TcpStream);

impl Raw {
    async fn open(node: &TestNode) -> Self {
        Self(TcpStream::connect(node.base.strip_prefix("http://").unwrap()).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until a text has come; what came before if the connection ends first.
    async fn until(&mut self, text: &str) -> String {
        let mut come = String::new();
        let mut buffer = [0; 4_096];
        while !come.contains(text) {
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer)).await.unwrap();
            match read {
                Ok(0) | Err(_) => break,
                Ok(read) => come.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
            }
        }
        come
    }

    /// A whole request and its answer.
    async fn answered(&mut self) {
        self.send(GET).await;
        let answer = self.until("\"aliases\"").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }

    /// Whether nothing has come.
    fn is_silent(&self) -> bool {
        let found = self.0.try_read(&mut [0; 16]);
        found.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

async fn metric(address: &str, name: &str) -> u64 {
    let text = reqwest::get(format!("{address}/metrics")).await.unwrap().text().await.unwrap();
    let line = format!("{name} ");
    text.lines().find_map(|found| found.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_as_allowed_are_served_and_more_wait() {
    let node = TestNode::with(|config| config.listen.connections = 2).await;
    let internal = format!("http://{}", node.node.as_ref().unwrap().internal());
    let mut first = Raw::open(&node).await;
    let mut second = Raw::open(&node).await;
    first.answered().await;
    second.answered().await;
    let mut third = Raw::open(&node).await;
    third.send(GET).await;
    // Those that are open go on, and the other listener has a number of its own.
    for _ in 0..100 {
        first.answered().await;
        second.answered().await;
    }
    assert!(third.is_silent());
    assert_eq!(metric(&internal, "hvs_http_connections").await, 3, "two, and this one");
    assert!(third.is_silent());
    drop(second);
    let answer = third.until("\"aliases\"").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    first.answered().await;
    third.answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_send_the_head_of_a_request_is_cut_off() {
    let node = TestNode::with(|config| config.listen.header_timeout_ms = 200).await;
    let half = "PUT /v1/namespaces/half HTTP/1.1\r\nhost: x\r\ncontent-type: appl";
    // Begun before the other two, so that when they have ended its time was over as well.
    let mut slow_body = Raw::open(&node).await;
    let body = r#"{"geometry": "euclidean", "dimension": 2}"#;
    let (some, rest) = body.split_at(10);
    let length = body.len();
    slow_body
        .send(&format!(
            "PUT /v1/namespaces/slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{some}"
        ))
        .await;
    let mut silent = Raw::open(&node).await;
    let mut slow_head = Raw::open(&node).await;
    slow_head.send(half).await;
    for (connection, what) in [(&mut silent, "nothing"), (&mut slow_head, "half a head")] {
        let answer = connection.until("no answer has this text").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{what}: {answer:?}");
    }
    // The time is for the head alone.
    slow_body.send(rest).await;
    let answer = slow_body.until("no answer has this text").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer:?}");
    node.get("/v1/namespaces/half").await.problem("namespace_not_found");
    node.get("/v1/namespaces/slow").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_arrive_in_parts() {
    let node = TestNode::with(|config| config.listen.header_timeout_ms = 60_000).await;
    let mut slow = Raw::open(&node).await;
    let (some, rest) = GET.split_at(20);
    slow.send(some).await;
    node.get("/v1/aliases").await.ok();
    assert!(slow.is_silent());
    slow.send(rest).await;
    assert!(slow.until("\"aliases\"").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_bytes_are_in_flight_as_allowed_and_no_more() {
    const LIMIT: usize = 64 << 10;
    const HELD: usize = 50_000;
    const WHOLE: usize = 60_000;
    let node = TestNode::with(|config| {
        config.limits.body_bytes = LIMIT;
        config.limits.bytes_in_flight = LIMIT;
    })
    .await;
    node.namespace("n", json!({"geometry": "euclidean", "dimension": 2})).await;
    let in_flight = async || metric(&node.base, "hvs_http_body_bytes_in_flight").await;
    // White space around it is part of the body.
    let padded = |id: &str, length: usize| {
        let body = json!({"operations": [{"put": {"id": id, "vector": [1, 2]}}]}).to_string();
        body.clone() + &" ".repeat(length - body.len())
    };
    let mut slow = Raw::open(&node).await;
    let whole = padded("slow", WHOLE);
    slow.send(&format!(
        "POST /v1/namespaces/n/batch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {WHOLE}\r\n\r\n{}",
        &whole[..HELD]
    ))
    .await;
    while in_flight().await < HELD as u64 {
        tokio::task::yield_now().await;
    }
    let batch = async |id: &str, length: usize| {
        let path = "/v1/namespaces/n/batch";
        node.bytes("application/json", reqwest::Method::POST, path, padded(id, length).into()).await
    };
    let refused = batch("beyond", LIMIT - HELD + 1).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.problem("overloaded")["context"]["limit"], LIMIT);
    assert_eq!(in_flight().await, HELD as u64, "what is refused holds nothing");
    batch("last", LIMIT - HELD).await.ok();
    slow.send(&whole[HELD..]).await;
    let answer = slow.until("no answer has this text").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert_eq!(in_flight().await, 0);
    batch("again", LIMIT).await.ok();
    for (id, is_there) in [("slow", true), ("last", true), ("again", true), ("beyond", false)] {
        let found = node.get(&format!("/v1/namespaces/n/vectors/{id}")).await;
        assert_eq!(found.status == 200, is_there, "{id}");
    }
}
