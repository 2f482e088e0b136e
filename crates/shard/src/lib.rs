//! The deterministic state machine of a shard: records, conditions, indexes kept in step.
//!
//! A [`Shard`] is one hash slice of a namespace. Writes go to its log first and are then applied
//! to local state: a database of records, and one index per named vector. Reads need local state
//! only and never wait for a writer.
//!
//! # Invariants
//! - The log is the truth. Local state is what applying a prefix of it gives, no more and no
//!   less: each entry is applied in one atomic batch together with its seq.
//! - Applying reads no clock, draws no random number and consults no configuration that is not
//!   itself logged. Every replica that has applied the same entries has the same state.
//! - One entry is in flight. Conditions are therefore checked against exactly the prefix.
//! - What fails while applying stops the shard; nothing is skipped.
//! - Entries are trimmed only below what local state holds durably.

#![allow(
    clippy::missing_errors_doc,
    reason = "each operation has an error type of its own, whose variants say when they occur"
)]

mod arena;
mod block_on;
mod changes;
pub mod checkpoint;
mod codec;
mod command;
mod commits;
mod compression;
mod config;
mod content;
mod error;
mod expiry;
mod feed;
mod filter;
#[cfg(test)]
mod golden;
mod housekeeping;
mod indexes;
mod inner;
mod lease;
mod listing;
mod machine;
mod memory;
mod meta;
mod named;
mod operation;
mod ordered;
mod patch;
mod payload;
mod prepare;
mod queue;
mod read;
mod reading;
mod record;
mod reindex;
mod remembered;
pub mod repair;
mod searching;
mod selection;
mod shard;
mod state;
mod store;
mod stored;
mod text;
mod wall;
mod writer;

pub use hvs_index::{IndexConfig, IndexKind, IndexStats, Strategy};
pub use hvs_log::{Position, Writer};
pub use hvs_text::{
    FieldPath, Language, MIN_WRITER_BYTES, QueryError, QueryLimits, Statistics, TextConfig,
    TextQuery, TextStats,
};

pub use config::{
    Compression, DEFAULT_MAX_OPERATIONS, DEFAULT_MEMORY_BYTES, DEFAULT_TOMBSTONE_MILLIS,
    IdempotencyLimits, LogRetention, QueueLimits, ShardConfig, StoreSizes,
};
pub use error::{CloseError, OpenError, ReadError, ReindexError, WriteError};
pub use feed::{Change, ChangeKind, ChangesError, ChangesPage, ChangesRequest, FeedPosition};
pub use filter::Filter;
pub use hvs_filter::{
    Facet, FieldType, FilterError, FilterLimits, PayloadLimits, PayloadSchema, PayloadStats,
    Scalar, Subject,
};
pub use lease::Lease;
pub use listing::{FacetRequest, Matched, MatchingPage, MatchingRequest};
pub use operation::{Condition, Durability, Operation, WriteAnswer, WriteOutcome, WriteRequest};
pub use ordered::{OrderedPage, OrderedRecord, OrderedRequest};
pub use prepare::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_OPERATIONS_BYTES};
pub use read::{
    ScrollPage, ScrollRequest, SearchAnswer, SearchHit, SearchRequest, ShardMemory, ShardStats,
};
pub use record::{
    DEFAULT_KIND, Etag, EtagError, Expiry, InvalidRecord, MAX_ID_BYTES, MAX_NAME_BYTES,
    MAX_PARTITION_KEY_BYTES, Metadata, NewRecord, Patch, Record, Timestamp, Vectors, check_id,
};
pub use reindex::{IndexChange, ReplacedIndex};
pub use shard::Shard;
pub use state::SearchState;
pub use text::{
    Detail, DetailsRequest, ReplacedText, TextAnswer, TextChange, TextMatch, TextSearch,
};
pub use wall::WallClock;
