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
/// Versions raise the format by one. What is further ahead, beside trees of a known format, was not
/// written by a newer version.
const FORMATS_AHEAD: u8 = 3;
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
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse().ok();
    let unfinished = folders.iter().filter(|folder| !folder.join(CURRENT).exists());
    Ok(Prepared {
        path: database.to_owned(),
        unfinished: unfinished.filter_map(number).collect(),
        end: journal::cut_off_torn_end(database)?,
    })
}

/// What there is before a database is opened.
#[derive(Debug, Clone)]
pub struct Prepared {
    path: PathBuf,
    /// Numbers of the keyspaces that opening removes: they have no `current`.
    unfinished: Vec<usize>,
    end: Option<JournalsEnd>,
}

/// Looks at whether a database that was just opened has all its keyspaces, before those that it has
/// not are made: of one whose folder is gone nothing else tells. `keyspaces` are those that it has had
/// from the beginning, so that they have the first numbers. A crash while they were made the first
/// time leaves some of them, with nothing in them.
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
    // Opening removed what has no `current`. There was nothing in it, or it would have been refused.
    let is_first = |number: &&usize| (1..=keyspaces.len()).contains(*number);
    let removed = before.unfinished.iter().filter(is_first).count();
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
    check_kinds(database, &keyspaces)?;
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
        Some(&[found]) if found > FORMAT.saturating_add(FORMATS_AHEAD) && is_known(keyspaces) => {
            let reason = format!("it says format {found}, and what lies beside it has {FORMAT}");
            Err(damaged(&path, &reason))
        }
        Some(&[found]) if found > FORMAT => Err(DatabaseError::Newer { path, found }),
        _ => Err(damaged(&path, "it is not that of a database")),
    }
}

/// Whether there are trees whose lists of tables have the checksums that they should, and say that
/// they are of the format that is known.
fn is_known(keyspaces: &[PathBuf]) -> bool {
    keyspaces
        .iter()
        .any(|keyspace| keyspace.join(CURRENT).exists() && check_keyspace(keyspace).is_ok())
}

/// Whether a database lies somewhere, as far as can be told.
pub fn is_there(database: &Path) -> bool {
    let keyspaces = folders(&database.join(KEYSPACES)).unwrap_or_default();
    database.join(VERSION).exists()
        || keyspaces.iter().any(|keyspace| keyspace.join(CURRENT).exists())
}

/// Writes the `version` of a copy of a database anew if it is missing or damaged, and says whether
/// it was. It says nothing of the content, so that nothing is lost with it.
///
/// # Errors
/// [`DatabaseError`]; that it is of a newer version, too.
pub fn restore_version(copy: &Path) -> Result<bool, DatabaseError> {
    let path = copy.join(VERSION);
    match check_version(copy, &folders(&copy.join(KEYSPACES))?) {
        Ok(_) => Ok(false),
        Err(DatabaseError::Damaged { path: damaged, .. }) if damaged == path => {
            let bytes = [&MAGIC[..], &[FORMAT]].concat();
            fs::write(&path, bytes).map_err(|source| DatabaseError::Io { path, source })?;
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Whether something lies where the database looks for its own files that it would take for one and
/// fail, without a word about what it was.
fn check_kinds(database: &Path, keyspaces: &[PathBuf]) -> Result<(), DatabaseError> {
    for path in journal::journals(database)? {
        if !path.is_file() {
            return Err(damaged(
                &path,
                "it has the name of a journal, and is no file; move it away",
            ));
        }
    }
    for keyspace in keyspaces {
        let folder = keyspace.join(TABLES);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|source| DatabaseError::Io { path: folder, source })?,
        };
        for entry in entries {
            let path = entry
                .map_err(|source| DatabaseError::Io { path: keyspace.join(TABLES), source })?
                .path();
            if !is_table(&path) {
                return Err(damaged(&path, "it is no sorted table; move it away"));
            }
        }
    }
    Ok(())
}

/// Whether a file in a folder of sorted tables has the name and the kind of one.
pub(crate) fn is_table(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.parse::<u64>().is_ok() && path.is_file()
}

/// Looks at what lists the keyspaces.
///
/// # Errors
/// [`DatabaseError`] for the first file that is damaged.
pub fn check_listing(database: &Path) -> Result<(), DatabaseError> {
    check_keyspace(&database.join(KEYSPACES).join(LISTING))?.iter().try_for_each(check_table)
}

/// Makes a copy of a database readable of which lists are damaged or missing: they are replaced by
/// those of an empty database with the same keyspaces, so that what journals have of such a keyspace
/// is read, and nothing else of it. Says which files were not what they should be.
///
/// # Errors
/// [`DatabaseError::Io`].
pub fn replace_lists(copy: &Path, empty: &Path) -> Result<Vec<PathBuf>, DatabaseError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DatabaseError::Io { path, source }
    };
    let mut replaced = Vec::new();
    let version = copy.join(VERSION);
    if !matches!(read(&version)?, Some(bytes) if bytes.strip_prefix(MAGIC) == Some(&[FORMAT])) {
        fs::copy(empty.join(VERSION), &version).map_err(failed(&version))?;
        replaced.push(version);
    }
    for source in folders(&empty.join(KEYSPACES))? {
        let Some(name) = source.file_name() else { continue };
        let keyspace = copy.join(KEYSPACES).join(name);
        let checked = if name == LISTING {
            // Its rows say which keyspaces there are.
            check_listing(copy)
        } else {
            check_keyspace(&keyspace).map(drop)
        };
        if checked.is_ok() && keyspace.join(CURRENT).exists() {
            continue;
        }
        if keyspace.exists() {
            fs::remove_dir_all(&keyspace).map_err(failed(&keyspace))?;
        }
        crate::copy::copy_folder(&source, &keyspace).map_err(failed(&keyspace))?;
        replaced.push(keyspace);
    }
    Ok(replaced)
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
mod tests;
