//! How single values compare.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::{Bound, Comparison};

/// Equal, where numbers compare by value within arrays and objects as well.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right).is_eq(),
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

/// Whether a value lies on that side of the bound; one of another type does not.
pub(crate) fn lies(value: &Value, comparison: Comparison, bound: &Bound) -> bool {
    let ordering = match (value, bound) {
        (Value::Number(value), Bound::Number(bound)) => compare_numbers(value, bound),
        (Value::String(value), Bound::Text(bound)) => value.as_str().cmp(bound),
        _ => return false,
    };
    match comparison {
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
    }
}

/// By value and without rounding: integers beyond 2^53 are not compared as floating-point numbers.
pub(crate) fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    Exact::of(left).cmp(&Exact::of(right))
}

/// A number in the order of values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact {
    /// Rounded to the nearest.
    rounded: f64,
    /// The integer that it is; rounded towards zero, and limited to the range, where it is none.
    /// Only consulted between numbers with the same rounding.
    integer: i128,
}

impl Exact {
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is enough")]
    pub(crate) fn of(number: &Number) -> Self {
        if let Some(integer) = number.as_i128() {
            return Self { rounded: integer as f64, integer };
        }
        // A JSON number is never NaN; adding zero makes -0 and 0 the same.
        let rounded = number.as_f64().unwrap_or(0.0) + 0.0;
        Self { rounded, integer: rounded as i128 }
    }
}

impl Exact {
    /// As a floating-point number, rounded to the nearest.
    pub(crate) fn rounded(self) -> f64 {
        self.rounded
    }

    /// The integer that it is, if it is one.
    pub(crate) fn integer(self) -> Option<i128> {
        // Only integers of JSON differ from their rounding, and they are within 64 bits.
        let is_one =
            self.rounded.fract() == 0.0 && (self.integer as f64).total_cmp(&self.rounded).is_eq();
        is_one.then_some(self.integer)
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rounded.total_cmp(&other.rounded).then(self.integer.cmp(&other.integer))
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Exact {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(left: &Value, right: &Value) -> Ordering {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
            _ => panic!("not numbers"),
        }
    }

    #[test]
    fn numbers_compare_by_value_and_without_rounding() {
        assert!(order(&json!(1), &json!(1.0)).is_eq());
        assert!(order(&json!(0.0), &json!(-0.0)).is_eq());
        assert!(order(&json!(-1), &json!(0.5)).is_lt());
        assert!(order(&json!(0.5), &json!(0.25)).is_gt());
        let large = 9_007_199_254_740_992_u64;
        assert!(order(&json!(large + 1), &json!(large)).is_gt());
        assert!(order(&json!(u64::MAX), &json!(i64::MIN)).is_gt());
        assert!(order(&json!(1e300), &json!(u64::MAX)).is_gt());
        assert!(order(&json!(-1e300), &json!(i64::MIN)).is_lt());
        assert!(order(&json!(large), &json!(9_007_199_254_740_992.0)).is_eq());
    }

    #[test]
    fn equality_reaches_into_arrays_and_objects_and_not_across_types() {
        assert!(equal(&json!({"a": [1, {"b": 2.0}]}), &json!({"a": [1.0, {"b": 2}]})));
        assert!(!equal(&json!([1, 2]), &json!([2, 1])));
        assert!(!equal(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!equal(&json!("1"), &json!(1)));
        assert!(!equal(&json!(null), &json!(false)));
    }

    #[test]
    fn sides_of_a_bound_include_it_or_not() {
        let five = Bound::Number(5.into());
        let table = [
            (Comparison::Greater, [false, false, true]),
            (Comparison::GreaterOrEqual, [false, true, true]),
            (Comparison::Less, [true, false, false]),
            (Comparison::LessOrEqual, [true, true, false]),
        ];
        for (comparison, expected) in table {
            let found = [json!(4.5), json!(5.0), json!(6)].map(|v| lies(&v, comparison, &five));
            assert_eq!(found, expected, "{comparison:?}");
            assert!(!lies(&json!("5"), comparison, &five));
        }
        let date = Bound::Text("2026-01-01".to_owned());
        assert!(lies(&json!("2026-06-30"), Comparison::Greater, &date));
        assert!(!lies(&json!(2027), Comparison::Greater, &date));
    }
}
