//! The values of a property among records, and how many records have each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Fields, Scalar, Subject};

/// How many records have each value. A record counts once for each scalar that it has, elements
/// of arrays included.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facet {
    counts: BTreeMap<Scalar, u64>,
    most: usize,
    /// The least frequent values were dropped, for lack of room.
    cut: bool,
    /// Values were dropped before their counts were known.
    lost: bool,
}

impl Facet {
    /// Without any value. It holds at most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), ..Self::default() }
    }

    /// Counts a record.
    pub fn add(&mut self, fields: &Fields<'_>, subject: &Subject) {
        let mut values = BTreeSet::new();
        fields.scalars(subject, &mut |scalar| {
            values.insert(scalar);
        });
        for value in values {
            if let Some(count) = self.counts.get_mut(&value) {
                *count += 1;
            } else if self.counts.len() < self.most {
                self.counts.insert(value, 1);
            } else {
                self.lost = true;
            }
        }
    }

    pub(crate) fn set(&mut self, value: &Scalar, count: u64) {
        if count > 0 {
            self.counts.insert(value.clone(), count);
        }
        // Not at every value, so that it costs little.
        if self.counts.len() > self.most.saturating_mul(2) {
            self.settle();
        }
    }

    /// Keeps the most frequent ones.
    pub(crate) fn settle(&mut self) {
        if self.counts.len() <= self.most {
            return;
        }
        self.cut = true;
        self.counts = self.sorted().take(self.most).map(|(value, n)| (value.clone(), n)).collect();
    }

    /// Adds the counts of other records.
    pub fn merge(&mut self, other: Self) {
        // What one has dropped may be frequent in both together.
        self.lost |= other.lost || other.cut || self.cut;
        for (value, count) in other.counts {
            *self.counts.entry(value).or_default() += count;
        }
        self.settle();
    }

    /// Whether the counts are right and no value is missing that is as frequent as the last.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.lost
    }

    /// The most frequent values with their counts, equally frequent ones in the order of values.
    #[must_use]
    pub fn top(&self, limit: usize) -> Vec<(Value, u64)> {
        self.sorted().take(limit).map(|(value, count)| (value.to_value(), count)).collect()
    }

    fn sorted(&self) -> impl Iterator<Item = (&Scalar, u64)> {
        let mut all: Vec<(&Scalar, u64)> = self.counts.iter().map(|(v, n)| (v, *n)).collect();
        // Stable: equal counts stay in the order of the map.
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{PayloadIndex, PayloadLimits, PayloadSchema};

    fn records() -> Vec<serde_json::Map<String, Value>> {
        [
            json!({"a": 1, "tags": ["x", "y", "x"]}),
            json!({"a": 1.0, "tags": ["y"]}),
            json!({"a": "1", "deep": [{"b": true}, {"b": [null, 2]}]}),
            json!({"a": 9_007_199_254_740_993_u64, "tags": [["z"], {}]}),
            json!({"a": 0.5}),
        ]
        .into_iter()
        .map(|record| record.as_object().unwrap().clone())
        .collect()
    }

    fn both(subject: &str, most: usize) -> Vec<(Value, u64)> {
        let subject = Subject::parse(subject).unwrap();
        let (mut counted, mut index) = (
            Facet::new(most),
            PayloadIndex::new(PayloadLimits::default(), &PayloadSchema::default()),
        );
        let mut keys = roaring::RoaringTreemap::new();
        for (key, metadata) in (1..).zip(&records()) {
            let fields = Fields { kind: "vector", region: None, partition_key: None, metadata };
            counted.add(&fields, &subject);
            index.insert(key, &fields);
            keys.insert(key);
        }
        let indexed = index.facet(&subject, &keys, most).unwrap();
        assert_eq!(indexed.top(9), counted.top(9), "{subject:?}");
        counted.top(9)
    }

    #[test]
    fn values_are_counted_alike_with_and_without_an_index() {
        let large = json!(9_007_199_254_740_993_u64);
        assert_eq!(both("a", 9), [(json!(1), 2), (json!(0.5), 1), (large, 1), (json!("1"), 1)]);
        assert_eq!(both("tags", 9), [(json!("y"), 2), (json!("x"), 1)]);
        assert_eq!(both("deep.b", 9), [(json!(null), 1), (json!(true), 1), (json!(2), 1)]);
        assert_eq!(both("$kind", 9), [(json!("vector"), 5)]);
        assert_eq!(both("$region", 9), []);
        assert_eq!(both("none", 9), []);
    }

    #[test]
    fn a_facet_says_when_it_dropped_something() {
        let subject = Subject::parse("n").unwrap();
        let count = |numbers: &[u64]| {
            let mut facet = Facet::new(2);
            for n in numbers {
                let metadata = json!({ "n": n }).as_object().unwrap().clone();
                let (kind, region, partition_key) = ("", None, None);
                let fields = Fields { kind, region, partition_key, metadata: &metadata };
                facet.add(&fields, &subject);
            }
            facet
        };
        assert!(count(&[1, 2, 1]).is_exact());
        assert!(!count(&[1, 2, 3]).is_exact());
        let mut merged = count(&[1, 1, 2]);
        merged.merge(count(&[2, 2]));
        assert!(merged.is_exact());
        assert_eq!(merged.top(2), [(json!(2), 3), (json!(1), 2)]);
        merged.merge(count(&[3]));
        merged.merge(count(&[3]));
        assert!(!merged.is_exact());
    }
}
