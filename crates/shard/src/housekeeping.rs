//! What the writer does beside writing: handing the local state to the operating system, trimming the
//! log and the rows that only a restart needs.
//!
//! Each step is bounded, so that no write waits long for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hvs_log::Leader;

use crate::block_on::block_on;
use crate::compression::Upkeep;
use crate::config::{LogRetention, ShardConfig};
use crate::indexes::Indexes;
use crate::machine::Machine;
use crate::record::Timestamp;
use crate::store::{BY_TIME, Store, key_row, row_key};

/// How often rows and tombstones are looked after.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often rows are written anew while there are some to be, so that writes get the most of it.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// Rows looked at in one step.
const ROWS_AT_ONCE: usize = 2_000;
/// Rounds before the shard closes, so that little is left for the next start to read.
const CLOSING_ROUNDS: usize = 100;
/// The log is trimmed when it exceeds its retention by this part of it.
const SLACK_DIVISOR: u64 = 4;

pub(crate) struct Housekeeping {
    retention: LogRetention,
    /// Others build their state from the log: nothing of it goes.
    keeps_log: bool,
    tombstone_millis: u64,
    /// Kept entries: seq, and size of the log up to and including it. Those from before
    /// the shard was opened count as one.
    kept: VecDeque<(u64, u64)>,
    floor: u64,
    /// Size of the log up to the floor.
    floor_bytes: u64,
    next: Instant,
    /// The last entry whose effects the operating system has.
    handed_over: u64,
    /// The last entry that the log is known to have on the medium, and the one that the local state
    /// says.
    log_synced: u64,
    noted: u64,
    /// For each vector the key below which every row of `keys` is gone. A pass goes on from here
    /// and not from the first key, because removed rows are only marked until they are compacted.
    keys_trimmed: BTreeMap<String, u64>,
    /// Where the pass over `dead` goes on; none when there is nothing new to find.
    dead_cursor: Option<u64>,
    builds_seen: u64,
    compression: Upkeep,
    next_compression: Instant,
}

impl Housekeeping {
    pub(crate) fn new(config: &ShardConfig, floor: u64, machine: &Machine) -> Self {
        let meta = machine.meta();
        // At worst too much of the log is kept for a while.
        let floor_bytes = machine.store().load_trimmed().unwrap_or(0);
        let log_synced = machine.store().load_log_synced().unwrap_or(0);
        Self {
            retention: config.retention,
            keeps_log: config.lease.is_some(),
            tombstone_millis: config.tombstone_millis,
            kept: VecDeque::from([(meta.applied.seq, meta.logged_bytes)]),
            floor,
            floor_bytes,
            next: Instant::now(),
            handed_over: 0,
            log_synced,
            noted: log_synced,
            keys_trimmed: BTreeMap::new(),
            dead_cursor: Some(0),
            builds_seen: 0,
            compression: Upkeep::new(machine.store()),
            next_compression: Instant::now(),
        }
    }

    /// Up to where the log has been trimmed.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Counts the entry that was applied last.
    pub(crate) fn applied(&mut self, machine: &Machine) {
        if self.keeps_log {
            return;
        }
        let meta = machine.meta();
        self.kept.push_back((meta.applied.seq, meta.logged_bytes));
    }

    /// The timestamp below which tombstones are old enough to go, if there are any.
    pub(crate) fn tombstones_to_purge(
        &self,
        machine: &Machine,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if machine.meta().tombstones == 0 || Instant::now() < self.next {
            return None;
        }
        let before = Timestamp::from_millis(now.millis().saturating_sub(self.tombstone_millis));
        let start = row_key(BY_TIME, &[]);
        let end = row_key(BY_TIME, &before.0.to_be_bytes());
        let is_any_older = machine.store().tombstones.range(start..end).next().is_some();
        is_any_older.then_some(before)
    }

    /// The time by which records have expired, if there are any.
    pub(crate) fn records_to_expire(
        machine: &Machine,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, String> {
        let clock = &machine.progress().clock;
        if !clock.may_have_expired(now.millis()) {
            return Ok(None);
        }
        let looked_up = machine.find_next_expiry();
        looked_up.map_err(|error| format!("records that have expired cannot be found: {error}"))?;
        Ok(clock.may_have_expired(now.millis()).then_some(now))
    }

    /// After how long another round has something to do.
    pub(crate) fn patience(&self) -> Duration {
        self.next.min(self.next_compression).saturating_duration_since(Instant::now())
    }

    /// One round.
    pub(crate) fn run(&mut self, leader: &mut Leader, machine: &Machine) -> Result<(), String> {
        self.trim_log(leader, machine)?;
        let applied = machine.meta().applied.seq;
        let trimmed = machine.progress().feed.trim(machine.store(), applied, self.retention.bytes);
        trimmed.map_err(|error| format!("the feed of changes cannot be trimmed: {error}"))?;
        let now = Instant::now();
        if now >= self.next_compression {
            let is_busy = self
                .compression
                .step(machine.store(), machine.meta().records)
                .map_err(|error| format!("records cannot be compressed: {error}"))?;
            self.next_compression = now + if is_busy { BUSY_INTERVAL } else { INTERVAL };
        }
        if now < self.next {
            return Ok(());
        }
        self.next = now + INTERVAL;
        if self.handed_over != applied || self.noted != self.log_synced {
            let noted = machine.store().put_log_synced(self.log_synced);
            noted.map_err(|error| format!("the local state cannot be written: {error}"))?;
            self.noted = self.log_synced;
            let handed_over = machine.store().hand_over();
            handed_over.map_err(|error| format!("the local state cannot be written: {error}"))?;
            self.handed_over = applied;
        }
        if let Some(indexes) = machine.indexes() {
            indexes.payload().compact_step();
        }
        self.trim_rows(machine).map(drop)
    }

    /// The log is on the medium up to an entry.
    pub(crate) fn log_is_synced(&mut self, seq: u64) {
        self.log_synced = self.log_synced.max(seq);
    }

    /// Trims what can be trimmed before the shard closes.
    pub(crate) fn finish(&mut self, machine: &Machine) -> Result<(), String> {
        for _ in 0..CLOSING_ROUNDS {
            if self.trim_rows(machine)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The number of rows looked at.
    fn trim_rows(&mut self, machine: &Machine) -> Result<usize, String> {
        let Some(indexes) = machine.indexes() else { return Ok(0) };
        let keys = self.trim_keys(machine.store(), indexes);
        let dead = self.trim_dead(machine.store(), indexes);
        keys.and_then(|keys| Ok(keys + dead?))
            .map_err(|error| format!("rows of the local state cannot be trimmed: {error}"))
    }

    fn trim_log(&mut self, leader: &mut Leader, machine: &Machine) -> Result<(), String> {
        if self.keeps_log {
            return Ok(());
        }
        let LogRetention { entries, bytes } = self.retention;
        let tail = leader.tail().seq;
        let logged_bytes = machine.meta().logged_bytes;
        let kept_entries = tail.saturating_sub(self.floor);
        let kept_bytes = logged_bytes.saturating_sub(self.floor_bytes);
        let is_over = kept_entries > entries.saturating_add(entries / SLACK_DIVISOR)
            || kept_bytes > bytes.saturating_add(bytes / SLACK_DIVISOR);
        if !is_over {
            return Ok(());
        }
        self.floor = self.floor.max(tail.saturating_sub(entries));
        while let Some((seq, up_to)) = self.kept.front().copied() {
            let is_too_old = seq <= self.floor;
            let is_too_much = logged_bytes.saturating_sub(self.floor_bytes) > bytes;
            if !is_too_old && !is_too_much {
                break;
            }
            self.kept.pop_front();
            self.floor = self.floor.max(seq);
            self.floor_bytes = up_to;
        }
        // Before anything is gone, so that whoever misses it learns why.
        machine.progress().feed.begin_after(self.floor);
        // What is not durable here could not be replayed after a loss of power.
        let store = machine.store();
        store
            .put_trimmed(self.floor_bytes)
            .and_then(|()| store.persist())
            .map_err(|error| format!("the local state cannot be made durable: {error}"))?;
        block_on(leader.trim(self.floor))
            .map_err(|error| format!("the log cannot be trimmed: {error}"))
    }

    /// Rows of keys that an index has in segments are not needed to open it again.
    fn trim_keys(&mut self, store: &Store, indexes: &Indexes) -> fjall::Result<usize> {
        let mut batch = store.batch(ROWS_AT_ONCE);
        for (name, covered) in indexes.covered() {
            let trimmed = self.keys_trimmed.get(name).copied().unwrap_or(0);
            let room = ROWS_AT_ONCE.saturating_sub(batch.len());
            if covered <= trimmed || room == 0 {
                continue;
            }
            let mut rows = store.keys.range(key_row(name, trimmed)..key_row(name, covered));
            let mut next = trimmed;
            for row in rows.by_ref().take(room) {
                let row = row.key()?;
                next = row.last_chunk().map_or(next, |key| u64::from_be_bytes(*key) + 1);
                batch.remove(&store.keys, row);
            }
            // An index that covers less than this cannot be opened from the rows that are left.
            store.put_keys_trimmed(&mut batch, name, covered);
            if rows.next().is_none() {
                next = covered;
            }
            self.keys_trimmed.insert(name.to_owned(), next);
        }
        let changed = batch.len();
        batch.commit()?;
        Ok(changed)
    }

    /// Rows of superseded keys that no segment holds any more are not needed either.
    fn trim_dead(&mut self, store: &Store, indexes: &Indexes) -> fjall::Result<usize> {
        let builds = indexes.builds();
        if builds != self.builds_seen {
            self.builds_seen = builds;
            self.dead_cursor = Some(0);
        }
        let Some(cursor) = self.dead_cursor else { return Ok(0) };
        let mut batch = store.batch(ROWS_AT_ONCE);
        let mut looked_at = 0;
        for row in store.dead.range(cursor.to_be_bytes()..).take(ROWS_AT_ONCE) {
            let row = row.key()?;
            let key = row.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            self.dead_cursor = Some(key.saturating_add(1));
            looked_at += 1;
            if !indexes.holds(key) {
                batch.remove(&store.dead, row);
            }
        }
        if looked_at < ROWS_AT_ONCE {
            self.dead_cursor = None;
        }
        batch.commit()?;
        Ok(looked_at)
    }
}
