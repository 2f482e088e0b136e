//! `hvs repair` on real data directories: what is damaged is found, what can be repaired is, and
//! nothing is lost that nobody gave up.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hvs_tests::{
    http::Connection,
    node::{Node, Settings, current_program, run_to_end},
};
use serde_json::{Value, json};

const RECORDS: usize = 400;
const DOCS: &str = "/v1/namespaces/docs";

fn ask(connection: &mut Connection, method: &str, path: &str, body: &Value) -> Value {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer = connection.json(method, path, &text).unwrap();
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status < 300, "{method} {path}: {} {said}", answer.status);
    serde_json::from_str(&said).unwrap_or_default()
}

fn settings(folder: &Path) -> Settings {
    let place = folder.join("checkpoints");
    let settings = Settings::new(&folder.join("data")).unwrap().with("index.tail", "64");
    settings.with("checkpoints.url", place.to_str().unwrap())
}

/// Two shards with vectors, text, replaced and deleted records, and an idempotency key.
fn fill(folder: &Path) -> Answers {
    let node = Node::start(&settings(folder)).unwrap();
    let connection = &mut node.connect().unwrap();
    let space = json!({"geometry": "euclidean", "dimension": 2, "shards": 2,
        "index": {"type": "HYBRID", "text_fields": ["title"]}});
    ask(connection, "PUT", DOCS, &space);
    for start in (0..RECORDS).step_by(40) {
        put(connection, start, start + 40);
    }
    for number in (0..RECORDS).step_by(9) {
        ask(connection, "DELETE", &format!("{DOCS}/vectors/id-{number:04}"), &Value::Null);
    }
    put(connection, 0, 30);
    let before = answers(connection);
    node.stop().unwrap();
    before
}

fn put(connection: &mut Connection, from: usize, to: usize) {
    let operations: Vec<Value> = (from..to)
        .map(|number| {
            let x = number as f64 / 7.0;
            let title = format!("number w{number:04}");
            json!({"put": {"id": format!("id-{number:04}"), "vector": [x.sin(), x.cos() * x],
                "metadata": {"title": title, "n": number}}})
        })
        .collect();
    let answer =
        ask(connection, "POST", &format!("{DOCS}/batch"), &json!({"operations": operations}));
    assert_eq!(answer["failed"], 0);
}

/// What a user sees: every record with its etag, and searches of all kinds.
#[derive(Debug, PartialEq)]
struct Answers {
    records: BTreeMap<String, Value>,
    exact: Value,
    text: BTreeSet<String>,
}

fn answers(connection: &mut Connection) -> Answers {
    let mut records = BTreeMap::new();
    for number in 0..RECORDS {
        let id = format!("id-{number:04}");
        let answer = connection.json("GET", &format!("{DOCS}/vectors/{id}"), "").unwrap();
        if answer.status == 200 {
            records.insert(id, serde_json::from_slice(&answer.body).unwrap());
        } else {
            assert_eq!(answer.status, 404);
        }
    }
    let mut search = |request: Value| {
        ask(connection, "POST", &format!("{DOCS}/search"), &request)["hits"].take()
    };
    let exact = search(json!({"vector": [0.3, 4.0], "k": 50, "exact": true}));
    let text = search(json!({"text": "w0011 w0118 w0200 w0009 w0361", "k": 20}));
    // Scores depend on how many deleted documents are still counted.
    let text = text.as_array().unwrap().iter().map(|hit| hit["id"].to_string()).collect();
    Answers { records, exact, text }
}

fn reopened(folder: &Path) -> Answers {
    let node = Node::start(&settings(folder)).unwrap();
    let found = answers(&mut node.connect().unwrap());
    node.stop().unwrap();
    found
}

/// The exit code and the report.
fn repair(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(current_program("hvs").unwrap());
    command
        .args(["repair", "--json", "--data-dir", folder.join("data").to_str().unwrap()])
        .args(arguments)
        .env("HVS_INDEX_TAIL", "64")
        .env("HVS_CHECKPOINTS_URL", folder.join("checkpoints"))
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let code = output.status.code().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::String(errors.into()));
    (code, report)
}

fn outcomes(report: &Value, part: &str) -> Vec<String> {
    let items = report["items"].as_array().unwrap_or_else(|| panic!("{report}"));
    let items = items.iter().filter(|item| item["part"] == part);
    items.map(|item| item["outcome"].as_str().unwrap().to_owned()).collect()
}

fn files(folder: &Path, keep: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if keep(path.to_str().unwrap()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = files(folder, &|_| true);
    all.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[at(used)] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Folders of the shards of namespaces.
fn shards(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("data/shards")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap() != "system").collect()
}

#[test]
fn what_is_whole_is_clean_and_a_running_node_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let before = fill(folder.path());
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(outcomes(&report, "state"), ["clean"; 3]);
    assert_eq!(outcomes(&report, "log"), ["clean"; 3]);
    assert_eq!(outcomes(&report, "index"), ["clean"; 3]);
    assert_eq!(outcomes(&report, "text index"), ["clean"; 2]);
    assert_eq!(reopened(folder.path()), before);

    let node = Node::start(&settings(folder.path())).unwrap();
    let (code, said) = repair(folder.path(), &[]);
    assert_eq!(code, 3, "{said:#}");
    assert!(said.as_str().unwrap().contains("in use"), "{said}");
    // Killed, its local state is behind its log, which is as it should be.
    put(&mut node.connect().unwrap(), 30, 60);
    let after = answers(&mut node.connect().unwrap());
    node.kill().unwrap();
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(reopened(folder.path()), after);
    let (code, _) = repair(&folder.path().join("nowhere"), &[]);
    assert_eq!(code, 3);
}

#[test]
fn damaged_indexes_are_built_anew_and_a_dry_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let before = fill(folder.path());
    let is_index = |path: &str| path.contains("/index/") && path.contains("segment-");
    let segments = files(&folder.path().join("data"), &is_index);
    assert!(segments.len() >= 2, "{segments:?}");
    flip(&segments[0], |used| used / 2);
    let text = files(&folder.path().join("data"), &|path| path.rsplit('.').next() == Some("idx"));
    flip(&text[0], |used| used / 3);
    let damaged = content(&folder.path().join("data"));

    let (code, report) = repair(folder.path(), &["--dry-run"]);
    assert_eq!(code, 1, "{report:#}");
    assert!(outcomes(&report, "index").contains(&"repairable".to_owned()));
    assert!(outcomes(&report, "text index").contains(&"repairable".to_owned()));
    assert!(content(&folder.path().join("data")) == damaged, "something was changed");

    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 1, "{report:#}");
    assert!(outcomes(&report, "index").contains(&"repaired".to_owned()));
    let kept = folder.path().join("data").join(report["kept_in"].as_str().unwrap());
    assert!(!files(&kept, &|path| path.contains("segment-")).is_empty());
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(reopened(folder.path()), before);
}

#[test]
fn a_damaged_state_is_built_anew_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let before = fill(folder.path());
    let stores = shards(folder.path());
    flip(&stores[0].join("store/0.jnl"), |used| used / 2);
    fs::remove_dir_all(stores[1].join("store")).unwrap();
    flip(&folder.path().join("data/shards/system/store/0.jnl"), |used| used / 2);
    let (status, said) = run_to_end(&settings(folder.path())).unwrap();
    assert!(!status.success());
    assert!(said.contains("0.jnl") && said.contains("hvs repair"), "{said}");

    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(outcomes(&report, "state"), ["repaired"; 3]);
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(reopened(folder.path()), before);
}

#[test]
fn a_damaged_log_loses_nothing_that_the_state_shows() {
    let folder = tempfile::tempdir().unwrap();
    let before = fill(folder.path());
    flip(&folder.path().join("data/kv/0.jnl"), |used| used / 2);
    let (status, said) = run_to_end(&settings(folder.path())).unwrap();
    assert!(!status.success());
    assert!(said.contains("kv/0.jnl") && said.contains("hvs repair"), "{said}");

    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(outcomes(&report, "state"), ["clean"; 3]);
    assert!(outcomes(&report, "log").contains(&"repaired".to_owned()), "{report:#}");
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(reopened(folder.path()), before);
    // What is written now is there after the next start.
    let node = Node::start(&settings(folder.path())).unwrap();
    put(&mut node.connect().unwrap(), 0, 40);
    let after = answers(&mut node.connect().unwrap());
    node.kill().unwrap();
    assert_eq!(reopened(folder.path()), after);
}

#[test]
fn lost_logs_need_a_decision_and_then_lose_nothing_after_a_clean_stop() {
    let folder = tempfile::tempdir().unwrap();
    let before = fill(folder.path());
    fs::remove_dir_all(folder.path().join("data/kv")).unwrap();
    let damaged = content(&folder.path().join("data"));
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 2, "{report:#}");
    assert!(content(&folder.path().join("data")) == damaged, "something was changed");
    let (code, report) = repair(folder.path(), &["--accept-loss", "logs"]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(reopened(folder.path()), before);
    let (code, _) = repair(folder.path(), &["--accept-loss", "everything"]);
    assert_eq!(code, 3);
}

#[test]
fn without_log_and_state_only_what_is_named_is_given_up_for_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let node = Node::start(&settings(folder.path())).unwrap();
    let connection = &mut node.connect().unwrap();
    let task = ask(connection, "POST", &format!("{DOCS}/checkpoints"), &json!({}));
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    while ask(connection, "GET", &path, &Value::Null)["state"] == "running" {}
    let before = answers(connection);
    put(connection, 100, 120);
    node.stop().unwrap();
    fs::remove_dir_all(folder.path().join("data/kv")).unwrap();
    let stores = shards(folder.path());
    for shard in &stores {
        flip(&shard.join("store/0.jnl"), |used| used / 2);
    }
    let (code, report) = repair(folder.path(), &["--accept-loss", "logs"]);
    assert_eq!(code, 2, "{report:#}");
    let accepted: Vec<String> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["part"] == "state" && item["outcome"] == "decision")
        .map(|item| item["accept"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(accepted.len(), 2);
    let mut arguments = vec!["--accept-loss", "logs"];
    for shard in &accepted {
        arguments.extend(["--accept-loss", shard]);
    }
    let (code, report) = repair(folder.path(), &arguments);
    assert_eq!(code, 1, "{report:#}");
    let kept = folder.path().join("data").join(report["kept_in"].as_str().unwrap());
    assert_eq!(files(&kept, &|path| path.ends_with("store/0.jnl")).len(), 2 + 1);
    assert_eq!(reopened(folder.path()), before);
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn the_identity_is_written_anew_and_damaged_checkpoints_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let before = fill(folder.path());
    let path = folder.path().join("data/node.json");
    let identity: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::write(&path, "{").unwrap();
    let (status, said) = run_to_end(&settings(folder.path())).unwrap();
    assert!(!status.success());
    assert!(said.contains("node.json"), "{said}");
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!(code, 1, "{report:#}");
    let again: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(again, identity);

    let node = Node::start(&settings(folder.path())).unwrap();
    let connection = &mut node.connect().unwrap();
    let task = ask(connection, "POST", &format!("{DOCS}/checkpoints"), &json!({}));
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    while ask(connection, "GET", &path, &Value::Null)["state"] == "running" {}
    node.stop().unwrap();
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!((code, outcomes(&report, "checkpoint")), (0, vec!["clean".to_owned()]));
    let objects = files(&folder.path().join("checkpoints"), &|path| path.contains("/objects/"));
    flip(&objects[0], |used| used / 2);
    let (code, report) = repair(folder.path(), &[]);
    assert_eq!((code, outcomes(&report, "checkpoint")), (2, vec!["decision".to_owned()]));
    assert!(report.to_string().contains("/objects/"));
    assert_eq!(reopened(folder.path()), before);
}
