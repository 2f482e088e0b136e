//! Shards whose store of logs other nodes have as well: who may lead, what is acknowledged, and what
//! becomes of writes while the store is away.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hvs_kv::{Durability as StoreDurability, Kv};
use hvs_log::{
    AttemptId, EntryHash, Log, LogId, Position, SessionRecord, SessionState, session_key,
};
use hvs_shard::{
    Durability, Lease, LogRetention, OpenError, Shard, ShardConfig, WriteError, WriteRequest,
    Writer,
};

use support::{Home, put, record, unreliable::Unreliable, write};

/// A shard over a store that fails on demand, of a node whose session ends on demand.
struct Shared {
    home: Home,
    kv: Arc<Unreliable>,
    valid: Arc<AtomicBool>,
    config: ShardConfig,
}

impl Shared {
    fn new() -> Self {
        let home = Home::new();
        let kv = Arc::new(Unreliable::committing(home.kv()));
        let valid = Arc::new(AtomicBool::new(true));
        let session = Arc::clone(&valid);
        let lease = Lease::new(move || session.load(Ordering::SeqCst));
        let config = ShardConfig { lease: Some(lease), ..home.config.clone() };
        Self { home, kv, valid, config }
    }

    fn open(&self) -> Shard {
        self.open_as("node", 1, "shard").unwrap()
    }

    fn open_as(&self, node: &str, incarnation: u64, folder: &str) -> Result<Shard, OpenError> {
        let writer = Writer { node: node.to_owned(), incarnation };
        let config = ShardConfig { writer, ..self.config.clone() };
        Shard::open(config, Arc::clone(&self.kv) as _, &self.home.path().join(folder))
    }

    fn log(&self) -> Log {
        let id = LogId { namespace: self.config.namespace, shard: self.config.shard };
        Log::new(Arc::clone(&self.kv) as _, &self.config.log_prefix, id)
    }

    /// Writes the session of a node.
    fn session(&self, node: &str, incarnation: u64, state: SessionState) {
        let attempt = AttemptId([7; 16]);
        let record = SessionRecord { incarnation, counter: 1, state, attempt, about: Vec::new() };
        let key = session_key(&self.config.log_prefix, node);
        run(async {
            self.kv.delete(&key, StoreDurability::Sync).await.unwrap();
            let put = self.kv.put_if_absent(&key, &record.encode(), StoreDurability::Sync).await;
            put.unwrap();
        });
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn sync(id: &str, number: u32) -> WriteRequest {
    WriteRequest { durability: Durability::Sync, ..WriteRequest::put(record(id, number)) }
}

/// Writes until that works.
fn until_written(shard: &Shard, id: &str) {
    let begun = Instant::now();
    while let Err(error) = write(shard, sync(id, 0)) {
        assert!(matches!(error, WriteError::Unavailable { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_mins(1), "{error}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_store_that_was_away_is_ridden_out() {
    let shared = Shared::new();
    let shard = shared.open();
    put(&shard, record("before", 1));
    shared.kv.break_after(0);
    let unknown = write(&shard, sync("unknown", 2));
    assert!(matches!(unknown, Err(WriteError::Unknown { .. })), "{unknown:?}");
    for durability in [Durability::Sync, Durability::Buffered, Durability::Memory] {
        let request = WriteRequest { durability, ..WriteRequest::put(record("refused", 3)) };
        let refused = write(&shard, request);
        assert!(matches!(refused, Err(WriteError::Unavailable { .. })), "{refused:?}");
    }
    assert!(shard.get("unknown").unwrap().is_none());
    assert!(shard.stats().stopped.is_none());
    shared.kv.break_after(u32::MAX);
    until_written(&shard, "after");
    assert_eq!(shard.get("unknown").unwrap().unwrap().version, 1);
    assert!(shard.get("refused").unwrap().is_none());
    let applied = shard.stats().applied_seq;
    shard.close().unwrap();
    drop(shard);
    let shard = shared.open();
    assert_eq!(shard.stats().applied_seq, applied + 1, "a barrier, and nothing twice");
    assert_eq!(shard.records_of(["before", "unknown", "after"]), 3);
}

/// Counting what is there.
trait Records {
    fn records_of<const N: usize>(&self, ids: [&str; N]) -> usize;
}

impl Records for Shard {
    fn records_of<const N: usize>(&self, ids: [&str; N]) -> usize {
        self.get_many(&ids).unwrap().iter().flatten().count()
    }
}

#[test]
fn a_record_in_memory_is_moved_once_although_the_store_was_away() {
    let shared = Shared::new();
    let shard = shared.open();
    let memory = WriteRequest { durability: Durability::Memory, ..sync("moved", 1) };
    write(&shard, memory).unwrap();
    assert_eq!(shard.memory_records(), 1);
    shared.kv.break_after(0);
    let unknown = write(&shard, sync("moved", 2));
    assert!(matches!(unknown, Err(WriteError::Unknown { .. })), "{unknown:?}");
    shared.kv.break_after(u32::MAX);
    until_written(&shard, "after");
    assert_eq!(shard.memory_records(), 0, "it is logged or in memory, never both");
    assert_eq!(shard.get("moved").unwrap().unwrap().metadata["number"], 1);
    assert_eq!(shard.stats().records, 2);
}

#[test]
fn an_entry_that_came_after_the_session_counts_only_above_the_floor() {
    let shared = Shared::new();
    let shard = shared.open();
    shared.valid.store(false, Ordering::SeqCst);
    write(&shard, sync("stands", 1)).unwrap();
    // As if another had led, written much more, and trimmed it.
    let beyond = Position { seq: shard.stats().applied_seq + 10, hash: EntryHash::NONE };
    run(shared.log().restart_after(beyond)).unwrap();
    let refused = write(&shard, sync("trimmed", 2));
    assert!(matches!(refused, Err(WriteError::SteppedDown { .. })), "{refused:?}");
    assert!(shard.get("trimmed").unwrap().is_none(), "applied, and not part of the log");
    assert!(shard.get("stands").unwrap().is_some());
}

#[test]
fn nobody_takes_over_before_the_leader_is_over() {
    let shared = Shared::new();
    let first = shared.open();
    put(&first, record("a", 1));
    let refused = |node: &str, incarnation: u64| {
        let refused = shared.open_as(node, incarnation, "other").err().unwrap();
        assert!(matches!(refused, OpenError::Led { epoch: 1, .. }), "{refused}");
    };
    // Without a session nobody can tell; a live one is not over, and neither is a later start that
    // nobody knows of.
    refused("other", 1);
    shared.session("node", 1, SessionState::Live);
    refused("other", 1);
    refused("node", 2);
    shared.session("node", 1, SessionState::Fenced);
    shared.valid.store(false, Ordering::SeqCst);
    let refused = shared.open_as("other", 1, "other").err().unwrap();
    assert!(matches!(refused, OpenError::NoLease), "{refused}");
    shared.valid.store(true, Ordering::SeqCst);

    let second = shared.open_as("other", 1, "other").unwrap();
    assert_eq!(second.stats().epoch, 2);
    assert!(second.get("a").unwrap().is_some());
    put(&second, record("b", 2));
    let late = write(&first, sync("c", 3));
    assert!(matches!(late, Err(WriteError::SteppedDown { epoch: 1, .. })), "{late:?}");
    assert!(first.get("c").unwrap().is_none());
    second.close().unwrap();
    drop((first, second));

    // A later start of the same node; and the first one, which has missed something.
    shared.session("other", 2, SessionState::Live);
    let again = shared.open_as("other", 2, "other").unwrap();
    assert_eq!((again.stats().epoch, again.records_of(["a", "b", "c"])), (3, 2));
    drop(again);
    shared.session("other", 2, SessionState::Fenced);
    let first = shared.open_as("node", 2, "shard").unwrap();
    assert_eq!((first.stats().epoch, first.records_of(["a", "b", "c"])), (4, 2));
}

#[test]
fn a_shared_log_is_not_trimmed() {
    let mut shared = Shared::new();
    shared.config.retention = LogRetention { entries: 1, bytes: 1 };
    let shard = shared.open();
    for number in 0..50 {
        write(&shard, sync(&format!("r{number}"), number)).unwrap();
    }
    assert_eq!(run(shared.log().floor()).unwrap().seq, 0);
    drop(shard);
    shared.session("node", 1, SessionState::Fenced);
    let other = shared.open_as("other", 1, "other").unwrap();
    assert_eq!(other.stats().records, 50);
}
