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
    /// the others. What of a build can be split is split over `threads`; 0 is all processors. All but
    /// the first of them give way to other threads.
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    #[test]
    fn who_finds_no_slot_waits_until_one_is_free_or_it_is_not_wanted_any_more() {
        let builders = Builders::new(2, 1);
        let first = builders.acquire(&NEVER).unwrap();
        let _second = builders.acquire(&NEVER).unwrap();
        assert_eq!((builders.running(), builders.limit()), (2, 2));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (waits, waiting) = mpsc::channel();
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let waits = waits.clone();
                    let (builders, stop) = (&builders, &stop);
                    scope.spawn(move || {
                        waits.send(()).unwrap();
                        builders.acquire(stop).is_some()
                    })
                })
                .collect();
            for _ in 0..4 {
                waiting.recv().unwrap();
            }
            stop.store(true, SeqCst);
            for thread in threads {
                assert!(!thread.join().unwrap(), "a third one");
            }
        });
        assert_eq!(builders.running(), 2);
        drop(first);
        assert_eq!(builders.running(), 1);
        let _third = builders.acquire(&NEVER).unwrap();
        assert_eq!(builders.running(), 2);
    }

    #[test]
    fn no_more_than_the_limit_have_a_slot_at_once() {
        const LIMIT: usize = 3;
        let builders = Builders::new(LIMIT, 1);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begin = Barrier::new(10);
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    begin.wait();
                    for _ in 0..200 {
                        let slot = builders.acquire(&NEVER).unwrap();
                        most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                        assert!(builders.running() <= LIMIT);
                        thread::yield_now();
                        inside.fetch_sub(1, SeqCst);
                        drop(slot);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), builders.running()), (LIMIT, 0));
    }

    #[test]
    fn none_begins_while_it_is_paused() {
        let builders = Builders::new(1, 1);
        builders.pause();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (waits, waiting) = mpsc::channel();
            let (builders, stop_of_it) = (&builders, &stop);
            let thread = scope.spawn(move || {
                waits.send(()).unwrap();
                builders.acquire(stop_of_it).is_some()
            });
            waiting.recv().unwrap();
            stop.store(true, SeqCst);
            assert!(!thread.join().unwrap());
            let thread = scope.spawn(move || builders.acquire(&NEVER).is_some());
            assert_eq!(builders.running(), 0);
            builders.resume();
            assert!(thread.join().unwrap());
        });
        assert_eq!(builders.running(), 0);
    }
}
