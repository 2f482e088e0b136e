//! Searches and their answers.

use std::{fmt, time::Instant};

use roaring::RoaringTreemap;

/// One search. `k`, `radius` or both limit the answer; with neither nothing is returned.
#[derive(Clone, Copy)]
pub struct SearchRequest<'a> {
    /// The query in ambient coordinates of the index's space; the caller has validated it.
    pub query: &'a [f64],
    /// The most hits wanted. With a radius, 0 means all within it.
    pub k: usize,
    /// Only hits at most this far away, in the space's own distance.
    pub radius: Option<f64>,
    /// Candidates to examine in each graph, instead of the index's own figure.
    pub ef: Option<usize>,
    /// Inverted lists to look into in each segment, instead of the index's own figure.
    pub nprobe: Option<usize>,
    /// Whether every vector must be looked at.
    pub exact: bool,
    /// Only hits whose id passes.
    pub accept: Option<&'a dyn Fn(&str) -> bool>,
    /// What is known of `accept` without asking it. Of no effect where there is none.
    pub known: Option<KnownKeys<'a>>,
    /// How a filter is carried out in a graph.
    pub filtering: Filtering,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Whether hits carry their vectors.
    pub with_vectors: bool,
}

/// How a filter is carried out in a segment that has a graph. It changes what a search costs, and
/// which of two approximate answers is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filtering {
    /// By what is estimated to cost least.
    #[default]
    Cheapest,
    /// The rows that may pass are compared, where they are known and their vectors are not coded.
    Matching,
    /// The graph is walked until enough rows are found that pass, where no radius is asked for.
    FilteredGraph,
    /// The graph is walked with more candidates, which are filtered; with more again where too few
    /// pass.
    OverFetch,
}

/// The keys of which it is known whether their ids pass.
#[derive(Clone, Copy)]
pub struct KnownKeys<'a> {
    /// These pass.
    pub sure: &'a RoaringTreemap,
    /// Of these it is not known; none of `sure`.
    pub maybe: &'a RoaringTreemap,
    /// Of this key and all above it nothing is known. Other keys below it do not pass.
    pub below: u64,
}

impl<'a> SearchRequest<'a> {
    /// Whether a row may be returned.
    pub(crate) fn passes<'i>(&self, key: u64, id: impl FnOnce() -> Option<&'i str>) -> bool {
        let Some(accept) = self.accept else { return true };
        if let Some(known) = &self.known
            && key < known.below
        {
            if known.sure.contains(key) {
                return true;
            }
            if !known.maybe.contains(key) {
                return false;
            }
        }
        id().is_some_and(accept)
    }

    /// The `k` nearest to `query`.
    #[must_use]
    pub fn nearest(query: &'a [f64], k: usize) -> Self {
        Self {
            query,
            k,
            radius: None,
            ef: None,
            nprobe: None,
            exact: false,
            accept: None,
            known: None,
            filtering: Filtering::Cheapest,
            deadline: None,
            with_vectors: false,
        }
    }

    /// Everything at most `radius` from `query`.
    #[must_use]
    pub fn within(query: &'a [f64], radius: f64) -> Self {
        Self { radius: Some(radius), ..Self::nearest(query, 0) }
    }
}

impl fmt::Debug for SearchRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchRequest")
            .field("k", &self.k)
            .field("radius", &self.radius)
            .field("ef", &self.ef)
            .field("nprobe", &self.nprobe)
            .field("exact", &self.exact)
            .field("filtered", &self.accept.is_some())
            .finish_non_exhaustive()
    }
}

/// One vector found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The key given at insertion.
    pub key: u64,
    /// The record's id.
    pub id: String,
    /// The distance of the space, computed in f64 from the stored vector. In a Lorentzian space,
    /// the magnitude of the interval; its kind is `hvs_geometry`'s to tell.
    pub distance: f64,
    /// The vector in storage form, when it was asked for.
    pub vector: Option<Vec<f64>>,
}

/// How an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Every vector was compared.
    Scan,
    /// Every vector that may pass the filter was compared, others only in the tail.
    Matching,
    /// Graphs were walked, and the tail was scanned.
    Graph,
    /// Graphs were walked, in at least one of them until enough rows were found that pass the
    /// filter.
    FilteredGraph,
    /// Graphs were walked with more candidates, of which those were taken that pass the filter.
    OverFetch,
    /// Graphs were walked first, and too few of what they offered could be returned.
    GraphThenScan,
    /// What is provably farther away than the answer was left out, and the tail was scanned.
    Bounds,
    /// The nearest of inverted lists were scanned, and the tail.
    Lists,
}

impl Strategy {
    /// The name used in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Matching => "matching",
            Self::Graph => "graph",
            Self::FilteredGraph => "filtered_graph",
            Self::OverFetch => "over_fetch",
            Self::GraphThenScan => "graph_then_scan",
            Self::Bounds => "bounds",
            Self::Lists => "lists",
        }
    }
}

/// What a search found, nearest first.
#[derive(Debug, Clone)]
pub struct SearchAnswer {
    /// The hits; equal distances are in order of their keys.
    pub hits: Vec<Hit>,
    /// Whether nothing nearer can have been missed: every vector was looked at, or was provably
    /// farther away.
    pub exact: bool,
    /// Distances computed.
    pub scanned: usize,
    /// How it was found.
    pub strategy: Strategy,
    /// Whether more vectors lay within the radius than `IndexConfig::max_hits` lets through.
    pub truncated: bool,
}
