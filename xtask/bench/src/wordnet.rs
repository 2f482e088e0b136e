//! `cargo xtask bench wordnet`: how well WordNet's nouns come back out of a node as a hierarchy, and
//! what an exact search for them costs by bounds.

mod bounds;

use std::{collections::HashMap, process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use hvs_api::{ScrollRequest, ScrollResponse};
use hvs_geometry::hierarchy::{Construction, ReconstructionOptions, reconstruction};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings},
};
use xtask::report::{self, Measure};

use crate::concepts::{self, DIMENSION};

const NAMESPACE: &str = "/v1/namespaces/wordnet";

/// What can be chosen.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Use the committed mammals instead of all of WordNet.
    #[arg(long)]
    mammals: bool,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let source = concepts::load(options.mammals)?;
    let count = source.nouns.concepts.len();
    eprintln!("embedding {count} concepts of {} in {DIMENSION} dimensions", source.name);
    let embedded = concepts::embed_nouns(&source.nouns, Construction::Curve)?;
    let folder = tempfile::tempdir().context("cannot create a folder for the node")?;
    let node = Node::start(&Settings::release(folder.path()).with("log.level", "warn"))?;
    let mut connection = node.connect()?;
    eprintln!("writing them to a node and reading them back");
    let begun = Instant::now();
    concepts::import(&mut connection, NAMESPACE, &source.nouns, &embedded.embedding)?;
    let imported = begun.elapsed();
    let points = read_back(&mut connection)?;
    ensure!(points.len() == count, "{} of {count} came back", points.len());
    node.stop()?;

    let mut coordinates = Vec::with_capacity(count * DIMENSION);
    for name in embedded.hierarchy.names() {
        let point = points.get(name).with_context(|| format!("{name} did not come back"))?;
        coordinates.extend_from_slice(point);
    }
    eprintln!("ranking every concept for every concept");
    let begun = Instant::now();
    let scores = reconstruction(
        &embedded.hierarchy,
        &coordinates,
        DIMENSION,
        &ReconstructionOptions::default(),
    )?;
    let (ancestors, neighbours) = (scores.ancestors, scores.neighbours);
    let took = begun.elapsed();
    eprintln!("searching for nouns by bounds and by a scan");
    let bounds = bounds::measure(&embedded.hierarchy)?;
    let rows = [
        Measure::at_least("reconstruction MAP", ancestors.map, "", 0.85)
            .against("Nickel and Kiela 2017, trained, Poincaré: .851 in 10, .855 in 20 dimensions"),
        Measure::at_most("reconstruction mean rank", ancestors.mean_rank, "", 4.0)
            .against("the same: 4.02 and 3.84"),
        Measure::at_most("dimensions", DIMENSION as f64, "", 16.0),
        Measure::plain("concepts", count as f64, ""),
        Measure::plain("pairs of concept and ancestor", ancestors.pairs as f64, ""),
        Measure::plain("MAP of parents and children", neighbours.map, ""),
        Measure::plain("mean rank of parents and children", neighbours.mean_rank, ""),
        Measure::plain("embedding", embedded.took.as_secs_f64(), "s"),
        Measure::plain("import", imported.as_secs_f64(), "s"),
        Measure::plain("ranking", took.as_secs_f64(), "s"),
    ];
    let rows: Vec<Measure> = rows.into_iter().chain(bounds).collect();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", report::table(&rows));
    }
    Ok(if report::all_met(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The spatial coordinates of every record, by id.
fn read_back(connection: &mut Connection) -> Result<HashMap<String, Vec<f64>>> {
    let mut points = HashMap::new();
    let mut token = None;
    loop {
        let request = ScrollRequest {
            token,
            limit: Some(1_000),
            include_metadata: Some(false),
            ..ScrollRequest::default()
        };
        let page: ScrollResponse =
            connection.call("POST", &format!("{NAMESPACE}/scroll"), &request)?;
        for record in page.records {
            let vector = record.vector.context("a record without its vector")?;
            let spatial = vector.get(1..).context("a point without coordinates")?.to_vec();
            points.insert(record.id, spatial);
        }
        match page.next {
            Some(next) => token = Some(next),
            None => return Ok(points),
        }
    }
}
