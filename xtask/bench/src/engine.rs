//! `cargo xtask bench engine`: how much of the machine writing, indexing, filtering and backing up
//! take, each beside the plain thing that it is made of, in the same run.

mod checkpoint;
mod filtered;
mod ingest;
mod native;
mod profiles;
mod sync;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use hvs_tests::node::{Node, Settings};
use xtask::report::{self, Measure};

use crate::{counts::parse_count, glove, points::Points};

/// Of the points on the hyperboloid.
const DIMENSION: usize = 12;
const RADIUS: f64 = 4.0;
const SEED: u64 = 20_260_101;

/// What can be chosen.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many points on the hyperboloid: 1m, 100k, 5000.
    #[arg(long, default_value = "1m", value_parser = parse_count)]
    scale: usize,
    /// How many GloVe vectors, up to 400k.
    #[arg(long, default_value = "400k", value_parser = parse_count)]
    glove: usize,
    /// Measure one part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// The memory that the profiles of indexes take.
    Profiles,
    /// Checkpoints.
    Checkpoint,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut rows = Vec::new();
    match options.only {
        Some(Part::Profiles) => {
            let file = xtask::data::glove::ensure(None)?;
            profiles::measure(&file, options.glove, &mut rows)?;
            return show(options, &rows);
        }
        Some(Part::Checkpoint) => {
            checkpoints(options, &mut rows)?;
            return show(options, &rows);
        }
        None => {}
    }
    match xtask::data::glove::ensure(None) {
        Ok(file) => {
            let set = words(&file, options.glove)?;
            let folder = tempfile::tempdir().context("no temporary folder")?;
            let node = start(folder.path())?;
            ingest::measure(&node, &set, &mut rows)?;
            node.stop()?;
            profiles::measure(&file, options.glove, &mut rows)?;
        }
        Err(reason) => {
            let row = Measure::plain("GloVe skipped", f64::NAN, "");
            rows.push(row.against(format!("{reason:#}")));
        }
    }

    let set = hyperboloid(options.scale);
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let mut node = start(folder.path())?;
    ingest::measure(&node, &set, &mut rows)?;
    filtered::measure(&node, &set, &mut rows)?;
    checkpoint::measure(&node, folder.path(), &set, &mut rows)?;
    sync::measure(&node, &set, &mut rows)?;
    node.stop()?;
    let begun = std::time::Instant::now();
    node = start(folder.path())?;
    rows.push(Measure::at_most("restart to ready", begun.elapsed().as_secs_f64(), "s", 5.0));
    node.stop()?;

    show(options, &rows)
}

/// Without graphs: building them is another cost, and not that of a checkpoint.
fn checkpoints(options: &Options, rows: &mut Vec<Measure>) -> Result<()> {
    let words = xtask::data::glove::ensure(None).and_then(|file| words(&file, options.glove));
    match words {
        Ok(set) => checkpoints_of(&set, rows)?,
        Err(reason) => {
            let row = Measure::plain("GloVe skipped", f64::NAN, "");
            rows.push(row.against(format!("{reason:#}")));
        }
    }
    checkpoints_of(&hyperboloid(options.scale), rows)
}

fn checkpoints_of(set: &ingest::Set, rows: &mut Vec<Measure>) -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let node = start(folder.path())?;
    ingest::fill_flat(&node, set)?;
    checkpoint::measure(&node, folder.path(), set, rows)?;
    node.stop()
}

fn words(file: &Path, count: usize) -> Result<ingest::Set> {
    let vectors = glove::read(file, count)?;
    Ok(ingest::Set {
        name: "GloVe, 50-d, L2",
        geometry: "euclidean",
        dimension: glove::DIMENSION,
        rows: vectors.iter().map(<[f32]>::to_vec).collect(),
    })
}

fn hyperboloid(count: usize) -> ingest::Set {
    let points = Points::in_ball(DIMENSION, RADIUS, count, SEED);
    ingest::Set {
        name: "hyperboloid, 12-d",
        geometry: "hyperboloid",
        dimension: DIMENSION,
        rows: points.iter().map(<[f32]>::to_vec).collect(),
    }
}

fn show(options: &Options, rows: &[Measure]) -> Result<ExitCode> {
    if options.json {
        println!("{}", serde_json::to_string_pretty(rows)?);
    } else {
        print!("{}", report::table(rows));
    }
    Ok(if report::all_met(rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(folder: &Path) -> Result<Node> {
    Node::start(&Settings::release(folder).with("log.level", "warn"))
}
