//! Who this node is: an id that stays, and a count of its starts.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use hvs_shard::Writer;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const FILE: &str = "node.json";
const FORMAT: u32 = 1;

/// Why the identity cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file is not one of ours, or of a newer version.
    #[error(
        "{}: {reason}; `hvs repair` writes it anew from what the logs say, a newer version reads its own",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    id: String,
    incarnation: u64,
}

/// Reads the identity in `directory`, or makes one, and counts this start. The count is on disk
/// when this returns, so no two starts have the same.
///
/// # Errors
/// [`IdentityError`]; nothing was counted then.
pub(crate) fn start(directory: &Path) -> Result<Writer, IdentityError> {
    let path = directory.join(FILE);
    let before = match fs::read(&path) {
        Ok(bytes) => read(&path, &bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Stored { format: FORMAT, id: Uuid::new_v4().to_string(), incarnation: 0 }
        }
        Err(source) => return Err(IdentityError::Io { path, source }),
    };
    let now = Stored { incarnation: before.incarnation + 1, ..before };
    replace(directory, &path, &now).map_err(|source| IdentityError::Io { path, source })?;
    Ok(Writer { node: now.id, incarnation: now.incarnation })
}

/// The identity in `directory`, if there is one. Nothing is counted.
pub(crate) fn look(directory: &Path) -> Result<Option<Writer>, IdentityError> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let Stored { id, incarnation, .. } = read(&path, &bytes)?;
            Ok(Some(Writer { node: id, incarnation }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Io { path, source }),
    }
}

/// The bytes of the file.
pub(crate) fn encode(writer: &Writer) -> Vec<u8> {
    let Writer { node, incarnation } = writer;
    let stored = Stored { format: FORMAT, id: node.clone(), incarnation: *incarnation };
    // Two numbers and a string: nothing in it has no JSON.
    serde_json::to_vec(&stored).unwrap_or_default()
}

fn read(path: &Path, bytes: &[u8]) -> Result<Stored, IdentityError> {
    let damaged = |reason: String| IdentityError::Damaged { path: path.to_owned(), reason };
    let stored: Stored =
        serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if stored.format != FORMAT {
        return Err(damaged(format!("format {}, this version reads {FORMAT}", stored.format)));
    }
    Ok(stored)
}

/// The old file or the new one is there at every moment, whatever happens to the machine.
fn replace(directory: &Path, path: &Path, stored: &Stored) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stays_and_starts_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path()).unwrap();
        let second = start(directory.path()).unwrap();
        assert_eq!(first.node, second.node);
        assert_eq!((first.incarnation, second.incarnation), (1, 2));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(start(other.path()).unwrap().node, first.node);
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for text in ["", "{}", r#"{"format":2,"id":"a","incarnation":1}"#] {
            fs::write(&path, text).unwrap();
            assert!(start(directory.path()).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
