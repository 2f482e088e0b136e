//! What a record is made of, and the rules for its parts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hvs_geometry::PointError;

/// Longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 512;
/// Longest partition key, in bytes of UTF-8.
pub const MAX_PARTITION_KEY_BYTES: usize = 512;
/// Longest region, kind or vector name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 255;
/// The kind of a record that names none.
pub const DEFAULT_KIND: &str = "vector";

/// JSON metadata. Keys are sorted, so that equal metadata has equal bytes.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// The vectors of a record by name, in ambient coordinates of each vector's space. The default
/// name is the empty string.
pub type Vectors = BTreeMap<String, Vec<f64>>;

/// A stored record, as reads return it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// 1 to [`MAX_ID_BYTES`] bytes without control characters; compared as bytes.
    pub id: String,
    /// What chooses the shard instead of the id.
    pub partition_key: Option<String>,
    /// Ambient coordinates, as precise as the namespace stores them.
    pub vectors: Vectors,
    /// What the writer attached.
    pub metadata: Metadata,
    /// The named part of the namespace that the record lives in.
    pub region: Option<String>,
    /// What the record is for: `vector`, `message`, `state`, ...
    pub kind: String,
    /// Counts the writes of this id, deletes included, from 1.
    pub version: u64,
    /// Which write made this version. Conditions compare it.
    pub etag: Etag,
    /// When, by the hybrid logical clock of the shard.
    pub timestamp: Timestamp,
    /// BLAKE3 of what the writer gave (id, partition key, vectors, metadata, region, kind,
    /// expiry): equal content has an equal hash in every shard and instance.
    pub content_hash: [u8; 32],
    /// When the record ceases to exist, in milliseconds since 1970 by the shard's clock.
    pub expires_at: Option<u64>,
}

/// A record to be put: everything but what the shard itself assigns.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    /// See [`Record::id`].
    pub id: String,
    /// See [`Record::partition_key`].
    pub partition_key: Option<String>,
    /// Ambient coordinates, already validated or projected for the vector's space.
    pub vectors: Vectors,
    /// See [`Record::metadata`].
    pub metadata: Metadata,
    /// See [`Record::region`].
    pub region: Option<String>,
    /// See [`Record::kind`].
    pub kind: String,
    /// When the record ceases to exist, if ever.
    pub expiry: Option<Expiry>,
}

/// When a record ceases to exist. From then on no read returns it and conditions see no record;
/// the shard deletes it soon after, which leaves a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// At this time, in milliseconds since 1970.
    At(u64),
    /// So many milliseconds after the shard takes the write in, by its clock.
    After(u64),
}

impl Expiry {
    /// The time, in milliseconds since 1970, up to what a clock of the shard can show.
    pub(crate) fn at(self, now: Timestamp) -> u64 {
        match self {
            Self::At(at) => at.min(Timestamp::MAX_MILLIS),
            Self::After(ttl) => now.millis().saturating_add(ttl).min(Timestamp::MAX_MILLIS),
        }
    }
}

/// What to change of a record. What is none, or not named, stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    /// In place of the vectors of these names.
    pub vectors: Vectors,
    /// A merge patch of the metadata: objects are merged, null removes a member, everything else
    /// replaces it (RFC 7396).
    pub metadata: Option<Metadata>,
    /// The new region, or none to have none.
    pub region: Option<Option<String>>,
    /// The new expiry, or none to have none.
    pub expiry: Option<Option<Expiry>>,
}

impl NewRecord {
    /// A record with one vector under the default name and nothing else.
    pub fn new(id: impl Into<String>, vector: Vec<f64>) -> Self {
        Self {
            id: id.into(),
            partition_key: None,
            vectors: Vectors::from([(String::new(), vector)]),
            metadata: Metadata::new(),
            region: None,
            kind: DEFAULT_KIND.to_owned(),
            expiry: None,
        }
    }
}

/// Names one write of a shard: equal etags mean the same version of the same record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Etag {
    /// Leader count of the shard when the write was logged.
    pub epoch: u64,
    /// Log entry that holds the write.
    pub seq: u64,
    /// Position of the operation in that entry.
    pub index: u32,
}

impl fmt::Display for Etag {
    /// Three hexadecimal numbers with dots between them: `epoch.seq.index`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{:x}", self.epoch, self.seq, self.index)
    }
}

/// The text is not an etag that a shard gave out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an etag; one looks like \"1.2f.0\", exactly as a read or write returned it"
)]
pub struct EtagError {
    /// What was given.
    pub text: String,
}

impl FromStr for Etag {
    type Err = EtagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || EtagError { text: text.chars().take(80).collect() };
        // One spelling only: no sign, no upper case, no leading zeros.
        let number = |part: Option<&str>| {
            let part = part.ok_or_else(refuse)?;
            let value = u64::from_str_radix(part, 16).map_err(|_| refuse())?;
            if format!("{value:x}") == part { Ok(value) } else { Err(refuse()) }
        };
        let mut parts = text.split('.');
        let epoch = number(parts.next())?;
        let seq = number(parts.next())?;
        let index = u32::try_from(number(parts.next())?).map_err(|_| refuse())?;
        if parts.next().is_some() {
            return Err(refuse());
        }
        Ok(Self { epoch, seq, index })
    }
}

/// A reading of a hybrid logical clock: 48 bits of milliseconds since 1970, 16 bits of counter.
/// It follows the wall clock and never goes back within a shard; what a restart takes of records
/// that were in memory alone, it takes of their readings as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    const COUNTER_BITS: u32 = 16;
    /// The last millisecond that has a reading.
    pub(crate) const MAX_MILLIS: u64 = (1 << 48) - 1;

    /// The first reading of a millisecond. Milliseconds beyond 48 bits are cut to the maximum.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(Self::MAX_MILLIS) << Self::COUNTER_BITS)
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }

    /// Position within the millisecond.
    pub fn counter(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or(u16::MAX)
    }

    /// The reading `ticks` later. The counter runs over into the milliseconds.
    #[must_use]
    pub fn plus(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }
}

/// Why a record, or an id, is refused before it is logged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// Ids have at least one byte.
    #[error("the id is empty; it must have 1 to {MAX_ID_BYTES} bytes")]
    EmptyId,
    /// A text is longer than its limit.
    #[error("the {what} has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A text holds a character that terminals and logs would act upon.
    #[error("the {what} contains the control character U+{code:04X} at byte {at}")]
    ControlCharacter {
        /// Which text.
        what: &'static str,
        /// The character's code point.
        code: u32,
        /// Byte offset in the text.
        at: usize,
    },
    /// A text that names something is empty.
    #[error("the {what} is empty; leave it out instead")]
    Empty {
        /// Which text.
        what: &'static str,
    },
    /// The namespace has no vector of that name.
    #[error("there is no vector named {name:?} here; the vectors are {known:?}")]
    UnknownVector {
        /// The name given.
        name: String,
        /// Names that the namespace has.
        known: Vec<String>,
    },
    /// The vector is not a point of its space, or not one that the stored precision can hold.
    #[error("the vector {name:?}: {source}")]
    Point {
        /// Name of the vector.
        name: String,
        /// What is wrong with it.
        source: PointError,
    },
    /// The metadata has no JSON text.
    #[error("the metadata cannot be written as JSON: {reason}")]
    Metadata {
        /// Why.
        reason: String,
    },
}

/// Checks an id against the rules of [`Record::id`].
pub fn check_id(id: &str) -> Result<(), InvalidRecord> {
    if id.is_empty() {
        return Err(InvalidRecord::EmptyId);
    }
    check_text("id", id, MAX_ID_BYTES)
}

/// Checks an optional text: if there, it is not empty, not too long and without control
/// characters.
pub(crate) fn check_optional(
    what: &'static str,
    text: Option<&str>,
    limit: usize,
) -> Result<(), InvalidRecord> {
    match text {
        None => Ok(()),
        Some("") => Err(InvalidRecord::Empty { what }),
        Some(text) => check_text(what, text, limit),
    }
}

fn check_text(what: &'static str, text: &str, limit: usize) -> Result<(), InvalidRecord> {
    if text.len() > limit {
        return Err(InvalidRecord::TooLong { what, bytes: text.len(), limit });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, c)) => Err(InvalidRecord::ControlCharacter { what, code: c.into(), at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_accepted_up_to_the_limit_and_in_any_script() {
        assert_eq!(check_id("a"), Ok(()));
        assert_eq!(check_id("犬/δ #?%"), Ok(()));
        assert_eq!(check_id(&"x".repeat(MAX_ID_BYTES)), Ok(()));
        assert_eq!(
            check_id(&"x".repeat(MAX_ID_BYTES + 1)),
            Err(InvalidRecord::TooLong { what: "id", bytes: 513, limit: 512 })
        );
        assert_eq!(check_id(""), Err(InvalidRecord::EmptyId));
    }

    #[test]
    fn control_characters_are_refused_with_their_place() {
        for text in ["a\nb", "a\u{0}b", "a\u{7f}b", "a\u{85}b"] {
            let Err(InvalidRecord::ControlCharacter { at, .. }) = check_id(text) else {
                panic!("{text:?} was accepted");
            };
            assert_eq!(at, 1);
        }
    }

    #[test]
    fn etags_have_one_spelling() {
        let etag = Etag { epoch: 1, seq: 0x2f, index: 16 };
        assert_eq!(etag.to_string(), "1.2f.10");
        assert_eq!("1.2f.10".parse(), Ok(etag));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2F.3", "01.2.3", "+1.2.3", "1.2.100000000"] {
            assert!(text.parse::<Etag>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn timestamps_carry_the_counter_into_the_milliseconds() {
        let last = Timestamp::from_millis(5).plus(0xffff);
        assert_eq!((last.millis(), last.counter()), (5, 0xffff));
        let next = last.plus(1);
        assert_eq!((next.millis(), next.counter()), (6, 0));
        assert_eq!(Timestamp::from_millis(u64::MAX).millis(), (1 << 48) - 1);
    }
}
