//! What a value looks like in TiKV: `[1] [16 bytes: random id of the call that wrote it] [value]`.

use super::TikvError;

/// First byte of this form.
const FORM: u8 = 1;
/// Bytes before the value.
const HEAD: usize = 1 + 16;

/// A value with the id of the call that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// Gives the value an id that no other has.
    pub(super) fn new(value: &[u8]) -> Self {
        let id: [u8; HEAD - 1] = rand::random();
        Self([&[FORM], &id[..], value].concat())
    }

    /// Reads what TiKV holds.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, TikvError> {
        if bytes.len() < HEAD || bytes.first() != Some(&FORM) {
            return Err(TikvError::Foreign { bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn value(&self) -> &[u8] {
        self.0.get(HEAD..).unwrap_or_default()
    }

    pub(super) fn into_value(mut self) -> Vec<u8> {
        self.0.drain(..HEAD.min(self.0.len()));
        self.0
    }

    /// Whether both are of the same call.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.0.get(..HEAD) == other.0.get(..HEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_knows_its_call() {
        for value in [&b""[..], b"x", &[0; 100]] {
            let frame = Frame::new(value);
            let read = Frame::parse(frame.bytes().to_vec()).unwrap();
            assert!(read.is_of(&frame));
            assert!(!read.is_of(&Frame::new(value)), "two calls share an id");
            assert_eq!(read.value(), value);
            assert_eq!(read.into_value(), value);
        }
    }

    #[test]
    fn what_another_program_wrote_is_told_as_such() {
        for bytes in [vec![], vec![FORM; HEAD - 1], vec![2; 100]] {
            let length = bytes.len();
            let refused = Frame::parse(bytes);
            assert!(matches!(refused, Err(TikvError::Foreign { bytes }) if bytes == length));
        }
    }
}
