//! A file of named sections with a CRC-32C each, mapped for reading.
//!
//! ```text
//! "HVSINDEX"  version u32  kind [u8; 4]  zeroes to 64
//! section, section, ...                      each starts at a multiple of 64
//! table: per section  name [u8; 8]  offset u64  length u64  crc u32  zero u32
//! trailer: table offset u64  table length u32  table crc u32  header crc u32
//!          crc u32 of these four  "HVSENDED"
//! ```
//! Numbers are little-endian. The trailer is written last, so a file that was cut short has none.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crc32c::{crc32c, crc32c_append};
use memmap2::{Mmap, UncheckedAdvice};

use super::{damaged, io_error, temporary};
use crate::error::OpenError;

const MAGIC: &[u8; 8] = b"HVSINDEX";
const END_MAGIC: &[u8; 8] = b"HVSENDED";
const HEADER: usize = 64;
const ALIGN: usize = 64;
const ENTRY: usize = 32;
const TRAILER: usize = 32;
/// The newest format of section files. The layout of the file itself is that of 1; later ones have
/// other sections. Since 2 a graph file may have a tree, inverted lists or codes, since 3 codes by
/// product quantisation.
pub(crate) const FORMAT: u32 = 3;

/// A section's name, at most eight bytes.
pub(crate) type Name = &'static str;

struct Entry {
    name: [u8; 8],
    offset: u64,
    length: u64,
    crc: u32,
}

fn fixed_name(name: Name) -> [u8; 8] {
    let mut fixed = [0; 8];
    for (to, from) in fixed.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    fixed
}

/// Writes a file section by section under its temporary name.
pub(crate) struct Writer {
    out: BufWriter<File>,
    position: u64,
    header: [u8; HEADER],
    entries: Vec<Entry>,
}

impl Writer {
    /// `format` is the oldest one whose readers understand all sections that follow.
    pub(crate) fn create(path: &Path, kind: [u8; 4], format: u32) -> io::Result<Self> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&format.to_le_bytes());
        header.extend_from_slice(&kind);
        header.resize(HEADER, 0);
        let header: [u8; HEADER] = header.try_into().unwrap_or([0; HEADER]);
        let mut out = BufWriter::with_capacity(1 << 20, File::create(temporary(path))?);
        out.write_all(&header)?;
        Ok(Self { out, position: HEADER as u64, header, entries: Vec::new() })
    }

    /// Starts a section; `write` appends to it.
    pub(crate) fn begin(&mut self, name: Name) -> io::Result<()> {
        self.pad()?;
        self.entries.push(Entry {
            name: fixed_name(name),
            offset: self.position,
            length: 0,
            crc: 0,
        });
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        if let Some(entry) = self.entries.last_mut() {
            entry.length += bytes.len() as u64;
            entry.crc = crc32c_append(entry.crc, bytes);
        }
        Ok(())
    }

    /// A whole section at once.
    pub(crate) fn section(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        self.begin(name)?;
        self.write(bytes)
    }

    /// Completes the file and makes it durable; returns its length. It still has its temporary
    /// name.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.pad()?;
        let mut table = Vec::with_capacity(self.entries.len() * ENTRY);
        for entry in &self.entries {
            table.extend_from_slice(&entry.name);
            table.extend_from_slice(&entry.offset.to_le_bytes());
            table.extend_from_slice(&entry.length.to_le_bytes());
            table.extend_from_slice(&entry.crc.to_le_bytes());
            table.extend_from_slice(&[0; 4]);
        }
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&self.position.to_le_bytes());
        trailer.extend_from_slice(&u32::try_from(table.len()).unwrap_or(u32::MAX).to_le_bytes());
        trailer.extend_from_slice(&crc32c(&table).to_le_bytes());
        trailer.extend_from_slice(&crc32c(&self.header).to_le_bytes());
        trailer.extend_from_slice(&crc32c(&trailer).to_le_bytes());
        trailer.extend_from_slice(END_MAGIC);
        self.out.write_all(&table)?;
        self.out.write_all(&trailer)?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.position + (table.len() + trailer.len()) as u64)
    }

    fn pad(&mut self) -> io::Result<()> {
        let over = usize::try_from(self.position).unwrap_or(0) % ALIGN;
        if over > 0 {
            let zeroes = [0; ALIGN];
            let padding = zeroes.get(over..).unwrap_or_default();
            self.out.write_all(padding)?;
            self.position += padding.len() as u64;
        }
        Ok(())
    }
}

/// A mapped file, all of whose checksums held when it was opened.
#[derive(Debug)]
pub(crate) struct Sections {
    path: PathBuf,
    file: File,
    map: Mmap,
    entries: Vec<Placed>,
}

/// A section's name and its bytes in the file.
type Placed = ([u8; 8], Range<usize>);

impl Sections {
    /// Maps a file and verifies every byte of it.
    pub(crate) fn open(path: &Path, kind: [u8; 4]) -> Result<Self, OpenError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(path, "the file is missing"));
            }
            Err(error) => return Err(io_error(path)(error)),
        };
        #[allow(unsafe_code, reason = "mapping a file has no safe form")]
        // SAFETY: segment files are never changed in place: they are written under another name,
        // renamed when complete, and only ever unlinked, which leaves the mapping intact.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error(path))?;
        let entries = Self::verify(path, &map, kind)?;
        Ok(Self { path: path.to_owned(), file, map, entries })
    }

    fn verify(path: &Path, map: &[u8], kind: [u8; 4]) -> Result<Vec<Placed>, OpenError> {
        let Some((header, _)) = map.split_first_chunk::<HEADER>() else {
            return Err(damaged(path, format!("{} bytes, shorter than a header", map.len())));
        };
        let mut fields = Fields(header);
        if fields.take() != Some(*MAGIC) {
            return Err(damaged(path, "it does not start like an index file"));
        }
        let found = fields.u32();
        if !(1..=FORMAT).contains(&found) {
            if found > FORMAT && found < 1 << 16 {
                return Err(OpenError::Format { path: path.to_owned(), found, supported: FORMAT });
            }
            return Err(damaged(path, format!("format {found} does not exist")));
        }
        if fields.take() != Some(kind) {
            return Err(damaged(path, "it is another kind of index file"));
        }
        let Some((body, trailer)) = map.split_last_chunk::<TRAILER>() else {
            return Err(damaged(path, "shorter than a trailer"));
        };
        let mut fields = Fields(trailer);
        let (table_at, table_len) = (fields.u64(), fields.u32());
        let (table_crc, header_crc) = (fields.u32(), fields.u32());
        let trailer_crc = fields.u32();
        if fields.take() != Some(*END_MAGIC) {
            return Err(damaged(path, "the end is missing: it was cut short"));
        }
        if trailer.get(..TRAILER - 12).map(crc32c) != Some(trailer_crc) {
            return Err(damaged(path, "the trailer's checksum does not hold"));
        }
        if crc32c(header) != header_crc {
            return Err(damaged(path, "the header's checksum does not hold"));
        }
        let table_at = usize::try_from(table_at).unwrap_or(usize::MAX);
        let table = body.get(table_at..).unwrap_or_default();
        if table.len() != table_len as usize || crc32c(table) != table_crc {
            return Err(damaged(path, "the table's checksum does not hold"));
        }
        let mut entries = Vec::new();
        let mut covered = HEADER;
        for entry in table.chunks_exact(ENTRY) {
            let mut fields = Fields(entry);
            let name: [u8; 8] = fields.take().unwrap_or_default();
            let (offset, length, crc) = (fields.u64(), fields.u64(), fields.u32());
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            let label = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
            let Some(bytes) = body.get(start..end) else {
                return Err(damaged(path, format!("section {label} is outside the file")));
            };
            if crc32c(bytes) != crc {
                return Err(damaged(path, format!("section {label}: the checksum does not hold")));
            }
            if body.get(covered..start).is_none_or(|gap| gap.iter().any(|&byte| byte != 0)) {
                return Err(damaged(path, format!("bytes before section {label} were changed")));
            }
            covered = end;
            entries.push((name, start..end));
        }
        if body.get(covered..table_at).is_none_or(|gap| gap.iter().any(|&byte| byte != 0)) {
            return Err(damaged(path, "bytes before the table were changed"));
        }
        Ok(entries)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.map.get(range.clone()).unwrap_or_default()
    }

    fn place(&self, name: Name) -> Option<&Range<usize>> {
        let name = fixed_name(name);
        self.entries.iter().find(|(entry, _)| *entry == name).map(|(_, range)| range)
    }

    /// A section's bytes, empty when there is no such section.
    pub(crate) fn section(&self, name: Name) -> &[u8] {
        self.place(name).map(|range| self.bytes(range)).unwrap_or_default()
    }

    /// Copies a section's bytes from `offset` on, past the mapping, so that no page of it becomes
    /// part of the process. `None` if they are not all in the section, or cannot be read.
    pub(crate) fn copy(&self, name: Name, offset: usize, bytes: &mut [u8]) -> Option<()> {
        let range = self.place(name)?;
        let start = range.start.checked_add(offset)?;
        if start.checked_add(bytes.len())? > range.end {
            return None;
        }
        self.file.read_exact_at(bytes, start as u64).ok()
    }

    /// Lets go of the pages that the process has of a section, or of all. They are mapped again
    /// when they are read; the page cache keeps them as long as there is room.
    pub(crate) fn forget(&self, name: Option<Name>) {
        let range = match name {
            Some(name) => self.place(name).cloned().unwrap_or_default(),
            None => 0..self.map.len(),
        };
        #[allow(unsafe_code, reason = "this advice has no safe form")]
        // SAFETY: the mapping is of a file and read-only, so what is let go of can be read again
        // and is the same then.
        // Only a hint: where it is refused, pages stay.
        let _ = unsafe {
            self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }

    /// A section as numbers, of which there must be `count`.
    pub(crate) fn numbers<N: bytemuck::Pod>(
        &self,
        name: Name,
        count: usize,
    ) -> Result<&[N], OpenError> {
        let bytes = self.section(name);
        if bytes.is_empty() && count == 0 {
            return Ok(&[]);
        }
        let numbers: &[N] = bytemuck::try_cast_slice(bytes)
            .map_err(|_| damaged(&self.path, format!("section {name} has an odd length")))?;
        if numbers.len() != count {
            let reason = format!("section {name} holds {} numbers, not {count}", numbers.len());
            return Err(damaged(&self.path, reason));
        }
        Ok(numbers)
    }
}

/// Reads little-endian fields one after the other; what is missing reads as zero.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> u32 {
        self.take().map_or(0, u32::from_le_bytes)
    }

    fn u64(&mut self) -> u64 {
        self.take().map_or(0, u64::from_le_bytes)
    }
}
