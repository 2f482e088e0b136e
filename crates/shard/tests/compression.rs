//! Records that are compressed at rest are the same records.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use hvs_shard::{
    Compression, FilterLimits, NewRecord, Operation, Record, ScrollRequest, SearchRequest, Shard,
    WriteRequest,
};
use serde_json::json;
use support::{DIMENSION, Home, lift, record, write};

const RECORDS: u32 = 3_000;

fn described(number: u32) -> NewRecord {
    let mut new = record(&format!("id-{number:05}"), number);
    let metadata = json!({
        "number": number,
        "author": format!("person-{}", number % 23),
        "language": "en",
        "title": format!("The {number}th of many titles that are much alike"),
        "url": format!("https://example.com/pages/{number}"),
    });
    new.metadata.clone_from(metadata.as_object().unwrap());
    new
}

fn put(shard: &Shard, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for part in numbers.chunks(500) {
        let puts = part.iter().map(|&n| Operation::Put { record: described(n), condition: None });
        let request = WriteRequest { operations: puts.collect(), ..WriteRequest::default() };
        write(shard, request).unwrap();
    }
}

fn home(compression: Compression) -> Home {
    let mut home = Home::new();
    home.config.compression = compression;
    home
}

fn all(shard: &Shard) -> Vec<Record> {
    shard.scroll(&ScrollRequest::first(10_000)).unwrap().records
}

fn digest(shard: &Shard) -> [u8; 32] {
    shard.export().unwrap().write(None, |_, _| Ok::<(), Infallible>(())).unwrap()
}

fn settle(shard: &Shard) {
    let begun = Instant::now();
    while shard.stats().is_recompressing {
        assert!(begun.elapsed() < Duration::from_mins(2), "it takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sizes of the rows that all records have, as they are stored.
fn stored_bytes(home: &Home) -> usize {
    let options = fjall::KeyspaceCreateOptions::default;
    let database = fjall::Database::builder(home.shard_path().join("store")).open().unwrap();
    let records = database.keyspace("records", options).unwrap();
    records.iter().map(|row| row.value().unwrap().len()).sum()
}

fn count(shard: &Shard, filter: &serde_json::Value) -> u64 {
    let filter = filter.as_object().unwrap();
    let filter = hvs_filter::Filter::parse(filter, &FilterLimits::default()).unwrap();
    shard.count(Some(&filter.into()), None).unwrap()
}

#[test]
fn compressed_records_are_read_searched_and_exported_as_plain_ones() {
    let plain = home(Compression::None);
    let shard = plain.open();
    put(&shard, 0..RECORDS);
    let expected: Vec<_> = all(&shard).into_iter().map(|r| (r.id, r.vectors, r.metadata)).collect();
    shard.close().unwrap();
    drop(shard);
    let plain_bytes = stored_bytes(&plain);

    for compression in [Compression::Lz4, Compression::Zstd] {
        let home = home(compression);
        let shard = home.open();
        put(&shard, 0..RECORDS);
        settle(&shard);
        // By now with a dictionary, and those from before have been written anew.
        put(&shard, 0..10);
        let check = |shard: &Shard| {
            let found = all(shard).into_iter().map(|r| (r.id, r.vectors, r.metadata));
            assert!(found.eq(expected.iter().cloned()), "{compression:?}");
            assert_eq!(count(shard, &json!({"author": "person-3"})), 131);
            let nearest = SearchRequest::nearest(lift([0.1; DIMENSION]), 5);
            let hits = shard.search(&SearchRequest { with_records: true, ..nearest }).unwrap().hits;
            assert!(hits.iter().all(|hit| hit.record.as_ref().unwrap().metadata.len() == 5));
        };
        check(&shard);
        let stats = shard.stats();
        assert!(stats.written_stored_bytes < stats.written_plain_bytes, "{stats:?}");
        shard.close().unwrap();
        drop(shard);
        let bytes = stored_bytes(&home);
        assert!(bytes * 10 < plain_bytes * 7, "{compression:?}: {bytes} of {plain_bytes}");
        let shard = home.open();
        check(&shard);
    }
}

#[test]
fn compression_is_changed_while_the_shard_is_in_use_and_the_state_stays_the_same() {
    let mut home = home(Compression::None);
    let shard = home.open();
    put(&shard, 0..RECORDS);
    let records = all(&shard);
    shard.close().unwrap();
    drop(shard);
    let mut sizes = vec![stored_bytes(&home)];
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Zstd, Compression::None] {
        let shard = home.open();
        let state = digest(&shard);
        shard.set_compression(compression);
        assert!(shard.stats().is_recompressing);
        settle(&shard);
        assert_eq!(digest(&shard), state, "{compression:?}");
        assert!(all(&shard) == records, "{compression:?}");
        shard.close().unwrap();
        drop(shard);
        home.config.compression = compression;
        sizes.push(stored_bytes(&home));
    }
    let [plain, zstd, lz4, again, last] = sizes[..] else { panic!("{sizes:?}") };
    assert!(zstd * 10 < plain * 6 && lz4 * 10 < plain * 6, "{sizes:?}");
    assert_eq!((zstd, plain), (again, last), "the dictionary was kept");
}

#[test]
fn few_records_and_vectors_alone_are_left_as_they_are() {
    let home = home(Compression::Zstd);
    let shard = home.open();
    for number in 0..1_200 {
        let mut new = record(&format!("id-{number:05}"), number);
        new.metadata.clear();
        support::put(&shard, new);
    }
    settle(&shard);
    let stats = shard.stats();
    assert_eq!(stats.written_stored_bytes, stats.written_plain_bytes);
    // Closing waits for nothing that is no longer needed.
    shard.close().unwrap();
}
