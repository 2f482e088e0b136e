//! Comma- and tab-separated values with a header line, as RFC 4180 has them: a cell may stand in
//! quotation marks, and then hold delimiters, line breaks and doubled quotation marks.

use std::io::{self, BufRead, BufReader, Read};

use hvs_api::PutRecord;
use serde_json::{Map, Value};

use super::{
    Extent, Mapping, Place, Position, ReadError, Row, RowError, RowReader, Source,
    mapping::{Columns, VectorColumns},
    numbers,
};

const BUFFER_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) struct Table {
    mapping: Mapping,
    columns: Columns,
    width: usize,
    rows: Rows,
    cells: Cells,
    row: u64,
}

impl Table {
    pub(super) fn open(
        source: &Source,
        delimiter: u8,
        mapping: &Mapping,
        start: Position,
    ) -> Result<Self, ReadError> {
        let limit = mapping.max_row_bytes;
        let mut rows = Rows::open(source, delimiter, limit, Position::default())?;
        let mut cells = Cells::default();
        if rows.next_row(&mut cells)?.is_none() {
            return Err(ReadError::NoHeader { path: source.to_string() });
        }
        let header: Vec<String> =
            cells.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        let columns = mapping
            .resolve(&header)
            .map_err(|error| ReadError::Mapping { path: source.to_string(), source: error })?;
        if start != Position::default() {
            rows = Rows::open(source, delimiter, limit, start)?;
        }
        let width = header.len();
        Ok(Self { mapping: mapping.clone(), columns, width, rows, cells, row: start.row })
    }

    fn parse(&self) -> Result<PutRecord, RowError> {
        let found = self.cells.ends.len();
        if found != self.width {
            return Err(RowError::Ragged { expected: self.width, found });
        }
        let id = self.cell(self.columns.id)?;
        if id.is_empty() {
            return Err(RowError::NoId(self.mapping.id.clone()));
        }
        let mut record = PutRecord { id: Some(id.to_owned()), ..PutRecord::default() };
        let coordinates = match &self.columns.vector {
            VectorColumns::One(column) => {
                numbers::coordinates(&self.mapping.vector, self.cell(*column)?)?
            }
            VectorColumns::Several(columns) => columns
                .iter()
                .enumerate()
                .map(|(index, column)| numbers::coordinate(index, self.cell(*column)?))
                .collect::<Result<_, _>>()?,
        };
        if coordinates.is_empty() {
            return Err(RowError::NoVector(self.mapping.vector.clone()));
        }
        self.mapping.place_vector(&mut record, coordinates);
        record.metadata = self.metadata()?;
        Ok(record)
    }

    /// The other cells. An empty one says nothing and is left out.
    fn metadata(&self) -> Result<Option<Map<String, Value>>, RowError> {
        let mut metadata = Map::new();
        for column in &self.columns.rest {
            let text = self.cell(column.index)?;
            if text.is_empty() {
                continue;
            }
            let value =
                if column.json { column.parse(text)? } else { Value::String(text.to_owned()) };
            metadata.insert(column.name.clone(), value);
        }
        Ok((!metadata.is_empty()).then_some(metadata))
    }

    fn cell(&self, index: usize) -> Result<&str, RowError> {
        str::from_utf8(self.cells.get(index)).map_err(|_| RowError::NotText)
    }
}

impl RowReader for Table {
    fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        let Some(line) = self.rows.next_row(&mut self.cells)? else { return Ok(None) };
        self.row += 1;
        let record = self.parse();
        let text = record
            .is_err()
            .then(|| String::from_utf8_lossy(trim_line_break(&self.rows.raw)).into_owned());
        Ok(Some(Row { place: Place::Line(line), record, text }))
    }

    fn position(&self) -> Position {
        Position { row: self.row, line: self.rows.line, byte: self.rows.byte }
    }

    fn extent(&self) -> Extent {
        self.rows.extent
    }
}

/// The rows of a table, without any meaning.
pub(crate) struct Rows {
    source: Source,
    delimiter: u8,
    limit: u64,
    input: BufReader<Box<dyn Read + Send>>,
    extent: Extent,
    /// Lines and bytes before the next row.
    line: u64,
    byte: u64,
    /// The last row as it stands in the file.
    raw: Vec<u8>,
}

/// The cells of one row, unquoted.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    pub(crate) fn open(
        source: &Source,
        delimiter: u8,
        limit: u64,
        start: Position,
    ) -> Result<Self, ReadError> {
        let (input, extent) = source.open(start.byte)?;
        Ok(Self {
            source: source.clone(),
            delimiter,
            limit,
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            extent,
            line: start.line,
            byte: start.byte,
            raw: Vec::new(),
        })
    }

    /// Reads the next row into `cells`, over empty lines, and tells the line where it begins;
    /// nothing at the end.
    pub(crate) fn next_row(&mut self, cells: &mut Cells) -> Result<Option<u64>, ReadError> {
        loop {
            let begin = self.line + 1;
            let skip = if self.byte == 0 { BYTE_ORDER_MARK } else { b"" };
            if !self.read_raw(skip)? {
                return Ok(None);
            }
            let raw = self.raw.strip_prefix(skip).unwrap_or(&self.raw);
            let content = trim_line_break(raw);
            if !content.is_empty() {
                cells.split(content, self.delimiter);
                return Ok(Some(begin));
            }
        }
    }

    /// Reads lines until no quotation mark is open.
    fn read_raw(&mut self, skip: &[u8]) -> Result<bool, ReadError> {
        self.raw.clear();
        let begin = self.line + 1;
        let mut state = State::CellBegins;
        let mut scanned = 0;
        loop {
            let room = self.limit.saturating_add(1).saturating_sub(self.raw.len() as u64);
            let read = Read::by_ref(&mut self.input)
                .take(room)
                .read_until(b'\n', &mut self.raw)
                .map_err(|error| self.io_error(error))?;
            self.byte += read as u64;
            if self.raw.len() as u64 > self.limit {
                let path = self.source.to_string();
                return Err(ReadError::EndlessRow { path, line: begin, limit: self.limit });
            }
            if read == 0 {
                return Ok(!self.raw.is_empty());
            }
            self.line += 1;
            if scanned == 0 && self.raw.starts_with(skip) {
                scanned = skip.len();
            }
            for &byte in self.raw.get(scanned..).unwrap_or_default() {
                state = state.next(byte, self.delimiter);
            }
            scanned = self.raw.len();
            if state != State::Quoted {
                return Ok(true);
            }
        }
    }

    fn io_error(&self, error: io::Error) -> ReadError {
        match &self.source {
            Source::File(path) => ReadError::io(path, error),
            Source::StandardInput => ReadError::StandardInput(error),
        }
    }
}

/// Where in a row a byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    CellBegins,
    Plain,
    Quoted,
    /// After a quotation mark within quotes, which ends them unless another follows.
    Closing,
}

impl State {
    fn next(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Closing,
            (Self::Quoted, _) | (Self::CellBegins | Self::Closing, b'"') => Self::Quoted,
            (_, b'\n') => Self::CellBegins,
            (_, byte) if byte == delimiter => Self::CellBegins,
            _ => Self::Plain,
        }
    }
}

impl Cells {
    fn split(&mut self, row: &[u8], delimiter: u8) {
        self.bytes.clear();
        self.ends.clear();
        let mut state = State::CellBegins;
        for &byte in row {
            let next = state.next(byte, delimiter);
            match (state, next) {
                // A quotation mark that opens or closes; the second of two stands for one.
                (State::CellBegins, State::Quoted) | (State::Quoted, State::Closing) => {}
                (_, State::CellBegins) => self.ends.push(self.bytes.len()),
                _ => self.bytes.push(byte),
            }
            state = next;
        }
        self.ends.push(self.bytes.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(index).copied().unwrap_or_default();
        self.bytes.get(begin.unwrap_or_default()..end).unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| self.get(index))
    }
}

fn trim_line_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(row: &str) -> Vec<String> {
        let mut cells = Cells::default();
        cells.split(row.as_bytes(), b',');
        cells.iter().map(|cell| String::from_utf8(cell.to_vec()).unwrap()).collect()
    }

    #[test]
    fn cells_are_unquoted() {
        assert_eq!(split("a,,b"), ["a", "", "b"]);
        assert_eq!(split("\"a,\"\"b\"\"\",\"\",c"), ["a,\"b\"", "", "c"]);
        assert_eq!(split("5\" disk,x"), ["5\" disk", "x"]);
        assert_eq!(split("\"a\"b,c"), ["ab", "c"]);
        assert_eq!(split("a,"), ["a", ""]);
        assert_eq!(split("\"a\nb\",c"), ["a\nb", "c"]);
    }
}
