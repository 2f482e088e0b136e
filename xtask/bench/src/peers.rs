//! `cargo xtask bench peers`: the same workload for HVS and for other vector databases, one after
//! the other on this machine.
//!
//! 100,000 GloVe word vectors of dimension 50, L2, k = 10, a graph with M = 16 and
//! `ef_construction` = 200, searched with the smallest `ef` of a grid that reaches recall@10 0.95.
//! Servers are driven over HTTP by one and the same client, in JSON; what runs within a process is
//! driven by a script. Whatever cannot be had on this machine is skipped and named.

mod chroma;
mod drive;
mod hvs;
mod in_process;
mod install;
mod outcome;
mod server;
mod weaviate;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use xtask::report;

use self::outcome::Outcome;
use crate::glove::Workload;

/// Neighbours of one search.
const K: usize = 10;
const WANTED_RECALL: f64 = 0.95;
/// Links per row, and the width of the search for them.
const M: u64 = 16;
const EF_CONSTRUCTION: u64 = 200;
/// Widths of search that are tried, smallest first.
const WIDTHS: [u64; 9] = [24, 32, 48, 64, 80, 96, 128, 192, 256];

/// What can be chosen.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many vectors.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=398_000))]
    count: u32,
    /// Only these: hvs, weaviate, chroma, qdrant-edge, hnswlib, faiss, usearch.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the outcomes as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let known = ["hvs", "weaviate", "chroma"].into_iter().chain(in_process::NAMES);
    let known: Vec<&str> = known.collect();
    for name in &options.only {
        ensure!(known.contains(&name.as_str()), "{name:?} is none of {}", known.join(", "));
    }
    let file = xtask::data::glove::ensure(None)?;
    let workload = Workload::read(&file, options.count as usize, K)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut skipped: Vec<String> = Vec::new();
    for name in known {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("\n{name}");
        match measure(name, &workload) {
            Ok(outcome) => outcomes.push(outcome),
            // HVS itself has no excuse.
            Err(reason) if name == "hvs" => return Err(reason),
            Err(reason) => skipped.push(format!("{name}: {reason:#}")),
        }
    }
    let rows = outcome::judge(&outcomes);
    if options.json {
        let all = serde_json::json!({"outcomes": outcomes, "goals": rows, "skipped": skipped});
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        println!("\n{}\n{}", outcome::table(&outcomes), report::table(&rows));
        for line in &skipped {
            println!("skipped {line}");
        }
    }
    Ok(if report::all_met(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(name: &str, workload: &Workload) -> Result<Outcome> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    match name {
        "hvs" => drive::measure(&mut hvs::Hvs::start(folder.path())?, workload),
        "weaviate" => drive::measure(&mut weaviate::Weaviate::start(folder.path())?, workload),
        "chroma" => drive::measure(&mut chroma::Chroma::start(folder.path())?, workload),
        name => in_process::measure(name, workload, folder.path()),
    }
}
