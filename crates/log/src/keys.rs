//! Where the parts of a shard's log are kept.

use uuid::Uuid;

/// Names one shard's log for ever: neither uid is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId {
    /// Uid of the namespace.
    pub namespace: Uuid,
    /// Uid of the shard.
    pub shard: Uuid,
}

/// The keys of one log.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    entries: Vec<u8>,
    pub(crate) leader: Vec<u8>,
    pub(crate) floor: Vec<u8>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, id: LogId) -> Self {
        let prefix = prefix.as_bytes();
        let (namespace, shard) = (id.namespace.as_bytes(), id.shard.as_bytes());
        let digest = blake3::hash(&[namespace.as_slice(), shard].concat());
        let hash_byte = digest.as_bytes().first().copied().unwrap_or(0);
        Self {
            entries: [prefix, b"/log/", &[hash_byte], b"/", namespace, b"/", shard, b"/"].concat(),
            leader: [prefix, b"/leader/", namespace, b"/", shard].concat(),
            floor: [prefix, b"/floor/", namespace, b"/", shard].concat(),
        }
    }

    pub(crate) fn entry(&self, seq: u64) -> Vec<u8> {
        [self.entries.as_slice(), &seq.to_be_bytes()].concat()
    }

    /// The first key after all entries.
    pub(crate) fn entries_end(&self) -> Vec<u8> {
        [self.entries.as_slice(), &[0xff; 9]].concat()
    }

    /// The seq of an entry's key.
    pub(crate) fn seq(&self, key: &[u8]) -> Option<u64> {
        let seq = key.strip_prefix(self.entries.as_slice())?;
        Some(u64::from_be_bytes(seq.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_seq_and_lead_back_to_it() {
        let id = LogId { namespace: Uuid::from_u128(1), shard: Uuid::from_u128(2) };
        let keys = Keys::new("hvs", id);
        let seqs = [0, 1, 255, 256, u64::MAX];
        assert!(seqs.windows(2).all(|pair| keys.entry(pair[0]) < keys.entry(pair[1])));
        assert!(keys.entry(u64::MAX) < keys.entries_end());
        for seq in seqs {
            assert_eq!(keys.seq(&keys.entry(seq)), Some(seq));
        }
        assert_eq!(keys.seq(b"hvs/log/"), None);
        assert!(keys.entry(0).starts_with(b"hvs/log/"));
    }

    #[test]
    fn shards_do_not_share_keys() {
        let namespace = Uuid::from_u128(1);
        let first = Keys::new("hvs", LogId { namespace, shard: Uuid::from_u128(2) });
        let second = Keys::new("hvs", LogId { namespace, shard: Uuid::from_u128(3) });
        assert_eq!(second.seq(&first.entry(1)), None);
        assert_ne!(first.leader, second.leader);
        assert_ne!(first.floor, second.floor);
    }
}
