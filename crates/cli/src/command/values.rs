//! Values of the command line that are more than a word.

use std::io::{self, Read as _};

use clap::ValueEnum;
use hvs_api::{
    Compression, Coordinates, Durability, Filter, PayloadIndex, PayloadIndexing, PayloadType,
    StrictObject, StrictValue, Vector,
};
use serde_json::{Map, Value};

use crate::{error::CliError, read::parse_coordinates};

/// Coordinates as a list with commas or blanks, as a JSON array, or `-` for the standard input.
pub(crate) fn vector(text: &str) -> Result<Vector, CliError> {
    coordinates("--vector", text).map(Vector)
}

/// The same for the argument called `name`.
pub(crate) fn coordinates(name: &str, text: &str) -> Result<Vec<f64>, CliError> {
    let unusable = |reason: String| CliError::Usage(format!("{name}: {reason}"));
    if text != "-" {
        return parse_coordinates(text).map_err(|error| unusable(error.to_string()));
    }
    let mut input = String::new();
    io::stdin()
        .read_to_string(&mut input)
        .map_err(|error| CliError::System(format!("standard input: {error}")))?;
    let coordinates = parse_coordinates(&input).map_err(|error| unusable(error.to_string()))?;
    if coordinates.is_empty() {
        return Err(unusable("the standard input holds no coordinates".to_owned()));
    }
    Ok(coordinates)
}

pub(crate) fn metadata(text: &str) -> Result<Map<String, Value>, CliError> {
    match serde_json::from_str(text) {
        Ok(StrictObject(metadata)) => Ok(metadata),
        Err(error) => Err(CliError::Usage(format!("--metadata is not a JSON object: {error}"))),
    }
}

/// `field=value` pairs; a value that is JSON is taken as that, everything else as text, unless it
/// begins as JSON that is no single word does.
pub(crate) fn filter(pairs: &[String]) -> Result<Option<Filter>, CliError> {
    let mut filter = Filter::new();
    for pair in pairs {
        let Some((field, value)) = pair.split_once('=') else {
            return Err(CliError::Usage(format!(
                "--filter {pair:?} is not of the form FIELD=VALUE, such as kind=dog or year=1999"
            )));
        };
        let value = match serde_json::from_str(value) {
            Ok(StrictValue(value)) => value,
            // JSON all the same, but with a key twice.
            Err(error) if serde_json::from_str::<Value>(value).is_ok() => {
                return Err(CliError::Usage(format!("--filter {pair:?}: {error}")));
            }
            Err(error) if value.starts_with(['{', '[', '"']) => {
                return Err(CliError::Usage(format!(
                    "--filter {pair:?} begins as JSON and is none: {error}; a text that begins so \
                     is to be put in double quotes"
                )));
            }
            Err(_) => Value::String(value.to_owned()),
        };
        if filter.insert(field.to_owned(), value).is_some() {
            return Err(CliError::Usage(format!("--filter names the field {field:?} twice")));
        }
    }
    Ok((!filter.is_empty()).then_some(filter))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CoordinatesArg {
    /// All coordinates.
    Ambient,
    /// Hyperboloid: the n spatial ones, without time.
    Spatial,
}

pub(crate) fn coordinates_kind(argument: Option<CoordinatesArg>) -> Option<Coordinates> {
    argument.map(|argument| match argument {
        CoordinatesArg::Ambient => Coordinates::Ambient,
        CoordinatesArg::Spatial => Coordinates::Spatial,
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// When in memory, and lost at a restart.
    Memory,
    /// When written in order, though not yet forced to the disk.
    Buffered,
    /// When forced to the disk.
    Sync,
}

pub(crate) fn durability_kind(argument: Option<DurabilityArg>) -> Option<Durability> {
    argument.map(|argument| match argument {
        DurabilityArg::Memory => Durability::Memory,
        DurabilityArg::Buffered => Durability::Buffered,
        DurabilityArg::Sync => Durability::Sync,
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PayloadIndexingArg {
    /// Every field, as far as the node's limits go.
    Auto,
    /// Those that are declared.
    Declared,
}

impl PayloadIndexingArg {
    pub(crate) fn indexing(self) -> PayloadIndexing {
        match self {
            Self::Auto => PayloadIndexing::Auto,
            Self::Declared => PayloadIndexing::Declared,
        }
    }
}

/// `PATH:TYPE`. The path may have colons, a type has none.
pub(crate) fn payload_index(text: &str) -> Result<PayloadIndex, String> {
    let Some((field, kind)) = text.rsplit_once(':') else {
        return Err("it is not of the form PATH:TYPE, such as year:integer".to_owned());
    };
    let kind = match kind {
        "keyword" => PayloadType::Keyword,
        "integer" => PayloadType::Integer,
        "float" => PayloadType::Float,
        "bool" => PayloadType::Bool,
        "datetime" => PayloadType::Datetime,
        other => {
            return Err(format!(
                "the type is {other:?}, it must be keyword, integer, float, bool or datetime"
            ));
        }
    };
    Ok(PayloadIndex { field: field.to_owned(), kind })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Not at all.
    None,
    /// Quick.
    Lz4,
    /// Small.
    Zstd,
}

pub(crate) fn compression_kind(argument: Option<CompressionArg>) -> Option<Compression> {
    argument.map(|argument| match argument {
        CompressionArg::None => Compression::None,
        CompressionArg::Lz4 => Compression::Lz4,
        CompressionArg::Zstd => Compression::Zstd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_json_and_words() {
        let pairs = ["kind=dog", "year=1999", "open=true", "name=\"7\"", "a.b=x=y"];
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        let filter = filter(&pairs).unwrap().unwrap();
        let expected = serde_json::json!(
            {"kind": "dog", "year": 1999, "open": true, "name": "7", "a.b": "x=y"}
        );
        assert_eq!(Value::Object(filter), expected);
    }

    #[test]
    fn filters_that_say_nothing_or_too_much_are_refused() {
        assert_eq!(super::filter(&[]).unwrap(), None);
        assert!(super::filter(&["kind".to_owned()]).is_err());
        assert!(super::filter(&["a=1".to_owned(), "a=2".to_owned()]).is_err());
        assert!(super::filter(&[r#"a={"b":1,"b":2}"#.to_owned()]).is_err());
    }

    #[test]
    fn declared_fields_are_read_with_their_types() {
        let read = |text: &str| payload_index(text).map(|index| (index.field, index.kind));
        assert_eq!(read("a.b:integer"), Ok(("a.b".to_owned(), PayloadType::Integer)));
        assert_eq!(read("a:b:bool"), Ok(("a:b".to_owned(), PayloadType::Bool)));
        for wrong in ["", "year", "year:", "year:number", "year:Integer"] {
            assert!(payload_index(wrong).is_err(), "{wrong}");
        }
    }
}
