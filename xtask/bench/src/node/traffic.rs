//! Searching over HTTP, and what HTTP adds to the index.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hvs_api::{BatchSearchRequest, BatchSearchResponse, Encoding, SearchRequest, SearchResponse};
use hvs_tests::{
    http::{Connection, PACKED},
    node::Node,
};
use xtask::report::Measure;

use super::{NAMESPACE, RANGE_HITS, ROUNDS, Workload, micros, nearest, push_latency};
use crate::{latency::Latencies, process};

/// Searches in one batch.
const BATCH: usize = 100;
/// Connections that search at once when throughput is measured.
const CONNECTIONS: usize = 4;
/// How long throughput is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// What was measured over HTTP.
pub(super) struct OverHttp {
    search_p50: f64,
    index_p50: f64,
    echo_p50: f64,
    echo_cpu: Duration,
    cpu_per_search: Duration,
    loaded_cpu_per_search: Duration,
    single_throughput: f64,
    batch_throughput: f64,
}

/// What the index does when it is called directly.
pub(super) struct Alone {
    pub(super) search_p50: f64,
    pub(super) cpu_per_search: Duration,
    pub(super) loaded_cpu_per_search: Duration,
    pub(super) throughput: f64,
}

/// Latencies of one client, then the throughput of several.
///
/// # Errors
/// The node refuses something.
pub(super) fn measure(
    node: &Node,
    workload: &Workload,
    width: u64,
    rows: &mut Vec<Measure>,
) -> Result<OverHttp> {
    let mut connection = Connection::open(node.external())?;
    let path = format!("{NAMESPACE}/search");
    let requests = workload
        .queries
        .iter()
        .map(|query| {
            let body = hvs_api::encode(Encoding::MessagePack, &nearest(query, width))?;
            Ok(connection.prepare("POST", &path, PACKED, &body))
        })
        .collect::<Result<Vec<_>>>()?;

    eprintln!("{} searches by one client, {ROUNDS} times", requests.len());
    let mut warm = Latencies::default();
    let mut answer_bytes = 0;
    for request in &requests {
        answer_bytes = warm.time(|| connection.send(request))?.body.len();
    }
    let cpu_before = process::cpu_time(node.pid())?;
    let mut searches = Latencies::default();
    for request in requests.iter().cycle().take(requests.len() * ROUNDS) {
        let answer = searches.time(|| connection.send(request))?;
        ensure!(answer.status == 200, "search: {:?}", answer.problem());
    }
    let cpu = process::cpu_time(node.pid())?.saturating_sub(cpu_before);
    let cpu_per_search = cpu.div_f64(searches.count() as f64);
    push_latency(rows, "search k=10", &searches, 1.0, Some(5.0));

    let index_p50 = index_time(&mut connection, workload, width)?;
    let cpu_before = process::cpu_time(node.pid())?;
    let echoes = echo(&mut connection, requests.first().map_or(0, Vec::len), answer_bytes)?;
    let echo_cpu = process::cpu_time(node.pid())?.saturating_sub(cpu_before);
    range(&mut connection, workload, rows)?;

    eprintln!("throughput, {CONNECTIONS} connections");
    let cpu_before = process::cpu_time(node.pid())?;
    let (searched, single_throughput) = throughput(node.external(), &requests, 1)?;
    let cpu = process::cpu_time(node.pid())?.saturating_sub(cpu_before);
    let loaded_cpu_per_search = cpu.div_f64(searched as f64);
    let batches = workload
        .queries
        .chunks(BATCH)
        .map(|part| {
            let searches = part.iter().map(|query| nearest(query, width)).collect();
            let body = hvs_api::encode(Encoding::MessagePack, &BatchSearchRequest { searches })?;
            Ok(connection.prepare("POST", &format!("{path}/batch"), PACKED, &body))
        })
        .collect::<Result<Vec<_>>>()?;
    let sample = batches.first().context("no batch")?;
    let answer: BatchSearchResponse =
        hvs_api::decode(Encoding::MessagePack, &connection.send(sample)?.body)?;
    ensure!(answer.results.len() == BATCH, "{} answers to {BATCH} searches", answer.results.len());
    let (_, batch_throughput) = throughput(node.external(), &batches, BATCH)?;
    Ok(OverHttp {
        search_p50: searches.p50(),
        index_p50,
        echo_p50: echoes.p50(),
        echo_cpu: echo_cpu.div_f64(echoes.count() as f64),
        cpu_per_search,
        loaded_cpu_per_search,
        single_throughput,
        batch_throughput,
    })
}

/// The median of the time that searches spend in the index, as the node says, in milliseconds.
fn index_time(connection: &mut Connection, workload: &Workload, width: u64) -> Result<f64> {
    let mut times = Vec::with_capacity(workload.queries.len());
    for query in &workload.queries {
        let request = SearchRequest { explain: Some(true), ..nearest(query, width) };
        let answer: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &request)?;
        times.push(answer.explain.context("no explanation")?.index_us / 1e3);
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("no search was timed")
}

/// Requests that do nothing, with bodies of the same size.
fn echo(
    connection: &mut Connection,
    request_bytes: usize,
    answer_bytes: usize,
) -> Result<Latencies> {
    let path = format!("/_echo?bytes={answer_bytes}");
    let head = connection.prepare("POST", &path, PACKED, &[]).len();
    let body = vec![0; request_bytes.saturating_sub(head)];
    let request = connection.prepare("POST", &path, PACKED, &body);
    let mut latencies = Latencies::default();
    for _ in 0..super::QUERIES * ROUNDS {
        let answer = latencies.time(|| connection.send(&request))?;
        ensure!(answer.body.len() == answer_bytes, "echo: status {}", answer.status);
    }
    Ok(latencies)
}

/// Everything within the distance of the hundredth neighbour.
fn range(connection: &mut Connection, workload: &Workload, rows: &mut Vec<Measure>) -> Result<()> {
    let mut latencies = Latencies::default();
    let (mut found, mut expected) = (0, 0);
    for (query, truth) in workload.queries.iter().zip(&workload.truth) {
        // A little more than the true distance, so that the last one is not lost to rounding.
        let radius = truth.last().context("no true neighbours")?.distance * (1.0 + 1e-9);
        let request =
            SearchRequest { radius: Some(radius), k: None, ef: None, ..nearest(query, 0) };
        let body = hvs_api::encode(Encoding::MessagePack, &request)?;
        let request = connection.prepare("POST", &format!("{NAMESPACE}/search"), PACKED, &body);
        let answer = latencies.time(|| connection.send(&request))?;
        let answer: SearchResponse = hvs_api::decode(Encoding::MessagePack, &answer.body)?;
        found += answer.hits.len();
        expected += RANGE_HITS;
    }
    push_latency(rows, "range search, 100 hits", &latencies, 5.0, None);
    let share = found as f64 / expected as f64;
    rows.push(Measure::plain("range search, share found", share, "").against("the true number"));
    Ok(())
}

/// How many searches several connections make at once, and how many that is in a second.
fn throughput(node: SocketAddr, requests: &[Vec<u8>], searches: usize) -> Result<(usize, f64)> {
    let begun = Instant::now();
    let sent = thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|worker| {
                scope.spawn(move || {
                    let mut connection = Connection::open(node)?;
                    let mut sent = 0;
                    for request in requests.iter().cycle().skip(worker * requests.len() / 4) {
                        if begun.elapsed() > WINDOW {
                            break;
                        }
                        let answer = connection.send(request)?;
                        ensure!(answer.status == 200, "search: {:?}", answer.problem());
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
    let searched = sent * searches;
    Ok((searched, searched as f64 / begun.elapsed().as_secs_f64()))
}

/// The rows that hold HTTP against the index alone.
pub(super) fn compare(over_http: &OverHttp, alone: &Alone, rows: &mut Vec<Measure>) {
    let overhead = over_http.search_p50 - over_http.index_p50 - over_http.echo_p50;
    rows.push(
        Measure::at_most("search p50 less index, above echo", micros(overhead), "µs", 75.0)
            .against(format!(
                "search {:.0} µs, of it index {:.0} µs; echo {:.0} µs; index alone {:.0} µs",
                micros(over_http.search_p50),
                micros(over_http.index_p50),
                micros(over_http.echo_p50),
                micros(alone.search_p50),
            )),
    );
    // The target is about the work that HTTP adds. With one client both processors sleep between
    // requests, and what waking them costs, which an echo shows, is more than a search.
    let (ratio, sides) = ratio_of(over_http.loaded_cpu_per_search, alone.loaded_cpu_per_search);
    rows.push(
        Measure::at_most("server CPU per search / index alone", ratio, "x", 2.0)
            .against(format!("{sides}; all processors busy")),
    );
    let (ratio, sides) = ratio_of(over_http.cpu_per_search, alone.cpu_per_search);
    rows.push(
        Measure::plain("the same, one client", ratio, "x").against(format!(
            "{sides}; of an echo {:.0} µs",
            over_http.echo_cpu.as_secs_f64() * 1e6
        )),
    );
    for (name, value, target) in [
        ("batch search throughput / index alone", over_http.batch_throughput, 70.0),
        ("single search throughput / index alone", over_http.single_throughput, 45.0),
    ] {
        rows.push(
            Measure::at_least(name, value / alone.throughput * 100.0, "%", target)
                .against(format!("{value:.0}/s / {:.0}/s", alone.throughput)),
        );
    }
}

/// A duration in units of another, and both in microseconds.
fn ratio_of(node: Duration, index: Duration) -> (f64, String) {
    let (node, index) = (node.as_secs_f64() * 1e6, index.as_secs_f64() * 1e6);
    (node / index, format!("{node:.0} µs / {index:.0} µs"))
}
