//! What was told and is not yet on disk: a small inverted index in memory.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringTreemap;
use tantivy::fieldnorm::FieldNormReader;

use crate::query::{Statistics, TextQuery};

/// What a document, one of its words, and a new word take beside their texts, about.
const DOCUMENT_BYTES: usize = 160;
const WORD_BYTES: usize = 40;
const NEW_WORD_BYTES: usize = 100;
const REMOVED_BYTES: usize = 16;

/// A document in memory.
pub(crate) struct Pending {
    pub(crate) id: String,
    /// Its words with how often they occur.
    pub(crate) words: Vec<(Arc<str>, u32)>,
    /// All of them.
    pub(crate) length: u32,
}

impl Pending {
    pub(crate) fn new(id: String, words: Vec<String>) -> Self {
        let length = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let mut counts: HashMap<String, u32> = HashMap::new();
        for word in words {
            let count = counts.entry(word).or_default();
            *count = count.saturating_add(1);
        }
        let words = counts.into_iter().map(|(word, count)| (Arc::from(word), count)).collect();
        Self { id, words, length }
    }

    /// What it takes, about, where its words are not new.
    pub(crate) fn bytes(&self) -> usize {
        DOCUMENT_BYTES + self.id.len() + WORD_BYTES * self.words.len()
    }
}

/// A document with words of the query.
pub(crate) struct Match {
    pub(crate) key: u64,
    pub(crate) id: String,
    /// As scores count it.
    pub(crate) length: u8,
    /// By the number of the word in the query.
    pub(crate) words: Vec<(usize, u32)>,
}

/// Documents that were told, and keys whose documents in older layers are no more.
#[derive(Default)]
pub(crate) struct Memory {
    documents: HashMap<u64, Pending>,
    /// Keys may be among these whose document was removed.
    postings: HashMap<Arc<str>, Vec<(u64, u32)>>,
    removed: RoaringTreemap,
    words: u64,
    bytes: usize,
}

impl Memory {
    pub(crate) fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.removed.is_empty()
    }

    /// What it takes, about. Removed documents count on until all of it is gone.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn documents(&self) -> &HashMap<u64, Pending> {
        &self.documents
    }

    pub(crate) fn removed(&self) -> &RoaringTreemap {
        &self.removed
    }

    pub(crate) fn insert(&mut self, key: u64, mut document: Pending) {
        self.bytes += document.bytes();
        for (word, times) in &mut document.words {
            // One copy of each word is enough.
            if let Some((known, _)) = self.postings.get_key_value(word) {
                *word = Arc::clone(known);
            } else {
                self.bytes += NEW_WORD_BYTES + word.len();
            }
            self.postings.entry(Arc::clone(word)).or_default().push((key, *times));
        }
        self.words = self.words.saturating_add(document.length.into());
        self.documents.insert(key, document);
    }

    pub(crate) fn remove(&mut self, key: u64) {
        match self.documents.remove(&key) {
            Some(document) => self.words = self.words.saturating_sub(document.length.into()),
            None => {
                if self.removed.insert(key) {
                    self.bytes += REMOVED_BYTES;
                }
            }
        }
    }

    /// How many documents there are, and their words.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.documents.len() as u64, self.words)
    }

    /// What is known of the words of a query.
    pub(crate) fn statistics(&self, query: &TextQuery) -> Statistics {
        let (documents, words) = self.size();
        let with_word = query.words().iter().map(|word| self.with_word(word)).collect();
        Statistics { documents, words, with_word }
    }

    pub(crate) fn into_documents(self) -> HashMap<u64, Pending> {
        self.documents
    }

    /// How many documents have a word.
    fn with_word(&self, word: &str) -> u64 {
        self.live(word).count() as u64
    }

    fn live(&self, word: &str) -> impl Iterator<Item = (u64, u32)> + '_ {
        let postings = self.postings.get(word).map(Vec::as_slice).unwrap_or_default();
        postings.iter().copied().filter(|(key, _)| self.documents.contains_key(key))
    }

    /// The documents with any of the words, without those of `removed`.
    pub(crate) fn matches(&self, words: &[String], removed: &RoaringTreemap) -> Vec<Match> {
        let mut by_key: HashMap<u64, Vec<(usize, u32)>> = HashMap::new();
        for (number, word) in words.iter().enumerate() {
            for (key, times) in self.live(word).filter(|(key, _)| !removed.contains(*key)) {
                by_key.entry(key).or_default().push((number, times));
            }
        }
        let matches = by_key.into_iter().filter_map(|(key, words)| {
            let document = self.documents.get(&key)?;
            let length = FieldNormReader::fieldnorm_to_id(document.length);
            Some(Match { key, id: document.id.clone(), length, words })
        });
        matches.collect()
    }
}
