//! Measurements.

use std::process::Stdio;

use serde_json::Value;

use crate::setup::{Setup, code, errors, interrupt, wait_until};

#[test]
fn a_running_node_is_measured_and_left_as_it_was() {
    let setup = Setup::new();
    let rows = setup.json(&["bench", "--records", "500", "--seconds", "0.05"]);
    let kinds: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["request"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["batch of 1,000 puts", "put", "get", "search"]);
    let left = setup.json(&["ns", "list"]);
    assert_eq!(left["namespaces"].as_array().map(Vec::len), Some(0), "{left}");
}

#[test]
fn a_measurement_that_is_interrupted_leaves_nothing() {
    let setup = Setup::new();
    let namespaces = || setup.json(&["ns", "list"])["namespaces"].as_array().unwrap().clone();
    let mut bench = setup.command(&["bench", "--records", "1000", "--seconds", "3600"]);
    let bench = bench.stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| namespaces().first().is_some_and(|one| one["records"].as_u64() > Some(1_000)));
    interrupt(&bench);
    let output = bench.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", errors(&output));
    assert_eq!(namespaces(), Vec::<Value>::new());
}
