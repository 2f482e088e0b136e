//! `cargo xtask bench node`: a million points on the hyperboloid in one node, measured by one
//! client over loopback.

mod load;
mod raw;
mod traffic;

use std::{collections::HashSet, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use hvs_api::{NamespaceInfo, SearchRequest, SearchResponse, Vector};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings},
};
use xtask::report::{self, Measure};

use crate::{
    counts::parse_count,
    latency::Latencies,
    points::{Neighbour, Points},
    process,
};

/// The namespace that is measured.
const NAMESPACE: &str = "/v1/namespaces/bench";
const DIMENSION: usize = 12;
/// Radius of the ball that the points fill. With it, most of them lie where f32 still holds six
/// digits of a distance, and the tenth neighbour is about half as far as a stranger.
const RADIUS: f64 = 4.0;
const SEED: u64 = 20_260_101;
const K: usize = 10;
/// How many queries there are, and for how many of them the truth is computed.
const QUERIES: usize = 4_000;
const JUDGED: usize = 500;
const WANTED_RECALL: f64 = 0.95;
/// How often all queries are asked again while processor time is counted, which the kernel tells
/// only in hundredths of a second.
const ROUNDS: usize = 5;
/// Widths of search that are tried, smallest first, until one reaches the wanted recall.
const WIDTHS: [u64; 10] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384];
/// How many neighbours a range search returns.
const RANGE_HITS: usize = 100;

/// What can be chosen.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many points: 1m, 100k, 5000.
    #[arg(long, default_value = "1m", value_parser = parse_count)]
    scale: usize,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
}

/// What the queries are, and what is true about them.
struct Workload {
    points: Points,
    queries: Vec<Vec<f64>>,
    truth: Vec<Vec<Neighbour>>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let workload = prepare(options.scale);
    let folder = tempfile::tempdir().context("cannot create a folder for the node")?;
    let mut rows = Vec::new();

    let mut node = start(folder.path())?;
    let mut connection = Connection::open(node.external())?;
    load::fill(&mut connection, &workload.points, &mut rows)?;
    let namespace: NamespaceInfo = connection.get(NAMESPACE)?;
    let width = choose_width(&mut connection, &workload, &mut rows)?;
    let over_http = traffic::measure(&node, &workload, width, &mut rows)?;
    drop(connection);

    eprintln!("stopping the node, and measuring its index without it");
    node.stop()?;
    let alone = raw::measure(folder.path(), &workload, width)?;
    traffic::compare(&over_http, &alone, &mut rows);

    eprintln!("starting the node again");
    let begun = Instant::now();
    node = start(folder.path())?;
    rows.push(Measure::at_most("restart to ready", begun.elapsed().as_secs_f64(), "s", 5.0));
    let mut connection = Connection::open(node.external())?;
    let after = recall(&mut connection, &workload, width)?;
    ensure!(after.missing == 0, "after the restart {} searches failed", after.missing);
    rows.push(Measure::at_least("recall@10 after the restart", after.recall, "", WANTED_RECALL));
    memory(node.pid(), &namespace, &mut rows)?;
    load::write_latencies(&mut connection, &workload.points, &mut rows)?;
    drop(connection);
    node.stop()?;

    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", report::table(&rows));
    }
    Ok(if report::all_met(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(folder: &Path) -> Result<Node> {
    Node::start(&Settings::release(folder).with("bench.echo", "true").with("log.level", "warn"))
}

fn prepare(count: usize) -> Workload {
    eprintln!("{count} points of dimension {DIMENSION} in a ball of radius {RADIUS}");
    let points = Points::in_ball(DIMENSION, RADIUS, count, SEED);
    let queries = Points::in_ball(DIMENSION, RADIUS, QUERIES, SEED + 1);
    eprintln!("the true neighbours of {JUDGED} queries, by comparing with every point");
    let judged = Points {
        dimension: DIMENSION,
        coordinates: queries.coordinates.iter().copied().take(JUDGED * DIMENSION).collect(),
    };
    let truth = points.nearest(&judged, RANGE_HITS);
    let queries = queries.iter().map(Points::ambient).collect();
    Workload { points, queries, truth }
}

/// The name of the point at a position.
fn id_of(at: usize) -> String {
    format!("p{at:07}")
}

/// The search for the `K` nearest.
fn nearest(query: &[f64], width: u64) -> SearchRequest {
    SearchRequest {
        vector: Some(Vector(query.to_vec())),
        k: Some(K as u64),
        ef: Some(width),
        // What is measured is a search, not the memory of one.
        cache: Some(false),
        ..SearchRequest::default()
    }
}

struct Judgement {
    recall: f64,
    /// Searches that returned fewer than were asked for.
    missing: usize,
}

/// How many of the true neighbours the node finds.
fn recall(connection: &mut Connection, workload: &Workload, width: u64) -> Result<Judgement> {
    let (mut found, mut missing) = (0, 0);
    for (query, truth) in workload.queries.iter().zip(&workload.truth) {
        let answer: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &nearest(query, width))?;
        missing += usize::from(answer.hits.len() < K);
        let hits: HashSet<&str> = answer.hits.iter().map(|hit| hit.id.as_str()).collect();
        found += truth.iter().take(K).filter(|at| hits.contains(id_of(at.at).as_str())).count();
    }
    Ok(Judgement { recall: found as f64 / (workload.truth.len() * K) as f64, missing })
}

/// The smallest width of search that finds enough of the true neighbours.
fn choose_width(
    connection: &mut Connection,
    workload: &Workload,
    rows: &mut Vec<Measure>,
) -> Result<u64> {
    let mut last = (0, 0.0);
    for width in WIDTHS {
        let judged = recall(connection, workload, width)?;
        ensure!(judged.missing == 0, "{} searches found fewer than {K}", judged.missing);
        eprintln!("ef {width}: recall@{K} {:.4}", judged.recall);
        last = (width, judged.recall);
        if judged.recall >= WANTED_RECALL {
            break;
        }
    }
    let (width, recall) = last;
    rows.push(
        Measure::at_least(format!("recall@{K}"), recall, "", WANTED_RECALL)
            .against(format!("every point compared, {JUDGED} queries; ef {width}")),
    );
    Ok(width)
}

fn memory(pid: u32, namespace: &NamespaceInfo, rows: &mut Vec<Measure>) -> Result<()> {
    const MIB: f64 = (1 << 20) as f64;
    let state = &namespace.vectors.get("").context("no default vector")?.state;
    let anonymous = process::anonymous_memory(pid)? as f64 / MIB;
    let (vectors, graph) = (state.bytes_vectors as f64 / MIB, state.bytes_graph as f64 / MIB);
    rows.push(
        Measure::at_most("anonymous memory", anonymous, "MiB", 2.0 * (vectors + graph))
            .against(format!("vectors {vectors:.0} MiB, graph {graph:.0} MiB")),
    );
    rows.push(Measure::plain("map of ids", state.bytes_ids as f64 / MIB, "MiB"));
    Ok(())
}

/// Milliseconds to microseconds.
fn micros(milliseconds: f64) -> f64 {
    milliseconds * 1e3
}

/// Adds the median and the 99th percentile of one kind of request.
fn push_latency(
    rows: &mut Vec<Measure>,
    name: &str,
    latencies: &Latencies,
    p50: f64,
    p99: Option<f64>,
) {
    let many = format!("{} requests", latencies.count());
    rows.push(Measure::at_most(format!("{name} p50"), latencies.p50(), "ms", p50).against(many));
    rows.push(match p99 {
        Some(p99) => Measure::at_most(format!("{name} p99"), latencies.p99(), "ms", p99),
        None => Measure::plain(format!("{name} p99"), latencies.p99(), "ms"),
    });
}
