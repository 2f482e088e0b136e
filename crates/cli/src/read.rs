//! Files of records: one reader per format, all giving the same rows.
//!
//! A reader streams: it holds one row at a time, whatever the size of the file. What is wrong with
//! one row is a [`RowError`], after which the next row can be read; what is wrong with the file as
//! a whole is a [`ReadError`], after which nothing can. A reader can be opened at the
//! [`Position`] where an earlier one stopped.

mod error;
mod jsonl;
mod mapping;
mod npy;
mod numbers;
mod parquet;
pub(crate) mod table;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use hvs_api::PutRecord;
use serde::{Deserialize, Serialize};

pub use self::{
    error::{ReadError, RowError},
    mapping::{DEFAULT_MAX_ROW_BYTES, Mapping, MappingError},
};

/// The place between two rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Rows before it, good and bad.
    pub row: u64,
    /// Lines before it; 0 in formats without lines.
    pub line: u64,
    /// Bytes before it; 0 in formats that are addressed by row.
    pub byte: u64,
}

/// Where in a file a row stands, as people count there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A line, counted from 1.
    Line(u64),
    /// A row, counted from 0 as the tools of binary formats do.
    Row(u64),
}

/// One row of a file.
#[derive(Debug)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// The record with its id, or what is wrong with it.
    pub record: Result<PutRecord, RowError>,
    /// The row as it stands in the file, where the format is text and the row is bad.
    pub text: Option<String>,
}

/// How much there is to read, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes.
    Bytes(u64),
    /// So many rows.
    Rows(u64),
    /// Not known, as with a pipe.
    Unknown,
}

/// The rows of one file, in order.
pub trait RowReader: Send {
    /// The next row, or nothing at the end.
    ///
    /// # Errors
    /// When the file cannot be read on.
    fn next_row(&mut self) -> Result<Option<Row>, ReadError>;

    /// Where the next row begins.
    fn position(&self) -> Position;

    /// How much there is in the whole file.
    fn extent(&self) -> Extent;
}

/// The format of a file of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// One two-dimensional numpy array.
    Npy,
    /// Apache Parquet.
    Parquet,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The standard input; text formats only, from its beginning only.
    StandardInput,
}

impl Source {
    /// `-` is the standard input, everything else a path.
    pub fn from_argument(argument: &Path) -> Self {
        if argument == Path::new("-") {
            Self::StandardInput
        } else {
            Self::File(argument.to_owned())
        }
    }

    /// Opens the file at `byte`, with its length, or the standard input.
    fn open(&self, byte: u64) -> Result<(Box<dyn Read + Send>, Extent), ReadError> {
        match self {
            Self::StandardInput if byte > 0 => Err(ReadError::NotSeekable),
            Self::StandardInput => Ok((Box::new(io::stdin()), Extent::Unknown)),
            Self::File(path) => {
                let (mut file, length) = open_file(path)?;
                io::Seek::seek(&mut file, io::SeekFrom::Start(byte))
                    .map_err(|source| ReadError::io(path, source))?;
                Ok((Box::new(file), Extent::Bytes(length)))
            }
        }
    }

    /// The path of a format that cannot be read from a pipe.
    fn path(&self, format: Format) -> Result<&Path, ReadError> {
        match self {
            Self::File(path) => Ok(path),
            Self::StandardInput => Err(ReadError::NeedsFile { format }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::StandardInput => formatter.write_str("standard input"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(formatter, ":{line}"),
            Self::Row(row) => write!(formatter, " row {row}"),
        }
    }
}

impl Format {
    /// The format that a file's name says.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "npy" => Some(Self::Npy),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Npy => "npy",
            Self::Parquet => "parquet",
        })
    }
}

/// Coordinates from a text: a JSON array, or numbers with commas, semicolons or blanks between
/// them.
///
/// # Errors
/// When one is no finite number.
pub fn parse_coordinates(text: &str) -> Result<Vec<f64>, RowError> {
    numbers::coordinates("vector", text)
}

/// Opens `source` at `start`, which is the beginning or a position of an earlier reader with the
/// same mapping.
///
/// # Errors
/// When the file cannot be opened, is not what its format says, or has no columns for `mapping`.
pub fn open(
    source: &Source,
    format: Format,
    mapping: &Mapping,
    start: Position,
) -> Result<Box<dyn RowReader>, ReadError> {
    match format {
        Format::Jsonl => Ok(Box::new(jsonl::JsonLines::open(source, mapping, start)?)),
        Format::Csv => Ok(Box::new(table::Table::open(source, b',', mapping, start)?)),
        Format::Tsv => Ok(Box::new(table::Table::open(source, b'\t', mapping, start)?)),
        Format::Npy => Ok(Box::new(npy::Array::open(source.path(format)?, mapping, start)?)),
        Format::Parquet => {
            Ok(Box::new(parquet::ParquetRows::open(source.path(format)?, mapping, start)?))
        }
    }
}

/// Opens a file and tells its length; a folder is refused here, because reading one fails late
/// and with a message that says little.
fn open_file(path: &Path) -> Result<(File, u64), ReadError> {
    let file = File::open(path).map_err(|source| ReadError::io(path, source))?;
    let metadata = file.metadata().map_err(|source| ReadError::io(path, source))?;
    if metadata.is_dir() {
        return Err(ReadError::io(path, io::Error::from(io::ErrorKind::IsADirectory)));
    }
    Ok((file, metadata.len()))
}

#[cfg(test)]
mod tests;
