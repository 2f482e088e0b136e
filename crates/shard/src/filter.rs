//! Equality filters on records.

use serde_json::Value;

use crate::record::Metadata;

/// What a record must have to be part of an answer. Everything given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Metadata values by path.
    pub metadata: Vec<MetadataEquals>,
    /// The record's region.
    pub region: Option<String>,
    /// The record's kind.
    pub kind: Option<String>,
    /// The record's partition key, which is its id where it was given none.
    pub partition_key: Option<String>,
}

/// One metadata value that must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataEquals {
    /// Keys from the outermost object inwards.
    pub path: Vec<String>,
    /// The value that must be found there. An array at that place also matches if one of its
    /// elements is the value. Numbers compare by value: 1 equals 1.0.
    pub value: Value,
}

impl Filter {
    /// Nothing is asked for: every record matches.
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty()
            && self.region.is_none()
            && self.kind.is_none()
            && self.partition_key.is_none()
    }

    pub(crate) fn matches_partition(&self, partition_key: Option<&str>, id: &[u8]) -> bool {
        let Some(wanted) = &self.partition_key else { return true };
        partition_key.map_or(id, str::as_bytes) == wanted.as_bytes()
    }

    pub(crate) fn matches_labels(&self, region: Option<&str>, kind: &str) -> bool {
        let region_matches = self.region.is_none() || self.region.as_deref() == region;
        let kind_matches = self.kind.as_deref().is_none_or(|wanted| wanted == kind);
        region_matches && kind_matches
    }

    pub(crate) fn matches_metadata(&self, metadata: &Metadata) -> bool {
        self.metadata.iter().all(|wanted| wanted.matches(metadata))
    }
}

impl MetadataEquals {
    fn matches(&self, metadata: &Metadata) -> bool {
        let Some((first, rest)) = self.path.split_first() else { return false };
        let found = rest.iter().try_fold(metadata.get(first), |value, key| match value {
            Some(Value::Object(object)) => Some(object.get(key)),
            _ => None,
        });
        match found.flatten() {
            Some(value) if equal(value, &self.value) => true,
            Some(Value::Array(elements)) => elements.iter().any(|value| equal(value, &self.value)),
            _ => false,
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            // Integers beyond 2^53 must not be compared as floating-point numbers.
            left == right
                || left.as_f64() == right.as_f64() && !(is_integer(left) && is_integer(right))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, l)| right.get(key).is_some_and(|r| equal(l, r)))
        }
        _ => left == right,
    }
}

fn is_integer(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(metadata: &Value, path: &[&str], value: Value) -> bool {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        let filter = Filter { metadata: vec![MetadataEquals { path, value }], ..Filter::default() };
        filter.matches_metadata(metadata.as_object().unwrap())
    }

    #[test]
    fn paths_lead_into_objects() {
        let metadata = json!({"a": {"b": 1}, "tags": ["x", "y"], "none": null});
        assert!(matches(&metadata, &["a", "b"], json!(1)));
        assert!(matches(&metadata, &["a", "b"], json!(1.0)));
        assert!(matches(&metadata, &["a"], json!({"b": 1.0})));
        assert!(!matches(&metadata, &["a", "b"], json!("1")));
        assert!(!matches(&metadata, &["a", "c"], json!(1)));
        assert!(!matches(&metadata, &["a", "b", "c"], json!(1)));
        assert!(!matches(&metadata, &[], json!(1)));
    }

    #[test]
    fn an_array_matches_as_a_whole_and_by_element() {
        let metadata = json!({"tags": ["x", "y"]});
        assert!(matches(&metadata, &["tags"], json!("y")));
        assert!(matches(&metadata, &["tags"], json!(["x", "y"])));
        assert!(!matches(&metadata, &["tags"], json!(["y", "x"])));
    }

    #[test]
    fn null_is_a_value_and_absence_is_not() {
        let metadata = json!({"none": null});
        assert!(matches(&metadata, &["none"], json!(null)));
        assert!(!matches(&metadata, &["other"], json!(null)));
    }

    #[test]
    fn large_integers_do_not_become_equal_by_rounding() {
        let metadata = json!({"n": 9_007_199_254_740_993_u64});
        assert!(matches(&metadata, &["n"], json!(9_007_199_254_740_993_u64)));
        assert!(!matches(&metadata, &["n"], json!(9_007_199_254_740_992_u64)));
    }

    #[test]
    fn labels_must_all_agree() {
        let filter =
            Filter { region: Some("eu".into()), kind: Some("vector".into()), ..Filter::default() };
        assert!(filter.matches_labels(Some("eu"), "vector"));
        assert!(!filter.matches_labels(Some("eu"), "message"));
        assert!(!filter.matches_labels(None, "vector"));
        assert!(Filter::default().is_empty() && Filter::default().matches_labels(None, "x"));
    }
}
