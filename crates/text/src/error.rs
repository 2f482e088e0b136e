//! What can go wrong, one enum for each operation.

/// Why an index does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Less memory than the writer can do with.
    #[error("the writer of the text index has {given} bytes, at least {least} are needed")]
    WriterBytes {
        /// What was given.
        given: usize,
        /// The least.
        least: usize,
    },
    /// Its thread cannot be started.
    #[error("the thread of the text index cannot be started: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// Why a query is not searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Too long.
    #[error("the text has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many words.
    #[error("the text has {words} different words, at most {limit} are allowed")]
    TooManyWords {
        /// How many.
        words: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing to search for.
    #[error("the text has no word in it")]
    NoWords,
}

/// Why a search has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The time is over.
    #[error("the deadline passed, {scanned} documents were looked at")]
    Deadline {
        /// Documents that were looked at.
        scanned: usize,
    },
    /// The index is still built from the records, and the deadline passed.
    #[error("the index of text is still being built from the records")]
    Building,
    /// The index could not be built or written; it is tried again.
    #[error("the index of text cannot be used, it is built anew: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// The index was closed.
    #[error("the index of text is closed")]
    Closed,
}
