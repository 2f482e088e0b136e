//! One numpy array of shape (rows, coordinates), in 32- or 64-bit little-endian floats.
//!
//! The format: the magic bytes, a version, the length of the header, the header as a Python
//! dictionary in ASCII, and the numbers (numpy's format documentation, versions 1 to 3).

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use hvs_api::PutRecord;

use super::{
    Extent, Mapping, Place, Position, ReadError, Row, RowError, RowReader, numbers, open_file,
};

const MAGIC: &[u8] = b"\x93NUMPY";
const BUFFER_BYTES: usize = 1 << 18;
/// numpy itself writes headers of a few hundred bytes.
const MAX_HEADER_BYTES: u64 = 1 << 16;

pub(super) struct Array {
    path: PathBuf,
    input: BufReader<File>,
    mapping: Mapping,
    ids: Option<Ids>,
    rows: u64,
    width: Width,
    row: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    F32,
    F64,
}

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    width: Width,
    rows: u64,
    columns: u64,
}

impl Array {
    pub(super) fn open(path: &Path, mapping: &Mapping, start: Position) -> Result<Self, ReadError> {
        let bad = |detail: String| ReadError::Npy { path: path.to_owned(), detail };
        let (file, length) = open_file(path)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        let (text, data_begins) = read_header(&mut input).map_err(bad)?;
        let header = parse_header(&text).map_err(bad)?;
        let row_bytes = header
            .columns
            .checked_mul(header.width.bytes())
            .filter(|&bytes| bytes <= mapping.max_row_bytes)
            .ok_or_else(|| {
                bad(format!(
                    "a row of {} coordinates is longer than {} bytes; raise --max-row-bytes if it \
                     is meant",
                    header.columns, mapping.max_row_bytes
                ))
            })?;
        let expected = row_bytes
            .checked_mul(header.rows)
            .and_then(|bytes| bytes.checked_add(data_begins))
            .ok_or_else(|| bad("the shape is larger than any file".to_owned()))?;
        if length != expected {
            let relation = if length < expected { "cut off" } else { "followed by something else" };
            return Err(bad(format!(
                "the array of {} rows and {} columns takes {expected} bytes with its header, but \
                 the file has {length}: it is {relation}",
                header.rows, header.columns
            )));
        }
        let ids = match &mapping.ids {
            Some(ids) => Some(Ids::open(ids, path, header.rows, start.row)?),
            None => None,
        };
        input
            .seek(SeekFrom::Start(data_begins + start.row.min(header.rows) * row_bytes))
            .map_err(|source| ReadError::io(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            input,
            mapping: mapping.clone(),
            ids,
            rows: header.rows,
            width: header.width,
            row: start.row,
            bytes: vec![0; usize::try_from(row_bytes).unwrap_or_default()],
        })
    }

    fn parse(&self, id: Option<Result<String, RowError>>) -> Result<PutRecord, RowError> {
        let id = id.unwrap_or_else(|| Ok(self.row.to_string()))?;
        let numbers: Vec<f64> = match self.width {
            Width::F32 => {
                let (chunks, _) = self.bytes.as_chunks::<4>();
                chunks.iter().map(|chunk| f64::from(f32::from_le_bytes(*chunk))).collect()
            }
            Width::F64 => {
                let (chunks, _) = self.bytes.as_chunks::<8>();
                chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
            }
        };
        for (index, &number) in numbers.iter().enumerate() {
            numbers::finite(index, number)?;
        }
        let mut record = PutRecord { id: Some(id), ..PutRecord::default() };
        self.mapping.place_vector(&mut record, numbers);
        Ok(record)
    }
}

impl RowReader for Array {
    fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        if self.row >= self.rows {
            return Ok(None);
        }
        self.input
            .read_exact(&mut self.bytes)
            .map_err(|source| ReadError::io(&self.path, source))?;
        let id = match &mut self.ids {
            Some(ids) => Some(ids.next()?),
            None => None,
        };
        let record = self.parse(id);
        let place = Place::Row(self.row);
        self.row += 1;
        Ok(Some(Row { place, record, text: None }))
    }

    fn position(&self) -> Position {
        Position { row: self.row, line: 0, byte: 0 }
    }

    fn extent(&self) -> Extent {
        Extent::Rows(self.rows)
    }
}

impl Width {
    const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// The file that holds one id per line.
struct Ids {
    path: PathBuf,
    input: BufReader<File>,
    line: Vec<u8>,
    number: u64,
}

impl Ids {
    /// Opens the file before line `skip` after counting its lines.
    fn open(path: &Path, array: &Path, rows: u64, skip: u64) -> Result<Self, ReadError> {
        let (file, _) = open_file(path)?;
        let input = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut ids = Self { path: path.to_owned(), input, line: Vec::new(), number: 0 };
        while ids.read_line()? {}
        if ids.number != rows {
            return Err(ReadError::IdCount {
                path: path.to_owned(),
                ids: ids.number,
                array: array.to_owned(),
                rows,
            });
        }
        ids.input.rewind().map_err(|source| ReadError::io(path, source))?;
        ids.number = 0;
        while ids.number < skip && ids.read_line()? {}
        Ok(ids)
    }

    /// Whether there was one more line.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        // An id has at most 512 bytes; a line of a gigabyte must not be held.
        const LONGEST: u64 = 1 << 16;
        self.line.clear();
        let mut beginning = Read::by_ref(&mut self.input).take(LONGEST);
        let read = beginning
            .read_until(b'\n', &mut self.line)
            .map_err(|source| ReadError::io(&self.path, source))?;
        if read == 0 {
            return Ok(false);
        }
        if self.line.last() != Some(&b'\n') {
            self.input.skip_until(b'\n').map_err(|source| ReadError::io(&self.path, source))?;
        }
        self.number += 1;
        Ok(true)
    }

    fn next(&mut self) -> Result<Result<String, RowError>, ReadError> {
        self.read_line()?;
        let line = match self.line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if self.number == 1 => rest,
            _ => &self.line,
        };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(match str::from_utf8(line) {
            Ok("") => Err(RowError::NoId(format!("{}:{}", self.path.display(), self.number))),
            Ok(id) => Ok(id.to_owned()),
            Err(_) => Err(RowError::NotText),
        })
    }
}

/// The header's text, and where the numbers begin.
fn read_header(input: &mut impl Read) -> Result<(String, u64), String> {
    let not_numpy = |_| "this is not a numpy file (it does not begin with \\x93NUMPY)".to_owned();
    let mut magic = [0_u8; 6];
    input.read_exact(&mut magic).map_err(not_numpy)?;
    if magic != MAGIC {
        return Err(not_numpy(std::io::ErrorKind::InvalidData.into()));
    }
    let cut_off = |_| "the file ends within its header".to_owned();
    let mut version = [0_u8; 2];
    input.read_exact(&mut version).map_err(cut_off)?;
    let [major, minor] = version;
    let (length, before) = match major {
        1 => {
            let mut length = [0_u8; 2];
            input.read_exact(&mut length).map_err(cut_off)?;
            (u64::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0_u8; 4];
            input.read_exact(&mut length).map_err(cut_off)?;
            (u64::from(u32::from_le_bytes(length)), 12)
        }
        _ => return Err(format!("version {major}.{minor} of the format is not known")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes; {MAX_HEADER_BYTES} are the most"));
    }
    let mut bytes = vec![0_u8; usize::try_from(length).unwrap_or_default()];
    input.read_exact(&mut bytes).map_err(cut_off)?;
    let text = String::from_utf8(bytes).map_err(|_| "the header is not text".to_owned())?;
    Ok((text, before + length))
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`.
fn parse_header(text: &str) -> Result<Header, String> {
    let descr = value_of(text, "descr")?;
    let width = if let Some(quoted) = quoted(descr) {
        match quoted {
            "<f4" => Width::F32,
            "<f8" => Width::F64,
            ">f4" | ">f8" => {
                return Err(format!(
                    "the numbers are big-endian ({quoted}); convert them with \
                     array.astype('<{}')",
                    quoted.trim_start_matches('>')
                ));
            }
            other => {
                return Err(format!(
                    "the numbers are of type {other:?}; only 32- and 64-bit floats ('<f4', '<f8') \
                     are read, so convert them with array.astype('<f4')"
                ));
            }
        }
    } else {
        return Err("the array has records instead of numbers; save the vectors alone".to_owned());
    };
    let order = value_of(text, "fortran_order")?;
    if order.starts_with("True") {
        return Err("the array is in Fortran order (column by column); save \
                    numpy.ascontiguousarray(array) instead"
            .to_owned());
    }
    if !order.starts_with("False") {
        return Err("the header's fortran_order is neither True nor False".to_owned());
    }
    let shape = value_of(text, "shape")?
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map(|(inside, _)| inside)
        .ok_or("the header's shape is no tuple")?;
    let sizes = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse::<u64>().map_err(|_| format!("{size:?} in the shape is no size")))
        .collect::<Result<Vec<_>, _>>()?;
    let [rows, columns] = sizes.as_slice() else {
        return Err(format!(
            "the array has the shape ({shape}); two dimensions are needed, rows and coordinates"
        ));
    };
    if *columns == 0 {
        return Err("the array has no columns".to_owned());
    }
    Ok(Header { width, rows: *rows, columns: *columns })
}

/// What follows `'key':`.
fn value_of<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
    [format!("'{key}'"), format!("\"{key}\"")]
        .iter()
        .find_map(|quoted| text.split_once(quoted.as_str()))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| format!("the header does not say {key}"))
}

fn quoted(text: &str) -> Option<&str> {
    let mark = text.chars().next().filter(|mark| matches!(mark, '\'' | '"'))?;
    text.get(1..)?.split_once(mark).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_numpy_writes_them() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (400000, 50), }      \n";
        let header = parse_header(text).unwrap();
        assert_eq!(header, Header { width: Width::F32, rows: 400_000, columns: 50 });
    }

    #[test]
    fn each_unusable_header_says_what_would_be_right() {
        let with = |descr: &str, order: &str, shape: &str| {
            let text =
                format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
            parse_header(&text).unwrap_err()
        };
        assert!(with("'>f8'", "False", "(1, 2)").contains("astype('<f8')"));
        assert!(with("'<i8'", "False", "(1, 2)").contains("\"<i8\""));
        assert!(with("[('a', '<f4')]", "False", "(1,)").contains("vectors alone"));
        assert!(with("'<f4'", "True", "(1, 2)").contains("ascontiguousarray"));
        assert!(with("'<f4'", "Maybe", "(1, 2)").contains("neither"));
        assert!(with("'<f4'", "False", "(7,)").contains("two dimensions"));
        assert!(with("'<f4'", "False", "(7, 2, 3)").contains("two dimensions"));
        assert!(with("'<f4'", "False", "(7, -2)").contains("no size"));
        assert!(with("'<f4'", "False", "(7, 0)").contains("no columns"));
        assert!(with("'<f4'", "False", "7").contains("no tuple"));
        assert!(parse_header("{}").unwrap_err().contains("descr"));
        assert!(parse_header("").is_err());
    }
}
