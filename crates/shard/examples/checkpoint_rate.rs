//! How fast a full checkpoint of a shard is made, verified and restored, beside what `zstd -1`
//! needs for the same bytes: `cargo run --release -p hvs-shard --example checkpoint_rate`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hvs_checkpoint::{
    Chain, ChainError, CheckpointStore, Finished, Link, ObjectRef, ObjectWriter, Sizes,
};
use hvs_geometry::{Geometry, Space};
use hvs_kv::Kv;
use hvs_kv::embedded::{Embedded, EmbeddedConfig};
use hvs_shard::checkpoint::{Export, StateRows, restore};
use hvs_shard::{
    Durability, IndexConfig, IndexKind, NewRecord, Operation, Shard, ShardConfig, WriteRequest,
    Writer,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

const RECORDS: u32 = 300_000;
const DIMENSION: usize = 12;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let kv: Arc<dyn Kv> =
        Arc::new(Embedded::open(&folder.path().join("kv"), EmbeddedConfig::default()).unwrap());
    let space = Space::new(Geometry::Euclidean, DIMENSION, 0.0).unwrap();
    // The graph is another cost, and not that of a checkpoint.
    let index = IndexConfig { kind: IndexKind::Flat, ..IndexConfig::new(space) };
    let writer = Writer { node: "node".to_owned(), incarnation: 1 };
    let config = ShardConfig::new(
        Uuid::new_v4(),
        Uuid::new_v4(),
        writer,
        BTreeMap::from([(String::new(), index)]),
    );
    let shard = Shard::open(config.clone(), Arc::clone(&kv), &folder.path().join("shard")).unwrap();
    fill(&runtime, &shard);

    for round in 1..=3 {
        measure(&runtime, folder.path(), round, (&kv, &config, &shard));
    }
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    folder: &Path,
    round: u32,
    (kv, config, shard): (&Arc<dyn Kv>, &ShardConfig, &Shard),
) {
    let place =
        CheckpointStore::open(folder.join(format!("place-{round}")).to_str().unwrap(), []).unwrap();
    let export = shard.export().unwrap();
    let started = Instant::now();
    let (mut raw, mut rows) = (0, 0);
    let digest = export
        .write(None, |key, value| {
            raw += key.len() + value.len();
            rows += 1;
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap();
    say("read and digest", started, raw);

    let started = Instant::now();
    let mut objects = Vec::new();
    let mut uploading: Option<tokio::task::JoinHandle<()>> = None;
    let mut put = |object: Finished| {
        let name = format!("objects/a/{:06}", objects.len());
        let bytes = object.bytes.len() as u64;
        objects.push(ObjectRef { name: name.clone(), bytes, rows: object.rows, hash: object.hash });
        if let Some(uploading) = uploading.take() {
            runtime.block_on(uploading).unwrap();
        }
        let place = place.clone();
        uploading =
            Some(runtime.spawn(async move { place.put(&name, object.bytes).await.unwrap() }));
    };
    let mut writer = ObjectWriter::new(Sizes::default()).unwrap();
    export
        .write(None, |key, value| {
            if let Some(object) = writer.push(key, value)? {
                put(object);
            }
            Ok::<(), hvs_checkpoint::WriteError>(())
        })
        .unwrap();
    for object in writer.finish().unwrap() {
        put(object);
    }
    runtime.block_on(uploading.unwrap()).unwrap();
    say("checkpoint, with fsync", started, raw);
    let size: u64 = objects.iter().map(|object| object.bytes).sum();
    println!("  {rows} rows, {raw} bytes, {size} in {} objects", objects.len());

    zstd(folder, &export, raw);
    let links = [Link { seq: export.seq(), since: None, objects }];
    let fetch =
        |object: &ObjectRef| -> Result<_, ChainError> { Ok(runtime.block_on(place.get(object))?) };
    let started = Instant::now();
    let mut state = StateRows::default();
    for row in Chain::new(&links, fetch) {
        let row = row.unwrap();
        state.push(&row.key, &row.value).unwrap();
    }
    assert_eq!(state.finish().unwrap().digest, digest);
    say("verify", started, raw);

    let started = Instant::now();
    let other = ShardConfig { namespace: Uuid::new_v4(), shard: Uuid::new_v4(), ..config.clone() };
    let rows = Chain::new(&links, fetch).map(|row| row.map(|row| (row.key, row.value)));
    let target = folder.join(format!("restored-{round}"));
    restore(&other, kv, &target, rows, Some(digest), None).unwrap();
    say("restore", started, raw);
    let started = Instant::now();
    let copy = Shard::open(other, Arc::clone(kv), &target).unwrap();
    say("open", started, raw);
    assert_eq!(copy.stats().records, u64::from(RECORDS));
}

fn zstd(folder: &Path, export: &Export, raw: usize) {
    let mut plain = Vec::with_capacity(raw);
    export
        .write(None, |key, value| {
            plain.extend_from_slice(key);
            plain.extend_from_slice(value);
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap();
    let path = folder.join("plain");
    std::fs::write(&path, &plain).unwrap();
    let started = Instant::now();
    let status =
        std::process::Command::new("zstd").args(["-1", "-q", "-f", "-T1"]).arg(&path).status();
    match status {
        Ok(status) if status.success() => {
            say("zstd -1 of the same bytes", started, raw);
            println!("  {} bytes", path.with_extension("zst").metadata().unwrap().len());
        }
        _ => println!("there is no zstd program to compare with"),
    }
}

fn fill(runtime: &tokio::runtime::Runtime, shard: &Shard) {
    let mut random = StdRng::seed_from_u64(7);
    let started = Instant::now();
    for first in (0..RECORDS).step_by(1_000) {
        let operations = (first..first + 1_000).map(|n| {
            let vector = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
            let mut record = NewRecord::new(format!("record-{n:07}"), vector);
            record.metadata.insert("number".to_owned(), n.into());
            record.metadata.insert("language".to_owned(), "en".into());
            Operation::Put { record, condition: None }
        });
        let request = WriteRequest {
            operations: operations.collect(),
            durability: Durability::Buffered,
            atomic: false,
            idempotency_key: None,
        };
        runtime.block_on(shard.write(request)).unwrap();
    }
    println!("{RECORDS} records of {DIMENSION} coordinates written in {:.1?}", started.elapsed());
}

fn say(what: &str, started: Instant, bytes: usize) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{what}: {seconds:.3} s, {:.0} MB/s, {:.0} records/s",
        bytes as f64 / 1e6 / seconds,
        f64::from(RECORDS) / seconds
    );
}
