//! Filters on the wire to filters of a shard.

use hvs_api::Code;
use hvs_shard::{Filter, MetadataEquals};

use super::failure::Failure;

/// Reads a filter of at most `limit` equalities; one without any is none.
pub(super) fn read_filter(
    wire: Option<hvs_api::Filter>,
    limit: usize,
) -> Result<Option<Filter>, Failure> {
    let Some(wire) = wire.filter(|wire| !wire.is_empty()) else { return Ok(None) };
    if wire.len() > limit {
        let detail =
            format!("the filter has {} equalities, at most {limit} are allowed", wire.len());
        return Err(Failure::new(Code::InvalidFilter, detail).with("limit", limit));
    }
    let mut metadata = Vec::with_capacity(wire.len());
    for (field, value) in wire {
        let path: Vec<String> = field.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            let shown: String = field.chars().take(100).collect();
            let detail = format!("the field {shown:?} has an empty part");
            return Err(Failure::new(Code::InvalidFilter, detail));
        }
        metadata.push(MetadataEquals { path, value });
    }
    Ok(Some(Filter { metadata, ..Filter::default() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dots_lead_into_objects_and_odd_fields_are_refused() {
        let read = |value: serde_json::Value| read_filter(value.as_object().cloned(), 2);
        assert!(read(json!({})).unwrap().is_none());
        let filter = read(json!({"a.b": 1})).unwrap().unwrap();
        assert_eq!(filter.metadata[0].path, ["a", "b"]);
        for refused in [json!({"": 1}), json!({"a..b": 1}), json!({"a": 1, "b": 2, "c": 3})] {
            let code = read(refused.clone()).unwrap_err().problem.code;
            assert_eq!(code, "invalid_filter", "{refused}");
        }
    }
}
