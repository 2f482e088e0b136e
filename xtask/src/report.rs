//! Measures with their targets, as a table for people and as JSON for scripts.

use std::fmt::Write as _;

use serde::Serialize;

/// Which side of the target is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The value must not be below the target.
    AtLeast,
    /// The value must not be above the target.
    AtMost,
}

/// One row of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    /// What was measured.
    pub measure: String,
    /// The measured value.
    pub value: f64,
    /// Unit of `value` and `target`; empty for pure numbers.
    pub unit: &'static str,
    /// What the value is held against; `None` for rows that only inform.
    pub target: Option<f64>,
    /// Which side of the target is the good one.
    pub bound: Bound,
    /// What stood beside it in the same run.
    pub compared_with: String,
    /// `met`, `missed`, or `-` where there is no target.
    pub result: &'static str,
}

impl Measure {
    /// A measure that must not exceed `target`.
    pub fn at_most(
        measure: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: f64,
    ) -> Self {
        Self::new(measure.into(), value, unit, Some(target), Bound::AtMost)
    }

    /// A measure that must not fall below `target`.
    pub fn at_least(
        measure: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: f64,
    ) -> Self {
        Self::new(measure.into(), value, unit, Some(target), Bound::AtLeast)
    }

    /// A measure without a target.
    pub fn plain(measure: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self::new(measure.into(), value, unit, None, Bound::AtMost)
    }

    /// Says what the value was compared with in the same run.
    #[must_use]
    pub fn against(mut self, compared_with: impl Into<String>) -> Self {
        self.compared_with = compared_with.into();
        self
    }

    fn new(
        measure: String,
        value: f64,
        unit: &'static str,
        target: Option<f64>,
        bound: Bound,
    ) -> Self {
        let result = match target {
            None => "-",
            // A value that is no number was not measured, so it cannot have met anything.
            Some(target) => match bound {
                Bound::AtLeast if value >= target => "met",
                Bound::AtMost if value <= target => "met",
                _ => "missed",
            },
        };
        Self { measure, value, unit, target, bound, compared_with: String::new(), result }
    }
}

/// Whether no row misses its target.
pub fn all_met(rows: &[Measure]) -> bool {
    rows.iter().all(|row| row.result != "missed")
}

/// The rows as an aligned table.
pub fn table(rows: &[Measure]) -> String {
    let mut cells =
        vec![["measure", "value", "target", "result", "compared with"].map(String::from)];
    for row in rows {
        let target = row.target.map_or(String::from("-"), |target| {
            let sign = match row.bound {
                Bound::AtLeast => ">=",
                Bound::AtMost => "<=",
            };
            with_unit(&format!("{sign} {}", number(target)), row.unit)
        });
        cells.push([
            row.measure.clone(),
            with_unit(&number(row.value), row.unit),
            target,
            row.result.to_owned(),
            row.compared_with.clone(),
        ]);
    }
    align(&cells, &[1, 2])
}

/// Pads columns to equal width; the columns named in `right` are aligned to the right.
pub fn align<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if right.contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn with_unit(text: &str, unit: &str) -> String {
    if unit.is_empty() { text.to_owned() } else { format!("{text} {unit}") }
}

/// Four significant digits, thousands separated.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m >= 1000.0 => 0,
        m if m >= 100.0 => 1,
        m if m >= 10.0 => 2,
        m if m >= 1.0 || m == 0.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction.map(|fraction| fraction.trim_end_matches('0')).filter(|f| !f.is_empty()) {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_met_up_to_and_including_the_bound() {
        assert_eq!(Measure::at_most("p50", 1.0, "ms", 1.0).result, "met");
        assert_eq!(Measure::at_most("p50", 1.001, "ms", 1.0).result, "missed");
        assert_eq!(Measure::at_least("recall", 0.95, "", 0.95).result, "met");
        assert_eq!(Measure::at_least("recall", 0.949, "", 0.95).result, "missed");
        assert_eq!(Measure::plain("rows", 3.0, "").result, "-");
        assert_eq!(Measure::at_most("p50", f64::NAN, "ms", 1.0).result, "missed");
        assert_eq!(Measure::at_least("recall", f64::NAN, "", 0.95).result, "missed");
    }

    #[test]
    fn one_missed_row_fails_the_whole() {
        let met = Measure::at_most("a", 1.0, "", 2.0);
        let missed = Measure::at_most("b", 3.0, "", 2.0);
        assert!(all_met(&[met.clone(), Measure::plain("c", 9.0, "")]));
        assert!(!all_met(&[met, missed]));
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(-1234.0), "-1,234");
        assert_eq!(number(123.45), "123.5");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(0.051_23), "0.0512");
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn the_table_says_value_target_and_result() {
        let rows = [Measure::at_most("search p50", 1.5, "ms", 1.0).against("echo 0.2 ms")];
        let text = table(&rows);
        let line = text.lines().nth(1).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.join(" "), "search p50 1.5 ms <= 1 ms missed echo 0.2 ms");
    }
}
