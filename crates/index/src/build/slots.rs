//! How many builds run at once, and whether any may begin.

use std::{
    num::NonZero,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// How often a waiting builder looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

static PROCESS: LazyLock<Builders> = LazyLock::new(|| Builders::new(0, 0));

/// The right to build, shared by all indexes that are given it: so many builds run at once, and
/// none begins while it is paused. Clones are the same.
#[derive(Clone)]
pub struct Builders(Arc<Shared>);

struct Shared {
    limit: usize,
    threads: NonZero<usize>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    is_paused: bool,
}

/// The right to build one segment, given back when dropped.
pub(super) struct Slot(Arc<Shared>);

impl Builders {
    /// For `limit` builds at once; 0 is half of the processors, at least 1, so that searches keep
    /// the others. What of a build can be split is split over `threads`; 0 is all processors.
    #[must_use]
    pub fn new(limit: usize, threads: usize) -> Self {
        let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let limit = if limit == 0 { (cores.get() / 2).max(1) } else { limit };
        let threads = NonZero::new(threads).unwrap_or(cores);
        Self(Arc::new(Shared { limit, threads, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Lets no further build begin. Those that run go on to their end.
    pub fn pause(&self) {
        self.0.state.lock().is_paused = true;
    }

    /// Lets builds begin again.
    pub fn resume(&self) {
        self.0.state.lock().is_paused = false;
        self.0.changed.notify_all();
    }

    /// Whether no build may begin.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.state.lock().is_paused
    }

    /// Builds that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.state.lock().running
    }

    /// The most that run at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Threads of one build, for the part of it that can be split.
    #[must_use]
    pub fn threads(&self) -> NonZero<usize> {
        self.0.threads
    }

    /// Waits for a slot; `None` once `stop` is set.
    pub(super) fn acquire(&self, stop: &AtomicBool) -> Option<Slot> {
        let mut state = self.0.state.lock();
        while state.is_paused || state.running >= self.0.limit {
            if stop.load(Ordering::Acquire) {
                return None;
            }
            self.0.changed.wait_for(&mut state, LOOK);
        }
        if stop.load(Ordering::Acquire) {
            return None;
        }
        state.running += 1;
        Some(Slot(Arc::clone(&self.0)))
    }
}

impl Default for Builders {
    /// The one that indexes of this process share which are not given another.
    fn default() -> Self {
        PROCESS.clone()
    }
}

impl std::fmt::Debug for Builders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { running, is_paused } = *self.0.state.lock();
        let limit = self.0.limit;
        write!(formatter, "Builders {{ {running} of {limit} running, paused: {is_paused} }}")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        self.0.changed.notify_one();
    }
}
