//! How much memory the node holds for its data, held against what it may hold.
//!
//! What is counted is what grows with data and with what is asked: tails and rows of indexes, indexes
//! of metadata, records that are in memory alone, what waits to be written, and caches. Files that are
//! mapped are not: the system takes their pages back when it needs them.
//!
//! It is counted now and then. What arrives between two counts is reckoned from the size of requests,
//! so that the budget is not passed meanwhile.

mod available;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hvs_shard::ShardMemory;
use parking_lot::Mutex;

use crate::{
    config,
    scale::{Figure, Scale},
};

pub use available::available_bytes;

/// Of the memory that the node can have, when the budget is not given: this part in four. The rest
/// is for code, stacks, requests being worked on, and pages of mapped files.
const SHARE_IN_FOUR: u64 = 3;
/// How often the bytes of a request are held while it is new: in the queue or the buffers of the
/// store, and in the tail of an index.
const COPIES: u64 = 2;

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node holds {held} bytes of memory and may hold {budget} (memory.budget_bytes){}", needed(*.wanted))]
pub struct Exhausted {
    /// What is held.
    pub held: u64,
    /// What may be.
    pub budget: u64,
    /// What was to be added, if that is known.
    pub wanted: u64,
}

fn needed(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(", and {bytes} more are needed") }
}

/// A cache that can do with less.
pub trait Cache: Send + Sync {
    /// What it holds.
    fn bytes(&self) -> u64;
    /// Gives up so much, or all, and takes no more for now.
    fn give_up(&self, bytes: u64);
    /// May take as much as ever.
    fn recover(&self);
}

/// None at all.
impl Cache for () {
    fn bytes(&self) -> u64 {
        0
    }

    fn give_up(&self, _bytes: u64) {}

    fn recover(&self) {}
}

/// What is held, by what it is held for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Tails and rows of indexes of vectors.
    pub indexes: u64,
    /// Indexes of metadata.
    pub metadata: u64,
    /// Indexes of text.
    pub text: u64,
    /// Records that are in memory alone.
    pub unlogged: u64,
    /// Writes that wait for the log.
    pub queued: u64,
    /// What the stores of shards gather before it becomes a file.
    pub buffers: u64,
    /// Blocks that the stores of shards keep.
    pub blocks: u64,
    /// The store of the logs.
    pub logs: u64,
    /// Answers of searches.
    pub answers: u64,
}

impl Parts {
    /// Of shards, and of the store of their logs.
    pub fn of(shards: ShardMemory, logs: u64) -> Self {
        Self {
            indexes: shards.indexes,
            metadata: shards.metadata,
            text: shards.text,
            unlogged: shards.unlogged,
            queued: shards.queued,
            buffers: shards.buffers,
            blocks: shards.blocks,
            logs,
            answers: 0,
        }
    }

    /// Each with its name in metrics.
    pub fn named(&self) -> [(&'static str, u64); 9] {
        [
            ("indexes", self.indexes),
            ("metadata", self.metadata),
            ("text", self.text),
            ("unlogged", self.unlogged),
            ("queued", self.queued),
            ("buffers", self.buffers),
            ("blocks", self.blocks),
            ("logs", self.logs),
            ("answers", self.answers),
        ]
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, bytes)| bytes).fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// The budget of a node and what is spent of it.
pub struct Memory {
    budget: u64,
    scale: Arc<Scale>,
    cache: Arc<dyn Cache>,
    parts: Mutex<Parts>,
    held: AtomicU64,
    /// Reckoned since that was counted.
    arrived: AtomicU64,
    /// For namespaces that are being loaded.
    reserved: AtomicU64,
    loads: AtomicU64,
    unloads: AtomicU64,
    refused: AtomicU64,
}

/// Memory for a namespace that is being loaded, given back when dropped.
pub(crate) struct Reserved<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.memory.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What the node may hold as it is configured.
pub fn budget(settings: &config::Memory) -> u64 {
    match settings.budget_bytes {
        0 => available_bytes().map_or(u64::MAX, |bytes| bytes / 4 * SHARE_IN_FOUR),
        given => given,
    }
}

/// From what the node warns.
pub fn warn_at(budget: u64, percent: u64) -> u64 {
    let part = u128::from(budget) * u128::from(percent) / 100;
    // A budget of a few bytes is near its end at once.
    u64::try_from(part).unwrap_or(budget).max(1)
}

impl Memory {
    /// Nothing is held yet.
    pub fn new(budget: u64, scale: Arc<Scale>, cache: Arc<dyn Cache>) -> Self {
        Self {
            budget,
            scale,
            cache,
            parts: Mutex::default(),
            held: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            unloads: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// What may be held.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// What was held when it was counted last.
    pub fn parts(&self) -> Parts {
        *self.parts.lock()
    }

    /// Namespaces loaded again since the start.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Namespaces unloaded since the start.
    pub fn unloads(&self) -> u64 {
        self.unloads.load(Ordering::Relaxed)
    }

    /// Writes and loads refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn count_load(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_unload(&self) {
        self.unloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was counted in place of what was reckoned.
    pub(crate) fn see(&self, mut parts: Parts) {
        parts.answers = self.cache.bytes();
        *self.parts.lock() = parts;
        self.held.store(parts.total(), Ordering::Release);
        self.arrived.store(0, Ordering::Release);
        self.scale.see(Figure::Memory, parts.total());
    }

    /// What is held, as far as is known.
    fn used(&self) -> u64 {
        self.held.load(Ordering::Acquire).saturating_add(self.arrived.load(Ordering::Acquire))
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// By how much the budget is passed, with what is about to be loaded.
    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_add(self.reserved()).saturating_sub(self.budget)
    }

    /// Whether little of the budget is left.
    pub(crate) fn is_near(&self) -> bool {
        self.scale.is_near(Figure::Memory) || self.used() / 10 >= self.budget / 11
    }

    /// Has caches give up what is too much.
    pub(crate) fn shrink_caches(&self) {
        self.cache.give_up(self.excess());
    }

    /// Lets caches grow again.
    pub(crate) fn recover_caches(&self) {
        self.cache.recover();
    }

    /// Holds room for a namespace that is about to be loaded.
    pub(crate) fn reserve(&self, bytes: u64) -> Reserved<'_> {
        self.reserved.fetch_add(bytes, Ordering::AcqRel);
        Reserved { memory: self, bytes }
    }

    /// Whether a namespace may be loaded for which room was reserved.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub(crate) fn admit_load(&self, wanted: u64) -> Result<(), Exhausted> {
        if self.excess() == 0 {
            return Ok(());
        }
        self.refuse(wanted)
    }

    /// Whether so many bytes of new records may be stored.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing is reckoned then.
    pub fn admit_records(&self, bytes: usize) -> Result<(), Exhausted> {
        if self.used() >= self.budget {
            return self.refuse(0);
        }
        self.arrived.fetch_add((bytes as u64).saturating_mul(COPIES), Ordering::AcqRel);
        Ok(())
    }

    fn refuse(&self, wanted: u64) -> Result<(), Exhausted> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(Exhausted { held: self.used(), budget: self.budget, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held(AtomicU64);

    impl Cache for Held {
        fn bytes(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn give_up(&self, bytes: u64) {
            let left = self.bytes().saturating_sub(bytes);
            self.0.store(left, Ordering::Relaxed);
        }

        fn recover(&self) {}
    }

    fn memory(budget: u64, cached: u64) -> Memory {
        let scale = Scale::new(config::Scale::default()).with_memory(budget / 10 * 9, budget);
        Memory::new(budget, Arc::new(scale), Arc::new(Held(AtomicU64::new(cached))))
    }

    fn indexes(bytes: u64) -> Parts {
        Parts { indexes: bytes, ..Parts::default() }
    }

    #[test]
    fn records_are_refused_at_the_budget_and_not_before() {
        let memory = memory(1_000, 0);
        memory.see(indexes(999));
        assert_eq!(memory.admit_records(0), Ok(()));
        memory.see(indexes(1_000));
        let refused = memory.admit_records(0).unwrap_err();
        assert_eq!(refused, Exhausted { held: 1_000, budget: 1_000, wanted: 0 });
        assert_eq!(memory.refused(), 1);
        memory.see(indexes(10));
        assert_eq!(memory.admit_records(0), Ok(()));
    }

    #[test]
    fn what_arrives_between_two_counts_is_reckoned() {
        let memory = memory(1_000, 0);
        memory.see(indexes(600));
        assert_eq!(memory.admit_records(200), Ok(()));
        assert!(memory.admit_records(1).is_err(), "twice 200 have arrived");
        memory.see(indexes(800));
        assert_eq!(memory.admit_records(1), Ok(()));
    }

    #[test]
    fn what_is_loaded_at_once_has_to_fit_together() {
        let memory = memory(1_000, 0);
        memory.see(indexes(500));
        let first = memory.reserve(500);
        assert_eq!(memory.admit_load(500), Ok(()));
        let second = memory.reserve(1);
        assert_eq!(memory.excess(), 1);
        assert!(memory.admit_load(1).is_err());
        drop(first);
        assert_eq!(memory.admit_load(1), Ok(()));
        drop(second);
        assert_eq!(memory.reserved(), 0);
    }

    #[test]
    fn caches_give_up_what_is_too_much() {
        let memory = memory(1_000, 400);
        memory.see(indexes(900));
        assert_eq!(memory.excess(), 300);
        memory.shrink_caches();
        memory.see(indexes(900));
        assert_eq!((memory.excess(), memory.parts().answers), (0, 100));
    }

    #[test]
    fn warnings_begin_at_a_part_of_the_budget() {
        assert_eq!(warn_at(1_000, 90), 900);
        assert_eq!(warn_at(1, 90), 1);
        assert_eq!(warn_at(u64::MAX, 100), u64::MAX);
    }

    #[test]
    fn a_budget_that_is_not_given_is_a_part_of_what_there_is() {
        let given = config::Memory { budget_bytes: 5, ..config::Memory::default() };
        assert_eq!(budget(&given), 5);
        let unset = config::Memory { budget_bytes: 0, ..given };
        let all = available_bytes().unwrap();
        assert!(budget(&unset) <= all / 4 * 3 && budget(&unset) > all / 2);
    }
}
