//! Pages of records in the order of a property.
//!
//! Where the index of metadata knows the values of the property, a page is read from it: value by
//! value, from where the page before ended. Of each value the records are looked up by their keys,
//! or, if many have it, gone through in the order of their ids; whichever reads fewer. Where the
//! index does not know, or would make more work than it saves, every record is looked at.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use fjall::Snapshot;
use hvs_filter::{Fields, OrderRequest, Scalar, Subject};
use roaring::RoaringTreemap;

use crate::codec::DecodeError;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::inner::Inner;
use crate::memory::Held;
use crate::payload::Known;
use crate::reading::{corrupt, is_over, storage, text};
use crate::record::Record;
use crate::stored::{Header, StoredRecord};

/// Times that a page is read from the index because a record changed between it and the store.
const ATTEMPTS: usize = 3;
/// So few records are looked up rather than found by their values, if so many may be.
const FEW: u64 = 1_000;
/// Values that are looked at while the index is held.
const VALUES_AT_ONCE: usize = 1 << 14;

/// A page of records in the order of a property. Those that have no scalar value for it are left
/// out. Of several values the smallest counts, or the largest if the order is descending.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedRequest {
    /// By which property.
    pub subject: Subject,
    /// From the largest value to the smallest.
    pub descending: bool,
    /// Value and id of the last record of the page before, and whether that one itself may be
    /// part of this page.
    pub after: Option<(Scalar, String, bool)>,
    /// Most records of the page.
    pub limit: usize,
    /// Which records.
    pub filter: Option<Filter>,
    /// When to give up.
    pub deadline: Option<Instant>,
}

/// A page of records in the order of a property.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedPage {
    /// In order; equal values in that of the ids.
    pub records: Vec<OrderedRecord>,
    /// Records that were looked at for it.
    pub looked_at: u64,
    /// Whether the index of metadata was enough, so that not every record was looked at.
    pub by_index: bool,
}

/// A record with the value that it is ordered by.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedRecord {
    /// The value.
    pub value: Scalar,
    /// The record.
    pub record: Record,
}

impl OrderedRequest {
    fn compare(&self, left: (&Scalar, &str), right: (&Scalar, &str)) -> Ordering {
        let values = left.0.cmp(right.0);
        let values = if self.descending { values.reverse() } else { values };
        values.then_with(|| left.1.cmp(right.1))
    }

    /// Whether a record belongs to this page or a later one.
    fn is_after(&self, value: &Scalar, id: &str) -> bool {
        let Some((last, last_id, same)) = &self.after else { return true };
        match self.compare((value, id), (last, last_id)) {
            Ordering::Greater => true,
            Ordering::Equal => *same,
            Ordering::Less => false,
        }
    }

    /// The value that a record is ordered by.
    fn value(&self, fields: &Fields<'_>) -> Option<Scalar> {
        let mut value: Option<Scalar> = None;
        let wins = if self.descending { Ordering::Greater } else { Ordering::Less };
        fields.scalars(&self.subject, &mut |scalar| {
            if value.as_ref().is_none_or(|before| scalar.cmp(before) == wins) {
                value = Some(scalar);
            }
        });
        value
    }
}

/// The records of a page as they are found.
struct Page<'a> {
    request: &'a OrderedRequest,
    found: Vec<(Scalar, String)>,
    looked_at: u64,
}

impl<'a> Page<'a> {
    fn new(request: &'a OrderedRequest) -> Self {
        Self { request, found: Vec::new(), looked_at: 0 }
    }

    fn push(&mut self, value: Scalar, id: String) {
        if self.request.is_after(&value, &id) {
            self.found.push((value, id));
        }
        // Sorting now and then costs less than a heap of texts.
        if self.found.len() >= self.request.limit.saturating_mul(4).max(1_024) {
            self.settle();
        }
    }

    /// Keeps the first ones.
    fn settle(&mut self) {
        let request = self.request;
        self.found.sort_unstable_by(|left, right| {
            request.compare((&left.0, &left.1), (&right.0, &right.1))
        });
        self.found.truncate(request.limit);
    }

    fn look(&mut self) -> Result<(), ReadError> {
        let looked_at = usize::try_from(self.looked_at).unwrap_or(usize::MAX);
        if is_over(self.request.deadline, looked_at) {
            return Err(ReadError::DeadlineExceeded { scanned: looked_at });
        }
        self.looked_at += 1;
        Ok(())
    }
}

/// What came of reading a page from the index.
enum FromIndex<'a> {
    Page(Page<'a>),
    /// A record has changed since the index was asked.
    Stale,
    /// It does not know, or it would take longer than looking at every record.
    Unknown,
}

/// What the index says about a page.
struct Asked {
    known: Known,
    /// Records that may match.
    selected: RoaringTreemap,
    /// Those among them whose values are not all known.
    unordered: Option<RoaringTreemap>,
}

/// What a page is read from.
struct Sources<'a> {
    inner: &'a Inner,
    filter: &'a Filter,
    asked: Asked,
    held: &'a HashSet<&'a str>,
    snapshot: Snapshot,
    /// So few records are looked up rather than found by their values.
    few: u64,
    /// More records than this are not looked at.
    most: u64,
}

/// What is known of a record after it was looked at.
enum Seen {
    /// It belongs to the page, if it lies there.
    Value(Scalar),
    /// It does not match, has no value, or is in memory.
    Nothing,
    /// It has changed since the index was asked.
    Stale,
}

impl Inner {
    pub(crate) fn scroll_ordered(
        &self,
        request: &OrderedRequest,
    ) -> Result<OrderedPage, ReadError> {
        let max = self.config.max_page;
        if request.limit == 0 || request.limit > max {
            return Err(ReadError::InvalidLimit { limit: request.limit, max });
        }
        let mut from_index = None;
        for _ in 0..ATTEMPTS {
            match self.page_from_index(request)? {
                FromIndex::Page(page) => from_index = Some(page),
                FromIndex::Stale => continue,
                FromIndex::Unknown => {}
            }
            break;
        }
        let by_index = from_index.is_some();
        let mut page = match from_index {
            Some(page) => page,
            None => self.page_from_records(request)?,
        };
        page.settle();
        let ids: Vec<&str> = page.found.iter().map(|(_, id)| id.as_str()).collect();
        // A record that was changed or deleted meanwhile is shown as it is now, or not at all.
        let records = self.get_many(&ids)?;
        let found = page.found.into_iter().zip(records);
        let records =
            found.filter_map(|((value, _), record)| Some(OrderedRecord { value, record: record? }));
        Ok(OrderedPage { records: records.collect(), looked_at: page.looked_at, by_index })
    }

    fn page_from_records<'a>(&self, request: &'a OrderedRequest) -> Result<Page<'a>, ReadError> {
        self.check_scan_of(self.stored())?;
        let mut page = Page::new(request);
        self.for_each_selected(request.filter.as_ref(), request.deadline, |id, fields| {
            page.looked_at += 1;
            if let Some(value) = request.value(fields) {
                page.push(value, text(id));
            }
        })?;
        Ok(page)
    }

    fn page_from_index<'a>(&self, request: &'a OrderedRequest) -> Result<FromIndex<'a>, ReadError> {
        let everything = Filter::default();
        let filter = request.filter.as_ref().unwrap_or(&everything);
        // Before the index, so that none is missed that moves between them.
        let held = self.memory.all();
        let now_millis = self.now_millis();
        let asked = self.ask_payload(filter, |index, mut known| {
            self.leave_out(&mut known, filter, now_millis)?;
            let selected = &known.matching.sure | &known.matching.maybe;
            let unordered = index.unordered(&request.subject);
            Ok::<_, ReadError>(Asked {
                unordered: unordered.map(|keys| keys & &selected),
                selected,
                known,
            })
        })?;
        let Some(asked) = asked.transpose()? else { return Ok(FromIndex::Unknown) };
        let mut page = Page::new(request);
        see_held(&held, filter, &mut page)?;
        let sources = Sources {
            inner: self,
            filter,
            asked,
            held: &held.iter().map(|held| held.id.as_str()).collect(),
            // After the index: it shows what the index knows of, or what came later.
            snapshot: self.store.snapshot(),
            few: match self.config.max_scanned {
                0 => FEW,
                most => FEW.min(most),
            },
            most: self.stored() / 4 + request.limit as u64 + FEW,
        };
        sources.fill(page)
    }
}

/// Records that are in memory alone.
fn see_held(held: &[Arc<Held>], filter: &Filter, page: &mut Page<'_>) -> Result<(), ReadError> {
    for held in held {
        page.look()?;
        let id = held.id.as_str();
        let stored = StoredRecord::decode(&held.row);
        let value = stored.and_then(|stored| {
            let matches = filter.matches(id.as_bytes(), &stored)?;
            if matches { value_of(page.request, &stored) } else { Ok(None) }
        });
        if let Some(value) = value.map_err(|damage| corrupt(id, &damage))? {
            page.push(value, id.to_owned());
        }
    }
    Ok(())
}

fn value_of(
    request: &OrderedRequest,
    stored: &StoredRecord<'_>,
) -> Result<Option<Scalar>, DecodeError> {
    let content = &stored.content;
    let metadata = content.metadata()?;
    Ok(request.value(&Fields {
        kind: content.kind,
        region: content.region,
        partition_key: content.partition_key,
        metadata: &metadata,
    }))
}

impl Sources<'_> {
    fn fill<'a>(&self, mut page: Page<'a>) -> Result<FromIndex<'a>, ReadError> {
        let selected = &self.asked.selected;
        if selected.len() <= self.few {
            return match self.look_up(selected, None, &mut page)? {
                Some(_) => Ok(FromIndex::Page(page)),
                None => Ok(FromIndex::Stale),
            };
        }
        let Some(unordered) = &self.asked.unordered else { return Ok(FromIndex::Unknown) };
        if unordered.len() > self.few {
            return Ok(FromIndex::Unknown);
        }
        if self.look_up(unordered, None, &mut page)?.is_none() {
            return Ok(FromIndex::Stale);
        }
        let after = page.request.after.as_ref();
        let mut from =
            Some(after.map_or(Bound::Unbounded, |(value, ..)| Bound::Included(value.clone())));
        // What is found by its value comes in order, so that a page of it is enough.
        let mut in_order = 0;
        while let Some(begin) = from {
            let request = OrderRequest {
                subject: &page.request.subject,
                descending: page.request.descending,
                from: begin,
                keys: selected,
                records: page.request.limit as u64,
                values: VALUES_AT_ONCE,
            };
            let part = self.inner.indexes.payload().look(|index| index.order(&request));
            // Without any value in the index there is nothing more.
            let Some(part) = part.flatten() else { break };
            for (value, keys) in part.values {
                let wanted = page.request.limit.saturating_sub(in_order);
                if wanted == 0 {
                    return Ok(FromIndex::Page(page));
                }
                match self.with_value(&value, &keys, wanted, &mut page)? {
                    Some(found) => in_order += found,
                    None => return Ok(FromIndex::Stale),
                }
                if page.looked_at > self.most {
                    return Ok(FromIndex::Unknown);
                }
            }
            page.look()?;
            from = part.next;
        }
        Ok(FromIndex::Page(page))
    }

    /// Puts the first records of a value on the page, and says how many there are; none if
    /// something has changed.
    fn with_value(
        &self,
        value: &Scalar,
        keys: &RoaringTreemap,
        wanted: usize,
        page: &mut Page<'_>,
    ) -> Result<Option<usize>, ReadError> {
        // As many rows have to be gone through for each record as there are for each with the value.
        let rows = self.inner.stored().saturating_mul(wanted as u64) / keys.len().max(1);
        if keys.len() <= rows {
            return self.look_up(keys, Some(value), page);
        }
        let from = match &page.request.after {
            Some((last, id, _)) if last == value => Bound::Included(id.as_str()),
            _ => Bound::Unbounded,
        };
        let mut found = 0;
        let records = &self.inner.store.records;
        let rows = records.range_at::<&str, _>(&self.snapshot, (from, Bound::Unbounded));
        for row in rows {
            if found >= wanted || page.looked_at > self.most {
                break;
            }
            page.look()?;
            let (id, stored) = row.map_err(storage("records"))?;
            let header = Header::decode(&stored);
            let header = header.map_err(|damage| corrupt(&text(&id), &damage))?;
            // It was there before under another key, and perhaps in another place.
            if header.key >= self.asked.known.below && header.version > 1 {
                return Ok(None);
            }
            if !keys.contains(header.key) {
                continue;
            }
            let id = text(&id);
            if let Seen::Value(own) = self.see(&id, header.key, &stored, page.request)?
                && own == *value
                && page.request.is_after(&own, &id)
            {
                found += 1;
                page.push(own, id);
            }
        }
        Ok(Some(found))
    }

    /// Looks at the records of some keys, and says how many belong here: those of one value, if
    /// that is given. None if something has changed.
    fn look_up(
        &self,
        keys: &RoaringTreemap,
        value: Option<&Scalar>,
        page: &mut Page<'_>,
    ) -> Result<Option<usize>, ReadError> {
        let mut found = 0;
        for key in keys {
            page.look()?;
            let Some(id) = self.inner.indexes.id(key) else { return Ok(None) };
            let stored = self.inner.store.records.get_at(&self.snapshot, &id);
            let Some(stored) = stored.map_err(storage("a record"))? else { return Ok(None) };
            match self.see(&id, key, &stored, page.request)? {
                Seen::Stale => return Ok(None),
                Seen::Value(own) => {
                    if value.is_none_or(|value| own == *value) && page.request.is_after(&own, &id) {
                        found += 1;
                        page.push(own, id);
                    }
                }
                Seen::Nothing => {}
            }
        }
        Ok(Some(found))
    }

    fn see(
        &self,
        id: &str,
        key: u64,
        stored: &[u8],
        request: &OrderedRequest,
    ) -> Result<Seen, ReadError> {
        let damaged = |damage| corrupt(id, &damage);
        let stored = StoredRecord::decode(stored).map_err(damaged)?;
        if stored.header.key != key {
            return Ok(Seen::Stale);
        }
        // What is in memory as well has moved, and was seen there.
        if self.held.contains(id) {
            return Ok(Seen::Nothing);
        }
        let matches = match self.asked.known.of(key) {
            Some(known) => known,
            None => self.filter.matches(id.as_bytes(), &stored).map_err(damaged)?,
        };
        if !matches {
            return Ok(Seen::Nothing);
        }
        let value = value_of(request, &stored).map_err(damaged)?;
        Ok(value.map_or(Seen::Nothing, Seen::Value))
    }
}
