//! What is said about bad rows.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{batch::Rejected, progress::Progress};
use crate::{
    error::CliError,
    output::{grouped, printable},
    read::{Place, Source},
};

/// Shows bad rows up to a limit, counts them all, and keeps them in a file if asked.
pub(super) struct Rejects {
    source: String,
    shown: u64,
    most: u64,
    count: u64,
    /// Each line on standard error is a JSON object.
    json: bool,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Rejects {
    /// The file is continued when the import is, and begun anew otherwise.
    pub(super) fn open(
        source: &Source,
        path: Option<&Path>,
        most: u64,
        goes_on: bool,
        json: bool,
    ) -> Result<Self, CliError> {
        let file = match path {
            None => None,
            Some(path) => {
                let file = OpenOptions::new()
                    .create(true)
                    .write(true)
                    .append(goes_on)
                    .truncate(!goes_on)
                    .open(path)
                    .map_err(|source| CliError::File { path: path.to_owned(), source })?;
                Some((path.to_owned(), BufWriter::new(file)))
            }
        };
        Ok(Self { source: source.to_string(), shown: 0, most, count: 0, json, file })
    }

    /// Tells about a bad row. What is in the file is there before the row counts as done.
    pub(super) fn add(&mut self, row: &Rejected, progress: &Progress) -> Result<(), CliError> {
        self.count += 1;
        if self.shown < self.most {
            self.shown += 1;
            let line = if self.json { self.told(row).to_string() } else { self.describe(row) };
            progress.print(&line);
        } else if self.count == self.most + 1 && !self.json {
            progress.print("more bad rows are counted, but no longer shown");
        }
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let line = as_json(&self.source, row);
        writeln!(file, "{line}")
            .and_then(|()| file.flush())
            .map_err(|source| CliError::File { path: path.clone(), source })
    }

    /// For scripts: what stands in the file of rejects, without the row itself.
    fn told(&self, row: &Rejected) -> Value {
        let mut object = place_and_reason(&self.source, row);
        if let Some(id) = row.record.as_ref().and_then(|record| record.id.as_deref()) {
            object.insert("id".to_owned(), id.into());
        }
        json!({ "bad_row": object })
    }

    /// `file:line: reason (code)`.
    pub(super) fn describe(&self, row: &Rejected) -> String {
        let id = row.record.as_ref().and_then(|record| record.id.as_deref());
        let id = id.map(|id| format!(" ({id:?})")).unwrap_or_default();
        printable(&format!("{}{}{id}: {} [{}]", self.source, row.place, row.detail, row.code))
    }

    pub(super) fn finish(&mut self) -> Result<(), CliError> {
        if self.count > self.shown {
            let line = if self.json {
                json!({ "bad_rows": self.count, "shown": self.shown }).to_string()
            } else {
                format!("{} bad rows in all", grouped(self.count))
            };
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.flush().map_err(|source| CliError::File { path: path.clone(), source })
    }
}

fn place_and_reason(source: &str, row: &Rejected) -> Map<String, Value> {
    let (name, number) = match row.place {
        Place::Line(number) => ("line", number),
        Place::Row(number) => ("row", number),
    };
    let mut object = Map::new();
    object.insert("file".to_owned(), source.into());
    object.insert(name.to_owned(), number.into());
    object.insert("code".to_owned(), row.code.clone().into());
    object.insert("detail".to_owned(), row.detail.clone().into());
    object
}

fn as_json(source: &str, row: &Rejected) -> Value {
    let mut object = place_and_reason(source, row);
    if let Some(text) = &row.text {
        object.insert("text".to_owned(), text.clone().into());
    }
    if let Some(Ok(record)) = row.record.as_ref().map(serde_json::to_value) {
        object.insert("record".to_owned(), record);
    }
    Value::Object(object)
}
