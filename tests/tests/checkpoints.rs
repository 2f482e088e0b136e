//! Checkpoints of real processes: killed in the middle, restored in another one.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use hvs_tests::node::{Node, Settings, current_program};
use serde_json::{Value, json};

/// How long something that is done in moments may take.
const PATIENCE: Duration = Duration::from_mins(2);
const ROWS: u32 = 20_000;

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(current_program("hvs").unwrap());
    command
        .args(arguments)
        .args(["--json", "--timeout", "120"])
        .env("HVS_URL", format!("http://{}", node.external()))
        .stdin(Stdio::null());
    command
}

fn run(node: &Node, arguments: &[&str]) -> Value {
    let output = command(node, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn start(folder: &Path, place: &Path) -> Node {
    let settings = Settings::new(folder).unwrap();
    Node::start(&settings.with("checkpoints.url", place.to_str().unwrap())).unwrap()
}

fn import(node: &Node, folder: &Path, from: u32, to: u32) {
    let path = folder.join(format!("{from}.jsonl"));
    let lines: Vec<String> = (from..to)
        .map(|n| {
            // Digits that do not repeat, so that objects are not tiny.
            let x = f64::from(n.wrapping_mul(2_654_435_761) % 1_000_003) / 1e6;
            let line = json!({"id": format!("id-{n:06}"), "vector": [x, x * x, 1.0 - x],
                "metadata": {"n": n}});
            line.to_string()
        })
        .collect();
    fs::write(&path, lines.join("\n")).unwrap();
    run(node, &["import", "docs", path.to_str().unwrap()]);
}

fn objects(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| path.components().any(|part| part.as_os_str() == "objects"));
    found
}

fn search(node: &Node, namespace: &str) -> Value {
    let arguments = ["search", namespace, "--vector", "0.4,0.2,0.6", "-k", "100", "--exact"];
    let mut answer = run(node, &[&arguments[..], &["--with-vectors"]].concat());
    answer["hits"].take()
}

fn seqs_and_ids(list: &Value) -> Vec<(u64, u64)> {
    let checkpoints = list["checkpoints"].as_array().unwrap();
    checkpoints
        .iter()
        .map(|one| (one["id"].as_u64().unwrap(), one["records"].as_u64().unwrap()))
        .collect()
}

/// Whatever moment it is, what the manifest names is whole, and restored in another process it
/// answers as the original did.
#[test]
fn a_node_that_is_killed_while_it_makes_a_checkpoint_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let mut node = start(&folder.path().join("node"), &place);
    run(&node, &["ns", "create", "docs", "--geometry", "euclidean", "--dimension", "3"]);
    import(&node, folder.path(), 0, ROWS);
    let first = run(&node, &["checkpoint", "create", "docs"]);
    assert_eq!(first["checkpoint"]["records"], ROWS);
    let hits = search(&node, "docs");

    for round in 0..3 {
        let before = objects(&place).len();
        let listed = seqs_and_ids(&run(&node, &["checkpoint", "list", "docs"]));
        import(&node, folder.path(), ROWS + round * 10, ROWS + round * 10 + 10);
        let mut making = command(&node, &["checkpoint", "create", "docs", "--full"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        // The first sign of the new one on the disk.
        while objects(&place).len() == before {
            assert!(Instant::now() < deadline, "no object came");
        }
        node.kill().unwrap();
        // It would ask again and again for as long as its timeout allows.
        let _ = making.kill();
        making.wait().unwrap();
        node = start(&folder.path().join("node"), &place);
        let after = run(&node, &["checkpoint", "list", "docs"]);
        let after = seqs_and_ids(&after);
        assert_eq!(after[..listed.len()], listed[..], "those from before are there");
        assert!(after.len() <= listed.len() + 1);
        for (id, _) in &after {
            run(&node, &["checkpoint", "verify", "docs", "--id", &id.to_string()]);
        }
    }

    let other = start(&folder.path().join("other"), &place);
    run(&other, &["checkpoint", "restore", "copy", "--from", "docs", "--id", "1"]);
    assert_eq!(run(&other, &["count", "copy"])["count"], ROWS);
    assert_eq!(search(&other, "copy"), hits);
    // What was restored is there after a crash as well.
    other.kill().unwrap();
    let other = start(&folder.path().join("other"), &place);
    assert_eq!(search(&other, "copy"), hits);
}

#[test]
fn the_command_line_names_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let node = start(&folder.path().join("node"), &place);
    run(&node, &["ns", "create", "docs", "--geometry", "euclidean", "--dimension", "3"]);
    let empty = command(&node, &["checkpoint", "verify", "docs"]).output().unwrap();
    assert_eq!(empty.status.code(), Some(1), "{}", errors(&empty));
    import(&node, folder.path(), 0, 100);
    run(&node, &["checkpoint", "create", "docs"]);
    let object = objects(&place).pop().unwrap();
    let mut bytes = fs::read(&object).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x80;
    fs::write(&object, bytes).unwrap();
    let output = command(&node, &["checkpoint", "verify", "docs"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["problem"]["code"], "checkpoint_damaged");
    let name = object.strip_prefix(&place).unwrap().to_str().unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains(name), "{error}");
    let refused = command(&node, &["checkpoint", "delete", "docs", "1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "it asks first");
    run(&node, &["checkpoint", "delete", "docs", "1", "--yes"]);
    assert!(objects(&place).is_empty());
}
