//! Reads: local state only, on the caller's thread.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use fjall::Slice;

use crate::codec::DecodeError;
use crate::compression::RecordRow;
use crate::content::is_expired;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::inner::Inner;
use crate::memory::Held;
use crate::read::{ScrollPage, ScrollRequest};
use crate::record::Record;
use crate::stored::StoredRecord;

/// Records that one page of a filtered scroll looks at before it is returned as it is.
const LOOKED_AT_PER_PAGE: usize = 100_000;
/// Records between two looks at the clock.
const CLOCK_EVERY: usize = 256;

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
