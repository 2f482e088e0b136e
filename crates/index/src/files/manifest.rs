//! Which segments make up an index: one JSON document behind a line with its checksum.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crc32c::crc32c;
use serde::{Deserialize, Serialize};

use super::{damaged, io_error, publish, sync_dir, temporary};
use crate::{config::IndexConfig, error::OpenError};

/// The newest format of manifests.
const FORMAT: u32 = 1;
const TITLE: &str = "hvs-index-manifest";

/// A segment as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    pub(crate) rows: u64,
    /// Whether it has a graph, not only ranking rows.
    pub(crate) graph: bool,
}

/// The state of an index on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The space, spelled out; files of another one are refused.
    pub(crate) space: String,
    /// `f32` or `f64`.
    pub(crate) precision: String,
    /// Whose index it is. Older programs wrote none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
    /// Every key below it is in a segment or was dead when segments were built.
    pub(crate) covered_below: u64,
    /// The number of the next segment.
    pub(crate) next_segment: u64,
    pub(crate) segments: Vec<SegmentEntry>,
}

impl Manifest {
    /// Of an index without segments.
    pub(crate) fn new(config: &IndexConfig) -> Self {
        Self {
            space: config.space.to_string(),
            precision: config.precision.to_string(),
            owner: config.owner.clone(),
            covered_below: 0,
            next_segment: 1,
            segments: Vec::new(),
        }
    }

    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("manifest.json")
    }

    /// Reads the manifest of a directory, `None` when it has none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = Self::path(dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        let text = String::from_utf8(text).map_err(|_| damaged(&path, "it is not text"))?;
        let (head, body) = text.split_once('\n').unwrap_or((&text, ""));
        let mut words = head.split(' ');
        if words.next() != Some(TITLE) {
            return Err(damaged(&path, "it does not start like a manifest"));
        }
        let found: u32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        if found > FORMAT {
            return Err(OpenError::Format { path, found, supported: FORMAT });
        }
        let crc = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
        if found == 0 || crc != Some(crc32c(body.as_bytes())) {
            return Err(damaged(&path, "the checksum does not hold"));
        }
        serde_json::from_str(body).map(Some).map_err(|error| damaged(&path, error.to_string()))
    }

    /// Replaces the manifest of a directory, durably.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let path = Self::path(dir);
        let mut body = serde_json::to_string_pretty(self)?;
        body.push('\n');
        let mut file = File::create(temporary(&path))?;
        writeln!(file, "{TITLE} {FORMAT} {:08x}", crc32c(body.as_bytes()))?;
        file.write_all(body.as_bytes())?;
        file.sync_all()?;
        publish(&path)?;
        sync_dir(dir)
    }
}
