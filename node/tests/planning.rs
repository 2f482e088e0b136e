//! How a search with a filter is carried out in a segment with a graph, as `explain` tells it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{TestNode, ids};

const NAMESPACE: &str = "/v1/namespaces/n";
const ROWS: usize = 5_000;
const K: usize = 10;
/// Few candidates, so that a walk pays in a segment of so few rows.
const EF: usize = 16;

/// Points of a square, the same in every run.
fn points() -> Vec<[f64; 2]> {
    let mut state = 11_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // As f32 keeps it.
        (state >> 40) as f64 / f64::from(1_u32 << 24)
    };
    (0..ROWS).map(|_| [next(), next()]).collect()
}

/// A node whose namespace has all rows in one segment with a graph, and indexes of metadata for two of
/// three fields.
async fn filled(points: &[[f64; 2]]) -> TestNode {
    let node = TestNode::with(|config| {
        config.maintenance.paused = true;
        config.index.tail = ROWS / 2;
    })
    .await;
    let declared = |field: &str| json!({"field": field, "type": "integer"});
    let settings = json!({"geometry": "euclidean", "dimension": 2, "payload_indexing": "declared",
        "payload_indexes": [declared("half"), declared("hundredth")]});
    node.namespace("n", settings).await;
    let operations: Vec<Value> = points
        .iter()
        .enumerate()
        .map(|(n, point)| {
            let metadata = json!({"half": n % 2, "hundredth": n % 100, "plain": n % 100});
            json!({"put": {"id": format!("r{n:05}"), "vector": point, "metadata": metadata}})
        })
        .collect();
    for chunk in operations.chunks(500) {
        node.post(&format!("{NAMESPACE}/batch"), json!({"operations": chunk})).await.ok();
    }
    node.post("/v1/maintenance/resume", json!({})).await.ok();
    let info = node
        .until(NAMESPACE, |info| {
            let state = &info["vectors"][""]["state"];
            (&state["tail"], &state["building"]) == (&json!(0), &json!(false))
        })
        .await;
    assert_eq!(info["vectors"][""]["state"]["segments"], 1, "{info}");
    node
}

/// The nearest of those that are accepted, by looking at each.
fn nearest(points: &[[f64; 2]], query: [f64; 2], accept: impl Fn(usize) -> bool) -> Vec<String> {
    let squared = |n: usize| (points[n][0] - query[0]).powi(2) + (points[n][1] - query[1]).powi(2);
    let mut all: Vec<usize> = (0..points.len()).filter(|n| accept(*n)).collect();
    all.sort_by(|a, b| squared(*a).total_cmp(&squared(*b)));
    all.iter().take(K).map(|n| format!("r{n:05}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_decides_between_the_graph_and_what_matches() {
    let points = points();
    let node = filled(&points).await;
    let ask = async |query: [f64; 2], filter: Option<Value>| {
        let mut search = json!({"vector": query, "k": K, "ef": EF, "explain": true});
        if let Some(filter) = filter {
            search["filter"] = filter;
        }
        let answer = node.post(&format!("{NAMESPACE}/search"), search).await.ok();
        let shards = answer["explain"]["shards"].as_array().unwrap();
        assert_eq!(shards.len(), 1);
        assert_eq!(answer["exact"], shards[0]["exact"]);
        assert_eq!(ids(&answer).len(), K, "never fewer, while so many match: {answer}");
        (ids(&answer), shards[0].clone())
    };
    let scanned = |explained: &Value| explained["scanned"].as_u64().unwrap();
    let rows = ROWS as u64;
    let number = |id: &str| id[1..].parse::<usize>().unwrap();
    for query in [[0.2, 0.3], [0.51, 0.49], [0.9, 0.05]] {
        let (_, explained) = ask(query, None).await;
        assert_eq!((&explained["strategy"], &explained["exact"]), (&json!("graph"), &json!(false)));
        let unfiltered = scanned(&explained);
        assert!(unfiltered < rows / 4, "{explained}");

        // One in two: candidates of the graph, of which about half are of use.
        let (found, explained) = ask(query, Some(json!({"half": 1}))).await;
        assert_eq!(explained["strategy"], "over_fetch", "{explained}");
        assert_eq!((&explained["exact"], &explained["matching"]), (&json!(false), &json!(2_500)));
        assert_eq!(explained["indexed"], json!(["half"]));
        let pool = scanned(&explained);
        assert!(unfiltered < pool && pool < rows / 2, "more candidates: {explained}");
        assert!(found.iter().all(|id| number(id) % 2 == 1), "{found:?}");

        // One in a hundred: exactly those, whatever the graph is.
        let (found, explained) = ask(query, Some(json!({"hundredth": 7}))).await;
        assert_eq!(explained["strategy"], "matching", "{explained}");
        assert_eq!((&explained["exact"], &explained["matching"]), (&json!(true), &json!(50)));
        assert_eq!(explained["scanned"], 50);
        assert_eq!(explained["indexed"], json!(["hundredth"]));
        assert_eq!(found, nearest(&points, query, |n| n % 100 == 7));

        // The same of a field without an index: what matches is so rare that all are compared.
        let (found, explained) = ask(query, Some(json!({"plain": 7}))).await;
        assert_eq!(explained["strategy"], "graph_then_scan", "{explained}");
        assert_eq!((&explained["exact"], &explained["matching"]), (&json!(true), &json!(rows)));
        assert!(scanned(&explained) > rows, "the candidates as well: {explained}");
        assert_eq!(explained["unindexed"], json!(["plain"]));
        assert!(explained.get("indexed").is_none());
        assert_eq!(found, nearest(&points, query, |n| n % 100 == 7));

        // And where half of them match, the graph is walked until enough that do are found.
        let (found, explained) = ask(query, Some(json!({"plain": {"$lt": 50}}))).await;
        let told = (&explained["strategy"], &explained["exact"]);
        assert_eq!(told, (&json!("filtered_graph"), &json!(false)));
        assert!(scanned(&explained) < rows / 2, "{explained}");
        assert!(found.iter().all(|id| number(id) % 100 < 50), "{found:?}");

        // An index of one part leaves only its rows to be looked at.
        let both = json!({"hundredth": 7, "plain": {"$lt": 50}});
        let (found, explained) = ask(query, Some(both)).await;
        assert_eq!(
            (&explained["strategy"], &explained["scanned"]),
            (&json!("matching"), &json!(50))
        );
        assert_eq!(explained["exact"], true);
        assert_eq!(found, nearest(&points, query, |n| n % 100 == 7));
    }
}
