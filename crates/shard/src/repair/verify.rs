//! Whether every row of a local state is what it should be.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;

use super::LocalState;
use crate::codec::DecodeError;
use crate::command::content_hash;
use crate::record::check_id;
use crate::remembered::Remembered;
use crate::store::{BY_ID, BY_KEY, BY_ORDER, BY_TIME, Store, expiring_row, key_row, row_key};
use crate::stored::{Header, StoredRecord};

/// Findings that are told one by one.
const TOLD: usize = 10;

/// What was found in a local state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateReport {
    /// Whole records.
    pub records: u64,
    /// Whole tombstones.
    pub tombstones: u64,
    /// Whole idempotency keys.
    pub idempotency_keys: u64,
    /// What is wrong, the first of it.
    pub damage: Vec<String>,
    /// How many things are wrong.
    pub damaged: u64,
    /// Whole records are not those that the rest of the state knows: they are of another shard, or
    /// of another time.
    pub is_mixed: bool,
}

impl StateReport {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.damaged += 1;
        if self.damage.len() < TOLD {
            self.damage.push(what());
        }
    }
}

impl LocalState {
    /// Reads every row and checks it: that it decodes, that its hash holds, and that rows agree
    /// with each other and with the counts. Takes as long as there are rows.
    pub fn verify(&self) -> StateReport {
        let mut report = StateReport::default();
        self.verify_records(&mut report);
        self.verify_tombstones(&mut report);
        self.verify_keys(&mut report);
        self.verify_rows_of_indexes(&mut report);
        report
    }

    fn verify_records(&self, report: &mut StateReport) {
        let (store, meta) = (self.store(), self.meta());
        let trimmed = self.keys_trimmed();
        let mut keys = RoaringTreemap::new();
        let mut expiring = 0_u64;
        for row in store.records.iter() {
            let (id, value) = match row {
                Ok(row) => row,
                Err(error) => {
                    report.add(|| format!("records cannot be read: {error}"));
                    break;
                }
            };
            match self.check_record(&id, &value) {
                Ok((header, _)) if !keys.insert(header.key) => {
                    report.is_mixed = true;
                    let id = printable(&id);
                    report.add(|| format!("the record {id} has the key of another one"));
                }
                Ok((header, _)) if !self.is_known(&id, &value, header.key, &trimmed) => {
                    report.is_mixed = true;
                    let (id, key) = (printable(&id), header.key);
                    report.add(|| {
                        format!("the record {id} has key {key}, which is not known as its")
                    });
                }
                Ok((_, expires_at)) => {
                    report.records += 1;
                    expiring += u64::from(expires_at.is_some());
                }
                Err(reason) => report.add(|| format!("the record {}: {reason}", printable(&id))),
            }
        }
        if report.damaged == 0 && report.records != meta.records {
            let (found, expected) = (report.records, meta.records);
            report.add(|| format!("there are {found} records instead of {expected}"));
        }
        let rows = store.expiring.iter().flat_map(fjall::Guard::key).count();
        if report.damaged == 0 && rows as u64 != expiring {
            report.add(|| format!("{rows} records are noted to expire instead of {expiring}"));
        }
    }

    /// For each vector the key below which what is noted of keys has been removed.
    pub(super) fn keys_trimmed(&self) -> BTreeMap<String, u64> {
        let trimmed = |name: &String| {
            let key = self.store().load_keys_trimmed(name).unwrap_or(u64::MAX);
            (name.clone(), key)
        };
        self.config.vectors.keys().map(trimmed).collect()
    }

    /// Whether nothing that is noted of keys speaks against a record: the note of a key and the
    /// record are written together, in different keyspaces.
    fn is_known(&self, id: &[u8], value: &[u8], key: u64, trimmed: &BTreeMap<String, u64>) -> bool {
        self.noted(id, value, key).iter().all(|(vector, is_noted)| {
            *is_noted || trimmed.get(vector).is_none_or(|trimmed| key < *trimmed)
        })
    }

    /// Of each vector of a record with an index, whether its key is noted, if that can be read.
    pub(super) fn noted(&self, id: &[u8], value: &[u8], key: u64) -> Vec<(String, bool)> {
        let mut noted = Vec::new();
        let Ok(record) = StoredRecord::decode(value) else { return noted };
        // Errors were found when the record was checked.
        let _ = record.content.for_each_vector(|name, _| {
            if self.config.vectors.contains_key(name)
                && let Ok(row) = self.store().keys.get(key_row(name, key))
            {
                noted.push((name.to_owned(), row.is_some_and(|row| *row == *id)));
            }
        });
        noted
    }

    /// Checks the row of a record. Its header, and when it ceases to exist.
    pub(super) fn check_record(
        &self,
        id: &[u8],
        value: &[u8],
    ) -> Result<(Header, Option<u64>), String> {
        let (store, meta) = (self.store(), self.meta());
        let id = std::str::from_utf8(id).map_err(|_| "its id is no text".to_owned())?;
        check_id(id).map_err(|error| error.to_string())?;
        let decoded = |error: DecodeError| error.to_string();
        let split = StoredRecord::split(value).map_err(decoded)?;
        if content_hash(id, split.content) != split.content_hash {
            return Err("its content has another hash".to_owned());
        }
        let record = StoredRecord::decode(value).map_err(decoded)?;
        record.content.metadata().map_err(decoded)?;
        let mut misfit = None;
        let visited = record.content.for_each_vector(|name, vector| {
            let Some(index) = self.config.vectors.get(name) else { return };
            if vector.len() != index.space.storage_len() || !vector.iter().all(|x| x.is_finite()) {
                misfit = Some(format!("its vector {name:?} does not fit the space"));
            }
        });
        visited.map_err(decoded)?;
        if let Some(misfit) = misfit {
            return Err(misfit);
        }
        let header = record.header;
        if header.key == 0 || header.key >= meta.next_key {
            return Err(format!("its key is {}, below {} was given", header.key, meta.next_key));
        }
        if header.etag.seq > meta.applied.seq {
            let (seq, applied) = (header.etag.seq, meta.applied.seq);
            return Err(format!("it is of entry {seq}, but the state is that after {applied}"));
        }
        let expires_at = record.content.expires_at;
        if let Some(at) = expires_at {
            let noted = store.expiring.get(expiring_row(at, id));
            let noted = noted.map_err(|error| error.to_string())?;
            if noted.is_none_or(|noted| *noted != header.key.to_be_bytes()) {
                return Err("it is not noted that it expires".to_owned());
            }
        }
        Ok((header, expires_at))
    }

    fn verify_tombstones(&self, report: &mut StateReport) {
        let (store, meta) = (self.store(), self.meta());
        let before = report.damaged;
        for row in store.tombstones.prefix([BY_ID]) {
            let (key, value) = match row.into_inner() {
                Ok(row) => row,
                Err(error) => {
                    report.add(|| format!("tombstones cannot be read: {error}"));
                    return;
                }
            };
            let id = key.get(1..).unwrap_or_default();
            match check_tombstone(store, id, &value) {
                Ok(()) => report.tombstones += 1,
                Err(reason) => report.add(|| format!("the tombstone {}: {reason}", printable(id))),
            }
        }
        let by_time = store.tombstones.prefix([BY_TIME]).map(fjall::Guard::key);
        let by_time = by_time.flatten().count() as u64;
        if report.damaged == before
            && (report.tombstones != meta.tombstones || by_time != meta.tombstones)
        {
            let (found, expected) = (report.tombstones, meta.tombstones);
            report.add(|| {
                format!("there are {found} tombstones, {by_time} by time, instead of {expected}")
            });
        }
    }

    fn verify_keys(&self, report: &mut StateReport) {
        let (store, meta) = (self.store(), self.meta());
        let before = report.damaged;
        for row in store.idempotency.prefix([BY_ORDER]) {
            let (by_order, value) = match row.into_inner() {
                Ok(row) => row,
                Err(error) => {
                    report.add(|| format!("idempotency keys cannot be read: {error}"));
                    return;
                }
            };
            match check_key(store, &value) {
                Ok(()) => report.idempotency_keys += 1,
                Err(reason) => {
                    let number = printable(by_order.get(1..).unwrap_or_default());
                    report.add(|| format!("the idempotency key number {number}: {reason}"));
                }
            }
        }
        if report.damaged == before && report.idempotency_keys != meta.remembered() {
            let (found, expected) = (report.idempotency_keys, meta.remembered());
            report.add(|| format!("there are {found} idempotency keys instead of {expected}"));
        }
    }

    fn verify_rows_of_indexes(&self, report: &mut StateReport) {
        let store = self.store();
        for (what, keyspace, bytes) in [("key", &store.keys, 16), ("dead key", &store.dead, 8)] {
            for row in keyspace.iter() {
                match row.key() {
                    Ok(key) if key.len() == bytes => {}
                    Ok(key) => {
                        let found = key.len();
                        report.add(|| format!("a {what} of an index has {found} bytes"));
                    }
                    Err(error) => {
                        report.add(|| format!("{what}s of indexes cannot be read: {error}"));
                        break;
                    }
                }
            }
        }
    }
}

/// Checks the row of a tombstone by its id, with that by its time.
pub(super) fn check_tombstone(store: &Store, id: &[u8], value: &[u8]) -> Result<(), String> {
    let header = Header::decode(value).map_err(|error| error.to_string())?;
    let by_time = row_key(BY_TIME, &header.timestamp.0.to_be_bytes());
    let by_time = store.tombstones.get(by_time).map_err(|error| error.to_string())?;
    if by_time.is_none_or(|found| *found != *id) {
        return Err("it has no row by time".to_owned());
    }
    match store.records.contains(id) {
        Ok(false) => Ok(()),
        Ok(true) => Err("there is a record of the same id".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks the row of an idempotency key by its order, with that by the key.
pub(super) fn check_key(store: &Store, by_order: &[u8]) -> Result<(), String> {
    let (_, key) = by_order.split_first_chunk::<8>().ok_or("it has no time")?;
    let row = store.idempotency.get(row_key(BY_KEY, key)).map_err(|error| error.to_string())?;
    let row = row.ok_or("what is remembered is missing")?;
    Remembered::decode(&row).map(drop).map_err(|error| error.to_string())
}

/// Ids are of users: people who repair are told them, nobody else.
fn printable(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
