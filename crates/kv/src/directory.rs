//! Directories that are still there after the power failed.
//!
//! A file system makes the content of a file durable without its name: that is part of the
//! directory, which has to be synced by itself, and so on upwards.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes the names in a directory durable.
///
/// # Errors
/// The operating system's.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes what is missing of a path, each directory durable in the one above it.
///
/// # Errors
/// The operating system's.
pub fn create(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent != directory && directory.parent().is_some() {
        create(parent)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync(parent)
}

/// Makes the directories of a database durable, which sees to its files and not to the names of
/// the directories that it makes: its own, and those of its keyspaces.
///
/// # Errors
/// The operating system's.
pub fn sync_database(path: &Path) -> io::Result<()> {
    sync(&path.join("keyspaces"))?;
    sync(path)?;
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        create(&deep).unwrap();
        fs::write(deep.join("kept"), "x").unwrap();
        create(&deep).unwrap();
        assert_eq!(fs::read(deep.join("kept")).unwrap(), b"x");
        assert!(create(&deep.join("kept/below-a-file")).is_err());
    }
}
