//! The indexes of a shard's named vectors and of its metadata, kept in step with its records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::Guard;
use hvs_index::{IndexConfig, IndexStats, RestartState, Row, VectorIndex};

use crate::codec::DecodeError;
use crate::config::ShardConfig;
use crate::content::Content;
use crate::error::OpenError;
use crate::meta::Meta;
use crate::named::{self, Named};
use crate::payload::Payload;
use crate::store::{Store, key_row};
use crate::stored::StoredRecord;
use crate::text::TextSlot;

/// What one log entry changes in the indexes.
#[derive(Default)]
pub(crate) struct IndexChanges<'a> {
    /// In increasing order of their keys.
    pub(crate) inserts: Vec<IndexInsert<'a>>,
    /// Keys of what was replaced or deleted.
    pub(crate) removes: Vec<u64>,
    /// Key and time of those among them that expire.
    pub(crate) leaving: Vec<(u64, u64)>,
}

/// A record that was put.
pub(crate) struct IndexInsert<'a> {
    pub(crate) key: u64,
    pub(crate) id: &'a str,
    pub(crate) content: Content<'a>,
    pub(crate) vectors: NamedVectors<'a>,
}

/// Vectors by name, in storage form.
pub(crate) type NamedVectors<'a> = Vec<(&'a str, Vec<f64>)>;

/// Why an index could not follow its records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexFailure {
    #[error("the index of the vector {name:?} does not take {id:?}: {source}")]
    Vector { name: String, id: String, source: hvs_index::InsertError },
    #[error("the indexes of metadata and text do not take a record: {0}")]
    Payload(#[from] DecodeError),
}

/// One index for each named vector, one for all metadata, and one for text if there is to be one.
pub(crate) struct Indexes {
    directory: PathBuf,
    by_name: BTreeMap<String, Named>,
    payload: Payload,
    text: TextSlot,
}

impl Indexes {
    /// Opens all indexes of a shard, those on disk below a directory, and brings them to what the
    /// store holds, whose state is `meta`.
    pub(crate) fn open(
        directory: &Path,
        shard: &ShardConfig,
        store: &Store,
        meta: &Meta,
    ) -> Result<Self, OpenError> {
        let next_key = meta.next_key;
        let mut by_name = BTreeMap::new();
        for (name, config) in &shard.vectors {
            let generation = shard.generations.get(name).copied().unwrap_or(0);
            named::remove_others(directory, name, generation).map_err(|source| OpenError::Io {
                what: format!(
                    "look in {} for indexes of {name:?} that are not in use",
                    directory.display()
                ),
                source,
            })?;
            let path = named::directory(directory, name, generation);
            let index = Source { directory: path, name, config, store }.open(next_key)?;
            by_name.insert(name.clone(), Named::new(index, generation));
        }
        let payload = Payload::open(store, shard.payload, &shard.payload_schema, next_key);
        let payload = payload.map_err(|source| OpenError::Io {
            what: "start the thread that indexes metadata".to_owned(),
            source,
        })?;
        let text = TextSlot::open(directory, shard, store, meta)?;
        Ok(Self { directory: directory.to_owned(), by_name, payload, text })
    }

    /// The index of metadata.
    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The index of text, if there is one.
    pub(crate) fn text(&self) -> &TextSlot {
        &self.text
    }

    /// Where the indexes are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops what works in the background, and lets go of the store. Everything has been applied.
    pub(crate) fn close(&self) {
        self.payload.close();
        self.text.close();
    }

    /// The index of a vector that answers now.
    pub(crate) fn get(&self, name: &str) -> Option<Guard<Arc<VectorIndex>>> {
        self.by_name.get(name).map(Named::current)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Named> {
        self.by_name.get(name)
    }

    /// Where a generation of the index of a vector is.
    pub(crate) fn directory_of(&self, name: &str, generation: u64) -> PathBuf {
        named::directory(&self.directory, name, generation)
    }

    /// `meta` is the state after the changes.
    pub(crate) fn apply(
        &self,
        changes: &IndexChanges<'_>,
        meta: &Meta,
    ) -> Result<(), IndexFailure> {
        let records = changes.inserts.iter().map(|insert| (insert.key, &insert.content));
        self.payload.insert(records)?;
        for insert in &changes.inserts {
            self.insert(insert)?;
        }
        // After the new keys, so that a record is never missing from a search.
        for key in &changes.removes {
            self.by_name.values().for_each(|index| index.remove(*key));
        }
        self.payload.remove(&changes.removes);
        self.text.apply(changes, meta)?;
        Ok(())
    }

    fn insert(&self, insert: &IndexInsert<'_>) -> Result<(), IndexFailure> {
        let IndexInsert { key, id, vectors, .. } = insert;
        for (name, vector) in vectors {
            let Some(index) = self.by_name.get(*name) else { continue };
            index.insert(*key, id, vector).map_err(|source| IndexFailure::Vector {
                name: (*name).to_owned(),
                id: (*id).to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// For each vector the key below which everything is in durable segments of its index.
    pub(crate) fn covered(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_name.iter().map(|(name, index)| (name.as_str(), index.covered()))
    }

    /// The id of the record of a key, which has a vector at least.
    pub(crate) fn id(&self, key: u64) -> Option<String> {
        self.by_name.values().find_map(|index| index.current().id(key))
    }

    /// Whether any index still holds a row of this key.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.by_name.values().any(|index| index.holds(key))
    }

    /// Segments published since the indexes were opened.
    pub(crate) fn builds(&self) -> u64 {
        self.by_name.values().map(Named::builds).sum()
    }

    /// Waits until every vector is in durable segments, and all metadata is indexed.
    pub(crate) fn flush(&self) -> Result<(), (String, hvs_index::FlushError)> {
        self.payload.wait();
        if let Some(text) = self.text.current() {
            text.flush();
        }
        self.by_name
            .iter()
            .map(|(name, index)| (name, index.current().clone()))
            .try_for_each(|(name, index)| index.flush().map_err(|error| (name.clone(), error)))
    }

    /// Rows that are not yet in segments of the indexes that are to take the place of others.
    pub(crate) fn rebuild_rows(&self) -> u64 {
        self.by_name.values().map(Named::rebuild_rows).sum()
    }

    /// Bytes in anonymous memory, of tails and resident rows.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        self.by_name.values().map(|index| index.current().stats().bytes_anonymous).sum()
    }

    pub(crate) fn stats(&self) -> BTreeMap<String, IndexStats> {
        self.by_name.iter().map(|(name, index)| (name.clone(), index.current().stats())).collect()
    }
}

/// What one index is opened from.
pub(crate) struct Source<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) name: &'a str,
    pub(crate) config: &'a IndexConfig,
    pub(crate) store: &'a Store,
}

impl Source<'_> {
    fn open(&self, next_key: u64) -> Result<VectorIndex, OpenError> {
        use hvs_index::OpenError::{Damaged, Format};
        let covered = match VectorIndex::covered(&self.directory) {
            Ok(covered) => covered,
            Err(error @ (Damaged { .. } | Format { .. })) => {
                return self.rebuild(&error.to_string());
            }
            Err(error) => return Err(self.failed(&error)),
        };
        // Its segments hold keys that the log no longer knows and will give to other records:
        // buffered writes were lost together with the machine.
        if covered > next_key {
            return self.rebuild(&format!("it covers key {covered}, the log ends at {next_key}"));
        }
        // Its files are older than what the rows of keys were trimmed by, or gone.
        let trimmed = self.store.load_keys_trimmed(self.name);
        let trimmed = trimmed.map_err(|source| self.store.storage(source))?;
        if covered < trimmed {
            return self.rebuild(&format!("it covers key {covered}, but did cover {trimmed}"));
        }
        let state = RestartState { tail: self.tail(covered)?, dead: dead(self.store)? };
        match VectorIndex::open(&self.directory, self.config.clone(), state) {
            Err(error @ (Damaged { .. } | Format { .. })) => self.rebuild(&error.to_string()),
            opened => opened.map_err(|error| self.failed(&error)),
        }
    }

    /// Builds the index anew from the records, which are the truth.
    fn rebuild(&self, reason: &str) -> Result<VectorIndex, OpenError> {
        tracing::warn!(vector = self.name, reason, "building an index anew from the records");
        VectorIndex::discard(&self.directory).map_err(|error| self.failed(&error))?;
        let state = RestartState { tail: self.rows()?, dead: Vec::new() };
        let opened = VectorIndex::open(&self.directory, self.config.clone(), state);
        opened.map_err(|error| self.failed(&error))
    }

    /// The rows of all records, in order of their keys.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, OpenError> {
        let mut rows = Vec::new();
        for row in self.store.records.iter() {
            let (id, value) = row.map_err(|source| self.store.storage(source))?;
            rows.extend(index_row(self.store, self.name, &id, &value)?);
        }
        rows.sort_unstable_by_key(|row| row.key);
        Ok(rows)
    }

    /// The live rows from a key on.
    pub(crate) fn tail(&self, covered: u64) -> Result<Vec<Row>, OpenError> {
        let store = self.store;
        let mut rows = Vec::new();
        for entry in store.keys.range(key_row(self.name, covered)..=key_row(self.name, u64::MAX)) {
            let (key, id) = entry.into_inner().map_err(|source| store.storage(source))?;
            let value = store.records.get(&id).map_err(|source| store.storage(source))?;
            let Some(value) = value else { continue };
            // The record may have been put again since, under a later key.
            let row = index_row(store, self.name, &id, &value)?;
            rows.extend(row.filter(|row| key_row(self.name, row.key) == *key));
        }
        Ok(rows)
    }

    fn failed(&self, error: &hvs_index::OpenError) -> OpenError {
        OpenError::Index { name: self.name.to_owned(), reason: error.to_string() }
    }
}

fn index_row(store: &Store, name: &str, id: &[u8], value: &[u8]) -> Result<Option<Row>, OpenError> {
    let id = String::from_utf8_lossy(id).into_owned();
    let damaged = |damage| store.corrupt(&format!("the record {id:?}: {damage}"));
    let record = StoredRecord::decode(value).map_err(damaged)?;
    let key = record.header.key;
    let vector = record.content.vector(name).map_err(damaged)?;
    Ok(vector.map(|vector| Row { key, id, vector }))
}

pub(crate) fn dead(store: &Store) -> Result<Vec<u64>, OpenError> {
    let mut keys = Vec::new();
    for row in store.dead.iter() {
        let key = row.key().map_err(|source| store.storage(source))?;
        let key = key.first_chunk().ok_or_else(|| store.corrupt("a key is not 8 bytes long"))?;
        keys.push(u64::from_be_bytes(*key));
    }
    Ok(keys)
}
