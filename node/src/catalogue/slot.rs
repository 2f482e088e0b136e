//! A namespace of the catalogue, and whether it is loaded.
//!
//! # Invariants
//! - Whoever holds a [`Namespace`] has open shards: they are closed when nobody holds one, is about
//!   to get one, or has [pinned](Pin) it.
//! - Both giving them out and taking the shards away happen under one lock, so that none sees a
//!   shard that is half closed.
//! - One thread at a time loads or unloads, however many wait for it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hvs_shard::ShardStats;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    CatalogueError,
    namespace::{Description, Loaded, Namespace, Released},
};
use crate::memory::Exhausted;

/// How long looking at counters takes, about.
const LOOK: Duration = Duration::from_micros(100);

/// One namespace for as long as it exists.
pub struct Slot {
    uid: Uuid,
    state: Mutex<State>,
    /// Held by everyone for whom it stays loaded: those who hold it, and those who only follow it.
    pins: Arc<()>,
}

struct State {
    /// As the last change left it.
    description: Arc<Description>,
    residence: Residence,
    /// Of the shards when they were closed, in their order.
    known: Vec<ShardStats>,
    /// What it took of memory then, and needs at least when it is loaded again.
    needs: u64,
    /// When it was opened or used last, and whether it was used since it was opened.
    last_used: Instant,
    is_used: bool,
}

enum Residence {
    Loaded(Arc<Loaded>, Released),
    /// With the reason for which it could not be loaded, if that was tried.
    Unloaded(Option<String>),
    /// It is being loaded or unloaded.
    Changing(watch::Receiver<Changed>),
    /// It is not to be loaded any more.
    Ended(Ended),
}

/// Which namespaces may be unloaded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unused {
    /// Those opened and used no later than so long ago.
    For(Duration),
    /// Those, and those that were opened at any time and not used since.
    SinceOpenedOrFor(Duration),
}

/// Why a namespace is not to be loaded any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Deleted,
    NodeStops,
}

/// What became of a change: nothing is known before it has ended.
pub(super) type Changed = Option<Result<(), LoadError>>;

/// Why a namespace was not loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// It does not fit beside what is in use.
    #[error(transparent)]
    Memory(#[from] Exhausted),
    /// A shard does not open.
    #[error(transparent)]
    Open(Arc<CatalogueError>),
}

/// Keeps a namespace loaded, and does not keep it from being deleted.
#[derive(Clone, Debug)]
pub struct Pin(#[expect(dead_code, reason = "it is counted")] Arc<()>);

/// What there is to say of a namespace whether it is loaded or not.
#[derive(Clone)]
pub struct Overview {
    /// What does not depend on that.
    pub description: Arc<Description>,
    /// Whether it is loaded.
    pub is_loaded: bool,
    /// Of its shards: as they are, or as they were when they were closed.
    pub stats: Vec<ShardStats>,
    /// Why it could not be loaded when that was tried last.
    pub problem: Option<String>,
}

impl Overview {
    /// Why a shard does not work, if one does not.
    pub fn stopped(&self) -> Option<String> {
        let stopped = self.stats.iter().find_map(|stats| stats.stopped.clone());
        stopped.or_else(|| self.problem.clone())
    }
}

/// What someone finds who wants to use a namespace.
pub(super) enum Found {
    Loaded(Namespace),
    /// Someone else is at work; it ends.
    Changing(watch::Receiver<Changed>),
    /// It is not loaded, and whoever found this is to load it.
    Unloaded(Change, watch::Receiver<Changed>),
    Ended(Ended),
}

/// The right to load or unload a namespace, and the duty to say how that ended.
pub(super) struct Change {
    slot: Arc<Slot>,
    done: watch::Sender<Changed>,
}

/// Shards that nobody uses any more, about to be closed.
pub(super) struct Unloading {
    change: Change,
    loaded: Arc<Loaded>,
}

impl Slot {
    pub(super) fn new(description: Description, loaded: Loaded, released: Released) -> Arc<Self> {
        let uid = description.entry.uid;
        let state = State {
            description: Arc::new(description),
            residence: Residence::Loaded(Arc::new(loaded), released),
            known: Vec::new(),
            needs: 0,
            last_used: Instant::now(),
            is_used: false,
        };
        Arc::new(Self { uid, state: Mutex::new(state), pins: Arc::new(()) })
    }

    pub(super) fn uid(&self) -> Uuid {
        self.uid
    }

    pub(super) fn description(&self) -> Arc<Description> {
        Arc::clone(&self.state.lock().description)
    }

    /// From now on it is this. Only for the one who changes the catalogue, and holds it loaded.
    pub(super) fn describe_as(&self, mut description: Description) {
        let mut state = self.state.lock();
        description.revision = state.description.revision + 1;
        state.description = Arc::new(description);
    }

    /// Somebody is about to use it.
    pub(super) fn expect_use(&self) {
        self.state.lock().is_used = true;
    }

    /// The namespace if it is loaded, and what to do about it if not.
    pub(super) fn find(self: &Arc<Self>) -> Found {
        let mut state = self.state.lock();
        match &state.residence {
            Residence::Loaded(loaded, _) => {
                let (description, loaded) = (Arc::clone(&state.description), Arc::clone(loaded));
                state.last_used = Instant::now();
                state.is_used = true;
                Found::Loaded(Namespace::new(description, loaded, Pin(Arc::clone(&self.pins))))
            }
            Residence::Changing(change) => Found::Changing(change.clone()),
            Residence::Ended(ended) => Found::Ended(*ended),
            Residence::Unloaded(_) => {
                let (done, changed) = watch::channel(None);
                state.residence = Residence::Changing(changed.clone());
                Found::Unloaded(Change { slot: Arc::clone(self), done }, changed)
            }
        }
    }

    pub(super) fn overview(&self) -> Overview {
        let (description, loaded, known, problem) = {
            let state = self.state.lock();
            let (loaded, problem) = match &state.residence {
                Residence::Loaded(loaded, _) => (Some(Arc::clone(loaded)), None),
                Residence::Unloaded(problem) => (None, problem.clone()),
                Residence::Changing(_) | Residence::Ended(_) => (None, None),
            };
            let known = if loaded.is_some() { Vec::new() } else { state.known.clone() };
            (Arc::clone(&state.description), loaded, known, problem)
        };
        // Not under the lock, which everyone who wants to use the namespace takes.
        let stats = loaded.as_ref().map_or(known, |loaded| loaded.stats());
        Overview { description, is_loaded: loaded.is_some(), stats, problem }
    }

    /// The shards if they are open, to look at them.
    pub(super) fn loaded(&self) -> Option<Arc<Loaded>> {
        match &self.state.lock().residence {
            Residence::Loaded(loaded, _) => Some(Arc::clone(loaded)),
            _ => None,
        }
    }

    /// Sorts what was used longer ago before what was used lately, and what was only opened before
    /// both. None if it is not loaded.
    pub(super) fn use_order(&self) -> Option<(bool, Instant)> {
        let state = self.state.lock();
        matches!(state.residence, Residence::Loaded(..)).then_some((state.is_used, state.last_used))
    }

    /// What it needs at least of memory when it is loaded again.
    pub(super) fn needs(&self) -> u64 {
        self.state.lock().needs
    }

    /// Takes the shards away if nobody has used them for so long, nobody uses them now, and they
    /// have nothing to do or to lose.
    pub(super) fn begin_unloading(self: &Arc<Self>, when: Unused) -> Option<Unloading> {
        let mut state = self.state.lock();
        let Residence::Loaded(loaded, _) = &state.residence else { return None };
        if Arc::strong_count(&self.pins) > 1 {
            // The time without use begins when the last user has gone.
            state.last_used = Instant::now();
            return None;
        }
        let is_long = match when {
            Unused::For(least) => state.last_used.elapsed() >= least,
            Unused::SinceOpenedOrFor(least) => !state.is_used || state.last_used.elapsed() >= least,
        };
        if !is_long {
            return None;
        }
        // Whoever was answered is seen here: nobody else can come while the lock is held.
        let stats = loaded.stats();
        if stats.iter().any(is_at_work) {
            return None;
        }
        let needs = loaded.memory().firm();
        let (done, changed) = watch::channel(None);
        let before = std::mem::replace(&mut state.residence, Residence::Changing(changed));
        let Residence::Loaded(loaded, _) = before else { return None };
        state.known = stats.into_iter().map(at_rest).collect();
        state.needs = needs;
        Some(Unloading { change: Change { slot: Arc::clone(self), done }, loaded })
    }

    /// Ends it, and gives out the shards if they are open. Waits for whoever changes it.
    pub(super) async fn end(&self, ended: Ended) -> Option<(Arc<Loaded>, Released)> {
        loop {
            let mut changing = {
                let mut state = self.state.lock();
                match std::mem::replace(&mut state.residence, Residence::Ended(ended)) {
                    Residence::Loaded(loaded, released) => return Some((loaded, released)),
                    Residence::Unloaded(_) | Residence::Ended(_) => return None,
                    Residence::Changing(changing) => {
                        state.residence = Residence::Changing(changing.clone());
                        changing
                    }
                }
            };
            // Also when the one who changes it is gone without an answer.
            let _ = changing.wait_for(Option::is_some).await;
        }
    }
}

impl Change {
    /// What is to be loaded. It does not change meanwhile: whoever changes it holds the namespace.
    pub(super) fn description(&self) -> Arc<Description> {
        self.slot.description()
    }

    /// What loading it takes of memory at least, as far as is known.
    pub(super) fn needs(&self) -> u64 {
        self.slot.needs()
    }

    /// Says how loading ended, to all who wait.
    pub(super) fn loaded(self, outcome: Result<(Loaded, Released), LoadError>) {
        let (residence, outcome) = match outcome {
            Ok((loaded, released)) => (Residence::Loaded(Arc::new(loaded), released), Ok(())),
            Err(error) => {
                // That there is no room, or the store of logs is away, says nothing of the namespace.
                let is_its_own =
                    matches!(&error, LoadError::Open(error) if error.passing().is_none());
                let problem = is_its_own.then(|| error.to_string());
                (Residence::Unloaded(problem), Err(error))
            }
        };
        self.end(residence, outcome);
    }

    fn end(&self, residence: Residence, outcome: Result<(), LoadError>) {
        {
            let mut state = self.slot.state.lock();
            state.last_used = Instant::now();
            state.is_used = true;
            state.residence = residence;
        }
        self.done.send_replace(Some(outcome));
    }
}

impl Drop for Change {
    /// A thread that panicked has nothing loaded.
    fn drop(&mut self) {
        if self.done.borrow().is_none() {
            self.end(Residence::Unloaded(None), Ok(()));
        }
    }
}

impl Unloading {
    /// Makes everything durable, closes the shards, and lets go of all they held. Blocks.
    pub(super) fn run(self) -> Result<(), CatalogueError> {
        let Self { change, loaded } = self;
        let name = change.description().name.clone();
        let closed = loaded.close(&name);
        // Whoever is just looking at its counters is done at once, and nobody else can come.
        while Arc::strong_count(&loaded) > 1 {
            thread::sleep(LOOK);
        }
        // What it holds is gone when this returns, so that it can be opened again.
        drop(loaded);
        change.end(Residence::Unloaded(None), Ok(()));
        closed
    }
}

/// Whether a shard has something to do, or holds what closing it would lose.
fn is_at_work(stats: &ShardStats) -> bool {
    stats.memory_records > 0
        || stats.queued_requests > 0
        || stats.rebuild_rows > 0
        || stats.is_recompressing
        // Why is only known while it is there.
        || stats.stopped.is_some()
        || stats.indexes.values().any(|index| index.building)
        || stats.text.is_some_and(|text| text.pending_bytes > 0 || !text.is_ready)
}

/// What remains true of a shard when it is closed.
fn at_rest(mut stats: ShardStats) -> ShardStats {
    stats.memory_bytes = 0;
    stats.queued_bytes = 0;
    stats.payload = hvs_shard::PayloadStats::default();
    for index in stats.indexes.values_mut() {
        index.bytes_anonymous = 0;
    }
    stats
}
