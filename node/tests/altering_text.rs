//! An index of text is added to a namespace in use, changed and taken away, over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, TestNode, ids};

const DOCS: &str = "/v1/namespaces/docs";

async fn alter(node: &TestNode, body: Value) -> Answer {
    node.call_in(Encoding::Json, Method::PATCH, DOCS, &body).await
}

/// How the task of a change ended.
async fn ended(node: &TestNode, answer: Answer) -> Value {
    assert_eq!(answer.status, 202);
    node.task(&answer.ok()["task"]["id"]).await
}

async fn put(node: &TestNode, from: usize, to: usize) {
    let operations: Vec<Value> = (from..to)
        .map(|n| {
            json!({"put": {"id": format!("id-{n:05}"), "vector": [n, n % 7],
                "metadata": {"text": format!("word{} running", n % 10), "other": "else"}}})
        })
        .collect();
    for chunk in operations.chunks(1_000) {
        node.post(&format!("{DOCS}/batch"), json!({"operations": chunk})).await.ok();
    }
}

async fn search(node: &TestNode, text: &str) -> Answer {
    node.post(&format!("{DOCS}/search"), json!({"text": text, "k": 10_000})).await
}

async fn docs(records: usize) -> TestNode {
    let node = TestNode::start().await;
    let index = json!({"type": "HNSW", "m": 9});
    let settings = json!({"geometry": "euclidean", "dimension": 2, "shards": 2, "index": index});
    node.namespace("docs", settings).await;
    put(&node, 0, records).await;
    node
}

async fn index(node: &TestNode) -> Value {
    node.get(DOCS).await.ok()["vectors"][""]["index"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_added_changed_and_taken_away() {
    let node = docs(1_000).await;
    search(&node, "word3").await.problem("no_text_index");
    let add = json!({"index": {"type": "HYBRID", "text_fields": ["text"]}});
    let begun = alter(&node, add.clone()).await;
    assert_eq!(begun.body["namespace"]["vectors"][""]["index"]["type"], "HYBRID");
    // What is written meanwhile is found as well, and a search waits until all of it is there.
    put(&node, 1_000, 1_100).await;
    assert_eq!(ids(&search(&node, "word3").await.ok()).len(), 110);
    let task = ended(&node, begun).await;
    assert_eq!((&task["state"], &task["kind"]), (&json!("done"), &json!("reindex")), "{task}");
    assert_eq!(node.get(DOCS).await.ok()["text"]["ready"], true);
    let with_text = index(&node).await;
    assert_eq!((&with_text["dense"], &with_text["m"]), (&json!("HNSW"), &json!(9)));
    // The same again changes nothing.
    assert_eq!(alter(&node, add).await.ok()["task"], Value::Null);

    let node = node.restart().await;
    assert_eq!(ids(&search(&node, "word3").await.ok()).len(), 110);
    assert!(ids(&search(&node, "run").await.ok()).is_empty());
    let english = json!({"index": {"language": "english"}});
    let task = ended(&node, alter(&node, english).await).await;
    assert_eq!(task["state"], "done", "{task}");
    assert_eq!(ids(&search(&node, "run").await.ok()).len(), 1_100);
    let other = json!({"index": {"text_fields": ["other"]}});
    ended(&node, alter(&node, other).await).await;
    assert_eq!(ids(&search(&node, "else").await.ok()).len(), 1_100);
    assert!(ids(&search(&node, "word3").await.ok()).is_empty());
    assert_eq!(index(&node).await["language"], "english");

    let node = node.restart().await;
    assert_eq!(ids(&search(&node, "else").await.ok()).len(), 1_100);
    let removed = alter(&node, json!({"index": {"type": "HNSW"}})).await;
    assert_eq!(removed.status, 200);
    search(&node, "else").await.problem("no_text_index");
    assert_eq!(index(&node).await["m"], 9);
    assert_eq!(node.get(DOCS).await.ok()["text"], Value::Null);
    // The settings that it has now are those that a repeated creation must give.
    let same = json!({"geometry": "euclidean", "dimension": 2, "index": {"type": "HNSW", "m": 9}});
    assert_eq!(node.put(DOCS, same).await.status, 200);

    let node = node.restart().await;
    search(&node, "else").await.problem("no_text_index");
    let again = json!({"index": {"type": "HYBRID", "text_fields": ["text"]}});
    ended(&node, alter(&node, again).await).await;
    assert_eq!(ids(&search(&node, "word3").await.ok()).len(), 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_is_built_on_after_a_restart_in_between() {
    let node = docs(6_000).await;
    let begun = alter(&node, json!({"index": {"type": "HYBRID", "text_fields": ["text"]}})).await;
    assert_eq!(begun.status, 202);
    let busy = alter(&node, json!({"index": {"m": 12}})).await;
    assert!(busy.status == 202 || busy.body["code"] == "namespace_busy", "{:?}", busy.body);
    let node = node.restart().await;
    assert_eq!(ids(&search(&node, "word7").await.ok()).len(), 600);
    node.delete(DOCS).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_given_up_is_as_if_it_had_not_been() {
    let node = docs(6_000).await;
    let begun = alter(&node, json!({"index": {"type": "HYBRID", "text_fields": ["text"]}})).await;
    let id = begun.body["task"]["id"].as_str().unwrap().to_owned();
    let cancelled = node.delete(&format!("/v1/tasks/{id}")).await;
    let task = ended(&node, begun).await;
    if task["state"] == "done" {
        // It was complete before.
        assert_eq!(ids(&search(&node, "word7").await.ok()).len(), 600);
        return;
    }
    assert_eq!(cancelled.status, 202, "{:?}", cancelled.body);
    search(&node, "word7").await.problem("no_text_index");
    assert_eq!(index(&node).await["type"], "HNSW");
    let node = node.restart().await;
    search(&node, "word7").await.problem("no_text_index");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_default_vector_has_text_and_one_thing_changes_at_a_time() {
    let node = TestNode::with(|config| {
        config.limits.text_fields = 2;
        config.limits.path_bytes = 4;
    })
    .await;
    let settings = json!({"geometry": "euclidean", "dimension": 2, "vectors": {"title": {}}});
    node.namespace("docs", settings).await;
    let hybrid = |fields: Value| json!({"type": "HYBRID", "text_fields": fields});
    for (change, code) in [
        (json!({"index": hybrid(json!([]))}), "invalid_index"),
        (json!({"index": hybrid(json!(["a", "b", "c"]))}), "invalid_index"),
        (json!({"index": hybrid(json!(["a.bcd"]))}), "invalid_index"),
        (json!({"index": {"type": "HYBRID", "text_fields": ["a"], "m": 5}}), "invalid_index"),
        (json!({"index": {"text_fields": ["a"]}}), "invalid_index"),
        (json!({"vectors": {"title": {"index": hybrid(json!(["a"]))}}}), "invalid_index"),
    ] {
        alter(&node, change.clone()).await.problem(code);
        assert_eq!(index(&node).await["type"], "HNSW", "{change}");
    }
    let edge = alter(&node, json!({"index": hybrid(json!(["a.bc", "d"]))})).await;
    assert_eq!(ended(&node, edge).await["state"], "done");
}
