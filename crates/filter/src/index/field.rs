//! The values of one field.

use std::{collections::BTreeMap, ops::Bound};

use roaring::RoaringTreemap;
use serde_json::Value;

use super::postings::{Postings, Union};
use crate::{FieldType, Scalar, scalar::Kind};

/// Estimated bytes of a value in the map, beside its text and its keys.
const ENTRY_BYTES: usize = 64;
/// Values that one test unites at most; beyond it looking at records costs less.
const MOST_UNITED: usize = 1 << 16;

/// For each value of a field the keys of its records.
#[derive(Debug, Default)]
pub(super) struct Field {
    /// What it is declared as, if it is.
    declared: Option<FieldType>,
    values: BTreeMap<Scalar, Postings>,
    /// Records that have the field at all.
    exists: RoaringTreemap,
    /// Records with more than one value here.
    several: RoaringTreemap,
    /// Records with a value here that is not in `values`: for lack of room, or of another type.
    unindexed: RoaringTreemap,
    bytes: usize,
}

impl Field {
    /// One that is always there, for values of one type.
    pub(super) fn declared(of: FieldType) -> Self {
        Self { declared: Some(of), ..Self::default() }
    }

    pub(super) fn is_declared(&self) -> bool {
        self.declared.is_some()
    }

    /// Adds a value of a record, and its elements if it is an array.
    pub(super) fn insert(&mut self, key: u64, value: &Value, text_bytes: usize, has_room: bool) {
        if !self.exists.insert(key) {
            self.several.insert(key);
        }
        match value {
            Value::Array(elements) => {
                // What an array is compared with as a whole is not indexed, its elements are.
                if elements.len() > 1 {
                    self.several.insert(key);
                }
                for element in elements {
                    self.insert_scalar(key, element, text_bytes, has_room);
                }
            }
            value => self.insert_scalar(key, value, text_bytes, has_room),
        }
    }

    fn insert_scalar(&mut self, key: u64, value: &Value, text_bytes: usize, has_room: bool) {
        let Some(scalar) = Scalar::of(value) else { return };
        let is_foreign = self.declared.is_some_and(|of| !of.takes(&scalar));
        if !has_room || is_foreign || scalar.heap_bytes() > text_bytes {
            self.unindexed.insert(key);
            return;
        }
        if let Some(postings) = self.values.get_mut(&scalar) {
            let before = postings.bytes();
            postings.insert(key);
            self.bytes = (self.bytes + postings.bytes()).saturating_sub(before);
        } else {
            let postings = Postings::one(key);
            self.bytes += ENTRY_BYTES + scalar.heap_bytes() + postings.bytes();
            self.values.insert(scalar, postings);
        }
    }

    /// Drops what is not live.
    pub(super) fn retain(&mut self, live: &RoaringTreemap) {
        self.exists &= live;
        self.several &= live;
        self.unindexed &= live;
        let mut bytes = 0;
        self.values.retain(|scalar, postings| {
            postings.retain(live);
            let stays = !postings.is_empty();
            if stays {
                bytes += ENTRY_BYTES + scalar.heap_bytes() + postings.bytes();
            }
            stays
        });
        self.bytes = bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exists.is_empty()
    }

    pub(super) fn values(&self) -> usize {
        self.values.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn exists(&self) -> &RoaringTreemap {
        &self.exists
    }

    pub(super) fn several(&self) -> &RoaringTreemap {
        &self.several
    }

    pub(super) fn unindexed(&self) -> &RoaringTreemap {
        &self.unindexed
    }

    /// The values, each with how many of the given records have it.
    pub(super) fn counts(&self, keys: &RoaringTreemap) -> impl Iterator<Item = (&Scalar, u64)> {
        self.values.iter().map(move |(scalar, postings)| (scalar, postings.count(keys)))
    }

    /// The values from a place on, in one of the two directions, with their keys.
    pub(super) fn from(
        &self,
        from: Bound<&Scalar>,
        descending: bool,
    ) -> Box<dyn Iterator<Item = (&Scalar, &Postings)> + '_> {
        let range = |low, high| self.values.range::<Scalar, _>((low, high));
        if descending {
            Box::new(range(Bound::Unbounded, from).rev())
        } else {
            Box::new(range(from, Bound::Unbounded))
        }
    }

    /// Records with one of the values.
    pub(super) fn any_of<'a>(&self, wanted: impl Iterator<Item = &'a Scalar>) -> RoaringTreemap {
        let mut union = Union::default();
        wanted.filter_map(|scalar| self.values.get(scalar)).for_each(|found| union.add(found));
        union.finish()
    }

    /// Records with a value in the range; none if it holds too many values to unite.
    pub(super) fn range(&self, range: &(Bound<Scalar>, Bound<Scalar>)) -> Option<RoaringTreemap> {
        if is_empty_range(range) {
            return Some(RoaringTreemap::new());
        }
        let mut union = Union::default();
        let range = (range.0.as_ref(), range.1.as_ref());
        for (united, (_, postings)) in self.values.range::<Scalar, _>(range).enumerate() {
            if united >= MOST_UNITED {
                return None;
            }
            union.add(postings);
        }
        Some(union.finish())
    }

    /// Records with a text that has this part; none if there are too many texts to look at.
    pub(super) fn texts_with(&self, part: &str) -> Option<RoaringTreemap> {
        let mut union = Union::default();
        let texts = self.values.range(Scalar::text("")..);
        for (looked_at, (scalar, postings)) in texts.enumerate() {
            if looked_at >= MOST_UNITED {
                return None;
            }
            if matches!(&scalar.0, Kind::Text(text) if text.contains(part)) {
                union.add(postings);
            }
        }
        Some(union.finish())
    }
}

/// The map's own range panics on these.
fn is_empty_range(range: &(Bound<Scalar>, Bound<Scalar>)) -> bool {
    use Bound::{Excluded, Included};
    match range {
        (Included(low), Included(high)) => low > high,
        (Included(low) | Excluded(low), Included(high) | Excluded(high)) => low >= high,
        _ => false,
    }
}
