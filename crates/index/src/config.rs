//! What an index is told when it is opened.

use hvs_geometry::{Precision, Space};

use crate::build::Builders;

/// How vectors are found in durable segments. The tail of recent vectors is always scanned exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// A navigable graph over each segment. A space that is not a metric (Lorentzian) has no use
    /// for a graph and is scanned, whatever is asked here.
    Hnsw {
        /// Neighbours kept per vector on the upper layers; the base layer keeps twice as many.
        m: usize,
        /// Candidates examined when a vector is linked into the graph.
        ef_construction: usize,
        /// Candidates examined by a search that does not say how many.
        ef_search: usize,
    },
    /// No graph: every search is exact and costs one pass over the vectors.
    Flat,
    /// A tree of volumes over each segment: every search is exact, and leaves out what is provably
    /// too far by bounds that hold in the space. A space that is not a metric (Lorentzian) has no
    /// such bounds and is scanned.
    Geometric,
    /// Inverted lists over each segment: rows grouped by the centre that they are nearest to, of
    /// which a search looks into the nearest few. Approximate, and cheaper to build and hold than a
    /// graph. A space that is not a metric (Lorentzian) has no centres and is scanned.
    Ivf {
        /// Lists per segment; `None` is the square root of its rows.
        nlist: Option<usize>,
        /// Lists that a search looks into which does not say how many; `None` is one in eight, but
        /// at least 16.
        nprobe: Option<usize>,
    },
}

impl Default for IndexKind {
    fn default() -> Self {
        Self::Hnsw { m: 16, ef_construction: 128, ef_search: 64 }
    }
}

/// How many bits a number of a ranking row has in segments. Vectors themselves are kept in the
/// index's precision, and distances are computed from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantisation {
    /// Those of the precision.
    #[default]
    None,
    /// 16; hyperbolic radii keep the precision. In every space that is a metric.
    F16,
    /// 8. In Euclidean and spherical space and products of these.
    I8,
    /// 2: four numbers together become one of 256 points (product quantisation). Where `I8` is
    /// allowed.
    Pq,
}

impl Quantisation {
    /// How many times as many candidates are kept, because coarse ranks let true neighbours slip
    /// behind others.
    pub(crate) fn rescored(self) -> usize {
        match self {
            Self::None => 1,
            Self::F16 | Self::I8 => 4,
            Self::Pq => 8,
        }
    }
}

impl std::fmt::Display for Quantisation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::F16 => "f16",
            Self::I8 => "i8",
            Self::Pq => "pq",
        })
    }
}

/// The largest `m` that is accepted: beyond it a graph costs more than the vectors.
pub const MAX_M: usize = 256;
/// The largest `ef_construction`, `ef_search` and per-query `ef`.
pub const MAX_EF: usize = 65_536;

/// The largest `nlist`, `nprobe` and per-query `nprobe`.
pub const MAX_LISTS: usize = 65_536;

/// Everything that decides how an index behaves.
#[derive(Debug, Clone)]
pub struct IndexConfig {
    /// The space whose distance ranks the vectors.
    pub space: Space,
    /// What a coordinate is stored in.
    pub precision: Precision,
    /// How segments are searched.
    pub kind: IndexKind,
    /// What ranking rows are stored in. Answers of a quantised index are approximate unless
    /// `exact` is asked for or a radius is given, which then read the vectors themselves.
    pub quantisation: Quantisation,
    /// Vectors in the tail that start a background build.
    pub tail_limit: usize,
    /// Segments of fewer live vectors than this are scanned instead of linked into a graph, or put
    /// into a tree.
    pub graph_from: usize,
    /// Segments beside the largest one that are tolerated before they are merged.
    pub small_segments: usize,
    /// The most hits that one search returns.
    pub max_hits: usize,
    /// Keep ranking rows in anonymous memory with huge pages, where other files cannot push them
    /// out of the page cache. It costs `rows * lanes * 4` (or 8) bytes and a slower opening; a
    /// search of a million rows is about 5 % faster.
    pub resident_rows: bool,
    /// With whom builds of segments take turns.
    pub builders: Builders,
    /// Whose index it is; empty for nobody's. Files of another owner's index are damaged.
    pub owner: String,
}

impl IndexConfig {
    /// The defaults for a space: HNSW, f32, a tail of 16,384.
    #[must_use]
    pub fn new(space: Space) -> Self {
        Self {
            space,
            precision: Precision::F32,
            kind: IndexKind::default(),
            quantisation: Quantisation::None,
            tail_limit: 16_384,
            graph_from: 2_048,
            small_segments: 4,
            max_hits: 100_000,
            resident_rows: false,
            builders: Builders::default(),
            owner: String::new(),
        }
    }
}

/// One vector as the caller's records hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Position in the shard's order of writes; larger is newer.
    pub key: u64,
    /// The record's id.
    pub id: String,
    /// Coordinates in storage form (`Space::to_storage`).
    pub vector: Vec<f64>,
}

/// What the caller's records know and the segment files do not.
#[derive(Debug, Clone, Default)]
pub struct RestartState {
    /// Vectors with keys from `VectorIndex::covered` on, in increasing order of their keys. Rows
    /// below that are accepted and skipped.
    pub tail: Vec<Row>,
    /// Keys that were removed, in any order; unknown ones are ignored.
    pub dead: Vec<u64>,
}
