//! The feed of changes over HTTP: pages, waiting, streams, and how they end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{TestNode, answer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_mins(1);

async fn put(node: &TestNode, id: &str) -> Value {
    node.put(&format!("/v1/namespaces/n/vectors/{id}"), json!({"vector": [1.0, 2.0]})).await.ok()
}

async fn changes(node: &TestNode, query: &str) -> Value {
    node.get(&format!("/v1/namespaces/n/changes?{query}")).await.ok()
}

async fn started(shards: u64, change: impl FnOnce(&mut hvs_node::config::Config)) -> TestNode {
    let node = TestNode::with(change).await;
    node.namespace("n", json!({"geometry": "euclidean", "dimension": 2, "shards": shards})).await;
    node
}

fn ids(page: &Value) -> Vec<String> {
    let changes = page["changes"].as_array().unwrap().iter();
    changes.map(|change| change["id"].as_str().unwrap().to_owned()).collect()
}

/// A connection with a stream of events, read by hand.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn open(node: &TestNode, query: &str, last_event_id: Option<&str>) -> Self {
        let address = node.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let resumed = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let head = format!(
            "GET /v1/namespaces/n/changes?{query} HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n{resumed}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut events = Self { stream, text: String::new() };
        events.until("\r\n\r\n").await;
        assert!(events.text.starts_with("HTTP/1.1 200"), "{}", events.text);
        assert!(events.text.contains("content-type: text/event-stream"), "{}", events.text);
        events
    }

    /// Reads until a text has come, and returns what came up to it.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.text.find(text) {
                return self.text[..at + text.len()].to_owned();
            }
            assert!(self.more().await, "ended before {text:?}: {}", self.text);
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 65_536];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let read = read.unwrap().unwrap();
        self.text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        read > 0
    }

    /// All pages that came.
    fn pages(&self) -> Vec<Value> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn every_change_of_every_shard_comes_once_across_pages_and_restarts() {
    let mut node = started(3, |_| {}).await;
    let mut token: Option<String> = None;
    let (mut seen, mut expected) = (Vec::new(), Vec::new());
    for round in 0..6 {
        for number in 0..7 {
            let id = format!("r{number}");
            if round == 3 && number < 2 {
                node.delete(&format!("/v1/namespaces/n/vectors/{id}")).await.ok();
            } else {
                put(&node, &id).await;
            }
            expected.push((id, u64::try_from(round).unwrap() + 1));
        }
        loop {
            let since = token.map_or(String::new(), |token| format!("&since={token}"));
            let page = changes(&node, &format!("limit=2{since}")).await;
            token = Some(page["token"].as_str().unwrap().to_owned());
            for change in page["changes"].as_array().unwrap() {
                let version = change["version"].as_u64().unwrap();
                let kind = if version == 4 && ["r0", "r1"].contains(&change["id"].as_str().unwrap())
                {
                    "delete"
                } else {
                    "put"
                };
                assert_eq!(change["kind"], kind);
                seen.push((change["id"].as_str().unwrap().to_owned(), version));
            }
            if page["complete"] == true {
                break;
            }
        }
        // Within a round the order is that of the shards.
        seen.sort_by_key(|(id, version)| (*version, id.clone()));
        assert_eq!(seen, expected);
        if round % 2 == 1 {
            node = node.restart().await;
        }
    }
    // One shard by itself, from the seq of an entry, with records.
    let shard = changes(&node, "limit=1").await["changes"][0]["shard"].as_u64().unwrap();
    let page = changes(&node, &format!("shard={shard}&include=record&limit=1000")).await;
    let all = page["changes"].as_array().unwrap();
    assert!(all.iter().all(|change| change["shard"] == shard));
    let (some, seq) = (all.len() / 2, all[all.len() / 2]["seq"].as_u64().unwrap());
    assert_eq!(all[some]["record"]["vector"], json!([1.0, 2.0]));
    assert_eq!(all[some]["record"]["version"], all[some]["version"]);
    let rest = changes(&node, &format!("shard={shard}&since={seq}&include=record")).await;
    assert_eq!(rest["changes"].as_array().unwrap(), &all[some + 1..]);
}

#[tokio::test]
async fn a_request_waits_for_a_change_and_no_longer_than_asked() {
    let node = started(2, |config| config.feed.wait_ms = 50_000).await;
    let now = changes(&node, "since=now").await;
    let since = now["token"].as_str().unwrap().to_owned();
    assert_eq!(now["complete"], true);
    let waiting = node
        .request(
            reqwest::Method::GET,
            &format!("/v1/namespaces/n/changes?since={since}&wait_ms=50000"),
        )
        .send();
    let waiting = tokio::spawn(waiting);
    // The request is there once it counts as a follower.
    followers(&node, 1).await;
    put(&node, "a").await;
    let page = answer(waiting.await.unwrap().unwrap()).await.ok();
    assert_eq!(ids(&page), ["a"]);
    followers(&node, 0).await;
    let since = page["token"].as_str().unwrap();
    let page = changes(&node, &format!("since={since}&wait_ms=1")).await;
    assert_eq!((ids(&page).len(), &page["token"]), (0, &json!(since)));
}

/// Waits until so many follow.
async fn followers(node: &TestNode, count: u64) {
    let internal = node.node.as_ref().unwrap().internal();
    let until = tokio::time::Instant::now() + PATIENCE;
    let wanted = format!("hvs_feed_followers {count}\n");
    loop {
        let text = reqwest::get(format!("http://{internal}/metrics")).await.unwrap();
        let text = text.text().await.unwrap();
        if text.contains(&wanted) {
            return;
        }
        assert!(tokio::time::Instant::now() < until, "no {wanted:?} in\n{text}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stream_brings_changes_beats_resumes_and_ends_with_the_node() {
    let mut node = started(2, |config| config.feed.heartbeat_ms = 20).await;
    put(&node, "a").await;
    let mut events = Events::open(&node, "", None).await;
    events.until("\"id\":\"a\"").await;
    events.until("\n\n\r\n").await;
    put(&node, "b").await;
    events.until("\"id\":\"b\"").await;
    // Without a change it shows that it lives.
    events.text.clear();
    events.until(":\n\n").await;
    drop(events);
    followers(&node, 0).await;

    let mut events = Events::open(&node, "", None).await;
    events.until("\"id\":\"a\"").await;
    events.until("\"id\":\"b\"").await;
    events.until("\n\n").await;
    let pages = events.pages();
    let seen: Vec<_> = pages.iter().flat_map(ids).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    let token = pages.last().unwrap()["token"].as_str().unwrap().to_owned();
    assert!(events.text.contains(&format!("id: {token}\n")));
    drop(events);
    put(&node, "c").await;
    let mut events = Events::open(&node, "", Some(&token)).await;
    events.until("\"id\":\"c\"").await;
    events.until("\n\n").await;
    assert_eq!(events.pages().iter().flat_map(ids).collect::<Vec<_>>(), ["c"]);

    node.node.take().unwrap().stop().await.unwrap();
    while events.more().await {}
    // The end of a body that is whole.
    assert!(events.text.ends_with("0\r\n\r\n"), "{}", events.text);
}

#[tokio::test]
async fn deleting_the_namespace_ends_its_followers() {
    let node = started(2, |_| {}).await;
    let mut events = Events::open(&node, "", None).await;
    let path = "/v1/namespaces/n/changes?since=now&wait_ms=20000";
    let waiting = tokio::spawn(node.request(reqwest::Method::GET, path).send());
    followers(&node, 2).await;
    node.delete("/v1/namespaces/n").await.ok();
    answer(waiting.await.unwrap().unwrap()).await.problem("namespace_not_found");
    events.until("event: problem\n").await;
    // The end of the body; the connection could serve another request.
    events.until("\r\n0\r\n\r\n").await;
    assert!(events.text.contains("namespace_not_found"), "{}", events.text);
    assert!(events.text.ends_with("0\r\n\r\n"), "{}", events.text);
    followers(&node, 0).await;
}

#[tokio::test]
async fn history_that_is_gone_is_said_with_the_oldest_position() {
    let node = started(1, |config| config.feed.entries = 10).await;
    let old = changes(&node, "since=now").await;
    let old = old["token"].as_str().unwrap();
    for number in 0..60 {
        put(&node, &format!("r{number}")).await;
    }
    for since in [format!("since={old}"), "shard=0&since=1".to_owned(), String::new()] {
        let path = format!("/v1/namespaces/n/changes?{since}");
        let problem = node.get(&path).await.problem("history_gone");
        assert!(problem["context"]["oldest"].as_u64().unwrap() >= 40, "{problem}");
        let token = problem["context"]["token"].as_str().unwrap();
        let shard = if since.contains("shard") { "&shard=0" } else { "" };
        let page = changes(&node, &format!("since={token}{shard}")).await;
        assert_eq!(ids(&page).last().unwrap(), "r59");
    }
    node.get("/v1/namespaces/n/changes?shard=0&since=999999").await.problem("history_gone");
    // A namespace of the same name is another one.
    node.delete("/v1/namespaces/n").await.ok();
    node.namespace("n", json!({"geometry": "euclidean", "dimension": 2})).await;
    node.get(&format!("/v1/namespaces/n/changes?since={old}")).await.problem("history_gone");
}

#[tokio::test]
async fn limits_and_bad_requests_have_their_codes() {
    let node = started(2, |config| {
        config.feed.followers = 1;
        config.feed.wait_ms = 5_000;
        config.limits.page = 5;
    })
    .await;
    let all = changes(&node, "").await;
    let token = all["token"].as_str().unwrap();
    for (query, code) in [
        ("since=soon".to_owned(), "invalid_token"),
        ("since=1".to_owned(), "invalid_token"),
        (format!("since={token}&shard=1"), "invalid_token"),
        (format!("since={}", &token[2..]), "invalid_token"),
        ("shard=2".to_owned(), "invalid_argument"),
        ("limit=6".to_owned(), "invalid_limit"),
        ("limit=0".to_owned(), "invalid_limit"),
        ("wait_ms=5001".to_owned(), "invalid_argument"),
        ("include=everything".to_owned(), "invalid_argument"),
        ("shard=-1".to_owned(), "invalid_query"),
        ("unknown=1".to_owned(), "invalid_query"),
    ] {
        node.get(&format!("/v1/namespaces/n/changes?{query}")).await.problem(code);
    }
    changes(&node, "limit=5&wait_ms=0").await;
    node.get("/v1/namespaces/other/changes").await.problem("namespace_not_found");
    let events = Events::open(&node, "", None).await;
    followers(&node, 1).await;
    node.get("/v1/namespaces/n/changes?wait_ms=5000").await.problem("overloaded");
    // Who does not wait needs no place.
    changes(&node, "").await;
    drop(events);
}
