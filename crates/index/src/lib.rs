//! Vector index: an exactly scanned flat tail and immutable HNSW segments.
//!
//! One [`VectorIndex`] holds one named vector of one shard replica. Recent vectors are in the
//! *tail*, which every search scans exactly. A background thread turns the tail into immutable
//! *segments* on disk, which are mapped, checked by checksum when opened, and walked as graphs.
//! The index is never the truth: it can be rebuilt from the shard's records at any time.

mod baseline;
mod bits;
mod build;
mod codec;
mod config;
mod engine;
mod error;
mod files;
mod graph;
mod index;
mod lists;
mod measure;
mod metric;
mod nearest;
#[cfg(test)]
#[path = "../tests/kit/points.rs"]
mod points;
mod random;
mod ranker;
mod request;
mod search;
mod segment;
mod snapshot;
mod stats;
mod tail;
mod tree;
mod visit;

pub use self::{
    baseline::RawSearch,
    build::Builders,
    config::{IndexConfig, IndexKind, MAX_EF, MAX_LISTS, MAX_M, Quantisation, RestartState, Row},
    error::{FlushError, InsertError, OpenError, SearchError},
    index::VectorIndex,
    measure::Measure,
    request::{Filtering, Hit, KnownKeys, SearchAnswer, SearchRequest, Strategy},
    stats::IndexStats,
};
