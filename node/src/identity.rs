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
const FORMAT: u32 = 2;
const WITHOUT_CHECKSUM: u32 = 1;

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
    /// The file is not what was written.
    #[error(
        "{} is damaged: {reason}; `hvs repair` writes it anew from what the logs say",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote it.
    #[error(
        "{} was made by a newer version of HVS: it has format {found}, this version reads {FORMAT}; \
         upgrade to that version",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There are logs of a node, but nothing says that this is the node.
    #[error(
        "{} is missing, but there are logs of node {node}; put it back, or `hvs repair` writes it \
         anew from what the logs say",
        .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Whose logs they are.
        node: String,
    },
    /// The logs are of another node.
    #[error(
        "{} says that this is node {found}, but the logs in `kv` beside it are of node {logs}: one of \
         them belongs to another data directory; put the right one back. If it is the file that is \
         wrong, remove it, and `hvs repair` writes it anew from what the logs say",
        .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose file it is.
        found: String,
        /// Whose logs they are.
        logs: String,
    },
    /// The file is older than the logs.
    #[error(
        "{} counts {found} starts, but the logs in `kv` beside it are of start {logs}: it is an older \
         copy; put the newest one back, or `hvs repair` writes it anew from what the logs say",
        .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Starts that it counts.
        found: u64,
        /// The start that wrote the logs last.
        logs: u64,
    },
}

/// Format 1, of version 0.1.0, had no checksum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    id: String,
    incarnation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32c: Option<u32>,
}

/// What every format begins with.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// Reads the identity in `directory`, or makes one, and counts this start. The count is on disk
/// when this returns, so no two starts have the same. `logs` is the writer that the logs know of,
/// if they know of any.
///
/// # Errors
/// [`IdentityError`]; nothing was counted then.
pub(crate) fn start(directory: &Path, logs: Option<&Writer>) -> Result<Writer, IdentityError> {
    let path = directory.join(FILE);
    let before = match (look(directory)?, logs) {
        (Some(before), logs) => {
            check(directory, &before, logs)?;
            before
        }
        (None, Some(logs)) => {
            return Err(IdentityError::Missing { path, node: logs.node.clone() });
        }
        (None, None) => Writer { node: Uuid::new_v4().to_string(), incarnation: 0 },
    };
    let now = Writer { incarnation: before.incarnation.saturating_add(1), ..before };
    replace(directory, &path, &now).map_err(|source| IdentityError::Io { path, source })?;
    Ok(now)
}

/// Keeps an identity whose starts are counted elsewhere as well. It is on disk when this returns.
///
/// # Errors
/// [`IdentityError`].
pub(crate) fn keep(directory: &Path, writer: &Writer) -> Result<(), IdentityError> {
    let path = directory.join(FILE);
    replace(directory, &path, writer).map_err(|source| IdentityError::Io { path, source })
}

/// The identity in `directory`, if there is one. Nothing is counted.
pub(crate) fn look(directory: &Path) -> Result<Option<Writer>, IdentityError> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => read(&path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Io { path, source }),
    }
}

/// Whether an identity fits to the logs beside it.
pub(crate) fn check(
    directory: &Path,
    found: &Writer,
    logs: Option<&Writer>,
) -> Result<(), IdentityError> {
    let path = directory.join(FILE);
    match logs {
        Some(logs) if logs.node != found.node => {
            Err(IdentityError::Foreign { path, found: found.node.clone(), logs: logs.node.clone() })
        }
        Some(logs) if logs.incarnation > found.incarnation => {
            Err(IdentityError::Older { path, found: found.incarnation, logs: logs.incarnation })
        }
        _ => Ok(()),
    }
}

/// The bytes of the file.
pub(crate) fn encode(writer: &Writer) -> Vec<u8> {
    let Writer { node, incarnation } = writer;
    let crc32c = Some(checksum(node, *incarnation));
    let stored = Stored { format: FORMAT, id: node.clone(), incarnation: *incarnation, crc32c };
    // Numbers and a string: nothing in it has no JSON.
    serde_json::to_vec(&stored).unwrap_or_default()
}

fn checksum(id: &str, incarnation: u64) -> u32 {
    crc32c::crc32c(format!("{FORMAT} {id} {incarnation}").as_bytes())
}

fn read(path: &Path, bytes: &[u8]) -> Result<Writer, IdentityError> {
    let damaged = |reason: String| IdentityError::Damaged { path: path.to_owned(), reason };
    let Header { format } =
        serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if format > FORMAT {
        return Err(IdentityError::Newer { path: path.to_owned(), found: format });
    }
    let Stored { format, id, incarnation, crc32c } =
        serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    match (format, crc32c) {
        (WITHOUT_CHECKSUM, None) => {}
        (FORMAT, Some(found)) if found == checksum(&id, incarnation) => {}
        (FORMAT, Some(_)) => return Err(damaged("its checksum is another one".to_owned())),
        _ => return Err(damaged(format!("there is no such file of format {format}"))),
    }
    Ok(Writer { node: id, incarnation })
}

/// The old file or the new one is there at every moment, whatever happens to the machine.
fn replace(directory: &Path, path: &Path, writer: &Writer) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&encode(writer))?;
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
        let first = start(directory.path(), None).unwrap();
        let second = start(directory.path(), Some(&first)).unwrap();
        assert_eq!(first.node, second.node);
        assert_eq!((first.incarnation, second.incarnation), (1, 2));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(start(other.path(), None).unwrap().node, first.node);
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for text in ["", "{}", r#"{"format":2,"id":"a","incarnation":1}"#] {
            fs::write(&path, text).unwrap();
            assert!(start(directory.path(), None).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn no_changed_bit_and_no_cut_is_read_as_something_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let writer = Writer { node: Uuid::new_v4().to_string(), incarnation: 37 };
        let whole = encode(&writer);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&path, &changed).is_err(), "bit {bit}");
        }
        for end in 0..whole.len() {
            assert!(read(&path, &whole[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(read(&path, &whole).unwrap(), writer);
    }

    #[test]
    fn the_first_format_is_read_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, r#"{"format":1,"id":"a","incarnation":4}"#).unwrap();
        let known = Writer { node: "a".to_owned(), incarnation: 4 };
        let writer = start(directory.path(), Some(&known)).unwrap();
        assert_eq!((writer.node.as_str(), writer.incarnation), ("a", 5));
        assert!(fs::read_to_string(&path).unwrap().contains("crc32c"));
    }

    #[test]
    fn a_newer_format_is_said_to_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let text = r#"{"format":3,"who":"a"}"#;
        fs::write(&path, text).unwrap();
        let error = start(directory.path(), None).unwrap_err();
        assert!(matches!(error, IdentityError::Newer { found: 3, .. }));
        assert!(error.to_string().contains("newer version"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn logs_of_another_node_or_of_a_later_start_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let own = start(directory.path(), None).unwrap();
        let before = fs::read(directory.path().join(FILE)).unwrap();
        let other = Writer { node: "other".to_owned(), incarnation: 1 };
        let refused = start(directory.path(), Some(&other)).unwrap_err();
        assert!(matches!(&refused, IdentityError::Foreign { logs, .. } if logs == "other"));
        let later = Writer { incarnation: 7, ..own };
        let refused = start(directory.path(), Some(&later)).unwrap_err();
        assert!(matches!(refused, IdentityError::Older { found: 1, logs: 7, .. }));
        assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), before);
        fs::remove_file(directory.path().join(FILE)).unwrap();
        let refused = start(directory.path(), Some(&later)).unwrap_err();
        assert!(matches!(refused, IdentityError::Missing { .. }));
    }
}
