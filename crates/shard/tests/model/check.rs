//! Whether the outcomes of a request are what they should be.

use std::collections::{HashMap, HashSet};

use hvs_shard::{
    Condition, Durability, Etag, Operation, Timestamp, WriteAnswer, WriteOutcome, WriteRequest,
};

use crate::reference::{Known, change, must_be_logged};
use crate::run::Run;

/// Only what failed says more than that it was not applied.
fn check_undone(failures: &[bool], outcomes: &[WriteOutcome]) {
    assert!(failures.contains(&true), "nothing failed");
    for (failed, outcome) in failures.iter().zip(outcomes) {
        assert_eq!(*failed, *outcome != WriteOutcome::NotApplied);
    }
}

impl Run {
    /// Carries a request out on the model and compares the outcomes.
    pub(crate) fn check(&mut self, request: &WriteRequest, answer: &WriteAnswer) {
        assert_eq!(answer.epoch, self.model.epoch);
        let (in_memory, held) = self.check_level(request, answer);
        assert_eq!(answer.outcomes.len(), request.operations.len());
        self.model.last_seq = answer.seq;
        let (records, versions) = (self.model.records.clone(), self.model.versions.clone());
        let expired = self.model.expired.clone();
        let mut failures = Vec::new();
        let mut held_on: HashSet<String> = HashSet::new();
        for (operation, outcome) in request.operations.iter().zip(&answer.outcomes) {
            let id = operation.id().to_owned();
            let current = self.model.records.get(&id).map(|known| known.etag);
            let (Operation::Put { condition, .. }
            | Operation::Delete { condition, .. }
            | Operation::Patch { condition, .. }) = operation;
            let holds = match condition {
                None => true,
                Some(Condition::IfAbsent) => current.is_none(),
                Some(Condition::IfMatch(etag)) => current == Some(*etag),
            };
            let is_lost = matches!(operation, Operation::Patch { .. }) && current.is_none();
            failures.push(!holds || is_lost);
            if holds {
                held_on.insert(id.clone());
            }
            let version = self.model.next_version(&id, outcome);
            match (operation, outcome) {
                _ if !holds => {
                    // An etag of this very request is not known if the request was undone.
                    if let WriteOutcome::ConditionFailed { current: found } = outcome {
                        assert_eq!(found.is_some(), current.is_some());
                        let moved = !in_memory && held.contains_key(&id);
                        assert!(request.atomic || moved || *found == current);
                    } else {
                        panic!("{operation:?} has {outcome:?}, current is {current:?}");
                    }
                }
                (_, WriteOutcome::NotApplied) => {
                    assert!(request.atomic);
                    self.apply_unseen(operation, version);
                }
                (
                    Operation::Put { record, .. },
                    WriteOutcome::Put { etag, version: found, timestamp, created },
                ) => {
                    assert_eq!((*found, *created), (version, current.is_none()));
                    self.tick(*timestamp, *etag, answer, in_memory);
                    let known = Known {
                        record: record.clone(),
                        version,
                        etag: *etag,
                        timestamp: *timestamp,
                        in_memory,
                    };
                    self.model.put(&id, known);
                }
                (
                    Operation::Delete { .. },
                    WriteOutcome::Deleted { etag, version: found, timestamp },
                ) => {
                    assert!(current.is_some());
                    assert_eq!(*found, version);
                    self.tick(*timestamp, *etag, answer, in_memory);
                    self.model.records.remove(&id);
                    self.model.count(&id, version);
                }
                (
                    Operation::Patch { patch, .. },
                    WriteOutcome::Put { etag, version: found, timestamp, created: false },
                ) => {
                    assert_eq!(*found, version);
                    self.tick(*timestamp, *etag, answer, in_memory);
                    let known = self.model.records.get_mut(&id).unwrap();
                    change(&mut known.record, patch);
                    (known.version, known.etag, known.timestamp) = (version, *etag, *timestamp);
                    known.in_memory = false;
                    self.model.drop_if_over(&id);
                    self.model.count(&id, version);
                }
                (Operation::Delete { .. } | Operation::Patch { .. }, WriteOutcome::NotFound) => {
                    assert!(current.is_none());
                }
                _ => panic!("{operation:?} has {outcome:?}"),
            }
        }
        let undone = answer.outcomes.contains(&WriteOutcome::NotApplied)
            || request.atomic && failures.contains(&true);
        if undone {
            check_undone(&failures, &answer.outcomes);
            self.model.records = records;
            self.model.versions = versions;
            self.model.expired = expired;
        }
        if !in_memory {
            for (id, etag) in held {
                let may_move =
                    request.atomic || request.idempotency_key.is_some() || held_on.contains(&id);
                self.follow_move(&id, etag, may_move);
            }
        }
    }

    /// Whether the request must have been carried out in memory, and the etags of those of its
    /// records that were there.
    fn check_level(
        &mut self,
        request: &WriteRequest,
        answer: &WriteAnswer,
    ) -> (bool, HashMap<String, Etag>) {
        let ids: HashSet<&str> = request.operations.iter().map(Operation::id).collect();
        let of_ids = |in_memory: bool| {
            let records = self.model.records.iter();
            let such = records.filter(move |(_, known)| known.in_memory == in_memory);
            let such = such.filter(|(id, _)| ids.contains(id.as_str()));
            such.map(|(id, known)| (id.clone(), known.etag)).collect::<HashMap<_, _>>()
        };
        let held = of_ids(true);
        let may_be_in_memory = request.durability == Durability::Memory
            && request.idempotency_key.is_none()
            && !request.operations.iter().any(must_be_logged)
            && of_ids(false).is_empty();
        // What has expired is logged until it is deleted.
        let is_unsure = ids.iter().any(|id| self.model.expired.contains(*id));
        let in_memory = may_be_in_memory && (!is_unsure || answer.durability == Durability::Memory);
        let level = match request.durability {
            Durability::Memory if !in_memory => Durability::Buffered,
            asked => asked,
        };
        assert_eq!(answer.durability, level);
        if in_memory {
            assert!(answer.seq >= self.model.last_seq);
            self.model.uncounted.extend(request.operations.iter().map(|op| op.id().to_owned()));
        } else {
            assert!(answer.seq > self.model.last_seq);
        }
        (in_memory, held)
    }

    /// A record that was in memory before a logged request touched it may have been logged as it
    /// was, with an etag of its own.
    fn follow_move(&mut self, id: &str, before: Etag, may_move: bool) {
        let shard = self.shard.as_ref().unwrap();
        let Some(known) = self.model.records.get_mut(id).filter(|known| known.etag == before)
        else {
            return;
        };
        let found = shard.get(id).unwrap().unwrap();
        if found.etag != before {
            assert!(may_move, "{id} was logged although no condition held");
            assert_eq!(found.etag.seq >> 63, 0);
            known.in_memory = false;
            (known.etag, known.version) = (found.etag, found.version);
            known.timestamp = found.timestamp;
            self.model.count(id, found.version);
        }
    }

    /// What an operation of a request that is then undone would have done.
    fn apply_unseen(&mut self, operation: &Operation, version: u64) {
        let id = operation.id().to_owned();
        match operation {
            Operation::Put { record, .. } => {
                // An etag that no condition of this test asks for.
                let etag = Etag { epoch: u64::MAX, seq: version, index: 0 };
                let timestamp = Timestamp::default();
                let record = record.clone();
                let known = Known { record, version, etag, timestamp, in_memory: false };
                self.model.put(&id, known);
            }
            Operation::Patch { patch, .. } => {
                if let Some(known) = self.model.records.get_mut(&id) {
                    known.etag = Etag { epoch: u64::MAX, seq: version, index: 0 };
                    change(&mut known.record, patch);
                    self.model.drop_if_over(&id);
                    self.model.count(&id, version);
                }
            }
            Operation::Delete { .. } => {
                if self.model.records.remove(&id).is_some() {
                    self.model.count(&id, version);
                }
            }
        }
    }

    fn tick(&mut self, timestamp: Timestamp, etag: Etag, answer: &WriteAnswer, in_memory: bool) {
        assert!(timestamp > self.model.last_timestamp, "the clock went back");
        self.model.last_timestamp = timestamp;
        if !in_memory {
            self.model.last_logged = timestamp;
        }
        assert_eq!(etag.epoch, answer.epoch);
        // No logged etag is like one of memory.
        assert_eq!(etag.seq >> 63, u64::from(in_memory));
        assert!(in_memory || etag.seq <= answer.seq);
    }
}
