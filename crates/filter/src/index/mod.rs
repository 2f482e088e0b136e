//! Indexes of metadata: for every field and value the keys of the records that have it.
//!
//! Keys are those that a shard gives to its puts: a record that is put again gets a new one, and
//! its old one is dead. Dead keys stay in postings until they are compacted.

mod evaluate;
mod field;
mod order;
mod postings;

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringTreemap;
use serde_json::{Map, Value};

use self::field::Field;
pub use self::order::{OrderPart, OrderRequest};
use crate::{Fields, Filter, PayloadSchema, Scalar, Subject, facet::Facet};

/// Names of the fields of labels; no path of metadata that a filter can name begins with `$`.
const KIND: &str = "$kind";
const REGION: &str = "$region";
const PARTITION_KEY: &str = "$partition_key";
const LABELS: [&str; 3] = [KIND, REGION, PARTITION_KEY];
/// Dead keys are compacted when there are more of them than live ones, and at least so many.
const FEWEST_DEAD: u64 = 4_096;

/// How much memory an index may take. What does not fit is looked up in the records instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Metadata fields that are not declared, each path by itself.
    pub fields: usize,
    /// Bytes, estimated.
    pub bytes: usize,
    /// Bytes of a text that is indexed.
    pub text_bytes: usize,
}

impl Default for PayloadLimits {
    /// 256 fields, 256 MiB, texts up to 256 bytes.
    fn default() -> Self {
        Self { fields: 256, bytes: 256 << 20, text_bytes: 256 }
    }
}

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PayloadStats {
    /// Metadata fields.
    pub fields: usize,
    /// Distinct values of all fields.
    pub values: usize,
    /// Estimated bytes.
    pub bytes: usize,
    /// Records of which some value is not indexed although its field is: for lack of room, or
    /// because its type is not the declared one.
    pub partial: u64,
}

/// The keys of the records that match a filter, as far as an index knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matching {
    /// These match.
    pub sure: RoaringTreemap,
    /// These may match, their records must be looked at; none of `sure`.
    pub maybe: RoaringTreemap,
}

impl Matching {
    /// At most so many records match.
    #[must_use]
    pub fn at_most(&self) -> u64 {
        self.sure.len().saturating_add(self.maybe.len())
    }
}

/// For every field and value the keys of the records that have it.
#[derive(Debug, Default)]
pub struct PayloadIndex {
    limits: PayloadLimits,
    /// Whether fields that are not declared are left out.
    only_declared: bool,
    /// How many are declared.
    declared: usize,
    /// By path, keys joined by dots; those of the labels and of what is declared are always there.
    fields: HashMap<String, Field>,
    live: RoaringTreemap,
    /// Removals since the last compaction began.
    dead: u64,
    /// Records with a path that is in no field, for lack of room or because it is not declared.
    overflow: RoaringTreemap,
    /// Names of fields that are still to be compacted.
    compacting: Vec<String>,
}

impl PayloadIndex {
    /// An empty index.
    #[must_use]
    pub fn new(limits: PayloadLimits, schema: &PayloadSchema) -> Self {
        let labels = LABELS.map(|name| (name.to_owned(), Field::default()));
        let declared = schema.declared.iter();
        let declared = declared.map(|(path, of)| (path.clone(), Field::declared(*of)));
        Self {
            limits,
            only_declared: schema.only_declared,
            declared: schema.declared.len(),
            fields: labels.into_iter().chain(declared).collect(),
            ..Self::default()
        }
    }

    /// Adds a record under a key that was never used before.
    pub fn insert(&mut self, key: u64, fields: &Fields<'_>) {
        self.live.insert(key);
        self.insert_label(key, KIND, fields.kind);
        if let Some(region) = fields.region {
            self.insert_label(key, REGION, region);
        }
        if let Some(partition_key) = fields.partition_key {
            self.insert_label(key, PARTITION_KEY, partition_key);
        }
        if !fields.metadata.is_empty() {
            let has_room = self.bytes() < self.limits.bytes;
            self.insert_object(key, fields.metadata, &mut String::new(), has_room);
        }
    }

    fn insert_label(&mut self, key: u64, name: &str, label: &str) {
        if let Some(field) = self.fields.get_mut(name) {
            field.insert(key, &Value::String(label.to_owned()), usize::MAX, true);
        }
    }

    fn insert_object(
        &mut self,
        key: u64,
        object: &Map<String, Value>,
        path: &mut String,
        has_room: bool,
    ) {
        for (name, value) in object {
            // No filter can name these, and without them a joined path means one thing.
            if name.is_empty() || name.contains('.') || path.is_empty() && name.starts_with('$') {
                continue;
            }
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            self.insert_value(key, value, path, has_room);
            match value {
                Value::Object(inner) => self.insert_object(key, inner, path, has_room),
                Value::Array(elements) => {
                    for inner in elements.iter().filter_map(Value::as_object) {
                        self.insert_object(key, inner, path, has_room);
                    }
                }
                _ => {}
            }
            path.truncate(length);
        }
    }

    fn insert_value(&mut self, key: u64, value: &Value, path: &str, has_room: bool) {
        if !self.fields.contains_key(path) {
            let always = LABELS.len() + self.declared;
            if self.only_declared || self.fields.len() >= self.limits.fields.saturating_add(always)
            {
                self.overflow.insert(key);
                return;
            }
            self.fields.insert(path.to_owned(), Field::default());
        }
        if let Some(field) = self.fields.get_mut(path) {
            field.insert(key, value, self.limits.text_bytes, has_room);
        }
    }

    /// The records that were given this partition key. Those whose id it is are not among them.
    #[must_use]
    pub fn with_partition_key(&self, partition_key: &str) -> RoaringTreemap {
        let wanted = Scalar::text(partition_key);
        let found = self.fields.get(PARTITION_KEY);
        let found = found.map(|field| field.any_of([&wanted].into_iter()));
        found.unwrap_or_default() & &self.live
    }

    /// How many of the records of some keys have each value of a property. None if that is not
    /// known of all of them.
    #[must_use]
    pub fn facet(&self, subject: &Subject, keys: &RoaringTreemap, most: usize) -> Option<Facet> {
        let mut facet = Facet::new(most);
        match self.field(subject) {
            Some((field, unknown)) if unknown.is_disjoint(keys) => {
                for (scalar, count) in field.counts(keys) {
                    facet.set(scalar, count);
                }
            }
            Some(_) => return None,
            None if matches!(subject, Subject::Metadata(_)) && !self.overflow.is_disjoint(keys) => {
                return None;
            }
            None => {}
        }
        facet.settle();
        Some(facet)
    }

    /// Whether the record of a key is here.
    #[must_use]
    pub fn holds(&self, key: u64) -> bool {
        self.live.contains(key)
    }

    /// Forgets a record. An unknown key is ignored.
    pub fn remove(&mut self, key: u64) {
        if self.live.remove(key) {
            self.dead += 1;
        }
    }

    /// A part of the work of dropping dead keys, if there is any to do: one field of it.
    pub fn compact_step(&mut self) {
        if self.compacting.is_empty() {
            if self.dead < FEWEST_DEAD.max(self.live.len()) {
                return;
            }
            self.dead = 0;
            self.overflow &= &self.live;
            self.compacting = self.fields.keys().cloned().collect();
        }
        let Some(name) = self.compacting.pop() else { return };
        if let Some(field) = self.fields.get_mut(&name) {
            field.retain(&self.live);
            if field.is_empty() && !field.is_declared() && !name.starts_with('$') {
                self.fields.remove(&name);
            }
        }
    }

    /// What it holds. Looks at every field.
    #[must_use]
    pub fn stats(&self) -> PayloadStats {
        let mut partial = RoaringTreemap::new();
        if !self.only_declared {
            partial |= &self.overflow;
        }
        for field in self.fields.values() {
            partial |= field.unindexed();
        }
        PayloadStats {
            fields: self.fields.keys().filter(|name| !name.starts_with('$')).count(),
            values: self.fields.values().map(Field::values).sum(),
            bytes: self.bytes(),
            partial: (partial & &self.live).len(),
        }
    }

    /// Which properties a filter is about, each with whether they are indexed: where not, the
    /// records that may match are looked at.
    #[must_use]
    pub fn properties(&self, filter: &Filter) -> BTreeMap<String, bool> {
        let mut properties = BTreeMap::new();
        filter.properties(&mut |subject| {
            let is_indexed =
                self.field(subject).is_some() || !self.only_declared && self.overflow.is_empty();
            properties.insert(subject.to_string(), is_indexed);
        });
        properties
    }

    fn bytes(&self) -> usize {
        self.fields.values().map(Field::bytes).sum()
    }
}
