//! What can be asked of a shard, and its answers.

use std::collections::BTreeMap;
use std::time::Instant;

use hvs_filter::PayloadStats;
use hvs_index::{IndexStats, Strategy};
use hvs_text::TextStats;

use crate::filter::Filter;
use crate::record::Record;

/// A page of records in order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrollRequest {
    /// Only ids above this one, compared as bytes: the cursor of the page before.
    pub after: Option<String>,
    /// Most records of the page.
    pub limit: usize,
    /// Only matching records.
    pub filter: Option<Filter>,
    /// No record is added once the stored sizes together reach this many bytes; the page still
    /// has at least one record if there is one.
    pub max_bytes: usize,
    /// When to stop looking. A page that has found something then is returned as it is, with a
    /// cursor.
    pub deadline: Option<Instant>,
}

impl ScrollRequest {
    /// The first page, up to 16 MiB.
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit, filter: None, max_bytes: 16 << 20, deadline: None }
    }
}

/// One page of a scroll. Each page shows one state of the shard; pages of a scroll may show
/// different ones, in which no id is shown twice and no id that was there all along is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrollPage {
    /// In order of their ids, compared as bytes. May be empty although there are more, when the
    /// filter let none of the records through that were looked at.
    pub records: Vec<Record>,
    /// `after` of the next page; none when this is the last one.
    pub next: Option<String>,
    /// The last log entry that the page shows.
    pub seq: u64,
}

/// A search for the nearest records.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// Which of the namespace's vectors.
    pub vector: String,
    /// Ambient coordinates of a point of that vector's space.
    pub query: Vec<f64>,
    /// Most hits. With a radius, none means all within it, up to `max_hits` of the index.
    pub k: Option<usize>,
    /// Only hits at most this far away, in the space's own distance.
    pub radius: Option<f64>,
    /// Candidates that the index looks at; larger finds more and takes longer.
    pub ef: Option<usize>,
    /// Inverted lists that the index looks into; more find more and take longer.
    pub nprobe: Option<usize>,
    /// Look at every vector, so that no hit can be missed.
    pub exact: bool,
    /// Only matching records.
    pub filter: Option<Filter>,
    /// Return the records, not only their ids.
    pub with_records: bool,
    /// Most bytes of stored records that an answer may hold; beyond it the search is refused.
    pub max_bytes: usize,
    /// When to give up.
    pub deadline: Option<Instant>,
}

impl SearchRequest {
    /// The k nearest by the default vector, ids only.
    pub fn nearest(query: Vec<f64>, k: usize) -> Self {
        Self {
            vector: String::new(),
            query,
            k: Some(k),
            radius: None,
            ef: None,
            nprobe: None,
            exact: false,
            filter: None,
            with_records: false,
            max_bytes: usize::MAX,
            deadline: None,
        }
    }
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct SearchAnswer {
    /// Nearest first.
    pub hits: Vec<SearchHit>,
    /// Every vector was looked at, so that nothing nearer can have been missed.
    pub exact: bool,
    /// Distances computed.
    pub scanned: usize,
    /// How it was found.
    pub strategy: Strategy,
    /// More records lay within the radius than were returned.
    pub truncated: bool,
    /// At most so many records match the filter, if there is one and an index knows.
    pub matching: Option<u64>,
    /// Stored size of the records in the hits.
    pub record_bytes: usize,
    /// A log entry that the answer certainly shows.
    pub seq: u64,
}

/// One record found.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchHit {
    /// The record's id.
    pub id: String,
    /// The distance of the space, computed in f64 from the stored vector.
    pub distance: f64,
    /// The record, if it was asked for.
    pub record: Option<Record>,
}

/// What a shard reports about itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShardStats {
    /// Records that reads can return, those in memory included.
    pub records: u64,
    /// Records that are in memory alone.
    pub memory_records: u64,
    /// What they take, as the limit counts it.
    pub memory_bytes: u64,
    /// Deleted ids whose tombstone is kept.
    pub tombstones: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys: u64,
    /// Epoch of the leader.
    pub epoch: u64,
    /// Last log entry that is applied.
    pub applied_seq: u64,
    /// Up to where the log has been trimmed.
    pub log_floor: u64,
    /// Log entries appended since the shard was opened.
    pub log_entries: u64,
    /// Their size.
    pub log_bytes: u64,
    /// Operations applied since the shard was opened, replay included.
    pub operations: u64,
    /// Times that the log was made durable since the shard was opened.
    pub syncs: u64,
    /// Requests waiting for the log.
    pub queued_requests: usize,
    /// Their size.
    pub queued_bytes: usize,
    /// Requests refused as overloaded since the shard was opened.
    pub overloaded: u64,
    /// Bytes of the local state on disk, indexes not included.
    pub store_bytes: u64,
    /// Bytes of the rows of records that were written since the shard was opened, before
    /// compression.
    pub written_plain_bytes: u64,
    /// The same after compression.
    pub written_stored_bytes: u64,
    /// Whether records are being written anew because they are compressed otherwise than they
    /// should be.
    pub is_recompressing: bool,
    /// By name of the vector.
    pub indexes: BTreeMap<String, IndexStats>,
    /// Records that an index lacks in its segments which is being made to take the place of
    /// another.
    pub rebuild_rows: u64,
    /// The index of metadata.
    pub payload: PayloadStats,
    /// Whether it is being built: after a start, or for other fields, and until then the one before
    /// answers.
    pub payload_building: bool,
    /// The index of text, if there is one.
    pub text: Option<TextStats>,
    /// Why the shard has stopped, if it has.
    pub stopped: Option<String>,
}

/// Bytes of memory that shards hold, by what they hold it for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardMemory {
    /// Tails and resident rows of indexes of vectors.
    pub indexes: u64,
    /// The index of metadata, estimated.
    pub metadata: u64,
    /// What the index of text has not yet on disk.
    pub text: u64,
    /// Records that are in memory alone.
    pub unlogged: u64,
    /// Requests that wait for the log.
    pub queued: u64,
    /// Writes that the local state gathers.
    pub buffers: u64,
    /// Blocks that the local state keeps of what was read.
    pub blocks: u64,
}

impl ShardMemory {
    /// What the same shards hold as soon as they are opened again.
    pub fn firm(&self) -> u64 {
        self.indexes.saturating_add(self.metadata)
    }
}

impl std::ops::Add for ShardMemory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            indexes: self.indexes.saturating_add(other.indexes),
            metadata: self.metadata.saturating_add(other.metadata),
            text: self.text.saturating_add(other.text),
            unlogged: self.unlogged.saturating_add(other.unlogged),
            queued: self.queued.saturating_add(other.queued),
            buffers: self.buffers.saturating_add(other.buffers),
            blocks: self.blocks.saturating_add(other.blocks),
        }
    }
}

impl std::iter::Sum for ShardMemory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}
