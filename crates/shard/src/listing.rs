//! Reads over many records beside search: which match, and which values they have.

use std::collections::HashSet;
use std::ops::Bound;
use std::time::Instant;

use fjall::Slice;
use hvs_filter::{Facet, Fields, Subject};

use crate::codec::DecodeError;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::inner::Inner;
use crate::reading::{Row, corrupt, is_over, next_row, storage, text};
use crate::record::{Etag, Metadata};
use crate::stored::StoredRecord;

/// Records that are looked at for one page of matching ones before it is returned as it is.
const LOOKED_AT_PER_PAGE: usize = 100_000;

/// A page of the records that match, in order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchingRequest {
    /// Which records.
    pub filter: Filter,
    /// Only ids above this one, compared as bytes: the cursor of the page before.
    pub after: Option<String>,
    /// Most records of the page.
    pub limit: usize,
    /// When to stop looking. The page then is returned as it is, with a cursor.
    pub deadline: Option<Instant>,
}

/// Records that match, without their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchingPage {
    /// In order of their ids.
    pub records: Vec<Matched>,
    /// `after` of the next page; none when this is the last one.
    pub next: Option<String>,
}

/// A record that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// Its id.
    pub id: String,
    /// Its version: a write under this condition changes what was seen, and nothing else.
    pub etag: Etag,
}

/// A count of records by the values of a property.
#[derive(Debug, Clone, PartialEq)]
pub struct FacetRequest {
    /// Of which property.
    pub subject: Subject,
    /// Which records.
    pub filter: Option<Filter>,
    /// Most values that are held.
    pub most: usize,
    /// When to give up.
    pub deadline: Option<Instant>,
}

impl Inner {
    pub(crate) fn matching(&self, request: &MatchingRequest) -> Result<MatchingPage, ReadError> {
        let selection = self.selection(Some(&request.filter))?;
        self.check_scan(&selection)?;
        // Before the snapshot, so that none is missed that moves between them.
        let held = self.memory.page(request.after.as_deref(), request.limit + 1, |held| {
            selection.matches_held(held)
        })?;
        let mut held = held.into_iter().peekable();
        let snapshot = self.store.snapshot();
        let after = request.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = MatchingPage { records: Vec::new(), next: None };
        let mut last: Option<Slice> = None;
        let rows = self.store.records.range_at::<&str, _>(&snapshot, (after, Bound::Unbounded));
        let mut rows = rows.peekable();
        for looked_at in 0.. {
            let Some(row) = next_row(&mut rows, &mut held) else { break };
            let full = page.records.len() >= request.limit
                || looked_at >= LOOKED_AT_PER_PAGE
                || looked_at > 0 && is_over(request.deadline, looked_at);
            if full {
                page.next = last.map(|id| text(&id));
                break;
            }
            let (id, value) = match row {
                Row::Stored(row) => row.map_err(storage("records that match"))?,
                Row::Held(held) => {
                    page.records.push(Matched { id: held.id.clone(), etag: held.header.etag });
                    last = Some(held.id.as_bytes().into());
                    continue;
                }
            };
            let damaged = |damage| corrupt(&text(&id), &damage);
            let stored = StoredRecord::decode(&value).map_err(damaged)?;
            if selection.matches_record(&id, &stored).map_err(damaged)? {
                page.records.push(Matched { id: text(&id), etag: stored.header.etag });
            }
            last = Some(id);
        }
        Ok(page)
    }

    pub(crate) fn facet(&self, request: &FacetRequest) -> Result<Facet, ReadError> {
        let filter = request.filter.clone().unwrap_or_default();
        if self.memory.is_empty()
            && let Some(facet) = self.known_facet(&filter, &request.subject, request.most)?
        {
            return Ok(facet);
        }
        self.check_scan_of(self.stored())?;
        let mut facet = Facet::new(request.most);
        self.for_each_selected(request.filter.as_ref(), request.deadline, |_, fields| {
            facet.add(fields, &request.subject);
        })?;
        Ok(facet)
    }

    /// Calls with the id and the properties of every record that is selected, in one state.
    pub(crate) fn for_each_selected(
        &self,
        filter: Option<&Filter>,
        deadline: Option<Instant>,
        mut visit: impl FnMut(&[u8], &Fields<'_>),
    ) -> Result<(), ReadError> {
        let selection = self.selection(filter)?;
        // Before the snapshot, so that none is missed that moves between them.
        let held = self.memory.all();
        let snapshot = self.store.snapshot();
        let mut moved = HashSet::new();
        let mut see = |id: &[u8], stored: &StoredRecord<'_>| -> Result<(), DecodeError> {
            let content = &stored.content;
            let metadata: Metadata = content.metadata()?;
            let (kind, region, partition_key) =
                (content.kind, content.region, content.partition_key);
            visit(id, &Fields { kind, region, partition_key, metadata: &metadata });
            Ok(())
        };
        for held in &held {
            moved.insert(held.id.as_bytes());
            if selection.matches_held(held)? {
                let stored = StoredRecord::decode(&held.row);
                let seen = stored.and_then(|stored| see(held.id.as_bytes(), &stored));
                seen.map_err(|damage| corrupt(&held.id, &damage))?;
            }
        }
        for (looked_at, row) in self.store.records.iter_at(&snapshot).enumerate() {
            if is_over(deadline, looked_at) {
                return Err(ReadError::DeadlineExceeded { scanned: looked_at });
            }
            let (id, value) = row.map_err(storage("records"))?;
            let damaged = |damage| corrupt(&text(&id), &damage);
            let stored = StoredRecord::decode(&value).map_err(damaged)?;
            let is_new = moved.is_empty() || !moved.contains(&*id);
            if is_new && selection.matches_record(&id, &stored).map_err(damaged)? {
                see(&id, &stored).map_err(damaged)?;
            }
        }
        Ok(())
    }
}
