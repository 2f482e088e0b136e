//! Where work runs that would hold up the threads that serve connections.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::sync::Semaphore;

/// Bounds how much heavy work runs at once and how much waits.
#[derive(Debug)]
pub(crate) struct Workers {
    running: Arc<Semaphore>,
    parallel: usize,
    waiting: AtomicUsize,
    queue: usize,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    /// As much waits as may.
    #[error("{queue} requests wait for a worker already")]
    QueueFull {
        /// The limit.
        queue: usize,
    },
    /// The deadline passed before a worker was free.
    #[error("the deadline passed before a worker was free")]
    Deadline,
    /// The worker ended without an answer, which would be a defect.
    #[error("a worker ended early")]
    Lost,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Workers {
    /// `parallel` at once, or two per processor if that is 0; `queue` more may wait.
    ///
    /// Two, because with one a processor idles from when its work is done until the answer is on
    /// its way and the next request is read.
    pub(crate) fn new(parallel: usize, queue: usize) -> Self {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let parallel = if parallel == 0 { 2 * processors } else { parallel };
        Self {
            running: Arc::new(Semaphore::new(parallel)),
            parallel,
            waiting: AtomicUsize::new(0),
            queue,
        }
    }

    /// How much runs at once.
    pub(crate) fn parallel(&self) -> usize {
        self.parallel
    }

    /// Does `work` on a thread of its own once one is free.
    ///
    /// # Errors
    /// [`WorkError`]; the work was not begun, except with [`WorkError::Lost`].
    pub(crate) async fn run<T, F>(&self, deadline: Instant, work: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queued(deadline, Arc::clone(&self.running).acquire_owned()).await?,
        };
        let worker = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        worker.await.map_err(|_| WorkError::Lost)
    }

    async fn queued<P, E>(
        &self,
        deadline: Instant,
        acquire: impl Future<Output = Result<P, E>>,
    ) -> Result<P, WorkError> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= self.queue {
            return Err(WorkError::QueueFull { queue: self.queue });
        }
        tokio::time::timeout_at(deadline.into(), acquire)
            .await
            .map_err(|_| WorkError::Deadline)?
            .map_err(|_| WorkError::Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn work_beyond_the_queue_is_refused_and_waiting_ends_at_the_deadline() {
        let workers = Arc::new(Workers::new(1, 1));
        let (release, held) = mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let far = Instant::now() + Duration::from_mins(1);
        let first = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move {
                let work = move || {
                    started.send(()).unwrap();
                    held.recv().unwrap();
                    7
                };
                workers.run(far, work).await
            }
        });
        has_started.await.unwrap();
        let late = workers.run(Instant::now(), || 0).await;
        assert_eq!(late, Err(WorkError::Deadline));
        let mut second = Box::pin(workers.run(far, || 8));
        assert!(futures_util::poll!(&mut second).is_pending());
        let third = workers.run(far, || 9).await;
        assert_eq!(third, Err(WorkError::QueueFull { queue: 1 }));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(7));
        assert_eq!(second.await, Ok(8));
    }
}
