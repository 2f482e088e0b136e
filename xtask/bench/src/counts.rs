//! Numbers of points as people write them.

/// Reads 5000, 100k or 1m.
pub(crate) fn parse_count(text: &str) -> Result<usize, String> {
    let lower = text.to_lowercase();
    let (digits, factor) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1_000),
        (_, Some(digits)) => (digits, 1_000_000),
        _ => (lower.as_str(), 1),
    };
    let number: usize = digits.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let count = number.saturating_mul(factor);
    if (1_000..=100_000_000).contains(&count) {
        Ok(count)
    } else {
        Err(format!("{count} points; 1,000 to 100,000,000 can be measured"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_read_as_people_write_them() {
        assert_eq!(parse_count("1m"), Ok(1_000_000));
        assert_eq!(parse_count("100K"), Ok(100_000));
        assert_eq!(parse_count("5000"), Ok(5_000));
        assert!(parse_count("12").is_err());
        assert!(parse_count("many").is_err());
    }
}
