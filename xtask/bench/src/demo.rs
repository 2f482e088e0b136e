//! `cargo xtask demo`: a real hierarchy, in a real node, end to end.

mod show;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hvs_api::{
    CountRequest, CountResponse, IndexState, NamespaceInfo, SearchRequest, SearchResponse, Vector,
};
use hvs_geometry::hierarchy::{Construction, ReconstructionOptions, reconstruction};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings},
};

use crate::concepts::{self, DIMENSION, Embedded, Source};

/// The namespace's name, and where it is.
const NAME: &str = "wordnet";
const NAMESPACE: &str = "/v1/namespaces/wordnet";
/// How many concepts are asked to judge the embedding; all of them take a minute.
const JUDGED: usize = 500;
/// How many searches must be answered the same after each restart.
const COMPARED: usize = 100;
/// How long the index may take to take up everything.
const PATIENCE: Duration = Duration::from_mins(10);

/// What can be chosen.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the node keeps its data; without it, in a folder that is removed at the end.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Use the committed mammals even when all of WordNet is to be had.
    #[arg(long)]
    mammals: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let begun = Instant::now();
    show::title("1. A hierarchy");
    let source = concepts::load(options.mammals)?;
    let nouns = &source.nouns;
    let edges = nouns.edges().len();
    println!(
        "{}: {} concepts, {edges} edges to more general ones",
        source.name,
        nouns.concepts.len()
    );

    show::title("2. Embedded in hyperbolic space");
    // Along the curve second parents would be served as well, but what lies near what would say
    // less to the eye.
    let embedded = concepts::embed_nouns(nouns, Construction::Packing)?;
    describe(&embedded)?;

    show::title("3. Imported into a node");
    let temporary = tempfile::tempdir().context("cannot create a folder for the node")?;
    let folder = options.data_dir.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let settings = Settings::release(&folder).with("log.level", "warn");
    let (node, started) = start(&settings)?;
    println!("hvs-node is ready after {}, on {}", show::time(started), node.external());
    let mut connection = node.connect()?;
    refuse_to_overwrite(&mut connection, &folder)?;
    let import = Instant::now();
    concepts::import(&mut connection, NAMESPACE, nouns, &embedded.embedding)?;
    let took = import.elapsed();
    let rate = nouns.concepts.len() as f64 / took.as_secs_f64();
    println!("{} records in {}, {rate:.0} a second", nouns.concepts.len(), show::time(took));
    wait_until_indexed(&mut connection)?;
    println!("indexed {} after the first write", show::time(import.elapsed()));

    show::title("4. Searched with the true distance");
    searches(&mut connection, &source)?;

    show::title("5. Still there after a restart");
    let before = answers(&mut connection, &embedded)?;
    drop(connection);
    let stopping = Instant::now();
    node.stop()?;
    println!("stopped (SIGTERM) in {}", show::time(stopping.elapsed()));
    let node = look_again(&settings, nouns.concepts.len(), &embedded, &before)?;
    node.kill()?;
    println!("killed (SIGKILL)");
    let node = look_again(&settings, nouns.concepts.len(), &embedded, &before)?;
    node.stop()?;

    println!("\nAll of it took {}.", show::time(begun.elapsed()));
    if options.data_dir.is_some() {
        let shown = folder.display();
        println!("The data is in {shown}: HVS_STORAGE_DATA_DIR={shown} target/release/hvs-node");
    }
    Ok(ExitCode::SUCCESS)
}

fn start(settings: &Settings) -> Result<(Node, Duration)> {
    let begun = Instant::now();
    let node = Node::start(settings)?;
    Ok((node, begun.elapsed()))
}

fn describe(embedded: &Embedded) -> Result<()> {
    let mut options = ReconstructionOptions::default();
    options.sample = JUDGED.try_into().ok();
    let points = &embedded.embedding.points;
    let scores = reconstruction(&embedded.hierarchy, points, DIMENSION, &options)?;
    println!("{} dimensions, no training: {} of computation", DIMENSION, show::time(embedded.took));
    println!(
        "the hierarchy can be read off the distances: mean average precision {:.3} (1 is perfect;\n\
         {} concepts asked, each compared with all). How a construction for many second parents\n\
         ranks: cargo xtask bench wordnet",
        scores.ancestors.map, scores.ancestors.nodes
    );
    Ok(())
}

fn refuse_to_overwrite(connection: &mut Connection, folder: &Path) -> Result<()> {
    let there = connection.json("GET", NAMESPACE, "")?.status == 200;
    ensure!(!there, "{} already has a namespace {NAME:?}: choose another folder", folder.display());
    Ok(())
}

fn wait_until_indexed(connection: &mut Connection) -> Result<()> {
    let begun = Instant::now();
    let mut before: Option<IndexState> = None;
    loop {
        let info: NamespaceInfo = connection.get(NAMESPACE)?;
        let state = info.vectors.get("").context("no default vector")?.state.clone();
        if !state.building && before.as_ref() == Some(&state) {
            return Ok(());
        }
        before = Some(state);
        ensure!(begun.elapsed() < PATIENCE, "the index is not done after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn searches(connection: &mut Connection, source: &Source) -> Result<()> {
    let has = |id: &str| source.nouns.position(id).is_some();
    let whole = has("oak.n.02");
    show::nearest(connection, "dog.n.01", 8)?;
    show::ancestors(connection, &source.nouns, "dog.n.01")?;
    show::within(connection, "whale.n.02", 12)?;
    if whole {
        show::filtered(connection, "dog.n.01", "topic", "person")?;
    } else {
        show::filtered(connection, "dog.n.01", "topic", "top")?;
    }
    let others = ["wolf.n.01", "cat.n.01", "whale.n.02", "oak.n.02", "democracy.n.01"];
    show::distances(connection, "dog.n.01", others.into_iter().filter(|id| has(id)))?;
    show::radii(connection, &source.nouns)
}

/// The exact answers to a number of searches, spread over all concepts.
fn answers(connection: &mut Connection, embedded: &Embedded) -> Result<Vec<SearchResponse>> {
    let points = &embedded.embedding.points;
    let step = (points.len() / DIMENSION / COMPARED).max(1);
    points
        .chunks_exact(DIMENSION)
        .step_by(step)
        .map(|point| {
            let request = SearchRequest {
                vector: Some(Vector(point.to_vec())),
                coordinates: Some(hvs_api::Coordinates::Spatial),
                k: Some(10),
                exact: Some(true),
                include_vectors: Some(true),
                include_metadata: Some(true),
                ..SearchRequest::default()
            };
            connection.call("POST", &format!("{NAMESPACE}/search"), &request)
        })
        .collect()
}

/// Starts the node again and checks that it holds the same.
fn look_again(
    settings: &Settings,
    records: usize,
    embedded: &Embedded,
    before: &[SearchResponse],
) -> Result<Node> {
    let (node, took) = start(settings)?;
    let mut connection = node.connect()?;
    let count: CountResponse =
        connection.call("POST", &format!("{NAMESPACE}/count"), &CountRequest::default())?;
    ensure!(count.count == records as u64, "{} of {records} records are left", count.count);
    let after = answers(&mut connection, embedded)?;
    ensure!(after == before, "the answers differ after the restart");
    println!(
        "ready again after {}: {} records, and {} searches with the same answers to the last bit",
        show::time(took),
        count.count,
        after.len()
    );
    Ok(node)
}
