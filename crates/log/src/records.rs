//! The values beside the entries: who leads, and from where on the log is kept.
//!
//! Both are `version (1), fields, CRC-32C`, integers little-endian.

use crate::entry::{AttemptId, EntryHash, MAX_NODE_BYTES, Writer};

const FORMAT_VERSION: u8 = 1;

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
#[error("the {what} record of the shard is damaged, or from a later version")]
pub struct DamagedRecord {
    /// Which record.
    pub what: &'static str,
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
        let damaged = || DamagedRecord { what: "leader" };
        let fields = unseal(bytes).ok_or_else(damaged)?;
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
        let damaged = || DamagedRecord { what: "floor" };
        let fields = unseal(bytes).ok_or_else(damaged)?;
        let (seq, hash) = fields.split_first_chunk::<8>().ok_or_else(damaged)?;
        let hash = EntryHash(hash.try_into().map_err(|_| damaged())?);
        Ok(Self { seq: u64::from_le_bytes(*seq), hash })
    }
}

fn seal(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&content);
    content.extend_from_slice(&checksum.to_le_bytes());
    content
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (version, fields) = content.split_first()?;
    (*version == FORMAT_VERSION).then_some(fields)
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
