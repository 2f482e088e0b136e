//! What a writer is promised: limits, conditions, idempotency, durability, and clear ends.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use hvs_kv::Kv;
use hvs_log::{Log, LogId};
use hvs_shard::{
    Condition, Durability, InvalidRecord, MAX_OPERATIONS_BYTES, NewRecord, OpenError, Operation,
    Shard, WriteError, WriteOutcome, WriteRequest, Writer,
};

mod support;
use support::unreliable::Unreliable;
use support::{Home, lift, put, record, write};

fn put_operation(record: NewRecord) -> Operation {
    Operation::Put { record, condition: None }
}

fn padded(id: &str, bytes: usize) -> NewRecord {
    let mut record = record(id, 1);
    record.metadata.insert("padding".into(), "x".repeat(bytes).into());
    record
}

fn etag_of(outcome: &WriteOutcome) -> hvs_shard::Etag {
    let (WriteOutcome::Put { etag, .. } | WriteOutcome::Deleted { etag, .. }) = outcome else {
        panic!("{outcome:?} has no etag");
    };
    *etag
}

#[test]
fn versions_count_the_writes_of_an_id_across_deletes() {
    let home = Home::new();
    let shard = home.open();
    let versions: Vec<u64> = (0..2)
        .map(|number| match put(&shard, record("a", number)) {
            WriteOutcome::Put { version, created, .. } => {
                assert_eq!(created, number == 0);
                version
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, [1, 2]);
    let deleted = write(&shard, WriteRequest::delete("a")).unwrap();
    assert!(matches!(deleted.outcomes[0], WriteOutcome::Deleted { version: 3, .. }));
    let deleted = write(&shard, WriteRequest::delete("a")).unwrap();
    assert_eq!(deleted.outcomes, [WriteOutcome::NotFound]);
    let again = put(&shard, record("a", 3));
    assert!(matches!(again, WriteOutcome::Put { version: 4, created: true, .. }), "{again:?}");
}

#[test]
fn conditions_see_the_earlier_operations_of_their_batch() {
    let home = Home::new();
    let shard = home.open();
    let first = put(&shard, record("a", 0));
    let if_absent =
        |id: &str| Operation::Put { record: record(id, 1), condition: Some(Condition::IfAbsent) };
    let delete = |id: &str| Operation::Delete { id: id.into(), condition: None };
    let operations = vec![
        if_absent("a"),
        delete("a"),
        if_absent("a"),
        if_absent("a"),
        if_absent("b"),
        Operation::Delete { id: "b".into(), condition: Some(Condition::IfMatch(etag_of(&first))) },
    ];
    let request = WriteRequest { operations, ..WriteRequest::default() };
    let outcomes = write(&shard, request).unwrap().outcomes;
    assert_eq!(outcomes[0], WriteOutcome::ConditionFailed { current: Some(etag_of(&first)) });
    assert!(matches!(outcomes[1], WriteOutcome::Deleted { version: 2, .. }));
    assert!(matches!(outcomes[2], WriteOutcome::Put { version: 3, created: true, .. }));
    let third = etag_of(&outcomes[2]);
    assert_eq!(outcomes[3], WriteOutcome::ConditionFailed { current: Some(third) });
    let b = Some(etag_of(&outcomes[4]));
    assert_eq!(outcomes[5], WriteOutcome::ConditionFailed { current: b });
    assert_eq!(shard.get("a").unwrap().unwrap().etag, third);
    assert_eq!(shard.count(None, None).unwrap(), 2);
}

#[test]
fn an_atomic_request_changes_all_or_nothing() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 0));
    let operations = vec![
        put_operation(record("new", 1)),
        Operation::Delete { id: "a".into(), condition: None },
        Operation::Put { record: record("a", 1), condition: Some(Condition::IfAbsent) },
        Operation::Put { record: record("new", 2), condition: Some(Condition::IfAbsent) },
    ];
    let request = WriteRequest { operations, atomic: true, ..WriteRequest::default() };
    let outcomes = write(&shard, request.clone()).unwrap().outcomes;
    assert_eq!(outcomes[..3], [const { WriteOutcome::NotApplied }; 3]);
    assert!(matches!(outcomes[3], WriteOutcome::ConditionFailed { .. }));
    assert_eq!(shard.get("new").unwrap(), None);
    assert_eq!(shard.get("a").unwrap().unwrap().metadata["number"], 0);
    assert_eq!(shard.count(None, None).unwrap(), 1);

    let request = WriteRequest { atomic: false, ..request };
    write(&shard, request).unwrap();
    assert!(shard.get("new").unwrap().is_some());
}

#[test]
fn requests_are_limited_in_operations_and_bytes_exactly() {
    let home = Home::new();
    let shard = home.open();
    let many = |count: usize| WriteRequest {
        operations: (0..count).map(|n| put_operation(record(&format!("{n}"), 1))).collect(),
        ..WriteRequest::default()
    };
    assert_eq!(write(&shard, many(0)), Err(WriteError::Empty));
    assert_eq!(write(&shard, many(1_000)).unwrap().outcomes.len(), 1_000);
    let refused = write(&shard, many(1_001));
    assert_eq!(refused, Err(WriteError::TooMany { operations: 1_001, limit: 1_000 }));

    // Find the size of what surrounds the padding by exceeding the limit once.
    let too_large = |padding| write(&shard, WriteRequest::put(padded("large", padding)));
    let Err(WriteError::TooLarge { index: 0, bytes, limit }) = too_large(MAX_OPERATIONS_BYTES)
    else {
        panic!("it was taken");
    };
    assert_eq!(limit, MAX_OPERATIONS_BYTES);
    let largest = MAX_OPERATIONS_BYTES - (bytes - MAX_OPERATIONS_BYTES);
    too_large(largest).unwrap();
    assert!(matches!(too_large(largest + 1), Err(WriteError::TooLarge { .. })));
    assert!(shard.get("large").unwrap().is_some());
}

#[test]
fn a_large_request_is_split_over_entries_unless_it_is_atomic() {
    let home = Home::new();
    let shard = home.open();
    let operations: Vec<Operation> =
        (0..6).map(|n| put_operation(padded(&format!("{n}"), 700 << 10))).collect();
    let request = WriteRequest {
        operations,
        idempotency_key: Some("split".into()),
        ..WriteRequest::default()
    };
    let atomic = WriteRequest { atomic: true, ..request.clone() };
    let refused = write(&shard, atomic);
    assert!(matches!(refused, Err(WriteError::AtomicTooLarge { .. })), "{refused:?}");

    let answer = write(&shard, request.clone()).unwrap();
    let mut seqs: Vec<u64> = answer.outcomes.iter().map(|outcome| etag_of(outcome).seq).collect();
    seqs.dedup();
    assert!(seqs.len() >= 3, "{seqs:?}");
    assert_eq!(seqs.last(), Some(&answer.seq));
    for number in 0..6 {
        assert!(shard.get(&format!("{number}")).unwrap().is_some());
    }
    let again = write(&shard, request).unwrap();
    assert!(again.repeated);
    assert_eq!((again.outcomes, again.seq), (answer.outcomes, answer.seq));
}

/// The first part is in the log when the store breaks; the repetition adds the rest, once.
#[test]
fn a_split_request_that_was_interrupted_is_completed_by_its_repetition() {
    let home = Home::new();
    let (kv, shard) = open_unreliable(&home);
    let request = WriteRequest {
        operations: (0..6).map(|n| put_operation(padded(&format!("{n}"), 700 << 10))).collect(),
        idempotency_key: Some("split".into()),
        ..WriteRequest::default()
    };
    kv.break_after(1);
    let stopped = write(&shard, request.clone());
    assert!(matches!(stopped, Err(WriteError::Wedged { .. })), "{stopped:?}");
    let applied = shard.count(None, None).unwrap();
    assert!((1..6).contains(&applied), "{applied} of 6 are applied");
    drop((kv, shard));

    let shard = home.open();
    let answer = write(&shard, request.clone()).unwrap();
    assert_eq!(answer.outcomes.len(), 6);
    for outcome in &answer.outcomes {
        assert!(matches!(outcome, WriteOutcome::Put { version: 1, created: true, .. }));
    }
    assert_eq!(shard.get("0").unwrap().unwrap().etag, etag_of(&answer.outcomes[0]));
    let again = write(&shard, request).unwrap();
    assert!(again.repeated);
    assert_eq!(again.outcomes, answer.outcomes);
}

#[test]
fn the_longest_id_is_found_again() {
    let home = Home::new();
    let shard = home.open();
    let id = "犬".repeat(hvs_shard::MAX_ID_BYTES / 3) + "xx";
    assert_eq!(id.len(), hvs_shard::MAX_ID_BYTES);
    put(&shard, record(&id, 1));
    shard.flush().unwrap();
    drop(shard);
    let shard = home.open();
    assert_eq!(shard.get(&id).unwrap().unwrap().id, id);
    let request = hvs_shard::SearchRequest::nearest(lift([0.0; 3]), 1);
    assert_eq!(shard.search(&request).unwrap().hits[0].id, id);
}

#[test]
fn what_is_not_a_point_or_a_record_changes_nothing() {
    let home = Home::new();
    let shard = home.open();
    let with = |change: &dyn Fn(&mut NewRecord)| {
        let mut bad = record("bad", 1);
        change(&mut bad);
        let operations = vec![put_operation(record("good", 1)), put_operation(bad)];
        match write(&shard, WriteRequest { operations, ..WriteRequest::default() }) {
            Err(WriteError::Invalid { index: 1, source }) => source,
            other => panic!("{other:?}"),
        }
    };
    let vector = |point: Vec<f64>| {
        with(&move |record: &mut NewRecord| {
            record.vectors.insert(String::new(), point.clone());
        })
    };
    for point in [vec![1.0], vec![], vec![f64::NAN; 4], vec![2.0, 0.0, 0.0, 0.0]] {
        assert!(matches!(vector(point), InvalidRecord::Point { .. }));
    }
    let unknown = with(&|record| {
        record.vectors.insert("other".into(), vec![1.0]);
    });
    assert!(matches!(unknown, InvalidRecord::UnknownVector { known, .. } if known.len() == 2));
    assert_eq!(with(&|record| record.id.clear()), InvalidRecord::EmptyId);
    assert_eq!(
        with(&|record| record.region = Some(String::new())),
        InvalidRecord::Empty { what: "region" }
    );
    assert_eq!(
        with(&|record| record.kind = "k".repeat(256)),
        InvalidRecord::TooLong { what: "kind", bytes: 256, limit: 255 }
    );
    assert!(matches!(
        with(&|record| record.partition_key = Some("a\u{7}".into())),
        InvalidRecord::ControlCharacter { what: "partition key", at: 1, .. }
    ));
    assert_eq!(shard.count(None, None).unwrap(), 0);
    assert_eq!(shard.stats().log_entries, 0);
}

#[test]
fn idempotency_keys_are_kept_across_restarts_and_forgotten_beyond_their_number() {
    let mut home = Home::new();
    home.config.idempotency.keys = 3;
    let request = |key: &str| WriteRequest {
        idempotency_key: Some(key.to_owned()),
        ..WriteRequest::put(record("a", 1))
    };
    let shard = home.open();
    let first = write(&shard, request("k0")).unwrap();
    for key in ["k1", "k2"] {
        write(&shard, request(key)).unwrap();
    }
    drop(shard);
    let shard = home.open();
    let again = write(&shard, request("k0")).unwrap();
    assert!(again.repeated);
    assert_eq!((again.seq, &again.outcomes), (first.seq, &first.outcomes));
    assert_eq!(shard.stats().idempotency_keys, 3);

    // A fourth makes room for itself; the oldest counts as new again.
    assert!(!write(&shard, request("k3")).unwrap().repeated);
    assert_eq!(shard.stats().idempotency_keys, 3);
    assert!(write(&shard, request("k1")).unwrap().repeated);
    assert!(!write(&shard, request("k0")).unwrap().repeated);
    assert!(!write(&shard, request("k1")).unwrap().repeated);
    assert_eq!(shard.get("a").unwrap().unwrap().version, 6);
    drop(shard);

    // A lower limit takes effect with the writes that follow.
    home.config.idempotency.keys = 0;
    let shard = home.open();
    for _ in 0..2 {
        assert!(!write(&shard, request("k9")).unwrap().repeated);
    }
    assert_eq!(shard.stats().idempotency_keys, 0);
}

#[test]
fn idempotency_keys_are_forgotten_by_age() {
    let mut home = Home::new();
    home.config.idempotency.age_millis = 0;
    let shard = home.open();
    let request = |key: &str| WriteRequest {
        idempotency_key: Some(key.to_owned()),
        ..WriteRequest::put(record("a", 1))
    };
    let time = |outcome: &WriteOutcome| match outcome {
        WriteOutcome::Put { timestamp, .. } => timestamp.millis(),
        other => panic!("{other:?}"),
    };
    let first = time(&write(&shard, request("old")).unwrap().outcomes[0]);
    while time(&put(&shard, record("b", 1))) <= first {}
    write(&shard, request("new")).unwrap();
    assert!(!write(&shard, request("old")).unwrap().repeated);
}

#[test]
fn unusable_idempotency_keys_are_refused() {
    let home = Home::new();
    let shard = home.open();
    for (key, is_usable) in [
        (String::new(), false),
        ("k".repeat(255), true),
        ("k".repeat(256), false),
        ("\n".into(), false),
    ] {
        let request =
            WriteRequest { idempotency_key: Some(key), ..WriteRequest::put(record("a", 1)) };
        match write(&shard, request) {
            Ok(_) => assert!(is_usable),
            Err(WriteError::InvalidIdempotencyKey { .. }) => assert!(!is_usable),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn the_same_key_twice_in_one_moment_is_carried_out_once() {
    let home = Home::new();
    let shard = home.open();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    for round in 0..50 {
        let request = WriteRequest {
            idempotency_key: Some(format!("{round}")),
            ..WriteRequest::put(record(&format!("{round}"), 1))
        };
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (shard, request) = (shard.clone(), request.clone());
                runtime.spawn(async move { shard.write(request).await.unwrap() })
            })
            .collect();
        let answers: Vec<_> =
            tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        assert!(answers.iter().all(|answer| answer.outcomes == answers[0].outcomes));
        assert_eq!(shard.get(&format!("{round}")).unwrap().unwrap().version, 1);
    }
}

#[test]
fn a_dropped_caller_does_not_undo_what_was_queued() {
    let home = Home::new();
    let shard = home.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut write = Box::pin(shard.write(WriteRequest::put(record("a", 1))));
        // One poll queues it.
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(write.as_mut().poll(context).is_ready())
        });
        polled.await;
        drop(write);
    });
    put(&shard, record("b", 1));
    assert!(shard.get("a").unwrap().is_some());
}

#[test]
fn only_sync_writes_wait_for_the_medium() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    assert_eq!(shard.stats().syncs, 0);
    let request =
        WriteRequest { durability: Durability::Sync, ..WriteRequest::put(record("b", 1)) };
    write(&shard, request).unwrap();
    assert_eq!(shard.stats().syncs, 1);
}

#[test]
fn concurrent_writers_read_their_own_writes() {
    let home = Home::new();
    let shard = home.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shard = &shard;
            scope.spawn(move || {
                for number in 0..200 {
                    let id = format!("{thread}-{}", number % 50);
                    put(shard, record(&id, number));
                    let found = shard.get(&id).unwrap().unwrap();
                    assert_eq!(found.metadata["number"], number);
                    if number % 10 == 9 {
                        write(shard, WriteRequest::delete(&id)).unwrap();
                        assert_eq!(shard.get(&id).unwrap(), None);
                    }
                }
            });
        }
    });
    assert_eq!(shard.count(None, None).unwrap(), 4 * 45);
    let stats = shard.stats();
    assert!(stats.log_entries <= stats.operations, "nothing was committed as a group");
    let hits = shard
        .search(&hvs_shard::SearchRequest {
            exact: true,
            ..hvs_shard::SearchRequest::nearest(lift([0.0; 3]), 1_000)
        })
        .unwrap()
        .hits;
    assert_eq!(hits.len(), 4 * 45);
}

fn open_unreliable(home: &Home) -> (Arc<Unreliable>, Shard) {
    let kv = Arc::new(Unreliable::new(home.kv()));
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    (kv, shard)
}

#[test]
fn a_store_that_recovers_is_written_again_with_the_same_bytes() {
    let home = Home::new();
    let (kv, shard) = open_unreliable(&home);
    put(&shard, record("a", 1));
    kv.fail_writes(4);
    put(&shard, record("b", 1));
    put(&shard, record("c", 1));
    assert_eq!(shard.stats().log_entries, 3);
    drop((kv, shard));
    assert_eq!(home.open().count(None, None).unwrap(), 3);
}

#[test]
fn a_store_that_stays_broken_stops_the_shard_but_not_its_readers() {
    let home = Home::new();
    let (kv, shard) = open_unreliable(&home);
    put(&shard, record("a", 1));
    kv.fail_writes(u32::MAX);
    let stopped = write(&shard, WriteRequest::put(record("b", 1)));
    let Err(WriteError::Wedged { reason }) = stopped else { panic!("{stopped:?}") };
    assert!(reason.contains("a test asked for it"), "{reason}");
    kv.fail_writes(0);
    let stopped = write(&shard, WriteRequest::put(record("c", 1)));
    assert!(matches!(stopped, Err(WriteError::Stopped { .. })), "{stopped:?}");
    assert!(shard.stats().stopped.unwrap().contains("a test asked for it"));
    assert!(shard.get("a").unwrap().is_some());
    assert!(shard.close().is_err());
    drop((kv, shard));

    let shard = home.open();
    put(&shard, record("c", 1));
    assert_eq!(shard.count(None, None).unwrap(), 2);
}

#[test]
fn a_write_that_cannot_be_made_durable_is_not_acknowledged_as_such() {
    let home = Home::new();
    let (kv, shard) = open_unreliable(&home);
    kv.fail_syncs(1);
    let request =
        WriteRequest { durability: Durability::Sync, ..WriteRequest::put(record("a", 1)) };
    let stopped = write(&shard, request);
    assert!(matches!(stopped, Err(WriteError::Wedged { .. })), "{stopped:?}");
    assert!(matches!(
        write(&shard, WriteRequest::put(record("b", 1))),
        Err(WriteError::Stopped { .. })
    ));
}

#[test]
fn another_leader_ends_this_one() {
    let home = Home::new();
    let kv: Arc<dyn Kv> = Arc::new(Unreliable::committing(home.kv()));
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    put(&shard, record("a", 1));
    // The same shard elsewhere, over the same store.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut config = home.config.clone();
    config.writer = Writer { node: "other".into(), incarnation: 1 };
    let other = Shard::open(config, kv, elsewhere.path()).unwrap();
    let ended = write(&shard, WriteRequest::put(record("b", 1)));
    let Err(WriteError::SteppedDown { epoch: 1, reason }) = ended else { panic!("{ended:?}") };
    assert!(reason.contains("\"other\""), "{reason}");
    put(&other, record("c", 1));
    assert_eq!(other.get("a").unwrap().unwrap().version, 1);
    assert_eq!(other.get("b").unwrap(), None);
    assert_eq!(other.count(None, None).unwrap(), 2);
}

#[test]
fn a_shard_in_use_is_not_opened_again() {
    let home = Home::new();
    let kv: Arc<dyn Kv> = home.kv();
    let shard = Shard::open(home.config.clone(), kv.clone(), &home.shard_path()).unwrap();
    let refused = Shard::open(home.config.clone(), kv, &home.shard_path());
    assert!(matches!(refused, Err(OpenError::Locked { .. })));
    put(&shard, record("a", 1));
}

#[test]
fn the_directory_of_another_shard_is_refused() {
    let mut home = Home::new();
    drop(home.open());
    home.config.shard = uuid::Uuid::from_u128(99);
    let refused = Shard::open(home.config.clone(), home.kv(), &home.shard_path());
    let Err(error @ OpenError::Foreign { .. }) = refused else { panic!("it was opened") };
    assert!(error.to_string().contains("00000000-0000-0000-0000-000000000002"), "{error}");
}

#[test]
fn a_destroyed_shard_leaves_nothing() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    drop(shard);
    for _ in 0..2 {
        Shard::destroy(&home.config, home.kv(), &home.shard_path()).unwrap();
    }
    assert!(!home.shard_path().exists());
    let id = LogId { namespace: home.config.namespace, shard: home.config.shard };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let leader = runtime.block_on(Log::new(home.kv(), "hvs", id).leader()).unwrap();
    assert_eq!(leader, None);
    assert_eq!(home.open().count(None, None).unwrap(), 0);
}
