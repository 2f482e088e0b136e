//! [`Kv`] on fjall, for one process on one disk.
//!
//! Writes go to a journal. [`Durability::Buffered`] has handed them to the operating system when
//! it returns, and they are forced to the disk after [`EmbeddedConfig::sync_after`];
//! [`Durability::Sync`] has called `fdatasync`. The directory is locked for as long as
//! the store is open, by a file lock that the kernel releases when the process ends in any way.
//!
//! Calls block the calling thread for as long as the disk takes; they never wait for anything
//! else, so their futures are ready when first polled. Callers that must not block call from a
//! thread that may.

mod window;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

use crate::{
    CompareAndSwap, Durability, Kv, KvError, PrintableKey, PutIfAbsent, ScanLimit, ScanPage,
    check_key, check_pair,
    database::{self, DatabaseError},
    directory,
    embedded::window::Window,
    memtables,
};

/// Name of the one keyspace.
const KEYSPACE: &str = "kv";
/// Keys removed in one journal write by [`Kv::delete_range`].
const DELETE_CHUNK: usize = 1024;

/// Sizes that trade memory for speed, and time at start for certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Bytes of blocks that are kept in memory.
    pub cache_bytes: u64,
    /// Bytes of writes that are gathered in memory before they become a sorted file.
    pub memtable_bytes: u64,
    /// Whether all sorted files are read and checked when the store is opened.
    pub verify_tables: bool,
    /// After how long a buffered write is forced to the disk, at the latest; none leaves it to the
    /// operating system.
    pub sync_after: Option<Duration>,
}

impl Default for EmbeddedConfig {
    /// 8 MiB each: logs are written once and read at start only. Everything is checked, and nothing
    /// is buffered for longer than a second.
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            memtable_bytes: 8 << 20,
            verify_tables: true,
            sync_after: Some(Duration::from_secs(1)),
        }
    }
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {} is in use by another process; stop that one, or use another directory",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file is damaged, or cannot be read. Nothing was changed.
    #[error("cannot open the store in {}: {source}{}", path.display(), source.advice())]
    Files {
        /// The directory.
        path: PathBuf,
        /// Which, and how.
        source: DatabaseError,
    },
    /// The store does not open or is damaged.
    #[error("cannot open the store in {}: {source}", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: fjall::Error,
    },
}

/// A store in a directory of its own.
pub struct Embedded {
    database: Database,
    keyspace: Keyspace,
    /// Held between looking at a key and writing it.
    writing: Mutex<()>,
    window: Option<Window>,
}

impl Embedded {
    /// Opens the store, creating it if the directory holds none.
    pub fn open(path: &Path, config: EmbeddedConfig) -> Result<Self, OpenError> {
        let failed = |source| match source {
            fjall::Error::Locked => OpenError::Locked { path: path.to_owned() },
            source => OpenError::Store { path: path.to_owned(), source },
        };
        // The database would cut a damaged journal off, and say nothing.
        let damaged = |source| match source {
            DatabaseError::InUse { path } => OpenError::Locked { path },
            source => OpenError::Files { path: path.to_owned(), source },
        };
        let before = database::prepare(path, config.verify_tables).map_err(damaged)?;
        // One worker for files and one for merging them; the machine's cores are for searches.
        let database = Database::builder(path)
            .cache_size(config.cache_bytes)
            .worker_threads(2)
            .open()
            .map_err(failed)?;
        database::check_opened(&before, &database, &[KEYSPACE]).map_err(damaged)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(config.memtable_bytes);
        let keyspace = database.keyspace(KEYSPACE, options).map_err(failed)?;
        memtables::settle(path, [&keyspace]).map_err(failed)?;
        directory::sync_database(path).map_err(|error| failed(fjall::Error::Io(error)))?;
        let window = config.sync_after.map(|length| Window::open(path, length)).transpose();
        let window = window.map_err(|error| failed(fjall::Error::Io(error)))?;
        Ok(Self { database, keyspace, writing: Mutex::new(()), window })
    }

    /// Bytes on disk, journals included.
    pub fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    fn read(&self, operation: &'static str, key: &[u8]) -> Result<Option<fjall::Slice>, KvError> {
        self.keyspace.get(key).map_err(|source| failure(operation, key, source))
    }

    fn write(
        &self,
        operation: &'static str,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<(), KvError> {
        self.check(operation, key)?;
        // Hands the journal to the operating system before it returns.
        self.keyspace.insert(key, value).map_err(|source| failure(operation, key, source))?;
        self.persist(operation, key, durability)
    }

    /// Refuses to go on where it is not known what the disk has.
    fn check(&self, operation: &'static str, key: &[u8]) -> Result<(), KvError> {
        let checked = self.window.as_ref().map_or(Ok(()), Window::check);
        checked.map_err(|lost| KvError::Backend {
            operation,
            key: PrintableKey::from(key),
            source: Box::new(lost),
        })
    }

    fn persist(
        &self,
        operation: &'static str,
        key: &[u8],
        durability: Durability,
    ) -> Result<(), KvError> {
        let window = self.window.as_ref();
        if durability == Durability::Buffered {
            window.inspect(|window| window.wrote());
            return Ok(());
        }
        // It would say that it is done, although an earlier sync has failed.
        self.check(operation, key)?;
        let written = window.map(Window::written);
        self.database
            .persist(PersistMode::SyncData)
            .map_err(|source| failure(operation, key, source))?;
        if let (Some(window), Some(written)) = (window, written) {
            window.synced(written);
        }
        Ok(())
    }
}

#[async_trait]
impl Kv for Embedded {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        check_key(key)?;
        Ok(self.read("get", key)?.map(|value| value.to_vec()))
    }

    async fn put_if_absent(
        &self,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<PutIfAbsent, KvError> {
        const OPERATION: &str = "put if absent";
        check_pair(key, value)?;
        let _writing = self.writing.lock();
        if let Some(present) = self.read(OPERATION, key)? {
            return Ok(PutIfAbsent::Present(present.to_vec()));
        }
        self.write(OPERATION, key, value, durability)?;
        Ok(PutIfAbsent::Stored)
    }

    async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        durability: Durability,
    ) -> Result<CompareAndSwap, KvError> {
        const OPERATION: &str = "compare and swap";
        check_pair(key, value)?;
        let _writing = self.writing.lock();
        let present = self.read(OPERATION, key)?;
        if present.as_deref() != expected {
            return Ok(CompareAndSwap::Different(present.map(|value| value.to_vec())));
        }
        self.write(OPERATION, key, value, durability)?;
        Ok(CompareAndSwap::Swapped)
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<ScanPage, KvError> {
        check_key(start)?;
        check_key(end)?;
        let mut page = ScanPage::default();
        if start >= end {
            return Ok(page);
        }
        let mut bytes = 0_usize;
        for pair in self.keyspace.range(start..end) {
            let (key, value) =
                pair.into_inner().map_err(|source| failure("scan from", start, source))?;
            let full = page.pairs.len() >= limit.pairs.max(1) || bytes >= limit.bytes;
            if full && !page.pairs.is_empty() {
                page.next = Some(key.to_vec());
                break;
            }
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            page.pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(page)
    }

    async fn delete(&self, key: &[u8], durability: Durability) -> Result<(), KvError> {
        check_key(key)?;
        let _writing = self.writing.lock();
        self.check("delete", key)?;
        self.keyspace.remove(key).map_err(|source| failure("delete", key, source))?;
        self.persist("delete", key, durability)
    }

    async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        check_key(start)?;
        check_key(end)?;
        if start >= end {
            return Ok(());
        }
        let failed = |source| failure("delete the range from", start, source);
        let _writing = self.writing.lock();
        let mut keys = self.keyspace.range(start..end).map(fjall::Guard::key).peekable();
        while keys.peek().is_some() {
            let mut batch = self.database.batch();
            for key in keys.by_ref().take(DELETE_CHUNK) {
                batch.remove(&self.keyspace, key.map_err(failed)?);
            }
            batch.commit().map_err(failed)?;
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), KvError> {
        self.persist("sync", b"", Durability::Sync)
    }

    fn may_lose_buffered(&self) -> bool {
        true
    }

    fn memory_bytes(&self) -> u64 {
        self.database.cache_size() + self.database.write_buffer_size()
    }
}

fn failure(operation: &'static str, key: &[u8], source: fjall::Error) -> KvError {
    KvError::Backend { operation, key: PrintableKey::from(key), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_is_refused_and_names_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = Embedded::open(directory.path(), EmbeddedConfig::default()).unwrap();
        let Err(error) = Embedded::open(directory.path(), EmbeddedConfig::default()) else {
            panic!("the store was opened twice");
        };
        assert!(matches!(&error, OpenError::Locked { path } if path == directory.path()));
        assert!(error.to_string().contains("in use by another process"));
        drop(first);
        Embedded::open(directory.path(), EmbeddedConfig::default()).unwrap();
    }

    #[test]
    fn keys_are_printable_in_errors() {
        assert_eq!(PrintableKey::from(&b"hvs/log/\x00\xff"[..]).to_string(), r"hvs/log/\x00\xff");
    }
}
