//! Measures what a shard costs inside its process: `cargo run --release -p hvs-shard --example
//! costs -- [records]`. Every figure is printed with its median and 99th percentile.
#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hvs_geometry::{Geometry, Space};
use hvs_kv::embedded::{Embedded, EmbeddedConfig};
use hvs_shard::{
    Durability, IndexConfig, NewRecord, Operation, ScrollRequest, SearchRequest, Shard,
    ShardConfig, WriteRequest, Writer,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

const DIMENSION: usize = 12;

fn main() {
    let records = std::env::args().nth(1).map_or(100_000, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let kv_path = directory.path().join("kv");
    let kv = Arc::new(Embedded::open(&kv_path, EmbeddedConfig::default()).unwrap());
    let space = Space::new(Geometry::Hyperboloid, DIMENSION, -1.0).unwrap();
    let vectors = BTreeMap::from([(String::new(), IndexConfig::new(space))]);
    let writer = Writer { node: "node".to_owned(), incarnation: 1 };
    let mut config = ShardConfig::new(Uuid::from_u128(1), Uuid::from_u128(2), writer, vectors);
    config.queue.oldest = Duration::from_mins(1);
    let shard = Shard::open(config.clone(), kv.clone(), directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut rng = StdRng::seed_from_u64(1);

    println!("{:<34} {:>10} {:>10} {:>10}", "microseconds", "p50", "p99", "max");
    let mut number = 0;
    measure("put, buffered, new", 2_000, || {
        number += 1;
        let request = WriteRequest::put(record(number, &mut rng));
        runtime.block_on(shard.write(request)).unwrap();
    });
    measure("put, buffered, existing", 2_000, || {
        let request = WriteRequest::put(record(rng.random_range(1..=number), &mut rng));
        runtime.block_on(shard.write(request)).unwrap();
    });
    measure("put, sync", 200, || {
        number += 1;
        let mut request = WriteRequest::put(record(number, &mut rng));
        request.durability = Durability::Sync;
        runtime.block_on(shard.write(request)).unwrap();
    });
    let started = Instant::now();
    let batches = (records / 1_000).max(1);
    measure("batch of 1,000 puts, buffered", batches, || {
        let operations = (0..1_000)
            .map(|_| {
                number += 1;
                Operation::Put { record: record(number, &mut rng), condition: None }
            })
            .collect();
        let request = WriteRequest { operations, ..WriteRequest::default() };
        runtime.block_on(shard.write(request)).unwrap();
    });
    let rate = f64::from(u32::try_from(batches * 1_000).unwrap()) / started.elapsed().as_secs_f64();
    println!("{rate:.0} puts a second in batches");
    measure("put, buffered, new", 2_000, || {
        number += 1;
        let request = WriteRequest::put(record(number, &mut rng));
        runtime.block_on(shard.write(request)).unwrap();
    });
    measure("put, buffered, existing", 2_000, || {
        let request = WriteRequest::put(record(rng.random_range(1..=number), &mut rng));
        runtime.block_on(shard.write(request)).unwrap();
    });
    measure("get, existing", 20_000, || {
        let id = id(rng.random_range(1..=number));
        assert!(shard.get(&id).unwrap().is_some());
    });
    measure("get, absent", 20_000, || {
        assert!(shard.get("absent").unwrap().is_none());
    });
    let page = ScrollRequest::first(1_000);
    measure("scroll, 1,000 records", 200, || {
        assert_eq!(shard.scroll(&page).unwrap().records.len(), 1_000);
    });
    shard.flush().unwrap();
    measure("search, k = 10, ids only", 5_000, || {
        let request = SearchRequest::nearest(point(&mut rng), 10);
        assert_eq!(shard.search(&request).unwrap().hits.len(), 10);
    });
    let mut filtered = SearchRequest::nearest(point(&mut rng), 10);
    let test = hvs_filter::Test {
        subject: hvs_filter::Subject::Metadata(vec!["bucket".to_owned()]),
        operator: hvs_filter::Operator::Equal(7.into()),
    };
    filtered.filter = Some(hvs_filter::Filter::Test(test).into());
    measure("search, k = 10, 1 in 100 match", 2_000, || {
        assert_eq!(shard.search(&filtered).unwrap().hits.len(), 10);
    });
    println!("{:?}", shard.stats());
    drop(shard);
    let started = Instant::now();
    let shard = Shard::open(config, kv, directory.path()).unwrap();
    println!("opened {} records in {:?}", shard.stats().records, started.elapsed());
}

fn id(number: u64) -> String {
    format!("record-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn record(number: u64, rng: &mut StdRng) -> NewRecord {
    let mut record = NewRecord::new(id(number), point(rng));
    record.metadata.insert("bucket".to_owned(), (number % 100).into());
    record
}

fn point(rng: &mut StdRng) -> Vec<f64> {
    let spatial: Vec<f64> = (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect();
    let square: f64 = spatial.iter().map(|x| x * x).sum();
    [vec![(1.0 + square).sqrt()], spatial].concat()
}

fn measure(name: &str, times: u64, mut work: impl FnMut()) {
    let mut taken: Vec<Duration> = (0..times)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    taken.sort_unstable();
    let at = |quantile: usize| {
        let index = (taken.len() * quantile / 100).min(taken.len().saturating_sub(1));
        taken.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1e6)
    };
    println!("{name:<34} {:>10.1} {:>10.1} {:>10.1}", at(50), at(99), at(100));
}
