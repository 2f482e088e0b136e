//! Getting other systems, in fixed versions, into the cache of downloads and tools.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::{places, shell};

const WEAVIATE: &str = "github.com/weaviate/weaviate/cmd/weaviate-server@v1.35.2";

fn folder() -> Result<PathBuf> {
    let folder = places::cache_dir()?.join("peers");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// A Python that has one package, in an environment of its own.
///
/// # Errors
/// There is no Python 3 with venv, or the package cannot be had.
pub(super) fn python(package: &str, version: &str) -> Result<PathBuf> {
    let environment = folder()?.join(format!("{package}-{version}"));
    let python = environment.join("bin").join("python");
    let done = environment.join("complete");
    if done.is_file() {
        return Ok(python);
    }
    shell::find("python3")
        .context("Python 3 is missing: on Debian apt-get install python3-venv")?;
    eprintln!("installing {package} {version}");
    let place = environment.to_string_lossy().into_owned();
    shell::output(Path::new("."), "python3", &["-m", "venv", "--clear", &place])?;
    let wanted = format!("{package}=={version}");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy", &wanted];
    shell::output(Path::new("."), &python.to_string_lossy(), &pip)?;
    std::fs::write(&done, "")?;
    Ok(python)
}

/// The program of Weaviate.
///
/// # Errors
/// There is no Go, or it does not build.
pub(super) fn weaviate() -> Result<PathBuf> {
    let folder = folder()?.join("weaviate-1.35.2");
    let program = folder.join("weaviate-server");
    if program.is_file() {
        return Ok(program);
    }
    shell::find("go").context("Go is missing: on Debian apt-get install golang")?;
    eprintln!("building Weaviate (some minutes)");
    let place = format!("GOBIN={}", folder.display());
    shell::output(Path::new("."), "env", &[&place, "GOFLAGS=-mod=mod", "go", "install", WEAVIATE])?;
    Ok(program)
}
