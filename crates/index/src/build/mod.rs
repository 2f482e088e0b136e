//! The background builder: turns the tail into segments and merges segments.
//!
//! One thread per index at a time, and a limited number of them in the process. A build changes
//! nothing that searches see until its files are durable; then one store publishes it.

mod plan;
mod slots;
mod work;

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::plan::is_due;
pub use self::slots::Builders;
use self::{plan::Plan, work::Built};
use crate::{
    engine::{Shared, Writer},
    metric::Lane,
    segment::{self, Segment},
    snapshot::Snapshot,
};

/// How long after a failed build the next one starts, unless `flush` asks for it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a build came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the index is closing")]
    Stopped,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("reading back what was written: {0}")]
    Open(#[from] crate::error::OpenError),
    #[error("a vector lies off its space")]
    OffSpace,
    #[error("{rows} rows, one segment holds at most {limit}")]
    TooMany { rows: usize, limit: usize },
}

/// Starts the builder thread unless it runs, or a build has just failed.
pub(crate) fn start<T: Lane>(shared: &Arc<Shared<T>>, writer: &mut Writer) {
    let is_flushing = writer.flush_below > writer.covered_below;
    let is_waiting = writer.retry_after.is_some_and(|at| Instant::now() < at) && !is_flushing;
    if writer.building || is_waiting || shared.stop.load(Ordering::Acquire) {
        return;
    }
    if let Some(finished) = writer.builder.take() {
        // It has said that it is done; what is left of it ends by itself.
        drop(finished);
    }
    let theirs = Arc::clone(shared);
    match thread::Builder::new().name("hvs-index-build".to_owned()).spawn(move || run(&theirs)) {
        Ok(handle) => {
            writer.building = true;
            writer.builder = Some(handle);
        }
        Err(error) => note_failure(shared, writer, &error.to_string()),
    }
}

/// The builder thread: builds until nothing is due.
fn run<T: Lane>(shared: &Arc<Shared<T>>) {
    loop {
        let slot = shared.config.builders.acquire(&shared.stop);
        let plan = {
            let mut writer = shared.writer.lock();
            let plan = slot.as_ref().and_then(|_| Plan::make(shared, &mut writer));
            if plan.is_some() {
                writer.removed_during_build = Some(Vec::new());
            } else {
                writer.building = false;
                shared.changed.notify_all();
            }
            plan
        };
        let Some(plan) = plan else { return };
        let began = Instant::now();
        match work::build(shared, &plan) {
            Ok(built) => publish(shared, &plan, built, began),
            Err(error) => {
                let mut writer = shared.writer.lock();
                writer.removed_during_build = None;
                writer.building = false;
                if !matches!(error, BuildError::Stopped) {
                    note_failure(shared, &mut writer, &error.to_string());
                }
                shared.changed.notify_all();
                return;
            }
        }
    }
}

fn note_failure<T: Lane>(shared: &Shared<T>, writer: &mut Writer, reason: &str) {
    tracing::error!(dir = %shared.dir.display(), reason, "building an index segment failed");
    writer.failed_builds += 1;
    reason.clone_into(&mut writer.last_failure);
    writer.retry_after = Some(Instant::now() + RETRY_AFTER);
    shared.changed.notify_all();
}

/// Lets searches see a built segment, and removes what it replaces.
fn publish<T: Lane>(shared: &Shared<T>, plan: &Plan<T>, built: Built<T>, began: Instant) {
    let rows = built.segment.as_ref().map_or(0, Segment::rows);
    {
        let mut writer = shared.writer.lock();
        let removed = writer.removed_during_build.take().unwrap_or_default();
        if let Some(segment) = &built.segment {
            carry_deaths(plan, segment, &removed);
        }
        let before = shared.snapshot.load_full();
        let kept = before.segments.iter().filter(|kept| !plan.replaces(kept));
        let segments = kept.cloned().chain(built.segment.map(Arc::new)).collect();
        let blocks = before.blocks.iter().filter(|block| block.number >= plan.next_block);
        let blocks = blocks.cloned().collect();
        shared.snapshot.store(Arc::new(Snapshot { segments, blocks }));
        writer.tail_rows = writer.tail_rows.saturating_sub(plan.tail_rows());
        writer.covered_below = plan.covered_below;
        writer.retry_after = None;
        shared.builds.fetch_add(1, Ordering::Relaxed);
        shared.changed.notify_all();
    }
    tracing::debug!(
        rows,
        merged = plan.replaced.len(),
        seconds = began.elapsed().as_secs_f64(),
        "published an index segment"
    );
    if let Some(callback) = shared.on_covered.lock().as_ref() {
        callback(plan.covered_below);
    }
    for replaced in &plan.replaced {
        // What stays behind is removed when the index is opened next.
        let _ = segment::remove_files(&shared.dir, replaced.number);
    }
}

/// Marks rows of the new segment that are dead: taken over as such, or removed since.
fn carry_deaths<T: Lane>(plan: &Plan<T>, segment: &Segment<T>, removed: &[u64]) {
    if let Some(base) = &plan.base {
        for row in (0..base.rows()).filter(|&row| base.dead.is_dead(row)) {
            segment.dead.set(row);
        }
    }
    for row in removed.iter().filter_map(|&key| segment.find(key)) {
        segment.dead.set(row);
    }
}
