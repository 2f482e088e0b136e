//! Recent vectors, in blocks of a fixed size that only grow.
//!
//! A reader holds a block's read lock while it compares the block's rows, a few microseconds;
//! the writer takes the write lock of the newest block for each row.

use parking_lot::{RwLock, RwLockReadGuard};

use crate::{bits::DeadRows, metric::Lane, ranker::Ranker};

/// Rows in a block.
pub(crate) const BLOCK_ROWS: usize = 1024;

/// The rows of a block.
pub(crate) struct BlockRows<T> {
    keys: Vec<u64>,
    ranking: Vec<T>,
    stored: Vec<T>,
    stored_len: usize,
    ids: String,
    id_ends: Vec<usize>,
    reach: Vec<f64>,
}

/// A row about to be appended.
pub(crate) struct NewRow<'a, T> {
    pub(crate) key: u64,
    pub(crate) id: &'a str,
    pub(crate) ranking: &'a [T],
    pub(crate) stored: &'a [T],
}

/// A piece of the tail.
pub(crate) struct Block<T> {
    /// Counts up over the index's life.
    pub(crate) number: u64,
    rows: RwLock<BlockRows<T>>,
    pub(crate) dead: DeadRows,
}

impl<T: Lane> Block<T> {
    pub(crate) fn new(number: u64, lanes: usize, stored_len: usize) -> Self {
        Self {
            number,
            rows: RwLock::new(BlockRows {
                keys: Vec::with_capacity(BLOCK_ROWS),
                ranking: Vec::with_capacity(BLOCK_ROWS * lanes),
                stored: Vec::with_capacity(BLOCK_ROWS * stored_len),
                stored_len,
                ids: String::new(),
                id_ends: Vec::with_capacity(BLOCK_ROWS),
                reach: Vec::new(),
            }),
            dead: DeadRows::none(BLOCK_ROWS),
        }
    }

    /// Appends a row; false when the block is full.
    pub(crate) fn push(&self, ranker: &Ranker<T>, row: &NewRow<'_, T>) -> bool {
        let &NewRow { key, id, ranking, stored } = row;
        let mut rows = self.rows.write();
        if rows.keys.len() >= BLOCK_ROWS {
            return false;
        }
        ranker.extend_reach(ranking, &mut rows.reach);
        rows.keys.push(key);
        rows.ranking.extend_from_slice(ranking);
        rows.stored.extend_from_slice(stored);
        rows.ids.push_str(id);
        let end = rows.ids.len();
        rows.id_ends.push(end);
        true
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, BlockRows<T>> {
        self.rows.read()
    }

    /// Marks the row of a key as dead; `None` if the key is not here, else whether it was alive.
    pub(crate) fn remove(&self, key: u64) -> Option<bool> {
        let row = self.rows.read().keys.binary_search(&key).ok()?;
        Some(self.dead.set(row))
    }
}

impl<T: Lane> BlockRows<T> {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Ranking rows, one after the other.
    pub(crate) fn ranking(&self) -> &[T] {
        &self.ranking
    }

    /// Stored vectors, one after the other.
    pub(crate) fn all_stored(&self) -> &[T] {
        &self.stored
    }

    /// The largest size of a row per component.
    pub(crate) fn reach(&self) -> &[f64] {
        &self.reach
    }

    pub(crate) fn id(&self, row: usize) -> Option<&str> {
        let start = match row.checked_sub(1) {
            Some(before) => *self.id_ends.get(before)?,
            None => 0,
        };
        self.ids.get(start..*self.id_ends.get(row)?)
    }

    pub(crate) fn stored(&self, row: usize) -> Option<&[T]> {
        let start = row.checked_mul(self.stored_len)?;
        self.stored.get(start..start + self.stored_len)
    }

    /// Bytes that ids take.
    pub(crate) fn id_bytes(&self) -> usize {
        self.ids.len() + self.id_ends.len() * size_of::<usize>()
    }
}
