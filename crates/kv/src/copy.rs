//! Copies of databases and folders for those who look at them without changing them.

use std::fs;
use std::io;
use std::path::Path;

/// The folder of sorted tables, which are written once.
const TABLES: &str = "tables";
const JOURNAL: &str = "jnl";
/// Belongs to the process that has a database open.
const LOCK: &str = "lock";

/// Copies a closed database. Its tables are shared with it where the file system allows it: they
/// are never changed in place, and what either side removes stays for the other.
///
/// # Errors
/// The operating system's.
pub fn copy_database(from: &Path, to: &Path) -> io::Result<()> {
    copy(from, to, &|path| {
        let folder = path.parent().and_then(Path::file_name);
        folder.is_some_and(|folder| folder == TABLES)
    })?;
    fs::write(to.join(LOCK), b"")
}

/// Copies a folder whose files are written once, and shares them where possible.
///
/// # Errors
/// The operating system's.
pub fn share_folder(from: &Path, to: &Path) -> io::Result<()> {
    copy(from, to, &|_| true)
}

/// Copies a folder with all that is below it.
///
/// # Errors
/// The operating system's.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    copy(from, to, &|_| false)
}

/// Whether something in a database has the place or the name of what it cannot be.
fn is_stray(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    let is_journal = path.extension().is_some_and(|extension| extension == JOURNAL);
    is_journal && !path.is_file()
        || folder.is_some_and(|folder| folder == TABLES) && !crate::database::is_table(path)
}

fn copy(from: &Path, to: &Path, is_shared: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if is_stray(&source) {
            // It would be taken for what it is not.
        } else if entry.file_type()?.is_dir() {
            copy(&source, &target, is_shared)?;
        } else if entry.file_name() == LOCK {
            // Made anew.
        } else if !is_shared(&source) || fs::hard_link(&source, &target).is_err() {
            copy_file(&source, &target)?;
        }
    }
    Ok(())
}

/// Journals are mostly a hole: zeros at their end mean nothing, and are not copied.
fn copy_file(source: &Path, target: &Path) -> io::Result<()> {
    if source.extension().is_none_or(|extension| extension != JOURNAL) {
        return fs::copy(source, target).map(drop);
    }
    let bytes = fs::read(source)?;
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    fs::write(target, bytes.get(..end).unwrap_or_default())
}
