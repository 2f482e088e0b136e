//! Reading the JSON form.
//!
//! ```text
//! filter  = { member, … }                      all members must hold
//! member  = "$and": [filter, …] | "$or": [filter, …] | "$not": filter
//!         | field: value                       the same as { "$eq": value }
//!         | field: { operator: operand, … }    all must hold
//! field   = "$kind" | "$region" | path into the metadata, its keys joined by dots
//! ```

use std::fmt;

use serde_json::{Map, Value};

use crate::{Bound, Comparison, Filter, Operator, Subject, Test};

/// Bytes of a field's name that an error shows.
const SHOWN: usize = 100;

/// How large a filter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterLimits {
    /// Operators, the implied `$eq` included.
    pub terms: usize,
    /// Filters within filters; a flat one has depth 1.
    pub depth: usize,
    /// Values of all `$in` and `$nin` together.
    pub values: usize,
}

impl Default for FilterLimits {
    /// 64 terms, 16 deep, 10,000 values.
    fn default() -> Self {
        Self { terms: 64, depth: 16, values: 10_000 }
    }
}

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More operators than allowed.
    #[error("the filter has more than {limit} terms")]
    TooManyTerms {
        /// The most allowed.
        limit: usize,
    },
    /// Nested deeper than allowed.
    #[error("the filter is nested more than {limit} deep")]
    TooDeep {
        /// The most allowed.
        limit: usize,
    },
    /// More values in lists than allowed.
    #[error("the lists of the filter have more than {limit} values")]
    TooManyValues {
        /// The most allowed.
        limit: usize,
    },
    /// The path of a field has an empty key.
    #[error("the field {field:?} has an empty part")]
    EmptyPart {
        /// The field, shortened.
        field: String,
    },
    /// There is no such operator, or not in this place.
    #[error("{found:?} is not an operator here; there are {known}")]
    UnknownOperator {
        /// What was found, shortened.
        found: String,
        /// What may stand there.
        known: &'static str,
    },
    /// Operators and plain keys in one object.
    #[error(
        "the value of {field:?} has operators and other keys; \
             to compare with an object write {{\"$eq\": …}}"
    )]
    Mixed {
        /// The field, shortened.
        field: String,
    },
    /// An operand of the wrong type.
    #[error("{operator} needs {wanted}")]
    Operand {
        /// The operator.
        operator: &'static str,
        /// What its operand must be.
        wanted: &'static str,
    },
}

const IN_FILTER: &str = "$and, $or, $not, $kind, $region and fields of the metadata";
const IN_FIELD: &str = "$eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $exists, $contains and $not";

impl Filter {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong, and what would be right.
    pub fn parse(filter: &Map<String, Value>, limits: &FilterLimits) -> Result<Self, FilterError> {
        Parser { limits, terms: 0, values: 0 }.filter(filter, 1)
    }
}

impl Subject {
    /// Reads the name of a property, as it stands in a filter.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong.
    pub fn parse(name: &str) -> Result<Self, FilterError> {
        subject(name, "$kind, $region and fields of the metadata")
    }
}

impl fmt::Display for Subject {
    /// As it stands in a filter.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => formatter.write_str("$kind"),
            Self::Region => formatter.write_str("$region"),
            Self::Metadata(path) => formatter.write_str(&path.join(".")),
        }
    }
}

fn subject(name: &str, known: &'static str) -> Result<Subject, FilterError> {
    match name {
        "$kind" => Ok(Subject::Kind),
        "$region" => Ok(Subject::Region),
        unknown if unknown.starts_with('$') => {
            Err(FilterError::UnknownOperator { found: shown(unknown), known })
        }
        field => {
            let path: Vec<String> = field.split('.').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                return Err(FilterError::EmptyPart { field: shown(field) });
            }
            Ok(Subject::Metadata(path))
        }
    }
}

struct Parser<'a> {
    limits: &'a FilterLimits,
    terms: usize,
    values: usize,
}

impl Parser<'_> {
    fn filter(&mut self, filter: &Map<String, Value>, depth: usize) -> Result<Filter, FilterError> {
        if depth > self.limits.depth {
            return Err(FilterError::TooDeep { limit: self.limits.depth });
        }
        let members: Result<Vec<_>, _> =
            filter.iter().map(|(name, value)| self.member(name, value, depth)).collect();
        Ok(all(members?))
    }

    fn member(&mut self, name: &str, value: &Value, depth: usize) -> Result<Filter, FilterError> {
        let subject = match name {
            "$and" => return Ok(all(self.filters("$and", value, depth)?)),
            "$or" => return Ok(Filter::Or(self.filters("$or", value, depth)?)),
            "$not" => {
                let Value::Object(filter) = value else {
                    return Err(FilterError::Operand { operator: "$not", wanted: "a filter" });
                };
                return Ok(not(self.filter(filter, depth + 1)?));
            }
            name => subject(name, IN_FILTER)?,
        };
        match value {
            Value::Object(operators) if operators.keys().any(|key| key.starts_with('$')) => {
                if operators.keys().any(|key| !key.starts_with('$')) {
                    return Err(FilterError::Mixed { field: shown(name) });
                }
                self.operators(&subject, operators, depth)
            }
            value => self.test(subject, Operator::Equal(value.clone())),
        }
    }

    fn filters(
        &mut self,
        operator: &'static str,
        value: &Value,
        depth: usize,
    ) -> Result<Vec<Filter>, FilterError> {
        const WANTED: &str = "a list of at least one filter";
        let wrong = FilterError::Operand { operator, wanted: WANTED };
        let Value::Array(filters) = value else { return Err(wrong) };
        if filters.is_empty() {
            return Err(wrong);
        }
        filters
            .iter()
            .map(|filter| match filter {
                Value::Object(filter) => self.filter(filter, depth + 1),
                _ => Err(wrong.clone()),
            })
            .collect()
    }

    fn operators(
        &mut self,
        subject: &Subject,
        operators: &Map<String, Value>,
        depth: usize,
    ) -> Result<Filter, FilterError> {
        if depth > self.limits.depth {
            return Err(FilterError::TooDeep { limit: self.limits.depth });
        }
        let all_of: Result<Vec<_>, _> = operators
            .iter()
            .map(|(name, operand)| self.operator(subject, name, operand, depth))
            .collect();
        Ok(all(all_of?))
    }

    fn operator(
        &mut self,
        subject: &Subject,
        name: &str,
        operand: &Value,
        depth: usize,
    ) -> Result<Filter, FilterError> {
        let subject_of = || subject.clone();
        match name {
            "$eq" => self.test(subject_of(), Operator::Equal(operand.clone())),
            "$ne" => Ok(not(self.test(subject_of(), Operator::Equal(operand.clone()))?)),
            "$in" => self.list("$in", subject_of(), operand),
            "$nin" => Ok(not(self.list("$nin", subject_of(), operand)?)),
            "$gt" => self.compare("$gt", subject_of(), Comparison::Greater, operand),
            "$gte" => self.compare("$gte", subject_of(), Comparison::GreaterOrEqual, operand),
            "$lt" => self.compare("$lt", subject_of(), Comparison::Less, operand),
            "$lte" => self.compare("$lte", subject_of(), Comparison::LessOrEqual, operand),
            "$exists" => match operand {
                Value::Bool(wanted) => self.test(subject_of(), Operator::Exists(*wanted)),
                _ => Err(FilterError::Operand { operator: "$exists", wanted: "true or false" }),
            },
            "$contains" => self.test(subject_of(), Operator::Contains(operand.clone())),
            "$not" => match operand {
                Value::Object(operators) if !operators.is_empty() => {
                    Ok(not(self.operators(subject, operators, depth + 1)?))
                }
                _ => {
                    Err(FilterError::Operand { operator: "$not", wanted: "an object of operators" })
                }
            },
            unknown => Err(FilterError::UnknownOperator { found: shown(unknown), known: IN_FIELD }),
        }
    }

    fn list(
        &mut self,
        operator: &'static str,
        subject: Subject,
        operand: &Value,
    ) -> Result<Filter, FilterError> {
        let Value::Array(values) = operand else {
            return Err(FilterError::Operand { operator, wanted: "a list of values" });
        };
        self.values += values.len();
        if self.values > self.limits.values {
            return Err(FilterError::TooManyValues { limit: self.limits.values });
        }
        self.test(subject, Operator::In(values.clone()))
    }

    fn compare(
        &mut self,
        operator: &'static str,
        subject: Subject,
        comparison: Comparison,
        operand: &Value,
    ) -> Result<Filter, FilterError> {
        let bound = match operand {
            Value::Number(number) => Bound::Number(number.clone()),
            Value::String(text) => Bound::Text(text.clone()),
            _ => return Err(FilterError::Operand { operator, wanted: "a number or a text" }),
        };
        self.test(subject, Operator::Compare(comparison, bound))
    }

    fn test(&mut self, subject: Subject, operator: Operator) -> Result<Filter, FilterError> {
        self.terms += 1;
        if self.terms > self.limits.terms {
            return Err(FilterError::TooManyTerms { limit: self.limits.terms });
        }
        Ok(Filter::Test(Test { subject, operator }))
    }
}

/// All of them, without a group around a single one.
fn all(mut filters: Vec<Filter>) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        Some(last) => {
            filters.push(last);
            Filter::And(filters)
        }
        None => Filter::And(filters),
    }
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn shown(name: &str) -> String {
    let mut end = name.len().min(SHOWN);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(filter: &Value, limits: FilterLimits) -> Result<Filter, FilterError> {
        Filter::parse(filter.as_object().unwrap(), &limits)
    }

    fn refusal(filter: &Value) -> String {
        parse(filter, FilterLimits::default()).unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (filter, said) in [
            (json!({"a": {"$foo": 1}}), "\"$foo\" is not an operator here"),
            (json!({"$foo": 1}), "\"$foo\" is not an operator here"),
            (json!({"$eq": 1}), "\"$eq\" is not an operator here"),
            (json!({"a": {"$and": []}}), "\"$and\" is not an operator here"),
            (json!({"a": {"$gt": 1, "b": 2}}), "has operators and other keys"),
            (json!({"a": {"$gt": null}}), "$gt needs a number or a text"),
            (json!({"a": {"$lte": [1]}}), "$lte needs a number or a text"),
            (json!({"a": {"$in": 1}}), "$in needs a list"),
            (json!({"a": {"$nin": {}}}), "$nin needs a list"),
            (json!({"a": {"$exists": 1}}), "$exists needs true or false"),
            (json!({"a": {"$not": 1}}), "$not needs an object of operators"),
            (json!({"a": {"$not": {}}}), "$not needs an object of operators"),
            (json!({"$not": 1}), "$not needs a filter"),
            (json!({"$and": []}), "$and needs a list of at least one filter"),
            (json!({"$or": [1]}), "$or needs a list of at least one filter"),
            (json!({"a..b": 1}), "has an empty part"),
            (json!({"": 1}), "has an empty part"),
        ] {
            assert!(refusal(&filter).contains(said), "{filter}: {}", refusal(&filter));
        }
    }

    #[test]
    fn limits_are_exact() {
        let limits = FilterLimits { terms: 3, depth: 2, values: 4 };
        let three = json!({"a": 1, "b": {"$gt": 1, "$lt": 2}});
        assert!(parse(&three, limits).is_ok());
        let four = json!({"a": 1, "b": {"$gt": 1, "$lt": 2}, "c": 1});
        assert_eq!(parse(&four, limits), Err(FilterError::TooManyTerms { limit: 3 }));
        assert!(parse(&json!({"$not": {"a": 1}}), limits).is_ok());
        for deep in [
            json!({"$not": {"$not": {"a": 1}}}),
            json!({"$or": [{"$and": [{"a": 1}]}]}),
            json!({"a": {"$not": {"$not": {"$eq": 1}}}}),
        ] {
            assert_eq!(parse(&deep, limits), Err(FilterError::TooDeep { limit: 2 }), "{deep}");
        }
        assert!(parse(&json!({"a": {"$in": [1, 2]}, "b": {"$nin": [3, 4]}}), limits).is_ok());
        assert_eq!(
            parse(&json!({"a": {"$in": [1, 2]}, "b": {"$nin": [3, 4, 5]}}), limits),
            Err(FilterError::TooManyValues { limit: 4 })
        );
    }

    #[test]
    fn long_names_are_shortened_in_errors() {
        let long = format!("${}", "ä".repeat(1_000));
        assert!(refusal(&json!({ long: 1 })).len() < 400);
    }

    #[test]
    fn an_object_without_operators_is_a_value() {
        let filter = parse(&json!({"a": {"b": 1}}), FilterLimits::default()).unwrap();
        let subject = Subject::Metadata(vec!["a".to_owned()]);
        assert_eq!(
            filter,
            Filter::Test(Test { subject, operator: Operator::Equal(json!({"b": 1})) })
        );
        assert!(parse(&json!({}), FilterLimits::default()).unwrap().is_empty());
    }
}
