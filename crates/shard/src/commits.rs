//! Batches that are seen whole or not at all.
//!
//! The database gives a batch its number, inserts row after row, and then raises what is visible
//! to that number. When one of its own threads ends the writing of a sorted file in between, that
//! one raises what is visible beyond the number, and a snapshot taken then holds a part of the
//! batch. So no snapshot is taken while a batch is committed: whoever wants one meanwhile gets
//! that from before. Nobody waits, which matters because a commit can take long when the
//! database holds writers back.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use fjall::{Database, OwnedWriteBatch, Snapshot};
use parking_lot::Mutex;

/// The commits of one database; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Commits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held while a batch is committed.
    committing: Mutex<()>,
    /// While a batch is committed, the state before it. Held for moments only.
    before: Mutex<Option<Snapshot>>,
}

impl Commits {
    /// One state of all keyspaces, between two batches.
    pub(crate) fn snapshot(&self, database: &Database) -> Snapshot {
        let before = self.0.before.lock();
        // No batch begins while the lock is held.
        before.as_ref().map_or_else(|| database.snapshot(), Snapshot::clone)
    }

    /// A batch whose commit keeps to this.
    pub(crate) fn batch(&self, database: &Database, capacity: usize) -> Batch {
        Batch {
            rows: OwnedWriteBatch::with_capacity(database.clone(), capacity),
            commits: self.clone(),
            database: database.clone(),
        }
    }
}

/// Rows that are written together.
pub(crate) struct Batch {
    rows: OwnedWriteBatch,
    commits: Commits,
    database: Database,
}

impl Batch {
    /// Writes the rows.
    pub(crate) fn commit(self) -> fjall::Result<()> {
        let Commits(shared) = self.commits;
        let _alone = shared.committing.lock();
        *shared.before.lock() = Some(self.database.snapshot());
        let committed = self.rows.commit();
        *shared.before.lock() = None;
        committed
    }
}

impl Deref for Batch {
    type Target = OwnedWriteBatch;

    fn deref(&self) -> &OwnedWriteBatch {
        &self.rows
    }
}

impl DerefMut for Batch {
    fn deref_mut(&mut self) -> &mut OwnedWriteBatch {
        &mut self.rows
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use fjall::{KeyspaceCreateOptions, Readable};

    use super::*;

    /// Sorted files are written all the while.
    #[test]
    fn no_snapshot_holds_a_part_of_a_batch() {
        const ROWS: u32 = 1000;
        const BATCHES: u64 = 600;
        let directory = tempfile::tempdir().unwrap();
        let database =
            Database::builder(directory.path()).worker_threads(2).manual_journal_persist(true);
        let database = database.open().unwrap();
        let options = || KeyspaceCreateOptions::default().max_memtable_size(32 << 10);
        let rows = database.keyspace("rows", options).unwrap();
        let commits = Commits::default();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    let snapshot = commits.snapshot(&database);
                    let number = |row: u32| snapshot.get(&rows, row.to_be_bytes()).unwrap();
                    let (first, last) = (number(0), number(ROWS - 1));
                    assert_eq!(first, last, "a snapshot has the rows of two batches");
                    seen += u64::from(first.is_some());
                }
                seen
            });
            for number in 0..BATCHES {
                let mut batch = commits.batch(&database, 0);
                for row in 0..ROWS {
                    let value = [number.to_be_bytes(); 8].concat();
                    batch.insert(&rows, row.to_be_bytes(), value);
                }
                batch.commit().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 10, "hardly any snapshot was looked at");
        });
        let last = commits.snapshot(&database).get(&rows, 0_u32.to_be_bytes()).unwrap().unwrap();
        assert!(last.starts_with(&(BATCHES - 1).to_be_bytes()), "the last one is seen");
    }
}
