//! Objects within requests: metadata, filters, and maps of other types.
//!
//! The usual reader of JSON values turns a number that is not finite, which MessagePack can hold,
//! into null, and of a key that occurs twice keeps the last value. Here both are errors, so that
//! what is stored is what was sent.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// How many elements are reserved on the word of a length prefix.
const TRUSTED_LENGTH: usize = 1_024;

/// For `#[serde(deserialize_with)]` on an optional object.
pub(crate) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Map<String, Value>>, D::Error> {
    Ok(Option::<StrictObject>::deserialize(deserializer)?.map(|object| object.0))
}

/// For `#[serde(deserialize_with)]` on a map: refuses a key that occurs twice.
pub(crate) fn unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    deserializer.deserialize_map(UniqueVisitor(PhantomData))
}

/// The same for an optional map.
pub(crate) fn optional_unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, V>>, D::Error> {
    Ok(Option::<UniqueMap<V>>::deserialize(deserializer)?.map(|map| map.0))
}

/// A map that is read only if no key occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub struct UniqueMap<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unique(deserializer).map(Self)
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, V>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// A JSON object that is read only if no key in it occurs twice and every number is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct StrictObject(pub Map<String, Value>);

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor).map(Self)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, StrictValue(value))) = entries.next_entry::<String, StrictValue>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
            }
            object.insert(key, value);
        }
        Ok(object)
    }
}

/// A JSON value, read as strictly as a [`StrictObject`].
#[derive(Clone, Debug, PartialEq)]
pub struct StrictValue(pub Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that JSON has")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(E::custom(format_args!("{value} has no form in JSON"))),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let capacity = elements.size_hint().unwrap_or_default().min(TRUSTED_LENGTH);
        let mut array = Vec::with_capacity(capacity);
        while let Some(StrictValue(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        ObjectVisitor.visit_map(entries).map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{DecodeError, Encoding, PutRecord, decode, encode};

    const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

    #[test]
    fn every_kind_of_value_is_kept() {
        let metadata = json!({
            "null": null, "bool": true, "int": -3, "large": u64::MAX, "float": 0.1, "text": "犬",
            "array": [1, [2, {"deep": []}]], "object": {"a": {"b": {}}}, "": 0,
        });
        for encoding in BOTH {
            let bytes = encode(encoding, &json!({"metadata": metadata})).unwrap();
            let put: PutRecord = decode(encoding, &bytes).unwrap();
            assert_eq!(put.metadata.as_ref(), metadata.as_object());
            let bytes = encode(encoding, &json!({"metadata": null})).unwrap();
            assert_eq!(decode::<PutRecord>(encoding, &bytes).unwrap().metadata, None);
        }
    }

    #[test]
    fn numbers_that_are_not_finite_and_keys_given_twice_are_refused() {
        for value in [f64::NAN, f64::INFINITY] {
            let nested = std::collections::BTreeMap::from([("a", [value])]);
            let body = std::collections::BTreeMap::from([("metadata", nested)]);
            let bytes = encode(Encoding::MessagePack, &body).unwrap();
            let error = decode::<PutRecord>(Encoding::MessagePack, &bytes).unwrap_err();
            assert!(matches!(error, DecodeError::Shape(_)), "{error:?}");
        }
        for text in [r#"{"metadata":{"a":1,"a":2}}"#, r#"{"metadata":{"b":[{"a":1,"a":1}]}}"#] {
            let error = decode::<PutRecord>(Encoding::Json, text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("occurs twice"), "{error}");
        }
        let bytes = encode(Encoding::Json, &json!({"metadata": [1]})).unwrap();
        assert!(decode::<PutRecord>(Encoding::Json, &bytes).is_err());
    }
}
