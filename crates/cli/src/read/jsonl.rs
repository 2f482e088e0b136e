//! JSON Lines: one object per line.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
};

use hvs_api::{PutRecord, StrictObject, StrictValue, UniqueMap, Vector};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
};

use super::{
    Extent, Mapping, Place, Position, ReadError, Row, RowError, RowReader, Source, numbers::shorten,
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER_BYTES: usize = 1 << 18;
/// How much of a bad line is kept for the report.
const TEXT_BYTES: usize = 1 << 16;

pub(super) struct JsonLines {
    source: Source,
    input: BufReader<Box<dyn Read + Send>>,
    mapping: Mapping,
    position: Position,
    extent: Extent,
    line: Vec<u8>,
}

/// How reading one line ended.
enum Line {
    Whole,
    TooLong,
    End,
}

impl JsonLines {
    pub(super) fn open(
        source: &Source,
        mapping: &Mapping,
        start: Position,
    ) -> Result<Self, ReadError> {
        let (input, extent) = source.open(start.byte)?;
        Ok(Self {
            source: source.clone(),
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            mapping: mapping.clone(),
            position: start,
            extent,
            line: Vec::new(),
        })
    }

    /// Reads up to the next line break into `self.line`, of a line beyond the limit only the
    /// beginning.
    fn read_line(&mut self) -> Result<Line, ReadError> {
        self.line.clear();
        let limit = usize::try_from(self.mapping.max_row_bytes).unwrap_or(usize::MAX);
        let mut length = 0_usize;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(match &self.source {
                        Source::File(path) => ReadError::io(path, error),
                        Source::StandardInput => ReadError::StandardInput(error),
                    });
                }
            };
            if available.is_empty() && length == 0 {
                return Ok(Line::End);
            }
            let line_break = available.iter().position(|&byte| byte == b'\n');
            let content =
                available.get(..line_break.unwrap_or(available.len())).unwrap_or_default();
            let room = limit.saturating_sub(self.line.len());
            self.line.extend_from_slice(content.get(..room).unwrap_or(content));
            let at_end = available.is_empty();
            let taken = content.len() + usize::from(line_break.is_some());
            length += content.len();
            self.input.consume(taken);
            self.position.byte += taken as u64;
            if line_break.is_some() || at_end {
                self.position.line += 1;
                return Ok(if length > limit { Line::TooLong } else { Line::Whole });
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<PutRecord, RowError> {
        let text = str::from_utf8(line).map_err(|_| RowError::NotText)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let record = RecordSeed { mapping: &self.mapping }
            .deserialize(&mut deserializer)
            .and_then(|record| deserializer.end().map(|()| record))
            .map_err(|error| RowError::Json(json_message(&error)))?;
        if record.id.is_none() {
            return Err(RowError::NoId(self.mapping.id.clone()));
        }
        if record.vector.is_none() && record.vectors.is_none() {
            return Err(RowError::NoVector(self.mapping.vector.clone()));
        }
        Ok(record)
    }
}

impl RowReader for JsonLines {
    fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        loop {
            let first = self.position.byte == 0;
            let end = self.read_line()?;
            let line = std::mem::take(&mut self.line);
            let content = match line.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if first => rest,
                _ => &line,
            };
            let record = match end {
                Line::End => return Ok(None),
                Line::TooLong => Err(RowError::TooLong { limit: self.mapping.max_row_bytes }),
                Line::Whole if content.trim_ascii().is_empty() => {
                    self.line = line;
                    continue;
                }
                Line::Whole => self.parse(content),
            };
            self.position.row += 1;
            let text = record.is_err().then(|| {
                let shown = content.get(..TEXT_BYTES).unwrap_or(content);
                String::from_utf8_lossy(shown.trim_ascii_end()).into_owned()
            });
            let place = Place::Line(self.position.line);
            self.line = line;
            return Ok(Some(Row { place, record, text }));
        }
    }

    fn position(&self) -> Position {
        self.position
    }

    fn extent(&self) -> Extent {
        self.extent
    }
}

/// The parser's message with the column alone, for it counts each line as its first.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((message, _)) => format!("{message} (column {})", error.column()),
        None => text,
    }
}

/// Reads a record whose id and vector may have other names than those of the API.
struct RecordSeed<'a> {
    mapping: &'a Mapping,
}

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = PutRecord;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PutRecord, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = PutRecord;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object with an id and a vector")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PutRecord, A::Error> {
        let mut record = PutRecord::default();
        let mut rest = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            // `null` is the same as leaving a field out, as the API has it.
            if key == self.mapping.id {
                let id = map.next_value::<Option<IdValue>>()?.map(|id| id.0);
                set(&mut record.id, id, &key)?;
            } else if key == self.mapping.vector {
                let vector: Option<Vector> = map.next_value()?;
                if let Some(vector) = vector {
                    let taken = record
                        .vectors
                        .as_ref()
                        .is_some_and(|vectors| vectors.contains_key(&self.mapping.vector_name));
                    if record.vector.is_some() || taken {
                        return Err(twice(&key));
                    }
                    self.mapping.place_vector(&mut record, vector.0);
                }
            } else {
                match key.as_str() {
                    "partition_key" => set(&mut record.partition_key, map.next_value()?, &key)?,
                    "vectors" => {
                        let named: Option<UniqueMap<Vector>> = map.next_value()?;
                        let vectors = record.vectors.get_or_insert_default();
                        for (name, vector) in named.map(|named| named.0).unwrap_or_default() {
                            if vectors.insert(name, vector).is_some() {
                                return Err(twice(&key));
                            }
                        }
                    }
                    "metadata" => {
                        let metadata: Option<StrictObject> = map.next_value()?;
                        set(&mut record.metadata, metadata.map(|metadata| metadata.0), &key)?;
                    }
                    // In rows of others they are fields like any, and belong to the metadata.
                    "region" if !self.mapping.rest => {
                        set(&mut record.region, map.next_value()?, &key)?;
                    }
                    "kind" if !self.mapping.rest => {
                        set(&mut record.kind, map.next_value()?, &key)?;
                    }
                    "ttl_ms" if !self.mapping.rest => {
                        set(&mut record.ttl_ms, map.next_value()?, &key)?;
                    }
                    "expires_at_ms" if !self.mapping.rest => {
                        set(&mut record.expires_at_ms, map.next_value()?, &key)?;
                    }
                    "coordinates" => set(&mut record.coordinates, map.next_value()?, &key)?,
                    "project" => set(&mut record.project, map.next_value()?, &key)?,
                    "if_match" => set(&mut record.if_match, map.next_value()?, &key)?,
                    "if_absent" => set(&mut record.if_absent, map.next_value()?, &key)?,
                    _ if self.mapping.rest => {
                        let StrictValue(value) = map.next_value()?;
                        if rest.insert(key.clone(), value).is_some() {
                            return Err(twice(&key));
                        }
                    }
                    _ => {
                        return Err(A::Error::custom(format_args!(
                            "field {:?} is not part of a record; name the vector's with --vector, \
                             the id's with --id, or put the others into the metadata with --rest",
                            shorten(&key)
                        )));
                    }
                }
            }
        }
        // An empty object counts as no vector at all.
        record.vectors = record.vectors.filter(|vectors| !vectors.is_empty());
        if !rest.is_empty() {
            let metadata = record.metadata.get_or_insert_default();
            for (key, value) in rest {
                if metadata.insert(key.clone(), value).is_some() {
                    return Err(A::Error::custom(format_args!(
                        "field {:?} stands both in the metadata and beside it",
                        shorten(&key)
                    )));
                }
            }
        }
        Ok(record)
    }
}

fn set<T, E: serde::de::Error>(
    field: &mut Option<T>,
    value: Option<T>,
    name: &str,
) -> Result<(), E> {
    if field.is_some() {
        return Err(twice(name));
    }
    *field = value;
    Ok(())
}

fn twice<E: serde::de::Error>(name: &str) -> E {
    E::custom(format_args!("field {:?} stands there twice", shorten(name)))
}

/// An id: text, or an integer taken in its decimal form.
struct IdValue(String);

impl<'de> Deserialize<'de> for IdValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor).map(IdValue)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an id, which is a text or an integer")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_u64<E>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}
