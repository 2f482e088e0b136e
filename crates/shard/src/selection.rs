//! Which records an answer is made of: those that match a filter and have not expired.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hvs_filter::{Facet, PayloadIndex, Subject};

use crate::codec::DecodeError;
use crate::content::is_expired;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::inner::Inner;
use crate::memory::Held;
use crate::payload::{Evaluated, Known};
use crate::reading::{corrupt, storage, text};
use crate::stored::StoredRecord;

/// Times that a filter is evaluated again because a record changed between store and index.
const STALE_ATTEMPTS: usize = 100;

/// A filter at one time, and which records match it as far as is known.
pub(crate) struct Selection<'a> {
    pub(crate) filter: Option<&'a Filter>,
    /// None where everything matches, and while the index of metadata is being built.
    pub(crate) known: Option<Known>,
    now_millis: u64,
    has_expired: bool,
}

impl Inner {
    /// A filter with what is known of it.
    pub(crate) fn selection<'a>(
        &self,
        filter: Option<&'a Filter>,
    ) -> Result<Selection<'a>, ReadError> {
        let filter = filter.filter(|filter| !filter.is_empty());
        let now_millis = self.now_millis();
        let has_expired = self.progress.clock.may_have_expired(now_millis)
            && !self.expired_keys(now_millis)?.is_empty();
        let mut selection = Selection { filter, known: None, now_millis, has_expired };
        if selection.is_everything() {
            return Ok(selection);
        }
        let everything = Filter::default();
        let condition = filter.unwrap_or(&everything);
        let known = self.ask_payload(condition, |_, known| known)?;
        if let Some(mut known) = known {
            self.leave_out(&mut known, condition, now_millis)?;
            selection.known = Some(known);
        }
        Ok(selection)
    }

    /// What the index of metadata says of a filter; none while it is being built.
    pub(crate) fn ask_payload<R>(
        &self,
        filter: &Filter,
        mut then: impl FnMut(&PayloadIndex, Known) -> R,
    ) -> Result<Option<R>, ReadError> {
        for _ in 0..STALE_ATTEMPTS {
            let key_of_id = match &filter.partition_key {
                Some(id) => self.key_without_partition(id)?,
                None => None,
            };
            match self.indexes.payload().evaluate_with(filter, key_of_id, &mut then) {
                Evaluated::Known(answer) => return Ok(Some(answer)),
                Evaluated::Building => break,
                Evaluated::Stale => std::thread::yield_now(),
            }
        }
        Ok(None)
    }

    /// Which properties a filter is about, each with whether they are indexed.
    pub(crate) fn filter_properties(&self, filter: &Filter) -> BTreeMap<String, bool> {
        let known = self.indexes.payload().look(|index| index.properties(&filter.condition));
        // While it is being built nothing is known.
        known.unwrap_or_else(|| {
            let mut properties = BTreeMap::new();
            filter.condition.properties(&mut |subject| {
                properties.insert(subject.to_string(), false);
            });
            properties
        })
    }

    /// The facet of those that match, if the index of metadata knows all of it.
    pub(crate) fn known_facet(
        &self,
        filter: &Filter,
        subject: &Subject,
        most: usize,
    ) -> Result<Option<Facet>, ReadError> {
        let now_millis = self.now_millis();
        let facet = self.ask_payload(filter, |index, mut known| {
            self.leave_out(&mut known, filter, now_millis)?;
            let is_known = known.matching.maybe.is_empty();
            let keys = is_known.then_some(&known.matching.sure);
            Ok(keys.and_then(|keys| index.facet(subject, keys, most)))
        })?;
        Ok(facet.transpose()?.flatten())
    }

    /// Takes away what the index of metadata does not know of. It is looked up after what is
    /// known, so that it holds for all of that.
    pub(crate) fn leave_out(
        &self,
        known: &mut Known,
        filter: &Filter,
        now_millis: u64,
    ) -> Result<(), ReadError> {
        let mut out = self.expired_keys(now_millis)?;
        for id in &filter.without {
            let Some(bytes) = self.store.records.get(id).map_err(storage("a record"))? else {
                continue;
            };
            let stored = StoredRecord::decode(&bytes).map_err(|damage| corrupt(id, &damage))?;
            out.insert(stored.header.key);
        }
        if !out.is_empty() {
            known.matching.sure -= &out;
            known.matching.maybe -= &out;
        }
        Ok(())
    }

    /// The key of a record that was given no partition key.
    fn key_without_partition(&self, id: &str) -> Result<Option<u64>, ReadError> {
        let Some(bytes) = self.store.records.get(id).map_err(storage("a record"))? else {
            return Ok(None);
        };
        let stored = StoredRecord::decode(&bytes).map_err(|damage| corrupt(id, &damage))?;
        Ok(stored.content.partition_key.is_none().then_some(stored.header.key))
    }

    /// Whether the record of an id is selected.
    pub(crate) fn accepts(&self, selection: &Selection<'_>, id: &str) -> Result<bool, ReadError> {
        let Some(bytes) = self.store.records.get(id).map_err(storage("a record"))? else {
            return Ok(false);
        };
        selection.matches(id.as_bytes(), &bytes)
    }

    /// Records as they are stored, expired ones among them.
    pub(crate) fn stored(&self) -> u64 {
        self.progress.records.load(Ordering::Relaxed)
    }

    /// Refuses a filter of which too many records would have to be looked at one by one.
    pub(crate) fn check_scan(&self, selection: &Selection<'_>) -> Result<(), ReadError> {
        match (selection.filter, &selection.known) {
            (None, _) => Ok(()),
            (Some(_), Some(known)) => self.check_scan_of(known.matching.maybe.len()),
            (Some(_), None) => self.check_scan_of(self.stored()),
        }
    }

    /// Refuses to look at too many records one by one.
    pub(crate) fn check_scan_of(&self, records: u64) -> Result<(), ReadError> {
        let limit = self.config.max_scanned;
        if limit > 0 && records > limit {
            return Err(ReadError::TooManyToScan { records, limit });
        }
        Ok(())
    }
}

impl Selection<'_> {
    /// Whether every record that is stored is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.filter.is_none() && !self.has_expired
    }

    /// At most so many records match the filter, if there is one and that is known.
    pub(crate) fn at_most(&self) -> Option<u64> {
        self.filter?;
        self.known.as_ref().map(|known| known.matching.at_most())
    }

    /// Whether a record is left out by its id.
    pub(crate) fn leaves_out(&self, id: &str) -> bool {
        self.filter.is_some_and(|filter| filter.leaves_out(id.as_bytes()))
    }

    /// Whether a record in memory is selected. Of what has no key nothing is known before it is
    /// looked at.
    pub(crate) fn matches_held(&self, held: &Held) -> Result<bool, ReadError> {
        let Some(filter) = self.filter else { return Ok(true) };
        filter.matches_held(held).map_err(|damage| corrupt(&held.id, &damage))
    }

    /// Whether a stored record is selected.
    pub(crate) fn matches(&self, id: &[u8], stored: &[u8]) -> Result<bool, ReadError> {
        let damaged = |damage: DecodeError| corrupt(&text(id), &damage);
        let stored = StoredRecord::decode(stored).map_err(damaged)?;
        self.matches_record(id, &stored).map_err(damaged)
    }

    /// The same, of one that is taken apart.
    pub(crate) fn matches_record(
        &self,
        id: &[u8],
        stored: &StoredRecord<'_>,
    ) -> Result<bool, DecodeError> {
        if is_expired(stored.content.expires_at, self.now_millis) {
            return Ok(false);
        }
        let Some(filter) = self.filter else { return Ok(true) };
        if let Some(known) = self.known.as_ref().and_then(|known| known.of(stored.header.key)) {
            return Ok(known);
        }
        filter.matches(id, stored)
    }
}
