//! The values beside the entries: who leads, and from where on the log is kept.
//!
//! Both are `version (1), fields, CRC-32C`, integers little-endian.

use crate::entry::{AttemptId, EntryHash, MAX_NODE_BYTES, Writer};

pub(crate) const FORMAT_VERSION: u8 = 1;
const LEADER: &str = "leader";
const FLOOR: &str = "floor";

/// Who leads a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderRecord {
    /// Counts the leaders of the shard, from 1.
    pub epoch: u64,
    /// Who it is.
    pub writer: Writer,
    /// Random for each proposal: a compare-and-swap whose reply was lost must not look like a
    /// lost race.
    pub attempt: AttemptId,
}

/// Up to where a log has been trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floor {
    /// Highest seq that may be gone; 0 when nothing is.
    pub seq: u64,
    /// Hash of that entry, so that the chain can be checked from the first kept one on.
    pub hash: EntryHash,
}

/// Why bytes are not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedRecord {
    /// They do not decode, or have another checksum.
    #[error("the {what} record of the log is damaged")]
    Damaged {
        /// Which record.
        what: &'static str,
    },
    /// A later version wrote them.
    #[error(
        "the {what} record of the log was made by a newer version of HVS: it has format {version}, \
         this version reads {FORMAT_VERSION}; upgrade to that version"
    )]
    Version {
        /// Which record.
        what: &'static str,
        /// The version found.
        version: u8,
    },
}

impl LeaderRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.writer.incarnation.to_le_bytes());
        out.extend_from_slice(&self.attempt.0);
        out.extend_from_slice(self.writer.node.as_bytes());
        seal(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DamagedRecord> {
        let damaged = || DamagedRecord::Damaged { what: LEADER };
        let fields = unseal(LEADER, bytes)?;
        let (epoch, rest) = fields.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (incarnation, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (attempt, node) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        if node.is_empty() || node.len() > MAX_NODE_BYTES {
            return Err(damaged());
        }
        let node = std::str::from_utf8(node).map_err(|_| damaged())?.to_owned();
        Ok(Self {
            epoch: u64::from_le_bytes(*epoch),
            writer: Writer { node, incarnation: u64::from_le_bytes(*incarnation) },
            attempt: AttemptId(*attempt),
        })
    }
}

impl Floor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.hash.0);
        seal(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DamagedRecord> {
        let damaged = || DamagedRecord::Damaged { what: FLOOR };
        let fields = unseal(FLOOR, bytes)?;
        let (seq, hash) = fields.split_first_chunk::<8>().ok_or_else(damaged)?;
        let hash = EntryHash(hash.try_into().map_err(|_| damaged())?);
        Ok(Self { seq: u64::from_le_bytes(*seq), hash })
    }
}

pub(crate) fn seal(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&content);
    content.extend_from_slice(&checksum.to_le_bytes());
    content
}

pub(crate) fn unseal<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], DamagedRecord> {
    let sealed = bytes
        .split_last_chunk::<4>()
        .filter(|(content, checksum)| crc32c::crc32c(content) == u32::from_le_bytes(**checksum));
    match sealed.and_then(|(content, _)| content.split_first()) {
        Some((&FORMAT_VERSION, fields)) => Ok(fields),
        Some((&version, _)) if version > FORMAT_VERSION => {
            Err(DamagedRecord::Version { what, version })
        }
        _ => Err(DamagedRecord::Damaged { what }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leader() -> LeaderRecord {
        LeaderRecord {
            epoch: 4,
            writer: Writer { node: "node-ä".into(), incarnation: 9 },
            attempt: AttemptId([5; 16]),
        }
    }

    #[test]
    fn decoding_undoes_encoding() {
        assert_eq!(LeaderRecord::decode(&leader().encode()), Ok(leader()));
        let floor = Floor { seq: 12, hash: EntryHash([3; 32]) };
        assert_eq!(Floor::decode(&floor.encode()), Ok(floor));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let encoded = [leader().encode(), Floor { seq: 1, hash: EntryHash([1; 32]) }.encode()];
        for bytes in encoded {
            for at in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[at / 8] ^= 1 << (at % 8);
                assert!(LeaderRecord::decode(&damaged).is_err());
                assert!(Floor::decode(&damaged).is_err());
            }
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_said_to_be_so() {
        let newer = seal([&[FORMAT_VERSION + 1][..], &[7; 50]].concat());
        let found = FORMAT_VERSION + 1;
        assert_eq!(
            LeaderRecord::decode(&newer),
            Err(DamagedRecord::Version { what: LEADER, version: found })
        );
        let error = Floor::decode(&newer).unwrap_err();
        assert_eq!(error, DamagedRecord::Version { what: FLOOR, version: found });
        assert!(error.to_string().contains("made by a newer version"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_fields_never_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let bytes = seal([&[FORMAT_VERSION][..], &body].concat());
            if let Ok(leader) = LeaderRecord::decode(&bytes) {
                prop_assert_eq!(leader.encode(), bytes.clone());
            }
            if let Ok(floor) = Floor::decode(&bytes) {
                prop_assert_eq!(floor.encode(), bytes);
            }
            let _ = LeaderRecord::decode(&body);
        }
    }
}
