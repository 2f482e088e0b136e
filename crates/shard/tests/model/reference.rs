//! What a shard should be, in the simplest way.

use std::collections::{BTreeMap, HashMap, HashSet};

use hvs_shard::{
    Etag, Expiry, NewRecord, Operation, Patch, Timestamp, WriteAnswer, WriteOutcome, WriteRequest,
};
use serde_json::Value;

/// What a patch of this test does to a record, in the simplest way.
pub(crate) fn change(record: &mut NewRecord, patch: &Patch) {
    match patch.metadata.as_ref().and_then(|metadata| metadata.get("bucket")) {
        None => {}
        Some(Value::Null) => drop(record.metadata.remove("bucket")),
        Some(bucket) => drop(record.metadata.insert("bucket".into(), bucket.clone())),
    }
    if let Some(region) = &patch.region {
        record.region.clone_from(region);
    }
    if let Some(expiry) = patch.expiry {
        record.expiry = expiry;
    }
    record.vectors.extend(patch.vectors.clone());
}

#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) record: NewRecord,
    pub(crate) version: u64,
    pub(crate) etag: Etag,
    pub(crate) timestamp: Timestamp,
    pub(crate) in_memory: bool,
}

/// What the shard should be.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) records: BTreeMap<String, Known>,
    /// Of every id ever written, deleted ones included.
    pub(crate) versions: HashMap<String, u64>,
    /// Ids that were in memory once: their versions go on from what was logged.
    pub(crate) uncounted: HashSet<String>,
    /// Ids whose records have expired: whether they are deleted by now, which counts as a version,
    /// is not known.
    pub(crate) expired: HashSet<String>,
    pub(crate) requests: HashMap<String, (WriteRequest, WriteAnswer)>,
    pub(crate) last_timestamp: Timestamp,
    /// The last one that a restart does not forget.
    pub(crate) last_logged: Timestamp,
    pub(crate) last_seq: u64,
    pub(crate) epoch: u64,
    /// In milliseconds.
    pub(crate) now: u64,
}

impl Model {
    pub(crate) fn put(&mut self, id: &str, known: Known) {
        self.count(id, known.version);
        self.records.insert(id.to_owned(), known);
        self.drop_if_over(id);
    }

    /// A write of an id had this version.
    pub(crate) fn count(&mut self, id: &str, version: u64) {
        self.versions.insert(id.to_owned(), version);
        self.expired.remove(id);
    }

    /// The version that a write of an id has. Of ids that were in memory it is not known.
    pub(crate) fn next_version(&self, id: &str, outcome: &WriteOutcome) -> u64 {
        let next = self.versions.get(id).copied().unwrap_or(0) + 1;
        match outcome {
            WriteOutcome::Put { version, .. } | WriteOutcome::Deleted { version, .. } => {
                let is_possible = self.expired.contains(id) && *version == next + 1;
                if is_possible || self.uncounted.contains(id) { *version } else { next }
            }
            _ => next,
        }
    }

    /// Removes a record that was never there, because its time had come.
    pub(crate) fn drop_if_over(&mut self, id: &str) {
        if self.records.get(id).is_some_and(|known| self.is_over(known)) {
            self.records.remove(id);
        }
    }

    fn is_over(&self, known: &Known) -> bool {
        matches!(known.record.expiry, Some(Expiry::At(at)) if at <= self.now)
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += millis;
        let over = self.records.iter().filter(|(_, known)| self.is_over(known));
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            self.records.remove(&id);
            self.expired.insert(id);
        }
    }
}

/// Whatever is asked.
pub(crate) fn must_be_logged(operation: &Operation) -> bool {
    match operation {
        Operation::Put { record, .. } => record.expiry.is_some(),
        Operation::Patch { .. } => true,
        Operation::Delete { .. } => false,
    }
}
