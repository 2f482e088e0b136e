//! What measures and demonstrates HVS. `cargo xtask` builds it for release and starts it.

mod concepts;
mod counts;
mod demo;
mod engine;
mod glove;
mod latency;
mod node;
mod peers;
mod points;
mod process;
mod wordnet;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "hvs-bench", about = "Measures and demonstrates HVS; see cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Embed WordNet, import it into a node, search it, restart the node, and look again.
    Demo(demo::Options),
    /// Measure, and hold the measures against their targets.
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Writing, indexing, filtering and backing up, each beside what it is made of.
    Engine(engine::Options),
    /// A million points in one node, one client on loopback.
    Node(node::Options),
    /// The same workload for HVS and for other vector databases.
    Peers(peers::Options),
    /// How well WordNet's nouns come back out of a node as a hierarchy.
    Wordnet(wordnet::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Bench { bench: Bench::Wordnet(options) } => wordnet::run(&options),
        Command::Bench { bench: Bench::Engine(options) } => engine::run(&options),
        Command::Bench { bench: Bench::Node(options) } => node::run(&options),
        Command::Bench { bench: Bench::Peers(options) } => peers::run(&options),
    }
}
