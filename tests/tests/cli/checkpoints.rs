//! `hvs checkpoint` where nobody watches: how far it is, in lines beside the result.

use std::process::Output;

use serde_json::{Value, json};

use crate::setup::{Setup, code, errors, json_lines};

/// What was said of progress: on standard error and nowhere else.
fn said(output: &Output, what: &str) {
    assert_eq!(code(output), 0, "{}", errors(output));
    let errors = errors(output);
    let lines: Vec<&str> = errors.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(last.starts_with(&format!("{what}: done, ")), "{errors}");
    assert!(before.iter().all(|line| line.starts_with(&format!("{what}: "))), "{errors}");
    assert!(before.len() < 60, "too often: {errors}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("done,"));
}

#[test]
fn the_progress_of_a_task_is_lines_beside_the_result() {
    let setup = Setup::new();
    setup.json(&["ns", "create", "n", "-g", "euclidean", "-d", "2"]);
    setup.json(&["put", "n", "a", "--vector", "1,2"]);
    let made = setup.run(&["checkpoint", "create", "n"]);
    said(&made, "making a checkpoint of n");
    // The record, and the key of the request that put it.
    assert!(errors(&made).contains("done, 2 rows in "), "{}", errors(&made));
    assert!(String::from_utf8_lossy(&made.stdout).contains("full"));

    setup.json(&["put", "n", "b", "--vector", "1,2"]);
    let for_scripts = |arguments: &[&str], what: &str| {
        let output = setup.run(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{}", errors(&output));
        let task: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(task["state"], "done");
        let lines = json_lines(&output);
        let progress = &lines.last().unwrap()["progress"];
        assert_eq!((&progress["kind"], &progress["state"]), (&json!(what), &json!("done")));
        assert_eq!((&progress["rows"], &progress["task"]), (&task["rows"], &task["id"]));
    };
    for_scripts(&["checkpoint", "create", "n"], "create");
    for_scripts(&["checkpoint", "verify", "n"], "verify");
    for_scripts(&["checkpoint", "restore", "m", "--from", "n"], "restore");
    said(&setup.run(&["checkpoint", "verify", "n"]), "verifying a checkpoint of n");
    let restored = setup.run(&["checkpoint", "restore", "o", "--from", "n"]);
    said(&restored, "restoring o");

    let absent = setup.run(&["checkpoint", "verify", "n", "--id", "9"]);
    assert_eq!(code(&absent), 3, "{}", errors(&absent));
    assert!(!errors(&absent).contains("done"), "{}", errors(&absent));
    assert!(absent.stdout.is_empty());
}
