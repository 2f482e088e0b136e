//! Writing until everything is indexed, beside the bare native index over the same rows.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, Coordinates, CreateNamespace, IndexSpec,
    IndexState, IndexType, NamespaceInfo, PutRecord, Vector,
};
use hvs_tests::{http::Connection, node::Node};
use serde_json::json;
use xtask::report::{Measure, number};

use super::native;
use crate::process;

/// Operations in one request.
pub(super) const BATCH: usize = 1_000;
/// How long the index may take to take up everything.
const PATIENCE: Duration = Duration::from_hours(1);
/// Records whose `part` is the same: `part` 0 is one in so many, for filters.
pub(super) const PARTS: usize = 100;

/// Rows of one space: what is sent, without the time coordinate of a hyperboloid.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) geometry: &'static str,
    pub(super) dimension: usize,
    pub(super) rows: Vec<Vec<f32>>,
}

impl Set {
    pub(super) fn path(&self) -> String {
        format!("/v1/namespaces/{}", self.geometry)
    }

    pub(super) fn put(&self, at: usize, row: &[f32]) -> PutRecord {
        let is_hyperbolic = self.geometry == "hyperboloid";
        PutRecord {
            id: Some(format!("p{at:07}")),
            vector: Some(Vector(row.iter().map(|x| f64::from(*x)).collect())),
            coordinates: is_hyperbolic.then_some(Coordinates::Spatial),
            metadata: json!({"part": at % PARTS}).as_object().cloned(),
            ..PutRecord::default()
        }
    }
}

/// Creates the namespace, fills it, waits for its index, and builds the bare index of the same.
pub(super) fn measure(node: &Node, set: &Set, rows: &mut Vec<Measure>) -> Result<()> {
    let mut connection = node.connect()?;
    let create = CreateNamespace {
        geometry: Some(set.geometry.to_owned()),
        dimension: Some(set.dimension as u64),
        ..CreateNamespace::default()
    };
    let path = set.path();
    let made: NamespaceInfo = connection.call("PUT", &path, &create)?;
    let index = made.vectors.get("").context("no default vector")?.index.clone();
    let (m, ef) = index.m.zip(index.ef_construction).context("not a graph")?;

    eprintln!("{}: writing {} rows", set.name, set.rows.len());
    let (cpu, written) = (process::cpu_time(node.pid())?, process::written(node.pid())?);
    let begun = Instant::now();
    put_all(&mut connection, set)?;
    let acknowledged = begun.elapsed();
    wait_until_indexed(&mut connection, &path)?;
    let wall = begun.elapsed();
    let cpu = process::cpu_time(node.pid())?.saturating_sub(cpu);
    let written = process::written(node.pid())?.saturating_sub(written);

    eprintln!("{}: the bare native index", set.name);
    let native = native::build(set, m, ef)?;
    let count = set.rows.len() as f64;
    let (ours, theirs) = (count / cpu.as_secs_f64(), count / native.cpu.as_secs_f64());
    rows.push(
        Measure::at_least(
            format!("{}: ingest per core / native build", set.name),
            100.0 * ours / theirs,
            "%",
            40.0,
        )
        .against(format!(
            "{} / {} rows per second of processor",
            number(ours),
            number(theirs)
        )),
    );
    rows.push(
        Measure::plain(format!("{}: until indexed", set.name), wall.as_secs_f64(), "s").against(
            format!(
                "acknowledged after {:.1} s; native build {:.1} s",
                acknowledged.as_secs_f64(),
                native.wall.as_secs_f64()
            ),
        ),
    );
    let bytes = count * (4 * set.dimension) as f64;
    rows.push(
        Measure::plain(format!("{}: write amplification", set.name), written as f64 / bytes, "x")
            .against("bytes of the vectors; log, records and segments are in it"),
    );
    Ok(())
}

/// Creates the namespace with an index that has nothing to build, and fills it.
pub(super) fn fill_flat(node: &Node, set: &Set) -> Result<()> {
    let mut connection = node.connect()?;
    let create = CreateNamespace {
        geometry: Some(set.geometry.to_owned()),
        dimension: Some(set.dimension as u64),
        index: Some(IndexSpec { kind: IndexType::Flat, ..IndexSpec::default() }),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", &set.path(), &create)?;
    eprintln!("{}: writing {} rows", set.name, set.rows.len());
    put_all(&mut connection, set)
}

fn put_all(connection: &mut Connection, set: &Set) -> Result<()> {
    let path = format!("{}/batch", set.path());
    for (first, part) in set.rows.chunks(BATCH).enumerate() {
        let puts = part.iter().enumerate();
        let request = BatchRequest {
            operations: puts
                .map(|(at, row)| BatchOperation::Put(set.put(first * BATCH + at, row)))
                .collect(),
            ..BatchRequest::default()
        };
        let answer: BatchResponse = connection.call("POST", &path, &request)?;
        ensure!(answer.failed == 0, "a batch lost puts");
    }
    Ok(())
}

pub(super) fn wait_until_indexed(connection: &mut Connection, path: &str) -> Result<()> {
    let begun = Instant::now();
    let mut quiet: Option<(Instant, IndexState)> = None;
    loop {
        let info: NamespaceInfo = connection.get(path)?;
        let state = info.vectors.get("").context("no default vector")?.state.clone();
        match &quiet {
            // Between two builds nothing is built for a moment.
            Some((since, before)) if *before == state && !state.building => {
                if since.elapsed() > Duration::from_millis(1_500) {
                    return Ok(());
                }
            }
            _ => quiet = Some((Instant::now(), state.clone())),
        }
        ensure!(begun.elapsed() < PATIENCE, "not indexed after an hour: {state:?}");
        thread::sleep(Duration::from_millis(100));
    }
}
