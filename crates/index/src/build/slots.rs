//! How many builds run in this process at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();
/// How often a waiting builder looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// The right to build, given back when dropped.
pub(super) struct Slot(());

/// Half of the processors, so that searches keep the others.
fn limit() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Waits for a slot; `None` once `stop` is set.
pub(super) fn acquire(stop: &AtomicBool) -> Option<Slot> {
    let mut running = RUNNING.lock();
    while *running >= limit() {
        if stop.load(Ordering::Acquire) {
            return None;
        }
        FREED.wait_for(&mut running, LOOK);
    }
    if stop.load(Ordering::Acquire) {
        return None;
    }
    *running += 1;
    Some(Slot(()))
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.lock() -= 1;
        FREED.notify_one();
    }
}
