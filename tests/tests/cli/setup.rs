//! A node and a folder, and commands on both.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hvs_tests::node::{Node, Settings, current_program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long something that is done in moments may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    pub(crate) node: Node,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(|settings| settings)
    }

    pub(crate) fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = change(Settings::new(&folder.path().join("node")).unwrap());
        let node = Node::start(&settings).unwrap();
        Self { folder, node }
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(current_program("hvs").unwrap());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HVS_URL", format!("http://{}", self.node.external()))
            .env_remove("HVS_TIMEOUT")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that succeeds, and reads what it says for scripts.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn create(&self, name: &str, dimension: &str) {
        self.json(&[
            "ns",
            "create",
            name,
            "--geometry",
            "hyperboloid",
            "--dimension",
            dimension,
            "--precision",
            "f64",
        ]);
    }

    pub(crate) fn count(&self, namespace: &str) -> u64 {
        self.json(&["count", namespace])["count"].as_u64().unwrap()
    }
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A row of JSON Lines with the spatial coordinates of a point.
pub(crate) fn row(id: &str, x: f64) -> String {
    json!({"id": id, "vector": [x, 0.5], "coordinates": "spatial", "metadata": {"x": x}})
        .to_string()
}

pub(crate) fn rows(count: usize) -> String {
    (0..count).map(|n| row(&format!("r{n}"), n as f64 / 100.0) + "\n").collect()
}

pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    let lines: Vec<Value> = errors(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is not JSON")))
        .collect();
    assert!(lines.iter().all(Value::is_object), "{lines:?}");
    lines
}

/// What Ctrl-C sends.
pub(crate) fn interrupt(process: &Child) {
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}
