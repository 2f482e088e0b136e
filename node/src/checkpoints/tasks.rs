//! Work that goes on after the request that began it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use hvs_api::{CheckpointInfo, TaskInfo, TaskKind, TaskState};
use parking_lot::Mutex;
use tokio::{
    runtime::Runtime,
    sync::{Notify, watch},
};
use uuid::Uuid;

use super::CheckpointError;
use crate::edge::Failure;

/// What a task has to show in the end.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) checkpoint: Option<CheckpointInfo>,
    pub(super) restored_seqs: Option<Vec<u64>>,
}

/// What the thread of a task works with.
pub(super) struct Work {
    runtime: Runtime,
    cancelled: Arc<AtomicBool>,
    progress: Arc<Progress>,
    stopping: Arc<Stopping>,
}

/// Whether the node stops, to be looked at often, and to be waited for.
#[derive(Default)]
struct Stopping {
    is_so: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct Progress {
    rows: AtomicU64,
    total_rows: AtomicU64,
    bytes: AtomicU64,
}

impl Work {
    /// Waits for something of this node, which has an end.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits for something of an object store, which may not answer at all, until the node stops.
    pub(super) fn wait_for<T, E: Into<CheckpointError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CheckpointError> {
        self.runtime.block_on(async {
            let stopping = self.stopping.changed.notified();
            if self.is_stopping() {
                return Err(CheckpointError::Stopping);
            }
            tokio::select! {
                result = future => result.map_err(Into::into),
                () = stopping => Err(CheckpointError::Stopping),
            }
        })
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_so.load(Ordering::Acquire)
    }

    /// Says how many rows are done, and whether to go on.
    pub(super) fn go_on(&self, rows: u64) -> bool {
        self.progress.rows.store(rows, Ordering::Relaxed);
        !self.is_stopping() && !self.cancelled.load(Ordering::Acquire)
    }

    /// Lets something go on beside the thread.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    pub(super) fn expect_rows(&self, rows: u64) {
        self.progress.total_rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// How many rows are done.
    pub(super) fn rows(&self) -> u64 {
        self.progress.rows.load(Ordering::Relaxed)
    }

    /// Counts a row, and ends the work if the node stops.
    pub(super) fn row(&self) -> Result<(), CheckpointError> {
        self.progress.rows.fetch_add(1, Ordering::Relaxed);
        if self.is_stopping() { Err(CheckpointError::Stopping) } else { Ok(()) }
    }

    pub(super) fn bytes(&self, bytes: u64) {
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Task {
    info: TaskInfo,
    cancelled: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

impl Task {
    fn info(&self) -> TaskInfo {
        let rows = self.progress.rows.load(Ordering::Relaxed);
        let total_rows = self.progress.total_rows.load(Ordering::Relaxed);
        // What is written while indexes are built is built as well.
        let may_grow = self.info.kind == TaskKind::Reindex;
        TaskInfo {
            rows,
            total_rows: if may_grow { total_rows.max(rows) } else { total_rows },
            bytes: self.progress.bytes.load(Ordering::Relaxed),
            ..self.info.clone()
        }
    }
}

/// The tasks of a node.
pub(super) struct Tasks {
    limit: usize,
    remembered: usize,
    known: Arc<Mutex<VecDeque<Task>>>,
    running: watch::Sender<usize>,
    stopping: Arc<Stopping>,
}

impl Tasks {
    pub(super) fn new(limit: usize, remembered: usize) -> Self {
        Self {
            limit,
            remembered,
            known: Arc::default(),
            running: watch::Sender::new(0),
            stopping: Arc::default(),
        }
    }

    /// Begins a task on a thread of its own.
    pub(super) fn begin(
        &self,
        kind: TaskKind,
        namespace: &str,
        work: impl FnOnce(&Work) -> Result<Outcome, CheckpointError> + Send + 'static,
    ) -> Result<TaskInfo, CheckpointError> {
        let running = Running::new(&self.running, self.limit)?;
        if self.stopping.is_so.load(Ordering::Acquire) {
            return Err(CheckpointError::Stopping);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(CheckpointError::Thread)?;
        let progress = Arc::<Progress>::default();
        let info = TaskInfo {
            id: Uuid::new_v4().to_string(),
            kind,
            namespace: namespace.to_owned(),
            state: TaskState::Running,
            started_at_ms: now_ms(),
            ended_at_ms: None,
            rows: 0,
            total_rows: 0,
            bytes: 0,
            checkpoint: None,
            restored_seqs: None,
            problem: None,
        };
        let cancelled = Arc::<AtomicBool>::default();
        let with = Work {
            runtime,
            cancelled: Arc::clone(&cancelled),
            progress: Arc::clone(&progress),
            stopping: Arc::clone(&self.stopping),
        };
        {
            let mut known = self.known.lock();
            known.push_back(Task { info: info.clone(), cancelled, progress });
        }
        let id = info.id.clone();
        let spawned = thread::Builder::new().name("hvs-task".to_owned()).spawn({
            let known = Arc::clone(&self.known);
            let remembered = self.remembered;
            let id = id.clone();
            move || {
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&with)));
                let outcome = caught.unwrap_or(Err(CheckpointError::Lost));
                drop(with);
                end(&mut known.lock(), &id, outcome, remembered);
                // Only now: whoever waits for all tasks sees how they ended.
                drop(running);
            }
        });
        if let Err(error) = spawned {
            self.known.lock().retain(|task| task.info.id != id);
            return Err(CheckpointError::Thread(error));
        }
        Ok(info)
    }

    pub(super) fn list(&self) -> Vec<TaskInfo> {
        self.known.lock().iter().map(Task::info).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<TaskInfo> {
        self.known.lock().iter().find(|task| task.info.id == id).map(Task::info)
    }

    /// Tells a task to end, if it is one that can.
    pub(super) fn cancel(&self, id: &str) -> Result<TaskInfo, CheckpointError> {
        let known = self.known.lock();
        let shown = || id.chars().take(80).collect();
        let Some(task) = known.iter().find(|task| task.info.id == id) else {
            return Err(CheckpointError::TaskNotFound { id: shown() });
        };
        if task.info.kind != TaskKind::Reindex || task.info.state != TaskState::Running {
            return Err(CheckpointError::NotCancellable { id: shown() });
        }
        task.cancelled.store(true, Ordering::Release);
        Ok(task.info())
    }

    pub(super) async fn stop(&self) {
        self.stopping.is_so.store(true, Ordering::Release);
        self.stopping.changed.notify_waiters();
        // The sender is here, so that waiting ends only when none runs.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

/// Counts as one of those that run, until it is dropped.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(count: &watch::Sender<usize>, limit: usize) -> Result<Self, CheckpointError> {
        let begun = count.send_if_modified(|running| {
            let has_room = *running < limit;
            *running += usize::from(has_room);
            has_room
        });
        if begun { Ok(Self(count.clone())) } else { Err(CheckpointError::Busy { running: limit }) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}

fn end(
    known: &mut VecDeque<Task>,
    id: &str,
    outcome: Result<Outcome, CheckpointError>,
    remembered: usize,
) {
    if let Some(task) = known.iter_mut().find(|task| task.info.id == id) {
        let info = &mut task.info;
        info.ended_at_ms = Some(now_ms());
        match outcome {
            Ok(outcome) => {
                info.state = TaskState::Done;
                info.checkpoint = outcome.checkpoint;
                info.restored_seqs = outcome.restored_seqs;
            }
            Err(error) => {
                let failure = Failure::from(error);
                tracing::warn!(
                    hvs.namespace = info.namespace,
                    hvs.task = info.id,
                    error.code = failure.problem.code,
                    error.message = failure.cause.as_deref().unwrap_or(&failure.problem.detail),
                    "a task has failed"
                );
                info.state = TaskState::Failed;
                info.problem = Some(*failure.problem);
            }
        }
    }
    let ended = known.iter().filter(|task| task.info.state != TaskState::Running).count();
    for _ in remembered..ended {
        let oldest = known.iter().position(|task| task.info.state != TaskState::Running);
        oldest.and_then(|oldest| known.remove(oldest));
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
