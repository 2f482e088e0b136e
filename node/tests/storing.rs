//! Namespaces, aliases and records over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::{BOTH, TestNode};

fn flat(dimension: u64) -> Value {
    json!({"geometry": "euclidean", "dimension": dimension})
}

#[tokio::test]
async fn a_namespace_is_created_once_described_and_deleted() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "hyperboloid", "dimension": 12, "curvature": -0.5});
    let created = node.put("/v1/namespaces/words", settings.clone()).await;
    assert_eq!(created.status, 201);
    let created = created.ok();
    let again = node.put("/v1/namespaces/words", settings).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.ok()["uid"], created["uid"]);

    let space = &created["vectors"][""]["space"];
    assert_eq!((&space["dimension"], &space["ambient"]), (&json!(12), &json!(13)));
    assert_eq!(space["curvature"], -0.5);

    let other = json!({"geometry": "hyperboloid", "dimension": 11, "curvature": -0.5});
    let problem = node.put("/v1/namespaces/words", other).await.problem("namespace_exists");
    assert!(problem["detail"].as_str().unwrap().contains("11"), "{problem}");

    assert_eq!(node.delete("/v1/namespaces/words").await.ok()["name"], "words");
    node.get("/v1/namespaces/words").await.problem("namespace_not_found");
    node.delete("/v1/namespaces/words").await.problem("namespace_not_found");
    let anew = node.put("/v1/namespaces/words", flat(2)).await.ok();
    assert_ne!(anew["uid"], created["uid"]);
    assert_eq!(anew["records"], 0);
}

#[tokio::test]
async fn a_deleted_namespace_leaves_no_files() {
    let node = TestNode::start().await;
    let shards = node.directory.path().join("shards");
    let count = || std::fs::read_dir(&shards).unwrap().count();
    let before = count();
    node.namespace("gone", json!({"geometry": "euclidean", "dimension": 2, "shards": 3})).await;
    assert_eq!(count(), before + 3);
    node.put("/v1/namespaces/gone/vectors/a", json!({"vector": [1, 2]})).await.ok();
    node.delete("/v1/namespaces/gone").await.ok();
    assert_eq!(count(), before);
}

#[tokio::test]
async fn aliases_lead_elsewhere_at_once_and_all_or_none() {
    let node = TestNode::start().await;
    for (name, x) in [("v1", 1.0), ("v2", 2.0)] {
        node.namespace(name, flat(1)).await;
        node.put(&format!("/v1/namespaces/{name}/vectors/a"), json!({"vector": [x]})).await.ok();
    }
    node.put("/v1/aliases/live", json!({"namespace": "v1"})).await.ok();
    let read = async |name: &str| {
        let path = format!("/v1/namespaces/{name}/vectors/a");
        node.get(&path).await.ok()["vector"][0].as_f64().unwrap()
    };
    assert!((read("live").await - 1.0).abs() < 1e-9);

    let switch = json!({"aliases": {"live": "v2", "before": "v1"}});
    node.post("/v1/aliases", switch).await.ok();
    assert!((read("live").await - 2.0).abs() < 1e-9);
    assert!((read("before").await - 1.0).abs() < 1e-9);
    assert_eq!(node.get("/v1/namespaces/v2").await.ok()["aliases"], json!(["live"]));

    // One bad change leaves the good ones undone.
    let before = node.contents().await;
    let switch = json!({"aliases": {"live": "v1", "other": "nowhere"}});
    node.post("/v1/aliases", switch).await.problem("namespace_not_found");
    node.post("/v1/aliases", json!({"aliases": {"v1": "v2"}})).await.problem("name_taken");
    node.post("/v1/aliases", json!({"aliases": {}})).await.problem("empty_batch");
    node.put("/v1/namespaces/live", flat(1)).await.problem("name_taken");
    node.delete("/v1/namespaces/live").await.problem("name_taken");
    node.delete("/v1/aliases/nothing").await.problem("alias_not_found");
    assert_eq!(node.contents().await, before);

    node.delete("/v1/aliases/before").await.ok();
    node.get("/v1/aliases/before").await.problem("alias_not_found");
    // The aliases of a namespace go with it.
    node.delete("/v1/namespaces/v2").await.ok();
    assert_eq!(node.get("/v1/aliases").await.ok(), json!({"aliases": []}));
}

#[tokio::test]
async fn a_record_is_stored_read_and_deleted_in_both_encodings() {
    let node = TestNode::start().await;
    node.namespace("n", json!({"geometry": "hyperboloid", "dimension": 2})).await;
    for encoding in BOTH {
        let path = "/v1/namespaces/n/vectors/%E7%8A%AC%2F1";
        let body = json!({"vector": [1.25, 0.0, 0.75], "metadata": {"a": [1, {"b": null}]}});
        let put = node.call_in(encoding, Method::PUT, path, &body).await;
        assert_eq!(put.status, 201, "{put:?}");
        assert_eq!(put.body["status"], "created");
        let read =
            node.send(node.request(Method::GET, path).header("accept", encoding.content_type()));
        let read = read.await;
        assert_eq!(read.headers["etag"], format!("\"{}\"", read.body["etag"].as_str().unwrap()));
        let record = read.ok();
        assert_eq!(record["id"], "犬/1");
        assert_eq!(record["vector"], json!([1.25, 0.0, 0.75]));
        assert_eq!(record["metadata"], body["metadata"]);

        let spatial = json!({"vector": [0.75, 0.0], "coordinates": "spatial"});
        let update = node.call_in(encoding, Method::PUT, path, &spatial).await;
        assert_eq!((update.status, &update.body["status"]), (200, &json!("updated")));
        assert_eq!(node.get(path).await.ok()["vector"], json!([1.25, 0.75, 0.0]));

        assert_eq!(node.delete(path).await.ok()["status"], "deleted");
        node.get(path).await.problem("vector_not_found");
        node.delete(path).await.problem("vector_not_found");
    }
}

#[tokio::test]
async fn conditions_come_by_header_and_by_body() {
    let node = TestNode::start().await;
    node.namespace("n", flat(1)).await;
    let path = "/v1/namespaces/n/vectors/a";
    let with = async |header: Option<(&str, &str)>, body: Value| {
        let mut request = node.request(Method::PUT, path).json(&body);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        node.send(request).await
    };
    let first = with(Some(("if-none-match", "*")), json!({"vector": [1]})).await.ok();
    let taken = with(Some(("if-none-match", "*")), json!({"vector": [2]})).await;
    assert_eq!(taken.problem("condition_failed")["context"]["etag"], first["etag"]);
    with(None, json!({"vector": [2], "if_absent": true})).await.problem("condition_failed");

    let etag = first["etag"].as_str().unwrap();
    let quoted = format!("\"{etag}\"");
    let second = with(Some(("if-match", &quoted)), json!({"vector": [3]})).await.ok();
    let stale = with(None, json!({"vector": [4], "if_match": etag})).await;
    assert_eq!(stale.problem("condition_failed")["context"]["etag"], second["etag"]);
    assert_eq!(node.get(path).await.ok()["vector"], json!([3.0]));

    for (header, body) in [
        (Some(("if-match", "what")), json!({"vector": [5]})),
        (Some(("if-none-match", "\"1.1.0\"")), json!({"vector": [5]})),
        (Some(("if-match", quoted.as_str())), json!({"vector": [5], "if_absent": true})),
        (Some(("if-match", quoted.as_str())), json!({"vector": [5], "if_match": "1.1.1"})),
    ] {
        with(header, body).await.problem("invalid_condition");
    }
    let stale = node.request(Method::DELETE, path).header("if-match", &quoted);
    node.send(stale).await.problem("condition_failed");
    let current = second["etag"].as_str().unwrap();
    node.send(node.request(Method::DELETE, path).header("if-match", current)).await.ok();
}

#[tokio::test]
async fn a_batch_mixes_operations_and_tells_each_outcome() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "euclidean", "dimension": 1, "shards": 3});
    node.namespace("n", settings).await;
    let puts: Vec<_> =
        (0..20).map(|n| json!({"put": {"id": format!("r{n}"), "vector": [n]}})).collect();
    let stored = node.post("/v1/namespaces/n/batch", json!({"operations": puts})).await.ok();
    assert_eq!(stored["failed"], 0);
    for (n, result) in stored["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&result["id"], &result["status"]),
            (&json!(format!("r{n}")), &json!("created"))
        );
    }
    let mixed = json!({"durability": "sync", "operations": [
        {"delete": {"id": "r0"}},
        {"delete": {"id": "absent"}},
        {"put": {"id": "r1", "vector": [100], "if_absent": true}},
        {"put": {"id": "r2", "vector": [200]}},
    ]});
    let answer = node.post("/v1/namespaces/n/batch", mixed).await.ok();
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, ["deleted", "not_found", "condition_failed", "updated"]);
    assert_eq!(answer["failed"], 1);
    let count = node.post("/v1/namespaces/n/count", json!({})).await.ok();
    assert_eq!(count["count"], 19);

    let fetch = json!({"ids": ["r2", "r0", "r1"], "include_metadata": false});
    let fetched = node.post("/v1/namespaces/n/fetch", fetch).await.ok();
    assert_eq!(fetched["missing"], json!(["r0"]));
    assert_eq!(fetched["records"][0]["vector"], json!([200.0]));
    assert_eq!(fetched["records"][1]["vector"], json!([1.0]));
    assert!(fetched["records"][0].get("metadata").is_none());
}

#[tokio::test]
async fn an_atomic_batch_is_all_or_nothing_and_of_one_shard() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "euclidean", "dimension": 1, "shards": 4});
    node.namespace("n", settings).await;
    let put = |id: &str, absent: bool| {
        json!({"put": {
            "id": id, "vector": [1], "partition_key": "tenant", "if_absent": absent
        }})
    };
    let batch = |operations: Vec<Value>| json!({"operations": operations, "atomic": true});
    let path = "/v1/namespaces/n/batch";
    node.post(path, batch(vec![put("a", true), put("b", true)])).await.ok();
    let failed = node.post(path, batch(vec![put("c", true), put("a", true)])).await;
    let problem = failed.problem("condition_failed");
    assert_eq!(problem["errors"][0]["index"], 1);
    node.get("/v1/namespaces/n/vectors/c?partition_key=tenant").await.problem("vector_not_found");
    node.get("/v1/namespaces/n/vectors/a?partition_key=tenant").await.ok();

    let spread: Vec<_> =
        (0..20).map(|n| json!({"put": {"id": format!("s{n}"), "vector": [1]}})).collect();
    node.post(path, batch(spread)).await.problem("atomic_too_large");
    let count = node.post("/v1/namespaces/n/count", json!({})).await.ok();
    assert_eq!(count["count"], 2);
}

#[tokio::test]
async fn an_idempotency_key_lets_a_request_be_repeated() {
    let node = TestNode::start().await;
    node.namespace("n", flat(1)).await;
    let put = async |key: &str, x: i32| {
        let request = node
            .request(Method::PUT, "/v1/namespaces/n/vectors/a")
            .header("idempotency-key", key)
            .json(&json!({"vector": [x]}));
        node.send(request).await
    };
    let first = put("k1", 1).await.ok();
    put("k2", 2).await.ok();
    assert_eq!(put("k1", 1).await.ok(), first);
    assert_eq!(node.get("/v1/namespaces/n/vectors/a").await.ok()["vector"], json!([2.0]));
    put("k1", 3).await.problem("idempotency_conflict");
    put("", 3).await.problem("invalid_idempotency_key");
    put("a b", 3).await.problem("invalid_idempotency_key");
    put(&"x".repeat(129), 3).await.problem("invalid_idempotency_key");
    put(&"x".repeat(128), 3).await.ok();
}

#[tokio::test]
async fn scrolling_meets_every_record_once_over_all_shards() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "euclidean", "dimension": 1, "shards": 3});
    node.namespace("n", settings.clone()).await;
    let puts: Vec<_> = (0..57)
        .map(|n| json!({"put": {"id": format!("r{n}"), "vector": [n], "metadata": {"odd": n % 2}}}))
        .collect();
    node.post("/v1/namespaces/n/batch", json!({"operations": puts})).await.ok();
    let path = "/v1/namespaces/n/scroll";
    for (filter, expected) in [(json!({}), 57), (json!({"odd": 1}), 28)] {
        let mut seen = Vec::new();
        let mut token = Value::Null;
        loop {
            let page = json!({"limit": 10, "token": token, "filter": filter});
            let page = node.post(path, page).await.ok();
            for record in page["records"].as_array().unwrap() {
                seen.push(record["id"].as_str().unwrap().to_owned());
            }
            match page.get("next") {
                Some(next) => token = next.clone(),
                None => break,
            }
        }
        assert_eq!(seen.len(), expected);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), expected);
        let count = node.post("/v1/namespaces/n/count", json!({"filter": filter})).await.ok();
        assert_eq!(count["count"], expected);
    }
    let first = node.post(path, json!({"limit": 10})).await.ok();
    let token = &first["next"];
    for refused in [
        json!({"token": token, "filter": {"odd": 1}}),
        json!({"token": "00"}),
        json!({"token": "not hexadecimal"}),
        json!({"token": format!("{}00", token.as_str().unwrap())}),
    ] {
        node.post(path, refused).await.problem("invalid_token");
    }
    // A token does not lead into another namespace of the same name.
    node.delete("/v1/namespaces/n").await.ok();
    node.namespace("n", settings).await;
    node.post(path, json!({"token": token})).await.problem("invalid_token");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let node = TestNode::start().await;
    node.namespace("n", json!({"geometry": "poincare", "dimension": 2, "shards": 2})).await;
    node.put("/v1/aliases/live", json!({"namespace": "n"})).await.ok();
    let puts: Vec<_> = (0..40)
        .map(|n| {
            let angle = f64::from(n);
            let vector = [0.5 * angle.cos(), 0.5 * angle.sin()];
            json!({"put": {"id": format!("r{n}"), "vector": vector, "metadata": {"n": n}}})
        })
        .collect();
    node.post("/v1/namespaces/live/batch", json!({"operations": puts})).await.ok();
    node.delete("/v1/namespaces/n/vectors/r7").await.ok();
    let search = json!({"vector": [0.1, 0.2], "k": 10, "include_metadata": true});
    let found = node.post("/v1/namespaces/n/search", search.clone()).await.ok();
    let before = node.contents().await;

    let node = node.restart().await;
    assert_eq!(node.contents().await, before);
    assert_eq!(node.post("/v1/namespaces/live/search", search).await.ok(), found);
    node.get("/v1/namespaces/n/vectors/r7").await.problem("vector_not_found");
}

#[tokio::test]
async fn a_batch_that_is_refused_in_part_says_what_took_effect() {
    let node = TestNode::start().await;
    node.namespace("p", json!({"geometry": "euclidean", "dimension": 1, "shards": 4})).await;
    let put = |request: reqwest::RequestBuilder, body: &Value| {
        request.header("idempotency-key", "k").json(body)
    };
    let first = node.request(Method::PUT, "/v1/namespaces/p/vectors/a0");
    node.send(put(first, &json!({"vector": [1]}))).await.ok();
    let operations: Vec<Value> =
        (0..8).map(|n| json!({"put": {"id": format!("b{n}"), "vector": [n]}})).collect();
    let batch = node.request(Method::POST, "/v1/namespaces/p/batch");
    let answer = node.send(put(batch, &json!({"operations": operations}))).await;
    let problem = answer.problem("idempotency_conflict");
    let applied: Vec<u64> = problem["context"]["applied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    assert!(problem["detail"].as_str().unwrap().contains("took effect"), "{problem}");
    assert!(!applied.is_empty() && applied.len() < 8, "{problem}");
    for number in 0..8 {
        let there = node.get(&format!("/v1/namespaces/p/vectors/b{number}")).await.status == 200;
        assert_eq!(there, applied.contains(&number), "b{number}");
    }
}
