//! Filters on the wire to filters of a shard.

use hvs_api::Code;
use hvs_shard::{Filter, FilterError, FilterLimits, Subject};

use super::failure::Failure;
use crate::config::Limits;

/// Reads a filter; one without any condition is none.
pub(super) fn read_filter(
    wire: Option<hvs_api::Filter>,
    limits: &Limits,
) -> Result<Option<Filter>, Failure> {
    let Some(wire) = wire.filter(|wire| !wire.is_empty()) else { return Ok(None) };
    let limits = FilterLimits {
        terms: limits.filter_terms,
        depth: limits.filter_depth,
        values: limits.filter_values,
    };
    let condition = hvs_filter::Filter::parse(&wire, &limits).map_err(|error| failure(&error))?;
    Ok(Some(condition.into()))
}

/// Reads the name of a field, as it stands in a filter.
pub(super) fn read_subject(field: &str) -> Result<Subject, Failure> {
    Subject::parse(field).map_err(|error| failure(&error))
}

fn failure(error: &FilterError) -> Failure {
    let failure = Failure::new(Code::InvalidFilter, error.to_string());
    match error {
        FilterError::TooManyTerms { limit }
        | FilterError::TooDeep { limit }
        | FilterError::TooManyValues { limit } => failure.with("limit", *limit),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_filters_are_refused_and_empty_ones_are_none() {
        let limits =
            Limits { filter_terms: 2, filter_depth: 2, filter_values: 3, ..Limits::default() };
        let read = |value: serde_json::Value| read_filter(value.as_object().cloned(), &limits);
        assert!(read(json!({})).unwrap().is_none());
        assert!(read(json!({"a.b": 1, "c": {"$in": [1, 2, 3]}})).unwrap().is_some());
        for (refused, limit) in [
            (json!({"": 1}), None),
            (json!({"a..b": 1}), None),
            (json!({"a": {"$like": 1}}), None),
            (json!({"a": 1, "b": 2, "c": 3}), Some(2)),
            (json!({"$not": {"$not": {"a": 1}}}), Some(2)),
            (json!({"c": {"$in": [1, 2, 3, 4]}}), Some(3)),
        ] {
            let problem = read(refused.clone()).unwrap_err().problem;
            assert_eq!(problem.code, "invalid_filter", "{refused}");
            let told = problem.context.get("limit").and_then(serde_json::Value::as_u64);
            assert_eq!(told, limit, "{refused}");
        }
    }
}
