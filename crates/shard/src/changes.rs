//! The changes of one log entry, gathered and then made in one atomic batch.

use std::collections::HashMap;

use fjall::OwnedWriteBatch;

use crate::command::{LoggedChange, LoggedKey, LoggedOperation, LoggedRequest};
use crate::config::IdempotencyLimits;
use crate::content::Content;
use crate::indexes::{IndexChanges, IndexInsert, NamedVectors};
use crate::machine::ApplyError;
use crate::meta::{Meta, Purged};
use crate::operation::{Condition, WriteOutcome};
use crate::record::{Etag, Timestamp};
use crate::remembered::{Part, Remembered};
use crate::store::{BY_ID, BY_KEY, BY_ORDER, BY_TIME, Store, key_row, row_key};
use crate::stored::{Header, encode_record};

/// Most tombstones that go with one purge, and idempotency keys that go with one request. They
/// bound the work of one entry and are part of what replicas must agree on.
const PURGED_AT_ONCE: usize = 1_000;
const FORGOTTEN_AT_ONCE: usize = 4;

/// The last write of an id, as the operations of this entry see it.
#[derive(Clone, Copy)]
enum State<'a> {
    Never,
    /// A record; with its content if this entry put it.
    Live(Header, Option<NewContent<'a>>),
    Tombstone(Header),
}

#[derive(Clone, Copy)]
struct NewContent<'a> {
    hash: [u8; 32],
    bytes: &'a [u8],
}

struct Slot<'a> {
    /// Before this entry.
    stored: State<'a>,
    /// After the operations so far.
    current: State<'a>,
}

impl State<'_> {
    fn live(&self) -> Option<&Header> {
        match self {
            Self::Live(header, _) => Some(header),
            Self::Never | Self::Tombstone(_) => None,
        }
    }

    fn version(&self) -> u64 {
        match self {
            Self::Never => 0,
            Self::Live(header, _) | Self::Tombstone(header) => header.version,
        }
    }
}

/// What one entry changes.
pub(crate) struct Changes<'a> {
    store: &'a Store,
    meta: Meta,
    slots: HashMap<&'a str, Slot<'a>>,
    remembered: HashMap<&'a str, Remembered>,
    /// Idempotency keys of this entry that were not known before.
    new_keys: u64,
    /// Number and key of those that make room.
    forgotten: Vec<(u64, Vec<u8>)>,
    purged: Vec<(Vec<u8>, Vec<u8>)>,
    /// The last tombstone that was purged; tombstones go in the order in which they came.
    purged_up_to: Option<Purged>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(store: &'a Store, meta: Meta) -> Self {
        Self {
            store,
            meta,
            slots: HashMap::new(),
            remembered: HashMap::new(),
            new_keys: 0,
            forgotten: Vec::new(),
            purged: Vec::new(),
            purged_up_to: None,
        }
    }

    pub(crate) fn configure(&mut self, limits: IdempotencyLimits) {
        self.meta.idempotency = limits;
    }

    pub(crate) fn advance_clock(&mut self, to: Timestamp) {
        self.meta.clock = self.meta.clock.max(to);
    }

    /// Carries out the operations of a request that are in this entry.
    pub(crate) fn request(
        &mut self,
        request: &LoggedRequest<'a>,
        first: Etag,
        timestamp: Timestamp,
    ) -> Result<Vec<WriteOutcome>, ApplyError> {
        let Some(logged) = request.idempotency else {
            return self.operations(request, first, timestamp);
        };
        let known = self.recall(logged)?;
        let done = known.as_ref().map_or(0, Remembered::done);
        // A key whose first part was already forgotten starts anew with this part.
        if known.is_some() && done != logged.offset {
            let key = logged.key.to_owned();
            return Err(ApplyError::Idempotency { key, known: done, logged: logged.offset });
        }
        let outcomes = self.operations(request, first, timestamp)?;
        let part = Part { first, timestamp, outcomes: outcomes.clone() };
        self.remember(logged, known, part)?;
        Ok(outcomes)
    }

    fn operations(
        &mut self,
        request: &LoggedRequest<'a>,
        first: Etag,
        timestamp: Timestamp,
    ) -> Result<Vec<WriteOutcome>, ApplyError> {
        let mut outcomes = Vec::with_capacity(request.operations.len());
        let mut undo = Vec::new();
        let next_key = self.meta.next_key;
        for (offset, operation) in (0_u32..).zip(&request.operations) {
            let header = Header {
                key: 0,
                version: 0,
                etag: Etag { index: first.index.saturating_add(offset), ..first },
                timestamp: timestamp.plus(offset.into()),
            };
            let before = self.slot(operation.id)?.current;
            if request.atomic {
                undo.push((operation.id, before));
            }
            let (after, outcome) = self.operation(operation, before, header);
            self.slot(operation.id)?.current = after;
            outcomes.push(outcome);
        }
        let failed =
            |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::ConditionFailed { .. });
        if request.atomic && outcomes.iter().any(failed) {
            for (id, before) in undo.into_iter().rev() {
                self.slot(id)?.current = before;
            }
            self.meta.next_key = next_key;
            for outcome in outcomes.iter_mut().filter(|outcome| !failed(outcome)) {
                *outcome = WriteOutcome::NotApplied;
            }
        }
        Ok(outcomes)
    }

    /// One operation: the state after it, and its outcome.
    fn operation(
        &mut self,
        operation: &LoggedOperation<'a>,
        before: State<'a>,
        mut header: Header,
    ) -> (State<'a>, WriteOutcome) {
        let live = before.live();
        let holds = match operation.condition {
            None => true,
            Some(Condition::IfAbsent) => live.is_none(),
            Some(Condition::IfMatch(etag)) => live.is_some_and(|record| record.etag == etag),
        };
        if !holds {
            let current = live.map(|record| record.etag);
            return (before, WriteOutcome::ConditionFailed { current });
        }
        header.version = before.version().saturating_add(1);
        let Header { etag, version, timestamp, .. } = header;
        match operation.change {
            LoggedChange::Put { content_hash, content } => {
                header.key = self.meta.next_key;
                self.meta.next_key = self.meta.next_key.saturating_add(1);
                let new = NewContent { hash: content_hash, bytes: content };
                let created = live.is_none();
                let outcome = WriteOutcome::Put { etag, version, timestamp, created };
                (State::Live(header, Some(new)), outcome)
            }
            LoggedChange::Delete if live.is_none() => (before, WriteOutcome::NotFound),
            LoggedChange::Delete => {
                (State::Tombstone(header), WriteOutcome::Deleted { etag, version, timestamp })
            }
        }
    }

    fn slot(&mut self, id: &'a str) -> Result<&mut Slot<'a>, ApplyError> {
        use std::collections::hash_map::Entry;
        match self.slots.entry(id) {
            Entry::Occupied(slot) => Ok(slot.into_mut()),
            Entry::Vacant(slot) => {
                let stored = load(self.store, id, self.meta.tombstones > 0)?;
                Ok(slot.insert(Slot { stored, current: stored }))
            }
        }
    }

    fn recall(&self, logged: LoggedKey<'a>) -> Result<Option<Remembered>, ApplyError> {
        if let Some(known) = self.remembered.get(logged.key) {
            return Ok(Some(known.clone()));
        }
        if self.forgotten.iter().any(|(_, key)| key == logged.key.as_bytes()) {
            return Ok(None);
        }
        recall(self.store, logged.key)
    }

    fn remember(
        &mut self,
        logged: LoggedKey<'a>,
        known: Option<Remembered>,
        part: Part,
    ) -> Result<(), ApplyError> {
        let remembered = if let Some(mut known) = known {
            known.parts.push(part);
            known
        } else {
            self.forget_old(part.timestamp)?;
            if self.meta.idempotency.keys == 0 {
                return Ok(());
            }
            self.new_keys += 1;
            Remembered { digest: logged.digest, total: logged.total, parts: vec![part] }
        };
        self.remembered.insert(logged.key, remembered);
        Ok(())
    }

    /// Makes room for one more key.
    fn forget_old(&mut self, now: Timestamp) -> Result<(), ApplyError> {
        let limits = self.meta.idempotency;
        for _ in 0..FORGOTTEN_AT_ONCE {
            let oldest = self.meta.first_remembered;
            if oldest >= self.meta.next_remembered {
                break;
            }
            let row = self.store.idempotency.get(row_key(BY_ORDER, &oldest.to_be_bytes()));
            let row = row.map_err(ApplyError::Read)?;
            let (since, key) = row
                .as_deref()
                .and_then(|row| row.split_first_chunk::<8>())
                .map_or((Timestamp(0), &[][..]), |(since, key)| {
                    (Timestamp(u64::from_le_bytes(*since)), key)
                });
            let full = self.meta.remembered() + self.new_keys >= limits.keys;
            let age = now.millis().saturating_sub(since.millis());
            if !full && age <= limits.age_millis {
                break;
            }
            // A part of its request in this very entry is forgotten with it.
            if let Ok(key) = std::str::from_utf8(key) {
                self.remembered.remove(key);
            }
            self.forgotten.push((oldest, key.to_vec()));
            self.meta.first_remembered = oldest.saturating_add(1);
        }
        Ok(())
    }

    /// Drops the oldest tombstones with a timestamp below the given one.
    pub(crate) fn purge_tombstones(&mut self, before: Timestamp) -> Result<(), ApplyError> {
        let start = row_key(BY_TIME, &[]);
        let end = row_key(BY_TIME, &before.0.to_be_bytes());
        for row in self.store.tombstones.range(start..end).take(PURGED_AT_ONCE) {
            let (by_time, id) = row.into_inner().map_err(ApplyError::Read)?;
            self.purged.push((by_time.to_vec(), row_key(BY_ID, &id)));
        }
        if let Some((_, by_id)) = self.purged.last() {
            self.purged_up_to = purged(self.store, by_id)?;
        }
        self.meta.tombstones = self.meta.tombstones.saturating_sub(self.purged.len() as u64);
        Ok(())
    }

    /// Makes the changes, all or none, and says what the indexes must be told afterwards.
    pub(crate) fn commit(mut self) -> Result<(Meta, IndexChanges<'a>), ApplyError> {
        let store = self.store;
        let mut batch = store.batch(self.slots.len() * 3 + self.remembered.len() * 2 + 2);
        let mut index = IndexChanges::default();
        for (id, slot) in &self.slots {
            write_slot(store, &mut batch, &mut index, &mut self.meta, id, slot)?;
        }
        // Keys must come to an index in increasing order.
        index.inserts.sort_unstable_by_key(|insert| insert.key);

        self.write_remembered(&mut batch);
        for (by_time, by_id) in &self.purged {
            batch.remove(&store.tombstones, by_time.as_slice());
            batch.remove(&store.tombstones, by_id.as_slice());
        }
        if let Some(purged) = &self.purged_up_to {
            store.put_purged(&mut batch, purged);
        }
        store.put_meta(&mut batch, &self.meta);
        batch.commit().map_err(ApplyError::Write)?;
        Ok((self.meta, index))
    }

    fn write_remembered(&mut self, batch: &mut OwnedWriteBatch) {
        let store = self.store;
        for (number, key) in &self.forgotten {
            // Unless a new request of this entry uses the key again.
            if !std::str::from_utf8(key).is_ok_and(|key| self.remembered.contains_key(key)) {
                batch.remove(&store.idempotency, row_key(BY_KEY, key));
            }
            batch.remove(&store.idempotency, row_key(BY_ORDER, &number.to_be_bytes()));
        }
        // Numbered in the order of the entry, which a map does not keep.
        let mut remembered: Vec<_> = self.remembered.iter().collect();
        remembered.sort_unstable_by_key(|(_, row)| row.parts.last().map(|part| part.first.index));
        for (key, row) in remembered {
            if let [part] = row.parts.as_slice() {
                let number = self.meta.next_remembered;
                self.meta.next_remembered = number.saturating_add(1);
                let by_order = row_key(BY_ORDER, &number.to_be_bytes());
                let value = [&part.timestamp.0.to_le_bytes(), key.as_bytes()].concat();
                batch.insert(&store.idempotency, by_order, value);
            }
            batch.insert(&store.idempotency, row_key(BY_KEY, key.as_bytes()), row.encode());
        }
    }
}

/// Whether an id has a live record, and the version of its last write; 0 if it has none.
pub(crate) fn last_write(
    store: &Store,
    id: &str,
    has_tombstones: bool,
) -> Result<(bool, u64), ApplyError> {
    let state = load(store, id, has_tombstones)?;
    Ok((state.live().is_some(), state.version()))
}

/// The request that is remembered under an idempotency key.
pub(crate) fn recall(store: &Store, key: &str) -> Result<Option<Remembered>, ApplyError> {
    let row = store.idempotency.get(row_key(BY_KEY, key.as_bytes())).map_err(ApplyError::Read)?;
    row.map(|bytes| Remembered::decode(&bytes)).transpose().map_err(|damage| ApplyError::Stored {
        what: "idempotency key",
        id: key.to_owned(),
        damage,
    })
}

fn purged(store: &Store, by_id: &[u8]) -> Result<Option<Purged>, ApplyError> {
    let row = store.tombstones.get(by_id).map_err(ApplyError::Read)?;
    let header = row.map(|row| Header::decode(&row)).transpose();
    let header = header.map_err(|damage| ApplyError::Stored {
        what: "tombstone",
        id: String::from_utf8_lossy(by_id).into_owned(),
        damage,
    })?;
    Ok(header.map(|header| Purged { timestamp: header.timestamp, seq: header.etag.seq }))
}

fn load<'a>(store: &Store, id: &str, has_tombstones: bool) -> Result<State<'a>, ApplyError> {
    let damaged = |what| move |damage| ApplyError::Stored { what, id: id.to_owned(), damage };
    if let Some(row) = store.record(id).map_err(ApplyError::Read)? {
        let header = Header::decode(&row).map_err(damaged("record"))?;
        return Ok(State::Live(header, None));
    }
    if !has_tombstones {
        return Ok(State::Never);
    }
    let row = store.tombstones.get(row_key(BY_ID, id.as_bytes())).map_err(ApplyError::Read)?;
    let Some(row) = row else { return Ok(State::Never) };
    Ok(State::Tombstone(Header::decode(&row).map_err(damaged("tombstone"))?))
}

/// The rows of one id, from what it was before the entry to what it is after.
fn write_slot<'a>(
    store: &Store,
    batch: &mut OwnedWriteBatch,
    index: &mut IndexChanges<'a>,
    meta: &mut Meta,
    id: &'a str,
    slot: &Slot<'a>,
) -> Result<(), ApplyError> {
    let unchanged = match (&slot.stored, &slot.current) {
        (State::Never, State::Never) | (_, State::Live(_, None)) => true,
        (State::Tombstone(before), State::Tombstone(after)) => before == after,
        _ => false,
    };
    if unchanged {
        return Ok(());
    }
    match slot.stored {
        State::Never => {}
        State::Live(header, _) => {
            meta.records = meta.records.saturating_sub(1);
            batch.insert(&store.dead, header.key.to_be_bytes(), b"");
            index.removes.push(header.key);
        }
        State::Tombstone(header) => {
            meta.tombstones = meta.tombstones.saturating_sub(1);
            let by_time = row_key(BY_TIME, &header.timestamp.0.to_be_bytes());
            batch.remove(&store.tombstones, by_time);
            // A batch must not hold two changes of one row.
            if slot.current.live().is_some() {
                batch.remove(&store.tombstones, row_key(BY_ID, id.as_bytes()));
            }
        }
    }
    match slot.current {
        State::Never => {}
        State::Live(header, None) => {
            debug_assert!(false, "record {id:?} with key {} was not put", header.key);
        }
        State::Live(header, Some(content)) => {
            meta.records = meta.records.saturating_add(1);
            let row = encode_record(&header, &content.hash, content.bytes);
            batch.insert(&store.records, id, row);
            let (content, vectors) = parts(id, content.bytes)?;
            for (name, _) in &vectors {
                batch.insert(&store.keys, key_row(name, header.key), id);
            }
            index.inserts.push(IndexInsert { key: header.key, id, content, vectors });
        }
        State::Tombstone(header) => {
            meta.tombstones = meta.tombstones.saturating_add(1);
            if slot.stored.live().is_some() {
                batch.remove(&store.records, id);
            }
            let mut row = Vec::with_capacity(48);
            header.encode(&mut row);
            batch.insert(&store.tombstones, row_key(BY_ID, id.as_bytes()), row);
            batch.insert(
                &store.tombstones,
                row_key(BY_TIME, &header.timestamp.0.to_be_bytes()),
                id,
            );
        }
    }
    Ok(())
}

/// The named vectors of a record that was put, in storage form.
/// What the indexes are told of a record.
fn parts<'a>(id: &str, content: &'a [u8]) -> Result<(Content<'a>, NamedVectors<'a>), ApplyError> {
    let mut vectors = Vec::new();
    Content::decode(content)
        .and_then(|content| {
            content.for_each_vector(|name, vector| vectors.push((name, vector)))?;
            Ok((content, vectors))
        })
        .map_err(|damage| ApplyError::Stored { what: "content", id: id.to_owned(), damage })
}
