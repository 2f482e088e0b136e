//! How much the hits of one request may take in its answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use hvs_shard::{ReadError, SearchAnswer};

use super::failure::Failure;

/// What an id and its numbers take in an answer, at most, beside the id.
const HIT_BYTES: usize = 64;

/// The bytes that the hits of one request may still take, all its searches together.
pub(super) struct Room {
    limit: usize,
    left: AtomicUsize,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: AtomicUsize::new(limit) }
    }

    pub(super) fn take(&self, answer: &SearchAnswer) -> Result<(), Failure> {
        self.take_hits(answer.hits.iter().map(|hit| hit.id.as_str()), answer.record_bytes)
    }

    /// Takes what hits of these ids and their records need.
    pub(super) fn take_hits<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        record_bytes: usize,
    ) -> Result<(), Failure> {
        let ids = ids.map(|id| id.len() + HIT_BYTES).sum::<usize>();
        self.take_bytes(ids.saturating_add(record_bytes))
    }

    pub(super) fn take_bytes(&self, bytes: usize) -> Result<(), Failure> {
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes));
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(ReadError::AnswerTooLarge { limit: self.limit }.into()),
        }
    }
}
