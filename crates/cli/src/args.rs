//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hvs_client::{Client, ClientConfig};

use crate::{bench, command, error::CliError, export, geometry, hierarchy, import, output::Output};

/// Works with an HVS node: vectors on curved spaces, searched with the true distance.
#[derive(Debug, Parser)]
#[command(name = "hvs", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The node.
    #[arg(long, global = true, env = "HVS_URL", default_value = "http://127.0.0.1:9001")]
    url: String,
    /// Seconds that a request may take, with its repetitions where it is safe to repeat.
    #[arg(
        long,
        global = true,
        env = "HVS_TIMEOUT",
        default_value_t = 30.0,
        value_name = "SECONDS"
    )]
    timeout: f64,
    /// JSON on standard output and errors, for scripts.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Namespaces and their aliases.
    Ns {
        #[command(subcommand)]
        command: command::ns::NsCommand,
    },
    /// Store one record.
    Put(command::records::PutArgs),
    /// Change parts of a record.
    Patch(command::patch::PatchArgs),
    /// Read records by their ids.
    Get(command::records::GetArgs),
    /// Delete records by their ids, or all that match a filter.
    Delete(command::records::DeleteArgs),
    /// Count records.
    Count(command::records::CountArgs),
    /// Find the nearest records.
    Search(command::search::SearchArgs),
    /// Find records by examples.
    Recommend(command::query::RecommendArgs),
    /// Count records by the values of a field.
    Facets(command::query::FacetsArgs),
    /// Show what has changed, and go on with what changes.
    Changes(command::changes::ChangesArgs),
    /// Store the rows of a file: JSON Lines, CSV, TSV, numpy or Parquet.
    Import(import::ImportArgs),
    /// Write all records of a namespace as JSON Lines, which `import` reads.
    Export(export::ExportArgs),
    /// States of namespaces that can be restored, here or elsewhere.
    Checkpoint {
        #[command(subcommand)]
        command: command::checkpoint::CheckpointCommand,
    },
    /// What is done in the background: building indexes.
    Maintenance {
        #[command(subcommand)]
        command: command::maintenance::MaintenanceCommand,
    },
    /// Embed a hierarchy, given as edges, in hyperbolic space.
    EmbedHierarchy(hierarchy::EmbedArgs),
    /// Distances, maps, means and checks, computed here without a node.
    Geometry {
        #[command(subcommand)]
        command: geometry::GeometryCommand,
    },
    /// Check the data directory of a node that does not run, and repair what can be repaired.
    Repair(command::repair::RepairArgs),
    /// Load a running node for a few seconds and show the latencies.
    Bench(bench::BenchArgs),
}

/// Import and export go on trying for so many times the timeout of one request.
const LONG_WORK: u32 = 4;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    config: ClientConfig,
    /// How results are printed.
    pub(crate) output: Output,
}

impl Context {
    /// A client of the node.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(self.config.clone())?)
    }

    /// For how long a request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// A client for work that takes long, which should not end because the node restarts.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn patient_client(&self) -> Result<Client, CliError> {
        let patience = self.config.timeout.saturating_mul(LONG_WORK);
        Ok(Client::new(ClientConfig { patience, ..self.config.clone() })?)
    }
}

impl Cli {
    /// Whether errors are wanted as JSON.
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`CliError`], whose exit code becomes that of the process.
    pub fn run(self) -> Result<(), CliError> {
        let timeout = Duration::try_from_secs_f64(self.global.timeout)
            .ok()
            .filter(|timeout| !timeout.is_zero())
            .ok_or_else(|| {
                let seconds = self.global.timeout;
                CliError::Usage(format!("--timeout {seconds} is no number of seconds above 0"))
            })?;
        let config =
            ClientConfig { timeout, patience: timeout, ..ClientConfig::new(self.global.url) };
        let context = Context { config, output: Output { json: self.global.json } };
        match self.command {
            Command::Ns { command } => block_on(command::ns::run(&context, command)),
            Command::Put(args) => block_on(command::records::put(&context, args)),
            Command::Patch(args) => block_on(command::patch::run(&context, args)),
            Command::Get(args) => block_on(command::records::get(&context, args)),
            Command::Delete(args) => block_on(command::records::delete(&context, args)),
            Command::Count(args) => block_on(command::records::count(&context, args)),
            Command::Search(args) => block_on(command::search::run(&context, args)),
            Command::Recommend(args) => block_on(command::query::recommend(&context, args)),
            Command::Facets(args) => block_on(command::query::facets(&context, args)),
            Command::Changes(args) => block_on(command::changes::run(&context, args)),
            Command::Import(args) => block_on(import::run(&context, args)),
            Command::Export(args) => block_on(export::run(&context, args)),
            Command::Checkpoint { command } => {
                block_on(command::checkpoint::run(&context, command))
            }
            Command::Maintenance { command } => {
                block_on(command::maintenance::run(&context, command))
            }
            Command::EmbedHierarchy(args) => hierarchy::run(&context, &args),
            Command::Geometry { command } => geometry::run(&context, command),
            Command::Repair(args) => command::repair::run(&context, &args),
            // It has to clean up when it is interrupted.
            Command::Bench(args) if args.makes_a_namespace() => {
                runtime()?.block_on(bench::run(&context, args))
            }
            Command::Bench(args) => block_on(bench::run(&context, args)),
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::System(format!("cannot start: {error}")))
}

/// Runs a command that talks to a node, until it ends or the keyboard interrupts it.
fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            // First, so that the keyboard is listened to before the command does anything.
            biased;
            Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
            result = command => result,
        }
    });
    // A thread that still reads a file, or waits for the standard input, is not waited for.
    runtime.shutdown_background();
    result
}
