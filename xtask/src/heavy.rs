//! Chores that need the project's own crates. They live in programs of their own, so that this
//! one builds in seconds and on a machine where those do not build.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;

/// `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Where the node keeps its data; it stays there. Without it, a temporary folder is used.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Use the committed mammals even when all of WordNet is to be had.
    #[arg(long)]
    mammals: bool,
}

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut arguments = vec![String::from("demo")];
        if let Some(folder) = self.data_dir {
            arguments.push(format!("--data-dir={}", folder.display()));
        }
        if self.mammals {
            arguments.push(String::from("--mammals"));
        }
        run_bench(&arguments)
    }
}

/// `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Which one: node or wordnet.
    name: String,
    /// Print the rows as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// How many vectors, for example 100k; the targets are those of the full size.
    #[arg(long, value_name = "COUNT")]
    scale: Option<String>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut arguments = vec![String::from("bench"), self.name];
        if self.json {
            arguments.push(String::from("--json"));
        }
        if let Some(scale) = self.scale {
            arguments.push(format!("--scale={scale}"));
        }
        run_bench(&arguments)
    }
}

/// Builds the node and the bench program for release and runs the latter.
fn run_bench(arguments: &[String]) -> Result<ExitCode> {
    eprintln!("building for release (the first time takes minutes)");
    let built = cargo()
        .args(["build", "--release", "--locked"])
        .args(["-p", "hvs-node", "-p", "hvs-cli", "-p", "hvs-bench"])
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let status = cargo()
        .args(["run", "--release", "--quiet", "--locked", "-p", "hvs-bench", "--"])
        .args(arguments)
        .status()
        .context("cannot start cargo")?;
    Ok(exit_code(status.code()))
}

fn exit_code(code: Option<i32>) -> ExitCode {
    // Without a code a signal ended it.
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
