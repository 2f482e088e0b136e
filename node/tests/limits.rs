//! Limits of how much there may be at their edges: the last that is allowed passes, the next is refused by
//! its code, and a refusal changes nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hvs_api::Encoding;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, TestNode};

fn euclidean(shards: u64) -> Value {
    json!({"geometry": "euclidean", "dimension": 2, "shards": shards})
}

async fn create(node: &TestNode, name: &str, shards: u64) -> Answer {
    node.put(&format!("/v1/namespaces/{name}"), euclidean(shards)).await
}

/// A request that is refused by its code, and changes nothing that a client can see.
async fn refused(node: &TestNode, method: Method, path: &str, body: Value, code: &str) -> Value {
    let before = node.contents().await;
    let problem = node.call_in(Encoding::Json, method, path, &body).await.problem(code);
    assert_eq!(node.contents().await, before, "{path} {body}");
    problem
}

#[tokio::test]
async fn as_many_aliases_as_allowed_and_no_more() {
    let node = TestNode::with(|config| config.limits.aliases = 3).await;
    create(&node, "n", 1).await.ok();
    create(&node, "m", 1).await.ok();
    let to = |namespace: &str| json!({"namespace": namespace});
    for alias in ["a", "b"] {
        node.put(&format!("/v1/aliases/{alias}"), to("n")).await.ok();
    }
    let two_more = json!({"aliases": {"c": "n", "d": "n"}});
    let problem = refused(&node, Method::POST, "/v1/aliases", two_more, "limit_reached").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.aliases"), "{problem}");
    node.put("/v1/aliases/c", to("n")).await.ok();
    refused(&node, Method::PUT, "/v1/aliases/d", to("n"), "limit_reached").await;
    // Those that are there can be led elsewhere, and one can take the place of another.
    node.put("/v1/aliases/c", to("m")).await.ok();
    node.post("/v1/aliases", json!({"aliases": {"c": null, "d": "m"}})).await.ok();
    // Where there are more than allowed by now, they can become fewer, one after the other.
    let node = node.restart_with(|config| config.limits.aliases = 1).await;
    refused(&node, Method::PUT, "/v1/aliases/e", to("n"), "limit_reached").await;
    node.delete("/v1/aliases/a").await.ok();
    node.put("/v1/aliases/b", to("m")).await.ok();
    refused(&node, Method::PUT, "/v1/aliases/e", to("n"), "limit_reached").await;
    node.delete("/v1/aliases/b").await.ok();
    node.delete("/v1/aliases/d").await.ok();
    node.put("/v1/aliases/e", to("n")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_shards_as_allowed_and_no_more() {
    let node = TestNode::with(|config| config.limits.total_shards = 3).await;
    create(&node, "a", 2).await.ok();
    node.put("/v1/namespaces/a/vectors/kept", json!({"vector": [1, 2]})).await.ok();
    let problem =
        refused(&node, Method::PUT, "/v1/namespaces/b", euclidean(2), "limit_reached").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.total_shards"), "{problem}");
    create(&node, "b", 1).await.ok();
    refused(&node, Method::PUT, "/v1/namespaces/c", euclidean(1), "limit_reached").await;
    // What is there is no new one.
    assert_eq!(create(&node, "a", 2).await.status, 200);
    // A restore makes shards as well.
    let made = node.post("/v1/namespaces/b/checkpoints", json!({})).await.ok();
    assert_eq!(node.task(&made["id"]).await["state"], "done");
    let request = json!({"namespace": "c", "source": "b"});
    let begun = node.post("/v1/restore", request.clone()).await.ok();
    assert_eq!(node.task(&begun["id"]).await["problem"]["code"], "limit_reached");
    node.get("/v1/namespaces/c").await.problem("namespace_not_found");
    node.delete("/v1/namespaces/a").await.ok();
    let begun = node.post("/v1/restore", request).await.ok();
    assert_eq!(node.task(&begun["id"]).await["state"], "done");
    create(&node, "d", 1).await.ok();
    refused(&node, Method::PUT, "/v1/namespaces/e", euclidean(1), "limit_reached").await;
    // All of them are there again after a restart, also where there are more than allowed by then.
    let node = node.restart_with(|config| config.limits.total_shards = 2).await;
    let list = node.get("/v1/namespaces").await.ok();
    assert_eq!(list["namespaces"].as_array().unwrap().len(), 3);
    refused(&node, Method::PUT, "/v1/namespaces/e", euclidean(1), "limit_reached").await;
}

/// Requests at the same time, each of which alone would be allowed.
#[tokio::test(flavor = "multi_thread")]
async fn creations_at_the_same_time_count_each_other() {
    for (namespaces, total_shards) in [(3, 256), (1_000, 6)] {
        let node = TestNode::with(|config| {
            config.limits.namespaces = namespaces;
            config.limits.total_shards = total_shards;
        })
        .await;
        let names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
        let answers = join_all(names.iter().map(|name| create(&node, name, 2))).await;
        let mut made = 0;
        for answer in answers {
            if answer.status == 201 {
                made += 1;
            } else {
                answer.problem("limit_reached");
            }
        }
        assert_eq!(made, 3);
        let list = node.get("/v1/namespaces").await.ok();
        assert_eq!(list["namespaces"].as_array().unwrap().len(), 3);
        // What was refused takes no place.
        let first = list["namespaces"][0]["name"].as_str().unwrap().to_owned();
        node.delete(&format!("/v1/namespaces/{first}")).await.ok();
        assert_eq!(create(&node, "another", 2).await.status, 201);
        create(&node, "one-more", 2).await.problem("limit_reached");
    }
}

#[tokio::test]
async fn as_many_examples_as_allowed_and_no_more() {
    let node = TestNode::with(|config| config.limits.examples = 3).await;
    create(&node, "n", 1).await.ok();
    for (id, x) in [("a", 0.0), ("b", 1.0), ("c", 2.0), ("d", 3.0), ("e", 4.0)] {
        let body = json!({"vector": [x, 1.0]});
        node.put(&format!("/v1/namespaces/n/vectors/{id}"), body).await.ok();
    }
    let path = "/v1/namespaces/n/recommend";
    let examples = |ids: &[&str]| ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>();
    let of = |positive: &[&str], negative: &[&str]| json!({"positive": examples(positive), "negative": examples(negative), "k": 5});
    for (positive, negative) in [(&["a", "b", "c"][..], &[][..]), (&["a"], &["d", "e"])] {
        let found = node.post(path, of(positive, negative)).await.ok();
        assert_eq!(found["hits"].as_array().unwrap().len(), 5 - positive.len() - negative.len());
    }
    for (positive, negative) in [
        (&["a", "b", "c", "d"][..], &[][..]),
        (&["a", "b"], &["d", "e"]),
        (&["a"], &["b", "c", "d"]),
    ] {
        let problem = refused(&node, Method::POST, path, of(positive, negative), "batch_too_large");
        assert_eq!(problem.await["context"]["limit"], 3);
    }
}

#[tokio::test]
async fn as_many_components_as_allowed_and_no_more() {
    let node = TestNode::start().await;
    let factor = json!({"geometry": "euclidean", "dimension": 1, "weight": 1.0});
    let product = |count: usize| json!({"components": vec![factor.clone(); count]});
    let path = "/v1/namespaces/n";
    refused(&node, Method::PUT, path, product(17), "invalid_components").await;
    let made = node.put(path, product(16)).await.ok();
    assert_eq!(made["vectors"][""]["space"]["components"].as_array().unwrap().len(), 16, "{made}");
    node.put("/v1/namespaces/n/vectors/a", json!({"vector": vec![1; 16]})).await.ok();
    let search = json!({"vector": vec![0; 16], "k": 1});
    let found = node.post("/v1/namespaces/n/search", search).await.ok();
    assert!((found["hits"][0]["distance"].as_f64().unwrap() - 4.0).abs() < 1e-9, "{found}");
}

/// Changes the type of an index, which waits for builds that may not begin.
async fn reindex(node: &TestNode, name: &str) -> Answer {
    let body = json!({"index": {"type": "IVF"}});
    node.call_in(Encoding::Json, Method::PATCH, &format!("/v1/namespaces/{name}"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_tasks_run_as_allowed_and_no_more() {
    let node = TestNode::with(|config| {
        config.maintenance.paused = true;
        config.checkpoints.running = 2;
    })
    .await;
    for name in ["a", "b", "c"] {
        create(&node, name, 1).await.ok();
        let body = json!({"vector": [1, 2]});
        node.put(&format!("/v1/namespaces/{name}/vectors/kept"), body).await.ok();
    }
    let mut running = Vec::new();
    for name in ["a", "b"] {
        let begun = reindex(&node, name).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        running.push(begun.body["task"]["id"].clone());
    }
    let before = node.contents().await;
    let third = reindex(&node, "c").await;
    assert_eq!(third.headers["retry-after"], "1");
    third.problem("overloaded");
    let made = node.post("/v1/namespaces/c/checkpoints", json!({})).await;
    assert_eq!(made.headers["retry-after"], "1");
    made.problem("overloaded");
    assert_eq!(node.contents().await, before);
    assert_eq!(node.get("/v1/tasks").await.ok()["tasks"].as_array().unwrap().len(), 2);
    // One ends, another may begin: a change that was refused is none that runs.
    let first = running[0].as_str().unwrap();
    node.delete(&format!("/v1/tasks/{first}")).await.ok();
    assert_eq!(node.task(&running[0]).await["problem"]["code"], "task_cancelled");
    let third = reindex(&node, "c").await.ok();
    node.post("/v1/namespaces/a/checkpoints", json!({})).await.problem("overloaded");
    node.post("/v1/maintenance/resume", json!({})).await.ok();
    for id in [&running[1], &third["task"]["id"]] {
        assert_eq!(node.task(id).await["state"], "done");
    }
    for (name, kind) in [("a", "HNSW"), ("b", "IVF"), ("c", "IVF")] {
        let info = node.get(&format!("/v1/namespaces/{name}")).await.ok();
        assert_eq!(info["vectors"][""]["index"]["type"], kind);
        node.get(&format!("/v1/namespaces/{name}/vectors/kept")).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_tasks_are_remembered_as_allowed_and_no_more() {
    let node = TestNode::with(|config| {
        config.maintenance.paused = true;
        config.checkpoints.remembered = 2;
    })
    .await;
    create(&node, "n", 1).await.ok();
    create(&node, "waits", 1).await.ok();
    node.put("/v1/namespaces/waits/vectors/a", json!({"vector": [1, 2]})).await.ok();
    let running = reindex(&node, "waits").await.ok()["task"]["id"].clone();
    let known = async |id: &Value| {
        let answer = node.get(&format!("/v1/tasks/{}", id.as_str().unwrap())).await;
        if answer.status == 200 {
            return true;
        }
        answer.problem("task_not_found");
        false
    };
    let mut ended = Vec::new();
    for n in 0..4 {
        node.put("/v1/namespaces/n/vectors/a", json!({"vector": [n, 2]})).await.ok();
        let begun = node.post("/v1/namespaces/n/checkpoints", json!({})).await.ok();
        assert_eq!(node.task(&begun["id"]).await["state"], "done");
        ended.push(begun["id"].clone());
        // The last two, and the one that runs, however old it is.
        for (age, id) in ended.iter().rev().enumerate() {
            assert_eq!(known(id).await, age < 2, "{age}");
        }
        assert!(known(&running).await);
        let tasks = node.get("/v1/tasks").await.ok();
        assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1 + ended.len().min(2));
    }
    // What they made is there, whether they are remembered or not.
    let list = node.get("/v1/namespaces/n/checkpoints").await.ok();
    assert_eq!(list["checkpoints"].as_array().unwrap().len(), 4);
}

/// The value of a metric of the namespace `n`.
async fn metric(node: &TestNode, name: &str) -> u64 {
    let text = node.get("/metrics").await.ok();
    let line = format!("{name}{{namespace=\"n\"}} ");
    let value = text.as_str().unwrap().lines().find_map(|found| found.strip_prefix(&line));
    value.unwrap().parse().unwrap()
}

#[tokio::test]
async fn as_many_bytes_of_history_are_kept_as_allowed() {
    const BYTES: u64 = 100_000;
    let node = TestNode::with(|config| config.feed.bytes = BYTES).await;
    create(&node, "n", 1).await.ok();
    let mut written = 0;
    let mut put = async || {
        let body = json!({"vector": [1, 2], "metadata": {"text": "x".repeat(4_000)}});
        node.put(&format!("/v1/namespaces/n/vectors/r{written:04}"), body).await.ok();
        written += 1;
        written
    };
    let changes = async |query: &str| node.get(&format!("/v1/namespaces/n/changes{query}")).await;
    let before = metric(&node, "hvs_log_bytes_total").await;
    put().await;
    let entry = metric(&node, "hvs_log_bytes_total").await - before;
    assert!(entry > 4_000);
    // All of it, for as long as it is not more than allowed.
    while put().await < BYTES / entry {}
    let all = changes("").await.ok();
    assert_eq!(all["changes"].as_array().unwrap().len() as u64, BYTES / entry);
    assert_eq!(all["complete"], true);
    // Beyond it and the fourth that may be there in addition, the oldest goes.
    while put().await <= (BYTES + BYTES / 4) / entry + 1 {}
    let begun = Instant::now();
    let gone = loop {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is trimmed");
        let answer = changes("").await;
        if answer.status == 410 {
            break answer.problem("history_gone");
        }
        answer.ok();
        tokio::task::yield_now().await;
    };
    let token = gone["context"]["token"].as_str().unwrap();
    let rest = changes(&format!("?since={token}")).await.ok();
    let rest = rest["changes"].as_array().unwrap();
    let total = metric(&node, "hvs_records").await;
    let kept = rest.len() as u64;
    assert!(kept < total && kept * entry <= BYTES + BYTES / 4, "{kept} of {total}");
    assert!((kept + 2) * entry >= BYTES, "{kept} entries of {entry} bytes");
    for (n, change) in (total - kept..total).zip(rest) {
        assert_eq!(change["id"], format!("r{n:04}"), "the newest, without a gap");
    }
    // The records are no history.
    node.get("/v1/namespaces/n/vectors/r0000").await.ok();
}
