//! The index as its shard sees it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use roaring::RoaringTreemap;

use crate::analysis::words;
use crate::config::{MIN_WRITER_BYTES, TextConfig};
use crate::disk::Disk;
use crate::error::{OpenError, SearchError};
use crate::memory::{Match, Pending};
use crate::query::{Statistics, TextQuery};
use crate::scoring::{Found, TextHit, TextRequest};
use crate::worker::{Phase, Shared, State, Worker};

/// A record with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Of the record; every put has a higher one than all before.
    pub key: u64,
    /// Of the record.
    pub id: String,
    /// All its text.
    pub texts: Vec<String>,
}

/// Which state of the records an index shows. A put makes `next_key` larger for ever, and without
/// one `records` only becomes smaller, so that no two states of one history have the same mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The first key that no record has had.
    pub next_key: u64,
    /// How many records there are.
    pub records: u64,
}

/// What one step changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Documents that were put. Those without any word are as if they were not there.
    pub inserts: Vec<Document>,
    /// Keys of what was replaced or deleted.
    pub removes: Vec<u64>,
}

/// Where an index is built from.
pub trait Source: Send + Sync + 'static {
    /// Visits every record of one state, which shows at least what had been told to the index
    /// before the call.
    ///
    /// # Errors
    /// What went wrong, or what the visitor returned.
    fn visit(&self, visit: &mut Visit<'_>) -> Result<(), String>;
}

/// Told of each record: its key, and what reads its document.
pub type Visit<'a> =
    dyn FnMut(u64, &dyn Fn() -> Result<Document, String>) -> Result<ControlFlow<()>, String> + 'a;

/// Counters and sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextStats {
    /// Documents on disk and in memory, those included whose removal waits for the disk.
    pub documents: u64,
    /// Bytes of what waits for the disk, about.
    pub pending_bytes: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes on disk, as of the last commit.
    pub disk_bytes: u64,
    /// Commits since the index was opened.
    pub commits: u64,
    /// Documents that were read from the source since the index was opened.
    pub read: u64,
    /// Times that the index was built anew since it was opened, because it could not be used.
    pub rebuilds: u64,
    /// Whether it can be searched at once.
    pub is_ready: bool,
}

/// Full text of one shard. One thread writes; any number searches.
pub struct TextIndex {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl TextIndex {
    /// Opens the index in a folder, which belongs to it alone, and begins to bring it to what the
    /// source shows. `mark` is the state of the source; from now on every change is to be told.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is none: the index is then built anew.
    pub fn open(
        directory: &Path,
        config: TextConfig,
        source: impl Source,
        mark: Mark,
    ) -> Result<Self, OpenError> {
        if config.writer_bytes < MIN_WRITER_BYTES {
            let (given, least) = (config.writer_bytes, MIN_WRITER_BYTES);
            return Err(OpenError::WriterBytes { given, least });
        }
        let shared = Arc::new(Shared::new(config, mark));
        let worker = Worker::new(Arc::clone(&shared), directory.to_owned(), Box::new(source));
        let worker = std::thread::Builder::new()
            .name("hvs-text".to_owned())
            .spawn(move || worker.run(mark))
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Self { shared, worker: Mutex::new(Some(worker)) })
    }

    /// Checks every file of an index that nobody has open, and returns the state of the records
    /// that it shows and the keys of its documents; none if it shows no state yet. The folder is
    /// written to: give it a copy.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check(
        directory: &Path,
        config: &TextConfig,
    ) -> Result<Option<(Mark, RoaringTreemap)>, String> {
        let (disk, mark) = Disk::open(directory, config)?;
        let keys = disk.keys()?;
        disk.close()?;
        Ok(mark.map(|mark| (mark, keys)))
    }

    /// The settings.
    pub fn config(&self) -> &TextConfig {
        &self.shared.config
    }

    /// Tells of a change. The next search shows it, all of it or nothing. Waits while too much
    /// waits for the disk.
    pub fn apply(&self, change: Change, mark: Mark) {
        let language = self.shared.config.language;
        let documents: Vec<(u64, Pending)> = change
            .inserts
            .into_iter()
            .map(|document| (document.key, pending(document, language)))
            .filter(|(_, document)| document.length > 0)
            .collect();
        if !documents.is_empty() {
            self.shared.wait_for_room();
        }
        self.shared.tell(documents, &change.removes, mark);
    }

    /// What is known of the words of a query over all documents.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn statistics(
        &self,
        query: &TextQuery,
        deadline: Option<Instant>,
    ) -> Result<Statistics, SearchError> {
        let (layer, mut statistics) = self.shared.when_ready(deadline, |state| {
            let mut statistics =
                Statistics { with_word: vec![0; query.words().len()], ..Statistics::default() };
            for memory in state.memories() {
                statistics.add(&memory.statistics(query));
            }
            Some((state.layer()?, statistics))
        })?;
        statistics.add(&layer.statistics(query)?);
        Ok(statistics)
    }

    /// The documents that fit best: best first, equal scores in the order of their keys. Also
    /// says how many documents got a score.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search(&self, request: &TextRequest<'_>) -> Result<(Vec<TextHit>, usize), SearchError> {
        let (layer, matches) = self.shared.when_ready(request.deadline, |state| {
            Some((state.layer()?, matches(state, request.query)))
        })?;
        let mut found = Found::new(request);
        found.memory(request, matches)?;
        found.layer(request, &layer)?;
        Ok(found.into_hits())
    }

    /// Waits until all that was told is on disk.
    ///
    /// # Errors
    /// [`SearchError`], if the index cannot be written.
    pub fn flush(&self) -> Result<(), SearchError> {
        self.shared.flush()
    }

    /// Counters and sizes.
    pub fn stats(&self) -> TextStats {
        let state = self.shared.state.read();
        let told: u64 = state.memories().map(|memory| memory.size().0).sum();
        let searcher = state.searcher.as_ref();
        let on_disk = searcher.map_or(0, |(searcher, _)| searcher.num_docs());
        TextStats {
            documents: told.saturating_add(on_disk),
            pending_bytes: state.memories().map(|memory| memory.bytes() as u64).sum(),
            segments: searcher.map_or(0, |(searcher, _)| searcher.segment_readers().len() as u64),
            disk_bytes: self.shared.disk_bytes.load(Ordering::Relaxed),
            commits: self.shared.commits.load(Ordering::Relaxed),
            read: self.shared.read.load(Ordering::Relaxed),
            rebuilds: self.shared.rebuilds.load(Ordering::Relaxed),
            is_ready: matches!(state.phase, Phase::Ready),
        }
    }

    /// Ends the thread that writes, and does not wait for it: the index is about to be given up.
    /// Searches go on.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Writes what was told to the disk, and stops. Nothing is found any more.
    pub fn close(&self) {
        self.shared.stop();
        if let Some(worker) = self.worker.lock().take() {
            // A panic in it was reported by the thread itself.
            let _ = worker.join();
        }
        self.shared.closed();
    }
}

impl Document {
    /// Whether there is any word in it. An index holds no others.
    pub fn has_words(&self, language: crate::Language) -> bool {
        self.texts.iter().any(|text| !words(text, language).is_empty())
    }
}

impl Drop for TextIndex {
    fn drop(&mut self) {
        self.close();
    }
}

/// A document as it waits for the disk.
pub(crate) fn pending(document: Document, language: crate::Language) -> Pending {
    let all = document.texts.iter().flat_map(|text| words(text, language)).collect();
    Pending::new(document.id, all)
}

fn matches(state: &State, query: &TextQuery) -> Vec<Match> {
    let none = RoaringTreemap::new();
    let mut matches = state.active.matches(query.words(), &none);
    if let Some(frozen) = &state.frozen {
        matches.extend(frozen.matches(query.words(), state.active.removed()));
    }
    matches
}
