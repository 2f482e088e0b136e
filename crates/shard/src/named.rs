//! The index of one named vector, and beside it, for a while, the one that is to take its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hvs_index::{InsertError, VectorIndex};
use parking_lot::{Mutex, MutexGuard};

/// How often a replaced index is looked at whether somebody still searches in it.
const LOOK: Duration = Duration::from_millis(5);

/// The directory of the index of a vector. Names of vectors may be anything, names of directories
/// not. Each change of the index makes a new generation of it.
pub(crate) fn directory(indexes: &Path, name: &str, generation: u64) -> PathBuf {
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let digest = digest.get(..32).unwrap_or_default();
    match generation {
        0 => indexes.join(digest),
        _ => indexes.join(format!("{digest}-{generation}")),
    }
}

/// Removes the indexes of other generations: what a change left when it was interrupted.
pub(crate) fn remove_others(indexes: &Path, name: &str, generation: u64) -> std::io::Result<()> {
    let first = directory(indexes, name, 0);
    let digest = first.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let kept = directory(indexes, name, generation);
    let entries = match std::fs::read_dir(indexes) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let found = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = found.strip_prefix(&digest);
        let is_of_name = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if is_of_name && path != kept {
            tracing::info!(path = %path.display(), "removing an index that is not in use");
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// The index that is to take the place of another.
pub(crate) struct Next {
    pub(crate) index: Arc<VectorIndex>,
    pub(crate) generation: u64,
    /// Every live record with a key below it is in the index. What comes with such a key is there
    /// already.
    pub(crate) filled_below: u64,
    /// Keys that were removed while the index was being filled, and may come to it afterwards.
    /// None once everything that is written goes to it.
    pub(crate) removed: Option<Vec<u64>>,
    /// Why it can no longer take the place of the other.
    pub(crate) failure: Option<String>,
}

/// The index of one named vector.
pub(crate) struct Named {
    current: ArcSwap<VectorIndex>,
    /// Held while the indexes are told of a change.
    next: Mutex<Option<Next>>,
    generation: AtomicU64,
    /// Builds of the indexes that were replaced, and one for each of them.
    replaced_builds: AtomicU64,
}

impl Named {
    pub(crate) fn new(index: VectorIndex, generation: u64) -> Self {
        Self {
            current: ArcSwap::from_pointee(index),
            next: Mutex::new(None),
            generation: AtomicU64::new(generation),
            replaced_builds: AtomicU64::new(0),
        }
    }

    /// The one that answers.
    pub(crate) fn current(&self) -> Guard<Arc<VectorIndex>> {
        self.current.load()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn next(&self) -> MutexGuard<'_, Option<Next>> {
        self.next.lock()
    }

    pub(crate) fn insert(&self, key: u64, id: &str, vector: &[f64]) -> Result<(), InsertError> {
        let mut next = self.next.lock();
        self.current.load().insert(key, id, vector)?;
        if let Some(next) = next.as_mut()
            && next.removed.is_none()
            && key >= next.filled_below
            && next.failure.is_none()
            && let Err(error) = next.index.insert(key, id, vector)
        {
            next.failure = Some(error.to_string());
        }
        Ok(())
    }

    pub(crate) fn remove(&self, key: u64) {
        let mut next = self.next.lock();
        self.current.load().remove(key);
        if let Some(next) = next.as_mut() {
            next.index.remove(key);
            next.removed.iter_mut().for_each(|removed| removed.push(key));
        }
    }

    /// The key below which everything is in durable segments, whichever of the indexes is opened
    /// next.
    pub(crate) fn covered(&self) -> u64 {
        let next = self.next.lock();
        let covered = self.current.load().covered_below();
        next.as_ref().map_or(covered, |next| covered.min(next.index.covered_below()))
    }

    /// Whether a row of this key is held, or may come to be.
    pub(crate) fn holds(&self, key: u64) -> bool {
        let next = self.next.lock();
        let of_next = |next: &Next| next.removed.is_some() || next.index.holds(key);
        self.current.load().holds(key) || next.as_ref().is_some_and(of_next)
    }

    /// Grows with every segment that is published, and with every change of the index.
    pub(crate) fn builds(&self) -> u64 {
        let next = self.next.lock();
        let of_next = next.as_ref().map_or(0, |next| next.index.stats().builds);
        let replaced = self.replaced_builds.load(Ordering::Relaxed);
        self.current.load().stats().builds + of_next + replaced
    }

    /// Live rows that are not yet in segments of the next index.
    pub(crate) fn rebuild_rows(&self) -> u64 {
        let next = self.next.lock();
        let Some(next) = next.as_ref() else { return 0 };
        let (wanted, there) = (self.current.load().stats().live, next.index.stats());
        let built = (there.live + there.dead).saturating_sub(there.tail);
        wanted.saturating_sub(built) as u64
    }

    /// Lets the next index answer. Returns the one that did until now.
    pub(crate) fn switch(&self, next: &mut Option<Next>) -> Option<Arc<VectorIndex>> {
        let next = next.take()?;
        let builds = self.current.load().stats().builds + 1;
        self.replaced_builds.fetch_add(builds, Ordering::Relaxed);
        self.generation.store(next.generation, Ordering::Relaxed);
        Some(self.current.swap(next.index))
    }
}

/// Gives up an index, and removes its files. Waits for those who still search in it.
pub(crate) fn discard(mut index: Arc<VectorIndex>, directory: &Path) -> std::io::Result<()> {
    index.stop();
    loop {
        match Arc::try_unwrap(index) {
            // Which waits for its builder.
            Ok(index) => break drop(index),
            Err(shared) => index = shared,
        }
        std::thread::sleep(LOOK);
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
