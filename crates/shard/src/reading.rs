//! Reads: local state only, on the caller's thread.

use std::cell::OnceCell;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use fjall::Slice;
use hvs_geometry::Precision;
use hvs_index::{KnownKeys, SearchError, VectorIndex};

use crate::codec::DecodeError;
use crate::compression::RecordRow;
use crate::content::is_expired;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::inner::Inner;
use crate::memory::{Held, MemorySearchError, SearchedMemory, Wanted, merge};
use crate::read::{ScrollPage, ScrollRequest, SearchAnswer, SearchHit, SearchRequest};
use crate::record::Record;
use crate::selection::Selection;
use crate::stored::StoredRecord;

/// Records that one page of a filtered scroll looks at before it is returned as it is.
const LOOKED_AT_PER_PAGE: usize = 100_000;
/// Records between two looks at the clock.
const CLOCK_EVERY: usize = 256;
/// Searches that are repeated because a record changed between index and store.
const SEARCH_ATTEMPTS: usize = 3;

impl Inner {
    pub(crate) fn get(&self, id: &str) -> Result<Option<Record>, ReadError> {
        if let Some(held) = self.memory.get(id) {
            return self.record(id, &held.row).map(Some);
        }
        let stored = self.store.records.get(id).map_err(storage("a record"))?;
        let record = stored.map(|bytes| self.record(id, &bytes)).transpose()?;
        Ok(record.filter(|record| self.is_there(record)))
    }

    fn is_there(&self, record: &Record) -> bool {
        record.expires_at.is_none() || !is_expired(record.expires_at, self.now_millis())
    }

    pub(crate) fn get_many<I: AsRef<str>>(
        &self,
        ids: &[I],
    ) -> Result<Vec<Option<Record>>, ReadError> {
        // Before the snapshot, so that none is missed that moves between them.
        let held: Vec<_> = ids.iter().map(|id| self.memory.get(id.as_ref())).collect();
        let now = self.now_millis();
        let snapshot = self.store.snapshot();
        let get = |id: &str, held: Option<Arc<Held>>| {
            if let Some(held) = held {
                return self.record(id, &held.row).map(Some);
            }
            let stored = self.store.records.get_at(&snapshot, id).map_err(storage("a record"))?;
            let record = stored.map(|bytes| self.record(id, &bytes)).transpose()?;
            Ok(record.filter(|record| !is_expired(record.expires_at, now)))
        };
        ids.iter().zip(held).map(|(id, held)| get(id.as_ref(), held)).collect()
    }

    pub(crate) fn scroll(&self, request: &ScrollRequest) -> Result<ScrollPage, ReadError> {
        let max = self.config.max_page;
        if request.limit == 0 || request.limit > max {
            return Err(ReadError::InvalidLimit { limit: request.limit, max });
        }
        // Before the snapshot: the page shows at least this entry.
        let seq = self.progress.applied.load(Ordering::Acquire);
        // Before the snapshot as well: what is put later has a key of which nothing is known.
        let selection = self.selection(request.filter.as_ref())?;
        let held = self.memory.page(request.after.as_deref(), request.limit + 1, |held| {
            selection.matches_held(held)
        })?;
        let mut held = held.into_iter().peekable();
        let snapshot = self.store.snapshot();
        let after = request.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = ScrollPage { records: Vec::new(), next: None, seq };
        let mut bytes = 0;
        let mut last: Option<Slice> = None;
        let rows = self.store.records.range_at::<&str, _>(&snapshot, (after, Bound::Unbounded));
        let mut rows = rows.peekable();
        for looked_at in 0.. {
            let Some(row) = next_row(&mut rows, &mut held) else { break };
            let full = page.records.len() >= request.limit
                || bytes >= request.max_bytes && !page.records.is_empty()
                || looked_at >= LOOKED_AT_PER_PAGE
                || looked_at > 0 && is_over(request.deadline, looked_at);
            if full {
                page.next = last.map(|id| text(&id));
                break;
            }
            match row {
                Row::Stored(row) => {
                    let (id, value) = row.map_err(storage("a page of records"))?;
                    if selection.matches(&id, &value)? {
                        page.records.push(self.record(&text(&id), &value)?);
                        bytes += value.len();
                    }
                    last = Some(id);
                }
                Row::Held(held) => {
                    page.records.push(self.record(&held.id, &held.row)?);
                    bytes += held.row.len();
                    last = Some(held.id.as_bytes().into());
                }
            }
        }
        Ok(page)
    }

    pub(crate) fn count(
        &self,
        filter: Option<&Filter>,
        deadline: Option<Instant>,
    ) -> Result<u64, ReadError> {
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            return self.records();
        };
        self.memory.settled(|| {
            let held = self.memory.all();
            let held = held.iter().filter_map(|held| match filter.matches_held(held) {
                Ok(matches) => matches.then_some(Ok(1)),
                Err(damage) => Some(Err(corrupt(&held.id, &damage))),
            });
            let held = held.sum::<Result<u64, _>>()?;
            Ok(held + self.count_logged(filter, deadline)?)
        })
    }

    fn count_logged(&self, filter: &Filter, deadline: Option<Instant>) -> Result<u64, ReadError> {
        let selection = self.selection(Some(filter))?;
        if let Some(known) = &selection.known
            && known.matching.maybe.is_empty()
        {
            return Ok(known.matching.sure.len());
        }
        self.check_scan(&selection)?;
        let snapshot = self.store.snapshot();
        let mut count = 0;
        for (looked_at, row) in self.store.records.iter_at(&snapshot).enumerate() {
            if is_over(deadline, looked_at) {
                return Err(ReadError::DeadlineExceeded { scanned: looked_at });
            }
            let (id, value) = row.map_err(storage("records to count"))?;
            count += u64::from(selection.matches(&id, &value)?);
        }
        Ok(count)
    }

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
        let mut answer = self.search_once(&index, request)?;
        for _ in 1..SEARCH_ATTEMPTS {
            if answer.is_complete {
                break;
            }
            answer = self.search_once(&index, request)?;
        }
        Ok(answer.answer)
    }

    fn search_once(
        &self,
        index: &VectorIndex,
        request: &SearchRequest,
    ) -> Result<Attempt, ReadError> {
        let seq = self.progress.applied.load(Ordering::Acquire);
        let selection = self.selection(request.filter.as_ref())?;
        self.check_scan(&selection)?;
        if request.exact {
            self.check_scan_of(selection.at_most().unwrap_or_else(|| self.stored()))?;
        }
        // Before the index, so that none is missed that moves between them.
        let in_memory = self.search_memory(request, &selection)?;
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
                k: request.k.unwrap_or(0),
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
        let mut is_complete = true;
        for hit in found.hits {
            // Put again since the filter was asked, under a key that it did not know.
            if selection.leaves_out(&hit.id) {
                is_complete = false;
                continue;
            }
            let record = if request.with_records {
                let Some((record, bytes)) = self.record_with_key(&hit.id, hit.key)? else {
                    // Put again or deleted since the index was asked.
                    is_complete = false;
                    continue;
                };
                answer.record_bytes = answer.record_bytes.saturating_add(bytes);
                if answer.record_bytes > request.max_bytes {
                    return Err(ReadError::AnswerTooLarge { limit: request.max_bytes });
                }
                Some(record)
            } else {
                None
            };
            answer.hits.push(SearchHit { id: hit.id, distance: hit.distance, record });
        }
        self.add_memory(&mut answer, in_memory, request)?;
        Ok(Attempt { answer, is_complete })
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

    /// The record of an id if it is still the one with this key, and its stored size.
    fn record_with_key(&self, id: &str, key: u64) -> Result<Option<(Record, usize)>, ReadError> {
        let Some(bytes) = self.store.records.get(id).map_err(storage("a record"))? else {
            return Ok(None);
        };
        let stored = StoredRecord::decode(&bytes).map_err(|damage| corrupt(id, &damage))?;
        if stored.header.key != key {
            return Ok(None);
        }
        let record = stored.into_record(id, &self.config.vectors);
        record.map(|record| Some((record, bytes.len()))).map_err(|damage| corrupt(id, &damage))
    }

    pub(crate) fn record(&self, id: &str, stored: &[u8]) -> Result<Record, ReadError> {
        StoredRecord::decode(stored)
            .and_then(|stored| stored.into_record(id, &self.config.vectors))
            .map_err(|damage| corrupt(id, &damage))
    }
}

/// One record of a page, from either place.
pub(crate) enum Row {
    Stored(fjall::Result<(Slice, RecordRow)>),
    Held(Arc<Held>),
}

/// The smaller of two heads by id. Of the same id in both, that in memory has just moved.
pub(crate) fn next_row(
    rows: &mut Peekable<impl Iterator<Item = fjall::Result<(Slice, RecordRow)>>>,
    held: &mut Peekable<impl Iterator<Item = Arc<Held>>>,
) -> Option<Row> {
    if let (Some(Ok((id, _))), Some(next)) = (rows.peek(), held.peek()) {
        match (**id).cmp(next.id.as_bytes()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => drop(held.next()),
            std::cmp::Ordering::Greater => return held.next().map(Row::Held),
        }
    }
    rows.next().map(Row::Stored).or_else(|| held.next().map(Row::Held))
}

struct Attempt {
    answer: SearchAnswer,
    /// Every hit still had its record.
    is_complete: bool,
}

pub(crate) fn is_over(deadline: Option<Instant>, looked_at: usize) -> bool {
    looked_at.is_multiple_of(CLOCK_EVERY)
        && deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

pub(crate) fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}

pub(crate) fn storage(what: &'static str) -> impl Fn(fjall::Error) -> ReadError {
    move |source| ReadError::Storage { what, source }
}

pub(crate) fn corrupt(id: &str, damage: &DecodeError) -> ReadError {
    ReadError::Corrupt { id: id.to_owned(), reason: damage.to_string() }
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
