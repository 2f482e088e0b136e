//! Looks at the journals of a database (fjall's) without changing them.
//!
//! When it opens a database, fjall cuts a journal off where it does not decode: it takes that for
//! the end of what a crash left. If a bit has changed somewhere in the middle, everything after it
//! would be gone without a word. So journals are looked at first: what does not decode, but is
//! followed by whole batches, is damage, and the database must not be opened.
//!
//! ```text
//! batch: 1, u32 number of items, u64 seqno, items, 3, u64 XXH3 of the items, "FJL" 3
//! item:  2, u8 kind, u8 compression, u64 keyspace, u16 length of the key, u32 of the value,
//!        u32 of the value as it is stored, key, value; or 4, u64 keyspace
//! ```
//!
//! Integers are little-endian. After the last batch come zeros, or a batch that was not finished.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
/// What a disk writes at once, at least. Of what was not synced when the power failed such pieces
/// may be missing, and are zeros then, because journals are made long before they are filled.
const SECTOR: usize = 512;
/// Far more than what is counted between two batches.
const MAX_STEP: u64 = 1 << 32;

/// A journal with something in it that a crash does not explain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal {} is damaged at byte {offset}: {lost} bytes do not decode, {batches} whole batches come after them",
    path.display()
)]
pub struct DamagedJournal {
    /// The file.
    pub path: PathBuf,
    /// Where the last batch before the damage ends.
    pub offset: u64,
    /// Bytes that do not decode.
    pub lost: u64,
    /// Whole batches after them.
    pub batches: u64,
}

/// Where the journals of a database end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalsEnd {
    /// The number of the last batch.
    pub seqno: u64,
    /// The last journal.
    pub path: PathBuf,
    /// Where its batches end.
    pub offset: u64,
}

/// Why journals could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// One is damaged.
    #[error(transparent)]
    Damaged(#[from] DamagedJournal),
}

/// Looks at all journals of a database. There need not be one. Returns the keyspaces that have
/// something in them.
///
/// # Errors
/// [`JournalError::Damaged`] for the first that is damaged.
pub fn check(database: &Path) -> Result<BTreeSet<u64>, JournalError> {
    let mut keyspaces = BTreeSet::new();
    let journals = journals(database)?;
    let last = journals.len();
    for (number, path) in (1..).zip(journals) {
        let bytes = read(&path)?;
        if let Some(damage) = damage(&bytes, number < last) {
            let lost = (damage.gap.len()) as u64;
            let (offset, batches) = (damage.gap.start as u64, damage.batches);
            return Err(DamagedJournal { path, offset, lost, batches }.into());
        }
        let mut at = 0;
        while let Some(next) = batch(&bytes, at) {
            see_keyspaces(&bytes, at, &mut |keyspace| {
                keyspaces.insert(keyspace);
            });
            at = next.range.end;
        }
    }
    Ok(keyspaces)
}

/// Cuts the last journal of a database off where a crash has torn it, if nothing in it is damaged.
/// The database does so as well, but refuses a batch whose end has arrived on the disk when a
/// part of it has not. Says where the journals end then, if there is a batch in any of them.
///
/// # Errors
/// [`JournalError::Io`].
pub fn cut_off_torn_end(database: &Path) -> Result<Option<JournalsEnd>, JournalError> {
    let mut journals = journals(database)?;
    let Some(last) = journals.pop() else { return Ok(None) };
    let bytes = read(&last)?;
    let (end, _) = whole_batches(&bytes, 0);
    if bytes.get(end..).unwrap_or_default().iter().any(|&byte| byte != 0) {
        cut_off(&last, end)?;
    }
    let mut seqno = last_seqno(&bytes);
    while let (None, Some(before)) = (seqno, journals.pop()) {
        seqno = last_seqno(&read(&before)?);
    }
    Ok(seqno.map(|seqno| JournalsEnd { seqno, path: last, offset: end as u64 }))
}

/// The number of the last batch.
fn last_seqno(bytes: &[u8]) -> Option<u64> {
    let (mut at, mut seqno) = (0, None);
    while let Some(next) = batch(bytes, at) {
        (at, seqno) = (next.range.end, Some(next.seqno));
    }
    seqno
}

fn cut_off(last: &Path, end: usize) -> Result<(), JournalError> {
    let cut = File::options().write(true).open(last).and_then(|file| {
        file.set_len(end as u64)?;
        file.sync_all()
    });
    cut.map_err(|source| JournalError::Io { path: last.to_owned(), source })
}

/// Takes out of a journal what does not decode, and leaves every whole batch. For a copy of a
/// database whose owner knows by other means what is missing. Says whether anything was.
///
/// # Errors
/// [`JournalError::Io`].
pub fn take_out_damage(journal: &Path) -> Result<bool, JournalError> {
    let bytes = read(journal)?;
    if damage(&bytes, true).is_none() {
        return Ok(false);
    }
    let mut kept: Vec<Batch> = Vec::new();
    let mut at = 0;
    while let Some(next) = batch(&bytes, at).or_else(|| next_batch(&bytes, at)) {
        at = next.range.end;
        // Of two that are not in order one has a wrong number: the earlier one, if the later one
        // fits to what was before it.
        if kept.last().is_some_and(|last| !next.follows(last)) {
            let before = kept.len().checked_sub(2).and_then(|before| kept.get(before));
            if before.is_some_and(|before| !next.follows(before)) {
                continue;
            }
            kept.pop();
        }
        kept.push(next);
    }
    let kept: Vec<&[u8]> = kept.iter().filter_map(|one| bytes.get(one.range.clone())).collect();
    let io = |source| JournalError::Io { path: journal.to_owned(), source };
    fs::write(journal, kept.concat()).map_err(io)?;
    Ok(true)
}

/// Cuts a journal off before what does not decode, as the database would at a crash: what is left is
/// an earlier state. Says whether anything was.
///
/// # Errors
/// [`JournalError::Io`].
pub fn cut_off_damage(journal: &Path) -> Result<bool, JournalError> {
    let bytes = read(journal)?;
    let Some(damage) = damage(&bytes, false) else { return Ok(false) };
    let kept = bytes.get(..damage.gap.start).unwrap_or_default();
    fs::write(journal, kept)
        .map_err(|source| JournalError::Io { path: journal.to_owned(), source })?;
    Ok(true)
}

/// The journals of a database, the oldest first. All but the last are complete.
///
/// # Errors
/// [`JournalError::Io`].
pub fn journals(database: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let io = |source| JournalError::Io { path: database.to_owned(), source };
    let entries = match fs::read_dir(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_suffix(".jnl").and_then(|number| number.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort_unstable();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, JournalError> {
    read_data(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })
}

/// A file without the hole at its end, which is most of a journal and would only take time.
fn read_data(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let data = match seek(&file, SeekFrom::Data(bytes.len() as u64)) {
            Err(Errno::NXIO) => return Ok(bytes),
            data => data?,
        };
        let hole = seek(&file, SeekFrom::Hole(data))?;
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let start = usize::try_from(data).map_err(|_| too_large())?;
        bytes.resize(usize::try_from(hole).map_err(|_| too_large())?, 0);
        file.read_exact_at(bytes.get_mut(start..).unwrap_or_default(), data)?;
    }
}

struct Damage {
    gap: Range<usize>,
    batches: u64,
}

/// A journal that another one follows was synced as a whole: nothing of it may be missing.
fn damage(bytes: &[u8], is_complete: bool) -> Option<Damage> {
    let (end, _) = whole_batches(bytes, 0);
    let rest = bytes.get(end..)?;
    if rest.iter().all(|&byte| byte == 0) {
        return None;
    }
    let Some(next) = batch(bytes, end).or_else(|| next_batch(bytes, end)) else {
        let last = parse(bytes, end).map(|last| last.range);
        return match last.filter(|last| !has_unwritten_sector(bytes, last)) {
            _ if is_complete => Some(Damage { gap: end..bytes.len(), batches: 0 }),
            // All of it arrived on the disk, and has changed since.
            Some(gap) => Some(Damage { gap, batches: 0 }),
            None => None,
        };
    };
    let next = next.range.start;
    if !is_complete && has_unwritten_sector(bytes, &(end..next)) {
        return None;
    }
    Some(Damage { gap: end..next, batches: whole_batches(bytes, next).1 })
}

fn has_unwritten_sector(bytes: &[u8], range: &Range<usize>) -> bool {
    let sectors = range.start.next_multiple_of(SECTOR)..range.end;
    let mut sectors = bytes.get(sectors).unwrap_or_default().chunks_exact(SECTOR);
    sectors.any(|sector| sector.iter().all(|&byte| byte == 0))
}

struct Batch {
    range: Range<usize>,
    seqno: u64,
    /// Its checksum is that of its items.
    is_whole: bool,
}

impl Batch {
    /// The number of a batch is its one field without a checksum. Numbers rise, and not by much.
    fn follows(&self, before: &Self) -> bool {
        self.seqno.checked_sub(before.seqno).is_some_and(|step| (1..=MAX_STEP).contains(&step))
    }
}

/// Where the batches end that are whole, in order, and follow each other from a place on; and how
/// many they are.
fn whole_batches(bytes: &[u8], from: usize) -> (usize, u64) {
    let (mut end, mut count) = (from, 0);
    let mut last: Option<Batch> = None;
    while let Some(next) = batch(bytes, end) {
        if last.as_ref().is_some_and(|last| !next.follows(last)) {
            break;
        }
        end = next.range.end;
        count += 1;
        last = Some(next);
    }
    (end, count)
}

/// The first whole batch after a place.
fn next_batch(bytes: &[u8], from: usize) -> Option<Batch> {
    let rest = bytes.get(from..)?;
    let starts = rest.iter().enumerate().filter(|&(_, &byte)| byte == START);
    starts.map(|(at, _)| from + at).find_map(|at| batch(bytes, at))
}

/// The batch at a place, if there is a whole one.
fn batch(bytes: &[u8], at: usize) -> Option<Batch> {
    parse(bytes, at).filter(|batch| batch.is_whole)
}

/// What has the form of a batch, up to its end.
fn parse(bytes: &[u8], at: usize) -> Option<Batch> {
    see_keyspaces(bytes, at, &mut |_| {})
}

/// The same, and the keyspace of each item.
fn see_keyspaces(bytes: &[u8], at: usize, see: &mut impl FnMut(u64)) -> Option<Batch> {
    let mut reader = Reader { bytes, at };
    if reader.u8()? != START {
        return None;
    }
    let count = reader.u32()?;
    let seqno = reader.u64()?;
    let items = reader.at;
    for _ in 0..count {
        match reader.u8()? {
            ITEM => {
                reader.take(2)?;
                see(reader.u64()?);
                let key = reader.u16()?;
                reader.take(4)?;
                let value = reader.u32()?;
                reader.take(usize::from(key))?;
                reader.take(usize::try_from(value).ok()?)?;
            }
            CLEAR => see(reader.u64()?),
            _ => return None,
        }
    }
    let items = bytes.get(items..reader.at)?;
    if reader.u8()? != END {
        return None;
    }
    let checksum = reader.u64()?;
    if reader.take(4)? != TRAILER {
        return None;
    }
    Some(Batch { range: at..reader.at, seqno, is_whole: xxh3_64(items) == checksum })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{Embedded, EmbeddedConfig, OpenError};
    use crate::{Durability, Kv as _};

    fn filled(folder: &Path, pairs: u8) {
        let store = Embedded::open(folder, EmbeddedConfig::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for number in 0..pairs {
            let (key, value) = ([number], [number; 900]);
            runtime.block_on(store.put_if_absent(&key, &value, Durability::Buffered)).unwrap();
        }
        runtime.block_on(store.sync()).unwrap();
    }

    fn journal(folder: &Path) -> (PathBuf, Vec<u8>, usize) {
        let path = journals(folder).unwrap().pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let end = whole_batches(&bytes, 0).0;
        // Most of it is a hole, which would only take time.
        assert!(bytes[end..].iter().all(|&byte| byte == 0));
        bytes.truncate(end + 4096);
        (path, bytes, end)
    }

    #[test]
    fn holes_are_read_as_zeros_and_left_out_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.jnl");
        let file = File::create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), [0; 0]);
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 1 << 20).unwrap();
        file.set_len(64 << 20).unwrap();
        let found = read(&path).unwrap();
        let all = fs::read(&path).unwrap();
        assert!(all.starts_with(&found) && all[found.len()..].iter().all(|&byte| byte == 0));
        assert!(found.len() > 1 << 20);
        file.set_len(3).unwrap();
        assert_eq!(read(&path).unwrap(), b"beg");
    }

    #[test]
    fn what_the_database_writes_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 20);
        check(folder.path()).unwrap();
        let (_, bytes, end) = journal(folder.path());
        assert!(end > 20 * 40, "{end} bytes of batches");
        assert!(whole_batches(&bytes, 0).1 >= 20);
        assert!(bytes[end..].iter().all(|&byte| byte == 0));
        check(&folder.path().join("nothing")).unwrap();
    }

    #[test]
    fn a_changed_bit_is_found_wherever_batches_follow_and_refuses_the_opening() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 20);
        let (path, bytes, end) = journal(folder.path());
        let mut last = 0;
        while let Some(next) = batch(&bytes, last).filter(|next| next.range.end < end) {
            last = next.range.end;
        }
        let mut in_order = 0;
        for bit in (0..last * 8).step_by(59) {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            // Of a number that stays in order nothing is to be seen, and nothing follows from it.
            let is_in_order = whole_batches(&changed, 0).0 == end;
            assert!(damage(&changed, false).is_some() || is_in_order, "bit {bit}");
            in_order += usize::from(is_in_order);
        }
        assert!(in_order < 20, "{in_order} changed bits were not found");
        let mut changed = bytes.clone();
        changed[last / 2] ^= 0x10;
        fs::write(&path, &changed).unwrap();
        let refused = Embedded::open(folder.path(), EmbeddedConfig::default());
        assert!(matches!(refused, Err(OpenError::Files { .. })));
        assert_eq!(fs::read(&path).unwrap(), changed, "nothing was touched");
    }

    #[test]
    fn what_a_crash_leaves_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 20);
        let (path, bytes, end) = journal(folder.path());
        for cut in (0..end).step_by(7) {
            assert!(damage(&bytes[..cut], false).is_none(), "cut at {cut}");
        }
        // A page that was never written, with a later one that was.
        let mut torn = bytes.clone();
        torn[512..1024].fill(0);
        assert!(damage(&torn, false).is_none());
        fs::write(&path, &bytes[..end - 3]).unwrap();
        Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
    }

    #[test]
    fn a_last_batch_is_damaged_or_torn() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 3);
        let store = Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // It does not compress, as journals are compressed.
        let hashes = (0..1_125_u64).flat_map(|at| xxh3_64(&at.to_le_bytes()).to_le_bytes());
        let large: Vec<u8> = hashes.collect();
        let put = store.put_if_absent(b"large", &large, Durability::Sync);
        runtime.block_on(put).unwrap();
        drop(store);
        let (path, bytes, end) = journal(folder.path());
        let mut changed = bytes.clone();
        changed[end - 3_000] ^= 1;
        fs::write(&path, &changed).unwrap();
        let refused = Embedded::open(folder.path(), EmbeddedConfig::default());
        assert!(matches!(refused, Err(OpenError::Files { .. })));
        assert_eq!(fs::read(&path).unwrap(), changed, "nothing was touched");
        // A page of it has never been written.
        let mut torn = bytes.clone();
        let page = (end - 5_000).next_multiple_of(SECTOR);
        torn[page..page + SECTOR].fill(0);
        fs::write(&path, &torn).unwrap();
        let store = Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
        assert_eq!(runtime.block_on(store.get(b"large")).unwrap(), None);
        assert_eq!(runtime.block_on(store.get(&[2])).unwrap(), Some(vec![2; 900]));
    }

    #[test]
    fn a_journal_that_another_one_follows_ends_whole() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 3);
        let (_, bytes, end) = journal(folder.path());
        assert!(damage(&bytes[..end], true).is_none());
        assert!(damage(&bytes[..end - 1], true).is_some());
    }

    #[test]
    fn batches_after_damage_are_kept_when_it_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 20);
        let (path, mut bytes, end) = journal(folder.path());
        let before = whole_batches(&bytes, 0).1;
        bytes[end / 2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(cut_off_damage(&path).unwrap());
        let cut = fs::read(&path).unwrap();
        assert!(bytes.starts_with(&cut) && !cut.is_empty() && cut.len() <= end / 2);
        check(folder.path()).unwrap();
        fs::write(&path, &bytes).unwrap();
        assert!(take_out_damage(&path).unwrap());
        check(folder.path()).unwrap();
        assert_eq!(whole_batches(&fs::read(&path).unwrap(), 0).1, before - 1);
        assert!(!take_out_damage(&path).unwrap() && !cut_off_damage(&path).unwrap());
        Embedded::open(folder.path(), EmbeddedConfig::default()).unwrap();
    }
}
