//! Asking one shard for the nearest records, or taking what it answered before.

use std::{sync::Arc, time::Instant};

use hvs_api::ShardExplain;
use hvs_shard::{Filter, SearchAnswer, SearchHit, Shard};

use super::failure::Failure;
use crate::cache::{Query, QueryCache};

/// What one shard answered, and how long it took.
#[derive(Clone)]
pub(super) struct Answered {
    pub(super) shard: usize,
    pub(super) answer: SearchAnswer,
    pub(super) index_us: f64,
    /// Whether it was found for an earlier request.
    pub(super) is_recalled: bool,
}

impl Answered {
    pub(super) fn explain(&self, shard: &Shard, filter: Option<&Filter>) -> ShardExplain {
        let (indexed, unindexed) = properties(shard, filter);
        ShardExplain {
            shard: self.shard as u64,
            strategy: self.answer.strategy.as_str().to_owned(),
            scanned: self.answer.scanned as u64,
            exact: self.answer.exact,
            matching: self.answer.matching,
            indexed,
            unindexed,
            cached: self.is_recalled,
            index_us: self.index_us,
        }
    }
}

/// The fields of a filter that the index of metadata of a shard knows, and the others.
pub(super) fn properties(shard: &Shard, filter: Option<&Filter>) -> (Vec<String>, Vec<String>) {
    let properties = filter.map(|filter| shard.filter_properties(filter)).unwrap_or_default();
    let of = |wanted: bool| {
        let these = properties.iter().filter(|(_, is_indexed)| **is_indexed == wanted);
        these.map(|(name, _)| name.clone()).collect()
    };
    (of(true), of(false))
}

/// Equal distances in the order of the ids.
pub(super) fn nearest_first(left: &SearchHit, right: &SearchHit) -> std::cmp::Ordering {
    left.distance.total_cmp(&right.distance).then_with(|| left.id.cmp(&right.id))
}

/// Searches one shard.
pub(super) fn ask(
    number: usize,
    shard: &Shard,
    request: &hvs_shard::SearchRequest,
) -> Result<Answered, Failure> {
    let started = Instant::now();
    let answer = shard.search(request)?;
    let index_us = microseconds_since(started);
    Ok(Answered { shard: number, answer, index_us, is_recalled: false })
}

/// The same, and keeps the answer for those who ask again.
pub(super) fn ask_and_keep(
    number: usize,
    shard: &Shard,
    request: &hvs_shard::SearchRequest,
    kept: Option<&(Query, Arc<QueryCache>)>,
) -> Result<Answered, Failure> {
    let Some((query, cache)) = kept else { return ask(number, shard, request) };
    let before = shard.search_state();
    let answered = ask(number, shard, request)?;
    cache.keep(query, number, shard, before, &answered.answer);
    Ok(answered)
}

/// As answers tell durations.
pub(super) fn microseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}
