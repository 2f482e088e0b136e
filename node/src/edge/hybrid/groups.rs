//! Groups of hits by text, and by vector and text.
//!
//! By text alone they are found as by a vector alone: the order is asked for again, without what is
//! known. A fused order is one of its candidates, and another filter would make it another order: so
//! the groups are those of the candidates.

use std::collections::BTreeMap;

use hvs_api::SearchResponse;
use hvs_shard::{Detail, Filter, Record, TextSearch};

use super::{Fused, Hybrid, Place, by_text};
use crate::edge::{
    failure::Failure,
    groups::{Grouped, Grouping},
};

/// A hit and what is known of its record.
struct Ranked {
    fused: Fused<Place>,
    detail: Detail,
}

impl Grouped for Ranked {
    fn record(&self) -> Option<&Record> {
        self.detail.record.as_ref()
    }
}

impl Hybrid {
    /// By text alone. On this thread, one shard after the other.
    pub(super) fn run_grouped(&self, grouping: &Grouping) -> Result<SearchResponse, Failure> {
        let search = self.with_statistics()?;
        let asked = search.filter.clone().unwrap_or_default();
        let (found, exact) = grouping.gather(&asked, self.exhaustive, &|filter, k| {
            // By text nothing is ever missed.
            Ok((self.best(&search, filter, k)?, true))
        })?;
        grouping.respond(&self.room, found, exact, &|rank, ranked: Ranked| {
            self.hit(rank, ranked.fused, ranked.detail, &[])
        })
    }

    /// The best records by text that match a filter.
    fn best(&self, search: &TextSearch, filter: Filter, k: usize) -> Result<Vec<Ranked>, Failure> {
        let search = TextSearch { filter: Some(filter), k, ..search.clone() };
        let found: Result<Vec<_>, Failure> =
            self.shards().map(|(number, shard)| self.ask(number, shard, &search)).collect();
        let mut hits = by_text(&found?);
        hits.truncate(k);
        let fused = hits.into_iter().enumerate().map(|(position, (item, score))| Fused {
            item,
            score,
            positions: [None, Some(position)],
        });
        let fused: Vec<_> = fused.collect();
        let mut details = self.details(&fused)?;
        Ok(ranked(fused, &mut details))
    }

    /// Groups of what was fused, best first.
    pub(super) fn grouped(
        &self,
        grouping: &Grouping,
        fused: Vec<Fused<Place>>,
        details: &mut BTreeMap<Place, Detail>,
        scores: &[f64],
    ) -> Result<SearchResponse, Failure> {
        let (found, is_complete) = grouping.gather_from(ranked(fused, details));
        grouping.respond(&self.room, found, is_complete, &|rank, ranked| {
            self.hit(rank, ranked.fused, ranked.detail, scores)
        })
    }
}

fn ranked(fused: Vec<Fused<Place>>, details: &mut BTreeMap<Place, Detail>) -> Vec<Ranked> {
    let ranked = fused.into_iter().map(|fused| {
        let detail = details.remove(&fused.item).unwrap_or_default();
        Ranked { fused, detail }
    });
    ranked.collect()
}
