//! What is written.

use hvs_shard::{
    Condition, Durability, Etag, Expiry, MatchingRequest, NewRecord, Operation, Patch, WriteAnswer,
    WriteError, WriteRequest,
};
use rand::RngExt;
use serde_json::{Value, json};

use crate::run::Run;
use crate::support::{FLAT, lift, write};

pub(crate) const IDS: u32 = 150;

impl Run {
    pub(crate) fn write_something(&mut self) {
        let count = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(60..200),
            1..4 => self.rng.random_range(2..12),
            _ => 1,
        };
        let operations = if self.rng.random_bool(0.06) {
            self.changes_by_filter()
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

    /// Deletes or patches of what matches, as a write by filter makes them.
    pub(crate) fn changes_by_filter(&mut self) -> Vec<Operation> {
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
        // Vectors would be the same for all, and searches could choose among them.
        let patch = self.rng.random_bool(0.5).then(|| Patch { vectors: [].into(), ..self.patch() });
        let change = |(id, etag)| {
            let condition = Some(Condition::IfMatch(etag));
            match &patch {
                Some(patch) => Operation::Patch { id, patch: patch.clone(), condition },
                None => Operation::Delete { id, condition },
            }
        };
        found.into_iter().map(change).collect()
    }

    pub(crate) fn new_key(&mut self) -> String {
        format!("key-{}", self.rng.random::<u64>())
    }

    pub(crate) fn known_request(&mut self) -> Option<(WriteRequest, WriteAnswer)> {
        let mut keys: Vec<&String> = self.model.requests.keys().collect();
        keys.sort();
        let key = keys.get(self.rng.random_range(0..keys.len().max(1)))?;
        Some(self.model.requests[*key].clone())
    }

    pub(crate) fn repeat(&mut self) {
        let Some((request, first)) = self.known_request() else { return };
        let answer = write(self.shard(), request).unwrap();
        assert!(answer.repeated);
        assert_eq!(answer, WriteAnswer { repeated: true, ..first });
    }

    pub(crate) fn misuse_a_key(&mut self) {
        let Some((mut request, _)) = self.known_request() else { return };
        request.operations.push(Operation::Delete { id: "other".into(), condition: None });
        let refused = write(self.shard(), request.clone());
        let key = request.idempotency_key.unwrap();
        assert_eq!(refused, Err(WriteError::IdempotencyMismatch { key }));
    }

    pub(crate) fn id(&mut self) -> String {
        format!("id-{:03}", self.rng.random_range(0..IDS))
    }

    pub(crate) fn operation(&mut self) -> Operation {
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
        if self.rng.random_bool(0.15) {
            record.expiry = Some(self.expiry());
        }
        Operation::Put { record, condition }
    }

    pub(crate) fn patch(&mut self) -> Patch {
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
            patch.expiry = Some(self.rng.random_bool(0.5).then(|| self.expiry()));
        }
        if self.rng.random_bool(0.3) {
            patch.vectors.insert(FLAT.to_owned(), vec![self.coordinate(), self.coordinate()]);
        }
        if self.rng.random_bool(0.2) {
            patch.vectors.insert(String::new(), self.curved_point());
        }
        patch
    }

    /// Over already, or in a while.
    pub(crate) fn expiry(&mut self) -> Expiry {
        Expiry::At(match self.rng.random_range(0..10) {
            0 => 1,
            1 => self.model.now,
            2..8 => self.model.now + self.rng.random_range(1..200),
            _ => self.model.now + self.rng.random_range(1..3_000_000),
        })
    }

    pub(crate) fn coordinate(&mut self) -> f64 {
        self.rng.random_range(-2.0..2.0)
    }

    pub(crate) fn curved_point(&mut self) -> Vec<f64> {
        lift([self.coordinate(), self.coordinate(), self.coordinate()])
    }
}
