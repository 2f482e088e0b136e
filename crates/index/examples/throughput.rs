//! Searches per second and recall of a graph and of inverted lists, for a profile that is to answer as many
//! as it can.
//!
//! `cargo run --release -p hvs-index --example throughput -- [ROWS]`

#![allow(clippy::expect_used, reason = "a measurement stops at the first surprise")]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::time::Instant;

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::{IndexConfig, IndexKind, Quantisation, RestartState, SearchRequest, VectorIndex};
use kit::{Groups, Random, hyperboloid, rounded, space};

const GROUPS: usize = 300;
const QUERIES: usize = 1_000;
const K: usize = 10;
const PRECISION: Precision = Precision::F32;

fn main() {
    let rows = std::env::args().nth(1).map_or(100_000, |text| text.parse().expect("a number"));
    println!("{rows} rows, {QUERIES} searches by one thread, recall@{K} and searches/s");
    for (name, space, quantisation) in [
        ("Euclidean, 24", space(Geometry::Euclidean, 24, 0.0), Quantisation::I8),
        ("sphere, 15", space(Geometry::Spherical, 15, 1.0), Quantisation::I8),
        ("hyperboloid, 12", hyperboloid(12), Quantisation::F16),
    ] {
        for is_grouped in [true, false] {
            let mut random = Random(1);
            let groups = Groups::new(&space, GROUPS, &mut random);
            let mut point = || {
                if is_grouped {
                    groups.point(&mut random, PRECISION)
                } else {
                    rounded(&random.stored(&space, 4.0), PRECISION)
                }
            };
            let stored: Vec<Vec<f64>> = (0..rows).map(|_| point()).collect();
            let queries: Vec<Vec<f64>> =
                (0..QUERIES).map(|_| space.from_storage(&point())).collect();
            println!("{name}, {}", if is_grouped { "in groups" } else { "without groups" });
            let graph = IndexKind::Hnsw { m: 16, ef_construction: 128, ef_search: 32 };
            let lists = IndexKind::Ivf { nlist: None, nprobe: None };
            measure(&space, quantisation, graph, &stored, &queries);
            measure(&space, quantisation, lists, &stored, &queries);
        }
    }
}

fn measure(
    space: &Space,
    quantisation: Quantisation,
    kind: IndexKind,
    stored: &[Vec<f64>],
    queries: &[Vec<f64>],
) {
    let folder = tempfile::tempdir().expect("a directory");
    let mut config = IndexConfig::new(space.clone());
    config.precision = PRECISION;
    config.kind = kind;
    config.quantisation = quantisation;
    config.tail_limit = stored.len();
    config.builders.pause();
    let index =
        VectorIndex::open(folder.path(), config.clone(), RestartState::default()).expect("open");
    for (key, row) in (1..).zip(stored) {
        index.insert(key, &format!("id-{key}"), row).expect("insert");
    }
    config.builders.resume();
    index.flush().expect("flush");
    let ids = |request: &SearchRequest<'_>| -> (Vec<u64>, usize) {
        let answer = index.search(request).expect("a search");
        (answer.hits.iter().map(|hit| hit.key).collect(), answer.scanned)
    };
    let truth: Vec<Vec<u64>> = queries
        .iter()
        .map(|query| ids(&SearchRequest { exact: true, ..SearchRequest::nearest(query, K) }).0)
        .collect();
    let sizes: &[usize] = match kind {
        IndexKind::Hnsw { .. } => &[16, 32, 64, 100],
        _ => &[5, 10, 20, 40, 80],
    };
    for &size in sizes {
        let (mut found, mut scanned) = (0, 0);
        let began = Instant::now();
        for (query, truth) in queries.iter().zip(&truth) {
            let mut request = SearchRequest::nearest(query, K);
            match kind {
                IndexKind::Hnsw { .. } => request.ef = Some(size),
                _ => request.nprobe = Some(size),
            }
            let (keys, computed) = ids(&request);
            scanned += computed;
            found += keys.iter().filter(|key| truth.contains(key)).count();
        }
        let seconds = began.elapsed().as_secs_f64();
        let what = if matches!(kind, IndexKind::Hnsw { .. }) { "ef" } else { "nprobe" };
        println!(
            "  {what} {size:>3}: {:.3} {:>7.0}/s, {:.2} % compared",
            found as f64 / (queries.len() * K) as f64,
            queries.len() as f64 / seconds,
            100.0 * scanned as f64 / (queries.len() * stored.len()) as f64
        );
    }
}
