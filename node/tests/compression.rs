//! Records are compressed at rest as their namespace says, or the node.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, TestNode};

const DOCS: &str = "/v1/namespaces/docs";

async fn alter(node: &TestNode, compression: &str) -> Answer {
    let body = json!({"compression": compression});
    node.call_in(Encoding::Json, Method::PATCH, DOCS, &body).await
}

async fn put(node: &TestNode) {
    let operations: Vec<Value> = (0..1_500)
        .map(|n| {
            let text = format!("The {n}th of many titles that are much alike");
            let metadata = json!({"n": n, "language": "en", "title": text,
                "url": format!("https://example.com/pages/{n}")});
            json!({"put": {"id": format!("id-{n:05}"), "vector": [n], "metadata": metadata}})
        })
        .collect();
    for chunk in operations.chunks(500) {
        node.post(&format!("{DOCS}/batch"), json!({"operations": chunk})).await.ok();
    }
}

/// Waits until all records are as they should be.
async fn settled(node: &TestNode) -> Value {
    node.until(DOCS, |body| body["storage"]["rewriting"] == false).await["storage"].clone()
}

async fn records(node: &TestNode) -> Value {
    let body = json!({"limit": 1000});
    node.post(&format!("{DOCS}/scroll"), body).await.ok()["records"].clone()
}

fn number(storage: &Value, name: &str) -> u64 {
    storage[name].as_u64().unwrap()
}

#[tokio::test]
async fn compression_is_given_shown_and_changed_while_records_stay_the_same() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "euclidean", "dimension": 1, "compression": "zstd"});
    node.namespace("docs", settings.clone()).await;
    put(&node).await;
    let before = records(&node).await;
    let storage = settled(&node).await;
    assert_eq!(storage["compression"], "zstd");
    let (plain, stored) =
        (number(&storage, "written_plain_bytes"), number(&storage, "written_stored_bytes"));
    assert!(stored < plain, "{storage}");
    assert!(number(&storage, "bytes") > 0);
    let metrics = node.get("/metrics").await.ok();
    let line = format!("hvs_record_plain_bytes_total{{namespace=\"docs\"}} {plain}");
    assert!(metrics.as_str().unwrap().contains(&line), "{line} is not in {metrics}");

    let altered = alter(&node, "none").await;
    assert_eq!(altered.status, 200);
    assert_eq!(altered.ok()["namespace"]["storage"]["compression"], "none");
    settled(&node).await;
    assert_eq!(records(&node).await, before);
    // The settings of the creation are not those that it has now.
    node.put(DOCS, settings).await.problem("namespace_exists");
    alter(&node, "brotli").await.problem("invalid_body");

    let node = node.restart().await;
    assert_eq!(settled(&node).await["compression"], "none");
    assert_eq!(records(&node).await, before);
}

#[tokio::test]
async fn a_namespace_that_does_not_say_it_follows_the_node() {
    let node =
        TestNode::with(|config| config.storage.compression = hvs_api::Compression::Lz4).await;
    node.namespace("docs", json!({"geometry": "euclidean", "dimension": 1})).await;
    assert_eq!(settled(&node).await["compression"], "lz4");
    let own = json!({"geometry": "euclidean", "dimension": 1, "compression": "none"});
    node.namespace("own", own).await;
    let own = node.get("/v1/namespaces/own").await.ok();
    assert_eq!(own["storage"]["compression"], "none");
}
