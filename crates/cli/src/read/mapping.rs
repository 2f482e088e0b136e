//! Which columns or fields of a file make up a record.

use std::path::PathBuf;

use hvs_api::{PutRecord, StrictValue, Vector};
use serde_json::Value;

use super::{RowError, numbers};

/// What the columns or fields of a file are used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The column of the id.
    pub id: String,
    /// The column of the vector; or several, separated by commas, one per coordinate, where a
    /// name that ends in `*` stands for all columns that begin so, in the order of the file.
    pub vector: String,
    /// The named vector to fill; the default one if empty.
    pub vector_name: String,
    /// Columns whose cells are JSON (numbers, true, lists); cells of other columns are text.
    pub json_columns: Vec<String>,
    /// In JSON Lines, whether fields outside the record's go into its metadata rather than being
    /// an error. In tables they always do.
    pub rest: bool,
    /// For arrays: a file with one id per line. Without it, the ids are the numbers of the rows.
    pub ids: Option<PathBuf>,
    /// No line or row is longer than this.
    pub max_row_bytes: u64,
}

/// The longest line or row when nothing else is said.
pub const DEFAULT_MAX_ROW_BYTES: u64 = 16 << 20;

impl Default for Mapping {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            vector: "vector".to_owned(),
            vector_name: String::new(),
            json_columns: Vec::new(),
            rest: false,
            ids: None,
            max_row_bytes: DEFAULT_MAX_ROW_BYTES,
        }
    }
}

/// Why columns cannot be used as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// There is no such column.
    #[error("there is no column {column:?} for the {role}; the columns are: {columns}")]
    NoColumn {
        /// The name looked for.
        column: String,
        /// `id`, `vector` or `JSON value`.
        role: &'static str,
        /// What there is instead.
        columns: String,
    },
    /// A name occurs twice.
    #[error("two columns are called {0:?}, so that it is not clear which one is meant")]
    Ambiguous(String),
    /// A column has two uses.
    #[error("column {0:?} cannot be both the id and a coordinate")]
    Overlap(String),
}

/// The columns of a table with a header, resolved to their places.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) id: usize,
    pub(super) vector: VectorColumns,
    /// Everything else, for the metadata.
    pub(super) rest: Vec<RestColumn>,
}

/// Where the coordinates stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VectorColumns {
    /// All in one column.
    One(usize),
    /// One column per coordinate.
    Several(Vec<usize>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RestColumn {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) json: bool,
}

impl RestColumn {
    /// A cell that holds JSON.
    pub(super) fn parse(&self, text: &str) -> Result<Value, RowError> {
        match serde_json::from_str(text) {
            Ok(StrictValue(value)) => Ok(value),
            Err(error) => Err(RowError::JsonCell {
                column: self.name.clone(),
                detail: format!("{error} in {:?}", numbers::shorten(text)),
            }),
        }
    }
}

impl Mapping {
    /// Finds the columns in `header`.
    pub(super) fn resolve(&self, header: &[String]) -> Result<Columns, MappingError> {
        for (index, name) in header.iter().enumerate() {
            if header.iter().take(index).any(|earlier| earlier == name) {
                return Err(MappingError::Ambiguous(name.clone()));
            }
        }
        let id = find(header, &self.id, "id")?;
        let vector = self.vector_columns(header)?;
        let is_coordinate = |index: usize| match &vector {
            VectorColumns::One(column) => *column == index,
            VectorColumns::Several(columns) => columns.contains(&index),
        };
        if is_coordinate(id) {
            return Err(MappingError::Overlap(self.id.clone()));
        }
        for column in &self.json_columns {
            find(header, column, "JSON value")?;
        }
        let rest = header
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != id && !is_coordinate(*index))
            .map(|(index, name)| RestColumn {
                index,
                name: name.clone(),
                json: self.json_columns.contains(name),
            })
            .collect();
        Ok(Columns { id, vector, rest })
    }

    fn vector_columns(&self, header: &[String]) -> Result<VectorColumns, MappingError> {
        // A name as it stands comes first, so that one with a comma or a star can be meant.
        if let Some(index) = header.iter().position(|name| *name == self.vector) {
            return Ok(VectorColumns::One(index));
        }
        let mut columns = Vec::new();
        for part in self.vector.split(',').map(str::trim) {
            let Some(prefix) = part.strip_suffix('*') else {
                columns.push(find(header, part, "vector")?);
                continue;
            };
            let before = columns.len();
            let matching = header.iter().enumerate().filter(|(_, name)| name.starts_with(prefix));
            columns.extend(matching.map(|(index, _)| index));
            if columns.len() == before {
                return Err(no_column(header, part, "vector"));
            }
        }
        for (place, column) in columns.iter().enumerate() {
            if columns.iter().take(place).any(|earlier| earlier == column) {
                let name = header.get(*column).cloned().unwrap_or_default();
                return Err(MappingError::Ambiguous(name));
            }
        }
        Ok(VectorColumns::Several(columns))
    }

    /// Puts the coordinates where they belong.
    pub(super) fn place_vector(&self, record: &mut PutRecord, coordinates: Vec<f64>) {
        if self.vector_name.is_empty() {
            record.vector = Some(Vector(coordinates));
        } else {
            let vectors = record.vectors.get_or_insert_default();
            vectors.insert(self.vector_name.clone(), Vector(coordinates));
        }
    }
}

fn find(header: &[String], name: &str, role: &'static str) -> Result<usize, MappingError> {
    header.iter().position(|column| column == name).ok_or_else(|| no_column(header, name, role))
}

fn no_column(header: &[String], name: &str, role: &'static str) -> MappingError {
    const SHOWN: usize = 20;
    let mut columns =
        header.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if header.len() > SHOWN {
        columns.push_str(", ...");
    }
    MappingError::NoColumn { column: name.to_owned(), role, columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &str) -> Vec<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    fn mapping(id: &str, vector: &str) -> Mapping {
        Mapping { id: id.into(), vector: vector.into(), ..Mapping::default() }
    }

    #[test]
    fn coordinates_are_taken_from_one_column_from_several_and_by_prefix() {
        let names = header("id x1 x0 name vector");
        let one = mapping("id", "vector").resolve(&names).unwrap();
        assert_eq!(one.vector, VectorColumns::One(4));
        assert_eq!(
            one.rest.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            ["x1", "x0", "name"]
        );
        let several = mapping("id", "x0, x1").resolve(&names).unwrap();
        assert_eq!(several.vector, VectorColumns::Several(vec![2, 1]));
        let prefix = mapping("id", "x*").resolve(&names).unwrap();
        assert_eq!(prefix.vector, VectorColumns::Several(vec![1, 2]));
    }

    #[test]
    fn a_name_as_it_stands_beats_a_list() {
        let names = header("id a,b a b");
        assert_eq!(mapping("id", "a,b").resolve(&names).unwrap().vector, VectorColumns::One(1));
    }

    #[test]
    fn what_is_missing_or_unclear_is_said() {
        let names = header("key x y");
        let error = mapping("id", "x,y").resolve(&names).unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no column \"id\" for the id; the columns are: \"key\", \"x\", \"y\""
        );
        assert!(mapping("key", "z*").resolve(&names).is_err());
        assert!(mapping("key", "x,x").resolve(&names).is_err());
        assert_eq!(
            mapping("x", "x,y").resolve(&names).unwrap_err(),
            MappingError::Overlap("x".into())
        );
        assert_eq!(
            mapping("a", "b").resolve(&header("a b a")).unwrap_err(),
            MappingError::Ambiguous("a".into())
        );
    }
}
