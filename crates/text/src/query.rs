//! What is searched for, and what is known of it over all documents.

use crate::analysis::{Language, words};
use crate::error::QueryError;

/// How large a query may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Bytes of its text.
    pub bytes: usize,
    /// Different words.
    pub words: usize,
}

/// The words of a query, each once, in the order in which they first came. A document matches if
/// it has one of them. Nothing in a query is syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextQuery {
    language: Language,
    words: Vec<String>,
}

impl TextQuery {
    /// The words of a text, as an index of that language has them.
    ///
    /// # Errors
    /// [`QueryError`], beyond the limits or without any word.
    pub fn new(text: &str, language: Language, limits: QueryLimits) -> Result<Self, QueryError> {
        if text.len() > limits.bytes {
            return Err(QueryError::TooLong { bytes: text.len(), limit: limits.bytes });
        }
        let mut seen = std::collections::HashSet::new();
        let words: Vec<String> =
            words(text, language).into_iter().filter(|word| seen.insert(word.clone())).collect();
        match words.len() {
            0 => Err(QueryError::NoWords),
            count if count > limits.words => {
                Err(QueryError::TooManyWords { words: count, limit: limits.words })
            }
            _ => Ok(Self { language, words }),
        }
    }

    /// The language whose stems its words are.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

/// What BM25 needs to know of all documents. Those of several indexes are added up, so that a
/// score does not depend on the index that a document is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Documents, that is records with text.
    pub documents: u64,
    /// Their words together.
    pub words: u64,
    /// For each word of the query how many documents have it.
    pub with_word: Vec<u64>,
}

impl Statistics {
    /// Adds those of another index.
    pub fn add(&mut self, other: &Self) {
        self.documents = self.documents.saturating_add(other.documents);
        self.words = self.words.saturating_add(other.words);
        if self.with_word.len() < other.with_word.len() {
            self.with_word.resize(other.with_word.len(), 0);
        }
        for (sum, more) in self.with_word.iter_mut().zip(&other.with_word) {
            *sum = sum.saturating_add(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_their_edges() {
        let limits = QueryLimits { bytes: 9, words: 3 };
        let query = |text: &str| TextQuery::new(text, Language::NONE, limits);
        assert_eq!(query("a b c a b").unwrap().words(), ["a", "b", "c"]);
        assert_eq!(query("a b c d"), Err(QueryError::TooManyWords { words: 4, limit: 3 }));
        assert_eq!(query("a b c a bb"), Err(QueryError::TooLong { bytes: 10, limit: 9 }));
        assert_eq!(query(" +\"* "), Err(QueryError::NoWords));
        assert_eq!(query(""), Err(QueryError::NoWords));
    }
}
