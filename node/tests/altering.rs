//! Indexes of a namespace are changed over HTTP while it is in use.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, TestNode};

const DOCS: &str = "/v1/namespaces/docs";

async fn alter(node: &TestNode, body: Value) -> Answer {
    node.call_in(Encoding::Json, Method::PATCH, DOCS, &body).await
}

/// Waits for the task that a change began, if it did.
async fn done(node: &TestNode, answer: Answer) -> Value {
    let status = answer.status;
    let body = answer.ok();
    let id = &body["task"]["id"];
    if id.is_null() {
        assert_eq!(status, 200);
        return body;
    }
    assert_eq!((status, &body["task"]["kind"]), (202, &json!("reindex")));
    let task = node.task(id).await;
    assert_eq!(task["state"], "done", "{task}");
    task
}

async fn put(node: &TestNode, from: u32, to: u32) {
    let operations: Vec<Value> = (from..to)
        .map(|n| {
            let (x, y) = (f64::from(n * 7919 % 1000) / 7.0, f64::from(n % 83));
            json!({"put": {"id": format!("id-{n:05}"), "vectors": {"": [x, y], "title": [x, y]},
                "metadata": {"text": format!("word{} of all", n % 10)}}})
        })
        .collect();
    for chunk in operations.chunks(500) {
        node.post(&format!("{DOCS}/batch"), json!({"operations": chunk})).await.ok();
    }
}

async fn nearest(node: &TestNode, using: &str, exact: bool) -> Value {
    let body = json!({"vector": [20.5, 6.0], "k": 50, "exact": exact, "using": using});
    node.post(&format!("{DOCS}/search"), body).await.ok()["hits"].clone()
}

async fn index(node: &TestNode, vector: &str) -> Value {
    node.get(DOCS).await.ok()["vectors"][vector]["index"].clone()
}

async fn docs(index: Value) -> TestNode {
    let node = TestNode::with(|config| config.index.tail = 512).await;
    let settings = json!({"geometry": "euclidean", "dimension": 2, "shards": 2, "index": index,
        "vectors": {"title": {"geometry": "euclidean", "dimension": 2}}});
    node.namespace("docs", settings).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn what_searches_look_at_changes_at_once_and_stays() {
    let node = docs(json!({"type": "HNSW"})).await;
    put(&node, 0, 10).await;
    let body = done(&node, alter(&node, json!({"index": {"ef_search": 99}})).await).await;
    assert_eq!(body["namespace"]["vectors"][""]["index"]["ef_search"], 99);
    assert_eq!(body["task"], Value::Null);
    let node = node.restart().await;
    assert_eq!(index(&node, "").await["ef_search"], 99);
    assert_eq!(index(&node, "title").await["ef_search"], 64);
    // The same again, and nothing at all, change nothing.
    for same in [json!({"index": {"ef_search": 99, "type": "HNSW"}}), json!({})] {
        assert_eq!(done(&node, alter(&node, same).await).await["task"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_becomes_another_and_is_there_after_a_restart() {
    let mut node = docs(json!({"type": "HNSW"})).await;
    put(&node, 0, 3_000).await;
    let mut written = 3_000;
    for change in [
        json!({"index": {"type": "IVF", "nlist": 20}, "vectors": {"title": {"index": {"m": 8}}}}),
        json!({"index": {"quantisation": "pq"}}),
        json!({"index": {"nlist": 30, "nprobe": 5}}),
        json!({"index": {"nprobe": 0}}),
        json!({"index": {"nlist": 0}}),
        json!({"index": {"type": "GEOMETRIC"}}),
        json!({"index": {"type": "FLAT"}, "vectors": {"title": {"index": {"type": "FLAT"}}}}),
        json!({"index": {"type": "HNSW", "m": 5, "resident": false}}),
        json!({"vectors": {"title": {"index": {"type": "IVF"}}}}),
    ] {
        let begun = alter(&node, change.clone()).await;
        put(&node, written, written + 200).await;
        written += 200;
        node.delete(&format!("{DOCS}/vectors/id-{:05}", written - 1)).await.ok();
        done(&node, begun).await;
        let (exact, found) = (nearest(&node, "", true).await, nearest(&node, "title", true).await);
        assert_eq!(exact, found, "{change}");
        for vector in ["", "title"] {
            assert_eq!(nearest(&node, vector, false).await.as_array().unwrap().len(), 50);
        }
        let info = node.get(DOCS).await.ok();
        // 0 is what leaving them out at the creation is: by the size.
        let told = &info["vectors"][""]["index"];
        for name in ["nlist", "nprobe"] {
            if let Some(number) = change["index"][name].as_u64() {
                let number = (number > 0).then_some(number);
                assert_eq!(told[name].as_u64(), number, "{name} by {change}");
            }
        }
        let live = info["vectors"][""]["state"]["live"].as_u64().unwrap();
        assert_eq!((info["records"].as_u64().unwrap(), live), (live, live), "{change}");
    }
    let before = (index(&node, "").await, index(&node, "title").await);
    assert_eq!(before.0["m"], 5);
    assert_eq!((&before.0["resident"], &before.0["quantisation"]), (&json!(false), &Value::Null));
    let (first, title) = (nearest(&node, "", true).await, nearest(&node, "title", true).await);
    node = node.restart().await;
    assert_eq!((index(&node, "").await, index(&node, "title").await), before);
    assert_eq!(nearest(&node, "", true).await, first);
    assert_eq!(nearest(&node, "title", true).await, title);
    // The settings that it has now are those that a repeated creation must give.
    let same = json!({"geometry": "euclidean", "dimension": 2, "index": before.0,
        "vectors": {"title": {"geometry": "euclidean", "dimension": 2}}});
    assert_eq!(node.put(DOCS, same).await.status, 200);
    let other = json!({"geometry": "euclidean", "dimension": 2, "index": {"type": "IVF"},
        "vectors": {"title": {"geometry": "euclidean", "dimension": 2}}});
    node.put(DOCS, other).await.problem("namespace_exists");
    node.delete(DOCS).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn text_stays_when_the_index_beside_it_changes() {
    let node = docs(json!({"type": "HYBRID", "text_fields": ["text"]})).await;
    put(&node, 0, 700).await;
    done(&node, alter(&node, json!({"index": {"dense": "IVF", "nprobe": 3}})).await).await;
    let after = index(&node, "").await;
    assert_eq!((&after["type"], &after["dense"]), (&json!("HYBRID"), &json!("IVF")));
    assert_eq!(after["text_fields"], json!(["text"]));
    let search = json!({"text": "word3", "k": 5});
    let hits = node.post(&format!("{DOCS}/search"), search).await.ok();
    assert_eq!(hits["hits"].as_array().unwrap().len(), 5);
    alter(&node, json!({"index": {"dense": "HYBRID"}})).await.problem("invalid_index");
    // Not both at once.
    let both = json!({"index": {"dense": "FLAT", "language": "english"}});
    alter(&node, both).await.problem("invalid_index");
    alter(&node, json!({"index": {"type": "FLAT"}})).await.problem("invalid_index");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_is_refused_and_changes_nothing() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "hyperboloid", "dimension": 2});
    node.namespace("docs", settings).await;
    node.put("/v1/aliases/named", json!({"namespace": "docs"})).await.ok();
    let before = node.contents().await;
    for (change, code) in [
        (json!({"geometry": "euclidean"}), "invalid_body"),
        (json!({"index": {"dimension": 3}}), "invalid_body"),
        (json!({"index": {"type": "HNSW", "quantisation": "pq"}}), "invalid_index"),
        (json!({"index": {"type": "GEOMETRIC", "quantisation": "f16"}}), "invalid_index"),
        (json!({"index": {"nlist": 3}}), "invalid_index"),
        (json!({"index": {"m": 0}}), "invalid_index"),
        (json!({"index": {"type": "HYBRID"}}), "invalid_index"),
        (json!({"vectors": {"none": {"index": {"m": 8}}}}), "unknown_vector_name"),
        (json!({"vectors": {"": {"index": {"m": 8}}}}), "invalid_index"),
    ] {
        alter(&node, change).await.problem(code);
    }
    let patch = Method::PATCH;
    let empty = json!({});
    let absent = node.call_in(Encoding::Json, patch.clone(), "/v1/namespaces/none", &empty).await;
    absent.problem("namespace_not_found");
    let alias = node.call_in(Encoding::Json, patch, "/v1/namespaces/named", &empty).await;
    alias.problem("name_taken");
    assert_eq!(node.contents().await, before);
    node.delete("/v1/tasks/none").await.problem("task_not_found");
    let ended = done(&node, alter(&node, json!({"index": {"type": "FLAT"}})).await).await;
    let id = ended["id"].as_str().unwrap();
    node.delete(&format!("/v1/tasks/{id}")).await.problem("task_not_cancellable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_shown_as_an_index_and_may_be_overridden() {
    let node = TestNode::start().await;
    let plain = json!({"geometry": "spherical", "dimension": 3, "profile": "memory"});
    node.namespace("docs", plain.clone()).await;
    let info = node.get(DOCS).await.ok();
    assert_eq!(info["profile"], "memory");
    let expected = json!({"type": "IVF", "quantisation": "pq", "resident": false});
    assert_eq!(info["vectors"][""]["index"], expected);
    assert_eq!(node.put(DOCS, plain).await.status, 200);
    let other = json!({"geometry": "spherical", "dimension": 3, "profile": "accuracy"});
    node.put(DOCS, other).await.problem("namespace_exists");
    let given = json!({"geometry": "euclidean", "dimension": 3, "profile": "accuracy",
        "index": {"type": "HNSW", "ef_search": 70}});
    node.namespace("given", given).await;
    let index = node.get("/v1/namespaces/given").await.ok()["vectors"][""]["index"].clone();
    assert_eq!((&index["m"], &index["ef_search"]), (&json!(32), &json!(70)));
    node.put(
        "/v1/namespaces/bad",
        json!({"geometry": "euclidean", "dimension": 3, "profile": "x"}),
    )
    .await
    .problem("invalid_body");
}
