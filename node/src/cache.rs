//! Answers of searches, kept for those who ask the same again.
//!
//! # Invariants
//! - An answer is given out only in the state of its shard in which it was found: any write, and
//!   anything that expires, makes it useless. So nothing has to be removed when something changes.
//! - Two requests have one key only if every byte of them that decides the answer is the same.
//! - It takes at most its limit, as estimated, and what was asked longest ago goes first.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hvs_shard::{SearchAnswer, SearchRequest, SearchState, Shard};
use quick_cache::{Weighter, sync::Cache};
use uuid::Uuid;

use crate::{catalogue::Namespace, memory};

/// What an entry takes beside its key and its hits.
const ENTRY_BYTES: usize = 192;
/// What a hit takes beside its id.
const HIT_BYTES: usize = 96;
/// How much larger a record is in memory than stored: its metadata is a tree of maps.
const RECORD_FACTOR: usize = 4;
/// About what an answer takes, to plan for their number.
const USUAL_BYTES: usize = 1 << 10;

/// What is asked, except of which shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    namespace: Uuid,
    /// Of its settings, among them which of its indexes answer and how widely they are searched.
    revision: u64,
    bytes: Arc<[u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    query: Query,
    shard: usize,
}

struct Kept {
    state: SearchState,
    answer: SearchAnswer,
    weight: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Kept>> for ByBytes {
    fn weight(&self, _: &Key, kept: &Arc<Kept>) -> u64 {
        kept.weight
    }
}

/// The answers that a node keeps.
pub struct QueryCache {
    kept: Cache<Key, Arc<Kept>, ByBytes>,
    limit: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Query {
    /// Of a request whose filter on the wire is this, that leaves out no records by their ids. The
    /// deadline decides nothing.
    pub(crate) fn new(
        namespace: &Namespace,
        request: &SearchRequest,
        filter: Option<&hvs_api::Filter>,
    ) -> Option<Self> {
        let SearchRequest {
            vector,
            query,
            k,
            radius,
            ef,
            nprobe,
            exact,
            filter: read,
            with_records,
            max_bytes,
            deadline: _,
        } = request;
        let mut bytes = Vec::with_capacity(64 + vector.len() + query.len() * 8);
        bytes.extend_from_slice(&[u8::from(*exact), u8::from(*with_records)]);
        for number in [*k, *ef, *nprobe, Some(*max_bytes)] {
            bytes.push(u8::from(number.is_some()));
            put_number(&mut bytes, number.unwrap_or_default());
        }
        bytes.push(u8::from(radius.is_some()));
        bytes.extend_from_slice(&radius.unwrap_or_default().to_le_bytes());
        put_text(&mut bytes, vector);
        put_number(&mut bytes, query.len());
        bytes.extend(query.iter().flat_map(|coordinate| coordinate.to_le_bytes()));
        bytes.push(u8::from(read.is_some()));
        if let Some(read) = read {
            bytes.push(u8::from(read.partition_key.is_some()));
            put_text(&mut bytes, read.partition_key.as_deref().unwrap_or_default());
            put_text(&mut bytes, &serde_json::to_string(&filter).ok()?);
        }
        let (namespace, revision) = (namespace.entry.uid, namespace.revision);
        Some(Self { namespace, revision, bytes: bytes.into() })
    }

    /// The same without some records.
    pub(crate) fn leaving_out(&self, ids: &[String]) -> Self {
        let mut bytes = self.bytes.to_vec();
        for id in ids {
            put_text(&mut bytes, id);
        }
        Self { bytes: bytes.into(), ..self.clone() }
    }
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&(number as u64).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

impl QueryCache {
    /// Empty. `limit` in bytes; none if that is 0.
    pub fn new(limit: u64) -> Option<Self> {
        if limit == 0 {
            return None;
        }
        let usual = usize::try_from(limit).unwrap_or(usize::MAX) / USUAL_BYTES;
        Some(Self {
            kept: Cache::with_weighter(usual.max(1), limit, ByBytes),
            limit,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// The answer of a shard if it was asked the same and nothing has changed since.
    pub(crate) fn recall(
        &self,
        query: &Query,
        number: usize,
        shard: &Shard,
    ) -> Option<SearchAnswer> {
        let found = shard.search_state().and_then(|now| {
            let key = Key { query: query.clone(), shard: number };
            self.kept.get(&key).filter(|kept| kept.state.holds_in(&now))
        });
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found.map(|kept| kept.answer.clone())
    }

    /// Keeps an answer that was looked for in a state, unless that has changed since.
    pub(crate) fn keep(
        &self,
        query: &Query,
        number: usize,
        shard: &Shard,
        before: Option<SearchState>,
        answer: &SearchAnswer,
    ) {
        let Some(state) = before else { return };
        if !shard.search_state().is_some_and(|now| state.holds_in(&now)) {
            return;
        }
        let key = Key { query: query.clone(), shard: number };
        let ids: usize = answer.hits.iter().map(|hit| hit.id.len() + HIT_BYTES).sum();
        let records = answer.record_bytes.saturating_mul(RECORD_FACTOR);
        let weight = ENTRY_BYTES + key.query.bytes.len() + ids.saturating_add(records);
        let kept = Kept { state, answer: answer.clone(), weight: weight as u64 };
        self.kept.insert(key, Arc::new(kept));
    }

    /// Answers given out since the start, each of one shard.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Times that there was none to give out.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Answers that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

impl memory::Cache for QueryCache {
    fn bytes(&self) -> u64 {
        self.kept.weight()
    }

    fn give_up(&self, bytes: u64) {
        let left = self.kept.weight().saturating_sub(bytes);
        self.kept.set_capacity(left.max(1));
    }

    fn recover(&self) {
        if self.kept.capacity() < self.limit {
            self.kept.set_capacity(self.limit);
        }
    }
}
