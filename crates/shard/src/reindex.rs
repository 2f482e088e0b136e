//! Changing the index of a named vector while it is in use.
//!
//! A second index is filled from the records beside the one that answers. It is filled in the
//! order of keys: first from all records as they are, then from what was written meanwhile, and at
//! last, while the writer waits, from the little that is left. From then on everything that is
//! written goes to both, until the second one takes the place of the first.
//!
//! Which of them is opened after a restart is said by
//! [`ShardConfig::generations`](crate::ShardConfig): whoever changes an index writes down its new
//! generation when the second index is complete, and lets it answer afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hvs_index::{IndexConfig, IndexKind, RestartState, VectorIndex};

use crate::compression::RecordRow;
use crate::error::ReindexError;
use crate::inner::Inner;
use crate::named::{self, Named, Next};
use crate::store::{Store, key_row};
use crate::stored::StoredRecord;

/// Records that the writer may wait for while the last of them are put into the index.
const LAST_ROUND: usize = 500;
/// Rows that the tail of the new index may have before it is made into a segment, in tails.
const TAILS: usize = 16;
/// How often it is asked whether to go on.
const LOOK: Duration = Duration::from_millis(100);
/// Rows inserted between two looks.
const ROWS_AT_ONCE: usize = 1_024;

/// An index that is being made to take the place of another. Dropping it gives it up.
pub struct IndexChange {
    shard: Arc<Inner>,
    name: String,
    directory: PathBuf,
    /// Where the index is that is to be replaced.
    before: PathBuf,
    tail_limit: usize,
    is_switched: bool,
}

impl IndexChange {
    pub(crate) fn begin(
        shard: Arc<Inner>,
        name: &str,
        config: IndexConfig,
        generation: u64,
    ) -> Result<Self, ReindexError> {
        let failed = |reason: String| ReindexError::Index { name: name.to_owned(), reason };
        let known = shard.config.vectors.get(name);
        let (Some(named), Some(known)) = (shard.indexes.named(name), known) else {
            let known = shard.config.vector_names();
            return Err(ReindexError::UnknownVector { name: name.to_owned(), known });
        };
        if known.space != config.space || known.precision != config.precision {
            return Err(failed("its space and precision cannot change".to_owned()));
        }
        let known_owner = known.owner.clone();
        let before = named.generation();
        if generation <= before {
            return Err(failed(format!("generation {generation} is not above {before}")));
        }
        let mut next = named.next();
        if next.is_some() {
            return Err(ReindexError::Underway { name: name.to_owned() });
        }
        let before = shard.indexes.directory_of(name, before);
        let directory = shard.indexes.directory_of(name, generation);
        // What an attempt before it left.
        let io = |source| ReindexError::Io { path: directory.clone(), source };
        if directory.exists() {
            std::fs::remove_dir_all(&directory).map_err(io)?;
        }
        let tail_limit = config.tail_limit;
        let config = IndexConfig { owner: known_owner, ..config };
        let index = VectorIndex::open(&directory, config, RestartState::default())
            .map_err(|error| failed(error.to_string()))?;
        *next = Some(Next {
            index: Arc::new(index),
            generation,
            filled_below: 0,
            removed: Some(Vec::new()),
            failure: None,
        });
        drop(next);
        let name = name.to_owned();
        Ok(Self { shard, name, directory, before, tail_limit, is_switched: false })
    }

    /// Fills the index, and returns when everything that was written before is in durable segments
    /// of it. `go_on` is told often how many rows are there, and says whether to go on. Blocks.
    pub fn fill(&self, go_on: &dyn Fn(u64) -> bool) -> Result<(), ReindexError> {
        let below = self.insert_all(go_on)?;
        let index = self.index()?;
        let is_durable = |index: &VectorIndex| {
            index.flush_below(below, LOOK).map_err(|error| self.failed(error.to_string()))
        };
        while !is_durable(&index)? {
            self.look(&index, go_on)?;
        }
        self.look(&index, go_on)
    }

    /// Lets the new index answer. Call it when its generation is written down where the shard's
    /// configuration comes from: a restart uses what is written there.
    pub fn switch(mut self) -> Result<ReplacedIndex, ReindexError> {
        let named = self.named()?;
        let replaced = {
            let mut next = named.next();
            if let Some(next) = next.as_ref() {
                // What it covers is less where the last records were deleted, and enough: rows
                // of keys that were trimmed above it are of no live record.
                let covered = next.index.covered_below();
                let store = &self.shard.store;
                let mut batch = store.batch(1);
                store.put_keys_trimmed(&mut batch, &self.name, covered);
                batch.commit().map_err(|source| ReindexError::Storage { source })?;
            }
            named.switch(&mut next)
        };
        self.is_switched = true;
        let Some(replaced) = replaced else { return Err(self.failed("it is gone".to_owned())) };
        Ok(ReplacedIndex { index: replaced, directory: self.before.clone() })
    }

    /// Inserts every live record. Returns the key below which all of them are in.
    fn insert_all(&self, go_on: &dyn Fn(u64) -> bool) -> Result<u64, ReindexError> {
        let store = &self.shard.store;
        let snapshot = store.snapshot();
        let meta = store.meta_of(&snapshot).map_err(|error| self.failed(error.to_string()))?.0;
        let mut ids = Vec::new();
        for row in store.records.iter_at(&snapshot) {
            let (id, value) = row.map_err(|source| ReindexError::Storage { source })?;
            let record = StoredRecord::decode(&value).map_err(|error| self.damaged(&id, &error))?;
            if ids.len() % ROWS_AT_ONCE == 0 && !go_on(0) {
                return Err(ReindexError::Cancelled);
            }
            ids.push((record.header.key, id));
        }
        ids.sort_unstable_by_key(|(key, _)| *key);
        let index = self.index()?;
        for (count, (key, id)) in ids.iter().enumerate() {
            let value = store.records.get_at(&snapshot, id);
            let value = value.map_err(|source| ReindexError::Storage { source })?;
            let Some(value) = value else { continue };
            self.insert(&index, *key, id, &value)?;
            if (count + 1).is_multiple_of(ROWS_AT_ONCE) {
                self.keep_up(&index, *key, go_on)?;
            }
        }
        drop((ids, snapshot));
        let mut below = meta.next_key;
        loop {
            self.drain()?;
            let rows = self.written_since(store, below)?;
            if rows.len() <= LAST_ROUND {
                break;
            }
            for (key, id, value) in &rows {
                self.insert(&index, *key, id, value)?;
                below = key.saturating_add(1);
            }
            self.keep_up(&index, below, go_on)?;
        }
        self.attach(&index, below)
    }

    /// The last round: the writer waits, and afterwards tells this index of everything.
    fn attach(&self, index: &VectorIndex, below: u64) -> Result<u64, ReindexError> {
        let named = self.named()?;
        let mut next = named.next();
        let store = &self.shard.store;
        // What was applied after this comes to the index by itself, as soon as nobody waits here.
        let meta = store.load_meta().map_err(|error| self.failed(error.to_string()))?;
        for (key, id, value) in self.written_since(store, below)? {
            if key < meta.next_key {
                self.insert(index, key, &id, &value)?;
            }
        }
        let Some(next) = next.as_mut() else { return Err(self.failed("it is gone".to_owned())) };
        next.filled_below = meta.next_key;
        for key in next.removed.take().into_iter().flatten() {
            index.remove(key);
        }
        Ok(meta.next_key)
    }

    /// Removes what was removed until now, so that little is left for the last round.
    fn drain(&self) -> Result<(), ReindexError> {
        let named = self.named()?;
        let (removed, index) = {
            let mut next = named.next();
            let Some(next) = next.as_mut() else {
                return Err(self.failed("it is gone".to_owned()));
            };
            (next.removed.as_mut().map(std::mem::take), Arc::clone(&next.index))
        };
        for key in removed.into_iter().flatten() {
            index.remove(key);
        }
        Ok(())
    }

    /// Live records with keys from this on, by their keys.
    fn written_since(&self, store: &Store, from: u64) -> Result<Vec<Written>, ReindexError> {
        let mut rows = Vec::new();
        let failed = |source| ReindexError::Storage { source };
        let name = &self.name;
        for entry in store.keys.range(key_row(name, from)..=key_row(name, u64::MAX)) {
            let (key, id) = entry.into_inner().map_err(failed)?;
            let key = key.last_chunk().map_or(0, |key| u64::from_be_bytes(*key));
            let Some(value) = store.records.get(&id).map_err(failed)? else { continue };
            let record = StoredRecord::decode(&value).map_err(|error| self.damaged(&id, &error))?;
            // The record may have been put again since, under a later key.
            if record.header.key == key {
                rows.push((key, id, value));
            }
        }
        Ok(rows)
    }

    fn insert(
        &self,
        index: &VectorIndex,
        key: u64,
        id: &[u8],
        value: &[u8],
    ) -> Result<(), ReindexError> {
        let record = StoredRecord::decode(value).map_err(|error| self.damaged(id, &error))?;
        let vector = record.content.vector(&self.name).map_err(|error| self.damaged(id, &error))?;
        let Some(vector) = vector else { return Ok(()) };
        let id = String::from_utf8_lossy(id);
        index.insert(key, &id, &vector).map_err(|error| self.failed(format!("{id:?}: {error}")))
    }

    /// Lets segments be built, so that the index does not hold all rows in memory.
    fn keep_up(
        &self,
        index: &VectorIndex,
        below: u64,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<(), ReindexError> {
        self.look(index, go_on)?;
        while index.stats().tail >= self.tail_limit.saturating_mul(TAILS) {
            let flushed = index.flush_below(below, LOOK);
            flushed.map_err(|error| self.failed(error.to_string()))?;
            self.look(index, go_on)?;
        }
        Ok(())
    }

    fn look(&self, index: &VectorIndex, go_on: &dyn Fn(u64) -> bool) -> Result<(), ReindexError> {
        if let Some(reason) = self.failure()? {
            return Err(self.failed(reason));
        }
        let stats = index.stats();
        let built = (stats.live + stats.dead).saturating_sub(stats.tail) as u64;
        if go_on(built) { Ok(()) } else { Err(ReindexError::Cancelled) }
    }

    fn failure(&self) -> Result<Option<String>, ReindexError> {
        Ok(self.named()?.next().as_ref().and_then(|next| next.failure.clone()))
    }

    fn named(&self) -> Result<&Named, ReindexError> {
        self.shard.indexes.named(&self.name).ok_or_else(|| self.failed("it is gone".to_owned()))
    }

    fn index(&self) -> Result<Arc<VectorIndex>, ReindexError> {
        let next = self.named()?.next();
        let index = next.as_ref().map(|next| Arc::clone(&next.index));
        index.ok_or_else(|| self.failed("it is gone".to_owned()))
    }

    fn failed(&self, reason: String) -> ReindexError {
        ReindexError::Index { name: self.name.clone(), reason }
    }

    fn damaged(&self, id: &[u8], damage: &crate::codec::DecodeError) -> ReindexError {
        let id = String::from_utf8_lossy(id);
        self.failed(format!("the stored record {id:?} is damaged: {damage}"))
    }
}

/// An index that answers no more.
#[must_use = "its files are there until it is removed, or the shard is opened again"]
pub struct ReplacedIndex {
    index: Arc<VectorIndex>,
    directory: PathBuf,
}

impl ReplacedIndex {
    /// Removes its files. Waits for searches that began before it was replaced.
    pub fn remove(self) -> Result<(), ReindexError> {
        named::discard(self.index, &self.directory)
            .map_err(|source| ReindexError::Io { path: self.directory, source })
    }
}

/// Key, id and row of a record.
type Written = (u64, fjall::Slice, RecordRow);

impl Drop for IndexChange {
    fn drop(&mut self) {
        if self.is_switched {
            return;
        }
        let next = self.shard.indexes.named(&self.name).and_then(|named| named.next().take());
        let Some(next) = next else { return };
        if let Err(error) = named::discard(next.index, &self.directory) {
            // It is removed when the shard is opened next.
            tracing::warn!(path = %self.directory.display(), %error, "an index is not removed");
        }
    }
}

impl Inner {
    /// Changes how widely the index of a vector is searched when a search does not say it. Whether
    /// the kind is otherwise that of the index; if not, nothing has changed.
    pub(crate) fn tune_index(&self, name: &str, kind: IndexKind) -> bool {
        self.indexes.named(name).is_some_and(|named| named.current().tune(kind))
    }
}
