//! Where in the metadata of a record its text is.

use std::fmt;

use serde_json::{Map, Value};

/// A path into the metadata, its keys joined by dots, as filters have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<String>);

/// Why something is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path into metadata: {reason}")]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl FieldPath {
    /// Reads a path.
    ///
    /// # Errors
    /// If it is empty, has an empty key, or begins with `$`, by which properties of the record
    /// itself are named.
    pub fn parse(path: &str) -> Result<Self, InvalidPath> {
        let invalid = |reason| InvalidPath { path: path.to_owned(), reason };
        if path.starts_with('$') {
            return Err(invalid("it begins with $"));
        }
        let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err(invalid("a key is empty"));
        }
        Ok(Self(keys))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("."))
    }
}

/// The texts at the paths: strings, and those in arrays. Arrays on the way are entered, one level
/// deep. Whatever else lies there is no text.
pub fn texts<'a>(metadata: &'a Map<String, Value>, fields: &[FieldPath]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for FieldPath(keys) in fields {
        if let Some((first, rest)) = keys.split_first()
            && let Some(value) = metadata.get(first)
        {
            collect(value, rest, &mut found);
        }
    }
    found
}

fn collect<'a>(value: &'a Value, keys: &[String], found: &mut Vec<&'a str>) {
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    for value in elements {
        match (keys.split_first(), value) {
            (None, Value::String(text)) => found.push(text),
            (Some((first, rest)), Value::Object(object)) => {
                if let Some(value) = object.get(first) {
                    collect(value, rest, found);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_found_where_filters_find_them() {
        let Value::Object(metadata) = json!({
            "title": "one", "tags": ["two", 3, ["no"], "four"], "n": 5, "none": null,
            "author": {"name": "six"}, "parts": [{"text": "seven"}, {"text": ["eight"]}, 9],
        }) else {
            panic!("no object")
        };
        let found = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| FieldPath::parse(path).unwrap()).collect();
            texts(&metadata, &paths)
        };
        assert_eq!(found(&["title"]), ["one"]);
        assert_eq!(found(&["tags", "author.name"]), ["two", "four", "six"]);
        assert_eq!(found(&["parts.text"]), ["seven", "eight"]);
        assert!(found(&["n", "none", "missing", "title.x", "author"]).is_empty());
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for wrong in ["", ".", "a.", ".a", "a..b", "$kind"] {
            assert!(FieldPath::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(FieldPath::parse("a.b").unwrap().to_string(), "a.b");
    }
}
