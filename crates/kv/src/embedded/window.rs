//! Forces what is buffered to the disk after a bounded time.
//!
//! The files are synced through descriptors of their own: the database would hold its lock
//! meanwhile, and every write would wait for the disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// What was written may be lost, and nothing more is accepted: what the disk has is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("what was written could not be forced to the disk: {0}; see to the disk and restart")]
pub(super) struct Lost(String);

/// Watches over writes that are not forced to the disk when they return.
pub(super) struct Window {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Writes so far.
    written: u64,
    /// Those of them that are known to be on the disk.
    synced: u64,
    lost: Option<Lost>,
    is_closed: bool,
}

impl Window {
    /// `length` is how long a write is buffered at most, not counting the time that the disk takes.
    pub(super) fn open(directory: &Path, length: Duration) -> io::Result<Self> {
        Self::with(length, {
            let directory = directory.to_owned();
            move || sync_journals(&directory)
        })
    }

    fn with(
        length: Duration,
        sync: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let thread = std::thread::Builder::new().name("hvs-kv-sync".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(length, &sync)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// To be asked before a write.
    pub(super) fn check(&self) -> Result<(), Lost> {
        self.shared.state.lock().lost.clone().map_or(Ok(()), Err)
    }

    /// To be told after a write that was not forced to the disk.
    pub(super) fn wrote(&self) {
        let mut state = self.shared.state.lock();
        let is_first = state.written == state.synced;
        state.written += 1;
        if is_first {
            self.shared.changed.notify_one();
        }
    }

    /// What has been written, for [`Self::synced`].
    pub(super) fn written(&self) -> u64 {
        self.shared.state.lock().written
    }

    /// To be told when what had been written is on the disk.
    pub(super) fn synced(&self, written: u64) {
        let mut state = self.shared.state.lock();
        state.synced = state.synced.max(written);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did there would be nothing left to do.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, length: Duration, sync: &dyn Fn() -> io::Result<()>) {
        let mut state = self.state.lock();
        while !state.is_closed {
            if state.written == state.synced {
                self.changed.wait(&mut state);
                continue;
            }
            if !self.changed.wait_for(&mut state, length).timed_out() {
                // Closed, or nothing to wait for any more.
                continue;
            }
            let written = state.written;
            if written == state.synced {
                continue;
            }
            drop(state);
            let outcome = sync();
            state = self.state.lock();
            match outcome {
                Ok(()) => state.synced = state.synced.max(written),
                Err(error) => {
                    tracing::error!(%error, "the log could not be forced to the disk");
                    state.lost = Some(Lost(error.to_string()));
                    return;
                }
            }
        }
    }
}

/// Forces all journals of a database to the disk. Those that go meanwhile are in tables, which are
/// there.
fn sync_journals(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        if path.extension() != Some(OsStr::new("jnl")) {
            continue;
        }
        match File::open(&path).and_then(|file| file.sync_data()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn counted(outcome: fn() -> io::Result<()>) -> (Window, mpsc::Receiver<()>) {
        let (send, syncs) = mpsc::channel();
        let window = Window::with(Duration::from_millis(1), move || {
            let _ = send.send(());
            outcome()
        });
        (window.unwrap(), syncs)
    }

    #[test]
    fn what_was_written_is_synced_once_and_nothing_is_where_nothing_was_written() {
        let (window, syncs) = counted(|| Ok(()));
        window.wrote();
        window.wrote();
        syncs.recv().unwrap();
        window.wrote();
        syncs.recv().unwrap();
        while window.shared.state.lock().synced < 3 {
            std::thread::yield_now();
        }
        drop(window);
        assert!(syncs.try_iter().count() <= 1, "two writes may be seen apart");
    }

    #[test]
    fn nothing_is_synced_that_somebody_else_has_synced() {
        let (window, syncs) = counted(|| Ok(()));
        {
            let mut state = window.shared.state.lock();
            state.written = 7;
            state.synced = 7;
        }
        window.shared.changed.notify_one();
        window.synced(window.written());
        drop(window);
        assert_eq!(syncs.iter().count(), 0);
    }

    #[test]
    fn nothing_is_accepted_after_a_failure() {
        let (window, syncs) = counted(|| Err(io::Error::other("no")));
        assert!(window.check().is_ok());
        window.wrote();
        syncs.recv().unwrap();
        let lost = loop {
            if let Err(lost) = window.check() {
                break lost;
            }
            std::thread::yield_now();
        };
        assert!(lost.to_string().contains("forced to the disk: no"), "{lost}");
    }
}
