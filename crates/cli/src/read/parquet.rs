//! Apache Parquet, through its record interface.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use hvs_api::PutRecord;
use parquet::{
    errors::ParquetError,
    file::{
        reader::{FileReader, SerializedFileReader},
        serialized_reader::ReadOptionsBuilder,
    },
    record::{Field, reader::RowIter},
};
use serde_json::{Map, Number, Value};

use super::{
    Extent, Mapping, Place, Position, ReadError, Row, RowError, RowReader,
    mapping::{Columns as ColumnPlaces, VectorColumns},
    numbers, open_file,
};

pub(super) struct ParquetRows {
    path: PathBuf,
    mapping: Mapping,
    columns: ColumnPlaces,
    rows: RowIter<'static>,
    row: u64,
    total: u64,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, mapping: &Mapping, start: Position) -> Result<Self, ReadError> {
        let bad = |error: ParquetError| ReadError::Parquet {
            path: path.to_owned(),
            detail: error.to_string(),
        };
        let (file, _) = open_file(path)?;
        let whole = guarded(path, || SerializedFileReader::new(file))?.map_err(bad)?;
        let metadata = whole.metadata();
        let schema = metadata.file_metadata().schema();
        let header: Vec<String> =
            schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        let columns = mapping
            .resolve(&header)
            .map_err(|source| ReadError::Mapping { path: path.display().to_string(), source })?;
        let sizes: Vec<u64> = metadata
            .row_groups()
            .iter()
            .map(|group| u64::try_from(group.num_rows()).unwrap_or_default())
            .collect();
        let total = sizes.iter().sum();

        // Groups that were read before are left out unopened; within a group rows are skipped.
        let mut first_group = 0;
        let mut before = 0;
        for size in &sizes {
            if before + size > start.row {
                break;
            }
            before += size;
            first_group += 1;
        }
        let options = ReadOptionsBuilder::new()
            .with_predicate(Box::new(move |_, group| group >= first_group))
            .build();
        let (file, _) = open_file(path)?;
        let reader = guarded(path, || SerializedFileReader::new_with_options(file, options))?
            .map_err(bad)?;
        let rows = RowIter::from_file_into(Box::new(reader));
        let mut opened = Self {
            path: path.to_owned(),
            mapping: mapping.clone(),
            columns,
            rows,
            row: before,
            total,
        };
        while opened.row < start.row && opened.advance()?.is_some() {}
        Ok(opened)
    }

    fn advance(&mut self) -> Result<Option<parquet::record::Row>, ReadError> {
        let next = guarded(&self.path, || self.rows.next())?;
        let Some(row) = next else {
            if self.row < self.total {
                return Err(ReadError::Parquet {
                    path: self.path.clone(),
                    detail: format!(
                        "{} rows were promised, but {} are there",
                        self.total, self.row
                    ),
                });
            }
            return Ok(None);
        };
        let row = row.map_err(|error| ReadError::Parquet {
            path: self.path.clone(),
            detail: format!("row {}: {error}", self.row),
        })?;
        self.row += 1;
        Ok(Some(row))
    }

    fn parse(&self, row: &parquet::record::Row) -> Result<PutRecord, RowError> {
        let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or(&Field::Null);
        let id = match field(self.columns.id) {
            Field::Null => return Err(RowError::NoId(self.mapping.id.clone())),
            Field::Str(text) if text.is_empty() => {
                return Err(RowError::NoId(self.mapping.id.clone()));
            }
            Field::Str(text) => text.clone(),
            Field::Bytes(bytes) => {
                str::from_utf8(bytes.data()).map_err(|_| RowError::NotText)?.to_owned()
            }
            other => match integer(other) {
                Some(number) => number.to_string(),
                None => return Err(RowError::IdType(type_name(other))),
            },
        };
        let mut record = PutRecord { id: Some(id), ..PutRecord::default() };
        let coordinates = match &self.columns.vector {
            VectorColumns::One(index) => self.vector(field(*index))?,
            VectorColumns::Several(columns) => columns
                .iter()
                .enumerate()
                .map(|(place, column)| number(place, field(*column)))
                .collect::<Result<_, _>>()?,
        };
        if coordinates.is_empty() {
            return Err(RowError::NoVector(self.mapping.vector.clone()));
        }
        self.mapping.place_vector(&mut record, coordinates);

        let mut metadata = Map::new();
        for column in &self.columns.rest {
            let value = match field(column.index) {
                Field::Null => continue,
                Field::Str(text) if column.json => column.parse(text)?,
                other => json(&column.name, other)?,
            };
            metadata.insert(column.name.clone(), value);
        }
        record.metadata = (!metadata.is_empty()).then_some(metadata);
        Ok(record)
    }

    fn vector(&self, field: &Field) -> Result<Vec<f64>, RowError> {
        match field {
            Field::Null => Ok(Vec::new()),
            Field::ListInternal(list) => list
                .elements()
                .iter()
                .enumerate()
                .map(|(index, element)| number(index, element))
                .collect(),
            Field::Str(text) => numbers::coordinates(&self.mapping.vector, text),
            other => Err(RowError::VectorType {
                column: self.mapping.vector.clone(),
                found: type_name(other),
            }),
        }
    }
}

impl RowReader for ParquetRows {
    fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        let place = Place::Row(self.row);
        let Some(row) = self.advance()? else { return Ok(None) };
        Ok(Some(Row { place, record: self.parse(&row), text: None }))
    }

    fn position(&self) -> Position {
        Position { row: self.row, line: 0, byte: 0 }
    }

    fn extent(&self) -> Extent {
        Extent::Rows(self.total)
    }
}

/// The library stops the thread at some damaged files and unusual types; here it is an error.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| ReadError::Parquet {
        path: path.to_owned(),
        detail: "the file is damaged or uses a type that cannot be read".to_owned(),
    })
}

fn integer(field: &Field) -> Option<i128> {
    Some(match field {
        Field::Byte(number) => i128::from(*number),
        Field::Short(number) => i128::from(*number),
        Field::Int(number) => i128::from(*number),
        Field::Long(number) => i128::from(*number),
        Field::UByte(number) => i128::from(*number),
        Field::UShort(number) => i128::from(*number),
        Field::UInt(number) => i128::from(*number),
        Field::ULong(number) => i128::from(*number),
        _ => return None,
    })
}

fn float(field: &Field) -> Option<f64> {
    match field {
        Field::Float16(number) => Some(f64::from(*number)),
        Field::Float(number) => Some(f64::from(*number)),
        Field::Double(number) => Some(*number),
        _ => None,
    }
}

fn number(index: usize, field: &Field) -> Result<f64, RowError> {
    if let Some(number) = float(field) {
        return numbers::finite(index, number);
    }
    match integer(field) {
        Some(number) => Ok(number as f64),
        None => Err(RowError::NotANumber { index, text: type_name(field) }),
    }
}

fn json(column: &str, field: &Field) -> Result<Value, RowError> {
    if let Some(number) = float(field) {
        return Number::from_f64(number).map(Value::Number).ok_or_else(|| RowError::JsonCell {
            column: column.to_owned(),
            detail: format!("{number} has no form in JSON"),
        });
    }
    if let Some(number) = integer(field) {
        return Ok(Number::from_i128(number).map_or(Value::Null, Value::Number));
    }
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => match str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => {
                return Err(RowError::JsonCell {
                    column: column.to_owned(),
                    detail: format!("{} bytes that are no text have no form in JSON", bytes.len()),
                });
            }
        },
        Field::Group(group) => {
            object(column, group.get_column_iter().map(|(name, field)| (name.clone(), field)))?
        }
        Field::ListInternal(list) => Value::Array(
            list.elements().iter().map(|field| json(column, field)).collect::<Result<_, _>>()?,
        ),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, value)| match key {
                Field::Str(text) => (text.clone(), value),
                other => (other.to_string(), value),
            });
            object(column, entries)?
        }
        // Dates, times and decimals, in the form that people read.
        other => Value::String(other.to_string()),
    })
}

/// A map may hold a key twice, an object may not.
fn object<'a>(
    column: &str,
    entries: impl Iterator<Item = (String, &'a Field)>,
) -> Result<Value, RowError> {
    let mut object = Map::new();
    for (key, field) in entries {
        if object.contains_key(&key) {
            let detail = format!("the key {:?} occurs twice", numbers::shorten(&key));
            return Err(RowError::JsonCell { column: column.to_owned(), detail });
        }
        object.insert(key, json(column, field)?);
    }
    Ok(Value::Object(object))
}

fn type_name(field: &Field) -> String {
    match field {
        Field::Null => "null",
        Field::Bool(_) => "a boolean",
        Field::Str(_) => "a text",
        Field::Bytes(_) => "bytes",
        Field::Float16(_) | Field::Float(_) | Field::Double(_) => "a floating-point number",
        Field::Group(_) => "a struct",
        Field::ListInternal(_) => "a list",
        Field::MapInternal(_) => "a map",
        Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => "a time",
        Field::Decimal(_) => "a decimal",
        _ => "an integer",
    }
    .to_owned()
}
