//! Chores that need the project's own crates. They live in a program of its own, so that this one
//! builds in seconds and on a machine where those do not build.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::cargo,
    prerequisites::{self, Purpose},
};

/// Builds the node, the command-line program and hvs-bench for release, and runs the latter with
/// the given arguments.
///
/// # Errors
/// Something is missing that the build needs, or it fails.
pub(crate) fn run_bench<A: AsRef<OsStr>>(arguments: &[A]) -> Result<ExitCode> {
    let missing = prerequisites::missing(Purpose::Build);
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
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
    let program = target_directory()?.join("release").join("hvs-bench");
    let status = Command::new(&program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    // Without a code a signal ended it.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Where cargo builds. `cargo run` would know, but with one package alone it resolves other
/// features than the build of several, and would build most of them again.
fn target_directory() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .output()
        .context("cannot start cargo")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata says nothing readable")?;
    let directory = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(PathBuf::from(directory.context("cargo metadata names no target directory")?))
}
