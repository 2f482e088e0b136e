//! What measures and demonstrates HVS. `cargo xtask` builds it for release and starts it.

mod echo;
mod latency;
#[cfg(test)]
mod points;
mod process;

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
    /// Answer every request with so many bytes (used by the benchmarks to compare with).
    #[command(hide = true)]
    Echo { bytes: usize },
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
        Command::Echo { bytes } => echo::serve(bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}
