//! Full text of one shard's records, ranked by BM25.
//!
//! A [`TextIndex`] holds one document per record that has text: its words, under the record's key.
//! What was told last is in memory and found at once; a thread of its own moves it into an inverted
//! index on disk, which is tantivy's. Scores are computed here, in f64, from that index's postings.
//!
//! # Invariants
//! - The index is a cache. Whatever is missing, damaged, of another version or of other settings is
//!   built anew from the [`Source`], which is the truth; a file is used only if its checksum holds.
//! - What was told is found by the next search, and what was removed is not. No search waits for a
//!   commit; it waits only while the index is built after a start.
//! - A score depends on the documents and the query, not on how they came to lie in memory and in
//!   segments, with one exception: statistics count a removed document until its segment is merged.
//! - Equal scores are in the order of the keys.
//! - Memory is bounded: what waits for the disk has a limit, and beyond it the writer waits.

mod analysis;
mod bm25;
mod config;
mod directory;
mod disk;
mod error;
mod fields;
mod index;
mod memory;
mod overlay;
mod query;
mod scoring;
mod top;
mod worker;

pub use analysis::{Language, MAX_WORD_BYTES};
pub use bm25::{B, K1, counted_length};
pub use config::{MIN_WRITER_BYTES, TextConfig};
pub use error::{OpenError, QueryError, SearchError};
pub use fields::{FieldPath, InvalidPath, texts};
pub use index::{Change, Document, Mark, Source, TextIndex, TextStats, Visit};
pub use overlay::{OverlayDocument, TextOverlay};
pub use query::{QueryLimits, Statistics, TextQuery};
pub use scoring::{TextHit, TextRequest};
