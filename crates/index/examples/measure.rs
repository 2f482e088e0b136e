//! Measures an index of random points that fill a hyperbolic ball, beside the bare native index.
//!
//! `cargo run --release -p hvs-index --example measure -- ROWS [M EF_CONSTRUCTION [DIR]]`

#![allow(clippy::expect_used, reason = "a measurement stops at the first surprise")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::time::{Duration, Instant};

use hvs_geometry::Precision;
use hvs_index::{IndexConfig, IndexKind, RestartState, SearchRequest, VectorIndex};
use kit::{Random, hyperboloid, rounded};

const QUERIES: usize = 500;
const RADIUS: f64 = 6.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let figure = |at: usize, default: usize| {
        arguments.get(at).map_or(default, |text| text.parse().expect("a number"))
    };
    let (rows, m, ef_construction) = (figure(0, 100_000), figure(1, 16), figure(2, 128));
    let space = hyperboloid(12);
    let config = |resident_rows| {
        let mut config = IndexConfig::new(space.clone());
        config.kind = IndexKind::Hnsw { m, ef_construction, ef_search: 64 };
        config.resident_rows = resident_rows;
        config
    };
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = arguments.get(3).map_or(temporary.path().to_owned(), Into::into);

    if VectorIndex::covered(&dir).expect("a manifest") == 0 {
        let index = VectorIndex::open(&dir, config(true), RestartState::default()).expect("open");
        let mut random = Random(1);
        let began = Instant::now();
        for key in 1..=rows as u64 {
            let stored = rounded(&random.stored(&space, RADIUS), Precision::F32);
            index.insert(key, &format!("id-{key:08}"), &stored).expect("insert");
        }
        let inserted = began.elapsed();
        index.flush().expect("flush");
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "inserted in {:.1} s, in segments after {seconds:.1} s: {:.0} rows/s, {} segments, {} MB anonymous",
            inserted.as_secs_f64(),
            rows as f64 / seconds,
            index.stats().segments,
            anonymous_mb()
        );
    }
    let mut random = Random(2);
    let queries: Vec<Vec<f64>> =
        (0..QUERIES).map(|_| space.from_storage(&random.stored(&space, RADIUS))).collect();
    for resident in [false, true] {
        let began = Instant::now();
        let index =
            VectorIndex::open(&dir, config(resident), RestartState::default()).expect("open");
        println!(
            "resident rows {resident}: opened in {:.0} ms, {} MB anonymous, {:?}",
            began.elapsed().as_secs_f64() * 1e3,
            anonymous_mb(),
            index.stats()
        );
        measure(&index, &queries);
    }
}

fn measure(index: &VectorIndex, queries: &[Vec<f64>]) {
    let mut truth = Vec::new();
    let exact = timed(queries.iter().take(100), |query| {
        let request = SearchRequest { exact: true, ..SearchRequest::nearest(query, 100) };
        let answer = index.search(&request).expect("search");
        assert!(answer.exact);
        truth.push(answer.hits);
    });
    line("exact, k 100", &exact, None);
    for ef in [16, 24, 32, 48, 64, 96, 128] {
        let (mut found, mut scanned) = (0, 0);
        let mut position = 0;
        let times = timed(queries.iter().chain(queries), |query| {
            let request = SearchRequest { ef: Some(ef), ..SearchRequest::nearest(query, 10) };
            let answer = index.search(&request).expect("search");
            scanned += answer.scanned;
            if let Some(hits) = truth.get(position) {
                let best: Vec<u64> = hits.iter().take(10).map(|hit| hit.key).collect();
                found += answer.hits.iter().filter(|hit| best.contains(&hit.key)).count();
            }
            position += 1;
        });
        let label = format!("ef {ef}, {} compared", scanned / (2 * queries.len()));
        line(&label, &times, Some(found as f64 / (truth.len() * 10) as f64));
    }
    let (mut wanted, mut got) = (0, 0);
    let mut position = 0;
    let times = timed(queries.iter().take(truth.len()), |query| {
        let hits = truth.get(position).expect("as many as queries");
        let radius = hits.last().expect("hits").distance;
        let answer = index.search(&SearchRequest::within(query, radius)).expect("search");
        wanted += hits.len();
        got += answer.hits.len();
        position += 1;
    });
    line("within the 100th", &times, Some(got as f64 / wanted as f64));
    let Some(raw) = index.raw_search().expect("raw") else { return };
    let mut found = 0;
    let mut position = 0;
    let times = timed(queries.iter().chain(queries), |query| {
        let answer = raw.search(query, 10).expect("search");
        if let Some(hits) = truth.get(position) {
            let best: Vec<u64> = hits.iter().take(10).map(|hit| hit.key).collect();
            found += answer.iter().filter(|(key, _)| best.contains(key)).count();
        }
        position += 1;
    });
    line("bare usearch, ef 64", &times, Some(found as f64 / (truth.len() * 10) as f64));
}

fn timed<'q>(
    queries: impl Iterator<Item = &'q Vec<f64>>,
    mut run: impl FnMut(&[f64]),
) -> Vec<Duration> {
    let mut times: Vec<Duration> = queries
        .map(|query| {
            let began = Instant::now();
            run(query);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn line(label: &str, times: &[Duration], recall: Option<f64>) {
    let at = |part: f64| {
        let position = (times.len() as f64 * part) as usize;
        times.get(position).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    let recall = recall.map_or(String::new(), |recall| format!("  recall {recall:.4}"));
    println!("  {label:32} p50 {:9.1} us  p99 {:9.1} us{recall}", at(0.5), at(0.99));
}

fn anonymous_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
