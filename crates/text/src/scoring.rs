//! Answering a search: every document with a word of the query gets its score.
//!
//! Segments are gone through in windows of documents, word after word, so that the sum of a score
//! is always made in the order of the query, and that equal documents have equal scores.

use std::time::Instant;

use roaring::RoaringTreemap;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{
    DocAddress, DocId, DocSet, Searcher, SegmentReader, TERMINATED, TantivyDocument, Term,
};

use crate::bm25::Bm25;
use crate::disk::{Fields, KEY};
use crate::error::SearchError;
use crate::memory::Match;
use crate::query::{Statistics, TextQuery};
use crate::top::Top;

/// Documents of one window.
const WINDOW: u32 = 4_096;

/// A search for the documents that fit best.
pub struct TextRequest<'a> {
    /// What is searched for.
    pub query: &'a TextQuery,
    /// Of all documents that are to be compared, of this index and others.
    pub statistics: &'a Statistics,
    /// Most hits.
    pub k: usize,
    /// Whether the document of a key may be a hit, if that is known by its key.
    pub known: &'a dyn Fn(u64) -> Option<bool>,
    /// Whether the document of an id may be a hit; asked where the key does not tell.
    pub accept: &'a dyn Fn(&str) -> bool,
    /// When to give up.
    pub deadline: Option<Instant>,
}

/// A document found.
#[derive(Debug, Clone, PartialEq)]
pub struct TextHit {
    /// Of the record.
    pub key: u64,
    /// Of the record.
    pub id: String,
    /// The higher the better, always above 0.
    pub score: f64,
}

/// What is on disk, as one search sees it.
pub(crate) struct Layer {
    pub(crate) searcher: Searcher,
    pub(crate) fields: Fields,
    /// Documents that are no more.
    pub(crate) removed: RoaringTreemap,
}

pub(crate) struct Found {
    top: Top,
    bm25: Bm25,
    scanned: usize,
}

fn failed(error: impl std::fmt::Display) -> SearchError {
    SearchError::Failed { reason: error.to_string() }
}

impl Layer {
    /// How many documents have each word; those that are removed count until a merge.
    pub(crate) fn statistics(&self, query: &TextQuery) -> Result<Statistics, SearchError> {
        let mut statistics =
            Statistics { with_word: vec![0; query.words().len()], ..Statistics::default() };
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.words).map_err(failed)?;
            let mut of_segment = Statistics {
                documents: segment.max_doc().into(),
                words: index.total_num_tokens(),
                with_word: Vec::with_capacity(query.words().len()),
            };
            for word in query.words() {
                let with = index.doc_freq(&self.term(word)).map_err(failed)?;
                of_segment.with_word.push(with.into());
            }
            statistics.add(&of_segment);
        }
        Ok(statistics)
    }

    fn term(&self, word: &str) -> Term {
        Term::from_field_text(self.fields.words, word)
    }
}

impl Found {
    pub(crate) fn new(request: &TextRequest<'_>) -> Self {
        Self { top: Top::new(request.k), bm25: Bm25::new(request.statistics), scanned: 0 }
    }

    /// The hits, best first, and how many documents got a score.
    pub(crate) fn into_hits(self) -> (Vec<TextHit>, usize) {
        (self.top.into_hits(), self.scanned)
    }

    /// Documents that are still in memory.
    pub(crate) fn memory(
        &mut self,
        request: &TextRequest<'_>,
        matches: Vec<Match>,
    ) -> Result<(), SearchError> {
        for found in matches {
            if self.scanned.is_multiple_of(WINDOW as usize) {
                self.check(request)?;
            }
            self.scanned += 1;
            let words = found.words.iter();
            let score =
                words.map(|&(number, times)| self.bm25.word(number, times, found.length)).sum();
            let Match { key, id, .. } = found;
            if self.top.wants(score, key)
                && (request.known)(key).unwrap_or_else(|| (request.accept)(&id))
            {
                self.top.push(TextHit { key, id, score });
            }
        }
        Ok(())
    }

    fn check(&self, request: &TextRequest<'_>) -> Result<(), SearchError> {
        match request.deadline {
            Some(deadline) if Instant::now() >= deadline => {
                Err(SearchError::Deadline { scanned: self.scanned })
            }
            _ => Ok(()),
        }
    }

    /// Documents on disk.
    pub(crate) fn layer(
        &mut self,
        request: &TextRequest<'_>,
        layer: &Layer,
    ) -> Result<(), SearchError> {
        for (ordinal, segment) in (0..).zip(layer.searcher.segment_readers()) {
            self.segment(request, layer, ordinal, segment)?;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        request: &TextRequest<'_>,
        layer: &Layer,
        ordinal: u32,
        segment: &SegmentReader,
    ) -> Result<(), SearchError> {
        let index = segment.inverted_index(layer.fields.words).map_err(failed)?;
        let mut postings: Vec<(usize, SegmentPostings)> = Vec::new();
        for (number, word) in request.query.words().iter().enumerate() {
            let found = index.read_postings(&layer.term(word), IndexRecordOption::WithFreqs);
            postings.extend(found.map_err(failed)?.map(|postings| (number, postings)));
        }
        let keys = segment.fast_fields().u64(KEY).map_err(failed)?;
        let lengths = segment.get_fieldnorms_reader(layer.fields.words).map_err(failed)?;
        let mut scores = vec![0.0_f64; WINDOW as usize];
        loop {
            let Some(begin) = next(&postings) else { return Ok(()) };
            self.check(request)?;
            let end = begin.saturating_add(WINDOW);
            for (number, postings) in &mut postings {
                let mut document = postings.doc();
                // The end of all postings is above every document.
                while document < end && document != TERMINATED {
                    let length = lengths.fieldnorm_id(document);
                    let adds = self.bm25.word(*number, postings.term_freq(), length);
                    if let Some(score) = scores.get_mut((document - begin) as usize) {
                        *score += adds;
                    }
                    document = postings.advance();
                }
            }
            for (document, score) in (begin..end).zip(&mut scores) {
                let score = std::mem::take(score);
                if score <= 0.0 || segment.is_deleted(document) {
                    continue;
                }
                self.scanned += 1;
                let Some(key) = keys.first(document) else { continue };
                if !self.top.wants(score, key) || layer.removed.contains(key) {
                    continue;
                }
                let known = (request.known)(key);
                if known == Some(false) {
                    continue;
                }
                let id = id(layer, DocAddress::new(ordinal, document))?;
                if known == Some(true) || (request.accept)(&id) {
                    self.top.push(TextHit { key, id, score });
                }
            }
        }
    }
}

/// The first document that any word still has.
fn next(postings: &[(usize, SegmentPostings)]) -> Option<DocId> {
    let documents = postings.iter().map(|(_, postings)| postings.doc());
    documents.min().filter(|document| *document != TERMINATED)
}

fn id(layer: &Layer, address: DocAddress) -> Result<String, SearchError> {
    let row: TantivyDocument = layer.searcher.doc(address).map_err(failed)?;
    let id = row.get_first(layer.fields.id).and_then(|value| value.as_str().map(str::to_owned));
    id.ok_or_else(|| failed("a document has no id"))
}
