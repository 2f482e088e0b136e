//! Answers that are kept: found again, never stale, bounded.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use support::{TestNode, ids};

const NAMESPACE: &str = "/v1/namespaces/n";

async fn metric(node: &TestNode, series: &str) -> u64 {
    let text = node.get("/metrics").await.body;
    let mut lines = text.as_str().unwrap().lines();
    lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap()
}

async fn search(node: &TestNode, search: &Value) -> Value {
    node.post(&format!("{NAMESPACE}/search"), search.clone()).await.ok()
}

/// Whether each shard's answer was kept.
fn cached(answer: &Value) -> Vec<bool> {
    let shards = answer["explain"]["shards"].as_array().unwrap();
    shards.iter().map(|shard| shard["cached"] == true).collect()
}

async fn node(shards: u32) -> TestNode {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "euclidean", "dimension": 2, "shards": shards});
    node.put(NAMESPACE, settings).await.ok();
    node
}

async fn put(node: &TestNode, id: &str, vector: [f64; 2]) {
    let body = json!({"vector": vector, "metadata": {"even": vector[0] % 2.0 == 0.0}});
    node.put(&format!("{NAMESPACE}/vectors/{id}"), body).await.ok();
}

#[tokio::test]
async fn an_equal_search_is_answered_again_until_something_changes() {
    let node = node(1).await;
    for id in 0..10 {
        put(&node, &format!("r{id}"), [f64::from(id), 0.0]).await;
    }
    let request = json!({"vector": [0, 0], "k": 3, "explain": true, "include_metadata": true,
        "include_vectors": true, "filter": {"even": true}});
    let first = search(&node, &request).await;
    assert_eq!(
        (ids(&first), cached(&first)),
        (["r0", "r2", "r4"].map(String::from).into(), vec![false])
    );
    let second = search(&node, &request).await;
    assert_eq!((&second["hits"], cached(&second)), (&first["hits"], vec![true]));
    assert_eq!(metric(&node, "hvs_query_cache_hits_total").await, 1);
    assert_eq!(metric(&node, "hvs_query_cache_entries").await, 1);
    assert!(metric(&node, "hvs_query_cache_bytes").await > 0);
    // In a batch as well.
    let batch = json!({"searches": [request, request]});
    let batch = node.post(&format!("{NAMESPACE}/search/batch"), batch).await.ok();
    for result in batch["results"].as_array().unwrap() {
        assert_eq!((&result["hits"], cached(result)), (&first["hits"], vec![true]));
    }
    // Whatever differs is another search.
    for (member, value) in [
        ("vector", json!([0, 1e-300])),
        ("k", json!(4)),
        ("radius", json!(9.5)),
        ("ef", json!(77)),
        ("exact", json!(true)),
        ("filter", json!({"even": false})),
        ("include_metadata", json!(false)),
        ("partition_key", json!("r0")),
        ("cache", json!(false)),
    ] {
        let mut other = request.clone();
        other[member] = value;
        if member == "include_metadata" {
            other["include_vectors"] = json!(false);
        }
        assert_eq!(cached(&search(&node, &other).await), [false], "{member}");
    }
    assert_eq!(cached(&search(&node, &request).await), [true], "the others changed nothing");
    // A write, a patch, a deletion, and a record in memory.
    let nearer = format!("{NAMESPACE}/vectors/nearer");
    let body = json!({"vector": [0.5, 0], "metadata": {"even": true}});
    node.put(&nearer, body.clone()).await.ok();
    let found = search(&node, &request).await;
    assert_eq!((&found["hits"][1]["id"], cached(&found)), (&json!("nearer"), vec![false]));
    node.call_in(
        hvs_api::Encoding::Json,
        reqwest::Method::PATCH,
        &nearer,
        &json!({"metadata": {"even": false}}),
    )
    .await
    .ok();
    let found = search(&node, &request).await;
    assert_eq!((&found["hits"][1]["id"], cached(&found)), (&json!("r2"), vec![false]));
    node.delete(&nearer).await.ok();
    assert_eq!(cached(&search(&node, &request).await), [false]);
    let mut in_memory = body;
    in_memory["durability"] = json!("memory");
    node.put(&nearer, in_memory).await.ok();
    let found = search(&node, &request).await;
    assert_eq!((&found["hits"][1]["id"], cached(&found)), (&json!("nearer"), vec![false]));
    assert_eq!(cached(&search(&node, &request).await), [true]);
    // How widely the index is searched.
    let wider = json!({"index": {"ef_search": 99}});
    node.call_in(hvs_api::Encoding::Json, reqwest::Method::PATCH, NAMESPACE, &wider).await.ok();
    assert_eq!(cached(&search(&node, &request).await), [false]);
}

#[tokio::test]
async fn a_write_to_one_shard_leaves_the_answers_of_the_others() {
    let node = node(3).await;
    for id in 0..30 {
        put(&node, &format!("r{id}"), [f64::from(id), 0.0]).await;
    }
    let request = json!({"vector": [0, 0], "k": 5, "explain": true});
    let first = search(&node, &request).await;
    assert_eq!(cached(&first), [false; 3]);
    assert_eq!(cached(&search(&node, &request).await), [true; 3]);
    put(&node, "r7", [0.25, 0.0]).await;
    let found = search(&node, &request).await;
    assert_eq!(cached(&found).iter().filter(|cached| **cached).count(), 2);
    assert_eq!(ids(&found), ["r0", "r7", "r1", "r2", "r3"]);
}

#[tokio::test]
async fn what_expires_is_in_no_kept_answer() {
    let node = node(1).await;
    put(&node, "a", [3.0, 0.0]).await;
    let brief = json!({"vector": [0, 0], "ttl_ms": 700});
    let until = Instant::now() + Duration::from_millis(700);
    node.put(&format!("{NAMESPACE}/vectors/brief"), brief).await.ok();
    let request = json!({"vector": [0, 0], "k": 2, "explain": true});
    let mut kept = false;
    let begun = Instant::now();
    let anew = json!({"vector": [0, 0], "k": 2, "cache": false});
    loop {
        let is_expired = !ids(&search(&node, &anew).await).contains(&"brief".to_owned());
        let found = search(&node, &request).await;
        let is_there = ids(&found).contains(&"brief".to_owned());
        assert!(!(is_expired && is_there), "it is found although it expired");
        kept |= is_there && cached(&found) == [true];
        if !is_there {
            break;
        }
        // The node's clock counts whole milliseconds and began later than this one.
        assert!(Instant::now() < until + Duration::from_secs(5), "it is found although it expired");
    }
    assert!(kept || begun.elapsed() > Duration::from_millis(600), "it was never kept");
    // Deleted by and by, after which answers are kept again.
    let begun = Instant::now();
    while cached(&search(&node, &request).await) != [true] {
        assert!(begun.elapsed() < Duration::from_mins(1), "answers are never kept again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ids(&search(&node, &request).await), ["a"]);
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_can_be_nothing() {
    let limit = 16 << 10;
    let node = TestNode::with(|config| config.cache.query_bytes = limit).await;
    node.put(NAMESPACE, json!({"geometry": "euclidean", "dimension": 2})).await.ok();
    for id in 0..20 {
        put(&node, &format!("r{id}"), [f64::from(id), 0.0]).await;
    }
    for x in 0..200 {
        search(&node, &json!({"vector": [x, 1], "k": 10})).await;
    }
    let (bytes, entries) = (
        metric(&node, "hvs_query_cache_bytes").await,
        metric(&node, "hvs_query_cache_entries").await,
    );
    assert!(entries > 1 && bytes <= limit, "{entries} answers in {bytes} bytes");
    let node = node.restart_with(|config| config.cache.query_bytes = 0).await;
    let request = json!({"vector": [0, 0], "k": 3, "explain": true});
    for _ in 0..2 {
        assert_eq!(cached(&search(&node, &request).await), [false]);
    }
}

/// Random writes and searches: each answer is that of a search that nothing was kept for.
#[tokio::test]
async fn no_answer_is_stale_whatever_is_written_in_between() {
    let node = TestNode::start().await;
    let settings = json!({"geometry": "euclidean", "dimension": 2, "shards": 2});
    node.put(NAMESPACE, settings).await.ok();
    let mut random = StdRng::seed_from_u64(4);
    // Few ids, few points and few filters, so that much is asked again.
    let queries: Vec<Value> = (0..6)
        .map(|number| {
            let mut query = json!({"vector": [number, 0], "k": 1 + number, "exact": number % 2 == 0,
                "include_metadata": number < 3, "include_vectors": number == 0});
            match number {
                1 => query["filter"] = json!({"colour": {"$in": ["red", "blue"]}}),
                2 => query["filter"] = json!({"colour": "red"}),
                3 => query["partition_key"] = json!("p1"),
                4 => query["radius"] = json!(2.5),
                _ => {}
            }
            query
        })
        .collect();
    let colours = ["red", "green", "blue"];
    for round in 0..600 {
        let id = random.random_range(0..12);
        let path = format!("{NAMESPACE}/vectors/r{id}");
        let x: f64 = random.random_range(0.0..6.0);
        let colour = colours[random.random_range(0..3)];
        match random.random_range(0..8) {
            0 | 1 => {
                let mut body = json!({"vector": [x, 0], "metadata": {"colour": colour}});
                match random.random_range(0..10) {
                    0..3 => body["durability"] = json!("memory"),
                    3..5 => body["ttl_ms"] = json!(random.random_range(1..30)),
                    _ => {}
                }
                node.put(&path, body).await.ok();
            }
            2 => drop(node.delete(&path).await),
            3 if round % 3 == 0 => {
                let patch = json!({"metadata": {"colour": colour}});
                let patched = node
                    .call_in(hvs_api::Encoding::Json, reqwest::Method::PATCH, &path, &patch)
                    .await;
                assert!(matches!(patched.status, 200 | 404), "{patched:?}");
            }
            _ => {}
        }
        let query = &queries[random.random_range(0..queries.len())];
        let mut anew = query.clone();
        anew["cache"] = json!(false);
        // Something may expire between two answers, and then it is missing in the second.
        let mut attempts = 0;
        loop {
            let expected = search(&node, &anew).await;
            let found = search(&node, query).await;
            if found["hits"] == expected["hits"] {
                break;
            }
            attempts += 1;
            assert!(attempts < 5, "round {round}: {query}\n{found}\n{expected}");
        }
    }
    let hits = metric(&node, "hvs_query_cache_hits_total").await;
    let misses = metric(&node, "hvs_query_cache_misses_total").await;
    assert!(hits > 100 && misses > 100, "{hits} hits, {misses} misses");
}
