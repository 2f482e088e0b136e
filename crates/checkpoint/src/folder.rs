//! What a folder does not have by itself: writing once, durably, and compare-and-swap.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use crate::hash::Hash;

/// Writes a file that is not there yet, and makes it durable. Whatever happens to the machine, the
/// file is there as a whole or not at all.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    create_directories(directory)?;
    let temporary = path.with_extension("new");
    write(&temporary, bytes)?;
    // Unlike a rename it never replaces a file.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    File::open(directory)?.sync_all()
}

/// Makes what is missing of a path, each directory durable in the one above it.
fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return fs::create_dir(directory) };
    create_directories(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

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
    create_directories(directory)?;
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
    write(&temporary, bytes)?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()?;
    Ok(Swapped::Done)
}
