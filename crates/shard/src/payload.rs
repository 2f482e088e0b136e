//! The index of a shard's metadata, kept in step with its records.
//!
//! It is in memory and built anew at every start, from one state of the store and beside the
//! shard's other work. Until that is done nothing is known, and filters look at records. When other
//! fields are to be indexed, another one is built the same way, and takes its place.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hvs_filter::{Fields, Matching, PayloadIndex, PayloadLimits, PayloadSchema, PayloadStats};
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
    store: Store,
    limits: PayloadLimits,
    builder: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: RwLock<State>,
    stop: AtomicBool,
    /// The number of the last build that has ended.
    ended: Mutex<u64>,
    end: Condvar,
}

struct State {
    /// What answers; none until the first build is done.
    index: Option<PayloadIndex>,
    /// What is to take its place.
    next: Option<Filling>,
    /// The number of the last build that has begun.
    builds: u64,
    /// The key after the last one; what is below it is in the index.
    next_key: u64,
}

/// An index that is being built.
struct Filling {
    number: u64,
    index: PayloadIndex,
    /// Records with keys from this on are told to it, those below come from the store.
    told_from: u64,
    /// Keys that were removed meanwhile, which may not have been met yet.
    removed: HashSet<u64>,
}

impl State {
    fn begin(&mut self, limits: PayloadLimits, schema: &PayloadSchema) -> u64 {
        self.builds += 1;
        self.next = Some(Filling {
            number: self.builds,
            index: PayloadIndex::new(limits, schema),
            told_from: self.next_key,
            removed: HashSet::new(),
        });
        self.builds
    }

    fn indexes(&mut self) -> impl Iterator<Item = &mut PayloadIndex> {
        self.index.iter_mut().chain(self.next.iter_mut().map(|next| &mut next.index))
    }
}

impl Payload {
    /// Begins to build the index. `next_key` is the first key that no record of the store has had.
    pub(crate) fn open(
        store: &Store,
        limits: PayloadLimits,
        schema: &PayloadSchema,
        next_key: u64,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: RwLock::new(State { index: None, next: None, builds: 0, next_key }),
            stop: AtomicBool::new(false),
            ended: Mutex::new(0),
            end: Condvar::new(),
        });
        let payload = Self { shared, store: store.clone(), limits, builder: Mutex::new(None) };
        payload.build(schema)?;
        Ok(payload)
    }

    /// Builds the index anew for other fields, beside the shard's other work. Until that is done
    /// the one before answers, and as both are right, nobody notices. Of two calls the later one
    /// counts.
    pub(crate) fn build(&self, schema: &PayloadSchema) -> std::io::Result<()> {
        let mut builder = self.builder.lock();
        if self.shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Before the store is looked at: what comes later is told.
        let number = self.shared.state.write().begin(self.limits, schema);
        if let Some(before) = builder.take() {
            // It has seen that it is not the last one, or will soon.
            let _ = before.join();
        }
        let spawned = std::thread::Builder::new().name("hvs-payload".to_owned()).spawn({
            let (shared, store) = (Arc::clone(&self.shared), self.store.clone());
            move || {
                if let Err(reason) = shared.fill(number, &store) {
                    tracing::error!(reason, "the index of metadata is not built; filters are slow");
                }
                shared.end(number);
            }
        });
        match spawned {
            Ok(handle) => *builder = Some(handle),
            Err(error) => {
                self.shared.end(number);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds records, in increasing order of their keys.
    pub(crate) fn insert<'a>(
        &self,
        records: impl Iterator<Item = (u64, &'a Content<'a>)>,
    ) -> Result<(), DecodeError> {
        let mut state = self.shared.state.write();
        for (key, content) in records {
            for index in state.indexes() {
                insert(index, key, content)?;
            }
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
        for index in state.indexes() {
            for key in keys {
                index.remove(*key);
            }
        }
        if let Some(next) = &mut state.next {
            next.removed.extend(keys);
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
        let Some(index) = &state.index else { return Evaluated::Building };
        if key_of_id.is_some_and(|key| !index.holds(key)) {
            return Evaluated::Stale;
        }
        let mut matching = index.evaluate(&filter.condition);
        if let Some(partition_key) = &filter.partition_key {
            let mut keys: RoaringTreemap = index.with_partition_key(partition_key);
            keys.extend(key_of_id);
            matching.sure &= &keys;
            matching.maybe &= &keys;
        }
        Evaluated::Known(then(index, Known { matching, below: state.next_key }))
    }

    /// What the index says at this moment; none while it is being built for the first time.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&PayloadIndex) -> R) -> Option<R> {
        self.shared.state.read().index.as_ref().map(look)
    }

    /// Does a part of what keeps the index small.
    pub(crate) fn compact_step(&self) {
        if let Some(index) = &mut self.shared.state.write().index {
            index.compact_step();
        }
    }

    /// Waits until the index is built.
    pub(crate) fn wait(&self) {
        let wanted = self.shared.state.read().builds;
        let mut ended = self.shared.ended.lock();
        while *ended < wanted {
            self.shared.end.wait(&mut ended);
        }
    }

    /// What it holds.
    pub(crate) fn stats(&self) -> PayloadStats {
        self.look(PayloadIndex::stats).unwrap_or_default()
    }

    /// Whether an index is being built.
    pub(crate) fn is_building(&self) -> bool {
        self.shared.state.read().next.is_some()
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
    /// Fills the index of a build with what the store has, and lets it answer.
    fn fill(&self, number: u64, store: &Store) -> Result<(), String> {
        let snapshot = store.snapshot();
        for (looked_at, row) in store.records.iter_at(&snapshot).enumerate() {
            if looked_at.is_multiple_of(STOP_EVERY) && self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (_, value) = row.map_err(|error| error.to_string())?;
            let record = StoredRecord::decode(&value).map_err(|error| error.to_string())?;
            let key = record.header.key;
            let mut state = self.state.write();
            let Some(next) = state.next.as_mut().filter(|next| next.number == number) else {
                return Ok(());
            };
            if key < next.told_from && !next.removed.contains(&key) {
                insert(&mut next.index, key, &record.content).map_err(|e| e.to_string())?;
            }
        }
        let mut state = self.state.write();
        if let Some(next) = state.next.take_if(|next| next.number == number) {
            state.index = Some(next.index);
        }
        Ok(())
    }

    /// A build has ended, whatever came of it.
    fn end(&self, number: u64) {
        self.state.write().next.take_if(|next| next.number == number);
        let mut ended = self.ended.lock();
        *ended = number.max(*ended);
        self.end.notify_all();
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
