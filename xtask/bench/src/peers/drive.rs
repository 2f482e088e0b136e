//! Putting a server under the workload.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hvs_tests::http::{Answer, Connection};
use serde_json::Value;

use super::{K, WANTED_RECALL, WIDTHS, outcome::Outcome};
use crate::{glove::Workload, latency::Latencies, process};

/// Vectors in one request that loads.
const BATCH: usize = 1_000;
/// Searches in one request that has many.
const SEARCHES: usize = 100;
/// Clients that search at once, and for how long.
const CLIENTS: usize = 4;
const WINDOW: Duration = Duration::from_secs(5);
/// How often all queries are asked by the single client.
const ROUNDS: usize = 3;
/// Single writes that are timed, of each kind.
const PUTS: usize = 300;

/// A request in JSON.
pub(super) struct Request {
    method: &'static str,
    path: String,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn new(method: &'static str, path: String, body: &Value) -> Self {
        Self { method, path, body: body.to_string().into_bytes() }
    }

    fn bytes(&self, connection: &Connection) -> Vec<u8> {
        let headers = "content-type: application/json\r\naccept: application/json\r\n";
        connection.prepare(self.method, &self.path, headers, &self.body)
    }
}

/// What a server must be able to say of itself to be measured. Rows are numbered; the number is
/// the id.
pub(super) trait System {
    fn name(&self) -> &'static str;
    fn connect(&self) -> Result<Connection>;
    fn pid(&self) -> u32;
    fn create(&mut self, connection: &mut Connection) -> Result<()>;
    /// Writes rows, the first of which has number `first`.
    fn batch(&self, first: usize, rows: &[&[f32]]) -> Request;
    fn check_batch(&self, answer: &Answer) -> Result<()>;
    fn wait_until_indexed(&self, connection: &mut Connection) -> Result<()>;
    /// Writes one row; `sync` asks for an answer that outlives a loss of power, if it can be had.
    fn put(&self, at: usize, row: &[f32], sync: bool) -> Option<Request>;
    /// For systems whose width of search is not part of the search.
    fn set_width(&mut self, connection: &mut Connection, ef: u64) -> Result<()>;
    fn widths(&self) -> &[u64] {
        &WIDTHS
    }
    fn query(&self, vector: &[f32], ef: u64) -> Request;
    /// Many searches in one request, if there is such a request.
    fn queries(&self, vectors: &[&[f32]], ef: u64) -> Option<Request>;
    fn hits(&self, answer: &Answer) -> Result<Vec<usize>>;
}

pub(super) fn measure(system: &mut impl System, workload: &Workload) -> Result<Outcome> {
    let mut connection = system.connect()?;
    system.create(&mut connection)?;
    let mut outcome =
        Outcome { name: system.name().to_owned(), is_server: true, ..Outcome::default() };
    load(system, &mut connection, workload, &mut outcome)?;
    for width in system.widths().to_vec() {
        system.set_width(&mut connection, width)?;
        let recall = recall(system, &mut connection, workload, width)?;
        eprintln!("ef {width}: recall@{K} {recall:.4}");
        (outcome.ef, outcome.recall) = (width, recall);
        if recall >= WANTED_RECALL {
            break;
        }
    }
    search(system, &mut connection, workload, &mut outcome)?;
    write(system, &mut connection, workload, &mut outcome)?;
    Ok(outcome)
}

fn load(
    system: &impl System,
    connection: &mut Connection,
    workload: &Workload,
    outcome: &mut Outcome,
) -> Result<()> {
    let rows: Vec<&[f32]> = workload.stored.iter().collect();
    let requests: Vec<Request> =
        rows.chunks(BATCH).enumerate().map(|(at, part)| system.batch(at * BATCH, part)).collect();
    eprintln!("writing {} vectors in batches of {BATCH}", rows.len());
    let begun = Instant::now();
    for request in &requests {
        let answer = connection.send(&request.bytes(connection))?;
        system.check_batch(&answer)?;
    }
    outcome.batch_puts_s = rows.len() as f64 / begun.elapsed().as_secs_f64();
    system.wait_until_indexed(connection)?;
    outcome.load_s = begun.elapsed().as_secs_f64();
    outcome.resident_mib = process::resident_memory(system.pid())? as f64 / f64::from(1 << 20);
    Ok(())
}

fn recall(
    system: &impl System,
    connection: &mut Connection,
    workload: &Workload,
    width: u64,
) -> Result<f64> {
    let mut found = 0;
    for (query, truth) in workload.queries.iter().zip(&workload.truth) {
        let answer = connection.send(&system.query(query, width).bytes(connection))?;
        let hits: HashSet<usize> = system.hits(&answer)?.into_iter().collect();
        found += truth.iter().filter(|at| hits.contains(at)).count();
    }
    Ok(found as f64 / (workload.truth.len() * K) as f64)
}

fn search(
    system: &impl System,
    connection: &mut Connection,
    workload: &Workload,
    outcome: &mut Outcome,
) -> Result<()> {
    let queries: Vec<&[f32]> = workload.queries.iter().collect();
    let requests: Vec<Vec<u8>> =
        queries.iter().map(|query| system.query(query, outcome.ef).bytes(connection)).collect();
    eprintln!("{} searches by one client, {ROUNDS} times", requests.len());
    for request in &requests {
        connection.send(request)?;
    }
    let mut latencies = Latencies::default();
    for request in requests.iter().cycle().take(requests.len() * ROUNDS) {
        let answer = latencies.time(|| connection.send(request))?;
        ensure!(answer.status == 200, "a search ended with status {}", answer.status);
    }
    (outcome.p50_ms, outcome.p99_ms) = (latencies.p50(), latencies.p99());
    eprintln!("{CLIENTS} clients");
    outcome.searches_s = throughput(system, &requests, 1)?;
    let batches: Option<Vec<Vec<u8>>> = queries
        .chunks(SEARCHES)
        .map(|part| Some(system.queries(part, outcome.ef)?.bytes(connection)))
        .collect();
    if let Some(batches) = batches {
        outcome.batch_searches_s = Some(throughput(system, &batches, SEARCHES)?);
    }
    Ok(())
}

/// Searches a second by several clients, with so many searches in each request.
fn throughput(system: &impl System, requests: &[Vec<u8>], searches: usize) -> Result<f64> {
    let connections =
        (0..CLIENTS).map(|_| system.connect()).collect::<Result<Vec<Connection>>>()?;
    let begun = Instant::now();
    let sent = thread::scope(|scope| {
        let workers: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(client, mut connection)| {
                scope.spawn(move || {
                    let mut sent = 0;
                    for request in requests.iter().cycle().skip(client * requests.len() / CLIENTS) {
                        if begun.elapsed() > WINDOW {
                            break;
                        }
                        let answer = connection.send(request)?;
                        ensure!(answer.status == 200, "status {}", answer.status);
                        sent += 1;
                    }
                    Ok::<usize, anyhow::Error>(sent)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a client panicked")))
            .sum::<Result<usize>>()
    })?;
    Ok((sent * searches) as f64 / begun.elapsed().as_secs_f64())
}

fn write(
    system: &impl System,
    connection: &mut Connection,
    workload: &Workload,
    outcome: &mut Outcome,
) -> Result<()> {
    eprintln!("{PUTS} single writes");
    let mut timed = |sync: bool, skip: usize| -> Result<Option<f64>> {
        let mut latencies = Latencies::default();
        for (at, row) in workload.spare.iter().enumerate().skip(skip).take(PUTS) {
            let Some(request) = system.put(workload.stored.len() + at, row, sync) else {
                return Ok(None);
            };
            let request = request.bytes(connection);
            let answer = latencies.time(|| connection.send(&request))?;
            ensure!(answer.status < 300, "a write ended with status {}", answer.status);
        }
        Ok(Some(latencies.p50()))
    };
    outcome.put_p50_ms = timed(false, 0)?.context("no single writes")?;
    outcome.sync_put_p50_ms = timed(true, PUTS)?;
    Ok(())
}
