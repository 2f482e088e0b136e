//! What a segment's files are called, and the figures in them.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{config::Quantisation, files::remove_if_there, graph::GraphShape};

pub(super) const ROWS_KIND: [u8; 4] = *b"ROWS";
pub(super) const GRAPH_KIND: [u8; 4] = *b"GRPH";

/// The `meta` section of a rows file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RowsMeta {
    pub(super) rows: usize,
    pub(super) stored: usize,
    pub(super) precision: String,
}

/// The `meta` section of a graph file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GraphMeta {
    pub(super) rows: usize,
    pub(super) lanes: usize,
    pub(super) lists: usize,
    pub(super) orphans: usize,
    /// The largest size of a row per component.
    pub(super) reach: Vec<f64>,
    pub(super) graph: Option<GraphShape>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tree: Option<TreeShape>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inverted: Option<ListsShape>,
    /// Since format 2, `pq` since 3: there are codes instead of ranking rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quantisation: Option<Quantisation>,
}

/// The figures of inverted lists.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct ListsShape {
    pub(super) count: usize,
    /// Numbers per volume.
    pub(super) width: usize,
}

/// The figures of a tree.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct TreeShape {
    pub(super) nodes: usize,
    /// Numbers per volume.
    pub(super) width: usize,
}

pub(crate) fn rows_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number}.rows"))
}

pub(crate) fn graph_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number}.graph"))
}

/// Removes a segment's files.
pub(crate) fn remove_files(dir: &Path, number: u64) -> io::Result<()> {
    remove_if_there(&rows_path(dir, number))?;
    remove_if_there(&graph_path(dir, number))
}
