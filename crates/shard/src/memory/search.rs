//! Searching what is in memory: every record is compared.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use hvs_index::{IndexConfig, Measure};

use super::{Held, Memory};
use crate::codec::DecodeError;
use crate::filter::Filter;
use crate::stored::StoredRecord;

/// Records between two looks at the clock.
const CLOCK_EVERY: usize = 256;

/// Why a search of the memory has no answer.
pub(crate) enum MemorySearchError {
    Index(hvs_index::SearchError),
    Corrupt(String, DecodeError),
    Deadline(usize),
}

/// A record in memory that is near enough.
pub(crate) struct MemoryHit {
    pub(crate) distance: f64,
    pub(crate) held: Arc<Held>,
}

/// What was found there.
#[derive(Default)]
pub(crate) struct SearchedMemory {
    /// Nearest first; equal distances in the order in which they were written.
    pub(crate) hits: Vec<MemoryHit>,
    /// Distances computed.
    pub(crate) scanned: usize,
    /// More lay within the radius than were kept.
    pub(crate) truncated: bool,
    /// Records that the filter lets through.
    pub(crate) matching: u64,
}

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) vector: &'a str,
    pub(crate) query: &'a [f64],
    pub(crate) limit: usize,
    pub(crate) radius: Option<f64>,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) deadline: Option<Instant>,
}

impl Memory {
    /// Compares every record with the query.
    pub(crate) fn search(
        &self,
        config: &IndexConfig,
        wanted: &Wanted<'_>,
    ) -> Result<SearchedMemory, MemorySearchError> {
        let mut found = SearchedMemory::default();
        if self.is_empty() {
            return Ok(found);
        }
        let measure = Measure::new(&config.space, config.precision, wanted.query)
            .map_err(MemorySearchError::Index)?;
        for (looked_at, held) in self.all().into_iter().enumerate() {
            if looked_at.is_multiple_of(CLOCK_EVERY)
                && wanted.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            {
                return Err(MemorySearchError::Deadline(looked_at));
            }
            let damaged = |damage| MemorySearchError::Corrupt(held.id.clone(), damage);
            let stored = StoredRecord::decode(&held.row).map_err(damaged)?;
            if let Some(filter) = wanted.filter {
                if !filter.matches(held.id.as_bytes(), &stored).map_err(damaged)? {
                    continue;
                }
                found.matching += 1;
            }
            let vector = stored.content.vector(wanted.vector).map_err(damaged)?;
            let Some(vector) = vector else { continue };
            found.scanned += 1;
            let distance = measure.distance(&vector);
            let near = distance.filter(|d| wanted.radius.is_none_or(|radius| *d <= radius));
            if let Some(distance) = near {
                found.hits.push(MemoryHit { distance, held });
            }
        }
        found.hits.sort_unstable_by(|a, b| {
            a.distance.total_cmp(&b.distance).then(a.held.header.etag.cmp(&b.held.header.etag))
        });
        found.truncated = found.hits.len() > wanted.limit;
        found.hits.truncate(wanted.limit);
        Ok(found)
    }
}

/// Merges what was found in memory into hits of the index, each an id with its distance, nearest
/// first. A record that is among both has moved to the index meanwhile and counts there. Returns
/// how many were left out beyond `limit`.
pub(crate) fn merge<T>(
    hits: &mut Vec<T>,
    in_memory: Vec<MemoryHit>,
    limit: usize,
    of: impl Fn(&T) -> (&str, f64),
    make: impl FnMut(MemoryHit) -> T,
) -> usize {
    if in_memory.is_empty() {
        return 0;
    }
    let known: HashSet<String> = hits.iter().map(|hit| of(hit).0.to_owned()).collect();
    let new = in_memory.into_iter().filter(|hit| !known.contains(&hit.held.id)).map(make);
    hits.extend(new.collect::<Vec<_>>());
    // Stable: at equal distances what is logged comes first.
    hits.sort_by(|a, b| of(a).1.total_cmp(&of(b).1));
    let left_out = hits.len().saturating_sub(limit);
    hits.truncate(limit);
    left_out
}
