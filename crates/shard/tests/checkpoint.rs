//! The state of a shard as rows: what is restored from them is what was there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hvs_geometry::{Geometry, Space};
use hvs_kv::Kv;
use hvs_shard::checkpoint::{
    DamagedState, Export, History, Replay, RestoreError, StateRows, history, restore,
};
use hvs_shard::{
    Durability, IdempotencyLimits, IndexConfig, Operation, Record, ScrollRequest, SearchRequest,
    Shard, ShardConfig, WriteOutcome, WriteRequest,
};
use proptest::prelude::*;
use support::{FLAT, Home, lift, put, record, write};
use uuid::Uuid;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(export: &Export, since: Option<u64>) -> (Rows, [u8; 32]) {
    let mut rows = Rows::new();
    let digest = export.write(since, |key, value| {
        let last = rows.last_key_value().map(|(key, _)| key.clone());
        assert!(last.is_none_or(|last| last.as_slice() < key), "in order");
        rows.insert(key.to_vec(), value.to_vec());
        Ok::<(), Infallible>(())
    });
    (rows, digest.unwrap())
}

fn summary(rows: &Rows) -> Result<hvs_shard::checkpoint::Summary, DamagedState> {
    let mut state = StateRows::default();
    rows.iter().try_for_each(|(key, value)| state.push(key, value))?;
    state.finish()
}

fn all(shard: &Shard) -> Vec<Record> {
    shard.scroll(&ScrollRequest::first(10_000)).unwrap().records
}

/// A shard elsewhere in the same store, or in another one.
fn other_config(home: &Home) -> ShardConfig {
    ShardConfig { namespace: Uuid::new_v4(), shard: Uuid::new_v4(), ..home.config.clone() }
}

fn ok(rows: &Rows) -> impl Iterator<Item = Result<(&Vec<u8>, &Vec<u8>), Infallible>> {
    rows.iter().map(Ok)
}

fn delete(shard: &Shard, id: &str) -> WriteOutcome {
    let operation = Operation::Delete { id: id.to_owned(), condition: None };
    let request = WriteRequest {
        operations: vec![operation],
        durability: Durability::Buffered,
        atomic: false,
        idempotency_key: None,
    };
    write(shard, request).unwrap().outcomes.remove(0)
}

fn with_key(id: &str, number: u32, key: &str) -> WriteRequest {
    WriteRequest { idempotency_key: Some(key.to_owned()), ..WriteRequest::put(record(id, number)) }
}

/// Restores rows into a new shard and opens it.
fn restored(home: &Home, kv: Arc<dyn Kv>, rows: &Rows, digest: [u8; 32]) -> (Shard, ShardConfig) {
    let config = other_config(home);
    let directory = home.path().join(config.shard.to_string());
    restore(&config, &kv, &directory, ok(rows), Some(digest), None).unwrap();
    (Shard::open(config.clone(), kv, &directory).unwrap(), config)
}

#[test]
fn a_restored_shard_is_the_shard() {
    let home = Home::new();
    let kv = home.kv();
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    for n in 0..300 {
        let mut new = record(&format!("id-{n:04}"), n);
        new.region = (n % 3 == 0).then(|| "r".to_owned());
        new.partition_key = (n % 5 == 0).then(|| "p".to_owned());
        if n % 2 == 0 {
            new.vectors.insert(FLAT.to_owned(), vec![f64::from(n) / 3.0, 1e-9]);
        }
        put(&shard, new);
    }
    for n in (0..300).step_by(11) {
        delete(&shard, &format!("id-{n:04}"));
    }
    put(&shard, record("id-0022", 7));
    let first = write(&shard, with_key("keyed", 1, "key")).unwrap();
    let export = shard.export().unwrap();
    let (rows, digest) = rows(&export, None);
    let summed = summary(&rows).unwrap();
    assert_eq!((summed.seq, summed.digest), (export.seq(), digest));

    let (copy, config) = restored(&home, kv.clone(), &rows, digest);
    assert_eq!(all(&copy), all(&shard));
    assert!(copy.stats().epoch > shard.stats().epoch, "etags of the copy are its own");
    assert_eq!(copy.stats().log_floor, export.seq());
    for (vector, query) in [("", lift([0.2, 0.3, 0.1])), (FLAT, vec![30.0, 0.0])] {
        for exact in [true, false] {
            let request = SearchRequest {
                vector: vector.to_owned(),
                exact,
                ..SearchRequest::nearest(query.clone(), 40)
            };
            let hits = copy.search(&request).unwrap().hits;
            assert_eq!(hits.len(), 40);
            if exact {
                assert_eq!(hits, shard.search(&request).unwrap().hits);
            }
        }
    }
    // What is not seen by reading: keys of requests, versions of deleted ids.
    let again = write(&copy, with_key("keyed", 1, "key")).unwrap();
    assert!(again.repeated);
    assert_eq!(again.outcomes, first.outcomes);
    let mut both = [&shard, &copy].map(|shard| put(shard, record("id-0000", 9)));
    for outcome in &mut both {
        let WriteOutcome::Put { version, created, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((*version, *created), (3, true), "put, deleted, put");
    }
    // And it goes on, over a restart.
    copy.flush().unwrap();
    copy.close().unwrap();
    drop(copy);
    let directory = home.path().join(config.shard.to_string());
    let copy = Shard::open(config, kv, &directory).unwrap();
    let found =
        copy.search(&SearchRequest::nearest(record("x", 9).vectors[""].clone(), 1)).unwrap();
    assert!(found.hits[0].distance < 1e-6, "stored in f32: {}", found.hits[0].distance);
    assert_eq!(all(&copy).len(), all(&shard).len());
}

/// Each write makes its id and a counter record agree, in one atomic batch: a state that holds
/// half of one would be no state of the shard.
#[test]
fn an_export_is_one_state_while_a_writer_goes_on() {
    let home = Home::new();
    let kv = home.kv();
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = std::thread::spawn({
        let (shard, stop, written) = (shard.clone(), Arc::clone(&stop), Arc::clone(&written));
        move || {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let id = format!("id-{:02}", n % 50);
                let operations = [record(&id, n), record("counter", n)]
                    .map(|record| Operation::Put { record, condition: None });
                let request = WriteRequest {
                    operations: operations.into(),
                    durability: Durability::Buffered,
                    atomic: true,
                    idempotency_key: (n % 10 == 0).then(|| format!("key-{n}")),
                };
                write(&shard, request).unwrap();
                written.store(n.into(), Ordering::Release);
            }
        }
    });
    let mut last = 0;
    for _ in 0..8 {
        let seen = written.load(Ordering::Acquire);
        while written.load(Ordering::Acquire) < seen + 60 {
            std::thread::yield_now();
        }
        let export = shard.export().unwrap();
        let (rows, digest) = rows(&export, None);
        let (copy, _) = restored(&home, kv.clone(), &rows, digest);
        let number = |id: &str| copy.get(id).unwrap().unwrap().metadata["number"].as_u64().unwrap();
        let counter = number("counter");
        assert!(counter > last);
        last = counter;
        // Entry 1 configures or begins; every entry since is one write.
        for back in 0..50 {
            assert_eq!(number(&format!("id-{:02}", (counter - back) % 50)), counter - back);
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u32),
    Delete(u8),
    Keyed(u8, u8),
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20_u8, any::<u32>()).prop_map(|(id, n)| Step::Put(id, n)),
        3 => (0..20_u8).prop_map(Step::Delete),
        2 => (0..20_u8, 0..30_u8).prop_map(|(id, key)| Step::Keyed(id, key)),
        1 => Just(Step::Checkpoint),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    /// A base with its deltas laid over it is what a full one would be.
    #[test]
    fn a_chain_is_the_full_state(steps in prop::collection::vec(step(), 1..120)) {
        let mut home = Home::new();
        home.config.idempotency = IdempotencyLimits { keys: 5, age_millis: u64::MAX };
        let kv = home.kv();
        let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
        let (mut chain, _) = rows(&shard.export().unwrap(), None);
        let mut seq = shard.export().unwrap().seq();
        for step in steps.into_iter().chain([Step::Checkpoint]) {
            match step {
                Step::Put(id, n) => { put(&shard, record(&format!("id-{id}"), n)); }
                Step::Delete(id) => { delete(&shard, &format!("id-{id}")); }
                Step::Keyed(id, key) => {
                    let _ = write(&shard, with_key(&format!("id-{id}"), 1, &format!("key-{key}")));
                }
                Step::Checkpoint => {
                    let export = shard.export().unwrap();
                    prop_assert!(export.can_follow(seq));
                    let (delta, digest) = rows(&export, Some(seq));
                    let (full, full_digest) = rows(&export, None);
                    prop_assert_eq!(digest, full_digest);
                    chain.extend(delta);
                    seq = export.seq();
                    let merged = summary(&chain).unwrap();
                    prop_assert_eq!(merged.digest, digest);
                    prop_assert_eq!(merged, summary(&full).unwrap());
                }
            }
        }
        let (copy, _) = restored(&home, kv, &chain, summary(&chain).unwrap().digest);
        prop_assert_eq!(all(&copy), all(&shard));
        prop_assert_eq!(copy.stats().idempotency_keys, shard.stats().idempotency_keys);
    }
}

#[test]
fn forgotten_deletions_ask_for_a_full_one_and_leave_a_chain() {
    let mut home = Home::new();
    home.config.tombstone_millis = 0;
    let kv = home.kv();
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    for n in 0..5 {
        put(&shard, record(&format!("id-{n}"), n));
    }
    let purged = || {
        // Only writes move the clock past the tombstones' time.
        while shard.stats().tombstones > 0 {
            put(&shard, record("other", 1));
            std::thread::yield_now();
        }
    };
    let base = shard.export().unwrap();
    let (mut chain, _) = rows(&base, None);
    delete(&shard, "id-0");
    let after = shard.export().unwrap();
    let (delta, _) = rows(&after, Some(base.seq()));
    purged();
    let later = shard.export().unwrap();
    assert!(!later.can_follow(base.seq()), "the deletion of id-0 would be missing");
    assert!(later.can_follow(after.seq()), "here it is in the delta before");
    chain.extend(delta);
    let (delta, digest) = rows(&later, Some(after.seq()));
    chain.extend(delta);
    assert_eq!(summary(&chain).unwrap().digest, digest, "the tombstone is dropped on reading");
    let (copy, _) = restored(&home, kv.clone(), &chain, digest);
    assert_eq!(all(&copy), all(&shard));
    assert_eq!(copy.stats().tombstones, 0);
    // What is known of forgotten deletions is restored as well.
    assert!(!copy.export().unwrap().can_follow(base.seq()));
}

#[test]
fn the_log_goes_on_from_a_checkpoint_and_says_how_far() {
    let home = Home::new();
    let kv: Arc<dyn Kv> = home.kv();
    let shard = Shard::open(home.config.clone(), Arc::clone(&kv), &home.shard_path()).unwrap();
    put(&shard, record("a", 1));
    let export = shard.export().unwrap();
    let (rows, digest) = rows(&export, None);
    put(&shard, record("b", 2));
    let wanted = all(&shard);
    let up_to = shard.stats().applied_seq;
    put(&shard, record("c", 3));
    let config = other_config(&home);
    let replay = |up_to| Some(Replay { source: &home.config, up_to });
    let target = home.path().join("restored");
    let done = restore(&config, &kv, &target, ok(&rows), Some(digest), replay(up_to)).unwrap();
    assert_eq!((done.seq, done.records), (up_to, 2));
    let copy = Shard::open(config, Arc::clone(&kv), &target).unwrap();
    assert_eq!(all(&copy), wanted);

    // From nothing as well, as long as the log has its first entry.
    let config = other_config(&home);
    let target = home.path().join("from-nothing");
    let nothing = std::iter::empty::<Result<(Vec<u8>, Vec<u8>), Infallible>>();
    let done = restore(&config, &kv, &target, nothing, None, replay(up_to)).unwrap();
    assert_eq!((done.seq, done.records), (up_to, 2));
    let other = Shard::open(config, Arc::clone(&kv), &target).unwrap();
    assert_eq!(all(&other), wanted);

    let beyond = other_config(&home);
    let target = home.path().join("beyond");
    let error =
        restore(&beyond, &kv, &target, ok(&rows), Some(digest), replay(up_to + 100)).unwrap_err();
    assert!(matches!(error, RestoreError::EndsBefore { tail, .. } if tail == up_to + 1));
    let said = |seq, entry| history(&home.config, Arc::clone(&kv), seq, entry).unwrap();
    assert_eq!(said(export.seq(), export.entry()), History::Kept);
    assert_eq!(said(export.seq(), [7; 32]), History::Diverged);
    assert_eq!(said(export.seq() + 100, export.entry()), History::Diverged);
}

#[test]
fn rows_that_are_no_state_are_refused() {
    let home = Home::new();
    let kv: Arc<dyn Kv> = home.kv();
    let shard = Shard::open(home.config.clone(), Arc::clone(&kv), &home.shard_path()).unwrap();
    write(&shard, with_key("a", 1, "key")).unwrap();
    put(&shard, record("b", 2));
    delete(&shard, "b");
    put(&shard, record("c", 3));
    let (rows, digest) = rows(&shard.export().unwrap(), None);
    let mut number = 0;
    let mut refused = |rows: &Rows, digest| {
        number += 1;
        let target = home.path().join(format!("refused-{number}"));
        restore(&other_config(&home), &kv, &target, ok(rows), Some(digest), None).unwrap_err()
    };
    assert!(matches!(refused(&rows, [0; 32]), RestoreError::Digest));
    assert!(matches!(refused(&Rows::new(), digest), RestoreError::Damaged(DamagedState::NoMeta)));
    for key in rows.keys() {
        let mut fewer = rows.clone();
        fewer.remove(key);
        assert!(matches!(refused(&fewer, digest), RestoreError::Damaged(_)), "{key:?}");
        let is_found = |rows: &Rows| summary(rows).map_or(true, |found| found.digest != digest);
        let mut cut = rows.clone();
        cut.get_mut(key).unwrap().pop();
        assert!(is_found(&cut), "{key:?}");
        for bit in 0..rows[key].len() * 8 {
            let mut flipped = rows.clone();
            flipped.get_mut(key).unwrap()[bit / 8] ^= 1 << (bit % 8);
            assert!(is_found(&flipped), "{key:?} bit {bit}");
        }
    }
    let mut narrower = other_config(&home);
    narrower.vectors.insert(
        String::new(),
        IndexConfig::new(Space::new(Geometry::Hyperboloid, support::DIMENSION + 1, -1.0).unwrap()),
    );
    let target = home.path().join("narrower");
    let misfit = restore(&narrower, &kv, &target, ok(&rows), Some(digest), None).unwrap_err();
    assert!(misfit.to_string().contains("4 finite numbers"), "{misfit}");
    let directory = home.path().join("full");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("file"), "").unwrap();
    let taken = restore(&other_config(&home), &kv, &directory, ok(&rows), Some(digest), None);
    assert!(matches!(taken.unwrap_err(), RestoreError::NotEmpty { .. }));
}

#[test]
fn what_is_restored_expires_like_what_it_was_made_of() {
    let home = Home::new();
    let kv = home.kv();
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    put(&shard, record("stays", 1));
    let after = |millis| Some(hvs_shard::Expiry::After(millis));
    put(&shard, hvs_shard::NewRecord { expiry: after(1_000), ..record("goes", 2) });
    put(&shard, hvs_shard::NewRecord { expiry: after(1_000_000), ..record("later", 3) });
    let at = shard.get("later").unwrap().unwrap().expires_at;
    let export = shard.export().unwrap();
    let (rows, digest) = rows(&export, None);
    let (copy, _) = restored(&home, kv, &rows, digest);
    assert_eq!(copy.get("later").unwrap().unwrap().expires_at, at);
    let start = std::time::Instant::now();
    while copy.stats().tombstones == 0 {
        assert!(start.elapsed().as_secs() < 60, "nothing expires");
        std::thread::yield_now();
    }
    assert!(copy.get("goes").unwrap().is_none());
    assert_eq!(copy.count(None, None).unwrap(), 2);
}
