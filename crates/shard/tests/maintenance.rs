//! Building indexes is paused and taken up again, and gives room back to the disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use hvs_index::Builders;
use hvs_shard::{Durability, IndexStats, Operation, SearchRequest, Shard, WriteRequest};

mod support;
use support::{DIMENSION, Home, lift, record, write};

const RECORDS: u32 = 4_000;

fn home(builders: &Builders) -> Home {
    let mut home = Home::new();
    for index in home.config.vectors.values_mut() {
        index.tail_limit = 256;
        index.builders = builders.clone();
    }
    home
}

fn change(shard: &Shard, operations: Vec<Operation>) {
    let request = WriteRequest {
        operations,
        durability: Durability::Buffered,
        atomic: false,
        idempotency_key: None,
    };
    write(shard, request).unwrap();
}

fn put(shard: &Shard, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for part in numbers.chunks(500) {
        let puts = part.iter().map(|&number| {
            let record = record(&format!("id-{number:05}"), number);
            Operation::Put { record, condition: None }
        });
        change(shard, puts.collect());
    }
}

fn delete(shard: &Shard, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for part in numbers.chunks(500) {
        let deletions = part
            .iter()
            .map(|number| Operation::Delete { id: format!("id-{number:05}"), condition: None });
        change(shard, deletions.collect());
    }
}

fn found(shard: &Shard) -> BTreeSet<String> {
    let everything = SearchRequest {
        k: None,
        radius: Some(100.0),
        ..SearchRequest::nearest(lift([0.0; DIMENSION]), 1)
    };
    shard.search(&everything).unwrap().hits.into_iter().map(|hit| hit.id).collect()
}

fn ids(numbers: std::ops::Range<u32>) -> BTreeSet<String> {
    numbers.map(|number| format!("id-{number:05}")).collect()
}

fn stats(shard: &Shard) -> IndexStats {
    shard.stats().indexes[""]
}

/// Waits until what was begun has come so far.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{what} takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            // It was removed since.
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn nothing_is_built_while_it_is_paused_and_nothing_is_lost() {
    let builders = Builders::new(1, 1);
    let home = home(&builders);
    let shard = home.open();
    builders.pause();
    put(&shard, 0..RECORDS);
    delete(&shard, 0..100);
    let paused = stats(&shard);
    assert_eq!((paused.segments, paused.builds, builders.running()), (0, 0, 0));
    assert_eq!((paused.tail, paused.tail_excess), (RECORDS as usize, RECORDS as usize - 256));
    assert_eq!(found(&shard), ids(100..RECORDS));
    // Closing does not wait for what may not begin, and everything is there afterwards.
    shard.close().unwrap();
    drop(shard);
    let shard = home.open();
    assert_eq!(stats(&shard).segments, 0);
    assert_eq!(found(&shard), ids(100..RECORDS));
    builders.resume();
    put(&shard, RECORDS..RECORDS + 1);
    wait_until("building", || stats(&shard).tail_excess == 0 && !stats(&shard).building);
    assert!(stats(&shard).segments > 0);
    assert_eq!(found(&shard), ids(100..RECORDS + 1));
}

#[test]
fn a_builder_that_waits_begins_when_it_is_resumed() {
    let builders = Builders::new(1, 1);
    let home = home(&builders);
    let shard = home.open();
    builders.pause();
    put(&shard, 0..1_000);
    assert_eq!(stats(&shard).builds, 0);
    builders.resume();
    wait_until("building", || stats(&shard).builds > 0);
    assert_eq!(found(&shard), ids(0..1_000));
}

#[test]
fn deletions_give_room_back() {
    let home = home(&Builders::new(1, 1));
    let shard = home.open();
    put(&shard, 0..RECORDS);
    shard.flush().unwrap();
    let index = home.shard_path().join("index");
    let before = bytes_below(&index);
    delete(&shard, 0..RECORDS / 10 * 9);
    let few = RECORDS as usize / 10;
    wait_until("merging", || stats(&shard).dead <= 256.max(few / 5) && !stats(&shard).building);
    let after = bytes_below(&index);
    assert!(after * 2 < before, "{before} bytes before, {after} after");
    assert_eq!(found(&shard), ids(RECORDS / 10 * 9..RECORDS));
}
