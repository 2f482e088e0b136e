//! The changes of one log entry, gathered and then made in one atomic batch.

use std::collections::HashMap;

use fjall::OwnedWriteBatch;

use crate::arena::Arena;
use crate::command::{LoggedChange, LoggedKey, LoggedOperation, LoggedRequest, content_hash};
use crate::config::IdempotencyLimits;
use crate::content::{Content, is_expired};
use crate::expiry::Clock;
use crate::feed::{ChangeKind, FedChange, Feed};
use crate::indexes::{IndexChanges, IndexInsert, NamedVectors};
use crate::machine::ApplyError;
use crate::meta::{Meta, Purged};
use crate::operation::{Condition, WriteOutcome};
use crate::patch::{LoggedPatch, Patched};
use crate::record::{Etag, Timestamp};
use crate::remembered::{Part, Remembered};
use crate::store::{
    BY_ID, BY_KEY, BY_ORDER, BY_TIME, Store, expiring_row, expiring_until, key_row, row_key,
};
use crate::stored::{Header, StoredRecord, encode_record};

/// Most tombstones that go with one purge, and idempotency keys that go with one request. They
/// bound the work of one entry and are part of what replicas must agree on.
const PURGED_AT_ONCE: usize = 1_000;
/// Likewise, records that are deleted by one entry because their time has come.
pub(crate) const EXPIRED_AT_ONCE: usize = 1_000;
const FORGOTTEN_AT_ONCE: usize = 4;

/// The last write of an id, as the operations of this entry see it.
#[derive(Clone, Copy)]
enum State<'a> {
    Never,
    Live(Live<'a>),
    Tombstone(Header),
}

/// A record, which may have expired.
#[derive(Clone, Copy)]
struct Live<'a> {
    header: Header,
    expires_at: Option<u64>,
    /// If this entry put it.
    content: Option<NewContent<'a>>,
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
    /// The record that there is at a time.
    fn live(&self, now_millis: u64) -> Option<&Header> {
        match self {
            Self::Live(live) if !is_expired(live.expires_at, now_millis) => Some(&live.header),
            _ => None,
        }
    }

    fn is_row(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    fn version(&self) -> u64 {
        match self {
            Self::Never => 0,
            Self::Live(Live { header, .. }) | Self::Tombstone(header) => header.version,
        }
    }
}

/// What one entry changes.
pub(crate) struct Changes<'a> {
    store: &'a Store,
    /// What is made while the entry is applied and must be there until it is.
    arena: &'a Arena,
    meta: Meta,
    slots: HashMap<&'a str, Slot<'a>>,
    remembered: HashMap<&'a str, Remembered>,
    /// In the order of the operations.
    fed: Vec<FedChange<'a>>,
    /// Idempotency keys of this entry that were not known before.
    new_keys: u64,
    /// Number and key of those that make room.
    forgotten: Vec<(u64, Vec<u8>)>,
    purged: Vec<(Vec<u8>, Vec<u8>)>,
    /// The last tombstone that was purged; tombstones go in the order in which they came.
    purged_up_to: Option<Purged>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(store: &'a Store, arena: &'a Arena, meta: Meta) -> Self {
        Self {
            store,
            arena,
            meta,
            slots: HashMap::new(),
            remembered: HashMap::new(),
            fed: Vec::new(),
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
        let fed_before = self.fed.len();
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
            let (after, outcome) = self.operation(operation, before, header)?;
            self.fed.extend(fed(operation, &after, &outcome));
            self.slot(operation.id)?.current = after;
            outcomes.push(outcome);
        }
        let failed = |operation: &LoggedOperation<'_>, outcome: &WriteOutcome| match outcome {
            WriteOutcome::ConditionFailed { .. } | WriteOutcome::TooLarge { .. } => true,
            // A record that is not there is as good as deleted, but not as good as changed.
            WriteOutcome::NotFound => matches!(operation.change, LoggedChange::Patch(_)),
            _ => false,
        };
        let failed: Vec<bool> = request
            .operations
            .iter()
            .zip(&outcomes)
            .map(|(operation, outcome)| failed(operation, outcome))
            .collect();
        if request.atomic && failed.contains(&true) {
            for (id, before) in undo.into_iter().rev() {
                self.slot(id)?.current = before;
            }
            self.meta.next_key = next_key;
            self.fed.truncate(fed_before);
            for (outcome, _) in outcomes.iter_mut().zip(failed).filter(|(_, failed)| !failed) {
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
    ) -> Result<(State<'a>, WriteOutcome), ApplyError> {
        let live = before.live(header.timestamp.millis());
        let holds = match operation.condition {
            None => true,
            Some(Condition::IfAbsent) => live.is_none(),
            Some(Condition::IfMatch(etag)) => live.is_some_and(|record| record.etag == etag),
        };
        if !holds {
            let current = live.map(|record| record.etag);
            return Ok((before, WriteOutcome::ConditionFailed { current }));
        }
        header.version = before.version().saturating_add(1);
        let Header { etag, version, timestamp, .. } = header;
        let created = live.is_none();
        let content = match &operation.change {
            LoggedChange::Delete | LoggedChange::Patch(_) if created => {
                return Ok((before, WriteOutcome::NotFound));
            }
            LoggedChange::Delete => {
                let outcome = WriteOutcome::Deleted { etag, version, timestamp };
                return Ok((State::Tombstone(header), outcome));
            }
            LoggedChange::Put { content_hash, content } => {
                NewContent { hash: *content_hash, bytes: content }
            }
            LoggedChange::Patch(patch) => match self.patched(operation.id, patch, before)? {
                Patched::Content(bytes) => {
                    let bytes = self.arena.keep(bytes);
                    NewContent { hash: content_hash(operation.id, bytes), bytes }
                }
                Patched::TooLarge { bytes, limit } => {
                    return Ok((before, WriteOutcome::TooLarge { bytes, limit }));
                }
            },
        };
        let after = self.put(operation.id, header, content)?;
        Ok((after, WriteOutcome::Put { etag, version, timestamp, created }))
    }

    /// The state after a put.
    fn put(
        &mut self,
        id: &str,
        mut header: Header,
        content: NewContent<'a>,
    ) -> Result<State<'a>, ApplyError> {
        let expires_at = Content::decode(content.bytes)
            .map_err(|damage| ApplyError::Stored { what: "content", id: id.to_owned(), damage })?
            .expires_at;
        // What waited for the log until its time had come is never there.
        if is_expired(expires_at, header.timestamp.millis()) {
            return Ok(State::Tombstone(header));
        }
        header.key = self.meta.next_key;
        self.meta.next_key = self.meta.next_key.saturating_add(1);
        Ok(State::Live(Live { header, expires_at, content: Some(content) }))
    }

    /// What a record becomes by a patch.
    fn patched(
        &self,
        id: &str,
        patch: &LoggedPatch<'_>,
        before: State<'a>,
    ) -> Result<Patched, ApplyError> {
        let damaged = |damage| ApplyError::Stored { what: "record", id: id.to_owned(), damage };
        if let State::Live(Live { content: Some(content), .. }) = before {
            return patch.apply(content.bytes).map_err(damaged);
        }
        let row = self.store.records.get(id).map_err(ApplyError::Read)?;
        let stored = StoredRecord::decode(row.as_deref().unwrap_or_default()).map_err(damaged)?;
        patch.apply(stored.content_bytes).map_err(damaged)
    }

    /// Deletes records whose time has come by then, the first of them first.
    pub(crate) fn expire(&mut self, first: Etag, at: Timestamp) -> Result<(), ApplyError> {
        let rows = self.store.expiring.range(..expiring_until(at.millis())).take(EXPIRED_AT_ONCE);
        let mut next = at;
        for (index, row) in (0_u32..).zip(rows) {
            let row = row.key().map_err(ApplyError::Read)?;
            let id = self.arena.keep(row.get(8..).unwrap_or_default().to_vec());
            let damaged = |damage| ApplyError::Stored {
                what: "expiry",
                id: String::from_utf8_lossy(id).into_owned(),
                damage,
            };
            let id = std::str::from_utf8(id)
                .map_err(|_| damaged(crate::codec::DecodeError::Field { field: "id" }))?;
            let slot = self.slot(id)?;
            let header = Header {
                key: 0,
                version: slot.current.version().saturating_add(1),
                etag: Etag { index, ..first },
                timestamp: next,
            };
            if slot.current.is_row() {
                slot.current = State::Tombstone(header);
                let Header { version, timestamp, .. } = header;
                let kind = ChangeKind::Expire;
                self.fed.push(FedChange { kind, index, id, version, timestamp, content: &[] });
            }
            next = next.plus(1);
        }
        self.advance_clock(next);
        Ok(())
    }

    /// The first time at which one of the records that are put ceases to exist.
    pub(crate) fn first_expiry(&self) -> Option<u64> {
        let expiries = self.slots.values().filter_map(|slot| match slot.current {
            State::Live(Live { expires_at, content: Some(_), .. }) => expires_at,
            _ => None,
        });
        expiries.min()
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

    /// Makes the changes, all or none, and says what the indexes must be told afterwards. Then
    /// nothing is leaving any more.
    pub(crate) fn commit(
        mut self,
        clock: &Clock,
        feed: &Feed,
    ) -> Result<(Meta, IndexChanges<'a>), ApplyError> {
        let store = self.store;
        let mut batch = store.batch(self.slots.len() * 3 + self.remembered.len() * 2 + 2);
        let mut index = IndexChanges::default();
        for (id, slot) in &self.slots {
            write_slot(store, &mut batch, &mut index, &mut self.meta, id, slot)?;
        }
        clock.set_leaving(std::mem::take(&mut index.leaving));
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
        let Meta { applied, epoch, .. } = self.meta;
        feed.write(store, &mut batch, applied.seq, epoch, std::mem::take(&mut self.fed));
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
    // What has expired is there until it is swept, which is for the log to do.
    Ok((state.live(0).is_some(), state.version()))
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
    if let Some(row) = store.records.get(id).map_err(ApplyError::Read)? {
        let StoredRecord { header, content, .. } =
            StoredRecord::decode(&row).map_err(damaged("record"))?;
        let expires_at = content.expires_at;
        return Ok(State::Live(Live { header, expires_at, content: None }));
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
        (State::Never, State::Never) | (_, State::Live(Live { content: None, .. })) => true,
        (State::Tombstone(before), State::Tombstone(after)) => before == after,
        _ => false,
    };
    if unchanged {
        return Ok(());
    }
    match slot.stored {
        State::Never => {}
        State::Live(Live { header, expires_at, .. }) => {
            meta.records = meta.records.saturating_sub(1);
            batch.insert(&store.dead, header.key.to_be_bytes(), b"");
            index.removes.push(header.key);
            if let Some(at) = expires_at {
                index.leaving.push((header.key, at));
                // A batch must not hold two changes of one row.
                if expiry_of(&slot.current) != expires_at {
                    batch.remove(&store.expiring, expiring_row(at, id));
                }
            }
        }
        State::Tombstone(header) => {
            meta.tombstones = meta.tombstones.saturating_sub(1);
            let by_time = row_key(BY_TIME, &header.timestamp.0.to_be_bytes());
            batch.remove(&store.tombstones, by_time);
            // A batch must not hold two changes of one row.
            if slot.current.is_row() {
                batch.remove(&store.tombstones, row_key(BY_ID, id.as_bytes()));
            }
        }
    }
    match slot.current {
        State::Never => {}
        State::Live(Live { header, content: None, .. }) => {
            debug_assert!(false, "record {id:?} with key {} was not put", header.key);
        }
        State::Live(Live { header, expires_at, content: Some(content) }) => {
            meta.records = meta.records.saturating_add(1);
            if let Some(at) = expires_at {
                batch.insert(&store.expiring, expiring_row(at, id), header.key.to_be_bytes());
            }
            let row = encode_record(&header, &content.hash, content.bytes);
            store.records.insert(batch, id, &row);
            let (content, vectors) = parts(id, content.bytes)?;
            for (name, _) in &vectors {
                batch.insert(&store.keys, key_row(name, header.key), id);
            }
            index.inserts.push(IndexInsert { key: header.key, id, content, vectors });
        }
        State::Tombstone(header) => {
            meta.tombstones = meta.tombstones.saturating_add(1);
            if slot.stored.is_row() {
                store.records.remove(batch, id);
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

/// What followers are told of an operation, if it changed anything.
fn fed<'a>(
    operation: &LoggedOperation<'a>,
    after: &State<'a>,
    outcome: &WriteOutcome,
) -> Option<FedChange<'a>> {
    let (WriteOutcome::Put { etag, version, timestamp, .. }
    | WriteOutcome::Deleted { etag, version, timestamp }) = outcome
    else {
        return None;
    };
    let put = match after {
        State::Live(Live { content: Some(content), .. }) => Some(content.bytes),
        _ => None,
    };
    let (kind, content) = match (&operation.change, put) {
        (LoggedChange::Delete, _) => (ChangeKind::Delete, &[][..]),
        (LoggedChange::Put { .. }, Some(_)) => (ChangeKind::Put, &[][..]),
        (LoggedChange::Patch(_), Some(content)) => (ChangeKind::Patch, content),
        // Its time had come before it was stored.
        (_, None) => (ChangeKind::Expire, &[][..]),
    };
    Some(FedChange {
        kind,
        index: etag.index,
        id: operation.id,
        version: *version,
        timestamp: *timestamp,
        content,
    })
}

fn expiry_of(state: &State<'_>) -> Option<u64> {
    match state {
        State::Live(live) => live.expires_at,
        State::Never | State::Tombstone(_) => None,
    }
}

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
