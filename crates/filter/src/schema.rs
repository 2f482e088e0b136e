//! Which fields of metadata are indexed, and what their values are expected to be.

use std::collections::BTreeMap;

use crate::{Scalar, scalar::Kind};

/// Which fields of metadata are indexed. It decides what an index costs and knows, never what a
/// filter means. The default indexes every field, whatever its values are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayloadSchema {
    /// Whether fields that are not declared are left out.
    pub only_declared: bool,
    /// Fields that are always indexed: by path, keys joined by dots.
    pub declared: BTreeMap<String, FieldType>,
}

/// What the values of a field are expected to be. Others are not in its index, and the records that
/// have them are looked at. `null` goes with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Texts.
    Keyword,
    /// Numbers without a fraction; 1.0 is one.
    Integer,
    /// Numbers.
    Float,
    /// `true` and `false`.
    Bool,
    /// Texts that are dates or times of RFC 3339, such as `2026-01-31` or `2026-01-31T08:00:00Z`.
    Datetime,
}

impl FieldType {
    /// Whether a value belongs into the index of such a field.
    pub(crate) fn takes(self, scalar: &Scalar) -> bool {
        match (self, &scalar.0) {
            (_, Kind::Null)
            | (Self::Keyword, Kind::Text(_))
            | (Self::Float, Kind::Number(_))
            | (Self::Bool, Kind::Bool(_)) => true,
            (Self::Integer, Kind::Number(number)) => number.integer().is_some(),
            (Self::Datetime, Kind::Text(text)) => is_datetime(text),
            _ => false,
        }
    }
}

/// Whether a text is a `full-date` of RFC 3339, or one with a `full-time`, of which the offset may
/// be left out, and a blank stand for the T.
fn is_datetime(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    let Some([year, month, day]) = parts(date, '-') else { return false };
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days).contains(&day) {
        return false;
    }
    if rest.is_empty() {
        return true;
    }
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else { return false };
    let Some((time, rest)) = time.split_at_checked(8) else { return false };
    let Some([hour, minute, second]) = parts(time, ':') else { return false };
    // 60 is a leap second.
    if time.len() != 8 || hour > 23 || minute > 59 || second > 60 {
        return false;
    }
    let offset = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if offset.len() == fraction.len() {
                return false;
            }
            offset
        }
    };
    match offset {
        "" | "Z" | "z" => true,
        offset => offset
            .strip_prefix(['+', '-'])
            .and_then(|offset| parts(offset, ':'))
            .is_some_and(|[hours, minutes]| offset.len() == 6 && hours <= 23 && minutes <= 59),
    }
}

/// Numbers of two digits, the first perhaps of more, between separators.
fn parts<const N: usize>(text: &str, separator: char) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut pieces = text.split(separator);
    for number in &mut numbers {
        let piece = pieces.next()?;
        let is_number = piece.len() >= 2 && piece.bytes().all(|byte| byte.is_ascii_digit());
        *number = if is_number { piece.parse().ok()? } else { return None };
    }
    pieces.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn taken(value: &Value) -> Vec<FieldType> {
        use FieldType::{Bool, Datetime, Float, Integer, Keyword};
        let scalar = Scalar::of(value).unwrap();
        let all = [Keyword, Integer, Float, Bool, Datetime];
        all.into_iter().filter(|of| of.takes(&scalar)).collect()
    }

    #[test]
    fn each_type_takes_its_values_and_null() {
        use FieldType::{Bool, Datetime, Float, Integer, Keyword};
        assert_eq!(taken(&json!(null)), [Keyword, Integer, Float, Bool, Datetime]);
        assert_eq!(taken(&json!(true)), [Bool]);
        for integer in [json!(1), json!(-1.0), json!(u64::MAX), json!(i64::MIN), json!(0)] {
            assert_eq!(taken(&integer), [Integer, Float], "{integer}");
        }
        for number in [json!(0.5), json!(1e300)] {
            assert_eq!(taken(&number), [Float], "{number}");
        }
        assert_eq!(taken(&json!("1")), [Keyword]);
        assert_eq!(taken(&json!("2026-01-31")), [Keyword, Datetime]);
    }

    #[test]
    fn dates_and_times_are_told_from_other_texts() {
        for datetime in [
            "2026-01-31",
            "2024-02-29",
            "2000-02-29",
            "0000-01-01",
            "2026-01-31T08:00:00Z",
            "2026-01-31t08:00:00z",
            "2026-01-31 23:59:60",
            "2026-01-31T08:00:00.123456789+05:30",
            "2026-12-31T08:00:00-23:59",
        ] {
            assert!(is_datetime(datetime), "{datetime}");
        }
        for other in [
            "",
            "2026",
            "2026-1-31",
            "2026-13-01",
            "2026-00-01",
            "2026-01-32",
            "2026-04-31",
            "2023-02-29",
            "1900-02-29",
            "2026-01-31T",
            "2026-01-31T08:00",
            "2026-01-31T24:00:00",
            "2026-01-31T08:60:00",
            "2026-01-31T08:00:61",
            "2026-01-31T08:00:00.",
            "2026-01-31T08:00:00.Z5",
            "2026-01-31T08:00:00+5:30",
            "2026-01-31T08:00:00+0530",
            "2026-01-31T08:00:00+24:00",
            "2026-01-31T08:00:00Zulu",
            "2026-01-31x08:00:00",
            "+026-01-31",
            "2026-01-3é",
            "20260131",
            "12026-1-31",
        ] {
            assert!(!is_datetime(other), "{other}");
        }
    }
}
