//! The building of indexes is shown and paused over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::TestNode;

async fn put(node: &TestNode, from: u32, to: u32) {
    let operations: Vec<Value> = (from..to)
        .map(|n| json!({"put": {"id": format!("id-{n:05}"), "vector": [f64::from(n), 1.0]}}))
        .collect();
    for chunk in operations.chunks(500) {
        node.post("/v1/namespaces/docs/batch", json!({"operations": chunk})).await.ok();
    }
}

async fn nearest(node: &TestNode) -> Value {
    let search = json!({"vector": [700.3, 1.0], "k": 20, "exact": true});
    node.post("/v1/namespaces/docs/search", search).await.ok()["hits"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_shown_until_it_is_resumed() {
    let node = TestNode::with(|config| {
        config.index.tail = 100;
        config.maintenance.builds = 3;
        config.maintenance.paused = true;
    })
    .await;
    node.namespace("docs", json!({"geometry": "euclidean", "dimension": 2, "shards": 2})).await;
    put(&node, 0, 1_000).await;
    for n in 0..10 {
        node.delete(&format!("/v1/namespaces/docs/vectors/id-{n:05}")).await.ok();
    }
    let info = node.get("/v1/maintenance").await.ok();
    assert_eq!((&info["paused"], &info["limit"]), (&json!(true), &json!(3)));
    assert_eq!(info["running"], 0);
    let debt = json!({"tail_rows": 800, "dead_rows": 10, "rebuild_rows": 0});
    assert_eq!(info["debt"]["docs"], debt);
    let metrics = node.get("/metrics").await.ok();
    let metrics = metrics.as_str().unwrap();
    for line in [
        "hvs_maintenance_paused 1",
        r#"hvs_maintenance_debt_tail_rows{namespace="docs",vector=""} 800"#,
        r#"hvs_maintenance_debt_dead_rows{namespace="docs",vector=""} 10"#,
        r#"hvs_maintenance_debt_rebuild_rows{namespace="docs"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let before = nearest(&node).await;
    assert_eq!(node.post("/v1/maintenance/resume", json!({})).await.ok()["paused"], false);
    loop {
        let info = node.get("/v1/maintenance").await.ok();
        if info["debt"]["docs"]["tail_rows"].as_u64().unwrap_or(0) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(nearest(&node).await, before);
    assert_eq!(node.post("/v1/maintenance/pause", json!({})).await.ok()["paused"], true);
    let metrics = node.get("/metrics").await.ok();
    assert!(metrics.as_str().unwrap().contains("hvs_maintenance_paused 1"));
    // A restart forgets that it was paused, and stops although builds wait.
    put(&node, 1_000, 2_000).await;
    let before = nearest(&node).await;
    let node = node.restart_with(|config| config.index.tail = 100).await;
    assert_eq!(node.get("/v1/maintenance").await.ok()["paused"], false);
    assert_eq!(nearest(&node).await, before);
}
