//! Tables for people, JSON for scripts.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::error::CliError;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// JSON rather than tables.
    pub(crate) json: bool,
}

impl Output {
    /// One JSON value, on lines of its own.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub(crate) fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| CliError::System(format!("cannot write the result: {error}")))?;
        self.line(&text)
    }

    /// A line of text, for people and scripts alike.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(crate) fn line(self, text: &str) -> Result<(), CliError> {
        writeln!(io::stdout().lock(), "{text}").map_err(CliError::Output)
    }

    /// A table, or the same as JSON.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub(crate) fn table_or_json<T: Serialize + ?Sized>(
        self,
        table: &TextTable,
        value: &T,
    ) -> Result<(), CliError> {
        if self.json { self.json(value) } else { self.line(&table.render()) }
    }
}

/// A line under the header and no other: tables are for eyes and for `grep`.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with a header; columns marked as numbers are set to the right.
#[derive(Debug)]
pub(crate) struct TextTable {
    table: Table,
}

impl TextTable {
    /// An empty table. A name that begins with `#` makes a column of numbers.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(STYLE);
        if io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        table.set_header(columns.iter().map(|name| name.trim_start_matches('#')));
        for (index, name) in columns.iter().enumerate() {
            if let (true, Some(column)) = (name.starts_with('#'), table.column_mut(index)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table }
    }

    /// Adds a row.
    pub(crate) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.table.add_row(cells.into_iter().map(|cell| printable(&cell)));
    }

    /// The table as text, without blanks at the ends of lines.
    pub(crate) fn render(&self) -> String {
        let lines: Vec<String> =
            self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

/// Names and metadata come from elsewhere and must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect()
}

/// `12,345,678`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Coordinates, shortened in the middle of a long list.
pub(crate) fn coordinates(vector: &[f64]) -> String {
    const SHOWN: usize = 6;
    let mut texts: Vec<String> = vector.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
    if vector.len() > SHOWN {
        texts.push(format!("... ({})", vector.len()));
    }
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn tables_set_numbers_to_the_right_and_show_no_control_characters() {
        let mut table = TextTable::new(&["id", "#distance"]);
        table.row(["a\u{1b}[31m".to_owned(), "0.5".to_owned()]);
        table.row(["longer name".to_owned(), "10.25".to_owned()]);
        let expected = " id            distance
────────────────────────
 a\u{fffd}[31m             0.5
 longer name      10.25";
        assert_eq!(table.render(), expected);
    }
}
