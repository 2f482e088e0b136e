//! The rules of the log, on the embedded store and on one that fails in the ways stores do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use hvs_kv::Durability::{Buffered, Sync};
use hvs_kv::Kv;
use hvs_kv::embedded::{Embedded, EmbeddedConfig};
use hvs_log::{
    AppendError, BarrierOutcome, DamagedEntry, Entry, EntryHash, EntryKind, Leader, Log, LogError,
    LogId, MAX_ENTRY_BYTES, Position, Writer,
};
use uuid::Uuid;

mod support;
use support::Unreliable;

const ID: LogId = LogId { namespace: Uuid::from_u128(1), shard: Uuid::from_u128(2) };

fn writer(node: &str) -> Writer {
    Writer { node: node.to_owned(), incarnation: 1 }
}

fn store() -> (tempfile::TempDir, Arc<Embedded>) {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open(directory.path(), EmbeddedConfig::default()).unwrap();
    (directory, Arc::new(kv))
}

/// Where an entry is kept, found by scanning as an operator would.
async fn entry_key(kv: &dyn Kv, seq: u64) -> Vec<u8> {
    let page = kv.scan(b"hvs/log/", b"hvs/log0", hvs_kv::ScanLimit::default()).await.unwrap();
    let is_wanted = |key: &[u8]| key.ends_with(&seq.to_be_bytes());
    page.pairs.into_iter().map(|(key, _)| key).find(|key| is_wanted(key)).unwrap()
}

/// Everything from a place on, or the first error.
async fn read_all(log: &Log, from: Position) -> Result<Vec<Entry>, LogError> {
    let mut replay = log.replay(from);
    let mut entries = Vec::new();
    while let Some((entry, _)) = replay.next().await? {
        entries.push(entry);
    }
    Ok(entries)
}

/// Reads to the end, claims and writes the barrier, as a starting leader does.
async fn lead(log: &Log, node: &str) -> Result<Leader, LogError> {
    let claim = log.claim(writer(node)).await?;
    let mut replay = log.replay(Position::START);
    while replay.next().await?.is_some() {}
    let mut tail = replay.position();
    loop {
        match claim.barrier(tail).await? {
            BarrierOutcome::Leading(leader, ..) => return Ok(*leader),
            BarrierOutcome::Absorb(_, position) => tail = position,
        }
    }
}

#[tokio::test]
async fn entries_are_read_back_in_order_with_an_unbroken_chain() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    for number in 0..600_u32 {
        let durability = if number.is_multiple_of(100) { Sync } else { Buffered };
        let appended = leader.append(number.to_le_bytes().to_vec(), durability).await.unwrap();
        assert_eq!(appended.position.seq, u64::from(number) + 2);
    }
    let entries = read_all(&log, Position::START).await.unwrap();
    assert_eq!(entries.len(), 601);
    assert_eq!(entries[0].kind, EntryKind::Barrier);
    assert_eq!(entries[0].previous, EntryHash::NONE);
    for (number, entry) in (0_u32..).zip(&entries[1..]) {
        assert_eq!(entry.payload, number.to_le_bytes());
        assert_eq!(entry.epoch, 1);
    }
    let from = leader.tail();
    assert!(read_all(&log, from).await.unwrap().is_empty());
    leader.append(b"later".to_vec(), Buffered).await.unwrap();
    assert_eq!(read_all(&log, from).await.unwrap()[0].payload, b"later");
}

#[tokio::test]
async fn a_payload_at_the_limit_fits_and_one_above_does_not() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    let mut leader = lead(&log, &"n".repeat(255)).await.unwrap();
    let limit = leader.max_payload();
    let appended = leader.append(vec![1; limit], Sync).await.unwrap();
    assert_eq!(appended.bytes, MAX_ENTRY_BYTES);
    let refused = leader.append(vec![1; limit + 1], Sync).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    leader.append(b"goes on".to_vec(), Sync).await.unwrap();
    assert_eq!(read_all(&log, Position::START).await.unwrap().len(), 3);
}

#[tokio::test]
async fn each_start_has_a_higher_epoch_and_the_one_before_cannot_append() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    let mut first = lead(&log, "a").await.unwrap();
    first.append(b"1".to_vec(), Sync).await.unwrap();
    let mut second = lead(&log, "b").await.unwrap();
    assert_eq!((first.epoch(), second.epoch()), (1, 2));
    let leader = log.leader().await.unwrap().unwrap();
    assert_eq!((leader.epoch, leader.writer.node.as_str()), (2, "b"));

    let refused = first.append(b"late".to_vec(), Sync).await;
    let Err(AppendError::SteppedDown { epoch: 1, reason }) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("\"b\"") && reason.contains("epoch 2"), "{reason}");
    // For good: not even when the slot would be free again.
    let refused = first.append(b"late".to_vec(), Sync).await;
    assert!(matches!(refused, Err(AppendError::SteppedDown { .. })));

    second.append(b"2".to_vec(), Sync).await.unwrap();
    let entries = read_all(&log, Position::START).await.unwrap();
    let payloads: Vec<_> = entries.iter().map(|entry| entry.payload.as_slice()).collect();
    assert_eq!(payloads, [&b""[..], b"1", b"", b"2"]);
}

#[tokio::test]
async fn an_entry_that_slips_in_before_the_barrier_is_absorbed() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    let mut first = lead(&log, "a").await.unwrap();
    let tail = first.tail();
    let claim = log.claim(writer("b")).await.unwrap();
    first.append(b"slipped in".to_vec(), Sync).await.unwrap();
    let BarrierOutcome::Absorb(entry, position) = claim.barrier(tail).await.unwrap() else {
        panic!("the barrier took an occupied slot");
    };
    assert_eq!(entry.payload, b"slipped in");
    let BarrierOutcome::Leading(mut second, barrier, _) = claim.barrier(position).await.unwrap()
    else {
        panic!("the slot is free");
    };
    assert_eq!((barrier.seq, barrier.epoch, second.epoch()), (3, 2, 2));
    second.append(b"2".to_vec(), Sync).await.unwrap();
    assert_eq!(read_all(&log, Position::START).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_claim_that_was_overtaken_does_not_lead() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    let slow = log.claim(writer("a")).await.unwrap();
    lead(&log, "b").await.unwrap();
    let refused = slow.barrier(Position::START).await;
    assert!(matches!(refused, Err(LogError::SteppedDown { epoch: 1, .. })));
}

#[tokio::test]
async fn a_shard_is_taken_over_from_the_leader_that_was_observed_and_from_no_other() {
    let (_directory, kv) = store();
    let kv = Arc::new(Unreliable::new(kv));
    let log = Log::new(kv.clone(), "hvs", ID);
    kv.lose_replies(1);
    assert_eq!(log.take_over(writer("a"), None).await.unwrap().epoch(), 1);
    let first = log.leader().await.unwrap().unwrap();
    assert_eq!(log.take_over(writer("b"), Some(&first)).await.unwrap().epoch(), 2);
    // Two others have observed what was there before.
    for observed in [None, Some(&first)] {
        let refused = log.take_over(writer("c"), observed).await.err().unwrap();
        let LogError::Overtaken { by: Some(by) } = &refused else { panic!("{refused}") };
        assert_eq!((by.writer.node.as_str(), by.epoch), ("b", 2));
        assert!(refused.to_string().contains("\"b\" in epoch 2"), "{refused}");
    }
    assert_eq!(log.leader().await.unwrap().unwrap().writer.node, "b");
}

#[tokio::test]
async fn a_lost_reply_is_recognised_by_the_attempt() {
    let (_directory, kv) = store();
    let kv = Arc::new(Unreliable::new(kv));
    let log = Log::new(kv.clone(), "hvs", ID);
    kv.lose_replies(1);
    let mut leader = lead(&log, "a").await.unwrap();
    assert_eq!(leader.epoch(), 1, "the own leader record was taken for another's");
    kv.lose_replies(2);
    let appended = leader.append(b"once".to_vec(), Sync).await.unwrap();
    assert_eq!(appended.position.seq, 2);
    assert_eq!(read_all(&log, Position::START).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_unknown_outcome_is_resolved_with_the_same_bytes_only() {
    let (_directory, kv) = store();
    let kv = Arc::new(Unreliable::new(kv));
    let log = Log::new(kv.clone(), "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();

    kv.fail_writes(3);
    let unknown = leader.append(b"first".to_vec(), Sync).await;
    assert!(matches!(unknown, Err(AppendError::Unknown { seq: 2, .. })), "{unknown:?}");
    let refused = leader.append(b"other".to_vec(), Sync).await;
    assert!(matches!(refused, Err(AppendError::Unresolved { seq: 2 })));
    let appended = leader.resolve().await.unwrap().unwrap();
    assert_eq!((appended.position.seq, appended.entry.payload.as_slice()), (2, &b"first"[..]));
    assert_eq!(leader.resolve().await.unwrap(), None);

    // It was there all along: the same bytes are found, not written twice.
    kv.lose_replies(3);
    let unknown = leader.append(b"second".to_vec(), Sync).await;
    assert!(matches!(unknown, Err(AppendError::Unknown { seq: 3, .. })));
    assert_eq!(leader.resolve().await.unwrap().unwrap().position.seq, 3);
    leader.append(b"third".to_vec(), Sync).await.unwrap();
    let entries = read_all(&log, Position::START).await.unwrap();
    let payloads: Vec<_> = entries.iter().map(|entry| entry.payload.as_slice()).collect();
    assert_eq!(payloads, [&b""[..], b"first", b"second", b"third"]);
}

#[tokio::test]
async fn damage_is_reported_with_its_seq() {
    let (_directory, kv) = store();
    let log = Log::new(kv.clone(), "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    for number in 0..5_u8 {
        leader.append(vec![number; 20], Buffered).await.unwrap();
    }
    let replace = async |key: &[u8], value: &[u8]| {
        kv.delete(key, Sync).await.unwrap();
        kv.put_if_absent(key, value, Sync).await.unwrap();
    };

    let key = entry_key(&*kv, 4).await;
    let good = kv.get(&key).await.unwrap().unwrap();
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    replace(&key, &flipped).await;
    let error = read_all(&log, Position::START).await.unwrap_err();
    let damage =
        matches!(error, LogError::Damaged { seq: 4, damage: DamagedEntry::Checksum { .. } });
    assert!(damage, "{error}");

    // A whole entry at another place.
    let fifth = kv.get(&entry_key(&*kv, 5).await).await.unwrap().unwrap();
    replace(&key, &fifth).await;
    let error = read_all(&log, Position::START).await.unwrap_err();
    let damage =
        matches!(error, LogError::Damaged { seq: 4, damage: DamagedEntry::Misplaced { found: 5 } });
    assert!(damage, "{error}");

    kv.delete(&key, Sync).await.unwrap();
    let error = read_all(&log, Position::START).await.unwrap_err();
    assert!(matches!(error, LogError::Hole { seq: 4, next: 5 }), "{error}");

    replace(&key, &good).await;
    assert_eq!(read_all(&log, Position::START).await.unwrap().len(), 6);
}

#[tokio::test]
async fn an_entry_that_came_while_a_page_was_read_is_no_hole() {
    let (_directory, kv) = store();
    let kv = Arc::new(Unreliable::new(kv));
    let log = Log::new(kv.clone(), "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    for number in 0..5_u8 {
        leader.append(vec![number], Buffered).await.unwrap();
    }
    kv.skip_in_scans(2);
    let seqs: Vec<_> =
        read_all(&log, Position::START).await.unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn an_entry_built_on_another_one_breaks_the_chain() {
    let (_directory, kv) = store();
    let log = Log::new(kv.clone(), "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    leader.append(b"2".to_vec(), Sync).await.unwrap();
    leader.append(b"3".to_vec(), Sync).await.unwrap();
    // Another log with the same keys, in another store: whole entries, other hashes.
    let (_other_directory, other_kv) = store();
    let other_log = Log::new(other_kv.clone(), "hvs", ID);
    let mut other = lead(&other_log, "a").await.unwrap();
    other.append(b"2".to_vec(), Sync).await.unwrap();

    let key = entry_key(&*kv, 2).await;
    let foreign = other_kv.get(&key).await.unwrap().unwrap();
    kv.delete(&key, Sync).await.unwrap();
    kv.put_if_absent(&key, &foreign, Sync).await.unwrap();
    let error = read_all(&log, Position::START).await.unwrap_err();
    assert!(
        matches!(error, LogError::Damaged { seq: 2, damage: DamagedEntry::Chain { .. } }),
        "{error}"
    );
    let applied = Position { seq: 2, hash: EntryHash([9; 32]) };
    let error = read_all(&log, applied).await.unwrap_err();
    assert!(matches!(error, LogError::Diverged { seq: 2, .. }), "{error}");
}

#[tokio::test]
async fn trimming_raises_the_floor_and_readers_below_it_are_told() {
    let (_directory, kv) = store();
    let log = Log::new(kv.clone(), "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    let mut positions = vec![leader.tail()];
    for number in 0..9_u8 {
        positions.push(leader.append(vec![number], Buffered).await.unwrap().position);
    }
    leader.trim(4).await.unwrap();
    let floor = log.floor().await.unwrap();
    assert_eq!((floor.seq, floor.hash), (4, positions[3].hash));
    let error = read_all(&log, Position::START).await.unwrap_err();
    assert!(matches!(error, LogError::Trimmed { seq: 1, .. }), "{error}");
    let error = read_all(&log, positions[1]).await.unwrap_err();
    assert!(matches!(error, LogError::Trimmed { seq: 3, .. }), "{error}");
    // At the floor itself one can start.
    assert_eq!(read_all(&log, positions[3]).await.unwrap().len(), 6);
    let error = read_all(&log, Position { seq: 4, hash: EntryHash([1; 32]) }).await.unwrap_err();
    assert!(matches!(error, LogError::Diverged { seq: 4, .. }), "{error}");

    // Backwards does nothing; beyond the end stops at the end.
    leader.trim(2).await.unwrap();
    assert_eq!(log.floor().await.unwrap().seq, 4);
    leader.trim(u64::MAX).await.unwrap();
    assert_eq!(log.floor().await.unwrap().seq, 10);
    assert!(read_all(&log, leader.tail()).await.unwrap().is_empty());
    let appended = leader.append(b"after".to_vec(), Sync).await.unwrap();
    assert_eq!(appended.position.seq, 11);
}

#[tokio::test]
async fn a_floor_raised_by_a_crashed_trim_counts_although_entries_are_left() {
    let (_directory, kv) = store();
    let unreliable = Arc::new(Unreliable::new(kv.clone()));
    let log = Log::new(unreliable.clone(), "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    for number in 0..9_u8 {
        leader.append(vec![number], Buffered).await.unwrap();
    }
    unreliable.fail_deletes(1);
    leader.trim(5).await.unwrap_err();
    assert_eq!(log.floor().await.unwrap().seq, 5);
    // The next one finishes the work.
    leader.trim(6).await.unwrap();
    let page = kv.scan(b"hvs/log/", b"hvs/log0", hvs_kv::ScanLimit::default()).await.unwrap();
    assert_eq!(page.pairs.len(), 4);
}

#[tokio::test]
async fn state_that_outlived_the_log_becomes_its_floor() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    let mut leader = lead(&log, "a").await.unwrap();
    leader.append(b"2".to_vec(), Sync).await.unwrap();
    // What was applied here, before the store lost entries 3 to 7.
    let applied = Position { seq: 7, hash: EntryHash([7; 32]) };
    let error = read_all(&log, applied).await.unwrap_err();
    assert!(matches!(error, LogError::EndsBefore { seq: 7 }), "{error}");
    log.restart_after(applied).await.unwrap();
    assert!(read_all(&log, applied).await.unwrap().is_empty());
    let claim = log.claim(writer("a")).await.unwrap();
    let BarrierOutcome::Leading(leader, barrier, _) = claim.barrier(applied).await.unwrap() else {
        panic!("the slot is free");
    };
    assert_eq!((barrier.seq, barrier.previous, leader.epoch()), (8, applied.hash, 2));
    assert_eq!(read_all(&log, applied).await.unwrap().len(), 1);
}

#[tokio::test]
async fn node_ids_are_checked() {
    let (_directory, kv) = store();
    let log = Log::new(kv, "hvs", ID);
    for node in [String::new(), "n".repeat(256)] {
        let refused = log.claim(writer(&node)).await;
        assert!(matches!(refused, Err(LogError::NodeId { bytes }) if bytes == node.len()));
    }
}

#[tokio::test]
async fn a_destroyed_log_leaves_nothing_and_its_neighbours_stay() {
    let (_directory, kv) = store();
    let log = Log::new(kv.clone(), "hvs", ID);
    let neighbour = Log::new(kv.clone(), "hvs", LogId { shard: Uuid::from_u128(3), ..ID });
    let mut leader = lead(&log, "a").await.unwrap();
    leader.append(b"x".to_vec(), Buffered).await.unwrap();
    leader.trim(1).await.unwrap();
    lead(&neighbour, "a").await.unwrap();
    log.destroy().await.unwrap();
    log.destroy().await.unwrap();
    assert_eq!(log.leader().await.unwrap(), None);
    assert_eq!(log.floor().await.unwrap().seq, 0);
    assert!(read_all(&log, Position::START).await.unwrap().is_empty());
    assert_eq!(read_all(&neighbour, Position::START).await.unwrap().len(), 1);
}
