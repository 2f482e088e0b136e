//! The score of a document: BM25 as Robertson and Zaragoza have it in "The Probabilistic Relevance
//! Framework" (2009), with the idf that is never negative.
//!
//! ```text
//! score = sum over the words of the query of idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * l / a))
//! idf   = ln(1 + (N - n + 1/2) / (n + 1/2))
//! ```
//!
//! N documents, n of them with the word, tf times in this one, of length l, where a is the mean
//! length. The length is counted in steps, see [`counted_length`].

use tantivy::fieldnorm::FieldNormReader;

use crate::query::Statistics;

/// How soon a word that is repeated counts no more.
pub const K1: f64 = 1.2;
/// How much the length of a document matters.
pub const B: f64 = 0.75;

/// The length that a score reckons with, for one in words: the index keeps it in one byte. It is
/// exact up to 40, and beyond it rounded down by at most an eighth.
pub fn counted_length(words: u32) -> u32 {
    FieldNormReader::id_to_fieldnorm(FieldNormReader::fieldnorm_to_id(words))
}

/// The parts of the formula that all documents share.
pub(crate) struct Bm25 {
    /// `idf * (K1 + 1)`, for each word of the query.
    weights: Vec<f64>,
    /// `K1 * (1 - B + B * l / a)`, by the byte of the length.
    lengths: Vec<f64>,
}

impl Bm25 {
    pub(crate) fn new(statistics: &Statistics) -> Self {
        let documents = statistics.documents as f64;
        // Without documents nothing is scored.
        let mean = (statistics.words as f64 / documents.max(1.0)).max(1.0);
        let idf = |with: u64| {
            let with = with as f64;
            (1.0 + ((documents - with).max(0.0) + 0.5) / (with + 0.5)).ln()
        };
        let weights = statistics.with_word.iter().map(|&with| idf(with) * (K1 + 1.0)).collect();
        let length = |id| f64::from(FieldNormReader::id_to_fieldnorm(id));
        let lengths = (0..=u8::MAX).map(|id| K1 * (1.0 - B + B * length(id) / mean)).collect();
        Self { weights, lengths }
    }

    /// What one word adds to the score of a document.
    pub(crate) fn word(&self, number: usize, times: u32, length: u8) -> f64 {
        let weight = self.weights.get(number).copied().unwrap_or(0.0);
        let length = self.lengths.get(usize::from(length)).copied().unwrap_or(K1);
        let times = f64::from(times);
        weight * times / (times + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lengths_are_exact_and_long_ones_nearly() {
        for words in 0..=40 {
            assert_eq!(counted_length(words), words);
        }
        for words in (41..100_000).step_by(7) {
            let counted = counted_length(words);
            assert!(counted <= words && words - counted <= words / 8, "{words}: {counted}");
        }
    }
}
