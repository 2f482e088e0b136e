//! The key-value store below HVS: one trait, its backends, one conformance suite.
//!
//! Everything that must survive the loss of a node goes through [`Kv`]: shard logs, leaders,
//! floors, sessions, checkpoints. The operations are those that every backend has in an atomic
//! form for a single key; nothing spans keys.
//!
//! Backends: [`embedded::Embedded`], for one process on one disk, and `tikv::Tikv` (feature `tikv`),
//! for many processes.

#![allow(
    clippy::missing_errors_doc,
    reason = "each operation has an error type of its own, whose variants say when they occur"
)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod copy;
pub mod database;
pub mod directory;
pub mod embedded;
pub mod journal;
pub mod memtables;
#[cfg(feature = "tikv")]
pub mod tikv;

use std::fmt;

use async_trait::async_trait;

/// Longest key, in bytes. TiKV takes no longer ones.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// Longest value, in bytes: an entry of a shard log with its frame, and some air.
pub const MAX_VALUE_BYTES: usize = 4 << 20;

/// What a write must have reached when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Survives the end of this process. A backend without such a level may do more.
    Buffered,
    /// Survives the loss of power: `fdatasync` here, or a commit of the replicas elsewhere.
    Sync,
}

/// A store of keys in byte order with atomic operations on single keys.
///
/// A call that fails with [`KvError::Backend`] may or may not have taken effect, and may still
/// take effect later. Callers make their values unique, so that they know their own.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// The value of a key.
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Stores the value if the key has none. A key that is written so is not overwritten by
    /// [`Kv::compare_and_swap`], else a repeated attempt may be told of another's value although
    /// its own was there before.
    async fn put_if_absent(
        &self,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<PutIfAbsent, KvError>;

    /// Stores the value if the key has exactly the expected one; `None` expects no value.
    async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        durability: Durability,
    ) -> Result<CompareAndSwap, KvError>;

    /// Pairs in byte order from `start` (inclusive) to `end` (exclusive), up to the limits.
    /// A page that is not complete says where to go on. The pages of a scan are not one snapshot.
    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<ScanPage, KvError>;

    /// Removes a key. It need not exist.
    async fn delete(&self, key: &[u8], durability: Durability) -> Result<(), KvError>;

    /// Removes all keys from `start` (inclusive) to `end` (exclusive), not atomically: after a
    /// failure some may be gone.
    async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), KvError>;

    /// Makes every write that returned before this call as durable as [`Durability::Sync`].
    async fn sync(&self) -> Result<(), KvError>;

    /// Writes with [`Durability::Buffered`] may be lost while later state of the same machine
    /// outside of this store survives. False for a store that commits every write.
    fn may_lose_buffered(&self) -> bool;

    /// Whether a call repeats by itself what can be repeated, for as long as it may take: whoever
    /// gets an error then has no reason to try again at once.
    fn repeats(&self) -> bool {
        false
    }

    /// Bytes that it holds in this process: what it gathers, and what it keeps of what was read.
    fn memory_bytes(&self) -> u64 {
        0
    }
}

/// What came of [`Kv::put_if_absent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutIfAbsent {
    /// The value is stored.
    Stored,
    /// The key has this value. It may be the caller's own, from a call whose reply was lost.
    Present(Vec<u8>),
}

/// What came of [`Kv::compare_and_swap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompareAndSwap {
    /// The value is stored.
    Swapped,
    /// The key has this value, or none. It may be the caller's own, from a call whose reply was
    /// lost.
    Different(Option<Vec<u8>>),
}

/// Bounds of one page of a scan. A page holds at least one pair if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimit {
    /// Most pairs; zero counts as one.
    pub pairs: usize,
    /// No pair is added once keys and values together reach this many bytes.
    pub bytes: usize,
}

impl Default for ScanLimit {
    /// 256 pairs, 2 MiB: a page then fits into a gRPC message of 4 MiB next to a value of 2 MiB.
    fn default() -> Self {
        Self { pairs: 256, bytes: 2 << 20 }
    }
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// In byte order of the keys.
    pub pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next page starts; none when the range is done.
    pub next: Option<Vec<u8>>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// The key is longer than any backend takes; nothing was done.
    #[error("a key of {bytes} bytes is too long, at most {MAX_KEY_BYTES} are allowed")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The value is longer than any backend takes; nothing was done.
    #[error("a value of {bytes} bytes is too long, at most {MAX_VALUE_BYTES} are allowed")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The store failed. Whether a write took effect is not known.
    #[error("cannot {operation} {key}: {source}")]
    Backend {
        /// What was being done.
        operation: &'static str,
        /// To which key, printable.
        key: PrintableKey,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A key as people read it: printable ASCII as it is, other bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintableKey(String);

impl From<&[u8]> for PrintableKey {
    fn from(key: &[u8]) -> Self {
        Self(key.escape_ascii().to_string())
    }
}

impl fmt::Display for PrintableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The checks that every backend makes first, so that all refuse the same.
pub(crate) fn check_key(key: &[u8]) -> Result<(), KvError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(KvError::KeyTooLong { bytes: key.len() });
    }
    Ok(())
}

/// As [`check_key`], and for the value.
pub(crate) fn check_pair(key: &[u8], value: &[u8]) -> Result<(), KvError> {
    check_key(key)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(KvError::ValueTooLong { bytes: value.len() });
    }
    Ok(())
}
