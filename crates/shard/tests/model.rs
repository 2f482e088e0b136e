//! Random operations on a shard and on a map in memory, which must agree on every answer.
//!
//! A failure prints its seed; `HVS_TEST_SEED=n` runs that one alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use hvs_geometry::Precision;
use hvs_shard::checkpoint::restore;
use hvs_shard::{
    Compression, Condition, Durability, Etag, Expiry, FacetRequest, Filter, FilterLimits,
    IndexKind, MatchingRequest, NewRecord, Operation, Patch, Record, ScrollRequest, SearchRequest,
    Shard, ShardConfig, Subject, Timestamp, WriteAnswer, WriteError, WriteOutcome, WriteRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

mod support;
use support::{FLAT, Home, lift, write};

const IDS: u32 = 150;
/// A time at which every record has expired, in milliseconds.
const LONG_AGO: u64 = 1;
const STEPS: usize = 400;
/// Operations of a normal run, at least, and of a full one.
const OPERATIONS: usize = 20_000;
const OPERATIONS_IN_FULL: usize = 200_000;
const FIRST_SEED_IN_FULL: u64 = 1_000_000;

#[test]
fn a_shard_answers_like_a_map() {
    run_from(0, OPERATIONS);
}

#[test]
#[ignore = "full: 200,000 operations take minutes"]
fn a_shard_answers_like_a_map_for_long() {
    run_from(FIRST_SEED_IN_FULL, OPERATIONS_IN_FULL);
}

/// Runs seed after seed until so many operations have been carried out.
fn run_from(first: u64, operations: usize) {
    if let Ok(seed) = std::env::var("HVS_TEST_SEED") {
        let seed = seed.parse().unwrap();
        for with_memory in [false, true] {
            Run::new(seed, with_memory).run();
        }
        return;
    }
    let mut done = 0;
    let mut seeds = first..;
    while done < operations {
        let seed = seeds.next().unwrap();
        println!("seed {seed}, after {done} operations");
        for with_memory in [false, true] {
            done += Run::new(seed, with_memory).run();
        }
    }
}

/// What a patch of this test does to a record, in the simplest way.
fn change(record: &mut NewRecord, patch: &Patch) {
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
struct Known {
    record: NewRecord,
    version: u64,
    etag: Etag,
    timestamp: Timestamp,
    in_memory: bool,
}

/// What the shard should be.
#[derive(Default)]
struct Model {
    records: BTreeMap<String, Known>,
    /// Of every id ever written, deleted ones included.
    versions: HashMap<String, u64>,
    /// Ids that were in memory once: their versions go on from what was logged.
    uncounted: HashSet<String>,
    requests: HashMap<String, (WriteRequest, WriteAnswer)>,
    last_timestamp: Timestamp,
    last_seq: u64,
    epoch: u64,
}

impl Model {
    fn put(&mut self, id: &str, known: Known) {
        self.versions.insert(id.to_owned(), known.version);
        self.records.insert(id.to_owned(), known);
        self.expire(id);
    }

    /// The version that a write of an id has. Of ids that were in memory it is not known.
    fn next_version(&self, id: &str, outcome: &WriteOutcome) -> u64 {
        match outcome {
            WriteOutcome::Put { version, .. } | WriteOutcome::Deleted { version, .. }
                if self.uncounted.contains(id) =>
            {
                *version
            }
            _ => self.versions.get(id).copied().unwrap_or(0) + 1,
        }
    }

    /// Removes a record whose time has come.
    fn expire(&mut self, id: &str) {
        let is_over = |known: &Known| known.record.expiry == Some(Expiry::At(LONG_AGO));
        if self.records.get(id).is_some_and(is_over) {
            self.records.remove(id);
        }
    }
}

struct Run {
    rng: StdRng,
    home: Home,
    /// Whether some records are in memory alone.
    with_memory: bool,
    /// Where the shard is now.
    directory: PathBuf,
    operations: usize,
    /// None only while it is being opened again.
    shard: Option<Shard>,
    model: Model,
}

impl Run {
    fn new(seed: u64, with_memory: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut home = Home::new();
        home.config.store.memtable_bytes = 1 << rng.random_range(12..20);
        home.config.entry_target_bytes = 1 << rng.random_range(8..16);
        home.config.retention.entries = rng.random_range(1..100);
        home.config.tombstone_millis = u64::MAX;
        let shard = Some(home.open());
        let model = Model { epoch: 1, ..Model::default() };
        let directory = home.shard_path();
        Self { rng, home, with_memory, directory, operations: 0, shard, model }
    }

    /// The number of operations.
    fn run(mut self) -> usize {
        for step in 0..STEPS {
            match self.rng.random_range(0..100) {
                0..2 => self.reopen(),
                2 => self.move_elsewhere(),
                3..6 => self.repeat(),
                6..8 => self.misuse_a_key(),
                8 => self.change_compression(),
                _ => self.write_something(),
            }
            if step % 40 == 39 {
                self.compare_everything();
            }
            self.compare_one_search();
        }
        self.compare_everything();
        self.reopen();
        self.compare_everything();
        self.shard().flush().unwrap();
        self.compare_everything();
        self.operations
    }

    fn shard(&self) -> &Shard {
        self.shard.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        let old = self.shard.take().unwrap();
        if self.rng.random_bool(0.5) {
            old.close().unwrap();
            assert!(matches!(write(&old, put_request("x")), Err(WriteError::Closed)));
        }
        // Every handle must be gone before the directory can be opened again.
        drop(old);
        if self.rng.random_bool(0.3) {
            self.change_an_index();
        }
        self.open();
        self.model.epoch += 1;
        assert_eq!(self.shard().stats().epoch, self.model.epoch);
    }

    fn open(&mut self) {
        let (config, kv) = (self.home.config.clone(), self.home.kv());
        self.shard = Some(Shard::open(config, kv, &self.directory).unwrap());
        self.model.records.retain(|_, known| !known.in_memory);
    }

    /// Segments of the old kind stay until they are merged.
    fn change_an_index(&mut self) {
        let kind = match self.rng.random_range(0..4) {
            0 => IndexKind::Flat,
            1 => IndexKind::Geometric,
            2 => IndexKind::Ivf { nlist: None, nprobe: None },
            _ => IndexKind::default(),
        };
        let name = if self.rng.random_bool(0.5) { "" } else { FLAT };
        self.home.config.vectors.get_mut(name).unwrap().kind = kind;
        if self.rng.random_bool(0.5) {
            // Built anew from the records.
            *self.home.config.generations.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// At once, and for what is opened from now on.
    fn change_compression(&mut self) {
        let all = [Compression::None, Compression::Lz4, Compression::Zstd];
        let compression = all[self.rng.random_range(0..all.len())];
        self.home.config.compression = compression;
        self.shard().set_compression(compression);
    }

    /// Restores the state into another shard, and goes on with that one.
    fn move_elsewhere(&mut self) {
        let old = self.shard.take().unwrap();
        let export = old.export().unwrap();
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let digest = export.write(None, |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok::<(), Infallible>(())
        });
        let digest = digest.unwrap();
        drop((export, old));
        self.home.config = ShardConfig {
            namespace: Uuid::from_u128(self.rng.random()),
            shard: Uuid::from_u128(self.rng.random()),
            ..self.home.config.clone()
        };
        self.directory = self.home.path().join(self.home.config.shard.to_string());
        {
            let kv: Arc<dyn hvs_kv::Kv> = self.home.kv();
            let rows = rows.iter().map(|(key, value)| Ok::<_, Infallible>((key, value)));
            restore(&self.home.config, &kv, &self.directory, rows, digest, None).unwrap();
        }
        self.open();
        let epoch = self.shard().stats().epoch;
        assert!(epoch > self.model.epoch);
        self.model.epoch = epoch;
    }

    fn write_something(&mut self) {
        let count = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(20..60),
            1..4 => self.rng.random_range(2..8),
            _ => 1,
        };
        let operations = if self.rng.random_bool(0.03) {
            self.deletes_by_filter()
        } else {
            (0..count).map(|_| self.operation()).collect::<Vec<_>>()
        };
        if operations.is_empty() {
            return;
        }
        self.operations += operations.len();
        let request = WriteRequest {
            operations,
            durability: match self.rng.random_range(0..10) {
                0 => Durability::Sync,
                1..5 if self.with_memory => Durability::Memory,
                _ => Durability::Buffered,
            },
            atomic: self.rng.random_bool(0.3),
            idempotency_key: self.rng.random_bool(0.2).then(|| self.new_key()),
        };
        match write(self.shard(), request.clone()) {
            Ok(answer) => {
                assert!(!answer.repeated);
                self.check(&request, &answer);
                if let Some(key) = request.idempotency_key.clone() {
                    self.model.requests.insert(key, (request, answer));
                }
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Deletes of what matches, as a write by filter makes them.
    fn deletes_by_filter(&mut self) -> Vec<Operation> {
        let Some((filter, means)) = self.filters().into_iter().next() else { return Vec::new() };
        let mut request = MatchingRequest { filter, after: None, limit: 7, deadline: None };
        let mut found = Vec::new();
        loop {
            let page = self.shard().matching(&request).unwrap();
            found.extend(page.records.into_iter().map(|record| (record.id, record.etag)));
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        let expected = self.model.records.iter().filter(|(_, known)| means(&self.expected(known)));
        let expected: Vec<_> = expected.map(|(id, known)| (id.clone(), known.etag)).collect();
        assert_eq!(found, expected);
        found.truncate(self.rng.random_range(0..30));
        let delete =
            |(id, etag)| Operation::Delete { id, condition: Some(Condition::IfMatch(etag)) };
        found.into_iter().map(delete).collect()
    }

    fn new_key(&mut self) -> String {
        format!("key-{}", self.rng.random::<u64>())
    }

    fn known_request(&mut self) -> Option<(WriteRequest, WriteAnswer)> {
        let mut keys: Vec<&String> = self.model.requests.keys().collect();
        keys.sort();
        let key = keys.get(self.rng.random_range(0..keys.len().max(1)))?;
        Some(self.model.requests[*key].clone())
    }

    fn repeat(&mut self) {
        let Some((request, first)) = self.known_request() else { return };
        let answer = write(self.shard(), request).unwrap();
        assert!(answer.repeated);
        assert_eq!(answer, WriteAnswer { repeated: true, ..first });
    }

    fn misuse_a_key(&mut self) {
        let Some((mut request, _)) = self.known_request() else { return };
        request.operations.push(Operation::Delete { id: "other".into(), condition: None });
        let refused = write(self.shard(), request.clone());
        let key = request.idempotency_key.unwrap();
        assert_eq!(refused, Err(WriteError::IdempotencyMismatch { key }));
    }

    fn id(&mut self) -> String {
        format!("id-{:03}", self.rng.random_range(0..IDS))
    }

    fn operation(&mut self) -> Operation {
        let id = self.id();
        let condition = match self.rng.random_range(0..10) {
            0 => Some(Condition::IfAbsent),
            1..3 => {
                let wrong = Etag { epoch: 1, seq: self.rng.random_range(1..50), index: 0 };
                let right = self.model.records.get(&id).map(|known| known.etag);
                Some(Condition::IfMatch(right.unwrap_or(wrong)))
            }
            3 => Some(Condition::IfMatch(Etag { epoch: 9, seq: 1, index: 0 })),
            _ => None,
        };
        if self.rng.random_bool(0.25) {
            return Operation::Delete { id, condition };
        }
        if self.rng.random_bool(0.3) {
            return Operation::Patch { id, patch: self.patch(), condition };
        }
        let mut record = NewRecord::new(id, self.curved_point());
        if self.rng.random_bool(0.5) {
            let point = vec![self.coordinate(), self.coordinate()];
            record.vectors.insert(FLAT.to_owned(), point);
        }
        if self.rng.random_bool(0.1) {
            record.vectors.remove("");
        }
        if self.rng.random_bool(0.7) {
            record.metadata.insert("bucket".into(), self.rng.random_range(0..5).into());
        }
        if self.rng.random_bool(0.3) {
            // Long enough to be compressed.
            record.metadata.insert("note".into(), "the same words again ".repeat(10).into());
        }
        if self.rng.random_bool(0.3) {
            record.region = Some(format!("region-{}", self.rng.random_range(0..3)));
        }
        if self.rng.random_bool(0.3) {
            record.kind = "message".into();
            record.partition_key = Some("mailbox".into());
        }
        if self.rng.random_bool(0.03) {
            record.expiry = Some(Expiry::At(LONG_AGO));
        }
        Operation::Put { record, condition }
    }

    fn patch(&mut self) -> Patch {
        let mut patch = Patch::default();
        if self.rng.random_bool(0.6) {
            let bucket = match self.rng.random_range(0..6) {
                5 => Value::Null,
                bucket => bucket.into(),
            };
            patch.metadata = json!({ "bucket": bucket }).as_object().cloned();
        }
        if self.rng.random_bool(0.3) {
            let region = self.rng.random_range(0..4);
            patch.region = Some((region < 3).then(|| format!("region-{region}")));
        }
        if self.rng.random_bool(0.3) {
            let at = self.rng.random_range(4_000_000_000_000..5_000_000_000_000);
            let at = if self.rng.random_bool(0.1) { LONG_AGO } else { at };
            patch.expiry = Some(self.rng.random_bool(0.5).then_some(Expiry::At(at)));
        }
        if self.rng.random_bool(0.3) {
            patch.vectors.insert(FLAT.to_owned(), vec![self.coordinate(), self.coordinate()]);
        }
        if self.rng.random_bool(0.2) {
            patch.vectors.insert(String::new(), self.curved_point());
        }
        patch
    }

    fn coordinate(&mut self) -> f64 {
        self.rng.random_range(-2.0..2.0)
    }

    fn curved_point(&mut self) -> Vec<f64> {
        lift([self.coordinate(), self.coordinate(), self.coordinate()])
    }

    /// Carries a request out on the model and compares the outcomes.
    fn check(&mut self, request: &WriteRequest, answer: &WriteAnswer) {
        assert_eq!(answer.epoch, self.model.epoch);
        let (in_memory, held) = self.check_level(request, answer);
        assert_eq!(answer.outcomes.len(), request.operations.len());
        self.model.last_seq = answer.seq;
        let (records, versions) = (self.model.records.clone(), self.model.versions.clone());
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
                    self.model.versions.insert(id, version);
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
                    self.model.expire(&id);
                    self.model.versions.insert(id, version);
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
            assert!(failures.contains(&true), "nothing failed");
            for (failed, outcome) in failures.iter().zip(&answer.outcomes) {
                assert_eq!(*failed, *outcome != WriteOutcome::NotApplied);
            }
            self.model.records = records;
            self.model.versions = versions;
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
        let in_memory = request.durability == Durability::Memory
            && request.idempotency_key.is_none()
            && !request.operations.iter().any(must_be_logged)
            && of_ids(false).is_empty();
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
            self.model.versions.insert(id.to_owned(), found.version);
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
                    self.model.expire(&id);
                    self.model.versions.insert(id, version);
                }
            }
            Operation::Delete { .. } => {
                if self.model.records.remove(&id).is_some() {
                    self.model.versions.insert(id, version);
                }
            }
        }
    }

    fn tick(&mut self, timestamp: Timestamp, etag: Etag, answer: &WriteAnswer, in_memory: bool) {
        assert!(timestamp > self.model.last_timestamp, "the clock went back");
        self.model.last_timestamp = timestamp;
        assert_eq!(etag.epoch, answer.epoch);
        // No logged etag is like one of memory.
        assert_eq!(etag.seq >> 63, u64::from(in_memory));
        assert!(in_memory || etag.seq <= answer.seq);
    }

    fn expected(&self, known: &Known) -> Record {
        let NewRecord { id, partition_key, vectors, metadata, region, kind, expiry } =
            known.record.clone();
        let vectors = vectors
            .into_iter()
            .map(|(name, vector)| {
                let config = &self.home.config.vectors[&name];
                let mut stored = config.space.to_storage(&vector);
                if config.precision == Precision::F32 {
                    #[expect(clippy::cast_possible_truncation, reason = "as it is stored")]
                    for x in &mut stored {
                        *x = f64::from(*x as f32);
                    }
                }
                (name, config.space.from_storage(&stored))
            })
            .collect();
        Record {
            id,
            partition_key,
            vectors,
            metadata,
            region,
            kind,
            version: known.version,
            etag: known.etag,
            timestamp: known.timestamp,
            content_hash: [0; 32],
            expires_at: expiry.map(|expiry| match expiry {
                Expiry::At(at) => at,
                Expiry::After(_) => panic!("not in this test"),
            }),
        }
    }

    fn all_expected(&self) -> Vec<Record> {
        self.model.records.values().map(|known| self.expected(known)).collect()
    }

    fn compare_everything(&mut self) {
        let expected = self.all_expected();
        assert_eq!(self.shard().count(None, None).unwrap(), expected.len() as u64);

        let ids: Vec<String> = (0..IDS).map(|number| format!("id-{number:03}")).collect();
        let many = self.shard().get_many(&ids).unwrap();
        for (id, found) in ids.iter().zip(many) {
            assert_eq!(self.shard().get(id).unwrap(), found);
            let expected = self.model.records.get(id).map(|known| self.expected(known));
            assert_eq!(found.map(without_hash), expected, "{id}");
        }

        let limit = self.rng.random_range(1..50);
        assert_eq!(self.scroll(limit, None), expected);
        for (filter, means) in self.filters() {
            let expected: Vec<Record> =
                expected.iter().filter(|record| means(record)).cloned().collect();
            let count = self.shard().count(Some(&filter), None).unwrap();
            assert_eq!(count, expected.len() as u64);
            self.compare_facets(&expected, &filter);
            assert_eq!(self.scroll(limit, Some(filter)), expected);
        }
    }

    /// Counts by the values of each property that the records have.
    fn compare_facets(&self, records: &[Record], filter: &Filter) {
        type Property = fn(&Record) -> Option<Value>;
        let properties: [(Subject, Property); 3] = [
            (Subject::Metadata(vec!["bucket".to_owned()]), |record| {
                record.metadata.get("bucket").cloned()
            }),
            (Subject::Region, |record| record.region.clone().map(Value::from)),
            (Subject::Kind, |record| Some(record.kind.clone().into())),
        ];
        for (subject, value) in properties {
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            for value in records.iter().filter_map(value) {
                *expected.entry(value.to_string()).or_default() += 1;
            }
            let name = format!("{subject:?}");
            let request =
                FacetRequest { subject, filter: Some(filter.clone()), most: 100, deadline: None };
            let facet = self.shard().facet(&request).unwrap();
            let found: BTreeMap<String, u64> = facet
                .top(100)
                .into_iter()
                .map(|(value, count)| (value.to_string(), count))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    fn scroll(&self, limit: usize, filter: Option<Filter>) -> Vec<Record> {
        let mut request = ScrollRequest { filter, ..ScrollRequest::first(limit) };
        let mut found = Vec::new();
        loop {
            let page = self.shard().scroll(&request).unwrap();
            assert!(page.records.len() <= limit);
            found.extend(page.records.into_iter().map(without_hash));
            match page.next {
                Some(next) => request.after = Some(next),
                None => return found,
            }
        }
    }

    /// Filters, and what they mean once more in the simplest way.
    fn filters(&mut self) -> Vec<(Filter, Means)> {
        let bucket = self.rng.random_range(0..5_u64);
        let region = format!("region-{}", self.rng.random_range(0..3));
        let of = |record: &Record| record.metadata.get("bucket").and_then(Value::as_u64);
        let is_in = {
            let region = region.clone();
            move |record: &Record| record.region.as_ref() == Some(&region)
        };
        let mut filters: Vec<(Filter, Means)> = vec![
            (filter(&json!({"bucket": bucket})), Box::new(move |r| of(r) == Some(bucket))),
            (filter(&json!({"$region": region})), Box::new(is_in.clone())),
            (
                filter(&json!({"bucket": bucket, "$region": region, "$kind": "message"})),
                Box::new({
                    let is_in = is_in.clone();
                    move |r| of(r) == Some(bucket) && is_in(r) && r.kind == "message"
                }),
            ),
            (
                filter(&json!({"bucket": {"$gte": 1, "$lt": bucket}})),
                Box::new(move |r| of(r).is_some_and(|found| (1..bucket).contains(&found))),
            ),
            (
                filter(&json!({"$or": [{"$region": region}, {"bucket": {"$nin": [bucket, 0]}}]})),
                Box::new(move |r| is_in(r) || !matches!(of(r), Some(n) if n == bucket || n == 0)),
            ),
            (filter(&json!({"missing": {"$exists": true}})), Box::new(|_| false)),
        ];
        let ids: Vec<String> = self.model.records.keys().cloned().collect();
        if let Some(id) = ids.get(self.rng.random_range(0..ids.len().max(1))) {
            let key = self.model.records[id].record.partition_key.clone();
            let key = key.unwrap_or_else(|| id.clone());
            let filter = Filter { partition_key: Some(key.clone()), ..Filter::default() };
            let means = move |r: &Record| r.partition_key.as_ref().unwrap_or(&r.id) == &key;
            filters.push((filter, Box::new(means)));
        }
        let first = self.rng.random_range(0..filters.len());
        filters.rotate_left(first);
        filters
    }

    fn compare_one_search(&mut self) {
        let (name, query) = if self.rng.random_bool(0.5) {
            (String::new(), self.curved_point())
        } else {
            (FLAT.to_owned(), vec![self.coordinate(), self.coordinate()])
        };
        let (filter, means) = match self.filters().into_iter().next() {
            Some((filter, means)) if self.rng.random_bool(0.5) => (Some(filter), means),
            _ => (None, Box::new(|_: &Record| true) as Means),
        };
        let space = &self.home.config.vectors[&name].space;
        let mut expected: Vec<(f64, Record)> = self
            .all_expected()
            .into_iter()
            .filter(|record| means(record))
            .filter_map(|record| {
                let distance = space.distance(&query, record.vectors.get(&name)?).unwrap();
                Some((distance, record))
            })
            .collect();
        expected.sort_by(|left, right| left.0.total_cmp(&right.0));

        let k = self.rng.random_range(1..20);
        let radius = self.rng.random_bool(0.3).then(|| self.rng.random_range(0.1..3.0));
        let with_records = self.rng.random_bool(0.5);
        let mut request = SearchRequest {
            vector: name,
            radius,
            filter,
            with_records,
            exact: true,
            ..SearchRequest::nearest(query, k)
        };
        if let Some(radius) = radius {
            expected.retain(|(distance, _)| *distance <= radius);
        }
        if radius.is_some() && self.rng.random_bool(0.5) {
            request.k = None;
        } else {
            expected.truncate(k);
        }
        let exact = self.shard().search(&request).unwrap();
        assert!(exact.exact);
        let ids: Vec<&str> = exact.hits.iter().map(|hit| hit.id.as_str()).collect();
        let expected_ids: Vec<&str> =
            expected.iter().map(|(_, record)| record.id.as_str()).collect();
        assert_eq!(ids, expected_ids, "{request:?}");
        for (hit, (distance, record)) in exact.hits.iter().zip(&expected) {
            assert!((hit.distance - distance).abs() <= 1e-9 * (1.0 + distance));
            let found = hit.record.clone().map(without_hash);
            assert_eq!(found, with_records.then(|| record.clone()));
        }

        // Without the flag the nearest may be missed, but never replaced by fewer or by others.
        request.exact = false;
        let near = self.shard().search(&request).unwrap();
        if radius.is_none() {
            assert_eq!(near.hits.len(), expected.len());
        }
        for hit in &near.hits {
            let known = &self.model.records[&hit.id];
            let record = self.expected(known);
            assert!(means(&record));
        }
    }
}

fn put_request(id: &str) -> WriteRequest {
    WriteRequest::put(NewRecord::new(id, lift([0.0; 3])))
}

fn without_hash(record: Record) -> Record {
    assert_ne!(record.content_hash, [0; 32]);
    Record { content_hash: [0; 32], ..record }
}

type Means = Box<dyn Fn(&Record) -> bool>;

fn filter(json: &Value) -> Filter {
    let limits = FilterLimits::default();
    hvs_filter::Filter::parse(json.as_object().unwrap(), &limits).unwrap().into()
}

/// Whatever is asked.
fn must_be_logged(operation: &Operation) -> bool {
    match operation {
        Operation::Put { record, .. } => record.expiry.is_some(),
        Operation::Patch { .. } => true,
        Operation::Delete { .. } => false,
    }
}
