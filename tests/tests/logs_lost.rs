//! A node was killed, and then its store of logs goes as well: nobody takes what is left for a new
//! node, and what the shards have of their own is not lost with the logs.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hvs_tests::{
    http::Connection,
    node::{Node, Settings, current_program, run_to_end},
    sample::{self, ask, copy, files, path, records},
};
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["one", "two", "three"];

fn settings(data: &Path) -> Settings {
    Settings::new(data).unwrap()
}

fn put(connection: &mut Connection, name: &str, id: &str) {
    let at = path(name, &format!("/vectors/{id}"));
    ask(connection, "PUT", &at, &json!({"vector": [1], "durability": "sync"})).unwrap();
}

fn all(connection: &mut Connection) -> Vec<Vec<Value>> {
    NAMES.map(|name| records(connection, name).unwrap()).to_vec()
}

/// Whether a state on the disk, of which shard ever, has a record of this id.
fn is_in_a_state(data: &Path, id: &str) -> bool {
    files(&data.join("shards")).unwrap().iter().any(|file| {
        let journal = file.extension().is_some_and(|extension| extension == "jnl");
        journal
            && fs::read(file)
                .is_ok_and(|bytes| bytes.windows(id.len()).any(|part| part == id.as_bytes()))
    })
}

/// Kills a node when the operating system has all states.
fn killed(data: &Path) -> Vec<Vec<Value>> {
    let node = Node::start(&settings(data)).unwrap();
    let connection = &mut node.connect().unwrap();
    for name in NAMES {
        let space = json!({"geometry": "euclidean", "dimension": 1});
        ask(connection, "PUT", &path(name, ""), &space).unwrap();
        for number in 0..20 {
            put(connection, name, &format!("{name}-{number:02}"));
        }
    }
    let begun = Instant::now();
    while !NAMES.iter().all(|name| is_in_a_state(data, &format!("{name}-19"))) {
        assert!(begun.elapsed() < Duration::from_mins(1), "no state is written while a node runs");
        thread::sleep(Duration::from_millis(20));
    }
    let before = all(connection);
    node.kill().unwrap();
    before
}

fn repair(data: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(current_program("hvs-node").unwrap())
        .args(["repair", "--data-dir", data.to_str().unwrap()])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn logs_that_are_gone_are_missed_and_cost_no_namespace() {
    let folder = sample::folder().unwrap();
    let made = folder.path().join("made");
    let before = killed(&made);
    assert!(before.iter().all(|records| records.len() == 20));
    for how in ["removed", "emptied"] {
        let data = folder.path().join(how);
        copy(&made, &data).unwrap();
        fs::remove_dir_all(data.join("kv")).unwrap();
        if how == "emptied" {
            fs::create_dir(data.join("kv")).unwrap();
        }
        let (status, said) = run_to_end(&settings(&data)).unwrap();
        assert_eq!(status.code(), Some(1), "{how}: {said}");
        assert!(said.contains("the store of their logs") && said.contains("hvs repair"), "{said}");
        let (code, said) = repair(&data, &[]);
        assert_eq!(code, Some(2), "{how}: {said}");
        assert!(said.contains("--accept-loss logs"), "{how}: {said}");
        let (code, said) = repair(&data, &["--accept-loss", "logs"]);
        assert_eq!(code, Some(1), "{how}: {said}");
        let node = Node::start(&settings(&data)).unwrap();
        let connection = &mut node.connect().unwrap();
        assert_eq!(all(connection), before, "{how}");
        put(connection, "one", "after");
        node.stop().unwrap();
        let (code, said) = repair(&data, &[]);
        assert_eq!(code, Some(0), "{how}: {said}");
    }
}

/// Without the catalogue's state as well, nothing says what the shards are called.
#[test]
fn shards_that_nobody_names_any_more_are_told_before_they_are_given_up() {
    let folder = sample::folder().unwrap();
    let data = folder.path().join("data");
    killed(&data);
    fs::remove_dir_all(data.join("kv")).unwrap();
    fs::remove_dir_all(data.join("shards/system")).unwrap();
    let shards: Vec<String> = fs::read_dir(data.join("shards"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(shards.len(), 3);
    let (code, said) = repair(&data, &["--json"]);
    assert_eq!(code, Some(2), "{said}");
    println!("{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    for shard in &shards {
        let items = report["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["of"] == **shard).unwrap();
        assert_eq!((&item["outcome"], &item["accept"]), (&json!("decision"), &json!("logs")));
        assert!(item["action"].as_str().unwrap().contains("all records of this shard are lost"));
    }
}

/// Cuts the first journal of a database off before the last entries that it holds.
fn cut_off(database: &Path) {
    let journal = database.join("0.jnl");
    let bytes = fs::read(&journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(used - 600).unwrap();
}

fn shard_of(data: &Path, connection: &mut Connection, name: &str) -> std::path::PathBuf {
    // The one whose state has the records of the namespace.
    let wanted = format!("{name}-00");
    assert_eq!(records(connection, name).unwrap().len(), 20);
    let mut folders = fs::read_dir(data.join("shards")).unwrap().map(|entry| entry.unwrap().path());
    let holds = |folder: &std::path::PathBuf| {
        files(folder).unwrap().iter().any(|file| {
            fs::read(file).is_ok_and(|bytes| {
                bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes())
            })
        })
    };
    folders.find(holds).unwrap()
}

/// What a repair wants to be accepted, all of it.
fn accepted(data: &Path) -> Vec<String> {
    let (code, said) = repair(data, &["--json"]);
    assert_eq!(code, Some(2), "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let items = report["items"].as_array().unwrap().clone();
    let named = items.iter().filter_map(|item| item["accept"].as_str());
    named.flat_map(|accept| ["--accept-loss".to_owned(), accept.to_owned()]).collect()
}

/// Everything was forced to the disk, so that no loss of power explains what is missing.
#[test]
fn logs_without_their_end_and_states_that_are_gone_are_missed() {
    let folder = sample::folder().unwrap();
    let made = folder.path().join("made");
    killed(&made);
    let node = Node::start(&settings(&made)).unwrap();
    let connection = &mut node.connect().unwrap();
    for name in NAMES {
        ask(connection, "DELETE", &path(name, &format!("/vectors/{name}-07")), &Value::Null)
            .unwrap();
        put(connection, name, &format!("{name}-07"));
    }
    let before = all(connection);
    let one = shard_of(&made, connection, "one").strip_prefix(&made).unwrap().to_owned();
    node.stop().unwrap();

    let refuses = |data: &Path, why: &str| {
        let (status, said) = run_to_end(&settings(data)).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(why) && said.contains("hvs repair"), "{said}");
    };
    let opened = |data: &Path| {
        let node = Node::start(&settings(data)).unwrap();
        let now = all(&mut node.connect().unwrap());
        node.stop().unwrap();
        now
    };
    // The logs alone: the states have everything, and a repair goes on from them when it may.
    let data = folder.path().join("cut off");
    copy(&made, &data).unwrap();
    cut_off(&data.join("kv"));
    let accepted_all = accepted(&data);
    let arguments: Vec<&str> = accepted_all.iter().map(String::as_str).collect();
    let (code, said) = repair(&data, &arguments);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(opened(&data), before);
    // A node goes on from them as well, and says that it is no loss of power.
    let data = folder.path().join("cut off, without a repair");
    copy(&made, &data).unwrap();
    cut_off(&data.join("kv"));
    let node = Node::start(&settings(&data)).unwrap();
    assert_eq!(all(&mut node.connect().unwrap()), before);
    let said = node.log_text();
    assert!(said.contains("entries that had been forced to the disk"), "{said}");
    node.stop().unwrap();

    // A state alone: its log is whole.
    let data = folder.path().join("without a state");
    copy(&made, &data).unwrap();
    fs::remove_dir_all(data.join(&one).join("store")).unwrap();
    refuses(&data, "is missing, the local state of shard");
    let (code, said) = repair(&data, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(opened(&data), before);

    // Both: what the log lacks is nowhere, and nobody goes on without being told to.
    for state in [one.as_path(), Path::new("shards/system")] {
        let data = folder.path().join("neither");
        let _ = fs::remove_dir_all(&data);
        copy(&made, &data).unwrap();
        cut_off(&data.join("kv"));
        fs::remove_dir_all(data.join(state).join("store")).unwrap();
        refuses(&data, "is missing");
        assert!(!accepted(&data).is_empty());
        refuses(&data, "is missing");
    }
}
