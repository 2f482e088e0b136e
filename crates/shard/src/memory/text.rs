//! The text of what is in memory: indexed there, so that a search goes through it as through the
//! index of what is logged, and compares both by one score.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hvs_text::{
    FieldPath, OverlayDocument, SearchError, Statistics, TextConfig, TextHit, TextOverlay,
    TextQuery, TextRequest,
};

use super::{Arriving, Held, Memory, Records};
use crate::codec::DecodeError;
use crate::stored::StoredRecord;
use crate::text::{TextSearch, document};

/// The words of a record.
pub(super) struct Words(OverlayDocument);

impl Words {
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// The texts of records, each under a key that grows with every record.
pub(super) struct HeldTexts {
    fields: Vec<FieldPath>,
    overlay: TextOverlay,
}

impl HeldTexts {
    pub(super) fn new(config: &TextConfig) -> Self {
        Self { fields: config.fields.clone(), overlay: TextOverlay::new(config.language) }
    }

    /// The words of a record, if it has any.
    fn words(&self, held: &Held) -> Result<Option<Words>, DecodeError> {
        let stored = StoredRecord::decode(&held.row)?;
        let document = document(0, &held.id, &stored.content, &self.fields)?;
        Ok(self.overlay.document(document).map(Words))
    }

    pub(super) fn insert(&mut self, key: u64, words: Words) {
        self.overlay.insert(key, words.0);
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.overlay.remove(key);
    }
}

impl Memory {
    pub(super) fn arriving(&self, held: Arc<Held>) -> Result<Arriving, DecodeError> {
        let texts = &self.records.read().texts;
        let words = texts.as_ref().map(|texts| texts.words(&held)).transpose()?.flatten();
        Ok(Arriving { held, words })
    }

    /// What the record of an id counts for.
    pub(super) fn cost(&self, id: &str) -> usize {
        self.records.read().by_id.get(id).map_or(0, |entry| entry.cost)
    }

    /// Indexes the text of all records anew, or no text any more. Waits for its turn.
    pub(crate) fn index_text(&self, config: Option<&TextConfig>) {
        let _turn = self.turn();
        // Beside those who read: nothing changes before the turn is over.
        let mut records = Records { texts: config.map(HeldTexts::new), ..Records::default() };
        let mut all = self.all();
        // Of equal scores what was written first goes first.
        all.sort_unstable_by_key(|held| held.header.etag);
        for held in all {
            let texts = records.texts.as_ref();
            // It could be read when it was written; where not, it is found by its vector only.
            let words = texts.and_then(|texts| texts.words(&held).ok().flatten());
            records.insert(Arriving { held, words });
        }
        let bytes = records.by_id.values().map(|entry| entry.cost).sum();
        *self.records.write() = records;
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many records have text.
    pub(crate) fn texts(&self) -> usize {
        self.records.read().texts.as_ref().map_or(0, |texts| texts.overlay.len())
    }

    /// What is known of the words of a query.
    pub(crate) fn text_statistics(&self, query: &TextQuery) -> Statistics {
        if self.is_empty() {
            return Statistics::default();
        }
        let records = self.records.read();
        let texts = records.texts.as_ref();
        texts.map(|texts| texts.overlay.statistics(query)).unwrap_or_default()
    }

    /// The records whose text fits best, of those that are wanted.
    pub(crate) fn search_text(
        &self,
        request: &TextSearch,
        wanted: &dyn Fn(&Held) -> bool,
    ) -> Result<(Vec<TextHit>, usize), SearchError> {
        if self.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let records = self.records.read();
        let Some(texts) = &records.texts else { return Ok((Vec::new(), 0)) };
        texts.overlay.search(&TextRequest {
            query: &request.query,
            statistics: &request.statistics,
            k: request.k,
            known: &|_| None,
            accept: &|id| records.by_id.get(id).is_some_and(|entry| wanted(&entry.held)),
            deadline: request.deadline,
        })
    }
}
