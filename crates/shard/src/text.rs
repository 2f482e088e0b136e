//! The index of a shard's text, kept in step with its records, and searches in it.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use hvs_geometry::{Precision, Space};
use hvs_text::{
    Change, Document, FieldPath, Mark, SearchError, Source, Statistics, TextConfig, TextIndex,
    TextQuery, TextRequest, TextStats, Visit, texts,
};

use crate::codec::DecodeError;
use crate::content::Content;
use crate::content::is_expired;
use crate::error::{OpenError, ReadError};
use crate::filter::Filter;
use crate::indexes::IndexChanges;
use crate::inner::Inner;
use crate::meta::Meta;
use crate::reading::{corrupt, storage};
use crate::record::Record;
use crate::store::Store;
use crate::stored::{Header, StoredRecord};

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
        meta: &Meta,
    ) -> Result<Self, OpenError> {
        let fields = config.fields.clone();
        let source = Records { store: store.clone(), fields: fields.clone() };
        let index = TextIndex::open(directory, config.clone(), source, mark(meta));
        let index = index.map_err(|error| match error {
            hvs_text::OpenError::Thread { source } => {
                OpenError::Io { what: "start the thread that indexes text".to_owned(), source }
            }
            error => OpenError::Config { reason: error.to_string() },
        })?;
        Ok(Self { index, fields })
    }

    /// `meta` is the state after the changes.
    pub(crate) fn apply(&self, changes: &IndexChanges<'_>, meta: &Meta) -> Result<(), DecodeError> {
        let inserts = changes.inserts.iter();
        let inserts = inserts.map(|put| document(put.key, put.id, &put.content, &self.fields));
        let inserts = inserts.collect::<Result<Vec<_>, _>>()?;
        self.index.apply(Change { inserts, removes: changes.removes.clone() }, mark(meta));
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

    pub(crate) fn stats(&self) -> TextStats {
        self.index.stats()
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

/// A search by text.
#[derive(Debug, Clone)]
pub struct TextSearch {
    /// The words.
    pub query: TextQuery,
    /// What is known of them over all records that are to be compared: of this shard, or the sum
    /// over several.
    pub statistics: Statistics,
    /// Most hits.
    pub k: usize,
    /// Only matching records.
    pub filter: Option<Filter>,
    /// When to give up.
    pub deadline: Option<Instant>,
}

/// What a search by text found.
#[derive(Debug, Clone, PartialEq)]
pub struct TextAnswer {
    /// The highest score first; equal scores in the order in which the records were put.
    pub hits: Vec<TextMatch>,
    /// Records that had a word of the query.
    pub scanned: usize,
    /// At most so many records match the filter, if there is one and an index knows.
    pub matching: Option<u64>,
}

/// A record found by its text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextMatch {
    /// The record's id.
    pub id: String,
    /// BM25, above 0.
    pub score: f64,
}

/// What is asked about records that were found.
#[derive(Debug, Clone)]
pub struct DetailsRequest<'a> {
    /// Their ids.
    pub ids: Vec<&'a str>,
    /// From where distances are wanted: a vector's name, and a point of its space.
    pub from: Option<(&'a str, &'a [f64])>,
    /// Whether records are wanted.
    pub with_records: bool,
    /// Most bytes of stored records.
    pub max_bytes: usize,
}

/// What is known of a record that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail {
    /// Whether it is still there.
    pub exists: bool,
    /// Its distance, computed in f64 from the stored vector; none if it has no such vector.
    pub distance: Option<f64>,
    /// The record, if it was asked for.
    pub record: Option<Record>,
    /// Its stored size, if it was asked for.
    pub bytes: usize,
}

impl Inner {
    fn text(&self) -> Result<&Text, ReadError> {
        self.indexes.text().ok_or(ReadError::NoText)
    }

    pub(crate) fn text_statistics(
        &self,
        query: &TextQuery,
        deadline: Option<Instant>,
    ) -> Result<Statistics, ReadError> {
        self.text()?.index.statistics(query, deadline).map_err(failure)
    }

    pub(crate) fn search_text(&self, request: &TextSearch) -> Result<TextAnswer, ReadError> {
        let text = self.text()?;
        let limit = self.config.max_k;
        if request.k == 0 || request.k > limit {
            return Err(ReadError::InvalidK { k: request.k, limit });
        }
        // Before the text is looked at: what is put later has a key of which nothing is known.
        let selection = self.selection(request.filter.as_ref())?;
        let broken = OnceCell::new();
        let known = |key| match &selection.known {
            Some(known) => known.of(key),
            None => selection.is_everything().then_some(true),
        };
        let accept = |id: &str| {
            self.accepts(&selection, id).unwrap_or_else(|error| {
                let _ = broken.set(error);
                false
            })
        };
        let found = text.index.search(&TextRequest {
            query: &request.query,
            statistics: &request.statistics,
            k: request.k,
            known: &known,
            accept: &accept,
            deadline: request.deadline,
        });
        let (hits, scanned) = found.map_err(failure)?;
        if let Some(error) = broken.into_inner() {
            return Err(error);
        }
        let hits = hits.into_iter().map(|hit| TextMatch { id: hit.id, score: hit.score });
        let matching = selection.at_most();
        Ok(TextAnswer { hits: hits.collect(), scanned, matching })
    }

    pub(crate) fn details(&self, request: &DetailsRequest<'_>) -> Result<Vec<Detail>, ReadError> {
        let from = match request.from {
            None => None,
            Some((name, point)) => {
                let Some(config) = self.config.vectors.get(name) else {
                    let known = self.config.vector_names();
                    return Err(ReadError::UnknownVector { name: name.to_owned(), known });
                };
                let checked = config.space.validate(point, Precision::F64);
                checked.map_err(|source| ReadError::InvalidQuery { source })?;
                let point = config.space.to_storage(point);
                Some((name, point, config))
            }
        };
        // Before the snapshot, so that none is missed that moves between them.
        let held: Vec<_> = request.ids.iter().map(|id| self.memory.get(id)).collect();
        let now = self.now_millis();
        let snapshot = self.store.snapshot();
        let mut details = Vec::with_capacity(request.ids.len());
        let mut bytes = 0_usize;
        for (id, held) in request.ids.iter().zip(&held) {
            let logged = match held {
                Some(_) => None,
                None => self.store.records.get_at(&snapshot, id).map_err(storage("a record"))?,
            };
            let row = held.as_ref().map(|held| held.row.as_slice()).or(logged.as_deref());
            let Some(row) = row else {
                details.push(Detail::default());
                continue;
            };
            let stored = StoredRecord::decode(row).map_err(|damage| corrupt(id, &damage))?;
            if is_expired(stored.content.expires_at, now) {
                details.push(Detail::default());
                continue;
            }
            let mut detail = Detail { exists: true, ..Detail::default() };
            if let Some((name, point, config)) = &from {
                let vector = stored.content.vector(name).map_err(|damage| corrupt(id, &damage))?;
                detail.distance = vector
                    .and_then(|vector| distance(&config.space, config.precision, point, &vector));
            }
            if request.with_records {
                detail.bytes = row.len();
                bytes = bytes.saturating_add(row.len());
                if bytes > request.max_bytes {
                    return Err(ReadError::AnswerTooLarge { limit: request.max_bytes });
                }
                detail.record = Some(self.record(id, row)?);
            }
            details.push(detail);
        }
        Ok(details)
    }
}

/// As an index has it: of two points in storage form, in f64. In a Lorentzian space the magnitude
/// of the interval, if there is one.
fn distance(space: &Space, precision: Precision, from: &[f64], to: &[f64]) -> Option<f64> {
    let distance = if space.is_metric() {
        space.stored_distance(from, to).ok()
    } else {
        space.interval(from, to, precision).ok().and_then(|interval| interval.length)
    };
    distance.filter(|distance| distance.is_finite())
}

fn failure(error: SearchError) -> ReadError {
    match error {
        SearchError::Deadline { scanned } => ReadError::DeadlineExceeded { scanned },
        SearchError::Building => ReadError::TextBuilding,
        error => ReadError::Text { reason: error.to_string() },
    }
}
