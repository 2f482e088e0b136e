//! Whether the files of a database (fjall's) are those that it wrote, without changing them.
//!
//! fjall checks each block when it reads it, and its journals not at all in the middle (see
//! [`crate::journal`]). It keeps checksums of whole files as well, but looks at none of them: a
//! changed bit in what says which tables there are, and in which order they count, would open as
//! another state. So all of them are checked before a database is opened.
//!
//! ```text
//! version              "FJL" 3
//! N.jnl                journals
//! keyspaces/N/current  u64 number of a version, u128 XXH3 of its file, u8 0
//! keyspaces/N/vM       an archive of named sections; among them `format_version` (u8 3) and `tables`:
//!                      u8 levels, of each: u8 runs, of each: u32 tables, of each: u64 number,
//!                      u8 0, u128 XXH3 of its file, u64 sequence number
//! keyspaces/N/tables/M
//! ```
//!
//! Integers are little-endian.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::journal::{self, JournalError, JournalsEnd};

const VERSION: &str = "version";
const KEYSPACES: &str = "keyspaces";
/// The keyspace that says which others there are.
const LISTING: &str = "0";
const LOCK: &str = "lock";
const CURRENT: &str = "current";
const TABLES: &str = "tables";
const MAGIC: &[u8; 3] = b"FJL";
/// Of the database, and of the trees in it.
const FORMAT: u8 = 3;
/// The one kind of checksum: XXH3.
const XXH3: u8 = 0;
/// Read at once when a table is checked.
const CHUNK: usize = 1 << 20;

/// Why a database must not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A journal is damaged, or cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another file is damaged or missing.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version wrote it.
    #[error(
        "{} was made by a newer version of HVS: it has format {found}, this version reads {FORMAT}; \
         upgrade to that version",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u8,
    },
}

impl DatabaseError {
    /// What to do, to be put after it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Journal(_) | Self::Damaged { .. } => "; `hvs repair` says what can be done",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "; make the file system writable: a node writes to its data directory at every start"
            }
            Self::Io { .. } | Self::InUse { .. } | Self::Newer { .. } => "",
        }
    }
}

/// Looks at a database that is about to be opened: at everything, or at everything but the content
/// of tables. If nothing is damaged, what a crash has torn is cut off. There need not be a database.
/// Says what is there, for [`check_opened`] and [`check_end`].
///
/// # Errors
/// [`DatabaseError`] for the first file that is damaged.
pub fn prepare(database: &Path, with_tables: bool) -> Result<Prepared, DatabaseError> {
    let _lock = lock(database)?;
    if with_tables { check_all(database) } else { check(database) }?;
    let folders = folders(&database.join(KEYSPACES))?;
    let is_own = |folder: &&PathBuf| !folder.ends_with(LISTING);
    Ok(Prepared {
        path: database.to_owned(),
        keyspaces: folders.iter().filter(is_own).count(),
        end: journal::cut_off_torn_end(database)?,
    })
}

/// What there is before a database is opened.
#[derive(Debug, Clone)]
pub struct Prepared {
    path: PathBuf,
    /// Folders of keyspaces, but that of the database itself.
    keyspaces: usize,
    end: Option<JournalsEnd>,
}

/// Looks at whether a database that was just opened has all its keyspaces, before those that it has
/// not are made: of one whose folder is gone nothing else tells. `keyspaces` are those that it has had
/// from the beginning. A crash while they were made the
/// first time leaves some of them, with nothing in them.
///
/// # Errors
/// [`DatabaseError`], with the folder of the keyspaces if one is missing.
pub fn check_opened(
    before: &Prepared,
    database: &Database,
    keyspaces: &[&str],
) -> Result<(), DatabaseError> {
    let there = database.list_keyspace_names();
    let is_missing = |name: &&&str| there.iter().all(|one| **one != ***name);
    let mut missing = keyspaces.iter().filter(is_missing);
    // Opening removes what has no `current`. There was nothing in it, or it would have been refused.
    let removed = before.keyspaces.saturating_sub(there.len());
    let Some(missing) = missing.nth(removed) else { return Ok(()) };
    for name in &there {
        let is_empty =
            database.keyspace(name, KeyspaceCreateOptions::default).and_then(|one| one.is_empty());
        let path = before.path.join(KEYSPACES);
        if !is_empty.map_err(|error| damaged(&path, &format!("{name} cannot be read: {error}")))? {
            let reason = format!("the keyspace {missing:?} is missing, and {name:?} is not empty");
            return Err(damaged(&path, &reason));
        }
    }
    Ok(())
}

/// Looks at whether the journals of a database that was just opened reach as far as its tables.
/// Journals are synced before anything of them becomes a table, so no crash leaves less; and a batch
/// would be there for one keyspace, and not for another. Of journals without any batch nothing is
/// known: they are removed when all of them is in tables.
///
/// # Errors
/// [`DatabaseError::Damaged`], with the last journal.
pub fn check_end<'a>(
    before: Prepared,
    keyspaces: impl IntoIterator<Item = &'a Keyspace>,
) -> Result<(), DatabaseError> {
    let Some(JournalsEnd { seqno, path, offset }) = before.end else { return Ok(()) };
    let tables = keyspaces.into_iter().filter_map(|one| one.tree.get_highest_persisted_seqno());
    match tables.max() {
        Some(persisted) if persisted > seqno => {
            let reason = format!(
                "it ends at byte {offset} with batch {seqno}, and tables have what came up to {persisted}"
            );
            Err(DatabaseError::Damaged { path, reason })
        }
        _ => Ok(()),
    }
}

/// What is written while it is looked at would look damaged.
fn lock(database: &Path) -> Result<Option<File>, DatabaseError> {
    let path = database.join(LOCK);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DatabaseError::Io { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse { path: database.to_owned() }),
        Err(TryLockError::Error(source)) => Err(DatabaseError::Io { path, source }),
    }
}

/// Looks at everything but the content of tables. There need not be a database.
///
/// # Errors
/// [`DatabaseError`] for the first file that is damaged.
pub fn check(database: &Path) -> Result<(), DatabaseError> {
    look(database).map(drop)
}

/// Reads all tables as well. Takes as long as there are tables, at the speed of the disk.
///
/// # Errors
/// [`DatabaseError`] for the first file that is damaged.
pub fn check_all(database: &Path) -> Result<(), DatabaseError> {
    look(database)?.iter().try_for_each(check_table)
}

struct Table {
    path: PathBuf,
    checksum: u128,
}

/// Checks everything but tables, and lists those that count.
fn look(database: &Path) -> Result<Vec<Table>, DatabaseError> {
    let keyspaces = folders(&database.join(KEYSPACES))?;
    if !check_version(database, &keyspaces)? {
        return Ok(Vec::new());
    }
    let in_journals = journal::check(database)?;
    if journal::journals(database)?.is_empty() {
        return Err(damaged(database, "it has no journal"));
    }
    check_complete(database, &keyspaces, &in_journals)?;
    let mut tables = Vec::new();
    for keyspace in keyspaces {
        tables.append(&mut check_keyspace(&keyspace)?);
    }
    Ok(tables)
}

/// Whether there is a database.
fn check_version(database: &Path, keyspaces: &[PathBuf]) -> Result<bool, DatabaseError> {
    let path = database.join(VERSION);
    let Some(bytes) = read(&path)? else {
        // It is written last when a database is made, and forced to the disk before anything else
        // is written.
        if keyspaces.iter().any(|keyspace| keyspace.join(CURRENT).exists()) {
            return Err(damaged(&path, "it is missing, but there are data beside it"));
        }
        return Ok(false);
    };
    match bytes.strip_prefix(MAGIC) {
        Some(&[FORMAT]) => Ok(true),
        Some(&[found]) if found > FORMAT => Err(DatabaseError::Newer { path, found }),
        _ => Err(damaged(&path, "it is not that of a database")),
    }
}

/// Whether the keyspaces are there that have something in journals, and the one that lists them.
/// What lacks its `current` would be removed when the database is opened, as one whose making was
/// interrupted, and what journals have of it would be left out; without the listing all of them
/// would be.
fn check_complete(
    database: &Path,
    keyspaces: &[PathBuf],
    in_journals: &BTreeSet<u64>,
) -> Result<(), DatabaseError> {
    let folder = database.join(KEYSPACES);
    for number in in_journals {
        let path = folder.join(number.to_string()).join(CURRENT);
        if !path.exists() {
            return Err(damaged(&path, "it is missing, but journals have what belongs to it"));
        }
    }
    let listing = folder.join(LISTING).join(CURRENT);
    if !listing.exists() && keyspaces.iter().any(|keyspace| keyspace.join(CURRENT).exists()) {
        return Err(damaged(&listing, "it is missing, but there are keyspaces beside it"));
    }
    Ok(())
}

fn check_keyspace(keyspace: &Path) -> Result<Vec<Table>, DatabaseError> {
    let path = keyspace.join(CURRENT);
    let Some(current) = read(&path)? else {
        // The making of a keyspace may have been interrupted; it has no tables then. One that lacks
        // this file would be removed when the database is opened.
        let has_tables =
            fs::read_dir(keyspace.join(TABLES)).is_ok_and(|mut entries| entries.next().is_some());
        if has_tables {
            return Err(damaged(&path, "it is missing, but there are tables beside it"));
        }
        return Ok(Vec::new());
    };
    let decoded = decode_current(&current).filter(|(_, _, kind)| *kind == XXH3);
    let Some((number, checksum, _)) = decoded else {
        return Err(damaged(&path, "it does not decode"));
    };
    let version = keyspace.join(format!("v{number}"));
    let Some(bytes) = read(&version)? else {
        return Err(damaged(
            &version,
            &format!("{} names it, and it is not there", path.display()),
        ));
    };
    if xxh3_128(&bytes) != checksum {
        let reason = format!("its checksum is not the one in {}", path.display());
        return Err(damaged(&version, &reason));
    }
    // From here on it is what was written, if not by this version.
    match section(&bytes, b"format_version").and_then(<[u8]>::first) {
        Some(&FORMAT) => {}
        Some(&found) if found > FORMAT => {
            return Err(DatabaseError::Newer { path: version, found });
        }
        _ => return Err(damaged(&version, "it has no format")),
    }
    let listed = section(&bytes, b"tables").and_then(decode_tables);
    let listed = listed.ok_or_else(|| damaged(&version, "its list of tables does not decode"))?;
    let in_folder = |(number, checksum): (u64, u128)| {
        let path = keyspace.join(TABLES).join(number.to_string());
        if path.exists() {
            Ok(Table { path, checksum })
        } else {
            Err(damaged(&path, "it is missing"))
        }
    };
    listed.into_iter().map(in_folder).collect()
}

/// Number of the version, checksum of its file, kind of checksum.
fn decode_current(bytes: &[u8]) -> Option<(u64, u128, u8)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let &[kind] = rest else { return None };
    Some((u64::from_le_bytes(*number), u128::from_le_bytes(*checksum), kind))
}

fn section<'a>(archive: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let reader = sfa::Reader::from_reader(&mut io::Cursor::new(archive)).ok()?;
    let entry = reader.toc().section(name)?;
    let start = usize::try_from(entry.pos()).ok()?;
    archive.get(start..start.checked_add(usize::try_from(entry.len()).ok()?)?)
}

/// Numbers and checksums.
fn decode_tables(mut bytes: &[u8]) -> Option<Vec<(u64, u128)>> {
    let mut tables = Vec::new();
    let [levels] = take(&mut bytes)?;
    for _ in 0..levels {
        let [runs] = take(&mut bytes)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut bytes)?) {
                let number = u64::from_le_bytes(take(&mut bytes)?);
                let [XXH3] = take(&mut bytes)? else { return None };
                tables.push((number, u128::from_le_bytes(take(&mut bytes)?)));
                let _seqno: [u8; 8] = take(&mut bytes)?;
            }
        }
    }
    bytes.is_empty().then_some(tables)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn check_table(table: &Table) -> Result<(), DatabaseError> {
    let Table { path, checksum } = table;
    let failed = |source| DatabaseError::Io { path: path.clone(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Xxh3Default::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hasher.update(chunk.get(..count).unwrap_or_default());
    }
    if hasher.digest128() != *checksum {
        return Err(damaged(path, "it has another checksum than when it was written"));
    }
    Ok(())
}

/// A file, if there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>, DatabaseError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DatabaseError::Io { path: path.to_owned(), source }),
    }
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, DatabaseError> {
    let failed = |source| DatabaseError::Io { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

fn damaged(path: &Path, reason: &str) -> DatabaseError {
    DatabaseError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Durability, Kv as _,
        embedded::{Embedded, EmbeddedConfig, OpenError},
    };

    /// A database with tables and a journal.
    fn filled(folder: &Path) {
        let config = EmbeddedConfig { memtable_bytes: 16 << 10, ..EmbeddedConfig::default() };
        let store = Embedded::open(folder, config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for number in 0..400_u32 {
            let key = number.to_be_bytes();
            let value: Vec<u8> =
                key.repeat(100).iter().zip((0..=u8::MAX).cycle()).map(|(a, b)| a ^ b).collect();
            runtime.block_on(store.put_if_absent(&key, &value, Durability::Buffered)).unwrap();
        }
        runtime.block_on(store.sync()).unwrap();
        let begun = std::time::Instant::now();
        // Beside those of the database itself, which has the first keyspace.
        let is_own = |table: &Table| !table.path.starts_with(folder.join(KEYSPACES).join("0"));
        while !look(folder).is_ok_and(|tables| tables.iter().any(is_own)) {
            assert!(begun.elapsed().as_secs() < 60, "no tables were written");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all_files(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn journals_reach_as_far_as_tables() {
        use fjall::PersistMode;
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let end = prepare(folder.path(), false).unwrap();
            let database = Database::builder(folder.path()).open().unwrap();
            let keyspaces = ["ahead", "behind"]
                .map(|name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap());
            let checked = check_end(end, &keyspaces);
            (database, keyspaces, checked)
        };
        let (database, [ahead, behind], checked) = open();
        checked.unwrap();
        for number in 0..100_u8 {
            let mut batch = database.batch();
            batch.insert(&ahead, [number], [number; 100]);
            batch.insert(&behind, [number], [number; 100]);
            batch.commit().unwrap();
            if number == 79 {
                ahead.rotate_memtable_and_wait().unwrap();
            }
        }
        database.persist(PersistMode::SyncAll).unwrap();
        drop((ahead, behind, database));
        open().2.unwrap();
        let journal = journal::journals(folder.path()).unwrap().pop().unwrap();
        let whole = fs::read(&journal).unwrap();
        let last_byte = whole.iter().rposition(|&byte| byte != 0).unwrap();
        // What came after the tables may be missing, and nothing before.
        fs::write(&journal, &whole[..last_byte * 9 / 10]).unwrap();
        open().2.unwrap();
        fs::write(&journal, &whole[..last_byte * 7 / 10]).unwrap();
        let refused = open().2;
        assert!(matches!(&refused, Err(DatabaseError::Damaged { path, .. }) if *path == journal));
        fs::write(&journal, &whole).unwrap();
        open().2.unwrap();
    }

    /// What is only in journals is gone with its keyspace as much as what is in tables.
    #[test]
    fn a_keyspace_that_is_gone_is_noticed_before_anything_is_lost() {
        use fjall::PersistMode;
        const NAMES: [&str; 3] = ["one", "two", "empty"];
        let open = |folder: &Path| {
            let before = prepare(folder, true)?;
            let database = Database::builder(folder).open().unwrap();
            check_opened(&before, &database, &NAMES)?;
            let keyspaces =
                NAMES.map(|name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap());
            check_end(before, &keyspaces)?;
            Ok::<_, DatabaseError>((database, keyspaces))
        };
        for (in_tables, is_closed_before) in [(false, false), (true, false), (true, true)] {
            let folder = tempfile::tempdir().unwrap();
            let made = folder.path().join("made");
            let (database, [one, two, empty]) = open(&made).unwrap();
            for number in 0..20_u8 {
                let mut batch = database.batch();
                batch.insert(&one, [number], [number; 100]);
                batch.insert(&two, [number], [number; 100]);
                batch.commit().unwrap();
            }
            if in_tables {
                one.rotate_memtable_and_wait().unwrap();
                two.rotate_memtable_and_wait().unwrap();
            }
            database.persist(PersistMode::SyncAll).unwrap();
            drop((one, two, empty, database));
            if is_closed_before {
                drop(open(&made).unwrap());
            }
            for (number, entire) in [0, 1, 2].into_iter().flat_map(|n| [(n, false), (n, true)]) {
                let what = format!("{number} {entire} {in_tables} {is_closed_before}");
                let keyspace = made.join(KEYSPACES).join(number.to_string());
                let aside = folder.path().join("aside");
                let lost = if entire { keyspace } else { keyspace.join(CURRENT) };
                fs::rename(&lost, &aside).unwrap();
                // Nothing is made of what is left, however often it is tried.
                for _ in 0..2 {
                    let refused = open(&made).map(drop).expect_err(&what);
                    assert!(matches!(&refused, DatabaseError::Damaged { .. }), "{what}: {refused}");
                    assert!(!lost.exists(), "{what}");
                }
                fs::rename(&aside, &lost).unwrap();
                let (_database, keyspaces) = open(&made).expect(&what);
                assert_eq!(keyspaces.map(|one| one.len().unwrap()), [20, 20, 0], "{what}");
            }
        }
    }

    #[test]
    fn what_a_crash_leaves_of_making_keyspaces_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let before = prepare(folder.path(), true).unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        check_opened(&before, &database, &["one", "two"]).unwrap();
        drop(database.keyspace("one", KeyspaceCreateOptions::default).unwrap());
        drop(database);
        let before = prepare(folder.path(), true).unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        check_opened(&before, &database, &["one", "two"]).unwrap();
    }

    #[test]
    fn what_the_database_writes_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        check_all(&folder.path().join("nothing")).unwrap();
        filled(folder.path());
        check_all(folder.path()).unwrap();
        Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
        check_all(folder.path()).unwrap();
    }

    #[test]
    fn every_change_of_what_says_which_tables_there_are_is_found_and_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let mut files = Vec::new();
        all_files(folder.path(), &mut files);
        let is_table = |path: &Path| path.parent().unwrap().ends_with(TABLES);
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        // What was replaced meanwhile counts no more, and may be there still.
        let tables = look(folder.path()).unwrap();
        let counts = |path: &PathBuf| match name(path) {
            _ if is_table(path) => tables.iter().any(|table| table.path == *path),
            list if list.starts_with('v') && list != VERSION => {
                let current = fs::read(path.with_file_name(CURRENT)).unwrap();
                list == format!("v{}", decode_current(&current).unwrap().0)
            }
            other => other == CURRENT || other == VERSION,
        };
        files.retain(counts);
        let mut kinds = std::collections::BTreeSet::new();
        for path in files {
            let whole = fs::read(&path).unwrap();
            // Every bit of what is small, some of the rest: each change reads everything.
            let step = if whole.len() < 64 { 1 } else { whole.len() * 8 / 101 };
            let flips = (0..whole.len() * 8).step_by(step).map(|bit| {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            let cuts = (0..whole.len()).step_by(step).map(|end| whole[..end].to_vec());
            for bytes in flips.chain(cuts) {
                fs::write(&path, &bytes).unwrap();
                let error = check_all(folder.path()).unwrap_err().to_string();
                assert!(error.contains(path.parent().unwrap().to_str().unwrap()), "{error}");
                assert_eq!(check(folder.path()).is_ok(), is_table(&path), "{}", path.display());
            }
            fs::remove_file(&path).unwrap();
            assert!(check(folder.path()).is_err(), "{} may be missing", path.display());
            assert!(Embedded::open(folder.path(), EmbeddedConfig::default()).is_err());
            fs::write(&path, whole).unwrap();
            kinds.insert(if is_table(&path) { TABLES.to_owned() } else { name(&path) });
        }
        assert!(kinds.contains(TABLES) && kinds.contains(CURRENT) && kinds.contains(VERSION));
        check_all(folder.path()).unwrap();
        Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
    }

    #[test]
    fn a_newer_format_is_said_to_be_one_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        fs::write(folder.path().join(VERSION), b"FJL\x04").unwrap();
        let Err(OpenError::Files { source, .. }) =
            Embedded::open(folder.path(), EmbeddedConfig::default())
        else {
            panic!("it opened");
        };
        assert!(matches!(source, DatabaseError::Newer { found: 4, .. }));
        assert!(source.to_string().contains("newer version of HVS"));
        fs::write(folder.path().join(VERSION), b"FJL\x03").unwrap();
        check_all(folder.path()).unwrap();
    }
}
