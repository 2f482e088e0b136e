//! Carrying out a request in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Arriving, Held, Memory, Turn};
use crate::changes::last_write;
use crate::command::{LoggedChange, LoggedOperation, decode_operation};
use crate::content::Content;
use crate::error::WriteError;
use crate::machine::Progress;
use crate::operation::{Condition, Durability, WriteAnswer, WriteOutcome};
use crate::prepare::Prepared;
use crate::store::Store;
use crate::stored::{Header, encode_record};

/// What the operations of a request make of the ids that they touch.
struct Draft<'a> {
    memory: &'a Memory,
    store: &'a Store,
    has_tombstones: bool,
    after: HashMap<&'a str, Touched>,
}

#[derive(Clone)]
struct Touched {
    held: Option<Arc<Held>>,
    /// Of the id, writes that were only in memory included.
    version: u64,
}

/// The request has to be logged: it touches a logged record, or has to be remembered.
struct MustBeLogged;

impl Memory {
    /// Carries out a request in memory, all of it or nothing, without touching the disk. `None`
    /// if it has to be logged instead.
    pub(crate) fn carry_out(
        &self,
        turn: &mut Turn,
        store: &Store,
        progress: &Progress,
        request: &Prepared,
    ) -> Result<Option<WriteAnswer>, WriteError> {
        // What is remembered under a key must outlive this process.
        if request.idempotency.is_some() {
            return Ok(None);
        }
        let mut operations = Vec::with_capacity(request.operations.len());
        for encoded in &request.operations {
            match decode_operation(encoded) {
                Ok(operation) if must_be_logged(&operation)? => return Ok(None),
                Ok(operation) => operations.push(operation),
                Err(_) => return Ok(None),
            }
        }
        let has_tombstones = progress.tombstones.load(Ordering::Relaxed) > 0;
        let mut draft =
            Draft { memory: self, store, has_tombstones, after: HashMap::with_capacity(8) };
        let first = Header {
            key: 0,
            version: 0,
            etag: self.next_etag(turn),
            timestamp: self.advance(progress.clock(), operations.len() as u64),
        };
        let mut outcomes = Vec::with_capacity(operations.len());
        for (offset, operation) in (0_u32..).zip(&operations) {
            let mut header = first;
            header.etag.index = offset;
            header.timestamp = first.timestamp.plus(offset.into());
            match draft.operation(operation, header)? {
                Ok(outcome) => outcomes.push(outcome),
                Err(MustBeLogged) => return Ok(None),
            }
        }
        let failed =
            |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::ConditionFailed { .. });
        if request.atomic && outcomes.iter().any(failed) {
            for outcome in outcomes.iter_mut().filter(|outcome| !failed(outcome)) {
                *outcome = WriteOutcome::NotApplied;
            }
        } else {
            draft.finish()?;
        }
        Ok(Some(WriteAnswer {
            outcomes,
            epoch: self.epoch,
            seq: progress.applied.load(Ordering::Acquire),
            repeated: false,
            durability: Durability::Memory,
        }))
    }
}

impl<'a> Draft<'a> {
    fn operation(
        &mut self,
        operation: &LoggedOperation<'a>,
        mut header: Header,
    ) -> Result<Result<WriteOutcome, MustBeLogged>, WriteError> {
        let Some(before) = self.touch(operation.id)? else { return Ok(Err(MustBeLogged)) };
        let current = before.held.as_ref().map(|held| held.header.etag);
        let holds = match operation.condition {
            None => true,
            Some(Condition::IfAbsent) => current.is_none(),
            Some(Condition::IfMatch(etag)) => current == Some(etag),
        };
        if !holds {
            return Ok(Ok(WriteOutcome::ConditionFailed { current }));
        }
        header.version = before.version.saturating_add(1);
        let Header { etag, version, timestamp, .. } = header;
        let (held, outcome) = match operation.change {
            LoggedChange::Put { content_hash, content } => {
                let row = encode_record(&header, &content_hash, content);
                let held = Held { id: operation.id.to_owned(), header, row };
                let created = current.is_none();
                (Some(Arc::new(held)), WriteOutcome::Put { etag, version, timestamp, created })
            }
            // `must_be_logged` has sent it away.
            LoggedChange::Patch(_) => return Ok(Err(MustBeLogged)),
            LoggedChange::Delete if current.is_none() => return Ok(Ok(WriteOutcome::NotFound)),
            LoggedChange::Delete => (None, WriteOutcome::Deleted { etag, version, timestamp }),
        };
        self.after.insert(operation.id, Touched { held, version });
        Ok(Ok(outcome))
    }

    /// The id as it stands, or `None` if its record is logged.
    fn touch(&self, id: &str) -> Result<Option<Touched>, WriteError> {
        if let Some(touched) = self.after.get(id) {
            return Ok(Some(touched.clone()));
        }
        if let Some(held) = self.memory.get(id) {
            let version = held.header.version;
            return Ok(Some(Touched { held: Some(held), version }));
        }
        let last = last_write(self.store, id, self.has_tombstones);
        let (is_live, version) =
            last.map_err(|error| WriteError::Unreadable { reason: error.to_string() })?;
        Ok((!is_live).then_some(Touched { held: None, version }))
    }

    /// Makes the changes if there is room for them.
    fn finish(self) -> Result<(), WriteError> {
        let memory = self.memory;
        let (mut more, mut less) = (0_usize, 0_usize);
        let mut changes = Vec::with_capacity(self.after.len());
        for (id, touched) in self.after {
            let arriving = touched.held.map(|held| memory.arriving(held)).transpose();
            let arriving =
                arriving.map_err(|error| WriteError::Unreadable { reason: error.to_string() })?;
            more += arriving.as_ref().map_or(0, Arriving::cost);
            less += memory.cost(id);
            changes.push((id, arriving));
        }
        let bytes = memory.bytes();
        if more > less && bytes.saturating_sub(less).saturating_add(more) > memory.limit {
            let needed = more - less;
            return Err(WriteError::MemoryFull { bytes, needed, limit: memory.limit });
        }
        memory.change(changes.into_iter());
        Ok(())
    }
}

/// Patches are for records that are kept, and what expires is swept by way of the log.
fn must_be_logged(operation: &LoggedOperation<'_>) -> Result<bool, WriteError> {
    let LoggedChange::Put { content, .. } = operation.change else {
        return Ok(matches!(operation.change, LoggedChange::Patch(_)));
    };
    let content = Content::decode(content);
    let content =
        content.map_err(|damage| WriteError::Unreadable { reason: damage.to_string() })?;
    Ok(content.expires_at.is_some())
}
