//! Logging what was in memory alone, before something logged touches it.
//!
//! Applying an entry knows nothing of records in memory. So the record is logged first, as a put,
//! and conditions on its etag are made conditions on the etag that it gets.

use std::collections::HashMap;

use crate::command::{
    EncodedRequest, LoggedOperation, decode_operation, encode_batch, encode_put, with_condition,
};
use crate::error::WriteError;
use crate::memory::Turn;
use crate::operation::{Condition, WriteOutcome};
use crate::prepare::MAX_OPERATIONS_BYTES;
use crate::record::Etag;
use crate::stored::StoredRecord;

use super::{Active, Share, Writer};

/// No write has it.
const NO_ETAG: Etag = Etag { epoch: 0, seq: 0, index: 0 };

impl Writer {
    /// Whether operations that are still to be logged are about ids in memory.
    pub(super) fn touches_memory(&self, request: &Active) -> bool {
        !self.memory.is_empty()
            && request.rest().any(|encoded| {
                decode_operation(encoded).is_ok_and(|op| self.memory.get(op.id).is_some())
            })
    }

    /// Logs the records in memory that the rest of the request replaces, deletes or changes, and
    /// makes its conditions those of what is then logged. A record whose conditions all fail
    /// stays where it is, unless the request is atomic or has an idempotency key.
    pub(super) fn move_to_log(
        &mut self,
        turn: &mut Turn,
        request: &mut Active,
    ) -> Result<(), WriteError> {
        // For each id its etag in memory, and whether it has to be logged.
        let mut touched: HashMap<String, (Etag, bool)> = HashMap::new();
        // The outcomes that are remembered, or that a failure undoes, are those of applying alone.
        let must_move = request.request.atomic || request.request.idempotency.is_some();
        for encoded in request.rest() {
            let Ok(operation) = decode_operation(encoded) else { continue };
            let Some(held) = self.memory.get(operation.id) else { continue };
            let etag = held.header.etag;
            let holds = must_move || holds(&operation, etag);
            let entry = touched.entry(operation.id.to_owned()).or_insert((etag, false));
            entry.1 |= holds;
        }
        let ids: Vec<String> =
            touched.iter().filter(|(_, (_, moves))| *moves).map(|(id, _)| id.clone()).collect();
        let moved = self.log_held(turn, ids)?;
        let bytes_before: usize = request.rest().map(Vec::len).sum();
        let logged = request.logged;
        for encoded in request.request.operations.iter_mut().skip(logged) {
            let Ok(operation) = decode_operation(encoded) else { continue };
            let Some((etag, _)) = touched.get(operation.id) else { continue };
            let condition = match (operation.condition, moved.get(operation.id)) {
                (Some(Condition::IfMatch(given)), Some(new)) if given == *etag => {
                    Condition::IfMatch(*new)
                }
                // There is a record, though the log does not know it.
                (Some(Condition::IfAbsent), None) => Condition::IfMatch(NO_ETAG),
                _ => continue,
            };
            *encoded = with_condition(encoded, condition);
        }
        let bytes: usize = request.rest().map(Vec::len).sum();
        request.request.bytes = (request.request.bytes + bytes).saturating_sub(bytes_before);
        Ok(())
    }

    /// Logs records as they are in memory, and drops them there: the etags that they got.
    fn log_held(
        &mut self,
        turn: &mut Turn,
        ids: Vec<String>,
    ) -> Result<HashMap<String, Etag>, WriteError> {
        let mut moved = HashMap::with_capacity(ids.len());
        let mut rest = ids.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut part, mut operations, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some(id) = rest.peek() {
                let Some(held) = self.memory.get(id) else {
                    rest.next();
                    continue;
                };
                let stored = StoredRecord::split(&held.row).map_err(|damage| {
                    WriteError::Wedged { reason: format!("a record in memory: {damage}") }
                })?;
                let put = encode_put(id, &stored.content_hash, stored.content);
                if !part.is_empty() && bytes + put.len() > MAX_OPERATIONS_BYTES {
                    break;
                }
                bytes += put.len();
                operations.push(put);
                part.extend(rest.next());
            }
            let request =
                EncodedRequest { atomic: false, idempotency: None, operations: &operations };
            let payload = encode_batch(self.now(), std::iter::once(request), bytes);
            let memory = std::sync::Arc::clone(&self.memory);
            let appended = match self.append(payload) {
                Ok(appended) => appended,
                Err(error) => {
                    self.note_moving(part);
                    return Err(error);
                }
            };
            let (_, outcomes) = memory.move_out(turn, &part, || self.apply(&appended))?;
            for (id, outcome) in part.into_iter().zip(outcomes.into_iter().flatten()) {
                if let WriteOutcome::Put { etag, .. } = outcome {
                    moved.insert(id, etag);
                }
            }
        }
        Ok(moved)
    }

    /// Names the record in memory where a condition failed for it.
    pub(super) fn name_held(&self, share: &Share, outcomes: &mut [WriteOutcome]) {
        if self.memory.is_empty() {
            return;
        }
        let operations = share.active.rest();
        for (encoded, outcome) in operations.zip(outcomes) {
            if let WriteOutcome::ConditionFailed { current } = outcome
                && current.is_none()
                && let Ok(operation) = decode_operation(encoded)
            {
                *current = self.memory.get(operation.id).map(|held| held.header.etag);
            }
        }
    }
}

fn holds(operation: &LoggedOperation<'_>, current: Etag) -> bool {
    match operation.condition {
        None => true,
        Some(Condition::IfAbsent) => false,
        Some(Condition::IfMatch(etag)) => etag == current,
    }
}
