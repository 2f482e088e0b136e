//! What an index is told when it opens.

use std::time::Duration;

use crate::analysis::Language;
use crate::fields::FieldPath;

/// The least that the writer of the index on disk can do with.
pub const MIN_WRITER_BYTES: usize = 15_000_000;

/// What is indexed, and how much memory it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Where in the metadata the text is. All of it together is the document.
    pub fields: Vec<FieldPath>,
    /// How words are reduced to stems.
    pub language: Language,
    /// Bytes that the writer of the index on disk gathers, at least [`MIN_WRITER_BYTES`].
    pub writer_bytes: usize,
    /// Bytes of what was told and is not yet on disk. Beyond this the writer waits.
    pub pending_bytes: usize,
    /// How long what was told may wait for the disk. It is found before.
    pub commit_every: Duration,
    /// Whose index it is; empty for nobody's. Another owner's index is built anew.
    pub owner: String,
}

impl TextConfig {
    /// The defaults: 16 MB for the writer, 16 MiB that wait, for a second.
    pub fn new(fields: Vec<FieldPath>, language: Language) -> Self {
        Self {
            fields,
            language,
            writer_bytes: 16_000_000,
            pending_bytes: 16 << 20,
            commit_every: Duration::from_secs(1),
            owner: String::new(),
        }
    }
}
