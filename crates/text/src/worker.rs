//! The thread that builds the index, and moves what was told to the disk.
//!
//! What is told goes into the *active* memory. To write it, it becomes *frozen*: searches still
//! find it there, until a commit shows it on disk.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use roaring::RoaringTreemap;
use tantivy::Searcher;

use crate::config::TextConfig;
use crate::disk::{Disk, Fields, discard};
use crate::error::SearchError;
use crate::index::{Mark, Source, pending};
use crate::memory::{Memory, Pending};
use crate::scoring::Layer;

/// Pauses before an index that could not be used is built anew.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Records between two looks at what else there is to do while the index is built.
const LOOK_EVERY: usize = 256;
/// How often an idle index looks whether merges have replaced segments.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Documents in memory that are many for a search to go through.
const MANY_DOCUMENTS: u64 = 50_000;

pub(crate) enum Phase {
    /// From the source. What is told is kept.
    Building,
    Ready,
    /// Until it is built anew. What is told is not kept: the source will show it.
    Failed(String),
    Closed,
}

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) searcher: Option<(Searcher, Fields)>,
    pub(crate) active: Memory,
    pub(crate) frozen: Option<Arc<Memory>>,
    mark: Mark,
    /// How often something was told, and how much of that is on disk.
    told: u64,
    written: u64,
}

impl State {
    pub(crate) fn memories(&self) -> impl Iterator<Item = &Memory> {
        std::iter::once(&self.active).chain(self.frozen.as_deref())
    }

    /// What is on disk, without what was removed since.
    pub(crate) fn layer(&self) -> Option<Layer> {
        let (searcher, fields) = self.searcher.clone()?;
        let mut removed = self.active.removed().clone();
        if let Some(frozen) = &self.frozen {
            removed |= frozen.removed();
        }
        Some(Layer { searcher, fields, removed })
    }
}

pub(crate) struct Shared {
    pub(crate) config: TextConfig,
    pub(crate) state: RwLock<State>,
    pub(crate) commits: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) read: AtomicU64,
    pub(crate) rebuilds: AtomicU64,
    stop: AtomicBool,
    hurry: AtomicBool,
    /// Counts what others may wait for.
    events: Mutex<u64>,
    event: Condvar,
}

impl Shared {
    pub(crate) fn new(config: TextConfig, mark: Mark) -> Self {
        Self {
            config,
            state: RwLock::new(State {
                phase: Phase::Building,
                searcher: None,
                active: Memory::default(),
                frozen: None,
                mark,
                told: 0,
                written: 0,
            }),
            commits: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(0),
            read: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
            events: Mutex::new(0),
            event: Condvar::new(),
        }
    }

    fn notify(&self) {
        let mut events = self.events.lock();
        *events = events.wrapping_add(1);
        self.event.notify_all();
    }

    /// Asks again after every event until there is an answer; none when the time is over.
    fn wait<T>(&self, until: Option<Instant>, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let seen = *self.events.lock();
            if let Some(answer) = ask() {
                return Some(answer);
            }
            let mut events = self.events.lock();
            while *events == seen {
                match until {
                    None => self.event.wait(&mut events),
                    Some(until) => {
                        if self.event.wait_until(&mut events, until).timed_out() {
                            return None;
                        }
                    }
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.notify();
    }

    pub(crate) fn closed(&self) {
        let mut state = self.state.write();
        state.phase = Phase::Closed;
        state.searcher = None;
        state.active = Memory::default();
        state.frozen = None;
        drop(state);
        self.notify();
    }

    /// Waits until less waits for the disk than may.
    pub(crate) fn wait_for_room(&self) {
        self.wait(None, || {
            let state = self.state.read();
            let is_kept = matches!(state.phase, Phase::Building | Phase::Ready);
            let has_room = state.active.bytes() < self.config.pending_bytes.max(1);
            (has_room || !is_kept || self.is_stopping()).then_some(())
        });
    }

    pub(crate) fn tell(&self, documents: Vec<(u64, Pending)>, removes: &[u64], mark: Mark) {
        let mut state = self.state.write();
        state.mark = mark;
        if documents.is_empty() && removes.is_empty() {
            return;
        }
        state.told += 1;
        if !matches!(state.phase, Phase::Building | Phase::Ready) {
            return;
        }
        let was_idle = state.active.is_empty();
        for (key, document) in documents {
            state.active.insert(key, document);
        }
        for key in removes {
            state.active.remove(*key);
        }
        let is_much = self.is_much(&state);
        drop(state);
        if was_idle || is_much {
            self.notify();
        }
    }

    /// Whether the memory should be written at once.
    fn is_much(&self, state: &State) -> bool {
        state.active.bytes() >= self.config.pending_bytes / 2
            || state.active.size().0 >= MANY_DOCUMENTS
    }

    /// Looks at the state once it can be searched.
    pub(crate) fn when_ready<T>(
        &self,
        deadline: Option<Instant>,
        look: impl Fn(&State) -> Option<T>,
    ) -> Result<T, SearchError> {
        let answer = self.wait(deadline, || {
            let state = self.state.read();
            match &state.phase {
                Phase::Building if self.is_stopping() => Some(Err(SearchError::Closed)),
                Phase::Building => None,
                Phase::Ready => look(&state).map(Ok),
                Phase::Failed(reason) => Some(Err(SearchError::Failed { reason: reason.clone() })),
                Phase::Closed => Some(Err(SearchError::Closed)),
            }
        });
        answer.unwrap_or(Err(SearchError::Building))
    }

    pub(crate) fn flush(&self) -> Result<(), SearchError> {
        let told = self.state.read().told;
        self.hurry.store(true, Ordering::Release);
        self.notify();
        let answer = self.wait(None, || {
            let state = self.state.read();
            match &state.phase {
                Phase::Ready if state.written >= told => Some(Ok(())),
                Phase::Building | Phase::Ready => {
                    // Another round may have ended with it.
                    self.hurry.store(true, Ordering::Release);
                    None
                }
                Phase::Failed(reason) => Some(Err(SearchError::Failed { reason: reason.clone() })),
                Phase::Closed => Some(Err(SearchError::Closed)),
            }
        });
        answer.unwrap_or(Ok(()))
    }

    /// Forgets all; only while it is built is kept what is told from then on.
    fn begin(&self, phase: Phase) {
        let mut state = self.state.write();
        state.phase = phase;
        state.active = Memory::default();
        state.frozen = None;
        state.searcher = None;
        drop(state);
        self.notify();
    }

    /// Takes what was told and is not on disk.
    fn take(&self) -> Memory {
        let told = std::mem::take(&mut self.state.write().active);
        // There is room again.
        self.notify();
        told
    }
}

pub(crate) struct Worker {
    shared: Arc<Shared>,
    directory: PathBuf,
    source: Box<dyn Source>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, directory: PathBuf, source: Box<dyn Source>) -> Self {
        Self { shared, directory, source }
    }

    /// `mark` is the state of the source before anything was told.
    pub(crate) fn run(self, mark: Mark) {
        let mut pause = FIRST_PAUSE;
        let mut opened = Some(mark);
        loop {
            let attempt = catch_unwind(AssertUnwindSafe(|| self.session(opened)));
            let reason = match attempt {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => "its thread panicked".to_owned(),
            };
            opened = None;
            tracing::error!(reason, "the index of text cannot be used; it will be built anew");
            self.shared.begin(Phase::Failed(reason));
            let until = Instant::now() + pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
            while !self.shared.is_stopping() && Instant::now() < until {
                self.shared.wait(Some(until), || self.shared.is_stopping().then_some(()));
            }
            if self.shared.is_stopping() {
                return;
            }
            self.shared.begin(Phase::Building);
        }
    }

    /// From opening the index until the end. `mark` is what the source showed when the index was
    /// opened; none if it failed since.
    fn session(&self, mark: Option<Mark>) -> Result<(), String> {
        // Keys from this one on are told, or have been.
        let told_from = mark.unwrap_or_else(|| self.shared.state.read().mark).next_key;
        let (mut disk, shown) = self.open(mark)?;
        let mut written = match shown {
            Some(shown) if Some(shown) == mark => shown,
            _ => {
                if !self.build(&disk, told_from)? {
                    // It is to stop. What is there is not complete, and does not say that it is.
                    return disk.close();
                }
                self.round(&mut disk)?
            }
        };
        self.show(&disk, |state| state.phase = Phase::Ready);
        loop {
            self.wait_for_work(&disk)?;
            let is_last = self.shared.is_stopping();
            let is_anything = {
                let state = self.shared.state.read();
                !state.active.is_empty() || is_last && state.mark != written
            };
            if is_anything {
                written = self.round(&mut disk)?;
            } else {
                self.shared.hurry.store(false, Ordering::Release);
                disk.refresh()?;
                self.show(&disk, |state| {
                    if state.active.is_empty() {
                        state.written = state.told;
                    }
                });
                disk.clean()?;
            }
            if is_last {
                return disk.close();
            }
        }
    }

    /// Lets searches see what is on disk.
    fn show(&self, disk: &Disk, change: impl FnOnce(&mut State)) {
        self.shared.disk_bytes.store(file_bytes(&self.directory), Ordering::Relaxed);
        let mut state = self.shared.state.write();
        state.searcher = Some((disk.searcher(), disk.fields()));
        change(&mut state);
        drop(state);
        self.shared.notify();
    }

    /// The index on disk, empty if what was there cannot be used.
    fn open(&self, mark: Option<Mark>) -> Result<(Disk, Option<Mark>), String> {
        let unusable = match mark {
            None => "it failed".to_owned(),
            Some(mark) => match Disk::open(&self.directory, &self.shared.config) {
                // Keys that the records no longer know will be given to others.
                Ok((_, Some(written))) if written.next_key > mark.next_key => format!(
                    "it shows key {}, the records end at {}",
                    written.next_key, mark.next_key
                ),
                Ok(opened) => return Ok(opened),
                Err(reason) => reason,
            },
        };
        tracing::warn!(reason = unusable, "building the index of text anew from the records");
        self.shared.rebuilds.fetch_add(1, Ordering::Relaxed);
        discard(&self.directory)?;
        Disk::open(&self.directory, &self.shared.config)
    }

    /// Adds what the source has and the index has not, and removes the rest. Keys from
    /// `told_from` on are left to what is told. Says whether it came to the end.
    fn build(&self, disk: &Disk, told_from: u64) -> Result<bool, String> {
        let shared = &self.shared;
        let known = disk.keys()?;
        let mut live = RoaringTreemap::new();
        // Removed since, and perhaps still there for the source.
        let mut removed = RoaringTreemap::new();
        let mut looked_at = 0_usize;
        let mut is_whole = true;
        self.source.visit(&mut |key, load| {
            looked_at += 1;
            if looked_at.is_multiple_of(LOOK_EVERY) {
                if shared.is_stopping() {
                    is_whole = false;
                    return Ok(ControlFlow::Break(()));
                }
                let is_much = shared.is_much(&shared.state.read());
                if is_much {
                    removed |= write(disk, &shared.take())?.removed();
                }
            }
            live.insert(key);
            let is_removed =
                removed.contains(key) || shared.state.read().active.removed().contains(key);
            if key >= told_from || known.contains(key) || is_removed {
                return Ok(ControlFlow::Continue(()));
            }
            shared.read.fetch_add(1, Ordering::Relaxed);
            let document = pending(load()?, shared.config.language);
            if document.length > 0 {
                disk.add(key, &document)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if is_whole {
            for key in &(known - live) {
                disk.remove(key);
            }
        }
        Ok(is_whole)
    }

    /// Waits until something is to be written, and then a while for more.
    fn wait_for_work(&self, disk: &Disk) -> Result<(), String> {
        let shared = &self.shared;
        let is_urgent = || shared.is_stopping() || shared.hurry.load(Ordering::Acquire);
        let begun = loop {
            let begun = shared.wait(Some(Instant::now() + LOOK_AGAIN), || {
                (is_urgent() || !shared.state.read().active.is_empty()).then(Instant::now)
            });
            if let Some(begun) = begun {
                break begun;
            }
            disk.refresh()?;
            self.show(disk, |_| {});
            disk.clean()?;
        };
        shared.wait(Some(begun + shared.config.commit_every), || {
            (is_urgent() || shared.is_much(&shared.state.read())).then_some(())
        });
        Ok(())
    }

    /// Writes what is in memory, and shows it on disk. The mark of what is written.
    fn round(&self, disk: &mut Disk) -> Result<Mark, String> {
        let shared = &self.shared;
        shared.hurry.store(false, Ordering::Release);
        let (frozen, mark, told) = {
            let mut state = shared.state.write();
            let frozen = Arc::new(std::mem::take(&mut state.active));
            state.frozen = Some(Arc::clone(&frozen));
            (frozen, state.mark, state.told)
        };
        // There is room again.
        shared.notify();
        write(disk, &frozen)?;
        disk.commit(&shared.config, mark)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.show(disk, |state| {
            state.frozen = None;
            state.written = told;
        });
        Ok(mark)
    }
}

/// Bytes of the files in a folder, for people who watch it: a file that is gone counts nothing.
fn file_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}

/// Writes what was told.
fn write<'a>(disk: &Disk, told: &'a Memory) -> Result<&'a Memory, String> {
    for key in told.removed() {
        disk.remove(key);
    }
    for (key, document) in told.documents() {
        disk.add(*key, document)?;
    }
    Ok(told)
}
