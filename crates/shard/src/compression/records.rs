//! The keyspace of records: rows go in and come out plain, however they are stored.

use std::collections::BTreeMap;
use std::ops::{Deref, Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use fjall::{Keyspace, OwnedWriteBatch, Readable, Slice, Snapshot};

use super::FIRST_RECORDS;
use super::dictionary::Dictionary;
use super::row::{self, COMPRESSED, Layout};
use super::{Codec, DamagedRow};
use crate::codec::DecodeError;
use crate::config::Compression;
use crate::stored::StoredRecord;

/// A row of a record as it is used.
#[derive(Debug, Clone)]
pub(crate) enum RecordRow {
    AsStored(Slice),
    Opened(Vec<u8>),
}

impl Deref for RecordRow {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::AsStored(row) => row,
            Self::Opened(row) => row,
        }
    }
}

/// id → record. Clones share it.
#[derive(Clone)]
pub(crate) struct Records {
    keyspace: Keyspace,
    shared: Arc<Shared>,
}

struct Shared {
    known: ArcSwap<Known>,
    /// Bytes of the rows that were written since the store was opened, before and after.
    plain_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    /// Whether rows are still to be written anew, or a dictionary is being trained.
    is_changing: AtomicBool,
    /// From how many live records a dictionary is due.
    train_at: AtomicU64,
}

/// How rows are written, and what it takes to read them.
#[derive(Default, Clone)]
struct Known {
    compression: Compression,
    /// What rows are compressed with.
    current: Option<Arc<Dictionary>>,
    /// All of them, by number.
    dictionaries: BTreeMap<u32, Arc<Dictionary>>,
}

impl Known {
    /// The newest dictionary of a codec, or an empty one.
    fn choose(&self, compression: Compression) -> Option<Arc<Dictionary>> {
        let codec = Codec::of(compression)?;
        let newest = self.dictionaries.values().rev().find(|known| known.codec == codec);
        Some(newest.map_or_else(|| Arc::new(Dictionary::empty(codec)), Arc::clone))
    }
}

impl Records {
    /// Where the rows are.
    pub(crate) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    pub(crate) fn new(
        keyspace: Keyspace,
        dictionaries: impl IntoIterator<Item = (u32, Slice)>,
    ) -> Result<Self, DecodeError> {
        let mut known = Known::default();
        for (number, bytes) in dictionaries {
            known.dictionaries.insert(number, Arc::new(Dictionary::decode(number, &bytes)?));
        }
        let shared = Shared {
            known: ArcSwap::from_pointee(known),
            plain_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            is_changing: AtomicBool::new(false),
            train_at: AtomicU64::new(FIRST_RECORDS),
        };
        Ok(Self { keyspace, shared: Arc::new(shared) })
    }

    /// From now on rows are written so.
    pub(crate) fn set_compression(&self, compression: Compression) {
        if compression != self.compression() {
            self.set_changing(true);
        }
        self.shared.known.rcu(|known| {
            let current = known.choose(compression);
            Known { compression, current, ..Known::clone(known) }
        });
    }

    pub(crate) fn compression(&self) -> Compression {
        self.shared.known.load().compression
    }

    /// Whether what is stored is not yet as it should be, with so many live records.
    pub(crate) fn is_changing(&self, live_records: u64) -> bool {
        let is_due = self.compression() != Compression::None
            && live_records >= self.shared.train_at.load(Ordering::Acquire);
        is_due || self.shared.is_changing.load(Ordering::Acquire)
    }

    pub(super) fn set_train_at(&self, live_records: u64) {
        self.shared.train_at.store(live_records, Ordering::Release);
    }

    pub(super) fn set_changing(&self, is_changing: bool) {
        self.shared.is_changing.store(is_changing, Ordering::Release);
    }

    /// From now on rows may refer to a dictionary that has been stored.
    pub(super) fn add(&self, dictionary: Dictionary) {
        let dictionary = Arc::new(dictionary);
        self.shared.known.rcu(|known| {
            let mut known = Known::clone(known);
            known.dictionaries.insert(dictionary.number, Arc::clone(&dictionary));
            known.current = known.choose(known.compression);
            known
        });
    }

    /// What rows are compressed with.
    pub(super) fn current(&self) -> Option<Arc<Dictionary>> {
        self.shared.known.load().current.clone()
    }

    /// A number that no dictionary has yet.
    pub(super) fn next_number(&self) -> u32 {
        let known = self.shared.known.load();
        known.dictionaries.last_key_value().map_or(1, |(number, _)| number.saturating_add(1))
    }

    /// Bytes of the rows that were written since the store was opened: as they are, and as they
    /// are stored.
    pub(crate) fn written(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.shared.plain_bytes), read(&self.shared.stored_bytes))
    }

    pub(crate) fn insert(&self, batch: &mut OwnedWriteBatch, id: impl AsRef<[u8]>, row: &[u8]) {
        let id = id.as_ref();
        if !self.insert_if_shorter(batch, id, row) {
            self.count(row.len(), row.len());
            batch.insert(&self.keyspace, id, row);
        }
    }

    /// Inserts a row if it is shorter compressed than it is. Returns whether it was.
    pub(super) fn insert_if_shorter(
        &self,
        batch: &mut OwnedWriteBatch,
        id: &[u8],
        row: &[u8],
    ) -> bool {
        let known = self.shared.known.load();
        let Some(with) = known.current.as_deref() else { return false };
        let stored = compressible(row).and_then(|part| row::compress(row, part, with));
        let Some(stored) = stored else { return false };
        self.count(row.len(), stored.len());
        batch.insert(&self.keyspace, id, stored);
        true
    }

    fn count(&self, plain_bytes: usize, stored_bytes: usize) {
        self.shared.plain_bytes.fetch_add(plain_bytes as u64, Ordering::Relaxed);
        self.shared.stored_bytes.fetch_add(stored_bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, batch: &mut OwnedWriteBatch, id: impl AsRef<[u8]>) {
        batch.remove(&self.keyspace, id.as_ref());
    }

    pub(crate) fn contains(&self, id: impl AsRef<[u8]>) -> fjall::Result<bool> {
        self.keyspace.contains_key(id)
    }

    /// As it is now.
    pub(crate) fn get(&self, id: impl AsRef<[u8]>) -> fjall::Result<Option<RecordRow>> {
        self.keyspace.get(id)?.map(|row| self.open(row)).transpose()
    }

    /// As of a snapshot.
    pub(crate) fn get_at(
        &self,
        snapshot: &Snapshot,
        id: impl AsRef<[u8]>,
    ) -> fjall::Result<Option<RecordRow>> {
        snapshot.get(&self.keyspace, id)?.map(|row| self.open(row)).transpose()
    }

    /// All of them in order of their ids, as they are now.
    pub(crate) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = fjall::Result<(Slice, RecordRow)>> + use<'_> {
        self.keyspace.iter().map(|row| self.open_pair(row))
    }

    /// The same, as of a snapshot.
    pub(crate) fn iter_at(
        &self,
        snapshot: &Snapshot,
    ) -> impl Iterator<Item = fjall::Result<(Slice, RecordRow)>> + use<'_> {
        snapshot.iter(&self.keyspace).map(|row| self.open_pair(row))
    }

    /// Some of them, as of a snapshot.
    pub(crate) fn range_at<'a, K: AsRef<[u8]>, R: RangeBounds<K>>(
        &'a self,
        snapshot: &Snapshot,
        range: R,
    ) -> impl Iterator<Item = fjall::Result<(Slice, RecordRow)>> + use<'a, K, R> {
        snapshot.range(&self.keyspace, range).map(|row| self.open_pair(row))
    }

    /// From an id on, as they are stored.
    pub(super) fn stored_from(
        &self,
        id: &[u8],
    ) -> impl Iterator<Item = fjall::Result<(Slice, Slice)>> + use<> {
        self.keyspace.range(id..).map(fjall::Guard::into_inner)
    }

    fn open_pair(&self, row: fjall::Guard) -> fjall::Result<(Slice, RecordRow)> {
        let (id, row) = row.into_inner()?;
        Ok((id, self.open(row)?))
    }

    pub(super) fn open(&self, row: Slice) -> fjall::Result<RecordRow> {
        if row.first() != Some(&COMPRESSED) {
            return Ok(RecordRow::AsStored(row));
        }
        Ok(RecordRow::Opened(self.decompress(&row)?))
    }

    fn decompress(&self, row: &[u8]) -> Result<Vec<u8>, DamagedRow> {
        let layout = Layout::read(row)?;
        let number = layout.dictionary;
        if number == 0 {
            return layout.open(&Dictionary::empty(layout.codec));
        }
        let known = self.shared.known.load();
        let dictionary = known.dictionaries.get(&number);
        // Under its number and of another codec, it is not the one that was meant.
        let dictionary = dictionary.filter(|dictionary| dictionary.codec == layout.codec);
        layout.open(dictionary.ok_or(DamagedRow::NoDictionary { number })?)
    }
}

/// The part of a plain row that is worth compressing: labels and metadata.
pub(super) fn compressible(row: &[u8]) -> Option<Range<usize>> {
    let stored = StoredRecord::decode(row).ok()?;
    let start = row.len().checked_sub(stored.content_bytes.len())?;
    let end = row.len().checked_sub(stored.content.vector_bytes())?;
    (start <= end).then_some(start..end)
}
