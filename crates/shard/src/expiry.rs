//! Time as a shard reads it, and the records whose time has come.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use roaring::RoaringTreemap;

use crate::error::ReadError;
use crate::inner::Inner;
use crate::record::Timestamp;
use crate::store::expiring_until;
use crate::wall::WallClock;

/// The hybrid logical clock of a shard, for everyone in the process. It follows the wall clock,
/// and neither goes behind the log nor back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    wall: WallClock,
    latest: AtomicU64,
    /// No record ceases to exist before this, in milliseconds. 0 while that is not known.
    next_expiry: AtomicU64,
    /// Index key and time of records that expire and are being removed: they are not stored any
    /// more, and the indexes have not been told yet.
    leaving: Mutex<Vec<(u64, u64)>>,
}

impl Clock {
    pub(crate) fn new(wall: WallClock) -> Self {
        Self { wall, ..Self::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let wall = self.wall.now();
        let latest = Timestamp(self.latest.load(Ordering::Acquire));
        // Most readers come within one millisecond, and do not write.
        if wall > latest { self.advance(wall).max(wall) } else { latest }
    }

    /// Goes on to a time, unless it is past it already. Returns the later of the two.
    pub(crate) fn advance(&self, to: Timestamp) -> Timestamp {
        Timestamp(self.latest.fetch_max(to.0, Ordering::AcqRel)).max(to)
    }

    /// A record that ceases to exist then is about to be stored.
    pub(crate) fn expect_expiry(&self, at_millis: u64) {
        self.next_expiry.fetch_min(at_millis, Ordering::AcqRel);
    }

    /// Only for the one who stores records.
    pub(crate) fn set_next_expiry(&self, at_millis: Option<u64>) {
        self.next_expiry.store(at_millis.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// For what is about to be removed from the store, until the indexes are told.
    pub(crate) fn set_leaving(&self, leaving: Vec<(u64, u64)>) {
        if !leaving.is_empty() {
            *self.leaving.lock() = leaving;
        }
    }

    /// The indexes have been told; `publish` tells everyone else.
    pub(crate) fn have_left(&self, publish: impl FnOnce()) {
        let mut leaving = self.leaving.lock();
        publish();
        leaving.clear();
    }

    /// No record ceases to exist before this, in milliseconds; 0 while that is not known.
    pub(crate) fn next_expiry(&self) -> u64 {
        self.next_expiry.load(Ordering::Acquire)
    }

    /// Whether a stored record may have ceased to exist by then.
    pub(crate) fn may_have_expired(&self, now_millis: u64) -> bool {
        self.next_expiry.load(Ordering::Acquire) <= now_millis
    }
}

impl Inner {
    /// The time by which a read judges what has expired, in milliseconds.
    pub(crate) fn now_millis(&self) -> u64 {
        self.progress.clock.now().millis()
    }

    /// The keys of the records that have expired by then and are still in the store or in the
    /// indexes. Few: they are deleted soon.
    pub(crate) fn expired_keys(&self, now_millis: u64) -> Result<RoaringTreemap, ReadError> {
        Ok(self.expired(now_millis)?.0)
    }

    /// All records but those that have expired.
    pub(crate) fn count_all(&self) -> Result<u64, ReadError> {
        let (expired, stored) = self.expired(self.now_millis())?;
        Ok(stored.saturating_sub(expired.len()))
    }

    /// The keys of the records that have expired by then, and the number of records with them.
    fn expired(&self, now_millis: u64) -> Result<(RoaringTreemap, u64), ReadError> {
        let clock = &self.progress.clock;
        let mut keys = RoaringTreemap::new();
        if !clock.may_have_expired(now_millis) {
            return Ok((keys, self.stored()));
        }
        // While it is held nothing that expires leaves, so that the three agree.
        let leaving = clock.leaving.lock();
        for row in self.store.expiring.range(..expiring_until(now_millis)) {
            let key = row.value().map_err(|source| ReadError::Storage {
                what: "records that have expired",
                source,
            })?;
            keys.extend(key.first_chunk().map(|key| u64::from_be_bytes(*key)));
        }
        keys.extend(leaving.iter().filter(|(_, at)| *at <= now_millis).map(|(key, _)| *key));
        Ok((keys, self.stored()))
    }
}
