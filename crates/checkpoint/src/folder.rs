//! The compare-and-swap that a folder does not have by itself.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use crate::hash::Hash;

/// What became of a swap.
pub(crate) enum Swapped {
    Done,
    /// The file has another content, or there is one where none was expected, or none.
    Different,
}

/// Replaces the file if its bytes have the expected hash, or makes it if none is expected. All
/// that do so on one machine take turns: a lock beside the file is held meanwhile. The old or
/// the new file is there at every moment, whatever happens to the machine.
pub(crate) fn swap(path: &Path, expected: Option<Hash>, bytes: &[u8]) -> io::Result<Swapped> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let lock = path.with_extension("lock");
    // Never removed: whoever waits for it must wait for the same one.
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(lock)?;
    lock.lock()?;
    let found = match fs::read(path) {
        Ok(found) => Some(Hash::of(&found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if found != expected {
        return Ok(Swapped::Different);
    }
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()?;
    Ok(Swapped::Done)
}
