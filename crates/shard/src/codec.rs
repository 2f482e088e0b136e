//! The primitives that every stored format of a shard is made of: integers of seven bits a byte
//! (least significant first, shortest form only), fixed integers in little-endian, and bytes
//! behind their length.

/// Why bytes do not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    /// It ends too early.
    #[error("it ends within the {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A field has a value that no writer writes.
    #[error("its {field} is not valid")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// A later version wrote it.
    #[error(
        "it was made by a newer version of HVS: it has format {found}, this version reads {known}; \
         upgrade to that version"
    )]
    Version {
        /// As stored.
        found: u8,
        /// What this build writes.
        known: u8,
    },
    /// It goes on after its end.
    #[error("{bytes} bytes follow its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// No version was ever below 1.
fn not_known(found: u8, known: u8) -> DecodeError {
    if found > known {
        DecodeError::Version { found, known }
    } else {
        DecodeError::Field { field: "format version" }
    }
}

/// Appends a variable-length integer, 1 to 10 bytes.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

/// Appends bytes behind their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above wrote, from any bytes.
#[derive(Debug, Clone)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    pub(crate) fn version(&mut self, known: u8) -> Result<(), DecodeError> {
        match self.u8("format version")? {
            found if found == known => Ok(()),
            found => Err(not_known(found, known)),
        }
    }

    /// A version from 1 to the last one known.
    pub(crate) fn version_up_to(&mut self, known: u8) -> Result<u8, DecodeError> {
        match self.u8("format version")? {
            found if (1..=known).contains(&found) => Ok(found),
            found => Err(not_known(found, known)),
        }
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            let bits = u64::from(byte & 0x7f);
            let fits = bits << shift >> shift == bits;
            let shortest = byte != 0 || shift == 0;
            if !fits || (byte < 0x80 && !shortest) {
                return Err(DecodeError::Field { field });
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Field { field })
    }

    pub(crate) fn varint_u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint(field)?).map_err(|_| DecodeError::Field { field })
    }

    /// A count of things that take at least one byte each, so that a wrong one cannot make anyone
    /// reserve more memory than there are bytes.
    pub(crate) fn count(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint(field)?).unwrap_or(usize::MAX);
        if count > self.rest.len() {
            return Err(DecodeError::Truncated { field });
        }
        Ok(count)
    }

    pub(crate) fn take(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint(field)?).unwrap_or(usize::MAX);
        self.take(length, field)
    }

    pub(crate) fn str(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::Field { field })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varints_have_one_form() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(Decoder::new(bytes).varint("x"), Ok(value));
        }
        let field = Err(DecodeError::Field { field: "x" });
        assert_eq!(Decoder::new(&[0x80, 0]).varint("x"), field, "a longer form of 0");
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(Decoder::new(&too_large).varint("x"), field);
        let truncated = Err(DecodeError::Truncated { field: "x" });
        assert_eq!(Decoder::new(&[0x80]).varint("x"), truncated);
    }

    #[test]
    fn counts_never_exceed_the_bytes_that_are_left() {
        let mut out = Vec::new();
        put_varint(&mut out, 1 << 40);
        out.push(0);
        assert!(Decoder::new(&out).count("x").is_err());
        assert_eq!(Decoder::new(&[1, 0]).count("x"), Ok(1));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(number: u64, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            put_bytes(&mut out, &bytes);
            let mut decoder = Decoder::new(&out);
            prop_assert_eq!(decoder.varint("n"), Ok(number));
            prop_assert_eq!(decoder.bytes("b"), Ok(&bytes[..]));
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn what_decodes_is_what_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut decoder = Decoder::new(&bytes);
            if let Ok(value) = decoder.varint("x") {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                out.extend_from_slice(decoder.rest());
                prop_assert_eq!(out, bytes);
            }
        }
    }
}
