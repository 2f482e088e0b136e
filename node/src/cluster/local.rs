//! The data directory of a node whose logs are elsewhere.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::JoinError;

/// Held by the process that has the directory.
const LOCK: &str = "lock";
/// Where the logs are of a node that has them in its directory.
const EMBEDDED: &str = "kv";

/// A data directory that no other process uses, until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct LocalDirectory {
    _lock: File,
}

impl LocalDirectory {
    /// Whether a directory is one: its logs are elsewhere.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.join(LOCK).exists()
    }

    /// Makes what is missing of it, and locks it.
    pub(super) fn take(path: &Path) -> Result<Self, JoinError> {
        let refuse = |path: PathBuf| move |source| JoinError::DataDirectory { path, source };
        hvs_kv::directory::create(&path.join("shards")).map_err(refuse(path.to_owned()))?;
        let embedded = path.join(EMBEDDED);
        let is_used = match fs::read_dir(&embedded) {
            Ok(mut inside) => inside.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(refuse(embedded)(error)),
        };
        if is_used {
            return Err(JoinError::Embedded { path: path.to_owned() });
        }
        let file = path.join(LOCK);
        let lock = File::create(&file).map_err(refuse(file.clone()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(JoinError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(refuse(file)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let first = LocalDirectory::take(&path).unwrap();
        assert!(matches!(LocalDirectory::take(&path), Err(JoinError::InUse { .. })));
        drop(first);
        LocalDirectory::take(&path).unwrap();
        assert!(LocalDirectory::is_one(&path) && !LocalDirectory::is_one(folder.path()));
    }

    #[test]
    fn one_with_logs_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(EMBEDDED)).unwrap();
        drop(LocalDirectory::take(folder.path()).unwrap());
        fs::write(folder.path().join(EMBEDDED).join("journal"), "x").unwrap();
        let refused = LocalDirectory::take(folder.path());
        assert!(matches!(refused, Err(JoinError::Embedded { .. })));
        fs::remove_file(folder.path().join(LOCK)).unwrap();
        assert!(LocalDirectory::take(folder.path()).is_err());
        assert!(!LocalDirectory::is_one(folder.path()), "it is not marked as one");
    }
}
