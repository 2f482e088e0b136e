//! What a restart makes of what is left: whole, older, damaged or missing parts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{path::Path, sync::Arc};

use hvs_kv::Kv;
use hvs_log::LogError;
use hvs_shard::{
    OpenError, Operation, Record, ScrollRequest, SearchRequest, Shard, WriteOutcome, WriteRequest,
};

mod support;
use support::{Home, copy, lift, put, record, write};

fn all(shard: &Shard) -> Vec<Record> {
    shard.scroll(&ScrollRequest::first(10_000)).unwrap().records
}

/// The ids that an exact search finds, sorted.
fn searchable(shard: &Shard) -> Vec<String> {
    let request = SearchRequest { exact: true, ..SearchRequest::nearest(lift([0.0; 3]), 10_000) };
    let hits = shard.search(&request).unwrap().hits;
    let mut ids: Vec<String> = hits.into_iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    ids
}

fn assert_index_in_step(shard: &Shard) {
    let ids: Vec<String> = all(shard).into_iter().map(|record| record.id).collect();
    assert_eq!(searchable(shard), ids);
}

fn fill(shard: &Shard, prefix: &str, count: u32) {
    for number in 0..count {
        put(shard, record(&format!("{prefix}-{number:04}"), number));
        if number % 5 == 4 {
            write(shard, WriteRequest::delete(format!("{prefix}-{:04}", number - 2))).unwrap();
            put(shard, record(&format!("{prefix}-{:04}", number - 1), number + 1));
        }
    }
}

/// Puts an older copy in the place of what is there.
fn restore(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

#[test]
fn the_log_alone_rebuilds_everything() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 200);
    let request = WriteRequest {
        idempotency_key: Some("key".into()),
        ..WriteRequest::put(record("once", 1))
    };
    let answer = write(&shard, request.clone()).unwrap();
    let (before, stats) = (all(&shard), shard.stats());
    drop(shard);
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    let shard = home.open_committed().unwrap();
    // Applying is deterministic: etags, versions, clocks and hashes included.
    assert_eq!(all(&shard), before);
    assert_eq!(shard.stats().tombstones, stats.tombstones);
    assert_eq!(write(&shard, request).unwrap().outcomes, answer.outcomes);
    assert_index_in_step(&shard);
}

#[test]
fn a_trimmed_log_keeps_what_it_should_and_cannot_rebuild_what_is_gone() {
    let mut home = Home::new();
    home.config.retention.entries = 40;
    let shard = home.open();
    fill(&shard, "a", 300);
    let stats = shard.stats();
    let kept = stats.applied_seq - stats.log_floor;
    assert!((40..=50).contains(&kept), "{kept} entries are kept");
    let before = all(&shard);
    drop(shard);
    let shard = home.open();
    assert_eq!(all(&shard), before);
    assert_eq!(shard.stats().log_floor, stats.log_floor);
    drop(shard);
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    let refused = home.open_committed();
    assert!(matches!(refused, Err(OpenError::Log(LogError::Trimmed { seq: 1, .. }))));
}

#[test]
fn the_log_is_trimmed_by_bytes_too() {
    let mut home = Home::new();
    home.config.retention.bytes = 20_000;
    let shard = home.open();
    fill(&shard, "a", 300);
    let stats = shard.stats();
    assert!(stats.log_floor > 0);
    let kept = stats.applied_seq - stats.log_floor;
    let average = stats.log_bytes / stats.log_entries;
    assert!(kept * average < 40_000, "{kept} entries of {average} bytes are kept");
    drop(shard);
    // What was written before a restart counts as well, however little each run writes.
    for round in 0..20 {
        let shard = home.open();
        fill(&shard, &format!("{round}"), 10);
        let stats = shard.stats();
        let kept = stats.applied_seq - stats.log_floor;
        assert!(kept * average < 40_000, "{kept} entries of {average} bytes are kept");
    }
}

/// After a loss of power the local state may be older than the log: it is not forced to disk.
#[test]
fn an_older_local_state_is_brought_forward() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 100);
    drop(shard);
    let older = home.path().join("older");
    copy(&home.shard_path(), &older);
    let shard = home.open();
    fill(&shard, "b", 150);
    fill(&shard, "a", 50);
    shard.flush().unwrap();
    let before = all(&shard);
    drop(shard);

    // All of it, then only the store: the segments of the index are ahead of it then.
    restore(&older, &home.shard_path());
    let shard = home.open();
    assert_eq!(all(&shard), before);
    assert_index_in_step(&shard);
    shard.flush().unwrap();
    drop(shard);
    restore(&older.join("store"), &home.shard_path().join("store"));
    let shard = home.open();
    assert_eq!(all(&shard), before);
    assert_index_in_step(&shard);
    fill(&shard, "c", 100);
    assert_index_in_step(&shard);
}

/// After a loss of power the log may be older than the local state: buffered entries are lost
/// with the page cache, while the database of the state happened to be forced to disk.
#[test]
fn a_local_state_that_outlived_the_log_is_kept() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 50);
    drop(shard);
    let shard = home.open();
    // Nothing writes to it now, and its journal is with the operating system.
    let older = home.path().join("older-kv");
    copy(&home.path().join("kv"), &older);
    fill(&shard, "b", 100);
    let (before, seq) = (all(&shard), shard.stats().applied_seq);
    // Not as it is after a stop in order, which forces the log to the disk and says so.
    shard.persist().unwrap();
    let state = home.path().join("state");
    copy(&home.shard_path(), &state);
    drop(shard);
    restore(&older, &home.path().join("kv"));
    restore(&state, &home.shard_path());

    for round in 1..3 {
        let shard = home.open();
        assert_eq!(all(&shard).len(), before.len() + round - 1);
        assert!(shard.stats().applied_seq > seq);
        put(&shard, record(&format!("after-{round}"), 1));
        assert_index_in_step(&shard);
    }
    // From here on the log and the state agree again, whichever of them is older.
    let shard = home.open();
    assert!(shard.stats().log_floor >= seq);
}

/// A repair asks where a log ends before what is noted here.
#[test]
fn a_state_does_not_forget_how_far_its_log_was_synced() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    let synced = shard.stats().applied_seq;
    drop(shard);
    let shard = home.open();
    put(&shard, record("b", 1));
    let seq = shard.stats().applied_seq;
    let begun = std::time::Instant::now();
    for number in 0.. {
        // What a crash would leave now: until the state is handed over, what it was before.
        let state = home.path().join(format!("state-{number}"));
        copy(&home.shard_path().join("store"), &state);
        let state = hvs_shard::repair::LocalState::open(&home.config, &state).unwrap();
        assert!(state.log_synced() >= synced, "{} of {synced}", state.log_synced());
        if state.position().seq >= seq {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "the state is never handed over");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_state_that_is_missing_is_not_made_of_a_log_that_may_lack_its_end() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 50);
    let before = all(&shard);
    drop(shard);
    let (store, aside) = (home.shard_path().join("store"), home.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap();
    let log: Arc<dyn Kv> = home.kv();
    let refused = Shard::open(home.config.clone(), log, &home.shard_path());
    assert!(matches!(refused, Err(OpenError::StateMissing { path, .. }) if path == store));
    let _ = std::fs::remove_dir_all(&store);
    std::fs::rename(&aside, &store).unwrap();
    assert_eq!(all(&home.open()), before);
}

/// What is lost with the power are the last writes, and never that the shard was led since.
#[test]
fn a_log_that_was_never_led_so_far_is_refused() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 50);
    drop(shard);
    let (kv, older) = (home.path().join("kv"), home.path().join("older-kv"));
    copy(&kv, &older);
    let shard = home.open();
    fill(&shard, "b", 100);
    let before = all(&shard);
    drop(shard);
    let newer = home.path().join("newer-kv");
    copy(&kv, &newer);

    restore(&older, &kv);
    let log: Arc<dyn Kv> = home.kv();
    let refused = Shard::open(home.config.clone(), log, &home.shard_path());
    assert!(matches!(refused, Err(OpenError::OtherLog { epoch: 2, led: 1, .. })));
    restore(&newer, &kv);
    assert_eq!(all(&home.open()), before, "nothing was touched");
}

/// The index may be ahead of both, with rows of records that are lost.
#[test]
fn an_index_that_outlived_log_and_state_is_built_anew() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 100);
    shard.flush().unwrap();
    drop(shard);
    let older = home.path().join("older");
    copy(&home.path().join("kv"), &older.join("kv"));
    copy(&home.shard_path().join("store"), &older.join("store"));
    let shard = home.open();
    fill(&shard, "lost", 200);
    shard.flush().unwrap();
    drop(shard);
    restore(&older.join("kv"), &home.path().join("kv"));
    restore(&older.join("store"), &home.shard_path().join("store"));

    let shard = home.open();
    assert_index_in_step(&shard);
    assert!(searchable(&shard).iter().all(|id| id.starts_with("a-")));
    // The keys of the lost records are given to these.
    fill(&shard, "b", 200);
    assert_index_in_step(&shard);
    drop(shard);
    assert_index_in_step(&home.open());
}

#[test]
fn damaged_or_missing_segments_are_built_anew() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 300);
    shard.flush().unwrap();
    let before = all(&shard);
    drop(shard);

    let index = home.shard_path().join("index");
    let mut segments = Vec::new();
    for directory in std::fs::read_dir(&index).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("segment-") {
                segments.push(path);
            }
        }
    }
    assert!(!segments.is_empty(), "no segment was built");
    for path in &segments {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(path, bytes).unwrap();
    }
    let shard = home.open();
    assert_eq!(all(&shard), before);
    assert_index_in_step(&shard);
    drop(shard);

    std::fs::remove_dir_all(&index).unwrap();
    let shard = home.open();
    assert_index_in_step(&shard);
}

#[test]
fn a_damaged_entry_is_named_and_nothing_is_skipped() {
    let home = Home::new();
    let shard = home.open();
    fill(&shard, "a", 20);
    drop(shard);
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    {
        use hvs_kv::{Durability, Kv, ScanLimit};
        let kv = home.kv();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let page = kv.scan(b"hvs/log/", b"hvs/log0", ScanLimit::default()).await.unwrap();
            let (key, mut value) = page.pairs[9].clone();
            let last = value.len() - 1;
            value[last] ^= 1;
            kv.delete(&key, Durability::Sync).await.unwrap();
            kv.put_if_absent(&key, &value, Durability::Sync).await.unwrap();
        });
    }
    let refused = home.open_committed();
    let Err(error) = refused else { panic!("it was opened") };
    assert!(matches!(error, OpenError::Log(LogError::Damaged { seq: 10, .. })), "{error}");
}

#[test]
fn tombstones_go_after_their_time() {
    let mut home = Home::new();
    home.config.tombstone_millis = 0;
    let shard = home.open();
    let operations = (0..1_000)
        .map(|number| Operation::Put { record: record(&format!("{number}"), 1), condition: None })
        .collect();
    write(&shard, WriteRequest { operations, ..WriteRequest::default() }).unwrap();
    let operations = (0..1_000)
        .map(|number| Operation::Delete { id: format!("{number}"), condition: None })
        .collect();
    write(&shard, WriteRequest { operations, ..WriteRequest::default() }).unwrap();
    let start = std::time::Instant::now();
    while shard.stats().tombstones > 0 {
        assert!(start.elapsed().as_secs() < 60, "tombstones are still there");
        std::thread::yield_now();
    }
    let again = put(&shard, record("7", 1));
    assert!(matches!(again, WriteOutcome::Put { version: 1, created: true, .. }), "{again:?}");
    let before = all(&shard);
    drop(shard);
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    let shard = home.open_committed().unwrap();
    assert_eq!(all(&shard), before);
    assert_eq!(shard.stats().tombstones, 0);
}

fn rows(home: &Home, keyspace: &str) -> usize {
    let database = fjall::Database::builder(home.shard_path().join("store")).open().unwrap();
    database.keyspace(keyspace, Default::default).unwrap().len().unwrap()
}

/// Rows that only a restart needs must not grow for ever.
#[test]
fn rows_that_no_index_needs_go() {
    let home = Home::new();
    let shard = home.open();
    for number in 0..3_000 {
        put(&shard, record(&format!("{}", number % 20), number));
    }
    shard.close().unwrap();
    drop(shard);
    let shard = home.open();
    shard.flush().unwrap();
    assert_index_in_step(&shard);
    let held: usize = shard.stats().indexes.values().map(|index| index.dead).sum();
    drop(shard);
    assert_eq!(rows(&home, "keys"), 0);
    assert!(rows(&home, "dead") <= held);
    assert_index_in_step(&home.open());
}
