//! `hvs repair`: runs `hvs-node repair`, because a node that does not run has no address.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;

use crate::{args::Context, error::CliError};

const PROGRAM: &str = "hvs-node";

/// What is passed on.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The data directory of a node that does not run.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// Look only, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// What may be lost: `logs` or `shard=UID`, as the report says. May be repeated.
    #[arg(long, value_name = "WHAT")]
    accept_loss: Vec<String>,
}

/// Runs the program and ends as it does.
///
/// # Errors
/// When it cannot be run, or when it exits with anything but 0.
pub(crate) fn run(context: &Context, args: &RepairArgs) -> Result<(), CliError> {
    let program = program();
    let mut command = Command::new(&program);
    command.arg("repair").arg("--data-dir").arg(&args.data_dir);
    if args.dry_run {
        command.arg("--dry-run");
    }
    if context.output.json {
        command.arg("--json");
    }
    for what in &args.accept_loss {
        command.arg("--accept-loss").arg(what);
    }
    let status = command.status().map_err(|source| CliError::File { path: program, source })?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(CliError::Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(3))),
    }
}

/// The one beside this program, so that both are of one version; else that on the path.
fn program() -> PathBuf {
    let beside = env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(|folder| folder.join(PROGRAM));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM))
}
