//! The keys of one value.

use roaring::RoaringTreemap;

/// Keys beyond this are kept in a bitmap.
const FEW: usize = 16;

/// A set of keys, cheap when there are few of them: most values of a field of names or numbers
/// have one record.
#[derive(Debug)]
pub(super) enum Postings {
    /// Each once, in no order.
    Few(Vec<u64>),
    Many(RoaringTreemap),
}

impl Postings {
    pub(super) fn one(key: u64) -> Self {
        Self::Few(vec![key])
    }

    pub(super) fn insert(&mut self, key: u64) {
        match self {
            Self::Few(keys) if keys.contains(&key) => {}
            Self::Few(keys) if keys.len() < FEW => keys.push(key),
            Self::Few(keys) => {
                let mut many: RoaringTreemap = keys.iter().copied().collect();
                many.insert(key);
                *self = Self::Many(many);
            }
            Self::Many(keys) => {
                keys.insert(key);
            }
        }
    }

    /// How many of some keys are here.
    pub(super) fn count(&self, keys: &RoaringTreemap) -> u64 {
        match self {
            Self::Few(few) => few.iter().filter(|key| keys.contains(**key)).count() as u64,
            Self::Many(many) => many.intersection_len(keys),
        }
    }

    /// Those of some keys that are here.
    pub(super) fn among(&self, keys: &RoaringTreemap) -> RoaringTreemap {
        match self {
            Self::Few(few) => few.iter().copied().filter(|key| keys.contains(*key)).collect(),
            Self::Many(many) => many & keys,
        }
    }

    pub(super) fn retain(&mut self, live: &RoaringTreemap) {
        match self {
            Self::Few(keys) => keys.retain(|key| live.contains(*key)),
            Self::Many(keys) => *keys &= live,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(keys) => keys.is_empty(),
            Self::Many(keys) => keys.is_empty(),
        }
    }

    /// Estimated bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Few(keys) => keys.capacity() * size_of::<u64>(),
            // Two bytes per key where keys are sparse, fewer where they are dense.
            Self::Many(keys) => 64 + 2 * usize::try_from(keys.len()).unwrap_or(usize::MAX / 4),
        }
    }
}

/// The union of many sets, gathered before it is built.
#[derive(Debug, Default)]
pub(super) struct Union {
    few: Vec<u64>,
    many: RoaringTreemap,
}

impl Union {
    pub(super) fn add(&mut self, postings: &Postings) {
        match postings {
            Postings::Few(keys) => self.few.extend_from_slice(keys),
            Postings::Many(keys) => self.many |= keys,
        }
    }

    pub(super) fn finish(mut self) -> RoaringTreemap {
        // In order, each container is found once.
        self.few.sort_unstable();
        self.many.extend(self.few);
        self.many
    }
}
