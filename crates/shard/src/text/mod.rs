//! The index of a shard's text, kept in step with its records.

mod change;
mod search;
mod slot;

use std::ops::ControlFlow;
use std::path::Path;

use hvs_text::{
    Change, Document, FieldPath, Language, Mark, Source, TextConfig, TextIndex, TextStats, Visit,
    texts,
};

use crate::codec::DecodeError;
use crate::content::Content;
use crate::error::OpenError;
use crate::indexes::IndexChanges;
use crate::meta::Meta;
use crate::store::Store;
use crate::stored::{Header, StoredRecord};

pub use change::{ReplacedText, TextChange};
pub use search::{Detail, DetailsRequest, TextAnswer, TextMatch, TextSearch};
pub(crate) use slot::{TextSlot, directory};

/// The index of text of one shard.
pub(crate) struct Text {
    index: TextIndex,
    fields: Vec<FieldPath>,
}

pub(crate) fn mark(meta: &Meta) -> Mark {
    Mark { next_key: meta.next_key, records: meta.records }
}

pub(crate) fn document(
    key: u64,
    id: &str,
    content: &Content<'_>,
    fields: &[FieldPath],
) -> Result<Document, DecodeError> {
    let metadata = content.metadata()?;
    let texts = texts(&metadata, fields).into_iter().map(str::to_owned).collect();
    Ok(Document { key, id: id.to_owned(), texts })
}

impl Text {
    /// Opens the index; what it lacks it reads from the store beside the shard's other work.
    pub(crate) fn open(
        directory: &Path,
        config: &TextConfig,
        store: &Store,
        mark: Mark,
    ) -> Result<Self, OpenError> {
        let fields = config.fields.clone();
        let source = Records { store: store.clone(), fields: fields.clone() };
        let index = TextIndex::open(directory, config.clone(), source, mark);
        let index = index.map_err(|error| match error {
            hvs_text::OpenError::Thread { source } => {
                OpenError::Io { what: "start the thread that indexes text".to_owned(), source }
            }
            error => OpenError::Config { reason: error.to_string() },
        })?;
        Ok(Self { index, fields })
    }

    /// `mark` is that of the state after the changes.
    pub(crate) fn apply(&self, changes: &IndexChanges<'_>, mark: Mark) -> Result<(), DecodeError> {
        let inserts = changes.inserts.iter();
        let inserts = inserts.map(|put| document(put.key, put.id, &put.content, &self.fields));
        let inserts = inserts.collect::<Result<Vec<_>, _>>()?;
        self.index.apply(Change { inserts, removes: changes.removes.clone() }, mark);
        Ok(())
    }

    /// Waits until all text is on disk. An index that cannot be written is built anew, and says so.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.index.flush() {
            tracing::warn!(%error, "the index of text is not written");
        }
    }

    pub(crate) fn close(&self) {
        self.index.close();
    }

    /// Lets nobody wait for its end who still searches in it.
    fn stop(&self) {
        self.index.stop();
    }

    pub(crate) fn stats(&self) -> TextStats {
        self.index.stats()
    }

    fn language(&self) -> Language {
        self.index.config().language
    }
}

/// The records that an index is built from.
struct Records {
    store: Store,
    fields: Vec<FieldPath>,
}

impl Source for Records {
    fn visit(&self, visit: &mut Visit<'_>) -> Result<(), String> {
        let snapshot = self.store.snapshot();
        for row in self.store.records.iter_at(&snapshot) {
            let (id, value) = row.map_err(|error| error.to_string())?;
            let header = Header::decode(&value).map_err(|error| error.to_string())?;
            let load = || {
                let id = String::from_utf8_lossy(&id);
                let record = StoredRecord::decode(&value).map_err(|error| error.to_string())?;
                document(header.key, &id, &record.content, &self.fields)
                    .map_err(|error| error.to_string())
            };
            if visit(header.key, &load)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
