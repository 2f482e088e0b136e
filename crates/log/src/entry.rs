//! The format of a log entry.
//!
//! ```text
//! offset  bytes  field (integers little-endian)
//!      0      4  magic "HVSL"
//!      4      1  format version, 1
//!      5      1  kind: 0 barrier, 1 data
//!      6      8  epoch
//!     14      8  seq
//!     22      8  incarnation of the writer
//!     30     16  attempt id
//!     46     32  BLAKE3 of the whole entry before this one; zeros for the first
//!     78      1  length of the writer's node id, 1 to 255
//!     79      n  node id, UTF-8
//!      .      4  length of the payload
//!      .      p  payload
//!      .      4  CRC-32C of everything before
//! ```
//!
//! The checksum finds damage at rest; the chain finds an entry that is whole but not the one that
//! its successor was built on.

use std::fmt;

/// Largest entry, frame included: the largest message of a contract fits, and every store below
/// takes it in one piece.
pub const MAX_ENTRY_BYTES: usize = 2 << 20;
/// Longest node id, in bytes of UTF-8.
pub const MAX_NODE_BYTES: usize = 255;
/// Bytes of an entry that are not payload, with the longest node id.
pub const ENTRY_OVERHEAD_BYTES: usize = FIXED_BYTES + MAX_NODE_BYTES;

const FIXED_BYTES: usize = 4 + 1 + 1 + 8 + 8 + 8 + 16 + 32 + 1 + 4 + 4;
const MAGIC: [u8; 4] = *b"HVSL";
const FORMAT_VERSION: u8 = 1;

/// One slot of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Place in the log; the first entry has 1.
    pub seq: u64,
    /// Leader count of the shard.
    pub epoch: u64,
    /// What it is for.
    pub kind: EntryKind,
    /// Who wrote it.
    pub writer: Writer,
    /// Random for each proposal, so that a writer knows its own.
    pub attempt: AttemptId,
    /// Of the entry before it.
    pub previous: EntryHash,
    /// For the state machine; empty in a barrier.
    pub payload: Vec<u8>,
}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The first entry of an epoch. It changes nothing but ends all lower epochs.
    Barrier,
    /// Operations for the state machine.
    Data,
}

/// Identity of a writing process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Id of the node, 1 to [`MAX_NODE_BYTES`] bytes.
    pub node: String,
    /// Counts the sessions of the node.
    pub incarnation: u64,
}

/// Tells one proposal from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId(pub [u8; 16]);

/// BLAKE3 of an encoded entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EntryHash(pub [u8; 32]);

impl EntryHash {
    /// What the first entry of a log carries as the hash of the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of an encoded entry.
    pub fn of(encoded: &[u8]) -> Self {
        Self(*blake3::hash(encoded).as_bytes())
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for EntryHash {
    /// The first eight bytes in hexadecimal: enough to compare by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedEntry {
    /// It ends too early.
    #[error("it has {got} bytes and ends within the {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Length of the whole.
        got: usize,
    },
    /// It goes on after its end.
    #[error("{bytes} bytes follow its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// It is larger than an entry can be.
    #[error("it has {bytes} bytes, an entry has at most {MAX_ENTRY_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It starts differently.
    #[error("it does not start as a log entry does")]
    Magic,
    /// A later version wrote it.
    #[error(
        "it was made by a newer version of HVS: it has format {version}, this version reads \
         {FORMAT_VERSION}; upgrade to that version"
    )]
    Version {
        /// The version found.
        version: u8,
    },
    /// The checksum does not match.
    #[error("its checksum is {stored:08x}, its content has {computed:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// Of what is there.
        computed: u32,
    },
    /// A field has a value that no writer writes.
    #[error("its {field} is not valid")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// It sits at another place than it says.
    #[error("it says that it is entry {found}")]
    Misplaced {
        /// The seq inside.
        found: u64,
    },
    /// It was built on another entry than the one before it.
    #[error("it was built on entry {expected}, but the one before it is {found}")]
    Chain {
        /// Hash that it carries.
        expected: EntryHash,
        /// Hash of the entry before it.
        found: EntryHash,
    },
}

impl DamagedEntry {
    /// What is said of the entry before the reason.
    pub(crate) fn verdict(&self) -> &'static str {
        if matches!(self, Self::Version { .. }) { "cannot be read" } else { "is damaged" }
    }
}

impl Entry {
    /// The bytes that are stored. The caller keeps to the limits of node id and payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let node = self.writer.node.as_bytes();
        let mut out = Vec::with_capacity(FIXED_BYTES + node.len() + self.payload.len());
        out.extend_from_slice(&MAGIC);
        out.push(FORMAT_VERSION);
        out.push(match self.kind {
            EntryKind::Barrier => 0,
            EntryKind::Data => 1,
        });
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.writer.incarnation.to_le_bytes());
        out.extend_from_slice(&self.attempt.0);
        out.extend_from_slice(&self.previous.0);
        out.push(u8::try_from(node.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(node);
        out.extend_from_slice(&u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.payload);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads what `Entry::encode` wrote. Takes any bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DamagedEntry> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(DamagedEntry::TooLarge { bytes: bytes.len() });
        }
        let mut reader = Reader { rest: bytes, total: bytes.len() };
        if reader.array::<4>("magic")? != MAGIC {
            return Err(DamagedEntry::Magic);
        }
        let [version, kind] = reader.array("version")?;
        match version {
            FORMAT_VERSION => {}
            0 => return Err(DamagedEntry::Field { field: "format" }),
            version => return Err(DamagedEntry::Version { version }),
        }
        // Before any field is believed.
        check_sum(bytes)?;
        let kind = match kind {
            0 => EntryKind::Barrier,
            1 => EntryKind::Data,
            _ => return Err(DamagedEntry::Field { field: "kind" }),
        };
        let epoch = u64::from_le_bytes(reader.array("epoch")?);
        let seq = u64::from_le_bytes(reader.array("seq")?);
        let incarnation = u64::from_le_bytes(reader.array("incarnation")?);
        let attempt = AttemptId(reader.array("attempt id")?);
        let previous = EntryHash(reader.array("hash of the entry before")?);
        let [node_length] = reader.array("length of the node id")?;
        let node = reader.take("node id", node_length.into())?;
        let node = std::str::from_utf8(node)
            .ok()
            .filter(|node| !node.is_empty())
            .ok_or(DamagedEntry::Field { field: "node id" })?
            .to_owned();
        let payload_length = u32::from_le_bytes(reader.array("length of the payload")?);
        let payload_length = usize::try_from(payload_length).unwrap_or(usize::MAX);
        let payload = reader.take("payload", payload_length)?.to_vec();
        reader.array::<4>("checksum")?;
        if !reader.rest.is_empty() {
            return Err(DamagedEntry::Trailing { bytes: reader.rest.len() });
        }
        let writer = Writer { node, incarnation };
        Ok(Self { seq, epoch, kind, writer, attempt, previous, payload })
    }
}

fn check_sum(bytes: &[u8]) -> Result<(), DamagedEntry> {
    let Some((content, stored)) = bytes.split_last_chunk::<4>() else {
        return Err(DamagedEntry::Truncated { field: "checksum", got: bytes.len() });
    };
    let (stored, computed) = (u32::from_le_bytes(*stored), crc32c::crc32c(content));
    if stored != computed {
        return Err(DamagedEntry::Checksum { stored, computed });
    }
    Ok(())
}

struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DamagedEntry> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(DamagedEntry::Truncated { field, got: self.total });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DamagedEntry> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(DamagedEntry::Truncated { field, got: self.total });
        };
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Entry {
        Entry {
            seq: 7,
            epoch: 3,
            kind: EntryKind::Data,
            writer: Writer { node: "node-a".into(), incarnation: 2 },
            attempt: AttemptId([0x11; 16]),
            previous: EntryHash([0x22; 32]),
            payload: b"payload".to_vec(),
        }
    }

    /// Entries of the first format must be readable for ever: the file is never written again.
    #[test]
    fn golden_bytes_of_format_1() {
        let golden = include_bytes!("../golden/entry_v1.bin");
        assert_eq!(Entry::decode(golden), Ok(example()));
        assert_eq!(example().encode(), golden);
    }

    #[test]
    fn damage_is_named() {
        let bytes = example().encode();
        assert_eq!(Entry::decode(b"HV"), Err(DamagedEntry::Truncated { field: "magic", got: 2 }));
        assert_eq!(Entry::decode(b"XXXX----"), Err(DamagedEntry::Magic));
        let mut newer = bytes.clone();
        newer[4] = 2;
        assert_eq!(Entry::decode(&newer), Err(DamagedEntry::Version { version: 2 }));
        let mut too_large = bytes.clone();
        too_large.resize(MAX_ENTRY_BYTES + 1, 0);
        let refused = Entry::decode(&too_large);
        assert_eq!(refused, Err(DamagedEntry::TooLarge { bytes: MAX_ENTRY_BYTES + 1 }));
        // A whole entry with something after it, under a checksum that covers both.
        let mut longer = bytes[..bytes.len() - 4].to_vec();
        longer.extend_from_slice(b"    x");
        let checksum = crc32c::crc32c(&longer);
        longer.extend_from_slice(&checksum.to_le_bytes());
        assert_eq!(Entry::decode(&longer), Err(DamagedEntry::Trailing { bytes: 5 }));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = example().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Entry::decode(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn the_overhead_is_what_the_limit_assumes() {
        let mut entry = example();
        entry.writer.node = "n".repeat(MAX_NODE_BYTES);
        entry.payload = vec![0; MAX_ENTRY_BYTES - ENTRY_OVERHEAD_BYTES];
        let bytes = entry.encode();
        assert_eq!(bytes.len(), MAX_ENTRY_BYTES);
        assert_eq!(Entry::decode(&bytes), Ok(entry));
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let ids = (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>());
        let node = proptest::collection::vec(any::<char>(), 1..20);
        let bytes = (any::<[u8; 16]>(), any::<[u8; 32]>());
        (ids, node, bytes, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
            |((seq, epoch, incarnation, barrier), node, (attempt, previous), payload)| Entry {
                seq,
                epoch,
                kind: if barrier { EntryKind::Barrier } else { EntryKind::Data },
                writer: Writer { node: node.into_iter().collect(), incarnation },
                attempt: AttemptId(attempt),
                previous: EntryHash(previous),
                payload,
            },
        )
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(entry in entries()) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Entry::decode(&bytes).is_err());
        }

        // Behind a right magic, version and checksum the fields themselves are reached.
        #[test]
        fn arbitrary_fields_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = [&MAGIC[..], &[FORMAT_VERSION], &body].concat();
            let checksum = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
