//! Requests that are bad before anything of their content is: bodies that cannot be read, routes,
//! headers and deadlines. Each gets a problem with a stable code, and nothing changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::{TestNode, prepared};

const RECORD: &str = "/v1/namespaces/h/vectors/new";
const SEARCH: &str = "/v1/namespaces/h/search";

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let node = prepared().await;
    let before = node.contents().await;
    let json_type = "application/json";
    let packed_type = "application/msgpack";
    let deep_json = [b"{\"metadata\":".to_vec(), b"[".repeat(100_000 / 2)].concat();
    let deep_packed = [b"\x81\xa8metadata\x81\xa1a".to_vec(), b"\x91".repeat(60_000)].concat();
    for (media, bytes, code) in [
        (json_type, b"".to_vec(), "invalid_json"),
        (json_type, b"{".to_vec(), "invalid_json"),
        (json_type, b"{\"vector\":[1.25,0,0.75]}x".to_vec(), "invalid_json"),
        (json_type, b"\xff\xfe".to_vec(), "invalid_json"),
        (json_type, b"{\"vector\":[1.25,0,0.75],\"vector\":[1,0,0]}".to_vec(), "invalid_body"),
        (json_type, b"\x81\xa6vector\x93\x01\x00\x00".to_vec(), "invalid_json"),
        (json_type, deep_json, "invalid_json"),
        (packed_type, b"".to_vec(), "invalid_msgpack"),
        (packed_type, b"\x81".to_vec(), "invalid_msgpack"),
        (packed_type, b"\xdf\xff\xff\xff\xff".to_vec(), "invalid_msgpack"),
        (packed_type, b"\x81\xa6vector\xdd\xff\xff\xff\xff".to_vec(), "invalid_msgpack"),
        (packed_type, b"\x81\xa6vector\x93\x01\x00\x00\x00".to_vec(), "invalid_msgpack"),
        (packed_type, deep_packed, "invalid_msgpack"),
        (packed_type, b"\xc1".to_vec(), "invalid_msgpack"),
        (json_type, b"[[1.25,0,0.75]]".to_vec(), "invalid_body"),
        (packed_type, b"\x91\x93\x01\x00\x00".to_vec(), "invalid_body"),
        (packed_type, b"{\"vector\":[1.25,0,0.75]}".to_vec(), "invalid_body"),
        ("text/plain", b"{}".to_vec(), "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"a=b".to_vec(), "unsupported_media_type"),
        ("", b"{}".to_vec(), "unsupported_media_type"),
    ] {
        let shown = bytes.iter().take(40).copied().collect::<Vec<_>>();
        let answer = node.bytes(media, Method::PUT, RECORD, bytes).await;
        assert_eq!(answer.body["code"], code, "{media} {} {answer:?}", shown.escape_ascii());
        answer.problem(code);
    }
    // A body that would have to be unpacked is not taken for what it is not.
    for (encoding, code) in [("gzip", Some("unsupported_media_type")), ("identity", None)] {
        let request = node.request(Method::POST, SEARCH).header("content-type", json_type);
        let body = r#"{"vector":[1.25,0,0.75],"k":1}"#;
        let request = request.header("content-encoding", encoding).body(body);
        let answer = node.send(request).await;
        match code {
            Some(code) => drop(answer.problem(code)),
            None => drop(answer.ok()),
        }
    }
    assert_eq!(node.contents().await, before);
}

#[tokio::test]
async fn bodies_over_the_limit_with_and_without_their_length() {
    let node = prepared().await;
    let limit = 64 << 10;
    let frame = "{\"vector\":[1.25,0,0.75]}";
    let exactly = format!("{frame}{}", " ".repeat(limit - frame.len()));
    let over = format!("{exactly} ");
    let before = node.contents().await;
    let sized = node.bytes("application/json", Method::PUT, RECORD, over.clone().into_bytes());
    assert_eq!(sized.await.problem("body_too_large")["context"]["limit"], limit);
    let much = "x".repeat(20 * limit).into_bytes();
    node.bytes("application/json", Method::PUT, RECORD, much).await.problem("body_too_large");
    let chunks = |text: String| {
        let parts: Vec<Result<Vec<u8>, std::io::Error>> =
            text.into_bytes().chunks(1_000).map(|chunk| Ok(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(parts))
    };
    let request = node.request(Method::PUT, RECORD).header("content-type", "application/json");
    node.send(request.body(chunks(over))).await.problem("body_too_large");
    assert_eq!(node.contents().await, before);
    let request = node.request(Method::PUT, RECORD).header("content-type", "application/json");
    node.send(request.body(chunks(exactly))).await.ok();
}

#[tokio::test]
async fn routes_methods_headers_and_queries() {
    let node = prepared().await;
    node.get("/v2/namespaces").await.problem("route_not_found");
    node.get("/").await.problem("route_not_found");
    node.get("/v1/namespaces/e/vectors").await.problem("route_not_found");
    node.get("/v1/namespaces/e/vectors/a/b").await.problem("route_not_found");
    let post = node.send(node.request(Method::POST, "/v1/namespaces/e")).await;
    assert!(post.headers["allow"].to_str().unwrap().contains("PUT"), "{post:?}");
    post.problem("method_not_allowed");
    node.send(node.request(Method::GET, SEARCH)).await.problem("method_not_allowed");
    let odd = Method::from_bytes(b"BREW").unwrap();
    node.send(node.request(odd, "/v1/namespaces")).await.problem("method_not_allowed");

    let get = |name: &'static str, value: &'static str| {
        node.send(node.request(Method::GET, "/v1/namespaces").header(name, value))
    };
    get("accept", "text/html").await.problem("not_acceptable");
    get("x-deadline-ms", "soon").await.problem("invalid_header");
    let late = node.request(Method::POST, SEARCH).header("x-deadline-ms", "0");
    let late = late.json(&json!({"vector": [1.25, 0, 0.75], "k": 1, "exact": true}));
    node.send(late).await.problem("deadline_exceeded");
    node.get("/v1/namespaces/e/vectors/kept?colour=red").await.problem("invalid_query");
    node.delete("/v1/namespaces/e/vectors/kept?durability=x").await.problem("invalid_query");
    node.delete("/v1/namespaces/e/vectors/kept?durability=quorum")
        .await
        .problem("durability_unavailable");
    node.get("/v1/namespaces/e/vectors/kept?partition_key=").await.problem("invalid_partition_key");
    // A problem comes in the encoding of the request, under the request's own id.
    let request = node
        .request(Method::GET, "/v1/namespaces/no")
        .header("accept", "application/msgpack")
        .header("x-request-id", "mine");
    let problem = node.send(request).await;
    assert_eq!(problem.headers["content-type"], "application/problem+msgpack");
    assert_eq!(problem.problem("namespace_not_found")["request_id"], "mine");
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let node = TestNode::with(|config| config.limits.answer_bytes = 4_000).await;
    node.namespace("e", json!({"geometry": "euclidean", "dimension": 1})).await;
    for number in 0..10 {
        let body = json!({"vector": [number], "metadata": {"text": "x".repeat(450)}});
        node.put(&format!("/v1/namespaces/e/vectors/{number}"), body).await.ok();
    }
    let search =
        |k: u64, metadata: bool| json!({"vector": [0], "k": k, "include_metadata": metadata});
    let path = "/v1/namespaces/e/search";
    // A hit takes its id and 64 bytes, and here a record of somewhat more than 450.
    node.post(path, search(10, false)).await.ok();
    node.post(path, search(6, true)).await.ok();
    node.post(path, search(10, true)).await.problem("answer_too_large");
    let batch = |one: Value, count: usize| json!({"searches": vec![one; count]});
    let path = "/v1/namespaces/e/search/batch";
    node.post(path, batch(search(10, false), 6)).await.ok();
    node.post(path, batch(search(10, false), 7)).await.problem("answer_too_large");
    node.post(path, batch(search(3, true), 3)).await.problem("answer_too_large");
}

#[tokio::test]
async fn who_announces_a_body_and_sends_none_holds_up_nobody() {
    use std::io::Write;

    let node = prepared().await;
    let mut stalled = Vec::new();
    for number in 0..4 {
        let address = node.node.as_ref().unwrap().external();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let length = if number % 2 == 0 {
            format!("content-length: {}", 64 << 10)
        } else {
            "transfer-encoding: chunked".to_owned()
        };
        let head = format!(
            "POST {SEARCH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stalled.push(stream);
    }
    let search = json!({"vector": [1.25, 0, 0.75], "k": 1});
    for _ in 0..20 {
        node.post(SEARCH, search.clone()).await.ok();
    }
}

#[tokio::test]
async fn a_write_whose_time_is_up_does_not_begin() {
    let node = prepared().await;
    let request = node.request(Method::PUT, RECORD).header("x-deadline-ms", "0");
    let request = request.json(&json!({"vector": [1.25, 0, 0.75]}));
    node.send(request).await.problem("deadline_exceeded");
    node.get(RECORD).await.problem("vector_not_found");
}

#[tokio::test]
async fn a_query_string_that_is_not_utf8_is_refused() {
    let node = prepared().await;
    let path = "/v1/namespaces/h/vectors/kept?partition_key=%ff";
    node.get(path).await.problem("invalid_query");
}
