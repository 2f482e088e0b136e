//! Labels, patches and expiry of records over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode, ids};

fn plane() -> Value {
    json!({"geometry": "euclidean", "dimension": 2, "vectors": {"other": {}}})
}

async fn patch(node: &TestNode, id: &str, body: Value) -> support::Answer {
    let path = format!("/v1/namespaces/n/vectors/{id}");
    node.call_in(hvs_api::Encoding::Json, Method::PATCH, &path, &body).await
}

#[tokio::test]
async fn region_and_kind_come_back_wherever_records_do() {
    let node = TestNode::start().await;
    node.namespace("n", plane()).await;
    let labels = json!({"region": "eu", "kind": "note"});
    for (encoding, id) in BOTH.into_iter().zip(["a", "b"]) {
        let body = json!({"vector": [1, 2], "region": "eu", "kind": "note", "metadata": {"x": 1}});
        let path = format!("/v1/namespaces/n/vectors/{id}");
        node.call_in(encoding, Method::PUT, &path, &body).await.ok();
    }
    let plain = json!({"operations": [{"put": {"id": "plain", "vector": [3, 4]}}]});
    node.post("/v1/namespaces/n/batch", plain).await.ok();

    let shows = |record: &Value| {
        assert_eq!((&record["region"], &record["kind"]), (&labels["region"], &labels["kind"]));
    };
    shows(&node.get("/v1/namespaces/n/vectors/a").await.ok());
    shows(&node.post("/v1/namespaces/n/fetch", json!({"ids": ["b"]})).await.ok()["records"][0]);
    let filter = json!({"$region": "eu", "$kind": "note"});
    let scrolled = node.post("/v1/namespaces/n/scroll", json!({ "filter": filter })).await.ok();
    assert_eq!(scrolled["records"].as_array().unwrap().len(), 2);
    shows(&scrolled["records"][1]);
    let search = json!({"vector": [1, 2], "k": 3, "filter": filter, "include_metadata": true});
    let found = node.post("/v1/namespaces/n/search", search).await.ok();
    assert_eq!(ids(&found), ["a", "b"]);
    shows(&found["hits"][0]);
    let found = node.post("/v1/namespaces/n/search", json!({"vector": [1, 2], "k": 1})).await.ok();
    assert!(found["hits"][0].get("kind").is_none(), "{found}");
    let plain = node.get("/v1/namespaces/n/vectors/plain").await.ok();
    assert_eq!(plain["kind"], "vector");
    assert!(plain.get("region").is_none());

    let before = node.contents().await;
    for bad in [json!({"region": ""}), json!({"kind": "message"}), json!({"kind": "x".repeat(129)})]
    {
        let mut put = json!({"vector": [1, 2]});
        put.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        node.put("/v1/namespaces/n/vectors/c", put).await.problem("invalid_label");
    }
    assert_eq!(node.contents().await, before);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let node = TestNode::start().await;
    node.namespace("n", plane()).await;
    let put = json!({
        "vector": [1, 2], "vectors": {"other": [3, 4]}, "region": "eu",
        "metadata": {"a": 1, "deep": {"x": 1, "y": [1, 2]}}
    });
    let etag = node.put("/v1/namespaces/n/vectors/r", put).await.ok()["etag"].clone();
    let body = json!({"metadata": {"a": null, "deep": {"z": 0.1}}, "vectors": {"other": [5, 6]}});
    let answer = patch(&node, "r", body).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("updated")));
    assert_eq!(answer.headers["etag"], format!("\"{}\"", answer.body["etag"].as_str().unwrap()));
    let record = node.get("/v1/namespaces/n/vectors/r").await.ok();
    assert_eq!(record["metadata"], json!({"deep": {"x": 1, "y": [1, 2], "z": 0.1}}));
    assert_eq!(record["vector"], json!([1.0, 2.0]));
    assert_eq!(record["vectors"]["other"], json!([5.0, 6.0]));
    assert_eq!((&record["region"], &record["version"]), (&json!("eu"), &json!(2)));

    // The indexes follow.
    let by_other = json!({"vector": [5, 6], "using": "other", "k": 1, "filter": {"deep.z": 0.1}});
    let found = node.post("/v1/namespaces/n/search", by_other).await.ok();
    assert!(found["hits"][0]["distance"].as_f64().unwrap() < 1e-9, "{found}");

    patch(&node, "r", json!({"region": null})).await.ok();
    assert!(node.get("/v1/namespaces/n/vectors/r").await.ok().get("region").is_none());

    let before = node.contents().await;
    patch(&node, "r", json!({"if_match": etag, "region": "x"})).await.problem("condition_failed");
    patch(&node, "absent", json!({"region": "x"})).await.problem("vector_not_found");
    patch(&node, "r", json!({})).await.problem("invalid_operation");
    patch(&node, "r", json!({"metadata": {}})).await.problem("invalid_operation");
    patch(&node, "r", json!({"id": "s", "region": "x"})).await.problem("invalid_operation");
    patch(&node, "r", json!({"vector": [1]})).await.problem("dimension_mismatch");
    patch(&node, "r", json!({"vectors": {"none": [1, 2]}})).await.problem("unknown_vector_name");
    patch(&node, "r", json!({"kind": "x"})).await.problem("invalid_body");
    let atomic = json!({"atomic": true, "operations": [
        {"put": {"id": "new", "vector": [1, 2]}}, {"patch": {"id": "absent", "region": "x"}}
    ]});
    let problem = node.post("/v1/namespaces/n/batch", atomic).await.problem("vector_not_found");
    assert_eq!(problem["errors"][0]["index"], 1);
    assert_eq!(node.contents().await, before);
}

#[tokio::test]
async fn a_patch_takes_effect_once_under_its_key_and_within_its_limit() {
    let node = TestNode::with(|config| config.limits.metadata_bytes = 40).await;
    node.namespace("n", plane()).await;
    let put = json!({"vector": [1, 2], "metadata": {"a": "x".repeat(20)}});
    node.put("/v1/namespaces/n/vectors/r", put).await.ok();
    let keyed = async |body: Value| {
        let request = node.request(Method::PATCH, "/v1/namespaces/n/vectors/r");
        let request = request.header("idempotency-key", "k").json(&body);
        node.send(request).await
    };
    let first = keyed(json!({"metadata": {"b": 1}})).await.ok();
    assert_eq!(keyed(json!({"metadata": {"b": 1}})).await.ok(), first);
    keyed(json!({"metadata": {"b": 2}})).await.problem("idempotency_conflict");
    let record = node.get("/v1/namespaces/n/vectors/r").await.ok();
    assert_eq!(record["version"], 2);

    let large = json!({"metadata": {"c": "y".repeat(20)}});
    let problem = patch(&node, "r", large.clone()).await.problem("invalid_metadata");
    assert_eq!(problem["context"]["limit"], 40);
    let mut operation = large;
    operation["id"] = "r".into();
    let batch = json!({"operations": [{ "patch": operation }]});
    let results = node.post("/v1/namespaces/n/batch", batch).await.ok();
    assert_eq!(results["results"][0]["status"], "too_large");
    assert_eq!(results["failed"], 1);
    assert_eq!(node.get("/v1/namespaces/n/vectors/r").await.ok(), record);
}

#[tokio::test]
async fn records_expire_by_their_own_time_or_that_of_the_namespace() {
    let node = TestNode::start().await;
    let mut settings = plane();
    settings["ttl_ms"] = 1_500.into();
    node.namespace("n", settings.clone()).await;
    assert_eq!(node.get("/v1/namespaces/n").await.ok()["ttl_ms"], 1_500);
    settings["ttl_ms"] = 1_501.into();
    node.put("/v1/namespaces/n", settings.clone()).await.problem("namespace_exists");
    settings["ttl_ms"] = 0.into();
    node.put("/v1/namespaces/m", settings).await.problem("invalid_expiry");

    let put = async |id: &str, body: Value| {
        let mut put = json!({"vector": [1, 2], "metadata": {"x": 1}});
        put.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        node.put(&format!("/v1/namespaces/n/vectors/{id}"), put).await
    };
    put("default", json!({})).await.ok();
    put("never", json!({"ttl_ms": 0})).await.ok();
    put("later", json!({"ttl_ms": 1_000_000})).await.ok();
    put("bad", json!({"ttl_ms": 1, "expires_at_ms": 1})).await.problem("invalid_expiry");
    put("bad", json!({"expires_at_ms": 1_700_000_000})).await.problem("invalid_expiry");
    let never = node.get("/v1/namespaces/n/vectors/never").await.ok();
    assert!(never.get("expires_at_ms").is_none());
    assert!(node.get("/v1/namespaces/n/vectors/later").await.ok()["expires_at_ms"].is_u64());

    let start = Instant::now();
    while node.get("/v1/namespaces/n/vectors/default").await.status == 200 {
        assert!(start.elapsed() < Duration::from_mins(1), "it does not expire");
    }
    let filter = json!({"x": 1});
    let count = async |body| node.post("/v1/namespaces/n/count", body).await.ok()["count"].clone();
    assert_eq!(count(json!({})).await, 2);
    assert_eq!(count(json!({ "filter": filter })).await, 2);
    let search = json!({"vector": [1, 2], "k": 3, "filter": filter});
    assert_eq!(ids(&node.post("/v1/namespaces/n/search", search).await.ok()).len(), 2);
    let fetched = node.post("/v1/namespaces/n/fetch", json!({"ids": ["default"]})).await.ok();
    assert_eq!(fetched["missing"], json!(["default"]));
    let scrolled = node.post("/v1/namespaces/n/scroll", json!({})).await.ok();
    assert_eq!(scrolled["records"].as_array().unwrap().len(), 2);
    assert_eq!(node.get("/v1/namespaces/n").await.ok()["records"], 2);
    patch(&node, "default", json!({"ttl_ms": 0})).await.problem("vector_not_found");
    put("default", json!({"if_absent": true, "ttl_ms": 0})).await.ok();
}

#[tokio::test]
async fn exact_and_unindexed_searches_keep_to_their_cap() {
    let node = TestNode::with(|config| {
        config.limits.exact_vectors = 2;
        config.payload.text_bytes = 4;
    })
    .await;
    node.namespace("n", plane()).await;
    let search = async |body: Value| {
        let mut search = json!({"vector": [1, 2], "k": 5});
        search.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        node.post("/v1/namespaces/n/search", search).await
    };
    let long = json!({"filter": {"text": "longer than four"}});
    for number in 0..3 {
        if number == 2 {
            search(json!({"exact": true})).await.ok();
            search(long.clone()).await.ok();
        }
        let put =
            json!({"vector": [1, number], "metadata": {"text": "longer than four", "n": number}});
        node.put(&format!("/v1/namespaces/n/vectors/{number}"), put).await.ok();
    }
    let problem = search(json!({"exact": true})).await.problem("scan_too_large");
    assert_eq!(problem["context"]["limit"], 2);
    search(long.clone()).await.problem("scan_too_large");
    node.post("/v1/namespaces/n/count", long).await.problem("scan_too_large");
    assert_eq!(
        ids(&search(json!({"filter": {"n": {"$gte": 1}}, "exact": true})).await.ok()).len(),
        2
    );
    assert_eq!(ids(&search(json!({})).await.ok()).len(), 3);
}
