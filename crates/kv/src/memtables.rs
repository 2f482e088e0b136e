//! What opening a database brings into memory.
//!
//! fjall takes what its journals hold, and no table has yet, into memory, and leaves it there until
//! as much again is written. A database that is opened to be read would keep it for good.

use std::{fs, path::Path};

use fjall::Keyspace;

/// Journals up to this many bytes are not worth tables of their own.
const FEW_BYTES: u64 = 4 << 20;

/// Has what opening brought into memory written to tables, unless it is little. They are written in
/// the background; until then everything is read from memory. What the tables have is not read from
/// the journals again.
///
/// # Errors
/// The database has failed.
pub fn settle<'a>(
    database: &Path,
    keyspaces: impl IntoIterator<Item = &'a Keyspace>,
) -> fjall::Result<()> {
    if journal_bytes(database) < FEW_BYTES {
        return Ok(());
    }
    for keyspace in keyspaces {
        // Nothing happens where nothing is in memory.
        keyspace.rotate_memtable()?;
    }
    Ok(())
}

/// Bytes of journals that are there: they are made with a hole long before they are filled.
fn journal_bytes(database: &Path) -> u64 {
    let journals = crate::journal::journals(database).unwrap_or_default();
    let there = |file| fs::metadata(file).map_or(0, |metadata| allocated(&metadata));
    journals.into_iter().map(there).sum()
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use fjall::{Database, KeyspaceCreateOptions, PersistMode};

    use super::*;

    const PART: usize = 1 << 16;

    /// Bytes that do not compress, as journals are compressed.
    fn part(number: u64) -> Vec<u8> {
        let step = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some((*state >> 56) as u8)
        };
        (0..PART).scan(number, |state, _| step(state)).collect()
    }

    fn tables(database: &Path) -> usize {
        let folders = fs::read_dir(database.join("keyspaces")).unwrap();
        let tables =
            folders.filter_map(|folder| fs::read_dir(folder.unwrap().path().join("tables")).ok());
        tables.map(Iterator::count).sum()
    }

    /// Fills a keyspace, opens the database anew and settles it; the keyspace `empty` stays so.
    /// With the number of tables that there were before; fjall has some of its own. Tables are
    /// written only as long as the database is held.
    fn settled(path: &Path, bytes: usize) -> (Database, Keyspace, usize) {
        let keyspaces = |database: &Database| {
            ["full", "empty"]
                .map(|name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap())
        };
        let database = Database::builder(path).open().unwrap();
        let [full, empty] = keyspaces(&database);
        for number in 0..bytes / PART {
            full.insert(number.to_be_bytes(), part(number as u64)).unwrap();
        }
        database.persist(PersistMode::SyncAll).unwrap();
        drop((full, empty, database));
        let database = Database::builder(path).open().unwrap();
        let all = keyspaces(&database);
        let before = tables(path);
        settle(path, &all).unwrap();
        let [full, _empty] = all;
        (database, full, before)
    }

    #[test]
    fn what_a_journal_held_becomes_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let (_database, full, before) = settled(folder.path(), 6 << 20);
        let begun = Instant::now();
        while tables(folder.path()) == before {
            assert!(begun.elapsed() < Duration::from_mins(2), "no table is written");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(full.len().unwrap(), 96);
        for number in 0..96_usize {
            let value = full.get(number.to_be_bytes()).unwrap().unwrap();
            assert_eq!(*value, part(number as u64));
        }
    }

    #[test]
    fn little_stays_in_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let (_database, full, before) = settled(folder.path(), 1 << 20);
        assert_eq!(full.len().unwrap(), 16);
        assert_eq!(tables(folder.path()), before);
    }
}
