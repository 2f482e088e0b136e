//! The `hvs-node` server.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use hvs_node::{
    Node, SessionEnded, StartError,
    config::{Config, Sources},
    repair::{self, Options},
    telemetry::Telemetry,
};
use tokio::signal::unix::{SignalKind, signal};

/// What a repair that could not be done exits with.
const NOT_DONE: u8 = 3;
/// What a node exits with whose session is over: it is to be started again, and then stands by.
const SESSION_ENDED: i32 = 4;

/// A node of HVS, the Hyper Vector System.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    sources: SourceFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct SourceFlags {
    /// The configuration file, YAML.
    #[arg(long, env = "HVS_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The directory that holds everything.
    #[arg(long, value_name = "DIRECTORY", global = true)]
    data_dir: Option<String>,
    /// The address of the API.
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    listen: Option<String>,
    /// The address for health and metrics.
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    internal_listen: Option<String>,
    /// Any other setting, such as `limits.body_bytes=1048576`. May be repeated.
    #[arg(long = "set", value_name = "SETTING=VALUE", global = true, value_parser = setting)]
    set: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum Command {
    /// Look at the configuration without starting.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Check everything in the data directory of a node that does not run, and repair what can be
    /// repaired without loss. Exits 0 if all is whole, 1 if something was or can be repaired, 2 if
    /// something needs a decision, 3 if it could not be done.
    Repair(RepairFlags),
}

#[derive(Args)]
struct RepairFlags {
    /// Look only, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// What may be lost: `logs` or `shard=UID`, as the report says. May be repeated.
    #[arg(long, value_name = "WHAT")]
    accept_loss: Vec<String>,
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Check it: prints what is wrong and exits 1, or exits 0.
    Check,
    /// Print it with everything filled in, as a configuration file.
    Show,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("it has the form SETTING=VALUE".to_owned()),
    }
}

impl SourceFlags {
    fn sources(self) -> Sources {
        let named = [
            ("storage.data_dir", self.data_dir),
            ("listen.external", self.listen),
            ("listen.internal", self.internal_listen),
        ];
        let named =
            named.into_iter().filter_map(|(setting, value)| Some((setting.to_owned(), value?)));
        Sources {
            file: self.config,
            flags: named.chain(self.set).collect(),
            ..Sources::from_environment()
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match cli.sources.sources().load() {
        Ok(config) => config,
        Err(error) if matches!(cli.command, Some(Command::Repair(_))) => {
            eprintln!("hvs-node: {error}");
            return ExitCode::from(NOT_DONE);
        }
        Err(error) => return fail(&error),
    };
    match cli.command {
        None => run(config),
        Some(Command::Repair(flags)) => repair(config, flags),
        Some(Command::Config { action: ConfigAction::Check }) => {
            println!("the configuration can be used");
            ExitCode::SUCCESS
        }
        Some(Command::Config { action: ConfigAction::Show }) => {
            match serde_yaml::to_string(&config) {
                Ok(text) => {
                    print!("{text}");
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error),
            }
        }
    }
}

fn repair(config: Config, flags: RepairFlags) -> ExitCode {
    let RepairFlags { dry_run, json, accept_loss } = flags;
    let report = match repair::run(config, Options { dry_run, accept_loss }) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("hvs-node: {error}");
            return ExitCode::from(NOT_DONE);
        }
    };
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => return fail(&error),
        }
    } else {
        print!("{}", report.to_text());
    }
    ExitCode::from(report.exit_code())
}

fn run(config: Config) -> ExitCode {
    // Before the runtime, because the exporter of spans has a blocking client.
    let telemetry = match Telemetry::start(&config) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(serve(config));
    if let Ok(Served::SessionEnded(ended, _node)) = outcome {
        tracing::error!(error = %ended, "the node ends");
        telemetry.stop();
        // Nothing is closed in order: somebody else leads, and closing may wait for the store.
        std::process::exit(SESSION_ENDED);
    }
    drop(runtime);
    let code = match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error, "the node ends");
            ExitCode::FAILURE
        }
    };
    telemetry.stop();
    code
}

/// How serving came to its end.
enum Served {
    /// As somebody wanted.
    Stopped,
    /// The session is over; what may still be in use comes with it.
    SessionEnded(SessionEnded, Option<Box<Node>>),
}

async fn serve(config: Config) -> Result<Served, Box<dyn std::error::Error>> {
    // Before the start, so that a signal during it is not the default one that kills.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let node = tokio::select! {
        node = Node::start(config) => match node {
            Err(StartError::SessionEnded(ended)) => return Ok(Served::SessionEnded(ended, None)),
            node => node?,
        },
        _ = terminate.recv() => return Ok(Served::Stopped),
        _ = interrupt.recv() => return Ok(Served::Stopped),
        _ = hangup.recv() => return Ok(Served::Stopped),
    };
    tokio::select! {
        ended = node.session_ended() => {
            return Ok(Served::SessionEnded(ended, Some(Box::new(node))));
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    node.stop().await?;
    Ok(Served::Stopped)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("hvs-node: {error}");
    ExitCode::FAILURE
}
