//! The folder of the index on disk, whose small files have checksums as well.
//!
//! The library writes a checksum behind each file of a segment, but not behind the two that say
//! which segments there are. Those begin here with a line of their own:
//!
//! ```text
//! hvs-text 1 <CRC-32C of the rest, 8 hexadecimal digits>
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, MmapDirectory, WatchCallback, WatchHandle, WritePtr,
};

#[derive(Debug, Clone)]
pub(crate) struct CheckedDirectory {
    files: MmapDirectory,
}

impl CheckedDirectory {
    /// The folder, which must be there.
    pub(crate) fn open(path: &Path) -> tantivy::Result<Self> {
        Ok(Self { files: MmapDirectory::open(path)? })
    }
}

fn head(data: &[u8]) -> String {
    format!("hvs-text 1 {:08x}\n", crc32c::crc32c(data))
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
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |line| line + 1);
        let (line, data) = bytes.split_at(end);
        if line == head(data).as_bytes() {
            return Ok(data.to_vec());
        }
        let damaged = io::Error::new(io::ErrorKind::InvalidData, "its checksum does not hold");
        Err(OpenReadError::wrap_io_error(damaged, path.to_path_buf()))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let mut bytes = head(data).into_bytes();
        bytes.extend_from_slice(data);
        self.files.atomic_write(path, &bytes)
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
