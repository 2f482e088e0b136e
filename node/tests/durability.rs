//! Levels of durability over HTTP: who says which, and what memory holds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use hvs_api::Durability;
use serde_json::{Value, json};
use support::{TestNode, ids};

fn flat(durability: Option<&str>) -> Value {
    let mut settings = json!({"geometry": "euclidean", "dimension": 2});
    if let Some(durability) = durability {
        settings["durability"] = durability.into();
    }
    settings
}

#[tokio::test]
async fn a_write_says_it_or_its_namespace_or_the_node() {
    let node = TestNode::with(|config| config.writes.durability = Durability::Sync).await;
    for (name, own) in [("of-node", None), ("of-memory", Some("memory")), ("b", Some("buffered"))] {
        node.namespace(name, flat(own)).await;
        let expected = own.unwrap_or("sync");
        let info = node.get(&format!("/v1/namespaces/{name}")).await.ok();
        assert_eq!(info["durability"], expected);
        let path = format!("/v1/namespaces/{name}/vectors");
        let put = node.put(&format!("{path}/a"), json!({"vector": [1, 2]})).await.ok();
        assert_eq!(put["durability"], expected, "{put}");
        for asked in ["memory", "buffered", "sync"] {
            let body = json!({"vector": [1, 2], "durability": asked});
            let put = node.put(&format!("{path}/{asked}"), body).await.ok();
            assert_eq!(put["durability"], asked, "{put}");
            let deleted = node.delete(&format!("{path}/{asked}?durability={asked}")).await.ok();
            assert_eq!(deleted["durability"], asked, "{deleted}");
        }
        let batch = json!({"operations": [
            {"put": {"id": "x", "vector": [1, 2]}}, {"delete": {"id": "never"}}
        ]});
        let batch = node.post(&format!("/v1/namespaces/{name}/batch"), batch).await.ok();
        assert_eq!(batch["results"][0]["durability"], expected);
        assert_eq!(batch["results"][1]["durability"], Value::Null, "nothing changed");
    }
    // Creating again asks for the same, or for nothing.
    node.put("/v1/namespaces/b", flat(None)).await.ok();
    let problem =
        node.put("/v1/namespaces/b", flat(Some("sync"))).await.problem("namespace_exists");
    assert!(problem["detail"].as_str().unwrap().contains("durability"), "{problem}");
    for level in ["replicated", "quorum"] {
        let refused = node.put("/v1/namespaces/new", flat(Some(level))).await;
        refused.problem("durability_unavailable");
    }
    // A node that has another default.
    let node = node.restart().await;
    let of = async |name: &str| {
        node.get(&format!("/v1/namespaces/{name}")).await.ok()["durability"].clone()
    };
    assert_eq!((of("of-node").await, of("of-memory").await), (json!("buffered"), json!("memory")));
}

#[tokio::test]
async fn records_in_memory_are_answered_everywhere_and_gone_after_a_restart() {
    let node = TestNode::start().await;
    let mut settings = flat(Some("memory"));
    settings["shards"] = 2.into();
    node.namespace("m", settings).await;
    let operations: Vec<Value> = (0..20)
        .map(|n| json!({"put": {"id": format!("r{n}"), "vector": [n, 0], "metadata": {"n": n}}}))
        .collect();
    let answer = node.post("/v1/namespaces/m/batch", json!({"operations": operations})).await.ok();
    assert!(answer["results"].as_array().unwrap().iter().all(|r| r["durability"] == "memory"));
    let logged = json!({"vector": [3.25, 0], "metadata": {"n": 3.25}, "durability": "buffered"});
    node.put("/v1/namespaces/m/vectors/logged", logged).await.ok();

    let got = node.get("/v1/namespaces/m/vectors/r7").await.ok();
    assert_eq!((&got["vector"], &got["metadata"]["n"]), (&json!([7.0, 0.0]), &json!(7)));
    let fetch = json!({"ids": ["r1", "none", "logged"]});
    let fetched = node.post("/v1/namespaces/m/fetch", fetch).await.ok();
    assert_eq!(fetched["records"].as_array().unwrap().len(), 2);
    let filter = json!({"filter": {"n": {"$lt": 5}}});
    assert_eq!(node.post("/v1/namespaces/m/count", json!({})).await.ok()["count"], 21);
    assert_eq!(node.post("/v1/namespaces/m/count", filter.clone()).await.ok()["count"], 6);
    let mut search = json!({"vector": [3.1, 0], "k": 3, "include_metadata": true});
    let found = node.post("/v1/namespaces/m/search", search.clone()).await.ok();
    assert_eq!(ids(&found), ["r3", "logged", "r4"]);
    assert_eq!(found["hits"][0]["metadata"]["n"], 3);
    search["filter"] = json!({"n": {"$gte": 3.2}});
    let found = node.post("/v1/namespaces/m/search", search).await.ok();
    assert_eq!(ids(&found), ["logged", "r4", "r5"]);
    let info = node.get("/v1/namespaces/m").await.ok();
    assert_eq!((&info["records"], &info["memory_records"]), (&json!(21), &json!(20)));

    let mut token = Value::Null;
    let mut seen = Vec::new();
    loop {
        let mut body = json!({"limit": 4});
        if !token.is_null() {
            body["token"] = token;
        }
        let page = node.post("/v1/namespaces/m/scroll", body).await.ok();
        let records = page["records"].as_array().unwrap();
        seen.extend(records.iter().map(|record| record["id"].as_str().unwrap().to_owned()));
        token = page["next"].clone();
        if token.is_null() {
            break;
        }
    }
    seen.sort();
    let mut all: Vec<String> = (0..20).map(|n| format!("r{n}")).chain(["logged".into()]).collect();
    all.sort();
    assert_eq!(seen, all);

    let node = node.restart().await;
    assert_eq!(node.post("/v1/namespaces/m/count", json!({})).await.ok()["count"], 1);
    node.get("/v1/namespaces/m/vectors/r7").await.problem("vector_not_found");
}

#[tokio::test]
async fn memory_that_is_full_refuses_with_its_numbers() {
    let node = TestNode::with(|config| config.writes.memory_bytes = 1_000).await;
    node.namespace("m", flat(None)).await;
    let body = json!({"vector": [1, 2], "durability": "memory"});
    let mut taken = 0;
    let problem = loop {
        let path = format!("/v1/namespaces/m/vectors/r{taken}");
        let answer = node.put(&path, body.clone()).await;
        if answer.status != 201 {
            break answer.problem("memory_full");
        }
        taken += 1;
        assert!(taken < 10, "the limit does not hold");
    };
    assert!(taken >= 2, "{problem}");
    let number = |name: &str| problem["context"][name].as_u64().unwrap();
    assert_eq!(number("limit"), 1_000);
    assert!(number("bytes") <= 1_000 && number("bytes") + number("needed") > 1_000, "{problem}");
    assert_eq!(node.post("/v1/namespaces/m/count", json!({})).await.ok()["count"], taken);
    // What is logged needs no room in memory.
    node.put("/v1/namespaces/m/vectors/logged", json!({"vector": [1, 2]})).await.ok();
}
