//! Keeping what this version writes, so that later ones are tested to read it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use xtask::places;

use crate::cargo::cargo;

/// Where the corpus of this version is to go, for the test that writes it.
const TO: &str = "HVS_CORPUS_TO";
const TEST: &str = "a_corpus_of_this_version_can_be_written_and_read";

/// Writes `tests/corpus/vX`, or `vX-NAME`. One that is there stays: what a version wrote does not
/// change.
pub(crate) fn write(name: Option<&str>) -> Result<ExitCode> {
    let suffix = name.map(|name| format!("-{name}")).unwrap_or_default();
    let name = format!("v{}{suffix}", env!("CARGO_PKG_VERSION"));
    let folder = places::workspace_root().join("tests/corpus").join(name);
    if folder.exists() {
        bail!("{} is there; remove it first if it was never released", folder.display());
    }
    let test = ["test", "-p", "hvs-tests", "--test", "upgrade", "--", "--exact", TEST];
    let status = cargo().args(test).env(TO, &folder).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the corpus was not written");
    }
    eprintln!("wrote {}", folder.display());
    Ok(ExitCode::SUCCESS)
}
