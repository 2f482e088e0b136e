//! The node keeps to the API's table, documents and errors.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{collections::BTreeSet, path::Path};

use hvs_api::{Code, Encoding, encode, endpoints};
use proptest::{prelude::*, test_runner::TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use support::TestNode;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_code_is_documented_with_its_status() {
    let text = document("errors.md");
    for code in Code::ALL {
        let row = format!("| `{code}` | {} | {}. | {} |", code.status(), code.title(), code.help());
        assert!(text.contains(&row), "docs/errors.md lacks {row}");
    }
}

#[test]
fn every_endpoint_is_documented() {
    let text = document("api.md");
    let paths: BTreeSet<_> = endpoints().iter().map(|endpoint| endpoint.path).collect();
    for path in paths {
        assert!(text.contains(path), "docs/api.md lacks {path}");
    }
}

#[tokio::test]
async fn every_endpoint_of_the_table_is_there() {
    let node = TestNode::start().await;
    for endpoint in endpoints() {
        let method = format!("{:?}", serde_json::to_value(&endpoint.method).unwrap());
        let method = method.split('"').nth(1).unwrap().to_uppercase();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = endpoint
            .path
            .replace("{namespace}", "absent")
            .replace("{alias}", "absent")
            .replace("{id}", "absent");
        let answer = node.call_in(Encoding::Json, method.clone(), &path, &json!({})).await;
        let code = &answer.body["code"];
        assert!(code != "route_not_found" && code != "method_not_allowed", "{method} {path}");
    }
    let document = node.get("/openapi.json").await.ok();
    assert_eq!(document, serde_json::to_value(hvs_api::openapi()).unwrap());
}

#[tokio::test]
async fn metrics_count_requests_and_show_indexes() {
    let node = TestNode::start().await;
    node.namespace("n", json!({"geometry": "euclidean", "dimension": 1})).await;
    node.put("/v1/namespaces/n/vectors/a", json!({"vector": [1]})).await.ok();
    node.get("/v1/namespaces/n/vectors/b").await.problem("vector_not_found");
    let text = node.get("/metrics").await.ok();
    let text = text.as_str().unwrap();
    let route = "/v1/namespaces/{namespace}/vectors/{id}";
    for line in [
        format!("hvs_http_requests_total{{method=\"PUT\",route=\"{route}\",status=\"201\"}} 1"),
        format!("hvs_http_requests_total{{method=\"GET\",route=\"{route}\",status=\"404\"}} 1"),
        "hvs_records{namespace=\"n\"} 1".to_owned(),
        "hvs_index_live{namespace=\"n\",vector=\"\"} 1".to_owned(),
        "hvs_http_body_bytes_in_flight 0".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn every_metric_is_documented() {
    let text = document("metrics.md");
    let node = TestNode::start().await;
    let index = json!({"type": "HYBRID", "text_fields": ["title"]});
    let settings = json!({"geometry": "euclidean", "dimension": 1, "index": index});
    node.namespace("n", settings).await;
    node.put("/v1/namespaces/n/vectors/a", json!({"vector": [1]})).await.ok();
    let task = node.post("/v1/namespaces/n/checkpoints", json!({})).await.ok();
    node.task(&task["id"]).await;
    let metrics = node.get("/metrics").await.ok();
    let types = metrics.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let rows: BTreeSet<String> = types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            format!("| `{name}` | {kind} | ")
        })
        .collect();
    for row in &rows {
        assert!(text.contains(row), "docs/metrics.md lacks {row}");
    }
    let documented = text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(documented, rows.len(), "docs/metrics.md has a metric that is not there");
}

/// Valid bodies of every kind, with the route that takes them.
fn valid_bodies() -> Vec<(Method, &'static str, Value)> {
    let on = json!([1.25, 0.0, 0.75]);
    let space = json!({"geometry": "hyperboloid", "dimension": 2});
    let put = json!({"id": "a", "vector": on, "metadata": {"k": [1, {"n": null}]}});
    vec![
        (Method::PUT, "/v1/namespaces/h/vectors/a", put.clone()),
        (
            Method::POST,
            "/v1/namespaces/h/batch",
            json!({"operations": [{"put": put}, {"delete": {"id": "b"}}], "atomic": true}),
        ),
        (
            Method::POST,
            "/v1/namespaces/h/search",
            json!({"vector": on, "k": 3, "radius": 2.0, "filter": {"k": 1}, "explain": true}),
        ),
        (
            Method::POST,
            "/v1/namespaces/h/search/batch",
            json!({"searches": [{"vector": on, "k": 3}, {"vector": on, "radius": 1.0}]}),
        ),
        (Method::POST, "/v1/namespaces/h/scroll", json!({"limit": 3, "filter": {"k": "v"}})),
        (Method::POST, "/v1/namespaces/h/fetch", json!({"ids": ["a", "b"]})),
        (
            Method::POST,
            "/v1/geometry/transport",
            json!({"space": space, "x": on, "y": on, "v": on}),
        ),
        (Method::POST, "/v1/geometry/mean", json!({"space": space, "points": [on, on]})),
        (Method::POST, "/v1/aliases", json!({"aliases": {"live": "h", "old": null}})),
    ]
}

/// A change of some bytes, a cut, or bytes put in.
fn mutation() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, u8)>> {
    prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

fn mutate(mut bytes: Vec<u8>, changes: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    for (kind, place, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let place = place.index(bytes.len());
        match kind {
            0 => bytes[place] = *byte,
            1 => bytes[place] ^= 1 << (byte % 8),
            2 => bytes.insert(place, *byte),
            _ => bytes.truncate(place),
        }
    }
    bytes
}

/// Whatever comes, the answer is a success or a problem of the client's making, and the node goes
/// on.
#[test]
fn mutated_bodies_never_make_the_node_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(async {
        let node = TestNode::start().await;
        node.namespace("h", json!({"geometry": "hyperboloid", "dimension": 2})).await;
        node.put("/v1/namespaces/h/vectors/b", json!({"vector": [1.25, 0.75, 0]})).await.ok();
        node
    });
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..Default::default() };
    let bodies = valid_bodies();
    let kinds = 0..bodies.len();
    let strategy = (kinds, any::<bool>(), mutation());
    let outcome = TestRunner::new(config).run(&strategy, |(kind, packed, changes)| {
        let (method, path, body) = &bodies[kind];
        let encoding = if packed { Encoding::MessagePack } else { Encoding::Json };
        let bytes = mutate(encode(encoding, body).unwrap(), &changes);
        let sent = bytes.clone();
        let request = node.bytes(encoding.content_type(), method.clone(), path, sent);
        let answer = runtime.block_on(request);
        prop_assert!(
            answer.status < 500,
            "{} {} {:?} {:?}",
            method,
            path,
            bytes.escape_ascii().to_string(),
            answer
        );
        if answer.status >= 400 {
            let code = answer.body["code"].as_str().unwrap_or_default();
            prop_assert!(code.parse::<Code>().is_ok(), "{:?}", answer);
        }
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(async { node.get("/readyz").await.ok() });
}
