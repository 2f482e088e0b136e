//! The commands of the README, and of other pages with a tour, do what they say.
//!
//! A tour is the blocks marked `sh` under its heading. They run in one shell, in an empty
//! folder, in order. A block marked `text` after one is what it prints; a line `...` there stands
//! for any number of lines.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use hvs_tests::node::{current_program, workspace};

/// Printed between two blocks.
const MARK: &str = "== next block ==";

/// Commands, and what they print, where the page says it.
struct Step {
    commands: String,
    output: Option<String>,
}

fn tour(page: &str, heading: &str) -> Vec<Step> {
    let section = page.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading:?}"));
    let section = section.split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = section.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let block = block.join("\n");
        match language {
            "sh" => steps.push(Step { commands: block, output: None }),
            "text" => steps.last_mut().unwrap().output = Some(block),
            other => panic!("a block of {other:?} in the tour is not tested"),
        }
    }
    steps
}

/// Whether `actual` is `expected`, in which a line `...` stands for any lines.
fn matches(expected: &[&str], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((&"...", rest)) => (0..=actual.len()).any(|skip| matches(rest, &actual[skip..])),
        Some((line, rest)) => actual.first() == Some(line) && matches(rest, &actual[1..]),
    }
}

fn trimmed(text: &str) -> Vec<&str> {
    text.trim_matches('\n').lines().map(str::trim_end).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_tour_works_as_written() {
    works_as_written("README.md", "## A 60-second tour");
}

#[test]
fn the_tour_of_checkpoints_works_as_written() {
    works_as_written("docs/checkpoints.md", "## A tour");
}

#[test]
fn the_tour_of_hybrid_search_works_as_written() {
    works_as_written("docs/hybrid.md", "## A tour");
}

#[test]
fn the_tour_of_memory_works_as_written() {
    works_as_written("docs/memory.md", "## A tour");
}

fn works_as_written(page: &str, heading: &str) {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let steps = tour(&text, heading);
    assert!(steps.len() >= 4, "the tour has {} blocks", steps.len());

    let programs = current_program("hvs-node").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::from("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for step in &steps {
        script.push_str(&step.commands);
        script.extend(["\necho '", MARK, "'\n"]);
    }
    let said = run(&script, programs.parent().unwrap(), folder.path());
    let outputs: Vec<&str> = said.split(MARK).collect();
    for (step, actual) in steps.iter().zip(outputs) {
        let Some(expected) = &step.output else { continue };
        assert!(
            matches(&trimmed(expected), &trimmed(actual)),
            "$ {}\nprints\n{actual}\ninstead of\n{expected}",
            step.commands
        );
    }
}

/// Runs a shell script on ports that nobody else uses.
fn run(script: &str, programs: &Path, folder: &Path) -> String {
    let path = env::join_paths(
        [programs.to_path_buf()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let (external, internal) = (free_port(), free_port());
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder)
        .env("PATH", path.unwrap())
        .env("HVS_LISTEN_EXTERNAL", format!("127.0.0.1:{external}"))
        .env("HVS_LISTEN_INTERNAL", format!("127.0.0.1:{internal}"))
        .env("HVS_URL", format!("http://127.0.0.1:{external}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\nstdout:\n{said}\nstderr:\n{errors}", output.status);
    said.into_owned()
}

#[test]
fn any_lines_may_stand_for_dots() {
    assert!(matches(&["a", "...", "c"], &["a", "b", "b", "c"]));
    assert!(matches(&["a", "..."], &["a"]));
    assert!(!matches(&["a", "...", "c"], &["a", "b"]));
    assert!(!matches(&["a"], &["a", "b"]));
}
