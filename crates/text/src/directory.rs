//! The folder of the index on disk, whose small files have checksums as well.
//!
//! The library writes a checksum behind each file of a segment, but not behind the two that say
//! which segments there are, and nowhere says which files belong together: one of another index has
//! a checksum that holds. So those two begin with lines of their own:
//!
//! ```text
//! hvs-text 1 <CRC-32C of the rest, 8 hexadecimal digits>
//!
//! hvs-text 2 <CRC-32C of the rest>
//! {"<name of a file of a segment>":[<its length>,<CRC-32C of its end, which has its checksum>],...}
//! ```
//!
//! The second form is that of the list of segments. Earlier programs wrote the first one there, too.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, MmapDirectory, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::index::SegmentId;

/// The list of segments.
pub(crate) const META: &str = "meta.json";
/// The end of a file that is looked at, in bytes: its checksum and what says how long that is.
const END: u64 = 256;

/// A file of a segment, as it was when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seal(u64, u32);

type Seals = BTreeMap<String, Seal>;

#[derive(Debug, Clone)]
pub(crate) struct CheckedDirectory {
    path: PathBuf,
    files: MmapDirectory,
    /// Of the files of all segments in the list.
    seals: Arc<Mutex<Seals>>,
}

impl CheckedDirectory {
    /// The folder, which must be there.
    pub(crate) fn open(path: &Path) -> tantivy::Result<Self> {
        let files = MmapDirectory::open(path)?;
        Ok(Self { path: path.to_owned(), files, seals: Arc::default() })
    }

    /// A file of a segment that is not the one that was written, if there is one. The list of
    /// segments must have been read.
    pub(crate) fn exchanged(&self) -> io::Result<Option<PathBuf>> {
        for (name, sealed) in self.seals.lock().iter() {
            let path = self.path.join(name);
            // One that is gone was removed later, or the library misses it.
            if seal(&path)?.is_some_and(|found| found != *sealed) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Those of the files of the segments in a list; of files that are known they stay.
    fn seal_all(&self, list: &[u8]) -> io::Result<Seals> {
        #[derive(Deserialize)]
        struct List {
            segments: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            segment_id: SegmentId,
        }
        let List { segments } = serde_json::from_slice(list)?;
        let segments: HashSet<String> =
            segments.iter().map(|listed| listed.segment_id.uuid_string()).collect();
        let known = self.seals.lock();
        let mut seals = Seals::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let (segment, _) = name.split_once('.').unwrap_or_default();
            if segments.contains(segment) {
                let sealed = match known.get(name) {
                    Some(sealed) => Some(*sealed),
                    None => seal(&path)?,
                };
                seals.extend(sealed.map(|sealed| (name.to_owned(), sealed)));
            }
        }
        Ok(seals)
    }
}

/// None if there is no such file.
fn seal(path: &Path) -> io::Result<Option<Seal>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(Some(Seal(length, crc32c::crc32c(&end))))
}

fn head(form: u8, data: &[u8]) -> String {
    format!("hvs-text {form} {:08x}\n", crc32c::crc32c(data))
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').map_or(0, |line| line + 1))
}

impl Directory for CheckedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.files.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let bytes = self.files.atomic_read(path)?;
        let (line, data) = split_line(&bytes);
        if line == head(1, data).as_bytes() {
            return Ok(data.to_vec());
        }
        let (seals, list) = split_line(data);
        if line == head(2, data).as_bytes()
            && let Ok(seals) = serde_json::from_slice::<Seals>(seals)
        {
            // What was written since is known better.
            let mut known = self.seals.lock();
            for (name, sealed) in seals {
                known.entry(name).or_insert(sealed);
            }
            return Ok(list.to_vec());
        }
        let damaged = io::Error::new(io::ErrorKind::InvalidData, "its checksum does not hold");
        Err(OpenReadError::wrap_io_error(damaged, path.to_path_buf()))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path != Path::new(META) {
            return self.files.atomic_write(path, &[head(1, data).as_bytes(), data].concat());
        }
        let seals = self.seal_all(data)?;
        let data = [serde_json::to_string(&seals)?.as_bytes(), b"\n", data].concat();
        self.files.atomic_write(path, &[head(2, &data).as_bytes(), &data].concat())?;
        *self.seals.lock() = seals;
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.files.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}
