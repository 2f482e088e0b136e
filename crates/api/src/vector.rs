//! Coordinates on the wire.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
    ser::SerializeSeq,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type},
    },
};

/// The coordinates of one point or tangent vector.
///
/// In JSON an array of numbers. In MessagePack an array of integers, 32-bit or 64-bit floats in
/// any mixture, or one binary value: 32-bit little-endian floats one after another, which is what
/// most numeric libraries hold in memory. Written in MessagePack, coordinates that 32 bits hold
/// exactly take 32 bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vector(pub Vec<f64>);

/// How many coordinates are reserved on the word of a length prefix, which a hostile body may
/// set to four billion.
const TRUSTED_LENGTH: usize = 4_096;

const F32_BYTES: usize = size_of::<f32>();

impl From<Vec<f64>> for Vector {
    fn from(coordinates: Vec<f64>) -> Self {
        Self(coordinates)
    }
}

impl From<Vector> for Vec<f64> {
    fn from(vector: Vector) -> Self {
        vector.0
    }
}

impl std::ops::Deref for Vector {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.0
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let human_readable = serializer.is_human_readable();
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for &coordinate in &self.0 {
            #[expect(clippy::cast_possible_truncation, reason = "the loss is what is tested for")]
            let narrow = coordinate as f32;
            // Equal as bits: a NaN stays what it is, and so does the sign of zero.
            if !human_readable && f64::from(narrow).to_bits() == coordinate.to_bits() {
                sequence.serialize_element(&narrow)?;
            } else {
                sequence.serialize_element(&coordinate)?;
            }
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_seq(VectorVisitor)
        } else {
            deserializer.deserialize_any(VectorVisitor)
        }
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vector, A::Error> {
        let capacity = sequence.size_hint().unwrap_or_default().min(TRUSTED_LENGTH);
        let mut coordinates = Vec::with_capacity(capacity);
        while let Some(coordinate) = sequence.next_element::<f64>()? {
            coordinates.push(coordinate);
        }
        Ok(Vector(coordinates))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vector, E> {
        let (chunks, rest) = bytes.as_chunks::<F32_BYTES>();
        if !rest.is_empty() {
            return Err(E::custom(format_args!(
                "a binary vector holds 32-bit little-endian floats, but {} bytes are no multiple \
                 of {F32_BYTES}",
                bytes.len()
            )));
        }
        Ok(Vector(chunks.iter().map(|chunk| f64::from(f32::from_le_bytes(*chunk))).collect()))
    }
}

impl PartialSchema for Vector {
    fn schema() -> RefOr<Schema> {
        let coordinate = ObjectBuilder::new()
            .schema_type(Type::Number)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)));
        ArrayBuilder::new()
            .items(coordinate)
            .description(Some(
                "The coordinates of a point or tangent vector. In MessagePack also a binary \
                 value of 32-bit little-endian floats.",
            ))
            .into()
    }
}

impl ToSchema for Vector {
    fn name() -> Cow<'static, str> {
        "Vector".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A binary value as a client with packed floats writes it.
    struct Packed(Vec<u8>);

    impl Serialize for Packed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    #[test]
    fn json_is_an_array_of_numbers_and_keeps_every_bit() {
        let vector = Vector(vec![0.1, -0.0, 1e-300, 3.0, f64::MAX]);
        let text = serde_json::to_string(&vector).unwrap();
        assert_eq!(text, "[0.1,-0.0,1e-300,3.0,1.7976931348623157e+308]");
        let back: Vector = serde_json::from_str(&text).unwrap();
        for (left, right) in vector.iter().zip(back.iter()) {
            assert_eq!(left.to_bits(), right.to_bits());
        }
        assert_eq!(serde_json::from_str::<Vector>("[1,2]").unwrap().0, [1.0, 2.0]);
    }

    #[test]
    fn messagepack_takes_integers_both_floats_and_packed_bytes() {
        let mixed = rmp_serde::to_vec(&(1_i32, -2_i64, 0.5_f32, 0.1_f64)).unwrap();
        assert_eq!(rmp_serde::from_slice::<Vector>(&mixed).unwrap().0, [1.0, -2.0, 0.5, 0.1]);

        let bytes = [0.5_f32, -3.25].iter().flat_map(|x| x.to_le_bytes()).collect();
        let packed = rmp_serde::to_vec(&Packed(bytes)).unwrap();
        assert_eq!(rmp_serde::from_slice::<Vector>(&packed).unwrap().0, [0.5, -3.25]);

        let torn = rmp_serde::to_vec(&Packed(vec![0; 6])).unwrap();
        let error = rmp_serde::from_slice::<Vector>(&torn).unwrap_err().to_string();
        assert!(error.contains("no multiple of 4"), "{error}");
    }

    #[test]
    fn messagepack_is_short_where_nothing_is_lost() {
        let narrow = rmp_serde::to_vec(&Vector(vec![0.5, f64::from(0.1_f32)])).unwrap();
        assert_eq!(narrow.len(), 1 + 2 * 5);
        let wide = rmp_serde::to_vec(&Vector(vec![0.1])).unwrap();
        assert_eq!(wide.len(), 1 + 9);
        assert_eq!(rmp_serde::from_slice::<Vector>(&wide).unwrap().0, [0.1]);
    }

    #[test]
    fn a_length_prefix_alone_reserves_little() {
        // An array header that promises 2^32 - 1 elements and then ends.
        assert!(rmp_serde::from_slice::<Vector>(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in ["null", "\"1,2\"", "{}", "[null]", "[\"1\"]", "[[1]]", "1", "[1e999]"] {
            assert!(serde_json::from_str::<Vector>(text).is_err(), "{text}");
        }
    }
}
