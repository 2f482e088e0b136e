//! Records of hits are read ahead where that is wanted, and only there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{TestNode, ids};

const NAMESPACE: &str = "/v1/namespaces/n";

/// Records that were read ahead, and those that there was no room for.
async fn figures(node: &TestNode) -> (u64, u64) {
    let text = node.get("/metrics").await.body;
    let of = |series: &str| {
        let mut lines = text.as_str().unwrap().lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap()
    };
    (of("hvs_prefetch_records_total"), of("hvs_prefetch_dropped_total"))
}

async fn search(node: &TestNode, x: u32, more: Value) -> Vec<String> {
    let mut request = json!({"vector": [x, 0], "k": 3});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ids(&node.post(&format!("{NAMESPACE}/search"), request).await.ok())
}

/// Waits until so many were read ahead, and no more.
async fn until_read(node: &TestNode, count: u64) {
    let begun = Instant::now();
    loop {
        let (read, dropped) = figures(node).await;
        assert!(read <= count && dropped == 0, "{read} read, {dropped} not");
        if read == count {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{read} were read");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn fill(node: &TestNode) {
    for n in 0..10 {
        let body = json!({"vector": [n, 0], "metadata": {"n": n}});
        node.put(&format!("{NAMESPACE}/vectors/r{n}"), body).await.ok();
    }
}

async fn alter(node: &TestNode, prefetch: bool) {
    let body = json!({"prefetch": prefetch});
    node.call_in(Encoding::Json, Method::PATCH, NAMESPACE, &body).await.ok();
}

#[tokio::test]
async fn records_of_hits_are_read_once_for_each_search_that_did_not_ask_for_them() {
    let node = TestNode::start().await;
    let settings =
        json!({"geometry": "euclidean", "dimension": 2, "shards": 1, "profile": "latency"});
    node.namespace("n", settings).await;
    fill(&node).await;
    assert_eq!(node.get(NAMESPACE).await.ok()["prefetch"], true);
    assert_eq!(search(&node, 0, json!({})).await, ["r0", "r1", "r2"]);
    until_read(&node, 3).await;
    // Kept answers have had theirs read, and records that are asked for are read anyway.
    search(&node, 0, json!({})).await;
    search(&node, 4, json!({"include_metadata": true})).await;
    // What is found anew is read again; recommendations are searches as well.
    search(&node, 0, json!({"cache": false})).await;
    until_read(&node, 6).await;
    let recommend = json!({"positive": [{"id": "r5"}], "k": 2});
    node.post(&format!("{NAMESPACE}/recommend"), recommend).await.ok();
    until_read(&node, 8).await;

    alter(&node, false).await;
    assert_eq!(node.get(NAMESPACE).await.ok()["prefetch"], false);
    search(&node, 7, json!({})).await;
    alter(&node, true).await;
    search(&node, 7, json!({})).await;
    until_read(&node, 11).await;
    // It is kept like any other setting.
    let node = node.restart().await;
    assert_eq!(node.get(NAMESPACE).await.ok()["prefetch"], true);
}

#[tokio::test]
async fn a_node_without_a_queue_and_a_namespace_without_the_wish_read_nothing_ahead() {
    for (queue, prefetch) in [(0, true), (256, false)] {
        let node = TestNode::with(|config| config.cache.prefetch_queue = queue).await;
        let settings = json!({"geometry": "euclidean", "dimension": 2, "prefetch": prefetch});
        node.namespace("n", settings).await;
        fill(&node).await;
        for x in 0..5 {
            search(&node, x, json!({})).await;
        }
        assert_eq!(figures(&node).await, (0, 0));
    }
}
