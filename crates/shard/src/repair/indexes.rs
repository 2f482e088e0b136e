//! Whether indexes agree with the records, and building them anew.

use std::path::{Path, PathBuf};

use hvs_index::{RestartState, VectorIndex};
use hvs_text::TextIndex;
use roaring::RoaringTreemap;

use super::LocalState;
use crate::error::OpenError;
use crate::indexes::{Source, dead};
use crate::named;
use crate::stored::StoredRecord;
use crate::text::{Text, directory, document, mark};

/// What was found of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// Every vector, or every text, is in it once and as it is in the records; or it is known to
    /// be behind, and catches up when the shard is opened.
    Whole {
        /// Vectors or documents in it.
        rows: u64,
    },
    /// It cannot be used.
    Unusable {
        /// Why.
        reason: String,
    },
}

impl IndexState {
    fn unusable(reason: &impl ToString) -> Self {
        Self::Unusable { reason: reason.to_string() }
    }
}

impl LocalState {
    /// The vectors that have an index.
    pub fn vectors(&self) -> impl Iterator<Item = &str> {
        self.config.vectors.keys().map(String::as_str)
    }

    /// The folder of a vector's index, below that of the shard.
    pub fn index_folder(&self, vector: &str) -> PathBuf {
        let generation = self.config.generations.get(vector).copied().unwrap_or(0);
        named::directory(Path::new("index"), vector, generation)
    }

    /// The folder of the index of text, below that of the shard.
    pub fn text_folder(&self) -> PathBuf {
        directory(Path::new("index"), self.config.text_generation)
    }

    /// Whether there is an index of text.
    pub fn has_text(&self) -> bool {
        self.config.text.is_some()
    }

    /// The first key that no record had when the indexes below a folder were last written, as far
    /// as those say that are this shard's.
    pub fn key_of_indexes(&self, shard: &Path) -> u64 {
        let of_vectors = self.config.vectors.iter().filter_map(|(name, config)| {
            VectorIndex::covered_of(&shard.join(self.index_folder(name)), &config.owner)
        });
        of_vectors.max().unwrap_or_default()
    }

    /// The first key that no record has had.
    pub fn next_key(&self) -> u64 {
        self.meta().next_key
    }

    /// Opens a copy of an index, which may be written to, checks all of its files, and compares
    /// each row with the records.
    pub fn verify_index(&self, vector: &str, copy: &Path) -> Result<IndexState, OpenError> {
        let Some(config) = self.config.vectors.get(vector) else {
            return Ok(IndexState::unusable(&"there is no such vector"));
        };
        let store = self.store();
        let covered = match VectorIndex::covered(copy) {
            Ok(covered) => covered,
            Err(error) => return Ok(IndexState::unusable(&error)),
        };
        if covered > self.meta().next_key {
            let next = self.meta().next_key;
            let reason = format!("it covers key {covered}, the records end at {next}");
            return Ok(IndexState::Unusable { reason });
        }
        let source = Source { directory: copy.to_owned(), name: vector, config, store };
        let state = RestartState { tail: source.tail(covered)?, dead: dead(store)? };
        let mut config = config.clone();
        // It is looked at and not worked on.
        (config.tail_limit, config.small_segments) = (usize::MAX, usize::MAX);
        match VectorIndex::open(copy, config, state) {
            Ok(index) => self.compare(vector, &index),
            Err(error) => Ok(IndexState::unusable(&error)),
        }
    }

    fn compare(&self, vector: &str, index: &VectorIndex) -> Result<IndexState, OpenError> {
        let store = self.store();
        let (mut seen, mut wrong) = (RoaringTreemap::new(), None);
        index.visit_live(|key, id, found| {
            if wrong.is_none() {
                wrong = self.differs(vector, key, id, found).err();
            }
            if !seen.insert(key) {
                wrong.get_or_insert_with(|| format!("key {key} is there twice"));
            }
        });
        if let Some(reason) = wrong {
            return Ok(IndexState::Unusable { reason });
        }
        let mut expected = 0;
        for row in store.records.iter() {
            let (id, value) = row.map_err(|source| store.storage(source))?;
            let stored = self.decode(&id, &value)?;
            let held = stored.content.vector(vector);
            let held = held.map_err(|error| store.corrupt(&error.to_string()))?;
            if held.is_some() {
                expected += 1;
                let key = stored.header.key;
                if !seen.contains(key) {
                    let reason = format!("the vector of a record, key {key}, is not in it");
                    return Ok(IndexState::Unusable { reason });
                }
            }
        }
        if seen.len() != expected {
            let found = seen.len();
            let reason = format!("it has {found} vectors, the records have {expected}");
            return Ok(IndexState::Unusable { reason });
        }
        Ok(IndexState::Whole { rows: expected })
    }

    fn differs(&self, vector: &str, key: u64, id: &str, found: &[f64]) -> Result<(), String> {
        let row = self.store().records.get(id).map_err(|error| error.to_string())?;
        let row = row.ok_or_else(|| format!("key {key} is of a record that is not there"))?;
        let stored = StoredRecord::decode(&row).map_err(|error| error.to_string())?;
        if stored.header.key != key {
            return Err(format!("key {key} is not that of its record"));
        }
        let held = stored.content.vector(vector).map_err(|error| error.to_string())?;
        let is_same = held.is_some_and(|held| {
            held.len() == found.len()
                && held.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits())
        });
        if is_same { Ok(()) } else { Err(format!("the vector of key {key} is another one")) }
    }

    /// Builds the index of a vector from the records, in an empty folder. Returns how many vectors
    /// are in it.
    pub fn build_index(&self, vector: &str, folder: &Path) -> Result<u64, OpenError> {
        let failed = |error: &dyn std::error::Error| OpenError::Index {
            name: vector.to_owned(),
            reason: error.to_string(),
        };
        let config = self.config.vectors.get(vector).ok_or_else(|| OpenError::Index {
            name: vector.to_owned(),
            reason: "there is no such vector".to_owned(),
        })?;
        let directory = folder.to_owned();
        let source = Source { directory, name: vector, config, store: self.store() };
        let tail = source.rows()?;
        let rows = tail.len() as u64;
        let state = RestartState { tail, dead: Vec::new() };
        let index = VectorIndex::open(folder, config.clone(), state);
        let index = index.map_err(|error| failed(&error))?;
        index.flush().map_err(|error| failed(&error))?;
        Ok(rows)
    }

    /// Checks a copy of the index of text, which may be written to.
    pub fn verify_text(&self, copy: &Path) -> Result<IndexState, OpenError> {
        let Some(config) = &self.config.text else {
            return Ok(IndexState::unusable(&"no text is indexed"));
        };
        let (shown, keys) = match TextIndex::check(copy, config) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(IndexState::Whole { rows: 0 }),
            Err(reason) => return Ok(IndexState::Unusable { reason }),
        };
        let now = mark(self.meta());
        if shown.next_key > now.next_key {
            let (shown, next) = (shown.next_key, now.next_key);
            let reason = format!("it shows key {shown}, the records end at {next}");
            return Ok(IndexState::Unusable { reason });
        }
        // One that is behind is compared with the records when it is opened.
        if shown == now {
            let expected = self.keys_with_text(config)?;
            if expected != keys {
                let missing = (&expected - &keys).len();
                let wrong = (&keys - &expected).len();
                let reason = format!("{missing} documents are missing in it, {wrong} are too many");
                return Ok(IndexState::Unusable { reason });
            }
        }
        Ok(IndexState::Whole { rows: keys.len() })
    }

    fn keys_with_text(&self, config: &hvs_text::TextConfig) -> Result<RoaringTreemap, OpenError> {
        let store = self.store();
        let mut keys = RoaringTreemap::new();
        for row in store.records.iter() {
            let (id, value) = row.map_err(|source| store.storage(source))?;
            let stored = self.decode(&id, &value)?;
            let key = stored.header.key;
            let document = document(key, "", &stored.content, &config.fields)
                .map_err(|error| store.corrupt(&error.to_string()))?;
            if document.has_words(config.language) {
                keys.insert(key);
            }
        }
        Ok(keys)
    }

    /// Builds the index of text from the records, in an empty folder. Returns how many documents
    /// are in it.
    pub fn build_text(&self, folder: &Path) -> Result<u64, OpenError> {
        let Some(config) = &self.config.text else { return Ok(0) };
        let text = Text::open(folder, config, self.store(), mark(self.meta()))?;
        text.flush();
        let stats = text.stats();
        text.close();
        if !stats.is_ready {
            let reason = format!("the index of text in {} cannot be built", folder.display());
            return Err(OpenError::Config { reason });
        }
        Ok(stats.documents)
    }

    fn decode<'a>(&self, id: &[u8], value: &'a [u8]) -> Result<StoredRecord<'a>, OpenError> {
        StoredRecord::decode(value).map_err(|error| {
            let id = String::from_utf8_lossy(id);
            self.store().corrupt(&format!("the record {id:?}: {error}"))
        })
    }
}
