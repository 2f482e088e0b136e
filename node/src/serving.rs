//! The threads that serve the clients' connections.
//!
//! Each has a runtime of its own and keeps a connection from its first request to its last. On a
//! runtime that moves work between threads, a request costs wake-ups of threads that then find
//! nothing to do, which is more than a search costs. The price is that two busy connections may
//! share a thread while another idles, so what takes long belongs on the workers.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The threads, which end when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    threads: Vec<ServingThread>,
}

#[derive(Debug)]
struct ServingThread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Ends the thread when it is dropped.
    _running: oneshot::Sender<()>,
}

/// The place of one connection on a thread, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Serving {
    /// Starts `threads`, or one per processor if that is 0.
    ///
    /// # Errors
    /// The system has no thread or no file descriptor left.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = if threads == 0 { processors } else { threads };
        let threads = (0..count).map(ServingThread::start).collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// A place on the thread with the fewest connections.
    pub(crate) fn place(&self) -> Option<Place> {
        let load = |thread: &&ServingThread| thread.connections.load(Ordering::Relaxed);
        let thread = self.threads.iter().min_by_key(load)?;
        thread.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            runtime: thread.runtime.clone(),
            connections: Arc::clone(&thread.connections),
        })
    }
}

impl ServingThread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("hvs-serve-{number}")).spawn(move || {
            // Nothing is ever sent: the other end is dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), _running: running })
    }
}

impl Place {
    /// Where to spawn what serves the connection.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_go_to_the_thread_with_the_fewest_connections() {
        let serving = Serving::start(2).unwrap();
        let first = serving.place().unwrap();
        let second = serving.place().unwrap();
        assert_ne!(first.runtime().id(), second.runtime().id());
        let freed = first.runtime().id();
        drop(first);
        assert_eq!(serving.place().unwrap().runtime().id(), freed);
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let serving = Serving::start(1).unwrap();
        let place = serving.place().unwrap();
        let task = place.runtime().spawn(std::future::pending::<()>());
        drop(serving);
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
