//! The two encodings of a body, JSON and MessagePack, over the same types.

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// How deep a body may nest. Metadata is the only place that nests at all; a decoder without a
/// bound lets a kilobyte of brackets use up a thread's stack.
pub const MAX_DEPTH: usize = 64;

/// The encoding of a request's or answer's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/msgpack`, structures as maps with named fields.
    MessagePack,
}

/// Media types that mean MessagePack: the name in common use, the registered one, and an old one.
const MESSAGE_PACK: [&str; 3] =
    ["application/msgpack", "application/vnd.msgpack", "application/x-msgpack"];

impl Encoding {
    /// The media type that is sent.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }

    /// The encoding that one media type names, parameters such as `charset` aside.
    pub fn from_content_type(value: &str) -> Option<Self> {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        if MESSAGE_PACK.iter().any(|name| media_type.eq_ignore_ascii_case(name)) {
            return Some(Self::MessagePack);
        }
        let json = media_type.eq_ignore_ascii_case("application/json")
            || media_type.to_ascii_lowercase().ends_with("+json");
        json.then_some(Self::Json)
    }
}

/// Why a body could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the body: {0}")]
pub struct EncodeError(String);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not JSON, or end too early, or go on after the value.
    #[error("{0}")]
    Json(String),
    /// The bytes are not MessagePack, or end too early, or go on after the value.
    #[error("{0}")]
    MessagePack(String),
    /// Well-formed, but not what this request takes: a field is unknown, missing, of another
    /// type, or given twice.
    #[error("{0}")]
    Shape(String),
}

/// Writes `value`; structures become maps with named fields in both encodings.
///
/// # Errors
/// When a map key is no string or a value has no form in the encoding; no type of this crate
/// does that.
pub fn encode<T: Serialize + ?Sized>(
    encoding: Encoding,
    value: &T,
) -> Result<Vec<u8>, EncodeError> {
    match encoding {
        Encoding::Json => serde_json::to_vec(value).map_err(|error| EncodeError(error.to_string())),
        Encoding::MessagePack => {
            rmp_serde::to_vec_named(value).map_err(|error| EncodeError(error.to_string()))
        }
    }
}

/// Reads one value that takes up all of `bytes`.
///
/// # Errors
/// [`DecodeError`], which tells a broken encoding from a wrong shape.
pub fn decode<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<T, DecodeError> {
    match encoding {
        Encoding::Json => decode_json(bytes),
        Encoding::MessagePack => decode_message_pack(bytes),
    }
}

fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    check_json_depth(bytes)?;
    if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<IgnoredAny>(bytes)
            .map_err(|error| DecodeError::Json(error.to_string()))?;
        return Err(DecodeError::Shape(NOT_AN_OBJECT.to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        // The parser's own classes are no help: a value of the wrong type may count as syntax.
        match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(IgnoredAny) => DecodeError::Shape(in_words(&error.to_string())),
            Err(_) => DecodeError::Json(error.to_string()),
        }
    })
}

/// Structures also decode from arrays of their fields, in an order that no document tells.
const NOT_AN_OBJECT: &str = "the body is an array, not an object";

/// The JSON parser has its own, deeper bound; this one makes both encodings refuse the same.
fn check_json_depth(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(DecodeError::Json(too_deep()));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn decode_message_pack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Over a plain reader, because only that one tells where it stopped.
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    deserializer.set_max_depth(MAX_DEPTH + 1);
    if bytes.first().is_some_and(|marker| matches!(marker, 0x90..=0x9f | 0xdc | 0xdd)) {
        IgnoredAny::deserialize(&mut deserializer).map_err(|error| message_pack_error(&error))?;
        return Err(DecodeError::Shape(NOT_AN_OBJECT.to_owned()));
    }
    let value = T::deserialize(&mut deserializer).map_err(|error| {
        let known = message_pack_error(&error);
        if !matches!(known, DecodeError::Shape(_)) {
            return known;
        }
        // A byte that begins no value is reported as a value of the wrong type.
        let mut again = rmp_serde::Deserializer::new(bytes);
        again.set_max_depth(MAX_DEPTH + 1);
        match IgnoredAny::deserialize(&mut again) {
            Ok(IgnoredAny) => known,
            Err(error) => DecodeError::MessagePack(error.to_string()),
        }
    })?;
    let trailing = deserializer.get_ref().len();
    if trailing > 0 {
        let at = bytes.len() - trailing;
        return Err(DecodeError::MessagePack(format!(
            "the value ends at byte {at}, but {trailing} more bytes follow"
        )));
    }
    Ok(value)
}

fn message_pack_error(error: &rmp_serde::decode::Error) -> DecodeError {
    use rmp_serde::decode::Error;

    match error {
        Error::DepthLimitExceeded => DecodeError::MessagePack(too_deep()),
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => {
            DecodeError::MessagePack("the body ends within a value".into())
        }
        Error::Utf8Error(error) => {
            DecodeError::MessagePack(format!("a string is not UTF-8: {error}"))
        }
        Error::TypeMismatch(_)
        | Error::OutOfRange
        | Error::LengthMismatch(_)
        | Error::Uncategorized(_)
        | Error::Syntax(_) => DecodeError::Shape(in_words(&error.to_string())),
    }
}

/// A message about a shape with the types of this program in words.
fn in_words(message: &str) -> String {
    const EXPECTED: &str = "expected ";
    let Some((before, wanted)) = message.rsplit_once(EXPECTED) else { return message.to_owned() };
    let end = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (words, rest) = if let Some(name) = wanted.strip_prefix("struct ") {
        ("an object", name.split_at(end(name)).1)
    } else {
        let (name, rest) = wanted.split_at(end(wanted));
        match name {
            "u8" | "u16" | "u32" | "u64" | "usize" => ("a whole number of at least 0", rest),
            "f32" | "f64" => ("a number", rest),
            _ => return message.to_owned(),
        }
    };
    format!("{before}{EXPECTED}{words}{rest}")
}

fn too_deep() -> String {
    format!("the body nests deeper than {MAX_DEPTH} levels")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: f64,
        name: Option<String>,
    }

    const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

    #[test]
    fn both_encodings_round_trip_by_field_name() {
        let point = Point { x: 0.1, name: Some("p".into()) };
        for encoding in BOTH {
            let bytes = encode(encoding, &point).unwrap();
            assert_eq!(decode::<Point>(encoding, &bytes).unwrap(), point);
            let reordered = encode(encoding, &json!({"name": "p", "x": 0.1})).unwrap();
            assert_eq!(decode::<Point>(encoding, &reordered).unwrap(), point);
        }
    }

    #[test]
    fn broken_bytes_and_wrong_shapes_are_told_apart() {
        for encoding in BOTH {
            let whole = encode(encoding, &json!({"x": 1.0, "name": "abc"})).unwrap();
            let cut = &whole[..whole.len() - 2];
            let longer = [whole.as_slice(), cut].concat();
            for broken in [cut, &longer, b""] {
                let error = decode::<Point>(encoding, broken).unwrap_err();
                let told = match encoding {
                    Encoding::Json => matches!(error, DecodeError::Json(_)),
                    Encoding::MessagePack => matches!(error, DecodeError::MessagePack(_)),
                };
                assert!(told, "{encoding:?} {broken:?} {error:?}");
            }
            // Arrays of fields are no objects, although structures could be read from them.
            for shape in [
                json!([1.0, "p"]),
                json!({"x": "1"}),
                json!({"x": 1.0, "y": 2}),
                json!({}),
                json!(7),
            ] {
                let bytes = encode(encoding, &shape).unwrap();
                let error = decode::<Point>(encoding, &bytes).unwrap_err();
                assert!(matches!(error, DecodeError::Shape(_)), "{encoding:?} {shape} {error:?}");
            }
        }
    }

    #[test]
    fn a_byte_that_begins_no_value_is_not_a_wrong_shape() {
        let bytes = [0x81, 0xa1, b'x', 0xc1];
        let error = decode::<Point>(Encoding::MessagePack, &bytes).unwrap_err();
        assert!(matches!(error, DecodeError::MessagePack(_)), "{error:?}");
        let error = decode::<Point>(Encoding::Json, b"[1.0,").unwrap_err();
        assert!(matches!(error, DecodeError::Json(_)), "{error:?}");
    }

    #[test]
    fn a_wrong_shape_is_told_without_the_types_of_this_program() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only read into")]
        struct Page {
            points: Vec<Point>,
            limit: u64,
        }
        for (body, wanted) in [
            (json!("expected struct Page"), "expected an object"),
            (json!({"points": ["expected u64"]}), "expected an object"),
            (json!({"limit": -1}), "expected a whole number of at least 0"),
            (json!({"limit": 1.5}), "expected a whole number of at least 0"),
            (json!({"points": {}}), "expected a sequence"),
            (json!({"limit": 1}), "missing field `points`"),
        ] {
            for encoding in BOTH {
                let bytes = encode(encoding, &body).unwrap();
                let said = decode::<Page>(encoding, &bytes).unwrap_err().to_string();
                assert!(said.contains(wanted), "{encoding:?} {body}: {said}");
            }
        }
        let said = decode::<Page>(Encoding::Json, br#"{"points": [{"x": "one"}]}"#);
        assert!(said.unwrap_err().to_string().contains("expected a number"));
    }

    #[test]
    fn nesting_is_bounded_alike() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
        for encoding in BOTH {
            let deepest = encode(encoding, &nested(MAX_DEPTH)).unwrap();
            assert!(decode::<Value>(encoding, &deepest).is_ok(), "{encoding:?}");
            let deeper = encode(encoding, &nested(MAX_DEPTH + 1)).unwrap();
            let error = decode::<Value>(encoding, &deeper).unwrap_err();
            assert!(error.to_string().contains("deeper than 64"), "{encoding:?} {error}");
        }
        let brackets_in_a_string = format!("\"\\\"{}\"", "[".repeat(1_000));
        assert!(decode::<Value>(Encoding::Json, brackets_in_a_string.as_bytes()).is_ok());
    }

    #[test]
    fn media_types() {
        for (text, encoding) in [
            ("application/json", Some(Encoding::Json)),
            ("Application/JSON; charset=utf-8", Some(Encoding::Json)),
            ("application/problem+json", Some(Encoding::Json)),
            ("application/msgpack", Some(Encoding::MessagePack)),
            ("application/vnd.msgpack", Some(Encoding::MessagePack)),
            ("application/x-msgpack", Some(Encoding::MessagePack)),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Encoding::from_content_type(text), encoding, "{text}");
        }
    }
}
