//! Writing: the million, and single puts.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, Coordinates, CreateNamespace, IndexState,
    NamespaceInfo, PutRecord, RecordInfo, Vector, WriteResult,
};
use hvs_tests::http::{Connection, PACKED};
use xtask::report::Measure;

use super::{DIMENSION, NAMESPACE, id_of, push_latency};
use crate::{latency::Latencies, points::Points};

/// Operations in one batch, the most that the node takes unless told otherwise.
const BATCH: usize = 1_000;
/// How many single requests are timed.
const SINGLE: usize = 5_000;
/// How long the index may take to take up everything.
const PATIENCE: Duration = Duration::from_hours(1);

/// Creates the namespace, writes all points in batches, and waits until they are indexed.
///
/// # Errors
/// The node refuses something, or the index is not done in an hour.
pub(super) fn fill(
    connection: &mut Connection,
    points: &Points,
    rows: &mut Vec<Measure>,
) -> Result<()> {
    let create = CreateNamespace {
        geometry: Some(String::from("hyperboloid")),
        dimension: Some(DIMENSION as u64),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", NAMESPACE, &create)?;
    eprintln!("writing {} points in batches of {BATCH}", points.len());
    let begun = Instant::now();
    let mut latencies = Latencies::default();
    let path = format!("{NAMESPACE}/batch");
    let ids: Vec<usize> = (0..points.len()).collect();
    for batch in ids.chunks(BATCH) {
        let request = BatchRequest {
            operations: batch
                .iter()
                .map(|at| BatchOperation::Put(put(id_of(*at), points.get(*at))))
                .collect(),
            coordinates: Some(Coordinates::Spatial),
            ..BatchRequest::default()
        };
        let body = hvs_api::encode(hvs_api::Encoding::MessagePack, &request)?;
        let request = connection.prepare("POST", &path, PACKED, &body);
        let answer = latencies.time(|| connection.send(&request))?;
        ensure!(answer.status == 200, "batch: {:?}", answer.problem());
        let answer: BatchResponse = hvs_api::decode(hvs_api::Encoding::MessagePack, &answer.body)?;
        ensure!(answer.results.len() == batch.len() && answer.failed == 0, "a batch lost puts");
    }
    let written = begun.elapsed().as_secs_f64();
    push_latency(rows, "batch of 1,000", &latencies, 50.0, None);
    rows.push(Measure::plain("writing", points.len() as f64 / written, "points/s"));
    wait_until_indexed(connection)?;
    let all = begun.elapsed().as_secs_f64();
    rows.push(Measure::plain("writing until indexed", all, "s"));
    let info: NamespaceInfo = connection.get(NAMESPACE)?;
    ensure!(info.records == points.len() as u64, "{} records", info.records);
    Ok(())
}

fn put(id: String, spatial: &[f32]) -> PutRecord {
    PutRecord { id: Some(id), vector: Some(as_vector(spatial)), ..PutRecord::default() }
}

fn as_vector(spatial: &[f32]) -> Vector {
    Vector(spatial.iter().map(|coordinate| f64::from(*coordinate)).collect())
}

fn wait_until_indexed(connection: &mut Connection) -> Result<()> {
    let begun = Instant::now();
    let mut shown = Instant::now();
    let mut quiet_since: Option<(Instant, IndexState)> = None;
    loop {
        let info: NamespaceInfo = connection.get(NAMESPACE)?;
        let state = info.vectors.get("").context("no default vector")?.state.clone();
        // Between two builds nothing is built for a moment.
        match &quiet_since {
            Some((since, before)) if *before == state && !state.building => {
                if since.elapsed() > Duration::from_secs(3) {
                    eprintln!("indexed: {} segments, {} in the tail", state.segments, state.tail);
                    return Ok(());
                }
            }
            _ => quiet_since = Some((Instant::now(), state.clone())),
        }
        if shown.elapsed() > Duration::from_secs(20) {
            shown = Instant::now();
            eprintln!("indexing: {} segments, {} to go", state.segments, state.tail);
        }
        ensure!(begun.elapsed() < PATIENCE, "not indexed after an hour: {state:?}");
        thread::sleep(Duration::from_millis(250));
    }
}

/// Times single gets and puts.
///
/// # Errors
/// The node refuses something.
pub(super) fn write_latencies(
    connection: &mut Connection,
    points: &Points,
    rows: &mut Vec<Measure>,
) -> Result<()> {
    eprintln!("{SINGLE} gets and {SINGLE} puts");
    let mut gets = Latencies::default();
    for turn in 0..SINGLE {
        let at = turn.wrapping_mul(7_919) % points.len();
        let path = format!("{NAMESPACE}/vectors/{}", id_of(at));
        let request = connection.prepare("GET", &path, PACKED, &[]);
        let answer = gets.time(|| connection.send(&request))?;
        let record: RecordInfo = hvs_api::decode(hvs_api::Encoding::MessagePack, &answer.body)?;
        ensure!(record.id == id_of(at), "got {}", record.id);
    }
    push_latency(rows, "get by id", &gets, 0.2, None);
    let mut puts = Latencies::default();
    for turn in 0..SINGLE {
        let mut record = put(id_of(points.len() + turn), points.get(turn % points.len()));
        record.coordinates = Some(Coordinates::Spatial);
        let path = format!("{NAMESPACE}/vectors/{}", id_of(points.len() + turn));
        let body = hvs_api::encode(hvs_api::Encoding::MessagePack, &record)?;
        let request = connection.prepare("PUT", &path, PACKED, &body);
        let answer = puts.time(|| connection.send(&request))?;
        ensure!(answer.status < 300, "put: {:?}", answer.problem());
        let _: WriteResult = hvs_api::decode(hvs_api::Encoding::MessagePack, &answer.body)?;
    }
    push_latency(rows, "put (buffered)", &puts, 0.5, None);
    Ok(())
}
