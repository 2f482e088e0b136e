//! `hvs changes`: what has changed, from a place on, and what goes on changing.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::mpsc,
};

use serde_json::Value;

use crate::setup::{PATIENCE, Setup, code, errors, interrupt, wait_until};

fn lines(setup: &Setup, arguments: &[&str]) -> Vec<Value> {
    let output = setup.run(&[arguments, &["--json"]].concat());
    assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Kind and id of those lines that are changes.
fn kinds(lines: &[Value]) -> Vec<(String, String)> {
    let changes = lines.iter().filter(|line| line["kind"].is_string());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    changes.map(|change| (text(&change["kind"]), text(&change["id"]))).collect()
}

fn token(lines: &[Value]) -> String {
    lines.last().unwrap()["token"].as_str().unwrap().to_owned()
}

fn put(setup: &Setup, id: &str) {
    setup.json(&["put", "tour", id, "--vector", "1,0.5", "--coordinates", "spatial"]);
}

fn filled() -> Setup {
    let setup = Setup::new();
    setup.create("tour", "2");
    for id in ["a", "b"] {
        put(&setup, id);
    }
    setup.json(&["patch", "tour", "a", "--metadata", r#"{"legs": 4}"#]);
    setup.json(&["delete", "tour", "b"]);
    setup
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect()
}

#[test]
fn changes_are_listed_in_their_order_and_from_a_place_on() {
    let setup = filled();
    let all = [("put", "a"), ("put", "b"), ("patch", "a"), ("delete", "b")];
    let listed = lines(&setup, &["changes", "tour"]);
    assert_eq!(kinds(&listed), pairs(&all));
    // In several requests, and with what they made of the records.
    let listed = lines(&setup, &["changes", "tour", "--limit", "1", "--records"]);
    assert_eq!(kinds(&listed), pairs(&all));
    let patched = listed.iter().find(|line| line["kind"] == "patch").unwrap();
    assert_eq!(patched["record"]["metadata"]["legs"], 4);
    let deleted = listed.iter().find(|line| line["kind"] == "delete").unwrap();
    assert!(deleted["record"].is_null(), "{deleted}");

    let since = token(&listed);
    assert!(kinds(&lines(&setup, &["changes", "tour", "--since", &since])).is_empty());
    let now = token(&lines(&setup, &["changes", "tour", "--since", "now"]));
    put(&setup, "c");
    for place in [&since, &now] {
        let later = lines(&setup, &["changes", "tour", "--since", place]);
        assert_eq!(kinds(&later), pairs(&[("put", "c")]));
    }
    // The seq of an entry, of one shard.
    let first = listed.iter().find(|line| line["kind"] == "put").unwrap()["seq"].to_string();
    let after = lines(&setup, &["changes", "tour", "--shard", "0", "--since", &first]);
    assert_eq!(kinds(&after)[0], ("put".to_owned(), "b".to_owned()));

    let table = setup.run(&["changes", "tour"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.starts_with("put\ta\tversion 1\t"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("Go on with --since "), "{text}");
    let bad = setup.run(&["changes", "tour", "--since", "nonsense", "--json"]);
    assert_eq!(code(&bad), 3, "{}", errors(&bad));
}

#[test]
fn changes_are_followed_until_interrupted() {
    let setup = filled();
    let now = token(&lines(&setup, &["changes", "tour", "--since", "now"]));
    let mut follow = setup.command(&["changes", "tour", "--follow", "--since", &now, "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (told, heard) = mpsc::channel();
    let output = BufReader::new(follow.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in output.lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["kind"].is_string() && told.send(line).is_err() {
                break;
            }
        }
    });
    // Each is told before the next one happens.
    for id in ["c", "d"] {
        put(&setup, id);
        let change = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!((&change["kind"], &change["id"]), (&"put".into(), &id.into()));
    }
    setup.json(&["delete", "tour", "c"]);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap()["kind"], "delete");
    interrupt(&follow);
    let status = follow.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    reader.join().unwrap();
}

#[test]
fn following_ends_when_the_namespace_is_gone() {
    let setup = filled();
    let mut follow = setup.command(&["changes", "tour", "--follow", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("\"put\""), "{line}");
    setup.json(&["ns", "delete", "tour", "--yes"]);
    let output = follow.wait_with_output().unwrap();
    assert_eq!(code(&output), 3, "{}", errors(&output));
    assert!(errors(&output).contains("namespace_not_found"), "{}", errors(&output));
}

#[test]
fn without_a_place_it_begins_with_what_is_kept() {
    let setup = Setup::with(|settings| settings.with("feed.entries", "4"));
    setup.create("tour", "2");
    let ids: Vec<String> = (0..40).map(|number| format!("id-{number:02}")).collect();
    for id in &ids {
        put(&setup, id);
    }
    // The log is trimmed beside the writes.
    wait_until(|| {
        !setup.run(&["changes", "tour", "--since", "0", "--shard", "0"]).status.success()
    });
    let output = setup.run(&["changes", "tour", "--json"]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert!(errors(&output).contains("no longer kept"), "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let changes: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listed: Vec<_> = kinds(&changes).into_iter().map(|(_, id)| id).collect();
    assert!((4..40).contains(&listed.len()), "{listed:?}");
    assert_eq!(listed, ids[ids.len() - listed.len()..], "the last ones, and all of them");
}
