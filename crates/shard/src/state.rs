//! Naming the states of a shard, so that an answer can be used again in the state it belongs to.

use std::sync::atomic::{Ordering, fence};

use crate::inner::Inner;

/// A state of a shard as searches see it.
///
/// Two searches of which each begins and ends in states that [hold](Self::holds_in) in each other
/// may have the same answer: no record was put, patched, deleted or moved between them, and none
/// has expired. Which indexes there are, and how widely they are searched, is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchState {
    /// Of this opening: no other has it.
    epoch: u64,
    /// Entries applied since then, twice.
    changes: u64,
    /// Changes of what is in memory alone since then, twice.
    in_memory: u64,
    /// When it was seen, in milliseconds by the clock of the shard.
    seen: u64,
    /// Until when nothing of it expires.
    until: u64,
}

impl SearchState {
    /// Whether an answer from this state is one of a later state.
    pub fn holds_in(&self, now: &Self) -> bool {
        self.epoch == now.epoch
            && self.changes == now.changes
            && self.in_memory == now.in_memory
            && now.seen < self.until
    }
}

impl Inner {
    /// The state that a search would see now; none while it changes, and while records that have
    /// expired are not yet deleted.
    pub(crate) fn search_state(&self) -> Option<SearchState> {
        // What was read before must not be taken for a part of what is looked at here.
        fence(Ordering::Acquire);
        let changes = self.progress.changes.load(Ordering::Acquire);
        let in_memory = self.memory.changes();
        let until = self.progress.clock.next_expiry();
        let seen = self.now_millis();
        let epoch = self.progress.epoch.load(Ordering::Relaxed);
        let is_settled = changes.is_multiple_of(2) && in_memory.is_multiple_of(2) && seen < until;
        is_settled.then_some(SearchState { epoch, changes, in_memory, seen, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_holds_until_something_changes_or_expires() {
        let state = SearchState { epoch: 1, changes: 2, in_memory: 4, seen: 10, until: 20 };
        assert!(state.holds_in(&state));
        assert!(state.holds_in(&SearchState { seen: 19, ..state }));
        for other in [
            SearchState { epoch: 2, ..state },
            SearchState { changes: 4, ..state },
            SearchState { in_memory: 6, ..state },
            SearchState { seen: 20, until: 30, ..state },
        ] {
            assert!(!state.holds_in(&other), "{other:?}");
        }
    }
}
