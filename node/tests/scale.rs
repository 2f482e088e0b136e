//! What a node does near its limits of scale, and at them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use hvs_node::config::Config;
use serde_json::json;
use support::TestNode;

const NAMESPACE: &str = "/v1/namespaces/n";

async fn node(change: impl FnOnce(&mut Config)) -> TestNode {
    let node = TestNode::with(change).await;
    node.put(NAMESPACE, json!({"geometry": "euclidean", "dimension": 2})).await.ok();
    node
}

async fn put(node: &TestNode, id: usize) -> support::Answer {
    node.put(&format!("{NAMESPACE}/vectors/r{id}"), json!({"vector": [0, id]})).await
}

/// The metric of a figure, such as `hvs_scale_used{figure="vectors"}`.
async fn metric(node: &TestNode, series: &str) -> Option<f64> {
    let text = node.get("/metrics").await.body;
    text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test]
async fn too_many_vectors_are_warned_of_and_then_refused() {
    let node =
        node(|config| (config.scale.vectors_warn, config.scale.vectors_refuse) = (3, 5)).await;
    assert_eq!(
        metric(&node, r#"hvs_scale_limit{bound="refuse",figure="vectors"}"#).await,
        Some(5.0)
    );
    // Vectors are counted once a second, so more than five may get in.
    let begun = Instant::now();
    let mut warned = false;
    let mut stored = 0;
    let refused = loop {
        let answer = put(&node, stored).await;
        if let Some(near) = answer.headers.get("hvs-near-limit") {
            assert!(near.to_str().unwrap().starts_with("vectors; used="), "{near:?}");
            warned = true;
        }
        if answer.status == 507 {
            break answer;
        }
        answer.ok();
        stored += 1;
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is refused");
    };
    let problem = refused.problem("capacity_exceeded");
    assert!(warned && stored >= 5);
    assert_eq!(problem["context"]["limit"], 5);
    let batch = |operation| json!({"operations": [operation]});
    let more = batch(json!({"put": {"id": "x", "vector": [1, 1]}}));
    node.post(&format!("{NAMESPACE}/batch"), more).await.problem("capacity_exceeded");
    // What makes room is always possible: a batch of deletes, and a delete by itself.
    let first = batch(json!({"delete": {"id": "r0"}}));
    assert_eq!(
        node.post(&format!("{NAMESPACE}/batch"), first).await.ok()["results"][0]["status"],
        "deleted"
    );
    for id in 1..stored {
        node.delete(&format!("{NAMESPACE}/vectors/r{id}")).await.ok();
    }
    let begun = Instant::now();
    while put(&node, 0).await.status == 507 {
        assert!(begun.elapsed() < Duration::from_mins(1), "writes are refused for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Reads were possible all the while, and all is known after a restart.
    node.post(&format!("{NAMESPACE}/count"), json!({})).await.ok();
}

#[tokio::test]
async fn a_node_that_starts_too_large_refuses_at_once() {
    let node = node(|_| {}).await;
    put(&node, 0).await.ok();
    let node = node
        .restart_with(|config| {
            (config.scale.storage_bytes_warn, config.scale.storage_bytes_refuse) = (1, 2);
        })
        .await;
    put(&node, 1).await.problem("capacity_exceeded");
    let answer = node.get(&format!("{NAMESPACE}/vectors/r0")).await;
    assert!(answer.headers.contains_key("hvs-near-limit"));
    answer.ok();
    node.post("/v1/restore", json!({"namespace": "m", "source": "n"}))
        .await
        .problem("capacity_exceeded");
}

#[tokio::test]
async fn searches_beyond_the_rate_are_refused_and_may_come_again() {
    let node =
        node(|config| (config.scale.queries_warn, config.scale.queries_refuse) = (2, 4)).await;
    put(&node, 0).await.ok();
    let search = json!({"vector": [0, 0], "k": 1});
    let begun = Instant::now();
    let refused = loop {
        let answer = node.post(&format!("{NAMESPACE}/search"), search.clone()).await;
        if answer.status == 429 {
            break answer;
        }
        answer.ok();
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is refused");
    };
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.headers.contains_key("hvs-near-limit"));
    refused.problem("rate_exceeded");
    let begun = Instant::now();
    while node.post(&format!("{NAMESPACE}/search"), search.clone()).await.status == 429 {
        assert!(begun.elapsed() < Duration::from_mins(1), "searches are refused for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each search of a batch counts, and a batch is taken or refused as a whole.
    let batch = json!({"searches": [search, search, search, search]});
    let begun = Instant::now();
    while node.post(&format!("{NAMESPACE}/search/batch"), batch.clone()).await.status != 429 {
        assert!(begun.elapsed() < Duration::from_mins(1), "batches are not counted");
    }
}

#[tokio::test]
async fn a_large_dimension_is_warned_of_and_a_larger_one_refused() {
    let node = node(|config| {
        config.scale.dimension_warn = 8;
        config.limits.dimension = 16;
    })
    .await;
    let create = |dimension: u32| json!({"geometry": "euclidean", "dimension": dimension});
    let small = node.put("/v1/namespaces/small", create(7)).await;
    assert!(!small.headers.contains_key("hvs-near-limit"));
    let large = node.put("/v1/namespaces/large", create(8)).await;
    assert_eq!(large.headers["hvs-near-limit"], "dimension; used=8; warn=8; refuse=17");
    large.ok();
    node.put("/v1/namespaces/largest", create(16)).await.ok();
    node.put("/v1/namespaces/beyond", create(17)).await.problem("invalid_dimension");
}
