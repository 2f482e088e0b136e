//! What is told of checkpoints as metrics: how they went since the node started.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

/// How the checkpoints of a namespace went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// How many were made.
    pub(crate) made: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// Bytes that were written for them.
    pub(crate) bytes: u64,
    /// What those that were made took.
    pub(crate) duration: Duration,
    /// What the last one took that was made.
    pub(crate) last_duration: Duration,
    /// When the state was last known to be in a checkpoint, in milliseconds since 1970; 0 if it
    /// was not since the node started.
    pub(crate) last_success_ms: u64,
}

/// How one went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ended {
    /// It was made.
    Made {
        /// Bytes that were written for it.
        bytes: u64,
        /// What it took.
        duration: Duration,
    },
    /// Nothing was written since the one before.
    Unchanged,
    /// It failed.
    Failed,
}

/// The figures of every namespace for which there are some.
#[derive(Debug, Default)]
pub(crate) struct AllFigures(Mutex<BTreeMap<String, Figures>>);

impl AllFigures {
    /// Counts how one went that ended at a time. Those of namespaces that do not exist any more
    /// are forgotten.
    pub(super) fn count(
        &self,
        namespace: &str,
        ended: Ended,
        now_ms: u64,
        exists: impl Fn(&str) -> bool,
    ) {
        let mut all = self.0.lock();
        all.retain(|name, _| exists(name));
        let figures = all.entry(namespace.to_owned()).or_default();
        match ended {
            Ended::Made { bytes, duration } => {
                figures.made += 1;
                figures.bytes = figures.bytes.saturating_add(bytes);
                figures.duration = figures.duration.saturating_add(duration);
                figures.last_duration = duration;
                figures.last_success_ms = now_ms;
            }
            Ended::Unchanged => figures.last_success_ms = now_ms,
            Ended::Failed => figures.failed += 1,
        }
    }

    /// By name of the namespace.
    pub(crate) fn read(&self) -> BTreeMap<String, Figures> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_well_and_what_failed_is_counted_by_namespace() {
        let all = AllFigures::default();
        let duration = Duration::from_secs(2);
        all.count("a", Ended::Made { bytes: 10, duration }, 1_000, |_| true);
        all.count("a", Ended::Made { bytes: 5, duration: duration / 2 }, 2_000, |_| true);
        all.count("a", Ended::Failed, 3_000, |_| true);
        all.count("b", Ended::Unchanged, 4_000, |_| true);
        let read = all.read();
        let a = Figures {
            made: 2,
            failed: 1,
            bytes: 15,
            duration: Duration::from_secs(3),
            last_duration: Duration::from_secs(1),
            last_success_ms: 2_000,
        };
        assert_eq!(read["a"], a);
        assert_eq!(read["b"], Figures { last_success_ms: 4_000, ..Figures::default() });
        // A namespace that is gone leaves nothing behind.
        all.count("b", Ended::Failed, 5_000, |name| name == "b");
        assert_eq!(all.read().into_keys().collect::<Vec<_>>(), ["b"]);
    }
}
