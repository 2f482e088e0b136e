//! What can be wrong with a file and with a row of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Format, MappingError};

/// Why a file cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The standard input cannot be read.
    #[error("standard input: {0}")]
    StandardInput(io::Error),
    /// The standard input cannot be entered in the middle.
    #[error("the standard input cannot be resumed; import it from a file")]
    NotSeekable,
    /// The format needs a file.
    #[error("{format} cannot be read from the standard input; give a file")]
    NeedsFile {
        /// The format.
        format: Format,
    },
    /// Columns and their use do not match.
    #[error("{path}: {source}")]
    Mapping {
        /// The file.
        path: String,
        /// What does not match.
        source: MappingError,
    },
    /// A table has no header line.
    #[error(
        "{path}: the file is empty, but a header line with the names of the columns must come first"
    )]
    NoHeader {
        /// The file.
        path: String,
    },
    /// A table's row has no end within the limit, so no later row can be found either.
    #[error(
        "{path}:{line}: the row is longer than {limit} bytes, probably for want of a closing \
         quotation mark; raise --max-row-bytes if it is meant"
    )]
    EndlessRow {
        /// The file.
        path: String,
        /// Where the row begins.
        line: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A numpy file that is none, or one that cannot be used.
    #[error("{path}: {detail}")]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// The number of ids is not the number of rows.
    #[error(
        "{path} holds {ids} ids, but {array} has {rows} rows; one id per line and row is needed"
    )]
    IdCount {
        /// The file of ids.
        path: PathBuf,
        /// How many it holds.
        ids: u64,
        /// The array.
        array: PathBuf,
        /// How many rows it has.
        rows: u64,
    },
    /// A Parquet file that is none, is damaged, or uses what is not supported.
    #[error("{path}: {detail}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

impl ReadError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The line is not one JSON object of a record.
    #[error("{0}")]
    Json(String),
    /// The bytes are not text.
    #[error("the row is not valid UTF-8")]
    NotText,
    /// The line exceeds the limit.
    #[error("the line is longer than {limit} bytes; raise --max-row-bytes if it is meant")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// The row has more or fewer cells than the header.
    #[error("the row has {found} cells, but the header names {expected} columns")]
    Ragged {
        /// Columns of the header.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
    /// No id.
    #[error("the row has no id (column or field {0:?})")]
    NoId(String),
    /// No vector.
    #[error("the row has no vector (column or field {0:?})")]
    NoVector(String),
    /// A value of a type that an id cannot have.
    #[error("the id must be a text or an integer, not {0}")]
    IdType(String),
    /// A value of a type that a vector cannot have.
    #[error("the vector {column:?} must be a list of numbers, not {found}")]
    VectorType {
        /// The column.
        column: String,
        /// What it holds.
        found: String,
    },
    /// Something that should be a number.
    #[error("coordinate {index} is {text:?}, which is not a number")]
    NotANumber {
        /// Which coordinate, from 0.
        index: usize,
        /// What stands there.
        text: String,
    },
    /// NaN, an infinity, or a number beyond what f64 holds.
    #[error("coordinate {index} is {text}, which is not finite in 64 bits")]
    NotFinite {
        /// Which coordinate, from 0.
        index: usize,
        /// What stands there.
        text: String,
    },
    /// A cell that should be JSON.
    #[error("the cell of column {column:?} is not JSON: {detail}")]
    JsonCell {
        /// The column.
        column: String,
        /// What is wrong.
        detail: String,
    },
}

impl RowError {
    /// A stable code, for programs; server-side problems have codes of their own.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "bad_json",
            Self::NotText => "not_text",
            Self::TooLong { .. } => "row_too_long",
            Self::Ragged { .. } => "ragged_row",
            Self::NoId(_) => "missing_id",
            Self::NoVector(_) => "missing_vector",
            Self::IdType(_) => "bad_id",
            Self::VectorType { .. } => "bad_vector",
            Self::NotANumber { .. } => "not_a_number",
            Self::NotFinite { .. } => "not_finite",
            Self::JsonCell { .. } => "bad_json_cell",
        }
    }
}
