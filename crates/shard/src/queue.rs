//! What waits for the log, within bounds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::config::QueueLimits;
use crate::error::WriteError;
use crate::operation::WriteAnswer;
use crate::prepare::Prepared;

/// Where an answer goes.
pub(crate) type Responder = oneshot::Sender<Result<WriteAnswer, WriteError>>;

/// A request on its way to the log.
pub(crate) struct Waiting {
    pub(crate) request: Prepared,
    pub(crate) responder: Responder,
    since: Instant,
}

/// The queue in front of the writer.
pub(crate) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    overloaded: u64,
    /// Why nothing more is taken in.
    closed: Option<WriteError>,
    /// Why nothing is taken in for the moment.
    suspended: Option<WriteError>,
}

/// For what the writer waits when something is there already: those that it has just answered
/// together are likely to come again, and one `fdatasync` serves all that it takes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gather {
    /// For so many requests, or fewer that are there at once.
    pub(crate) requests: usize,
    /// And no longer.
    pub(crate) at_most: Duration,
}

/// What the writer gets.
pub(crate) enum Taken {
    /// In the order in which they came; empty when nothing came in time.
    Requests(VecDeque<Waiting>),
    /// The queue is closed and empty.
    Closed,
}

/// Lengths for people and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueueStats {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
    pub(crate) overloaded: u64,
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Takes a request in, or says why not.
    pub(crate) fn push(&self, request: Prepared, responder: Responder) -> Result<(), WriteError> {
        let mut state = self.state.lock();
        if let Some(error) = state.closed.as_ref().or(state.suspended.as_ref()) {
            return Err(error.clone());
        }
        let now = Instant::now();
        if let Some(first) = state.waiting.front() {
            let oldest = now.saturating_duration_since(first.since);
            let bytes = state.bytes;
            let queued = state.waiting.len();
            let full = queued >= self.limits.requests
                || bytes.saturating_add(request.bytes) > self.limits.bytes
                || oldest > self.limits.oldest;
            if full {
                state.overloaded += 1;
                // By then the queue has either moved or grown older.
                let retry_after = self.limits.oldest.max(Duration::from_millis(1));
                return Err(WriteError::Overloaded { queued, bytes, oldest, retry_after });
            }
        }
        state.bytes += request.bytes;
        state.waiting.push_back(Waiting { request, responder, since: now });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Why nothing is taken in, if so.
    pub(crate) fn closed(&self) -> Option<WriteError> {
        let state = self.state.lock();
        state.closed.as_ref().or(state.suspended.as_ref()).cloned()
    }

    /// Whether nothing is taken in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed.is_some()
    }

    /// Takes nothing in until [`Queue::resume`], and refuses everything that waits: none of it was
    /// written.
    pub(crate) fn suspend(&self, refusal: &WriteError) {
        let waiting = {
            let mut state = self.state.lock();
            state.suspended = Some(refusal.clone());
            state.bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        for request in waiting {
            // A caller that no longer waits needs no answer.
            let _ = request.responder.send(Err(refusal.clone()));
        }
    }

    /// Takes requests in again.
    pub(crate) fn resume(&self) {
        self.state.lock().suspended = None;
    }

    /// Takes everything out, waiting for something to come for as long as given. Once something
    /// is there, others are waited for as `gather` says.
    pub(crate) fn take(&self, patience: Duration, gather: Gather) -> Taken {
        let mut state = self.state.lock();
        if state.waiting.is_empty() && state.closed.is_none() {
            self.changed.wait_for(&mut state, patience);
        }
        if !state.waiting.is_empty() && state.waiting.len() < gather.requests {
            let until = Instant::now() + gather.at_most;
            while state.waiting.len() < gather.requests && state.closed.is_none() {
                if self.changed.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
        }
        if state.waiting.is_empty() && state.closed.is_some() {
            return Taken::Closed;
        }
        state.bytes = 0;
        Taken::Requests(std::mem::take(&mut state.waiting))
    }

    /// Takes nothing more in. What waits is still taken out. The first reason stays.
    pub(crate) fn close(&self, reason: WriteError) {
        self.state.lock().closed.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Takes nothing more in, and refuses everything that waits: none of it was written, whatever
    /// is known of what was taken out before.
    pub(crate) fn abort(&self, reason: &WriteError) {
        let refusal = match reason {
            WriteError::Wedged { reason } => WriteError::Stopped { reason: reason.clone() },
            other => other.clone(),
        };
        let waiting = {
            let mut state = self.state.lock();
            state.closed = Some(refusal.clone());
            state.bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        self.changed.notify_all();
        for request in waiting {
            // A caller that no longer waits needs no answer.
            let _ = request.responder.send(Err(refusal.clone()));
        }
    }

    pub(crate) fn stats(&self) -> QueueStats {
        let state = self.state.lock();
        QueueStats {
            requests: state.waiting.len(),
            bytes: state.bytes,
            overloaded: state.overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::WriteRequest;

    fn request(bytes: usize) -> Prepared {
        Prepared { bytes, ..Prepared::empty(&WriteRequest::default()) }
    }

    fn push(queue: &Queue, bytes: usize) -> Result<(), WriteError> {
        queue.push(request(bytes), oneshot::channel().0)
    }

    fn limits() -> QueueLimits {
        QueueLimits { requests: 3, bytes: 100, oldest: Duration::from_hours(1) }
    }

    #[test]
    fn the_limit_of_requests_is_exact() {
        let queue = Queue::new(limits());
        for _ in 0..3 {
            push(&queue, 1).unwrap();
        }
        let Err(WriteError::Overloaded { queued: 3, bytes: 3, .. }) = push(&queue, 1) else {
            panic!("a fourth request was taken in");
        };
        assert_eq!(queue.stats(), QueueStats { requests: 3, bytes: 3, overloaded: 1 });
        let Taken::Requests(taken) = queue.take(Duration::ZERO, Gather::default()) else {
            panic!("closed")
        };
        assert_eq!(taken.len(), 3);
        push(&queue, 1).unwrap();
    }

    #[test]
    fn the_limit_of_bytes_is_exact_but_lets_a_first_request_through() {
        let queue = Queue::new(limits());
        push(&queue, 1000).unwrap();
        assert!(matches!(push(&queue, 1), Err(WriteError::Overloaded { .. })));
        queue.take(Duration::ZERO, Gather::default());
        push(&queue, 40).unwrap();
        push(&queue, 60).unwrap();
        assert!(matches!(push(&queue, 1), Err(WriteError::Overloaded { bytes: 100, .. })));
    }

    #[test]
    fn an_old_request_refuses_new_ones() {
        let queue = Queue::new(QueueLimits { oldest: Duration::ZERO, ..limits() });
        push(&queue, 1).unwrap();
        let until = Instant::now();
        while Instant::now() == until {}
        let Err(WriteError::Overloaded { retry_after, .. }) = push(&queue, 1) else {
            panic!("taken in behind a request that waits too long");
        };
        assert!(retry_after > Duration::ZERO);
    }

    #[test]
    fn closing_lets_out_what_waits_and_nothing_in() {
        let queue = Queue::new(limits());
        push(&queue, 1).unwrap();
        queue.close(WriteError::Closed);
        assert_eq!(push(&queue, 1), Err(WriteError::Closed));
        let gather = Gather { requests: 2, at_most: Duration::from_hours(1) };
        let taken = queue.take(Duration::ZERO, gather);
        assert!(matches!(taken, Taken::Requests(taken) if taken.len() == 1));
        assert!(matches!(queue.take(Duration::from_hours(1), gather), Taken::Closed));
    }

    #[test]
    fn a_suspended_queue_refuses_until_it_is_resumed_and_can_be_closed() {
        let queue = Queue::new(limits());
        let (responder, mut answer) = oneshot::channel();
        queue.push(request(1), responder).unwrap();
        let refusal = WriteError::Unavailable { reason: "away".into() };
        queue.suspend(&refusal);
        assert_eq!(answer.try_recv(), Ok(Err(refusal.clone())));
        assert_eq!(push(&queue, 1), Err(refusal.clone()));
        assert_eq!(queue.closed(), Some(refusal));
        assert!(!queue.is_closed());
        queue.resume();
        push(&queue, 1).unwrap();
        assert_eq!(queue.stats().bytes, 1);
        queue.close(WriteError::Closed);
        assert!(queue.is_closed());
    }

    #[test]
    fn gathering_ends_when_enough_are_there() {
        let queue = Queue::new(limits());
        push(&queue, 1).unwrap();
        let gather = Gather { requests: 2, at_most: Duration::from_hours(1) };
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| queue.take(Duration::ZERO, gather));
            push(&queue, 1).unwrap();
            let taken = taking.join().unwrap();
            assert!(matches!(taken, Taken::Requests(taken) if taken.len() == 2));
        });
        push(&queue, 1).unwrap();
        let brief = Gather { requests: 2, at_most: Duration::from_millis(1) };
        let taken = queue.take(Duration::ZERO, brief);
        assert!(matches!(taken, Taken::Requests(taken) if taken.len() == 1));
    }

    #[test]
    fn aborting_answers_what_waits() {
        let queue = Queue::new(limits());
        let (responder, mut answer) = oneshot::channel();
        queue.push(request(1), responder).unwrap();
        queue.abort(&WriteError::Wedged { reason: "disk".into() });
        let refusal = WriteError::Stopped { reason: "disk".into() };
        assert_eq!(answer.try_recv(), Ok(Err(refusal.clone())));
        assert_eq!(push(&queue, 1), Err(refusal));
    }
}
