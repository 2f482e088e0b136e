//! Which metadata a namespace indexes: declared, shown, changed in use, and told by explain.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, BOTH, TestNode, ids};

const DOCS: &str = "/v1/namespaces/docs";

async fn alter(node: &TestNode, body: Value) -> Answer {
    node.call_in(Encoding::Json, Method::PATCH, DOCS, &body).await
}

async fn ready(node: &TestNode) -> Value {
    loop {
        let info = node.get(DOCS).await.ok();
        if info["payload"]["ready"] == true {
            return info;
        }
        tokio::task::yield_now().await;
    }
}

async fn filled(settings: Value) -> TestNode {
    let node = TestNode::start().await;
    let mut all = json!({"geometry": "euclidean", "dimension": 2, "shards": 2});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    node.namespace("docs", all).await;
    let operations: Vec<Value> = (0..200)
        .map(|n| {
            let year = if n % 50 == 0 { json!("unknown") } else { json!(1900 + n % 100) };
            let day = format!("2026-01-{:02}", n % 31 + 1);
            let lang = ["en", "de"][n % 2];
            json!({"put": {"id": format!("id-{n:03}"), "vector": [n, 0], "region": "eu",
                "metadata": {"lang": lang, "meta": {"year": year}, "day": day}}})
        })
        .collect();
    node.post(&format!("{DOCS}/batch"), json!({"operations": operations})).await.ok();
    node
}

/// The hits of a filtered search, and what the first shard says of its fields.
async fn explained(node: &TestNode, filter: Value) -> (Vec<String>, Value, Value) {
    let body = json!({"vector": [0, 0], "k": 200, "filter": filter, "explain": true});
    let answer = node.post(&format!("{DOCS}/search"), body).await.ok();
    let shard = &answer["explain"]["shards"][0];
    let fields = |name: &str| shard.get(name).cloned().unwrap_or_else(|| json!([]));
    let mut found = ids(&answer);
    found.sort();
    (found, fields("indexed"), fields("unindexed"))
}

fn declared() -> Value {
    json!([{"field": "meta.year", "type": "integer"}, {"field": "day", "type": "datetime"}])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_is_shown_used_changed_and_kept() {
    let node = filled(json!({"payload_indexing": "declared", "payload_indexes": declared()})).await;
    let info = ready(&node).await;
    assert_eq!(info["payload_indexing"], "declared");
    let shown = json!([
        {"field": "day", "type": "datetime"}, {"field": "meta.year", "type": "integer"}
    ]);
    assert_eq!(info["payload_indexes"], shown);
    assert_eq!((&info["payload"]["fields"], &info["payload"]["partial"]), (&json!(2), &json!(4)));

    let filter = json!({"lang": "de", "meta.year": {"$gte": 1950}, "$region": "eu"});
    let by_declared = explained(&node, filter.clone()).await;
    assert_eq!(by_declared.0.len(), 50);
    assert_eq!(by_declared.1, json!(["$region", "meta.year"]));
    assert_eq!(by_declared.2, json!(["lang"]));
    // What is of another type is found all the same.
    let odd = json!({"meta.year": "unknown"});
    let (unknown, ..) = explained(&node, odd.clone()).await;
    assert_eq!(unknown, ["id-000", "id-050", "id-100", "id-150"]);

    let altered = alter(&node, json!({"payload_indexing": "auto", "payload_indexes": []})).await;
    assert_eq!((altered.status, &altered.body["task"]), (200, &Value::Null));
    let info = ready(&node).await;
    assert_eq!(
        (&info["payload_indexing"], &info["payload_indexes"]),
        (&json!("auto"), &Value::Null)
    );
    assert_eq!((&info["payload"]["fields"], &info["payload"]["partial"]), (&json!(4), &json!(0)));
    let automatic = explained(&node, filter.clone()).await;
    assert_eq!(automatic.0, by_declared.0);
    assert_eq!(automatic.1, json!(["$region", "lang", "meta.year"]));
    assert_eq!(explained(&node, odd.clone()).await.0, unknown);

    let one = json!({"payload_indexing": "declared",
        "payload_indexes": [{"field": "lang", "type": "keyword"}]});
    alter(&node, one).await.ok();
    let node = node.restart().await;
    let info = ready(&node).await;
    assert_eq!(info["payload_indexes"], json!([{"field": "lang", "type": "keyword"}]));
    let after = explained(&node, filter).await;
    assert_eq!((after.0, after.1), (by_declared.0, json!(["$region", "lang"])));
    // What is left out stays, and a creation must give the same.
    let same = json!({"geometry": "euclidean", "dimension": 2});
    assert_eq!(node.put(DOCS, same).await.status, 200);
    for other in [json!({"payload_indexing": "auto"}), json!({"payload_indexes": declared()})] {
        let mut settings = json!({"geometry": "euclidean", "dimension": 2});
        settings.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        node.put(DOCS, settings).await.problem("namespace_exists");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_by_text_tell_the_fields_as_well() {
    let index = json!({"type": "HYBRID", "text_fields": ["lang"]});
    let node = filled(json!({"index": index, "payload_indexing": "declared"})).await;
    ready(&node).await;
    let body = json!({"vector": [0, 0], "text": "de", "k": 9, "explain": true,
        "filter": {"day": "2026-01-02", "$kind": "vector"}});
    let answer = node.post(&format!("{DOCS}/search"), body).await.ok();
    for shard in answer["explain"]["shards"].as_array().unwrap() {
        assert_eq!((&shard["indexed"], &shard["unindexed"]), (&json!(["$kind"]), &json!(["day"])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_indexed_is_refused() {
    let node = TestNode::with(|config| {
        config.limits.payload_indexes = 2;
        config.limits.path_bytes = 6;
    })
    .await;
    let settings = |indexes: Value| json!({"geometry": "euclidean", "dimension": 2, "payload_indexes": indexes});
    let field = |path: &str| json!({"field": path, "type": "keyword"});
    let edge = json!([field("abc.de"), field("f")]);
    for encoding in BOTH {
        let path = "/v1/namespaces/docs";
        node.call_in(encoding, Method::PUT, path, &settings(edge.clone())).await.ok();
    }
    for (indexes, code) in [
        (json!([field("a"), field("b"), field("c")]), "invalid_payload_index"),
        (json!([field("abc.def")]), "invalid_payload_index"),
        (json!([field("a"), field("a")]), "invalid_payload_index"),
        (json!([field("a..b")]), "invalid_payload_index"),
        (json!([field("")]), "invalid_payload_index"),
        (json!([field("$kind")]), "invalid_payload_index"),
        (json!([{"field": "a", "type": "text"}]), "invalid_body"),
        (json!([{"field": "a"}]), "invalid_body"),
        (json!([{"field": "a", "type": "bool", "more": 1}]), "invalid_body"),
        (json!("a"), "invalid_body"),
    ] {
        node.put("/v1/namespaces/bad", settings(indexes.clone())).await.problem(code);
        alter(&node, json!({"payload_indexes": indexes})).await.problem(code);
    }
    alter(&node, json!({"payload_indexing": "none"})).await.problem("invalid_body");
    assert_eq!(node.get(DOCS).await.ok()["payload_indexes"], edge);
}
