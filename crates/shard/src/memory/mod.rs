//! Records that are in memory alone: what [`Durability::Memory`](crate::Durability) promises.
//!
//! # Invariants
//! - An id is in memory or a live record of the local state, never both, except while a record
//!   moves from here to there, and then both hold the same content.
//! - What is here changes only in somebody's [`Turn`]. The writer has it from when it looks at
//!   what is here until what it logs has been applied.
//! - A record moves from here to the local state, never back. Readers look here first and there
//!   afterwards, so they miss none; what they find in both counts once.
//! - Etags from here have the highest bit of their seq set, which no log reaches, and the epoch of
//!   this opening, which no other has: none is like a logged one, and no two are alike.
//! - Nothing here is logged, written to a disk or part of a checkpoint. Closing the shard loses it.
//! - It takes at most the limit, by [`Arriving::cost`].

mod carry_out;
mod search;
mod text;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::config::ShardConfig;
use crate::record::{Etag, Timestamp};
use crate::stored::Header;
use crate::wall::WallClock;

use self::text::{HeldTexts, Words};

pub(crate) use search::{MemorySearchError, SearchedMemory, Wanted, merge};

/// The bit by which an etag tells that its write was not logged.
const NOT_LOGGED: u64 = 1 << 63;
/// What a record costs beside its id, which is held twice, and its row: maps and counters.
const HELD_OVERHEAD_BYTES: usize = 160;
/// For how long a count begins anew because records moved while it counted. They move for as long
/// as one entry takes to be applied.
const PATIENCE: Duration = Duration::from_secs(1);

/// A record as it is held: its row is that of the record store, with 0 for the key.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) header: Header,
    pub(crate) row: Vec<u8>,
}

impl Held {
    /// Bytes that it counts for, without its text.
    fn cost(&self) -> usize {
        self.row.len() + 2 * self.id.len() + HELD_OVERHEAD_BYTES
    }
}

/// A record that is about to be held, and its text as it is indexed.
struct Arriving {
    held: Arc<Held>,
    words: Option<Words>,
}

impl Arriving {
    /// Bytes that it counts for.
    fn cost(&self) -> usize {
        self.held.cost() + self.words.as_ref().map_or(0, Words::bytes)
    }
}

/// A record, and what it counts for.
struct Entry {
    held: Arc<Held>,
    cost: usize,
    /// Its key in the index of text.
    key: u64,
}

/// What is held. All of it changes in one step.
#[derive(Default)]
struct Records {
    by_id: BTreeMap<String, Entry>,
    /// Their texts, if text is indexed.
    texts: Option<HeldTexts>,
    /// The key of the next record.
    next_key: u64,
}

impl Records {
    /// Returns what the one counted for that was there.
    fn insert(&mut self, arriving: Arriving) -> usize {
        let (cost, key) = (arriving.cost(), self.next_key);
        self.next_key += 1;
        if let (Some(texts), Some(words)) = (&mut self.texts, arriving.words) {
            texts.insert(key, words);
        }
        let entry = Entry { held: arriving.held, cost, key };
        let before = self.by_id.insert(entry.held.id.clone(), entry);
        self.forget(before)
    }

    fn remove(&mut self, id: &str) -> usize {
        let before = self.by_id.remove(id);
        self.forget(before)
    }

    fn forget(&mut self, entry: Option<Entry>) -> usize {
        let Some(entry) = entry else { return 0 };
        if let Some(texts) = &mut self.texts {
            texts.remove(entry.key);
        }
        entry.cost
    }
}

/// The right to change what is in memory, and to look at it without it changing.
pub(crate) struct Turn {
    /// Numbers the requests that were carried out here.
    next: u64,
}

/// The records in memory of one shard.
pub(crate) struct Memory {
    epoch: u64,
    limit: usize,
    wall: WallClock,
    turn: Mutex<Turn>,
    records: RwLock<Records>,
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// The last timestamp given out here.
    clock: AtomicU64,
    /// Odd while records move to the local state.
    moves: AtomicU64,
    /// Odd while records are put or dropped.
    changes: AtomicU64,
}

impl Memory {
    /// Nothing yet. `epoch` is that of the leader.
    pub(crate) fn new(epoch: u64, config: &ShardConfig) -> Self {
        let texts = config.text.as_ref().map(HeldTexts::new);
        let records = Records { texts, ..Records::default() };
        Self {
            epoch,
            limit: config.memory_bytes,
            wall: config.wall.clone(),
            turn: Mutex::new(Turn { next: 1 }),
            records: RwLock::new(records),
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }
    }

    /// Waits for the turn.
    pub(crate) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock()
    }

    /// The turn, if nobody has it.
    pub(crate) fn try_turn(&self) -> Option<MutexGuard<'_, Turn>> {
        self.turn.try_lock()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// What the records take, as the limit counts it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The last timestamp given out here. Logged writes must not fall behind it.
    pub(crate) fn clock(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::Relaxed))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Held>> {
        if self.is_empty() {
            return None;
        }
        self.records.read().by_id.get(id).map(|entry| Arc::clone(&entry.held))
    }

    /// The first records above an id, in order, of those that `wanted` takes.
    pub(crate) fn page<E>(
        &self,
        after: Option<&str>,
        limit: usize,
        mut wanted: impl FnMut(&Held) -> Result<bool, E>,
    ) -> Result<Vec<Arc<Held>>, E> {
        let mut page = Vec::new();
        if self.is_empty() {
            return Ok(page);
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = self.records.read();
        for Entry { held, .. } in
            records.by_id.range::<str, _>((from, Bound::Unbounded)).map(|(_, entry)| entry)
        {
            if page.len() >= limit {
                break;
            }
            if wanted(held)? {
                page.push(Arc::clone(held));
            }
        }
        Ok(page)
    }

    /// All records. They stay as they are however long the caller looks at them.
    pub(crate) fn all(&self) -> Vec<Arc<Held>> {
        if self.is_empty() {
            return Vec::new();
        }
        self.records.read().by_id.values().map(|entry| Arc::clone(&entry.held)).collect()
    }

    /// Reads both here and in the local state with `read`, anew if records moved meanwhile.
    pub(crate) fn settled<T>(&self, mut read: impl FnMut() -> T) -> T {
        let begun = Instant::now();
        loop {
            let before = self.moves.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let found = read();
                if self.moves.load(Ordering::Acquire) == before {
                    return found;
                }
            } else if begun.elapsed() > PATIENCE {
                return read();
            }
            std::thread::yield_now();
        }
    }

    /// Runs `apply`, which puts the records of these ids into the local state, and drops them here
    /// when it has. If it fails, they stay.
    pub(crate) fn move_out<T, E>(
        &self,
        _turn: &mut Turn,
        ids: &[String],
        apply: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.moves.fetch_add(1, Ordering::AcqRel);
        let result = apply();
        if result.is_ok() {
            self.change(ids.iter().map(|id| (id.as_str(), None)));
        }
        self.moves.fetch_add(1, Ordering::AcqRel);
        result
    }

    /// Puts and drops records, all in one step for readers.
    fn change<'a>(&self, changes: impl Iterator<Item = (&'a str, Option<Arriving>)>) {
        let mut records = self.records.write();
        self.changes.fetch_add(1, Ordering::AcqRel);
        let mut bytes = self.bytes.load(Ordering::Relaxed);
        for (id, arriving) in changes {
            let before = match arriving {
                Some(arriving) => {
                    bytes = bytes.saturating_add(arriving.cost());
                    records.insert(arriving)
                }
                None => records.remove(id),
            };
            bytes = bytes.saturating_sub(before);
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        self.count.store(records.by_id.len(), Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// How often it has changed, twice; odd while it does.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The etag of the first operation of a request.
    fn next_etag(&self, turn: &mut Turn) -> Etag {
        let seq = NOT_LOGGED | turn.next;
        turn.next = turn.next.saturating_add(1);
        Etag { epoch: self.epoch, seq, index: 0 }
    }

    /// Timestamps for so many operations, above all that were given out.
    fn advance(&self, logged: Timestamp, operations: u64) -> Timestamp {
        let first = self.wall.now().max(logged).max(self.clock());
        self.clock.store(first.plus(operations).0, Ordering::Relaxed);
        first
    }
}
