//! Namespaces that are unloaded when nobody uses them, and the budget of memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use hvs_node::config::Config;
use serde_json::{Value, json};
use support::{TestNode, ids};

const NAMESPACE: &str = "/v1/namespaces/n";

fn flat() -> Value {
    json!({"geometry": "euclidean", "dimension": 2})
}

async fn node(change: impl FnOnce(&mut Config)) -> TestNode {
    let node = TestNode::with(change).await;
    node.put(NAMESPACE, flat()).await.ok();
    node
}

async fn put(node: &TestNode, namespace: &str, id: usize) -> support::Answer {
    node.put(&format!("{namespace}/vectors/r{id}"), json!({"vector": [0, id]})).await
}

async fn metric(node: &TestNode, series: &str) -> Option<f64> {
    let text = node.get("/metrics").await.body;
    text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn is_loaded(node: &TestNode, namespace: &str) -> bool {
    node.get(namespace).await.ok()["loaded"].as_bool().unwrap()
}

async fn until_unloaded(node: &TestNode, namespace: &str) {
    let begun = Instant::now();
    while is_loaded(node, namespace).await {
        assert!(begun.elapsed() < Duration::from_mins(1), "{namespace} is never unloaded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn nearest(node: &TestNode, namespace: &str) -> Vec<String> {
    let search = json!({"vector": [0, 0], "k": 2});
    ids(&node.post(&format!("{namespace}/search"), search).await.ok())
}

#[tokio::test]
async fn an_idle_namespace_is_unloaded_and_the_next_request_loads_it() {
    let node = node(|config| config.memory.idle_seconds = 1).await;
    for id in 0..5 {
        put(&node, NAMESPACE, id).await.ok();
    }
    until_unloaded(&node, NAMESPACE).await;
    // Everything that looks at all namespaces still does, and loads none.
    let list = node.get("/v1/namespaces").await.ok();
    assert_eq!(list["namespaces"][0]["loaded"], false);
    assert_eq!(list["namespaces"][0]["records"], 5);
    assert_eq!(list["namespaces"][0]["vectors"][""]["state"]["live"], 5);
    assert_eq!(metric(&node, r#"hvs_records{namespace="n"}"#).await, Some(5.0));
    assert_eq!(metric(&node, "hvs_namespaces_unloaded").await, Some(1.0));
    assert_eq!(node.get("/health").await.ok()["parts"]["namespaces loaded"], "0");
    node.get("/readyz").await.ok();
    node.get("/v1/maintenance").await.ok();
    node.put("/v1/aliases/a", json!({"namespace": "n"})).await.ok();
    assert!(!is_loaded(&node, NAMESPACE).await);
    // By the alias as well, and with every kind of request.
    assert_eq!(nearest(&node, "/v1/namespaces/a").await, ["r0", "r1"]);
    assert!(is_loaded(&node, NAMESPACE).await);
    assert_eq!(metric(&node, "hvs_namespace_loads_total").await, Some(1.0));
    until_unloaded(&node, NAMESPACE).await;
    put(&node, NAMESPACE, 5).await.ok();
    until_unloaded(&node, NAMESPACE).await;
    let task = node.post(&format!("{NAMESPACE}/checkpoints"), json!({})).await.ok();
    let task = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let begun = Instant::now();
    while node.get(&task).await.ok()["state"] == "running" {
        assert!(begun.elapsed() < Duration::from_mins(1), "the checkpoint is never made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.get(&task).await.ok()["state"], "done");
    until_unloaded(&node, NAMESPACE).await;
    let restore = json!({"namespace": "m", "source": "n"});
    node.post("/v1/restore", restore).await.ok();
    let begun = Instant::now();
    while node.get("/v1/namespaces/m").await.status == 404 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the namespace is never restored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_unloaded(&node, NAMESPACE).await;
    // And it stops and starts as ever.
    let node = node.restart().await;
    assert_eq!(nearest(&node, NAMESPACE).await, ["r0", "r1"]);
    assert_eq!(nearest(&node, "/v1/namespaces/m").await, ["r0", "r1"]);
}

#[tokio::test]
async fn whoever_follows_keeps_it_loaded() {
    let node = node(|config| config.memory.idle_seconds = 1).await;
    put(&node, NAMESPACE, 0).await.ok();
    let mut stream = node
        .request(reqwest::Method::GET, &format!("{NAMESPACE}/changes"))
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    stream.chunk().await.unwrap().unwrap();
    // Another one that nobody uses goes meanwhile.
    node.put("/v1/namespaces/other", flat()).await.ok();
    until_unloaded(&node, "/v1/namespaces/other").await;
    assert!(is_loaded(&node, NAMESPACE).await);
    drop(stream);
    until_unloaded(&node, NAMESPACE).await;
    let token = node.get(&format!("{NAMESPACE}/changes")).await.ok();
    assert_eq!(token["changes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn at_the_budget_new_records_are_refused_and_everything_else_goes_on() {
    let node = node(|config| config.memory.idle_seconds = 0).await;
    put(&node, NAMESPACE, 0).await.ok();
    put(&node, NAMESPACE, 1).await.ok();
    let node = node.restart_with(|config| config.memory.budget_bytes = 1).await;
    // Asked for first, so that it is in use: it does not fit, but nothing is gained without it.
    assert_eq!(metric(&node, "hvs_memory_budget_bytes").await, Some(1.0));
    assert!(metric(&node, r#"hvs_memory_held_bytes{part="indexes"}"#).await.unwrap() > 0.0);
    assert_eq!(nearest(&node, NAMESPACE).await, ["r0", "r1"]);
    let refused = put(&node, NAMESPACE, 2).await;
    assert_eq!(refused.headers["retry-after"], "1");
    let near = refused.headers["hvs-near-limit"].to_str().unwrap().to_owned();
    assert!(near.starts_with("memory_bytes; used=") && near.ends_with("refuse=1"), "{near}");
    let problem = refused.problem("memory_exhausted");
    assert_eq!(problem["context"]["limit"], 1);
    let batch = |operation: Value| json!({"operations": [operation]});
    let path = format!("{NAMESPACE}/batch");
    let more = batch(json!({"put": {"id": "x", "vector": [1, 1]}}));
    node.post(&path, more).await.problem("memory_exhausted");
    node.post("/v1/restore", json!({"namespace": "m", "source": "n"}))
        .await
        .problem("memory_exhausted");
    let patch = json!({"metadata": {"more": 1}});
    let path_of_one = format!("{NAMESPACE}/vectors/r0");
    let one = node.request(reqwest::Method::PATCH, &path_of_one).json(&patch);
    node.send(one).await.problem("memory_exhausted");
    let in_batch = batch(json!({"patch": {"id": "r0", "metadata": {"more": 1}}}));
    node.post(&path, in_batch).await.problem("memory_exhausted");
    let by_filter = |dry_run: bool| {
        let all = json!({"$kind": "vector"});
        json!({"filter": all, "patch": patch, "dry_run": dry_run})
    };
    let many = format!("{NAMESPACE}/vectors/patch");
    node.post(&many, by_filter(false)).await.problem("memory_exhausted");
    assert_eq!(metric(&node, "hvs_memory_refused_total").await, Some(6.0));
    let counted = node.post(&many, by_filter(true)).await.ok();
    assert_eq!((&counted["matched"], &counted["changed"]), (&json!(2), &json!(0)));
    let record = node.get(&path_of_one).await.ok();
    assert_eq!((&record["version"], &record["metadata"]), (&json!(1), &json!({})));
    // Reads and what makes room.
    node.get(&format!("{NAMESPACE}/vectors/r0")).await.ok();
    node.post(&path, batch(json!({"delete": {"id": "r0"}}))).await.ok();
    node.delete(&format!("{NAMESPACE}/vectors/r1")).await.ok();
    node.delete(NAMESPACE).await.ok();
}

#[tokio::test]
async fn writes_stop_before_the_budget_is_passed_and_go_on_when_there_is_room() {
    // The store of the logs and the catalogue take a little as well.
    let budget: u32 = 6 << 20;
    let node = node(|config| {
        config.memory.budget_bytes = budget.into();
        config.memory.evict_idle_seconds = 0;
    })
    .await;
    let text = "x".repeat(30_000);
    let begun = Instant::now();
    let mut stored = 0;
    let refused = loop {
        let body = json!({"vector": [0, stored], "metadata": {"text": text}});
        let answer = node.put(&format!("{NAMESPACE}/vectors/r{stored}"), body).await;
        if answer.status == 503 {
            break answer;
        }
        answer.ok();
        stored += 1;
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is refused");
    };
    refused.problem("memory_exhausted");
    assert!(stored > 20, "{stored} records of 30 kB are nothing in 6 MiB");
    let mut held = 0.0;
    let text = node.get("/metrics").await.body;
    for line in text.as_str().unwrap().lines() {
        if let Some(rest) = line.strip_prefix("hvs_memory_held_bytes{") {
            held += rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        }
    }
    assert!(held <= f64::from(budget) * 1.1, "{held} bytes are held");
    assert_eq!(nearest(&node, NAMESPACE).await.len(), 2);
    // What was gathered is written to the disk, or gives way to another namespace.
    node.put("/v1/namespaces/other", flat()).await.ok();
    let begun = Instant::now();
    while put(&node, "/v1/namespaces/other", 0).await.status == 503 {
        assert!(begun.elapsed() < Duration::from_mins(1), "there is never room again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
