//! One error per operation.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why an index could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration cannot work.
    #[error("index configuration: {reason}")]
    Config {
        /// What is wrong, with the limit.
        reason: String,
    },
    /// The files belong to an index of another space, precision or layout.
    #[error("{}: built for {found}, opened for {wanted}", .path.display())]
    Mismatch {
        /// The manifest.
        path: PathBuf,
        /// What the files hold.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A file is missing, cut short or changed. The index can be built anew from records: call
    /// `VectorIndex::discard` and open again with every row as the tail.
    #[error("{}: damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// The files were written by a newer version.
    #[error(
        "{} was made by a newer version of HVS: it has format {found}, this version reads up to {supported}",
        .path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format in the file.
        found: u32,
        /// The newest format that is understood.
        supported: u32,
    },
    /// A row of the restart state does not fit.
    #[error("restart row {key}: {source}")]
    Row {
        /// The row's key.
        key: u64,
        /// Why.
        source: InsertError,
    },
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Why a vector was not inserted. Nothing has changed.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsertError {
    /// Keys must grow.
    #[error("key {key} is not above the newest one, {newest}")]
    KeyOrder {
        /// The key given.
        key: u64,
        /// The newest key in the index.
        newest: u64,
    },
    /// `u64::MAX` is reserved.
    #[error("key {} is reserved", u64::MAX)]
    ReservedKey,
    /// The vector has another length.
    #[error("a vector in storage form has {wanted} coordinates here, not {found}")]
    Length {
        /// Coordinates given.
        found: usize,
        /// Coordinates expected.
        wanted: usize,
    },
    /// A coordinate is not a finite number.
    #[error("coordinate {index} is not finite")]
    NotFinite {
        /// Its position.
        index: usize,
    },
    /// The point is outside what the space or the precision can hold.
    #[error("the point lies outside what the space or its precision can hold")]
    OutOfRange,
    /// The id is longer than a segment can hold.
    #[error("an id of {bytes} bytes, at most {limit} are held")]
    LongId {
        /// Bytes of the id.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Why a search failed.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum SearchError {
    /// The query has another length.
    #[error("a query has {wanted} coordinates here, not {found}")]
    Length {
        /// Coordinates given.
        found: usize,
        /// Coordinates expected.
        wanted: usize,
    },
    /// A coordinate is not a finite number.
    #[error("coordinate {index} of the query is not finite")]
    NotFinite {
        /// Its position.
        index: usize,
    },
    /// The query is outside what the space or the precision can hold.
    #[error("the query lies outside what the space or its precision can hold")]
    OutOfRange,
    /// More hits were asked for than one search returns.
    #[error("k is {k}, at most {limit} hits are returned")]
    TooMany {
        /// Hits asked for.
        k: usize,
        /// The limit.
        limit: usize,
    },
    /// The radius is not a number that a distance can be compared with.
    #[error("the radius is {radius}, it must be a number of at least 0")]
    Radius {
        /// The radius given.
        radius: f64,
    },
    /// `ef` is outside its range.
    #[error("ef is {ef}, it must be from 1 to {limit}")]
    Ef {
        /// The figure given.
        ef: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// `nprobe` is outside its range.
    #[error("nprobe is {nprobe}, it must be from 1 to {limit}")]
    Nprobe {
        /// The figure given.
        nprobe: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// The deadline passed.
    #[error("the deadline passed after {scanned} distances")]
    Deadline {
        /// Distances computed before.
        scanned: usize,
    },
}

/// Why vectors are not yet in segments.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The background build failed; the vectors stay searchable in the tail, and the next insert
    /// tries again.
    #[error("building a segment: {reason}")]
    Build {
        /// What failed.
        reason: String,
    },
    /// The index is closing.
    #[error("the index is closing")]
    Closing,
}
