//! Adding an index of text to a shard in use, changing it, and taking it away.
//!
//! An index is built from the records in a directory of its own, beside the one that answers, if
//! there is one, and is told of everything that is written meanwhile. Which of them is opened after
//! a restart is said by [`ShardConfig::text_generation`](crate::ShardConfig) and
//! [`ShardConfig::text`](crate::ShardConfig): whoever changes it writes them down, and then lets the
//! index answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hvs_text::{TextConfig, TextStats};

use super::{Text, directory, slot::Next};
use crate::error::ReindexError;
use crate::inner::Inner;

/// How often it is asked whether to go on, or whether somebody still searches.
const LOOK: Duration = Duration::from_millis(50);

/// An index of text that is being built. Dropping it gives it up.
pub struct TextChange {
    shard: Arc<Inner>,
    text: Option<Arc<Text>>,
    config: TextConfig,
    directory: PathBuf,
}

fn failed(reason: &(impl ToString + ?Sized)) -> ReindexError {
    ReindexError::Text { reason: reason.to_string() }
}

impl TextChange {
    pub(crate) fn begin(
        shard: Arc<Inner>,
        config: TextConfig,
        generation: u64,
    ) -> Result<Self, ReindexError> {
        let config = TextConfig { owner: shard.config.shard.to_string(), ..config };
        let directory = directory(shard.indexes.directory(), generation);
        let mut told = shard.indexes.text().told();
        if told.next.is_some() {
            return Err(failed("it is being changed already"));
        }
        if generation <= told.generation {
            let reason = format!("generation {generation} is not above {}", told.generation);
            return Err(failed(&reason));
        }
        // What an attempt before it left.
        remove(&directory)?;
        let text =
            Arc::new(told.open(&directory, &config, &shard.store).map_err(|error| failed(&error))?);
        told.next = Some(Next { text: Arc::clone(&text), generation });
        drop(told);
        Ok(Self { shard, text: Some(text), config, directory })
    }

    /// Waits until the index is complete. `go_on` is told often how many records it has read, and
    /// says whether to go on. Blocks.
    pub fn wait(&self, go_on: &dyn Fn(u64) -> bool) -> Result<(), ReindexError> {
        let Some(text) = &self.text else { return Ok(()) };
        wait(|| Some(text.stats()), go_on)
    }

    /// Lets the index answer, complete or not. Call it when it is written down where the shard's
    /// configuration comes from: a restart uses what is written there.
    pub fn switch(mut self) -> ReplacedText {
        self.text = None;
        let slot = self.shard.indexes.text();
        // Before the index: of what is searched for by its words, none is to be missed.
        self.shard.memory.index_text(Some(&self.config));
        let (before, generation) = slot.switch(&mut slot.told());
        ReplacedText {
            text: before,
            directory: directory(self.shard.indexes.directory(), generation),
        }
    }
}

impl Drop for TextChange {
    fn drop(&mut self) {
        let Some(text) = self.text.take() else { return };
        self.shard.indexes.text().told().next = None;
        if let Err(error) = discard(text, &self.directory) {
            // It is removed when the shard is opened next.
            tracing::warn!(%error, "an index of text is not removed");
        }
    }
}

/// An index of text that answers no more.
#[must_use = "its files are there until it is removed, or the shard is opened again"]
pub struct ReplacedText {
    text: Option<Arc<Text>>,
    directory: PathBuf,
}

impl ReplacedText {
    /// Removes its files. Waits for searches that began before it was replaced.
    pub fn remove(self) -> Result<(), ReindexError> {
        match self.text {
            Some(text) => discard(text, &self.directory),
            None => Ok(()),
        }
    }
}

impl Inner {
    /// From now on no index of text answers. One that is being made to take its place is left to
    /// whoever makes it.
    pub(crate) fn drop_text(&self) -> Result<ReplacedText, ReindexError> {
        let slot = self.indexes.text();
        let mut told = slot.told();
        if told.next.is_some() {
            return Err(failed("it is being changed"));
        }
        let (text, generation) = slot.switch(&mut told);
        drop(told);
        self.memory.index_text(None);
        Ok(ReplacedText { text, directory: directory(self.indexes.directory(), generation) })
    }

    pub(crate) fn wait_for_text(&self, go_on: &dyn Fn(u64) -> bool) -> Result<(), ReindexError> {
        wait(|| self.indexes.text().current().map(|text| text.stats()), go_on)
    }
}

/// Waits until an index is complete, or gone.
fn wait(
    stats: impl Fn() -> Option<TextStats>,
    go_on: &dyn Fn(u64) -> bool,
) -> Result<(), ReindexError> {
    while let Some(stats) = stats() {
        if !go_on(stats.read) {
            return Err(ReindexError::Cancelled);
        }
        if stats.is_ready {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Gives up an index, and removes its files. Waits for those who still search in it.
fn discard(mut text: Arc<Text>, directory: &std::path::Path) -> Result<(), ReindexError> {
    text.stop();
    loop {
        match Arc::try_unwrap(text) {
            // Which waits for its thread.
            Ok(text) => break drop(text),
            Err(shared) => text = shared,
        }
        std::thread::sleep(LOOK);
    }
    remove(directory)
}

fn remove(directory: &std::path::Path) -> Result<(), ReindexError> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ReindexError::Io { path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}
