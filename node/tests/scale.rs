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
    let node = TestNode::with(|config| {
        config.scale.dimension_warn = 8;
        config.limits.dimension = 16;
    })
    .await;
    let create = |dimension: u32| json!({"geometry": "euclidean", "dimension": dimension});
    let used = async || metric(&node, r#"hvs_scale_used{figure="dimension"}"#).await;
    let small = node.put("/v1/namespaces/small", create(7)).await;
    assert!(!small.headers.contains_key("hvs-near-limit"));
    assert_eq!(used().await, Some(7.0));
    for (bound, expected) in [("warn", 8.0), ("refuse", 16.0)] {
        let series = format!(r#"hvs_scale_limit{{bound="{bound}",figure="dimension"}}"#);
        assert_eq!(metric(&node, &series).await, Some(expected));
    }
    // Of any vector of a namespace, and in every answer for as long as it is there.
    let vectors = json!({"title": {"geometry": "euclidean", "dimension": 8}});
    let settings = json!({"geometry": "euclidean", "dimension": 2, "vectors": vectors});
    let large = node.put("/v1/namespaces/large", settings).await;
    assert_eq!(large.headers["hvs-near-limit"], "dimension; used=8; warn=8; refuse=16");
    large.ok();
    let near = async |expected: Option<&str>| {
        let answer = node.get("/v1/aliases").await;
        let found = answer.headers.get("hvs-near-limit").map(|value| value.to_str().unwrap());
        assert_eq!(found, expected);
        answer.ok();
    };
    near(Some("dimension; used=8; warn=8; refuse=16")).await;
    let beyond = node.put("/v1/namespaces/beyond", create(17)).await;
    let problem = beyond.problem("invalid_dimension");
    assert!(problem["detail"].as_str().unwrap().contains("16"), "{problem}");
    assert_eq!(used().await, Some(8.0));
    node.put("/v1/namespaces/largest", create(16)).await.ok();
    near(Some("dimension; used=16; warn=8; refuse=16")).await;
    // The largest is what is allowed: it refuses nothing else.
    node.put("/v1/namespaces/largest/vectors/a", json!({"vector": vec![0; 16]})).await.ok();
    let node = node
        .restart_with(|config| (config.scale.dimension_warn, config.limits.dimension) = (8, 16))
        .await;
    let used = async || metric(&node, r#"hvs_scale_used{figure="dimension"}"#).await;
    assert_eq!(used().await, Some(16.0));
    node.delete("/v1/namespaces/largest").await.ok();
    assert_eq!(used().await, Some(8.0));
    let gone = node.delete("/v1/namespaces/large").await;
    assert!(!gone.headers.contains_key("hvs-near-limit"));
    assert_eq!(used().await, Some(7.0));
}

#[tokio::test]
async fn the_limits_of_scale_are_these_unless_set() {
    let Config { scale, limits, .. } = Config::default();
    assert_eq!((scale.vectors_warn, scale.vectors_refuse), (10_000_000, 100_000_000));
    assert_eq!((scale.dimension_warn, limits.dimension), (1_024, 4_096));
    assert_eq!((scale.queries_warn, scale.queries_refuse), (10_000, 100_000));
    let bytes = (scale.storage_bytes_warn, scale.storage_bytes_refuse);
    assert_eq!(bytes, (100_000_000_000, 1_000_000_000_000));
    let node = TestNode::start().await;
    for (figure, warn, refuse) in [
        ("vectors", 1e7, 1e8),
        ("dimension", 1_024.0, 4_096.0),
        ("queries_per_second", 1e4, 1e5),
        ("storage_bytes", 1e11, 1e12),
    ] {
        for (bound, expected) in [("warn", warn), ("refuse", refuse)] {
            let series = format!(r#"hvs_scale_limit{{bound="{bound}",figure="{figure}"}}"#);
            assert_eq!(metric(&node, &series).await, Some(expected), "{series}");
        }
    }
    let create = |dimension: u32| json!({"geometry": "euclidean", "dimension": dimension});
    for (dimension, near) in [
        (1_023, None),
        (1_024, Some("dimension; used=1024; warn=1024; refuse=4096")),
        (4_096, Some("dimension; used=4096; warn=1024; refuse=4096")),
    ] {
        let made = node.put(&format!("/v1/namespaces/n{dimension}"), create(dimension)).await;
        let found = made.headers.get("hvs-near-limit").map(|value| value.to_str().unwrap());
        assert_eq!(found, near);
        assert_eq!(made.status, 201);
    }
    node.put("/v1/namespaces/n4097", create(4_097)).await.problem("invalid_dimension");
    let vector = vec![0.5; 4_096];
    node.put("/v1/namespaces/n4096/vectors/a", json!({"vector": vector})).await.ok();
    let search = json!({"vector": vector, "k": 1});
    let found = node.post("/v1/namespaces/n4096/search", search).await.ok();
    assert_eq!(support::ids(&found), ["a"]);
}
