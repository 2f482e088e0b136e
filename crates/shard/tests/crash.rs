//! A process that writes is killed at random moments, again and again on the same directory.
//! Afterwards everything that it acknowledged is there, nothing is there by halves, and the log
//! is whole.
//!
//! The killed process is this test binary, which starts itself with [`CHILD`] set.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use hvs_log::{Log, LogId, Position};
use hvs_shard::{
    Durability, NewRecord, Operation, SearchRequest, Shard, WriteOutcome, WriteRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod support;
use support::{Home, record, write};

/// Names the directory that the child works in.
const CHILD: &str = "HVS_TEST_CRASH_DIRECTORY";
const ROUNDS: usize = 25;
const IDS: u32 = 400;
/// The record that says which step was applied last.
const PROGRESS: &str = "progress";

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if let Ok(directory) = std::env::var(CHILD) {
        work_until_killed(&home(directory.into()));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut last_seen = 0;
    for round in 0..ROUNDS {
        // 0 kills it while it opens, or before.
        let answers = if round % 5 == 0 { 0 } else { rng.random_range(1..120) };
        let acknowledged = kill_after(directory.path(), answers).max(last_seen);
        last_seen = verify(&home(directory.path().to_owned()), acknowledged);
    }
    assert!(last_seen > 100, "the child hardly did anything");
}

fn home(directory: std::path::PathBuf) -> Home {
    let mut home = Home::at(directory);
    // Files, segments and trimming must happen within a few hundred steps.
    home.config.store.memtable_bytes = 16 << 10;
    home.config.retention.entries = 20;
    home
}

/// What a step does. Each is one atomic request that also records its number.
fn step(number: u32) -> WriteRequest {
    let mut rng = StdRng::seed_from_u64(number.into());
    let count = if number.is_multiple_of(10) { 50 } else { 2 };
    let mut operations: Vec<Operation> = (0..count)
        .map(|_| {
            let id = format!("id-{}", rng.random_range(0..IDS));
            if rng.random_bool(0.2) {
                Operation::Delete { id, condition: None }
            } else {
                let record = record(&id, rng.random_range(0..1_000_000));
                Operation::Put { record, condition: None }
            }
        })
        .collect();
    operations.push(Operation::Put { record: record(PROGRESS, number), condition: None });
    WriteRequest {
        operations,
        atomic: true,
        durability: if number.is_multiple_of(7) { Durability::Sync } else { Durability::Buffered },
        idempotency_key: None,
    }
}

fn progress(shard: &Shard) -> u32 {
    let Some(record) = shard.get(PROGRESS).unwrap() else { return 0 };
    record.metadata["number"].as_u64().unwrap().try_into().unwrap()
}

fn work_until_killed(home: &Home) -> ! {
    let shard = home.open();
    let first = progress(&shard) + 1;
    for number in first.. {
        let answer = write(&shard, step(number)).unwrap();
        assert!(!answer.outcomes.contains(&WriteOutcome::NotApplied));
        // The test harness holds back what is printed; the parent must see it at once.
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {number}").unwrap();
        out.flush().unwrap();
    }
    unreachable!("there are more numbers than time");
}

/// Starts the child, kills it after some answers, and returns the last one.
fn kill_after(directory: &std::path::Path, answers: usize) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_acknowledged_is_lost_when_the_process_is_killed", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.strip_prefix("acknowledged ")?;
        number.parse::<u32>().ok()
    });
    let mut last = 0;
    for number in numbers.by_ref().take(answers) {
        last = number;
    }
    child.kill().unwrap();
    // What it said between the last answer that was waited for and its end.
    last = numbers.last().unwrap_or(last);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    last
}

/// Opens what the child left and checks all of it. Returns the last step that is there.
fn verify(home: &Home, acknowledged: u32) -> u32 {
    let shard = home.open();
    let last = progress(&shard);
    assert!(last >= acknowledged, "step {acknowledged} was acknowledged, {last} is the last");

    let mut expected: BTreeMap<String, NewRecord> = BTreeMap::new();
    for number in 1..=last {
        for operation in step(number).operations {
            match operation {
                Operation::Put { record, .. } => expected.insert(record.id.clone(), record),
                Operation::Patch { .. } => unreachable!("this test makes none"),
                Operation::Delete { id, .. } => expected.remove(&id),
            };
        }
    }
    assert_eq!(shard.count(None, None).unwrap(), expected.len() as u64);
    for (id, record) in &expected {
        let found = shard.get(id).unwrap().unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!(found.metadata, record.metadata, "{id}");
    }
    // The index knows exactly the same records.
    if !expected.is_empty() {
        let query = record("query", 500).vectors.remove("").unwrap();
        let request = SearchRequest { exact: true, ..SearchRequest::nearest(query, 1_000) };
        let hits = shard.search(&request).unwrap().hits;
        let mut ids: Vec<String> = hits.into_iter().map(|hit| hit.id).collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(expected.keys()), "the index differs from the records");
    }
    let stats = shard.stats();
    shard.close().unwrap();
    drop(shard);
    verify_log(home, stats.applied_seq);
    last
}

fn verify_log(home: &Home, applied: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let id = LogId { namespace: home.config.namespace, shard: home.config.shard };
    let log = Log::new(Arc::clone(&home.kv()) as Arc<dyn hvs_kv::Kv>, &home.config.log_prefix, id);
    runtime.block_on(async {
        let floor = log.floor().await.unwrap();
        let mut replay = log.replay(Position { seq: floor.seq, hash: floor.hash });
        while replay.next().await.unwrap().is_some() {}
        assert_eq!(replay.position().seq, applied);
    });
}
