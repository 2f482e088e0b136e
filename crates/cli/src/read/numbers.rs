//! Coordinates from text.

use super::RowError;

/// Reads one coordinate.
pub(super) fn coordinate(index: usize, text: &str) -> Result<f64, RowError> {
    let text = text.trim();
    let number: f64 =
        text.parse().map_err(|_| RowError::NotANumber { index, text: shorten(text) })?;
    finite(index, number).map_err(|_| RowError::NotFinite { index, text: shorten(text) })
}

/// Lets through what is a number.
pub(super) fn finite(index: usize, number: f64) -> Result<f64, RowError> {
    if number.is_finite() {
        Ok(number)
    } else {
        Err(RowError::NotFinite { index, text: number.to_string() })
    }
}

/// Reads all coordinates from one cell: a JSON array, or numbers with commas, semicolons or blanks
/// between them. An empty cell has none.
pub(super) fn coordinates(column: &str, text: &str) -> Result<Vec<f64>, RowError> {
    let text = text.trim();
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']'),
        None if text.ends_with(']') => None,
        None => Some(text),
    };
    let Some(inner) = inner.map(str::trim) else {
        return Err(RowError::VectorType {
            column: column.to_owned(),
            found: format!("{:?}, where a bracket has no partner", shorten(text)),
        });
    };
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let separator = [',', ';'].into_iter().find(|&mark| inner.contains(mark));
    let read = |(index, part)| coordinate(index, part);
    match separator {
        Some(mark) => inner.split(mark).enumerate().map(read).collect(),
        None => inner.split_whitespace().enumerate().map(read).collect(),
    }
}

/// The beginning of a text that may be long, for a message.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_way_to_write_a_list_is_read() {
        for text in ["[1, 2.5,-3e2]", "1 2.5 -3e2", " 1,2.5,-3e2 ", "1;2.5;-300", "[1 2.5 -300.]"] {
            assert_eq!(coordinates("v", text).unwrap(), [1.0, 2.5, -300.0], "{text}");
        }
    }

    #[test]
    fn numbers_keep_every_bit() {
        let text = "0.1 0.30000000000000004 5e-324 1.7976931348623157e308";
        let numbers = coordinates("v", text).unwrap();
        assert_eq!(numbers, [0.1, 0.1 + 0.2, 5e-324, f64::MAX]);
    }

    #[test]
    fn what_is_not_a_finite_number_is_refused_with_its_place() {
        let error = |text| coordinates("v", text).unwrap_err();
        assert_eq!(error("1 x 3"), RowError::NotANumber { index: 1, text: "x".into() });
        assert_eq!(error("1 2 NaN"), RowError::NotFinite { index: 2, text: "NaN".into() });
        assert_eq!(error("-inf"), RowError::NotFinite { index: 0, text: "-inf".into() });
        assert_eq!(error("1e999"), RowError::NotFinite { index: 0, text: "1e999".into() });
        assert!(matches!(error("[1, 2"), RowError::VectorType { .. }));
        assert!(matches!(error("1, 2]"), RowError::VectorType { .. }));
        assert!(matches!(error("[[1], [2]]"), RowError::NotANumber { .. }));
        assert!(matches!(error("1,,2"), RowError::NotANumber { index: 1, .. }));
        assert!(matches!(error("1,2,"), RowError::NotANumber { index: 2, .. }));
    }
}
