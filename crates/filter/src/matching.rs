//! What a filter means for one record.

use serde_json::{Map, Value};

use crate::{
    Filter, Operator, Subject, Test,
    operand::{equal, lies},
};

/// What filters look at in a record.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its region.
    pub region: Option<&'a str>,
    /// Its partition key, unless that is its id. No filter names it.
    pub partition_key: Option<&'a str>,
    /// Its metadata; may be empty if [`Filter::needs_metadata`] says so.
    pub metadata: &'a Map<String, Value>,
}

impl Filter {
    /// Whether a record matches.
    #[must_use]
    pub fn matches(&self, fields: &Fields<'_>) -> bool {
        match self {
            Self::And(filters) => filters.iter().all(|filter| filter.matches(fields)),
            Self::Or(filters) => filters.iter().any(|filter| filter.matches(fields)),
            Self::Not(filter) => !filter.matches(fields),
            Self::Test(test) => test.matches(fields),
        }
    }
}

impl Test {
    fn matches(&self, fields: &Fields<'_>) -> bool {
        match &self.subject {
            Subject::Kind => self.operator.holds_for_label(Some(fields.kind)),
            Subject::Region => self.operator.holds_for_label(fields.region),
            Subject::Metadata(path) => {
                let Some((first, rest)) = path.split_first() else { return false };
                let found = fields.metadata.get(first);
                match &self.operator {
                    Operator::Exists(wanted) => {
                        *wanted == found.is_some_and(|value| any_at(value, rest, &|_| true))
                    }
                    operator => found.is_some_and(|value| {
                        any_at(value, rest, &|value| operator.holds_for(value))
                    }),
                }
            }
        }
    }
}

impl Operator {
    fn holds_for_label(&self, label: Option<&str>) -> bool {
        match (self, label) {
            (Self::Exists(wanted), label) => *wanted == label.is_some(),
            (operator, Some(label)) => operator.holds_for(&Value::String(label.to_owned())),
            (_, None) => false,
        }
    }

    fn holds_for(&self, value: &Value) -> bool {
        match self {
            Self::Equal(wanted) => or_element(value, |value| equal(value, wanted)),
            Self::In(wanted) => {
                or_element(value, |value| wanted.iter().any(|wanted| equal(value, wanted)))
            }
            Self::Compare(comparison, bound) => {
                or_element(value, |value| lies(value, *comparison, bound))
            }
            Self::Exists(wanted) => *wanted,
            Self::Contains(part) => match (value, part) {
                (Value::Array(elements), part) => elements.iter().any(|value| equal(value, part)),
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                _ => false,
            },
        }
    }
}

fn or_element(value: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    holds(value) || value.as_array().is_some_and(|elements| elements.iter().any(holds))
}

/// Whether a test holds for a value at the path. Arrays on the way are entered, one level deep.
fn any_at(value: &Value, path: &[String], test: &dyn Fn(&Value) -> bool) -> bool {
    let Some((first, rest)) = path.split_first() else { return test(value) };
    let enter = |object: &Map<String, Value>| {
        object.get(first).is_some_and(|value| any_at(value, rest, test))
    };
    match value {
        Value::Object(object) => enter(object),
        Value::Array(elements) => {
            elements.iter().any(|element| element.as_object().is_some_and(enter))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FilterLimits;

    fn matches(filter: Value, metadata: Value) -> bool {
        let (Value::Object(filter), Value::Object(metadata)) = (filter, metadata) else {
            panic!("not objects")
        };
        let filter = Filter::parse(&filter, &FilterLimits::default()).unwrap();
        let (kind, region) = ("vector", Some("eu"));
        filter.matches(&Fields { kind, region, partition_key: None, metadata: &metadata })
    }

    #[test]
    fn each_operator_means_what_its_name_says() {
        let animal = || {
            json!({
                "name": "zebra", "legs": 4, "weight": 350.5, "extinct": false, "note": null,
                "tags": ["grazer", "striped"], "range": {"continent": "Africa"},
                "sightings": [{"year": 1999}, {"year": 2020}],
            })
        };
        for holds in [
            json!({"legs": 4}),
            json!({"legs": 4.0, "name": "zebra"}),
            json!({"legs": {"$eq": 4}}),
            json!({"legs": {"$ne": 3}}),
            json!({"missing": {"$ne": 3}}),
            json!({"legs": {"$in": [2, 4]}}),
            json!({"legs": {"$nin": [2, 3]}}),
            json!({"weight": {"$gt": 350, "$lt": 351}}),
            json!({"weight": {"$gte": 350.5, "$lte": 350.5}}),
            json!({"name": {"$gte": "zebra", "$lt": "zebrb"}}),
            json!({"note": {"$exists": true}}),
            json!({"missing": {"$exists": false}}),
            json!({"note": null}),
            json!({"tags": "striped"}),
            json!({"tags": ["grazer", "striped"]}),
            json!({"tags": {"$contains": "grazer"}}),
            json!({"name": {"$contains": "ebr"}}),
            json!({"range.continent": "Africa"}),
            json!({"range": {"continent": "Africa"}}),
            json!({"sightings.year": 2020}),
            json!({"sightings.year": {"$lt": 2000}}),
            json!({"$and": [{"legs": 4}, {"tags": "grazer"}]}),
            json!({"$or": [{"legs": 3}, {"tags": "grazer"}]}),
            json!({"$not": {"legs": 3}}),
            json!({"legs": {"$not": {"$gt": 4}}}),
            json!({"$kind": "vector", "$region": {"$in": ["eu", "us"]}}),
            json!({"$region": {"$exists": true}}),
            json!({}),
        ] {
            assert!(matches(holds.clone(), animal()), "{holds}");
        }
        for fails in [
            json!({"legs": "4"}),
            json!({"legs": {"$in": []}}),
            json!({"missing": {"$eq": null}}),
            json!({"missing": {"$exists": true}}),
            json!({"note": {"$exists": false}}),
            json!({"tags": ["striped", "grazer"]}),
            json!({"tags": {"$contains": "strip"}}),
            json!({"name": {"$contains": 4}}),
            json!({"name": {"$gt": 4}}),
            json!({"sightings.year": 2000}),
            json!({"$not": {"legs": 4}}),
            json!({"$and": [{"legs": 4}, {"legs": 5}]}),
            json!({"$or": [{"legs": 3}, {"legs": 5}]}),
            json!({"$kind": "message"}),
            json!({"$region": {"$exists": false}}),
        ] {
            assert!(!matches(fails.clone(), animal()), "{fails}");
        }
    }

    #[test]
    fn arrays_within_arrays_are_not_entered() {
        let nested = || json!({"a": [[{"b": 1}], [2]]});
        assert!(!matches(json!({"a.b": 1}), nested()));
        assert!(!matches(json!({"a": 2}), nested()));
        assert!(matches(json!({"a": [2]}), nested()));
    }
}
