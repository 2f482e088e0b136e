//! Parts of a data directory that belong to another one are refused, by name, and touched by
//! nobody.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hvs_tests::{
    http::Connection,
    node::{Node, Settings, current_program, run_to_end},
    sample::{self, ask, content, copy, path, records},
};
use serde_json::{Value, json};

fn settings(data: &Path) -> Settings {
    Settings::new(data).unwrap()
}

/// A node with a namespace of so many records.
fn make(data: &Path, name: &str, count: usize) {
    let node = Node::start(&settings(data)).unwrap();
    let connection = &mut node.connect().unwrap();
    let space = json!({"geometry": "euclidean", "dimension": 1});
    ask(connection, "PUT", &path(name, ""), &space).unwrap();
    for number in 0..count {
        let at = path(name, &format!("/vectors/{name}-{number}"));
        ask(connection, "PUT", &at, &json!({"vector": [number]})).unwrap();
    }
    node.stop().unwrap();
}

fn all(connection: &mut Connection) -> Vec<Value> {
    ["one", "two"]
        .into_iter()
        .flat_map(|name| records(connection, name).unwrap_or_default())
        .collect()
}

fn opened(data: &Path) -> Vec<Value> {
    let node = Node::start(&settings(data)).unwrap();
    let found = all(&mut node.connect().unwrap());
    node.stop().unwrap();
    found
}

/// Two directories of different nodes, the second with more in its logs.
fn two(folder: &Path) -> (PathBuf, PathBuf, Vec<Value>) {
    let (own, other) = (folder.join("own"), folder.join("other"));
    make(&own, "one", 12);
    make(&other, "two", 30);
    let before = opened(&own);
    assert_eq!(before.len(), 12);
    (own, other, before)
}

/// Puts something of another directory in the place of one's own, and back.
fn exchanged(own: &Path, other: &Path, what: &str, says: &[&str], before: &[Value]) {
    let (mine, kept) = (own.join(what), own.with_extension("kept"));
    fs::rename(&mine, &kept).unwrap();
    let source = other.join(what);
    if source.is_dir() {
        copy(&source, &mine).unwrap();
    } else if source.is_file() {
        fs::copy(&source, &mine).unwrap();
    }
    let (status, said) = run_to_end(&settings(own)).unwrap();
    println!("{what}: {}", said.lines().last().unwrap_or_default());
    assert_eq!(status.code(), Some(1), "{what}: {said}");
    for part in says {
        assert!(said.contains(part), "{what}: {part:?} is not in {said}");
    }
    // Nothing was done to what is one's own.
    if mine.is_dir() {
        fs::remove_dir_all(&mine).unwrap();
    } else if mine.exists() {
        fs::remove_file(&mine).unwrap();
    }
    fs::rename(&kept, &mine).unwrap();
    assert_eq!(opened(own), before, "{what}");
}

#[test]
fn parts_of_another_directory_are_refused_by_name_and_hurt_nothing() {
    let folder = sample::folder().unwrap();
    let (own, other, before) = two(folder.path());
    let node = |data: &Path| -> String {
        let text = fs::read(data.join("node.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let ids = [node(&own), node(&other)];
    let named = ["node.json", &ids[0], &ids[1], "another data directory"];
    exchanged(&own, &other, "node.json", &named, &before);
    exchanged(&own, &other, "kv", &named, &before);
    // An older and a newer state than what the log has.
    exchanged(&own, &other, "shards/system", &["catalogue", "entry"], &before);
    exchanged(&other, &own, "shards/system", &["catalogue", "entry"], &opened(&other));
    let nothing = folder.path().join("nothing");
    exchanged(&own, &nothing, "node.json", &["node.json is missing", &ids[0]], &before);
    exchanged(&own, &nothing, "kv", &["the store of their logs", "hvs repair"], &before);
}

#[test]
fn the_state_of_another_shard_is_refused_by_name() {
    let folder = sample::folder().unwrap();
    let (own, other, before) = two(folder.path());
    let shard = |data: &Path| -> String {
        let names = fs::read_dir(data.join("shards")).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name != "system").unwrap()
    };
    let (mine, kept) = (own.join("shards").join(shard(&own)), own.with_extension("kept"));
    fs::rename(&mine, &kept).unwrap();
    copy(&other.join("shards").join(shard(&other)), &mine).unwrap();
    let (status, said) = run_to_end(&settings(&own)).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("does not belong here") && said.contains(&shard(&other)), "{said}");
    fs::remove_dir_all(&mine).unwrap();
    fs::rename(&kept, &mine).unwrap();
    assert_eq!(opened(&own), before);
}

/// What a user may do next must not make it worse.
#[test]
fn a_repair_gives_nothing_up_for_the_logs_of_another_node() {
    let folder = sample::folder().unwrap();
    let (own, other, before) = two(folder.path());
    for exchanged in ["kv", "shards/system"] {
        let (mine, kept) = (own.join(exchanged), own.with_extension("kept"));
        fs::rename(&mine, &kept).unwrap();
        copy(&other.join(exchanged), &mine).unwrap();
        let found = content(&own).unwrap();
        let output = Command::new(current_program("hvs-node").unwrap())
            .args(["repair", "--data-dir", own.to_str().unwrap()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(content(&own).unwrap() == found, "{said}");
        fs::remove_dir_all(&mine).unwrap();
        fs::rename(&kept, &mine).unwrap();
        assert_eq!(opened(&own), before, "{exchanged}");
    }
}

/// Every word and every vector must be found, wherever its index came from.
#[test]
fn indexes_of_another_shard_are_built_anew() {
    const COUNT: usize = 600;
    let folder = sample::folder().unwrap();
    let data = folder.path().join("data");
    let settings = settings(&data).with("index.tail", "64");
    let found = |connection: &mut Connection| {
        let by = |connection: &mut Connection, what: Value| {
            let mut request = json!({"k": COUNT + 1});
            request.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
            let answer = ask(connection, "POST", &path("one", "/search"), &request).unwrap();
            let hits = answer["hits"].as_array().unwrap();
            let mut ids: Vec<_> = hits.iter().map(|hit| hit["id"].to_string()).collect();
            ids.sort_unstable();
            ids
        };
        [by(connection, json!({"text": "common"})), by(connection, json!({"vector": [0]}))]
    };
    let node = Node::start(&settings).unwrap();
    let connection = &mut node.connect().unwrap();
    let index = json!({"type": "HYBRID", "text_fields": ["said"]});
    let space = json!({"geometry": "euclidean", "dimension": 1, "shards": 2, "index": index});
    ask(connection, "PUT", &path("one", ""), &space).unwrap();
    for number in 0..COUNT {
        let body =
            json!({"vector": [number], "metadata": {"said": format!("common word{number}")}});
        ask(connection, "PUT", &path("one", &format!("/vectors/{number}")), &body).unwrap();
    }
    let before = found(connection);
    assert!(before.iter().all(|ids| ids.len() == COUNT));
    let has_segments = |connection: &mut Connection| {
        let info = ask(connection, "GET", &path("one", ""), &Value::Null).unwrap();
        let state = &info["vectors"][""]["state"];
        state["building"] == false && state["segments"].as_u64() >= Some(2)
    };
    let begun = std::time::Instant::now();
    while !has_segments(connection) {
        assert!(begun.elapsed().as_secs() < 60, "no segments were built");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    node.stop().unwrap();

    let shards = fs::read_dir(data.join("shards")).unwrap();
    let shards = shards.map(|entry| entry.unwrap().path());
    let shards: Vec<PathBuf> = shards.filter(|path| !path.ends_with("system")).collect();
    let [a, b] = shards.as_slice() else { panic!("{shards:?}") };
    let aside = folder.path().join("aside");
    for what in fs::read_dir(a.join("index")).unwrap() {
        let what = PathBuf::from("index").join(what.unwrap().file_name());
        fs::rename(a.join(&what), &aside).unwrap();
        fs::rename(b.join(&what), a.join(&what)).unwrap();
        fs::rename(&aside, b.join(&what)).unwrap();
    }
    let output = Command::new(current_program("hvs-node").unwrap())
        .args(["repair", "--dry-run", "--data-dir", data.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("built anew").count(), 4, "of each shard both: {said}");
    // One whose keys cannot be those of the shard is known by them.
    assert!(said.matches("it is that of").count() >= 3, "{said}");

    let node = Node::start(&settings).unwrap();
    let connection = &mut node.connect().unwrap();
    let is_ready = |connection: &mut Connection| {
        let info = ask(connection, "GET", &path("one", ""), &Value::Null).unwrap();
        info["text"]["ready"] == true || info["vectors"][""]["state"]["text"]["ready"] == true
    };
    let begun = std::time::Instant::now();
    while !is_ready(connection) {
        assert!(begun.elapsed().as_secs() < 60, "the index of text is not built");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(found(connection), before);
    node.stop().unwrap();
}
