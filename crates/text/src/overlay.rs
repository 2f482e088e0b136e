//! Documents that never go to a disk, searched beside those of an index and as if they were in it.

use crate::analysis::Language;
use crate::error::SearchError;
use crate::index::{Document, pending};
use crate::memory::{Memory, Pending};
use crate::query::{Statistics, TextQuery};
use crate::scoring::{Found, TextHit, TextRequest};

/// Removed documents, beyond as many as there are, that are left in the lists of their words.
const FEWEST_DEAD: usize = 256;

/// Documents in memory alone.
pub struct TextOverlay {
    language: Language,
    memory: Memory,
    /// Documents that were removed and are still in the lists of their words.
    dead: usize,
}

/// A document as an overlay takes it: its words.
pub struct OverlayDocument(Pending);

impl OverlayDocument {
    /// What it takes in an overlay, about.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl TextOverlay {
    /// An empty one.
    pub fn new(language: Language) -> Self {
        Self { language, memory: Memory::default(), dead: 0 }
    }

    /// The words of a document; none if it has no word, and cannot be found.
    pub fn document(&self, document: Document) -> Option<OverlayDocument> {
        let document = pending(document, self.language);
        (document.length > 0).then_some(OverlayDocument(document))
    }

    /// Adds a document under a key that was never used before. Of equal scores the lower key goes
    /// first.
    pub fn insert(&mut self, key: u64, document: OverlayDocument) {
        self.memory.insert(key, document.0);
    }

    /// Forgets a document. An unknown key is ignored.
    pub fn remove(&mut self, key: u64) {
        if !self.memory.documents().contains_key(&key) {
            return;
        }
        self.memory.remove(key);
        self.dead += 1;
        if self.dead >= FEWEST_DEAD.max(self.memory.documents().len()) {
            self.dead = 0;
            for (key, document) in std::mem::take(&mut self.memory).into_documents() {
                self.memory.insert(key, document);
            }
        }
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.memory.documents().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of the words of a query over all documents.
    pub fn statistics(&self, query: &TextQuery) -> Statistics {
        self.memory.statistics(query)
    }

    /// The documents that fit best, as [`TextIndex::search`](crate::TextIndex::search) has them.
    ///
    /// # Errors
    /// [`SearchError::Deadline`].
    pub fn search(&self, request: &TextRequest<'_>) -> Result<(Vec<TextHit>, usize), SearchError> {
        let matches = self.memory.matches(request.query.words(), &roaring::RoaringTreemap::new());
        let mut found = Found::new(request);
        found.memory(request, matches)?;
        Ok(found.into_hits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueryLimits;

    fn document(key: u64, text: &str) -> Document {
        Document { key, id: format!("r{key}"), texts: vec![text.to_owned()] }
    }

    fn found(overlay: &TextOverlay, text: &str) -> Vec<u64> {
        let limits = QueryLimits { bytes: 100, words: 10 };
        let query = TextQuery::new(text, overlay.language, limits).unwrap();
        let request = TextRequest {
            query: &query,
            statistics: &overlay.statistics(&query),
            k: 1_000,
            known: &|_| None,
            accept: &|_| true,
            deadline: None,
        };
        overlay.search(&request).unwrap().0.into_iter().map(|hit| hit.key).collect()
    }

    #[test]
    fn what_is_removed_is_neither_found_nor_kept() {
        let mut overlay = TextOverlay::new(Language::NONE);
        for key in 0..10_000 {
            let document = overlay.document(document(key, &format!("all w{}", key % 7)));
            overlay.insert(key, document.unwrap());
            if key >= 10 {
                overlay.remove(key - 10);
            }
        }
        // Once more is nothing.
        overlay.remove(3);
        assert_eq!(overlay.len(), 10);
        assert_eq!(found(&overlay, "all"), (9_990..10_000).collect::<Vec<_>>());
        assert_eq!(found(&overlay, "w0"), [9_996]);
        assert!(found(&overlay, "w").is_empty());
        assert!(overlay.memory.bytes() < 100_000, "{}", overlay.memory.bytes());
        assert!(overlay.document(document(0, "... ?")).is_none());
    }
}
