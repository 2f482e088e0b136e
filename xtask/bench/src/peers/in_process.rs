//! Systems that run within a Python process, each in an environment of its own.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use xtask::shell;

use super::{EF_CONSTRUCTION, K, M, WANTED_RECALL, WIDTHS, install, outcome::Outcome};
use crate::glove::{DIMENSION, Rows, Workload};

pub(super) const NAMES: [&str; 4] = ["qdrant-edge", "hnswlib", "faiss", "usearch"];

const SCRIPT: &str = include_str!("../../peers/in_process.py");

pub(super) fn measure(name: &str, workload: &Workload, folder: &Path) -> Result<Outcome> {
    let (package, version) = match name {
        "qdrant-edge" => ("qdrant-edge-py", "0.9.0"),
        "hnswlib" => ("hnswlib", "0.8.0"),
        "faiss" => ("faiss-cpu", "1.15.1"),
        _ => ("usearch", "2.26.6"),
    };
    let python = install::python(package, version)?;
    for (rows, file) in
        [(&workload.stored, "stored"), (&workload.queries, "queries"), (&workload.spare, "spare")]
    {
        fs::write(folder.join(file), bytes(rows))?;
    }
    fs::write(folder.join("truth.json"), serde_json::to_vec(&workload.truth)?)?;
    fs::write(folder.join("in_process.py"), SCRIPT)?;
    let settings = serde_json::json!({
        "dimension": DIMENSION, "k": K, "m": M, "ef_construction": EF_CONSTRUCTION,
        "widths": WIDTHS, "recall": WANTED_RECALL,
    });
    let arguments = ["in_process.py", name, &settings.to_string()];
    let said = shell::output(folder, &python.to_string_lossy(), &arguments)?;
    let last = said.lines().last().context("the script said nothing")?;
    serde_json::from_str(last).with_context(|| format!("the script said {last:?}"))
}

fn bytes(rows: &Rows) -> Vec<u8> {
    rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect()
}
