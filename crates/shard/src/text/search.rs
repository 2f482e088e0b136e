//! Searches by text.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use hvs_geometry::{Precision, Space};
use hvs_text::{SearchError, Statistics, TextQuery, TextRequest, TextStats};

use super::Text;
use crate::content::is_expired;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::inner::Inner;
use crate::reading::{corrupt, storage};
use crate::record::Record;
use crate::selection::Selection;
use crate::stored::StoredRecord;

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
    /// The index of text, in which the words of a query are the same as in the query.
    fn text(&self, query: &TextQuery) -> Result<Arc<Text>, ReadError> {
        let text = self.indexes.text().current().ok_or(ReadError::NoText)?;
        // It was changed since somebody looked: what is searched for are other words now.
        if text.language() != query.language() {
            return Err(ReadError::TextBuilding);
        }
        Ok(text)
    }

    pub(crate) fn text_statistics(
        &self,
        query: &TextQuery,
        deadline: Option<Instant>,
    ) -> Result<Statistics, ReadError> {
        let text = self.text(query)?;
        let mut statistics = self.memory.text_statistics(query);
        statistics.add(&text.index.statistics(query, deadline).map_err(failure)?);
        Ok(statistics)
    }

    pub(crate) fn search_text(&self, request: &TextSearch) -> Result<TextAnswer, ReadError> {
        let text = self.text(&request.query)?;
        let limit = self.config.max_k;
        if request.k == 0 || request.k > limit {
            return Err(ReadError::InvalidK { k: request.k, limit });
        }
        // Before the text is looked at: what is put later has a key of which nothing is known.
        let selection = self.selection(request.filter.as_ref())?;
        // Before the index, so that none is missed that moves between them.
        let in_memory = self.memory.len() as u64;
        let (held, scanned_in_memory) = self.search_held(request, &selection)?;
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
        let matching = selection.at_most().map(|matching| matching + in_memory);
        let mut hits: Vec<_> = hits.collect();
        merge(&mut hits, held, request.k);
        Ok(TextAnswer { hits, scanned: scanned + scanned_in_memory, matching })
    }

    /// Of the index that answers, and of the records in memory.
    pub(crate) fn text_stats(&self) -> Option<TextStats> {
        let mut stats = self.indexes.text().current()?.stats();
        stats.documents += self.memory.texts() as u64;
        Some(stats)
    }

    /// Searches the records that are in memory alone.
    fn search_held(
        &self,
        request: &TextSearch,
        selection: &Selection<'_>,
    ) -> Result<(Vec<TextMatch>, usize), ReadError> {
        let broken = OnceCell::new();
        let found = self.memory.search_text(request, &|held| {
            selection.matches_held(held).unwrap_or_else(|error| {
                let _ = broken.set(error);
                false
            })
        });
        let (hits, scanned) = found.map_err(failure)?;
        if let Some(error) = broken.into_inner() {
            return Err(error);
        }
        let hits = hits.into_iter().map(|hit| TextMatch { id: hit.id, score: hit.score });
        Ok((hits.collect(), scanned))
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

/// Merges what was found in memory into the hits of the index. A record that is among both has
/// moved to the index meanwhile and counts there.
fn merge(hits: &mut Vec<TextMatch>, held: Vec<TextMatch>, k: usize) {
    if held.is_empty() {
        return;
    }
    let known: HashSet<String> = hits.iter().map(|hit| hit.id.clone()).collect();
    hits.extend(held.into_iter().filter(|hit| !known.contains(&hit.id)));
    // Stable: of equal scores those that are logged come first, as they do where all are logged.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(k);
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
