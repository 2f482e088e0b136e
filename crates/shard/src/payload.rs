//! The index of a shard's metadata, kept in step with its records.
//!
//! It is in memory and built anew at every start, from one state of the store and beside the
//! shard's other work. Until that is done nothing is known, and filters look at records.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hvs_filter::{Fields, Matching, PayloadIndex, PayloadLimits, PayloadStats};
use parking_lot::{Condvar, Mutex, RwLock};
use roaring::RoaringTreemap;

use crate::codec::DecodeError;
use crate::content::Content;
use crate::filter::Filter;
use crate::store::Store;
use crate::stored::StoredRecord;

/// Records between two looks at whether the shard closes.
const STOP_EVERY: usize = 256;

/// What is known of the records that match a filter.
#[derive(Debug)]
pub(crate) struct Known {
    /// By their keys in the indexes.
    pub(crate) matching: Matching,
    /// Of this key and those above it nothing is known.
    pub(crate) below: u64,
}

impl Known {
    /// Whether the record of a key matches, if that is known.
    pub(crate) fn of(&self, key: u64) -> Option<bool> {
        if key >= self.below || self.matching.maybe.contains(key) {
            return None;
        }
        Some(self.matching.sure.contains(key))
    }
}

/// What came of asking the index.
pub(crate) enum Evaluated<R> {
    Known(R),
    /// It is not complete yet.
    Building,
    /// The record of `key_of_id` is not in the index any more, or not yet: look again.
    Stale,
}

/// The index, and the thread that builds it.
pub(crate) struct Payload {
    shared: Arc<Shared>,
    builder: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: RwLock<State>,
    stop: AtomicBool,
    is_done: Mutex<bool>,
    done: Condvar,
}

struct State {
    index: PayloadIndex,
    /// Keys that were removed while the index was being built, which may not have met them yet.
    removed: Option<HashSet<u64>>,
    /// The key after the last one; what is below it is in the index once that is built.
    next_key: u64,
}

impl Payload {
    /// Begins to build the index. `next_key` is the first key that no record of the store has had.
    pub(crate) fn open(
        store: &Store,
        limits: PayloadLimits,
        next_key: u64,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: RwLock::new(State {
                index: PayloadIndex::new(limits),
                removed: Some(HashSet::new()),
                next_key,
            }),
            stop: AtomicBool::new(false),
            is_done: Mutex::new(false),
            done: Condvar::new(),
        });
        // Before anything more is applied: later records are told to the index.
        let snapshot = store.snapshot();
        let builder = std::thread::Builder::new().name("hvs-payload".to_owned()).spawn({
            let (shared, store) = (Arc::clone(&shared), store.clone());
            move || {
                if let Err(reason) = shared.build(&snapshot, &store) {
                    tracing::error!(reason, "the index of metadata is not built; filters are slow");
                }
                *shared.is_done.lock() = true;
                shared.done.notify_all();
            }
        })?;
        Ok(Self { shared, builder: Mutex::new(Some(builder)) })
    }

    /// Adds records, in increasing order of their keys.
    pub(crate) fn insert<'a>(
        &self,
        records: impl Iterator<Item = (u64, &'a Content<'a>)>,
    ) -> Result<(), DecodeError> {
        let mut state = self.shared.state.write();
        for (key, content) in records {
            insert(&mut state.index, key, content)?;
            state.next_key = key.saturating_add(1);
        }
        Ok(())
    }

    /// Forgets records that were replaced or deleted.
    pub(crate) fn remove(&self, keys: &[u64]) {
        if keys.is_empty() {
            return;
        }
        let mut state = self.shared.state.write();
        for &key in keys {
            state.index.remove(key);
        }
        if let Some(removed) = &mut state.removed {
            removed.extend(keys);
        }
    }

    /// What is known of the records that match, and what the index says of them at this moment.
    /// `key_of_id` is the key of the record whose id is the partition key, if it was given no
    /// other.
    pub(crate) fn evaluate_with<R>(
        &self,
        filter: &Filter,
        key_of_id: Option<u64>,
        then: impl FnOnce(&PayloadIndex, Known) -> R,
    ) -> Evaluated<R> {
        let state = self.shared.state.read();
        if state.removed.is_some() {
            return Evaluated::Building;
        }
        if key_of_id.is_some_and(|key| !state.index.holds(key)) {
            return Evaluated::Stale;
        }
        let mut matching = state.index.evaluate(&filter.condition);
        if let Some(partition_key) = &filter.partition_key {
            let mut keys: RoaringTreemap = state.index.with_partition_key(partition_key);
            keys.extend(key_of_id);
            matching.sure &= &keys;
            matching.maybe &= &keys;
        }
        Evaluated::Known(then(&state.index, Known { matching, below: state.next_key }))
    }

    /// Does a part of what keeps the index small.
    pub(crate) fn compact_step(&self) {
        let mut state = self.shared.state.write();
        if state.removed.is_none() {
            state.index.compact_step();
        }
    }

    /// Waits until the index is built.
    pub(crate) fn wait(&self) {
        let mut is_done = self.shared.is_done.lock();
        while !*is_done {
            self.shared.done.wait(&mut is_done);
        }
    }

    pub(crate) fn stats(&self) -> PayloadStats {
        self.shared.state.read().index.stats()
    }

    /// Stops building, and lets go of the store.
    pub(crate) fn close(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(builder) = self.builder.lock().take() {
            // A panic in it was reported by the thread itself; the index stays unbuilt.
            let _ = builder.join();
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn build(&self, snapshot: &fjall::Snapshot, store: &Store) -> Result<(), String> {
        for (looked_at, row) in store.records.iter_at(snapshot).enumerate() {
            if looked_at.is_multiple_of(STOP_EVERY) && self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (_, value) = row.map_err(|error| error.to_string())?;
            let record = StoredRecord::decode(&value).map_err(|error| error.to_string())?;
            let key = record.header.key;
            let mut state = self.state.write();
            // Replaced or deleted since the snapshot.
            let is_gone = state.removed.as_ref().is_some_and(|removed| removed.contains(&key));
            if !is_gone {
                insert(&mut state.index, key, &record.content).map_err(|e| e.to_string())?;
            }
        }
        self.state.write().removed = None;
        Ok(())
    }
}

fn insert(index: &mut PayloadIndex, key: u64, content: &Content<'_>) -> Result<(), DecodeError> {
    let metadata = content.metadata()?;
    index.insert(
        key,
        &Fields {
            kind: content.kind,
            region: content.region,
            partition_key: content.partition_key,
            metadata: &metadata,
        },
    );
    Ok(())
}
