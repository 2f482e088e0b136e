//! Searching by a vector: what the index and the memory find, with its records.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hvs_geometry::Precision;
use hvs_index::{KnownKeys, Measure, SearchError, VectorIndex};

use crate::codec::DecodeError;
use crate::error::ReadError;
use crate::inner::Inner;
use crate::memory::{MemorySearchError, SearchedMemory, Wanted, merge};
use crate::read::{SearchAnswer, SearchHit, SearchRequest};
use crate::reading::{corrupt, storage};
use crate::record::Record;
use crate::selection::Selection;
use crate::stored::StoredRecord;

/// Searches that are repeated because a record changed between index and store, before hits are
/// taken as they are by then.
const UNDISTURBED_ATTEMPTS: usize = 3;
/// Searches at most. Each asks for more than the one before, so that this is never reached unless
/// what is found is deleted as fast as it is found.
const SEARCH_ATTEMPTS: usize = 12;

impl Inner {
    pub(crate) fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, ReadError> {
        let name = &request.vector;
        let (Some(index), Some(config)) = (self.indexes.get(name), self.config.vectors.get(name))
        else {
            let known = self.config.vector_names();
            return Err(ReadError::UnknownVector { name: name.clone(), known });
        };
        let limit = self.config.max_k;
        match (request.k, request.radius) {
            (None, None) => return Err(ReadError::InvalidK { k: 0, limit }),
            (Some(k), _) if k == 0 || k > limit => return Err(ReadError::InvalidK { k, limit }),
            _ => {}
        }
        // The query is not stored, so that only the precision of the arithmetic matters.
        config
            .space
            .validate(&request.query, Precision::F64)
            .map_err(|source| ReadError::InvalidQuery { source })?;
        let mut more = 0;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let changed =
                if attempt < UNDISTURBED_ATTEMPTS { Changed::Repeat } else { Changed::Take };
            let mut found = self.search_once(&index, request, more, changed)?;
            if found.is_complete {
                return Ok(found.answer);
            }
            if attempt == SEARCH_ATTEMPTS {
                found.answer.exact = false;
                return Ok(found.answer);
            }
            more = (more + found.gone) * 2;
        }
    }

    /// `more` is how many hits to ask the index for beyond k, because some may have to be dropped.
    fn search_once(
        &self,
        index: &VectorIndex,
        request: &SearchRequest,
        more: usize,
        changed: Changed,
    ) -> Result<Attempt, ReadError> {
        let seq = self.progress.applied.load(Ordering::Acquire);
        let selection = self.selection(request.filter.as_ref())?;
        self.check_scan(&selection)?;
        if request.exact {
            self.check_scan_of(selection.at_most().unwrap_or_else(|| self.stored()))?;
        }
        // Before the index, so that none is missed that moves between them.
        let in_memory = self.search_memory(request, &selection)?;
        let most = self.config.vectors.get(&request.vector).map_or(0, |config| config.max_hits);
        let failure = OnceCell::new();
        let accept = |id: &str| match self.accepts(&selection, id) {
            Ok(accepted) => accepted,
            Err(error) => {
                let _ = failure.set(error);
                false
            }
        };
        let accept: Option<&dyn Fn(&str) -> bool> =
            if selection.is_everything() { None } else { Some(&accept) };
        let found = index
            .search(&hvs_index::SearchRequest {
                query: &request.query,
                k: request.k.map_or(0, |k| k.saturating_add(more).min(most.max(k))),
                radius: request.radius,
                ef: request.ef,
                nprobe: request.nprobe,
                exact: request.exact,
                accept,
                known: selection.known.as_ref().map(|known| KnownKeys {
                    sure: &known.matching.sure,
                    maybe: &known.matching.maybe,
                    below: known.below,
                }),
                filtering: hvs_index::Filtering::Cheapest,
                deadline: request.deadline,
                with_vectors: false,
            })
            .map_err(|error| search_error(&request.vector, error))?;
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let mut answer = SearchAnswer {
            hits: Vec::with_capacity(found.hits.len()),
            exact: found.exact,
            scanned: found.scanned,
            strategy: found.strategy,
            truncated: found.truncated,
            matching: selection.at_most(),
            record_bytes: 0,
            seq,
        };
        let offered = found.hits.len();
        let Filled { gone, missed } =
            self.fill(&mut answer, found.hits, request, &selection, changed)?;
        let is_short = request.k.is_some_and(|k| {
            let may_have_more = offered >= k.saturating_add(more).min(most);
            gone > 0 && answer.hits.len() < k && may_have_more
        });
        self.add_memory(&mut answer, in_memory, request)?;
        Ok(Attempt { answer, is_complete: missed == 0 && !is_short, gone })
    }

    /// Makes hits of what the index found, with their records if they are wanted.
    fn fill(
        &self,
        answer: &mut SearchAnswer,
        found: Vec<hvs_index::Hit>,
        request: &SearchRequest,
        selection: &Selection<'_>,
        changed: Changed,
    ) -> Result<Filled, ReadError> {
        let limit = request.k.unwrap_or(usize::MAX);
        let (mut gone, mut missed, mut has_moved) = (0, 0, false);
        for hit in found {
            // What was moved may be farther away than what follows.
            if answer.hits.len() >= limit && !has_moved {
                break;
            }
            // Put again since the filter was asked, under a key that it did not know.
            if selection.leaves_out(&hit.id) {
                gone += 1;
                continue;
            }
            if !request.with_records {
                answer.hits.push(SearchHit { id: hit.id, distance: hit.distance, record: None });
                continue;
            }
            let current = self.current(&request.vector, &hit.id, hit.key, selection)?;
            let (record, bytes, distance) = match current {
                Current::Same(record, bytes) => (record, bytes, Some(hit.distance)),
                Current::Changed(..) if changed == Changed::Repeat => {
                    missed += 1;
                    continue;
                }
                Current::Changed(record, bytes, vector) => {
                    has_moved = true;
                    (record, bytes, self.distance(request, vector.as_deref())?)
                }
                Current::Gone => {
                    gone += 1;
                    continue;
                }
            };
            let Some(distance) = distance else {
                gone += 1;
                continue;
            };
            answer.record_bytes = answer.record_bytes.saturating_add(bytes);
            if answer.record_bytes > request.max_bytes {
                return Err(ReadError::AnswerTooLarge { limit: request.max_bytes });
            }
            answer.hits.push(SearchHit { id: hit.id, distance, record: Some(record) });
        }
        if has_moved {
            // Others may have come nearer in the meantime.
            answer.exact = false;
            answer.hits.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            answer.hits.truncate(limit);
        }
        Ok(Filled { gone, missed })
    }

    /// How far away a vector is, in storage form, if it is near enough.
    fn distance(
        &self,
        request: &SearchRequest,
        stored: Option<&[f64]>,
    ) -> Result<Option<f64>, ReadError> {
        let config = self.config.vectors.get(&request.vector);
        let (Some(config), Some(stored)) = (config, stored) else { return Ok(None) };
        let measure = Measure::new(&config.space, config.precision, &request.query)
            .map_err(|error| search_error(&request.vector, error))?;
        let distance = measure.distance(stored);
        Ok(distance.filter(|distance| request.radius.is_none_or(|radius| *distance <= radius)))
    }

    fn search_memory(
        &self,
        request: &SearchRequest,
        selection: &Selection<'_>,
    ) -> Result<SearchedMemory, ReadError> {
        let Some(config) = self.config.vectors.get(&request.vector) else {
            return Ok(SearchedMemory::default());
        };
        let wanted = Wanted {
            vector: &request.vector,
            query: &request.query,
            limit: request.k.unwrap_or(config.max_hits),
            radius: request.radius,
            filter: selection.filter,
            deadline: request.deadline,
        };
        self.memory.search(config, &wanted).map_err(|error| match error {
            MemorySearchError::Index(error) => search_error(&request.vector, error),
            MemorySearchError::Corrupt(id, damage) => corrupt(&id, &damage),
            MemorySearchError::Deadline(scanned) => ReadError::DeadlineExceeded { scanned },
        })
    }

    /// Puts what was found in memory among the hits of the index.
    fn add_memory(
        &self,
        answer: &mut SearchAnswer,
        found: SearchedMemory,
        request: &SearchRequest,
    ) -> Result<(), ReadError> {
        let most = self.config.vectors.get(&request.vector).map_or(0, |config| config.max_hits);
        let limit = request.k.unwrap_or(most);
        answer.scanned = answer.scanned.saturating_add(found.scanned);
        answer.matching = answer.matching.map(|matching| matching + found.matching);
        answer.truncated |= found.truncated && request.k.is_none();
        let mut rows = Vec::new();
        let left_out = merge(
            &mut answer.hits,
            found.hits,
            limit,
            |hit| (&hit.id, hit.distance),
            |hit| {
                rows.push(Arc::clone(&hit.held));
                SearchHit { id: hit.held.id.clone(), distance: hit.distance, record: None }
            },
        );
        answer.truncated |= left_out > 0 && request.k.is_none();
        if !request.with_records || rows.is_empty() {
            return Ok(());
        }
        for hit in answer.hits.iter_mut().filter(|hit| hit.record.is_none()) {
            let Some(held) = rows.iter().find(|held| held.id == hit.id) else { continue };
            answer.record_bytes = answer.record_bytes.saturating_add(held.row.len());
            if answer.record_bytes > request.max_bytes {
                return Err(ReadError::AnswerTooLarge { limit: request.max_bytes });
            }
            hit.record = Some(self.record(&held.id, &held.row)?);
        }
        Ok(())
    }

    /// The record of an id that the index found under a key.
    fn current(
        &self,
        vector: &str,
        id: &str,
        key: u64,
        selection: &Selection<'_>,
    ) -> Result<Current, ReadError> {
        let damaged = |damage: DecodeError| corrupt(id, &damage);
        let Some(bytes) = self.store.records.get(id).map_err(storage("a record"))? else {
            return Ok(Current::Gone);
        };
        let stored = StoredRecord::decode(&bytes).map_err(damaged)?;
        let is_same = stored.header.key == key;
        if !is_same && !selection.matches_record(id.as_bytes(), &stored).map_err(damaged)? {
            return Ok(Current::Gone);
        }
        let moved = if is_same { None } else { stored.content.vector(vector).map_err(damaged)? };
        let record = stored.into_record(id, &self.config.vectors).map_err(damaged)?;
        Ok(if is_same {
            Current::Same(record, bytes.len())
        } else {
            Current::Changed(record, bytes.len(), moved)
        })
    }
}

struct Attempt {
    answer: SearchAnswer,
    /// Nothing is missing that another attempt could find.
    is_complete: bool,
    /// Hits whose place others could have taken.
    gone: usize,
}

/// How many hits of the index are none of the answer.
struct Filled {
    /// Deleted, or not looked for: others may take their place.
    gone: usize,
    /// Put again, so that they are somewhere else.
    missed: usize,
}

/// What to do with a hit whose record was put again since the index was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// Search again: that finds it where it is now, or what is nearer than that.
    Repeat,
    /// Take it as it is now.
    Take,
}

/// A record that the index found, with its stored size.
enum Current {
    /// It is the same.
    Same(Record, usize),
    /// It was put again, and still is what is looked for: with its vector in storage form.
    Changed(Record, usize, Option<Vec<f64>>),
    /// It was deleted, or is not what is looked for any more.
    Gone,
}

fn search_error(name: &str, error: SearchError) -> ReadError {
    match error {
        SearchError::TooMany { k, limit } => ReadError::InvalidK { k, limit },
        SearchError::Radius { radius } => ReadError::InvalidRadius { radius },
        SearchError::Ef { ef, limit } => ReadError::InvalidEf { ef, limit },
        SearchError::Nprobe { nprobe, limit } => ReadError::InvalidNprobe { nprobe, limit },
        SearchError::Deadline { scanned } => ReadError::DeadlineExceeded { scanned },
        error => ReadError::Index { name: name.to_owned(), reason: error.to_string() },
    }
}
