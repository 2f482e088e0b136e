//! Chores that need the project's own crates. They live in a program of its own, so that this one
//! builds in seconds and on a machine where those do not build.

use std::{ffi::OsStr, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;

/// Builds the node, the command-line program and hvs-bench for release, and runs the latter with
/// the given arguments.
///
/// # Errors
/// The build fails.
pub(crate) fn run_bench<A: AsRef<OsStr>>(arguments: &[A]) -> Result<ExitCode> {
    eprintln!("building for release (the first time takes minutes)");
    let packages = ["-p", "hvs-node", "-p", "hvs-cli", "-p", "hvs-bench"];
    let built = cargo()
        .args(["build", "--release", "--locked", "--bins"])
        .args(packages)
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let status = cargo()
        .args(["run", "--release", "--quiet", "--locked", "--bin", "hvs-bench"])
        .args(packages)
        .arg("--")
        .args(arguments)
        .status()
        .context("cannot start cargo")?;
    // Without a code a signal ended it.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
