//! Checkpoints over HTTP: made, listed, verified, restored here and elsewhere.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use support::{Answer, TestNode};

const CHECKPOINTS: &str = "/v1/namespaces/docs/checkpoints";

/// Waits for the task that an answer began.
async fn ended(node: &TestNode, begun: Answer) -> Value {
    assert_eq!(begun.status, 202, "{begun:?}");
    node.task(&begun.body["id"]).await
}

async fn done(node: &TestNode, begun: Answer) -> Value {
    let task = ended(node, begun).await;
    assert_eq!(task["state"], "done", "{task}");
    task
}

/// Waits for a task that fails, and returns its problem.
async fn failed(node: &TestNode, begun: Answer, code: &str) -> Value {
    let task = ended(node, begun).await;
    assert_eq!(task["problem"]["code"], code, "{task}");
    task["problem"].clone()
}

async fn checkpoint(node: &TestNode, kind: &str) -> Value {
    done(node, node.post(CHECKPOINTS, json!({"kind": kind})).await).await["checkpoint"].clone()
}

async fn put(node: &TestNode, from: u32, to: u32) {
    let operations: Vec<Value> = (from..to)
        .map(|n| {
            let (x, y) = (f64::from(n) / 7.0, f64::from(n % 13));
            json!({"put": {"id": format!("id-{n:05}"), "vector": [x, y], "metadata": {"n": n}}})
        })
        .collect();
    for chunk in operations.chunks(500) {
        let body = json!({"operations": chunk, "durability": "sync"});
        node.post("/v1/namespaces/docs/batch", body).await.ok();
    }
}

async fn records(node: &TestNode, name: &str) -> Value {
    let scroll = format!("/v1/namespaces/{name}/scroll");
    node.post(&scroll, json!({"limit": 1000})).await.ok()["records"].clone()
}

async fn nearest(node: &TestNode, name: &str) -> Value {
    let search = json!({"vector": [20.5, 6.0], "k": 50, "exact": true});
    node.post(&format!("/v1/namespaces/{name}/search"), search).await.ok()["hits"].clone()
}

#[tokio::test]
async fn how_checkpoints_went_is_shown_as_metrics() {
    let node = TestNode::with(|config| config.checkpoints.kept = 1).await;
    node.namespace("docs", json!({"geometry": "euclidean", "dimension": 2})).await;
    let metric = async |name: &str| {
        let text = node.get("/metrics").await.ok();
        let line = format!("{name}{{namespace=\"docs\"}} ");
        let text = text.as_str().unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        value.map(|value| value.parse::<f64>().unwrap())
    };
    assert_eq!(metric("hvs_checkpoint_last_success_timestamp_seconds").await, None);
    put(&node, 0, 10).await;
    let made = checkpoint(&node, "full").await;
    assert_eq!(metric("hvs_checkpoints_total").await, Some(1.0));
    assert_eq!(metric("hvs_checkpoint_bytes_total").await, made["new_bytes"].as_f64());
    assert!(metric("hvs_checkpoint_last_duration_seconds").await.unwrap() > 0.0);
    let first = metric("hvs_checkpoint_last_success_timestamp_seconds").await.unwrap();
    assert!(first * 1e3 >= made["created_at_ms"].as_f64().unwrap());
    // Nothing has changed, and the state is in a checkpoint all the same.
    checkpoint(&node, "incremental").await;
    assert_eq!(metric("hvs_checkpoints_total").await, Some(1.0));
    assert!(metric("hvs_checkpoint_last_success_timestamp_seconds").await.unwrap() >= first);
    assert_eq!(metric("hvs_checkpoints_failed_total").await, Some(0.0));
    put(&node, 10, 20).await;
    failed(&node, node.post(CHECKPOINTS, json!({})).await, "limit_reached").await;
    assert_eq!(metric("hvs_checkpoints_failed_total").await, Some(1.0));
    node.delete("/v1/namespaces/docs").await.ok();
}

fn objects_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| path.components().any(|part| part.as_os_str() == "objects"));
    found.sort();
    found
}

async fn docs(node: &TestNode, shards: u64) {
    let settings = json!({"geometry": "euclidean", "dimension": 2, "shards": shards,
        "vectors": {"title": {"geometry": "poincare", "dimension": 2, "precision": "f64"}}});
    node.namespace("docs", settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_restored_in_this_node_and_in_another_one() {
    let place = tempfile::tempdir().unwrap();
    let url = place.path().to_str().unwrap().to_owned();
    let first = TestNode::with(|config| config.checkpoints.url.clone_from(&url)).await;
    docs(&first, 3).await;
    put(&first, 0, 700).await;
    for n in 0..20 {
        first.delete(&format!("/v1/namespaces/docs/vectors/id-{n:05}")).await.ok();
    }
    let full = checkpoint(&first, "full").await;
    assert_eq!(
        (&full["id"], &full["kind"], &full["records"]),
        (&json!(1), &json!("full"), &json!(680))
    );
    put(&first, 690, 800).await;
    first.delete("/v1/namespaces/docs/vectors/id-00500").await.ok();
    let delta = checkpoint(&first, "incremental").await;
    assert_eq!((&delta["kind"], &delta["records"]), (&json!("incremental"), &json!(779)));
    assert!(delta["new_bytes"].as_u64().unwrap() < full["bytes"].as_u64().unwrap() / 2);
    let nothing_new = checkpoint(&first, "incremental").await;
    assert_eq!(nothing_new, delta, "a state is kept once");

    let (expected, hits) = (records(&first, "docs").await, nearest(&first, "docs").await);
    assert_eq!(hits.as_array().unwrap().len(), 50);
    let restored = done(
        &first,
        first.post("/v1/restore", json!({"namespace": "again", "source": "docs"})).await,
    );
    assert_eq!(restored.await["restored_seqs"], delta["seqs"]);
    assert_eq!(records(&first, "again").await, expected, "ids, vectors, versions, etags and all");
    assert_eq!(nearest(&first, "again").await, hits);
    let older = json!({"namespace": "older", "source": "docs", "checkpoint": 1});
    done(&first, first.post("/v1/restore", older).await).await;
    assert_eq!(records(&first, "older").await.as_array().unwrap().len(), 680);

    // Another node that knows nothing but the place.
    let second = TestNode::with(|config| config.checkpoints.url.clone_from(&url)).await;
    let places = second.get("/v1/checkpoints").await.ok();
    assert_eq!(places["namespaces"][0]["namespace"], "docs");
    assert_eq!(places["namespaces"][0]["checkpoints"][1], delta);
    let request = json!({"namespace": "docs", "url": places["namespaces"][0]["url"]});
    done(&second, second.post("/v1/restore", request).await).await;
    assert_eq!(records(&second, "docs").await, expected);
    assert_eq!(nearest(&second, "docs").await, hits);

    // Under its name are those of the one before it, until it has its own.
    let request = json!({"namespace": "docs-again", "source": "docs"});
    done(&second, second.post("/v1/restore", request).await).await;
    assert_eq!(records(&second, "docs-again").await, expected);

    // It goes on: versions and conditions count from what was restored.
    let etag = expected[5]["etag"].clone();
    let id = expected[5]["id"].as_str().unwrap();
    let conditional = json!({"operations": [{"put": {"id": id, "vector": [1, 2], "if_match": etag}},
        {"put": {"id": "id-00001", "vector": [1, 2], "if_absent": true}}]});
    let written = second.post("/v1/namespaces/docs/batch", conditional).await.ok();
    let version = expected[5]["version"].as_u64().unwrap();
    assert_eq!(written["results"][0]["version"], version + 1);
    assert_eq!(written["results"][1]["version"], 3, "a put, a delete, and this");
    assert_eq!(checkpoint(&second, "incremental").await["kind"], "full", "of a new uid");
    let second = second.restart().await;
    assert_eq!(records(&second, "docs").await.as_array().unwrap().len(), 780);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_between_checkpoints_is_restored_from_the_log() {
    let node = TestNode::start().await;
    docs(&node, 1).await;
    put(&node, 0, 10).await;
    let base = checkpoint(&node, "full").await;
    let seq = base["seqs"][0].as_u64().unwrap();
    let mut states = Vec::new();
    for n in 0..5 {
        put(&node, 5 + n, 20 + n).await;
        states.push(records(&node, "docs").await);
    }
    let last = checkpoint(&node, "incremental").await["seqs"][0].as_u64().unwrap();
    assert_eq!(last, seq + 5);
    for (n, state) in (1..).zip(&states) {
        let name = format!("at-{n}");
        let request = json!({"namespace": name, "source": "docs", "seqs": [seq + n]});
        let task = done(&node, node.post("/v1/restore", request).await).await;
        assert_eq!(task["checkpoint"]["id"], if n == 5 { 2 } else { 1 });
        assert_eq!(task["restored_seqs"], json!([seq + n]));
        assert_eq!(records(&node, &name).await, *state);
    }
    let request = json!({"namespace": "never", "source": "docs", "seqs": [last + 1]});
    let problem = failed(&node, node.post("/v1/restore", request).await, "seq_unavailable");
    let detail = problem.await["detail"].as_str().unwrap().to_owned();
    for known in [
        format!("[0 to {last}] (from the beginning of the log)"),
        format!("[{seq} to {last}] (checkpoint 1)"),
        format!("[{last}] (checkpoint 2)"),
    ] {
        assert!(detail.contains(&known), "{detail}");
    }
    let request = json!({"namespace": "never", "source": "docs", "seqs": [1, 2]});
    failed(&node, node.post("/v1/restore", request).await, "seq_unavailable").await;
    node.get("/v1/namespaces/never").await.problem("namespace_not_found");
}

/// No checkpoint was ever made, and there are several shards.
#[tokio::test(flavor = "multi_thread")]
async fn any_state_is_restored_from_logs_that_have_their_first_entries() {
    let node = TestNode::start().await;
    docs(&node, 3).await;
    let mut states = Vec::new();
    for n in 0..4 {
        put(&node, n * 5, n * 5 + 20).await;
        let shards = node.get("/v1/namespaces/docs/changes?limit=1000").await.ok();
        let mut seqs = [0; 3];
        for change in shards["changes"].as_array().unwrap() {
            let shard = usize::try_from(change["shard"].as_u64().unwrap()).unwrap();
            seqs[shard] = seqs[shard].max(change["seq"].as_u64().unwrap());
        }
        states.push((seqs, records(&node, "docs").await));
    }
    assert!(states[0].0.iter().all(|seq| *seq > 0), "{:?}", states[0].0);
    for (n, (seqs, state)) in states.iter().enumerate() {
        let name = format!("at-{n}");
        let request = json!({"namespace": name, "source": "docs", "seqs": seqs});
        let task = done(&node, node.post("/v1/restore", request).await).await;
        assert_eq!((&task["checkpoint"], &task["restored_seqs"]), (&Value::Null, &json!(seqs)));
        assert_eq!(records(&node, &name).await, *state);
    }
    // A restored one has no log from its first entry on.
    let request = json!({"namespace": "never", "source": "at-3", "seqs": states[0].0});
    let problem = failed(&node, node.post("/v1/restore", request).await, "seq_unavailable").await;
    assert!(problem["detail"].as_str().unwrap().contains("no checkpoints"), "{problem}");
    let node = node.restart().await;
    assert_eq!(records(&node, "at-1").await, states[1].1);
}

/// How far a task was, each time that it was looked at until it had ended.
async fn watched(node: &TestNode, begun: Answer) -> Vec<(u64, u64)> {
    assert_eq!(begun.status, 202, "{begun:?}");
    let path = format!("/v1/tasks/{}", begun.body["id"].as_str().unwrap());
    let mut seen = Vec::new();
    loop {
        let task = node.get(&path).await.ok();
        seen.push((task["rows"].as_u64().unwrap(), task["total_rows"].as_u64().unwrap()));
        match task["state"].as_str().unwrap() {
            "running" => {}
            state => {
                assert_eq!(state, "done", "{task}");
                break;
            }
        }
    }
    assert!(seen.is_sorted_by_key(|(rows, _)| rows), "{seen:?}");
    assert!(seen.is_sorted_by_key(|(_, total)| total), "{seen:?}");
    assert!(seen.iter().all(|(rows, total)| rows <= total), "{seen:?}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_how_many_rows_it_has_read_of_how_many() {
    let node = TestNode::start().await;
    docs(&node, 3).await;
    put(&node, 0, 4_000).await;
    for n in 0..30 {
        node.delete(&format!("/v1/namespaces/docs/vectors/id-{n:05}")).await.ok();
    }
    for key in ["a", "b"] {
        let path = format!("/v1/namespaces/docs/vectors/{key}");
        let request = node.request(reqwest::Method::PUT, &path);
        let body = json!({"vector": [1, 2]});
        node.send(request.header("idempotency-key", key).json(&body)).await.ok();
    }
    // Records, deleted ids, and keys.
    let all = 4_000 + 2 + 2;
    let create = async |kind: &str| {
        let seen = watched(&node, node.post(CHECKPOINTS, json!({"kind": kind})).await).await;
        *seen.last().unwrap()
    };
    assert_eq!(create("full").await, (all, all));
    // All rows are read, although few are written.
    put(&node, 100, 110).await;
    assert_eq!(create("incremental").await, (all, all));
    // More has changed than a delta may hold, which shows only when it has been read.
    put(&node, 30, 4_000).await;
    let (rows, total) = create("incremental").await;
    assert!(rows == total && total > all && total <= 2 * all, "{rows} of {total}");

    let objects = async |id: u64| {
        let verify = format!("{CHECKPOINTS}/{id}/verify");
        *watched(&node, node.post(&verify, json!({})).await).await.last().unwrap()
    };
    // Each shard has a row of its own there.
    assert_eq!(objects(1).await, (all + 3, all + 3));
    let (rows, total) = objects(2).await;
    assert!(rows > all && rows <= total, "{rows} of {total}: what was replaced is not read");
    let request = json!({"namespace": "again", "source": "docs", "checkpoint": 1});
    let seen = watched(&node, node.post("/v1/restore", request).await).await;
    assert_eq!(*seen.last().unwrap(), (all + 3, all + 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_the_object_named() {
    let node = TestNode::start().await;
    docs(&node, 1).await;
    put(&node, 0, 300).await;
    checkpoint(&node, "full").await;
    put(&node, 300, 310).await;
    checkpoint(&node, "incremental").await;
    let verify = |id: u64| format!("{CHECKPOINTS}/{id}/verify");
    for id in [1, 2] {
        let task = done(&node, node.post(&verify(id), json!({})).await).await;
        assert!(task["rows"].as_u64().unwrap() >= 300, "{task}");
    }
    let folder = node.directory.path().join("checkpoints");
    let objects = objects_below(&folder);
    assert_eq!(objects.len(), 2, "{objects:?}");
    for object in &objects {
        let whole = fs::read(object).unwrap();
        let named = object.strip_prefix(&folder).unwrap().to_str().unwrap();
        let mut flipped = whole.clone();
        let middle = whole.len() / 2;
        flipped[middle] ^= 1;
        for damage in [Some(flipped), Some(whole[..whole.len() - 1].to_vec()), None] {
            match damage {
                Some(bytes) => fs::write(object, bytes).unwrap(),
                None => fs::remove_file(object).unwrap(),
            }
            let begun = node.post(&verify(2), json!({})).await;
            let problem = failed(&node, begun, "checkpoint_damaged").await;
            assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
            let request = json!({"namespace": "new", "source": "docs", "checkpoint": 2});
            let begun = node.post("/v1/restore", request).await;
            failed(&node, begun, "checkpoint_damaged").await;
        }
        fs::write(object, whole).unwrap();
    }
    done(&node, node.post(&verify(2), json!({})).await).await;
    let shards = node.directory.path().join("shards");
    assert_eq!(fs::read_dir(shards).unwrap().count(), 2, "failed restores leave nothing");

    let manifest = objects[0].ancestors().nth(3).unwrap().join("manifest");
    let whole = fs::read(&manifest).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    fs::write(&manifest, flipped).unwrap();
    let problem = node.get(CHECKPOINTS).await.problem("checkpoint_damaged");
    assert!(problem["detail"].as_str().unwrap().contains("manifest"), "{problem}");
    fs::write(&manifest, whole).unwrap();
    node.get(CHECKPOINTS).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_keeps_what_other_checkpoints_need() {
    let node = TestNode::start().await;
    docs(&node, 1).await;
    put(&node, 0, 300).await;
    checkpoint(&node, "full").await;
    put(&node, 300, 310).await;
    checkpoint(&node, "incremental").await;
    let deleted = node.delete(&format!("{CHECKPOINTS}/1")).await.ok();
    assert_eq!(deleted, json!({"id": 1, "removed_objects": 0}), "the second one builds on it");
    node.delete(&format!("{CHECKPOINTS}/1")).await.problem("checkpoint_not_found");
    node.delete(&format!("{CHECKPOINTS}/one")).await.problem("checkpoint_not_found");
    done(&node, node.post(&format!("{CHECKPOINTS}/2/verify"), json!({})).await).await;
    let deleted = node.delete(&format!("{CHECKPOINTS}/2")).await.ok();
    assert_eq!(deleted["removed_objects"], 2);
    assert!(objects_below(node.directory.path()).is_empty());
    assert_eq!(node.get(CHECKPOINTS).await.ok()["checkpoints"], json!([]));
    assert_eq!(checkpoint(&node, "incremental").await["id"], 3, "no id is used again");
}

/// As the document has it: the folder is put aside, and the next checkpoint begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_hides_no_other_namespace_and_can_be_put_aside() {
    let node = TestNode::with(|_| {}).await;
    docs(&node, 1).await;
    put(&node, 0, 3).await;
    checkpoint(&node, "full").await;
    node.namespace("other", json!({"geometry": "euclidean", "dimension": 2})).await;
    done(&node, node.post("/v1/namespaces/other/checkpoints", json!({})).await).await;
    let url = node.get(CHECKPOINTS).await.ok()["url"].as_str().unwrap().to_owned();
    let folder = PathBuf::from(url.strip_prefix("file://").unwrap_or(&url));
    let mut bytes = fs::read(folder.join("manifest")).unwrap();
    bytes[20] ^= 1;
    fs::write(folder.join("manifest"), bytes).unwrap();

    let all = node.get("/v1/checkpoints").await.ok();
    assert_eq!(all["namespaces"][0]["namespace"], "other", "{all}");
    assert_eq!(all["namespaces"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all["damaged"][0]["url"].as_str(), Some(url.as_str()), "{all}");
    assert!(all["damaged"][0]["reason"].as_str().unwrap().contains("manifest"), "{all}");
    node.get(CHECKPOINTS).await.problem("checkpoint_damaged");
    fs::remove_file(folder.join("manifest")).unwrap();
    let all = node.get("/v1/checkpoints").await.ok();
    assert_eq!(all["damaged"][0]["url"].as_str(), Some(url.as_str()), "{all}");
    assert!(all["damaged"][0]["reason"].as_str().unwrap().contains("no manifest"), "{all}");
    fs::rename(&folder, folder.with_extension("aside")).unwrap();
    assert_eq!(checkpoint(&node, "full").await["id"], 1);
    assert_eq!(node.get(CHECKPOINTS).await.ok()["checkpoints"][0]["records"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused() {
    let node = TestNode::with(|config| config.checkpoints.kept = 1).await;
    node.post(CHECKPOINTS, json!({})).await.problem("namespace_not_found");
    docs(&node, 1).await;
    node.post(CHECKPOINTS, json!({"kind": "partial"})).await.problem("invalid_body");
    assert_eq!(node.get(CHECKPOINTS).await.ok()["checkpoints"], json!([]));
    let restore = |body: Value| node.post("/v1/restore", body);
    let none = json!({"namespace": "new", "source": "docs"});
    failed(&node, restore(none).await, "checkpoint_not_found").await;
    checkpoint(&node, "full").await;
    put(&node, 0, 1).await;
    failed(&node, node.post(CHECKPOINTS, json!({})).await, "limit_reached").await;

    restore(json!({"namespace": "docs", "source": "docs"})).await.problem("name_taken");
    restore(json!({"namespace": "a/b", "source": "docs"})).await.problem("invalid_name");
    for url in ["file:///etc", "ftp://host/a", "/", "", "s3://bucket/prefix"] {
        let body = json!({"namespace": "new", "url": url});
        restore(body).await.problem("invalid_checkpoint_url");
    }
    let below = node.get(CHECKPOINTS).await.ok()["url"].as_str().unwrap().to_owned();
    let outside = json!({"namespace": "new", "url": format!("{below}/../../../../shards")});
    restore(outside).await.problem("invalid_checkpoint_url");
    let absent = json!({"namespace": "new", "url": format!("{below}x")});
    failed(&node, restore(absent).await, "checkpoint_not_found").await;
    for source in ["absent", "a/b"] {
        let body = json!({"namespace": "new", "source": source});
        let code = if source == "absent" { "checkpoint_not_found" } else { "invalid_name" };
        failed(&node, restore(body).await, code).await;
    }
    failed(&node, restore(json!({"namespace": "new"})).await, "invalid_argument").await;
    let ninth = json!({"namespace": "new", "source": "docs", "checkpoint": 9});
    failed(&node, restore(ninth).await, "checkpoint_not_found").await;
    let both = json!({"namespace": "new", "source": "docs", "checkpoint": 1, "seqs": [1]});
    restore(both).await.problem("invalid_argument");
    node.get("/v1/tasks/none").await.problem("task_not_found");
    let tasks = node.get("/v1/tasks").await.ok();
    assert!(tasks["tasks"].as_array().unwrap().len() > 5);

    let elsewhere = TestNode::with(|config| config.checkpoints.any_url = true).await;
    let body = json!({"namespace": "new", "url": below});
    done(&elsewhere, elsewhere.post("/v1/restore", body).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_between_objects_and_manifest_changes_nothing() {
    let node = TestNode::start().await;
    docs(&node, 1).await;
    put(&node, 0, 300).await;
    let first = checkpoint(&node, "full").await;
    let objects = objects_below(node.directory.path());
    let manifest = objects[0].ancestors().nth(3).unwrap().join("manifest");
    let before = fs::read(&manifest).unwrap();
    put(&node, 300, 400).await;
    checkpoint(&node, "incremental").await;
    // As if the process had ended after the objects: they are there, the manifest is the old one,
    // and its next one has only been begun.
    fs::write(&manifest, &before).unwrap();
    fs::write(manifest.with_extension("new"), &before[..20]).unwrap();
    assert_eq!(objects_below(node.directory.path()).len(), 2);

    let node = node.restart().await;
    let list = node.get(CHECKPOINTS).await.ok();
    assert_eq!(list["checkpoints"], json!([first]));
    done(&node, node.post(&format!("{CHECKPOINTS}/1/verify"), json!({})).await).await;
    let request = json!({"namespace": "new", "source": "docs"});
    done(&node, node.post("/v1/restore", request).await).await;
    assert_eq!(records(&node, "new").await.as_array().unwrap().len(), 300);
    let second = checkpoint(&node, "incremental").await;
    assert_eq!((&second["id"], &second["records"]), (&json!(2), &json!(400)));
    done(&node, node.post(&format!("{CHECKPOINTS}/2/verify"), json!({})).await).await;
}
