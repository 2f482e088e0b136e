//! The index of text that answers, and beside it, for a while, the one that is to take its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hvs_text::{Mark, TextConfig};
use parking_lot::{Mutex, MutexGuard};

use super::{Text, mark};
use crate::codec::DecodeError;
use crate::config::ShardConfig;
use crate::error::OpenError;
use crate::indexes::IndexChanges;
use crate::meta::Meta;
use crate::store::Store;

/// The directory of the index of text; those of vectors are hexadecimal numbers.
const TEXT: &str = "text";

/// The directory of a generation of the index of text, below that of the indexes.
pub(crate) fn directory(indexes: &Path, generation: u64) -> PathBuf {
    match generation {
        0 => indexes.join(TEXT),
        _ => indexes.join(format!("{TEXT}-{generation}")),
    }
}

/// Removes what a change left when it was interrupted, and what was in use before it.
fn remove_others(indexes: &Path, kept: Option<&Path>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(indexes) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let found = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = found.strip_prefix(TEXT);
        let is_of_text = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if is_of_text && Some(path.as_path()) != kept {
            tracing::info!(path = %path.display(), "removing an index of text that is not in use");
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// The index of text of a shard, if it has one.
pub(crate) struct TextSlot {
    current: ArcSwapOption<Text>,
    /// Held while the indexes are told of a change.
    told: Mutex<Told>,
}

/// What the indexes were told.
pub(crate) struct Told {
    /// Of the last change.
    mark: Mark,
    /// Of the index that answers, or did so last.
    pub(crate) generation: u64,
    pub(crate) next: Option<Next>,
}

/// The index that is to take the place of another.
pub(crate) struct Next {
    pub(crate) text: Arc<Text>,
    pub(crate) generation: u64,
}

impl TextSlot {
    pub(crate) fn open(
        indexes: &Path,
        shard: &ShardConfig,
        store: &Store,
        meta: &Meta,
    ) -> Result<Self, OpenError> {
        let generation = shard.text_generation;
        let path = directory(indexes, generation);
        let kept = shard.text.as_ref().map(|_| path.as_path());
        remove_others(indexes, kept).map_err(|source| OpenError::Io {
            what: "remove indexes of text that are not in use".to_owned(),
            source,
        })?;
        let text = match &shard.text {
            Some(config) => Some(Arc::new(Text::open(&path, config, store, mark(meta))?)),
            None => None,
        };
        Ok(Self {
            current: ArcSwapOption::new(text),
            told: Mutex::new(Told { mark: mark(meta), generation, next: None }),
        })
    }

    /// The one that answers.
    pub(crate) fn current(&self) -> Option<Arc<Text>> {
        self.current.load_full()
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock()
    }

    /// `meta` is the state after the changes.
    pub(crate) fn apply(&self, changes: &IndexChanges<'_>, meta: &Meta) -> Result<(), DecodeError> {
        let mut told = self.told.lock();
        told.mark = mark(meta);
        if let Some(text) = &*self.current.load() {
            text.apply(changes, told.mark)?;
        }
        match &told.next {
            Some(next) => next.text.apply(changes, told.mark),
            None => Ok(()),
        }
    }

    /// Lets the next index answer, or none if there is no next one. Returns the one that did until
    /// now, and its generation.
    pub(crate) fn switch(&self, told: &mut Told) -> (Option<Arc<Text>>, u64) {
        let before = told.generation;
        let next = told.next.take();
        if let Some(next) = &next {
            told.generation = next.generation;
        }
        (self.current.swap(next.map(|next| next.text)), before)
    }

    pub(crate) fn close(&self) {
        let next = self.told.lock().next.as_ref().map(|next| Arc::clone(&next.text));
        for text in self.current().into_iter().chain(next) {
            text.close();
        }
    }
}

impl Told {
    /// Opens an index that is told of every change from now on, and reads the rest from the store.
    pub(crate) fn open(
        &self,
        path: &Path,
        config: &TextConfig,
        store: &Store,
    ) -> Result<Text, OpenError> {
        Text::open(path, config, store, self.mark)
    }
}
