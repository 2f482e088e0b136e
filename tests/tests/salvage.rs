//! Repairs of states whose log is trimmed: what can be had is had, what is lost is said and needs
//! a decision.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hvs_tests::{
    http::Connection,
    node::{Node, Settings, current_program, run_to_end},
    sample::{self, ask, content, files, path, records, task},
};
use serde_json::{Value, json};

const RECORDS: usize = 90;
/// Entries of the log that are kept.
const KEPT: usize = 24;

fn settings(data: &Path, memtable: usize) -> Settings {
    Settings::new(data)
        .unwrap()
        .with("feed.entries", &KEPT.to_string())
        .with("storage.shard_memtable_bytes", &memtable.to_string())
}

/// A directory with one shard, of whose log the last entries are left.
struct Home {
    folder: tempfile::TempDir,
    memtable: usize,
    before: BTreeMap<String, Value>,
}

impl Home {
    fn new(memtable: usize) -> Self {
        let folder = sample::folder().unwrap();
        let mut home = Self { folder, memtable, before: BTreeMap::new() };
        let node = Node::start(&settings(&home.data(), memtable)).unwrap();
        let connection = &mut node.connect().unwrap();
        let space = json!({"geometry": "euclidean", "dimension": 1});
        ask(connection, "PUT", &path("docs", ""), &space).unwrap();
        for number in 0..RECORDS {
            put(connection, number);
        }
        home.before = found(connection);
        assert_eq!(home.before.len(), RECORDS);
        node.stop().unwrap();
        home
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn store(&self) -> PathBuf {
        let entries = fs::read_dir(self.data().join("shards")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| !path.ends_with("system")).unwrap().join("store")
    }

    /// What `--accept-loss` must say.
    fn shard(&self) -> String {
        let store = self.store();
        let uid = store.parent().unwrap().file_name().unwrap().to_str().unwrap();
        format!("shard={uid}")
    }

    fn opened(&self) -> BTreeMap<String, Value> {
        let node = Node::start(&settings(&self.data(), self.memtable)).unwrap();
        let now = found(&mut node.connect().unwrap());
        node.stop().unwrap();
        now
    }

    fn refuses_and_names(&self, file: &Path) {
        let (status, said) = run_to_end(&settings(&self.data(), self.memtable)).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(file.to_str().unwrap()) && said.contains("hvs repair"), "{said}");
    }

    /// The exit code, and what became of the state.
    fn repair(&self, arguments: &[&str]) -> (i32, Value) {
        let output = Command::new(current_program("hvs-node").unwrap())
            .args(["repair", "--json", "--data-dir", self.data().to_str().unwrap()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let items = report["items"].as_array().unwrap();
        let of_shard = |item: &&Value| item["part"] == "state" && item["of"] != "the catalogue";
        let state = items.iter().find(of_shard).unwrap().clone();
        println!("{:?} {state:#}", output.status.code());
        (output.status.code().unwrap(), state)
    }

    /// Refuses, then gives up what it named; the rest is as it was.
    fn needs_a_decision(&self) {
        let damaged = content(&self.data()).unwrap();
        let (code, state) = self.repair(&[]);
        assert_eq!((code, state["outcome"].as_str()), (2, Some("decision")));
        assert_eq!(state["accept"], self.shard());
        let lost = usize::try_from(state["lost_records"].as_u64().unwrap()).unwrap();
        assert!((1..RECORDS / 2).contains(&lost), "{lost} records are lost");
        assert!(content(&self.data()).unwrap() == damaged, "something was changed");
        // Another decision is not this one.
        let (code, _) = self.repair(&["--accept-loss", "logs"]);
        assert_eq!(code, 2);
        assert!(content(&self.data()).unwrap() == damaged, "something was changed");

        let (code, state) = self.repair(&["--accept-loss", &self.shard()]);
        assert_eq!((code, state["outcome"].as_str()), (1, Some("repaired")));
        assert_eq!(self.repair(&[]).0, 0);
        let now = self.opened();
        assert_eq!(now.len(), RECORDS - lost);
        for (id, record) in &now {
            assert_eq!(record, &self.before[id]);
        }
        // What is lost can be written again.
        let node = Node::start(&settings(&self.data(), self.memtable)).unwrap();
        let connection = &mut node.connect().unwrap();
        (0..RECORDS).for_each(|number| put(connection, number));
        node.kill().unwrap();
        assert_eq!(self.opened().len(), RECORDS);
    }
}

fn put(connection: &mut Connection, number: usize) {
    // Not to be compressed away, so that sorted files of several blocks come to be.
    let mut state = u32::try_from(number).unwrap() + 1;
    let noise: String = (0..3_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        })
        .collect();
    let body = json!({"vector": [number], "metadata": {"noise": noise}});
    let at = path("docs", &format!("/vectors/id-{number:02}"));
    ask(connection, "PUT", &at, &body).unwrap();
}

fn found(connection: &mut Connection) -> BTreeMap<String, Value> {
    let records = records(connection, "docs").unwrap();
    let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
    records.into_iter().map(|record| (id(&record), record)).collect()
}

/// Changes a bit at so many hundredths of what is used of a file.
fn flip(file: &Path, hundredths: usize) {
    let mut bytes = fs::read(file).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[used * hundredths / 100] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn damage_of_a_journal_that_the_log_still_has_loses_nothing() {
    let home = Home::new(1 << 24);
    let journal = home.store().join("0.jnl");
    flip(&journal, 90);
    home.refuses_and_names(&journal);
    let (code, state) = home.repair(&[]);
    assert_eq!((code, state["outcome"].as_str()), (1, Some("repaired")));
    assert!(state["action"].as_str().unwrap().contains("before the damage"), "{state}");
    assert_eq!(home.repair(&[]).0, 0);
    assert_eq!(home.opened(), home.before);
}

#[test]
fn damage_of_a_journal_that_the_log_has_no_more_loses_what_is_named() {
    let home = Home::new(1 << 24);
    let journal = home.store().join("0.jnl");
    flip(&journal, 20);
    home.refuses_and_names(&journal);
    home.needs_a_decision();
}

#[test]
fn damage_of_a_sorted_file_loses_what_is_named() {
    let home = Home::new(1 << 16);
    // Those with records are the largest.
    let tables = files(&home.store()).unwrap();
    let tables = tables.into_iter().filter(|path| path.parent().unwrap().ends_with("tables"));
    let table = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(&table, 30);
    home.refuses_and_names(&table);
    home.needs_a_decision();
}

#[test]
fn a_state_of_which_nothing_is_left_is_not_made_up() {
    let home = Home::new(1 << 24);
    fs::remove_dir_all(home.store()).unwrap();
    let damaged = content(&home.data()).unwrap();
    let accept = home.shard();
    for arguments in [vec![], vec!["--accept-loss", accept.as_str()]] {
        let (code, state) = home.repair(&arguments);
        assert_eq!((code, state["outcome"].as_str()), (2, Some("decision")));
        assert!(state["action"].as_str().unwrap().contains("restore a copy"), "{state}");
        assert!(state["accept"].is_null(), "{state}");
        assert!(content(&home.data()).unwrap() == damaged, "something was changed");
    }
    // A node does not make one up either.
    let (status, said) = run_to_end(&settings(&home.data(), home.memtable)).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("is missing, the local state of shard"), "{said}");
}

/// What a journal without its end opens as is a state, but an older one than a checkpoint.
#[test]
fn of_a_journal_without_its_end_and_a_newer_checkpoint_the_checkpoint_is_taken() {
    const MORE: usize = 40;
    for kept in [0, 20] {
        let home = Home::new(1 << 24);
        let node = Node::start(&settings(&home.data(), home.memtable)).unwrap();
        let connection = &mut node.connect().unwrap();
        let done = task(connection, &path("docs", "/checkpoints"), &json!({})).unwrap();
        assert_eq!(done["state"], "done", "{done}");
        (RECORDS..RECORDS + MORE).for_each(|number| put(connection, number));
        node.stop().unwrap();

        let journal = home.store().join("0.jnl");
        let whole = fs::read(&journal).unwrap();
        let used = whole.iter().rposition(|&byte| byte != 0).unwrap();
        fs::write(&journal, &whole[..used * kept / 100]).unwrap();
        let (code, state) = home.repair(&[]);
        assert_eq!((code, state["outcome"].as_str()), (2, Some("decision")));
        let action = state["action"].as_str().unwrap();
        assert!(action.contains("from checkpoint 1: 90 records"), "{action}");
        // What was trimmed may have changed any number of records.
        assert!(action.contains("is not known"), "{action}");
        assert!(state["lost_records"].is_null(), "{state}");
        assert_eq!(home.repair(&["--accept-loss", &home.shard()]).0, 1);
        assert_eq!(home.repair(&[]).0, 0);
        assert_eq!(home.opened(), home.before);
    }
}

/// Lists say nothing of records: what they list is elsewhere, or there is none of it.
#[test]
fn damage_of_lists_loses_nothing_that_is_in_the_journal() {
    for list in ["keyspaces/3/v0", "keyspaces/7/v0", "version"] {
        let home = Home::new(1 << 24);
        let file = home.store().join(list);
        flip(&file, 50);
        home.refuses_and_names(&file);
        let (code, state) = home.repair(&[]);
        assert_eq!((code, state["outcome"].as_str()), (1, Some("repaired")), "{list}");
        assert_eq!(home.repair(&[]).0, 0);
        assert_eq!(home.opened(), home.before);
    }
}

/// The logs are those of an earlier day, and the state that would have said so is damaged.
#[test]
fn a_state_is_not_built_from_older_logs_unasked() {
    const EARLIER: usize = 4;
    const ALL: usize = 8;
    let folder = sample::folder().unwrap();
    let mut home = Home { folder, memtable: 1 << 24, before: BTreeMap::new() };
    let settings = settings(&home.data(), home.memtable);
    let node = Node::start(&settings).unwrap();
    let connection = &mut node.connect().unwrap();
    let space = json!({"geometry": "euclidean", "dimension": 1});
    ask(connection, "PUT", &path("docs", ""), &space).unwrap();
    (0..EARLIER).for_each(|number| put(connection, number));
    node.stop().unwrap();
    let (logs, older) = (home.data().join("kv"), home.folder.path().join("kv-older"));
    let copy = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(copied.success());
    };
    copy(&logs, &older);
    let node = Node::start(&settings).unwrap();
    let connection = &mut node.connect().unwrap();
    (EARLIER..ALL).for_each(|number| put(connection, number));
    home.before = found(connection);
    node.stop().unwrap();
    fs::remove_dir_all(&logs).unwrap();
    copy(&older, &logs);
    flip(&home.store().join("version"), 0);

    let damaged = content(&home.data()).unwrap();
    let (code, state) = home.repair(&[]);
    assert_eq!((code, state["outcome"].as_str()), (2, Some("decision")));
    assert_eq!(state["accept"], home.shard());
    assert!(content(&home.data()).unwrap() == damaged, "something was changed");
    // The catalogue's log is older as well.
    let system = "shard=00000000-0000-0000-0000-000000000000";
    let arguments = ["--accept-loss", &home.shard(), "--accept-loss", system];
    assert_eq!(home.repair(&arguments).0, 1);
    assert_eq!(home.repair(&[]).0, 0);
    assert_eq!(home.opened(), home.before);
}

/// A `version` says nothing of what is stored, so that nothing is lost with it.
#[test]
fn damage_of_a_version_loses_nothing() {
    let home = Home::new(16 << 20);
    let before = content(&home.data()).unwrap();
    for store in [home.data().join("kv"), home.store()] {
        let file = store.join("version");
        let whole = fs::read(&file).unwrap();
        assert_eq!(whole, b"FJL\x03");
        // Missing, cut off, another magic, and the format with a bit that was flipped.
        for damage in [None, Some(&b"FJL"[..]), Some(b"FKL\x03"), Some(b"FJL\x43")] {
            match damage {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            home.refuses_and_names(&file);
            assert_eq!(home.repair(&["--dry-run"]).0, 1, "{damage:?}");
            assert_eq!(home.repair(&[]).0, 1, "{damage:?}");
            assert_eq!(home.opened(), home.before, "{damage:?}");
        }
        // What a newer version would write is not taken for damage.
        fs::write(&file, b"FJL\x04").unwrap();
        let (status, said) = run_to_end(&settings(&home.data(), home.memtable)).unwrap();
        assert!(status.code() == Some(1) && said.contains("newer version"), "{said}");
        fs::write(&file, whole).unwrap();
    }
    assert!(before.len() <= content(&home.data()).unwrap().len());
}
