//! Writing the rows of a state, while writes go on.

use std::iter::Peekable;

use fjall::{Readable, Slice, Snapshot};

use crate::codec::DecodeError;
use crate::compression::RecordRow;
use crate::error::ReadError;
use crate::inner::Inner;
use crate::meta::{Meta, Purged};
use crate::record::Timestamp;
use crate::remembered::Remembered;
use crate::shard::Shard;
use crate::store::{BY_ID, BY_KEY, BY_ORDER, Store, row_key};
use crate::stored::Header;

use super::rows::{Digest, encode_key, encode_meta};
use super::{KEY, LIVE, META, RECORD, TOMBSTONE};

/// Why a state was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError<E> {
    /// The local state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What takes the rows failed, or has had enough.
    #[error(transparent)]
    Sink(E),
}

/// The state of a shard at one entry. It stays what it is while the shard goes on; as long as it
/// is held, the shard keeps what was replaced since.
pub struct Export {
    store: Store,
    snapshot: Snapshot,
    meta: Meta,
    purged: Purged,
}

impl Shard {
    /// The state as it is now. Takes no time that depends on its size.
    pub fn export(&self) -> Result<Export, ReadError> {
        self.inner().export()
    }
}

impl Inner {
    fn export(&self) -> Result<Export, ReadError> {
        let store = self.store.clone();
        let snapshot = store.snapshot();
        let (meta, purged) = store
            .meta_of(&snapshot)
            .map_err(|error| ReadError::Corrupt { id: String::new(), reason: error.to_string() })?;
        Ok(Export { store, snapshot, meta, purged })
    }
}

impl Export {
    /// The last entry in it.
    pub fn seq(&self) -> u64 {
        self.meta.applied.seq
    }

    /// Hash of that entry.
    pub fn entry(&self) -> [u8; 32] {
        self.meta.applied.hash.0
    }

    /// Its epoch.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// Live records.
    pub fn records(&self) -> u64 {
        self.meta.records
    }

    /// Deleted ids that are remembered.
    pub fn tombstones(&self) -> u64 {
        self.meta.tombstones
    }

    /// How many rows are read: records, deleted ids and idempotency keys.
    pub fn rows(&self) -> u64 {
        self.meta.records + self.meta.tombstones + self.meta.remembered()
    }

    /// Whether what changed since an earlier entry can be told: not if deletions since then have
    /// been forgotten already.
    pub fn can_follow(&self, seq: u64) -> bool {
        seq <= self.seq() && self.purged.seq <= seq
    }

    /// Gives `sink` the rows of the state in order of their keys, or those that changed after the
    /// entry `since`. Returns the digest of the whole state, for which all of it is read. Takes as
    /// long as there are records.
    pub fn write<E>(
        &self,
        since: Option<u64>,
        sink: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<[u8; 32], ExportError<E>> {
        self.write_watched(since, || Ok(()), sink)
    }

    /// The same, and calls `read` for each of the [`rows`](Self::rows), also for those that did
    /// not change: it can end what takes long.
    pub fn write_watched<E>(
        &self,
        since: Option<u64>,
        mut read: impl FnMut() -> Result<(), E>,
        mut sink: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<[u8; 32], ExportError<E>> {
        let mut digest = Digest::new();
        let meta = encode_meta(&self.meta, &self.purged);
        digest.push(&[META], &meta);
        sink(&[META], &meta).map_err(ExportError::Sink)?;
        self.keys(since, &mut digest, &mut read, &mut sink)?;
        self.records_and_tombstones(since, &mut digest, &mut read, &mut sink)?;
        Ok(digest.finish())
    }

    fn keys<E>(
        &self,
        since: Option<u64>,
        digest: &mut Digest,
        read: &mut impl FnMut() -> Result<(), E>,
        sink: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), ExportError<E>> {
        let rows = self.snapshot.prefix(&self.store.idempotency, [BY_ORDER]);
        for row in rows {
            read().map_err(ExportError::Sink)?;
            let (by_order, value) = row.into_inner().map_err(storage("idempotency keys"))?;
            let damaged = |field| corrupt(&by_order, &DecodeError::Field { field });
            let number = by_order.get(1..).unwrap_or_default();
            let (timestamp, key) =
                value.split_first_chunk::<8>().ok_or_else(|| damaged("timestamp"))?;
            let by_key = self.snapshot.get(&self.store.idempotency, row_key(BY_KEY, key));
            let remembered = by_key.map_err(storage("an idempotency key"))?;
            let remembered = remembered.ok_or_else(|| damaged("key"))?;
            let timestamp = Timestamp(u64::from_le_bytes(*timestamp));
            let row_value = encode_key(timestamp, key, &remembered);
            let row_key = row_key(KEY, number);
            digest.push(&row_key, &row_value);
            let last = Remembered::decode(&remembered)
                .map_err(|error| corrupt(key, &error))?
                .parts
                .last()
                .map_or(0, |part| part.first.seq);
            if since.is_none_or(|since| last > since) {
                sink(&row_key, &row_value).map_err(ExportError::Sink)?;
            }
        }
        Ok(())
    }

    /// Both are sorted by id, and no id is in both.
    fn records_and_tombstones<E>(
        &self,
        since: Option<u64>,
        digest: &mut Digest,
        read: &mut impl FnMut() -> Result<(), E>,
        sink: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), ExportError<E>> {
        let live = self.store.records.iter_at(&self.snapshot);
        let dead = self.snapshot.prefix(&self.store.tombstones, [BY_ID]);
        let dead = dead.map(|row| row.into_inner().map(|(id, row)| (id, RecordRow::AsStored(row))));
        let (mut live, mut dead) = (live.peekable(), dead.peekable());
        let (mut key, mut value) = (Vec::new(), Vec::new());
        loop {
            let Some((row, tag)) = next_of(&mut live, &mut dead)? else { return Ok(()) };
            read().map_err(ExportError::Sink)?;
            let (id, stored) = row;
            key.clear();
            key.push(RECORD);
            key.extend_from_slice(if tag == LIVE { &id } else { id.get(1..).unwrap_or_default() });
            value.clear();
            value.push(tag);
            value.extend_from_slice(&stored);
            digest.push(&key, &value);
            let header = Header::decode(&stored).map_err(|error| corrupt(&id, &error))?;
            if since.is_none_or(|since| header.etag.seq > since) {
                sink(&key, &value).map_err(ExportError::Sink)?;
            }
        }
    }
}

type Pair = (Slice, RecordRow);

/// The smaller of two heads, and which it is.
fn next_of(
    live: &mut Peekable<impl Iterator<Item = fjall::Result<Pair>>>,
    dead: &mut Peekable<impl Iterator<Item = fjall::Result<Pair>>>,
) -> Result<Option<(Pair, u8)>, ReadError> {
    let takes_live = match (live.peek(), dead.peek()) {
        (None, None) => return Ok(None),
        (Some(Ok((live, _))), Some(Ok((dead, _)))) => {
            let dead_id: &[u8] = dead.get(1..).unwrap_or_default();
            live[..] < *dead_id
        }
        (Some(_), _) => true,
        (None, Some(_)) => false,
    };
    let (row, tag) = if takes_live { (live.next(), LIVE) } else { (dead.next(), TOMBSTONE) };
    let row = row.transpose().map_err(storage("records"))?;
    Ok(row.map(|row| (row, tag)))
}

fn storage(what: &'static str) -> impl Fn(fjall::Error) -> ReadError {
    move |source| ReadError::Storage { what, source }
}

fn corrupt(id: &[u8], error: &DecodeError) -> ReadError {
    ReadError::Corrupt { id: String::from_utf8_lossy(id).into_owned(), reason: error.to_string() }
}
