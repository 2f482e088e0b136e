//! Reading all of a log to see whether it is whole, and saving what is.

use std::sync::Arc;

use hvs_kv::{Durability, Kv, PutIfAbsent, ScanLimit};

use crate::entry::{Entry, Writer};
use crate::log::{Log, LogError, Position, check_entry};
use crate::records::Floor;

/// What is in a log, from a place on.
#[derive(Debug)]
pub struct Examined {
    /// The last whole entry before any damage; where it began if there is none.
    pub end: Position,
    /// Its epoch; 0 if there is none.
    pub epoch: u64,
    /// Whole entries.
    pub entries: u64,
    /// What comes after them, if it is not the end.
    pub damage: Option<LogError>,
    /// The highest seq that is there, whole or not; that of `end` if nothing is damaged.
    pub last_seq: u64,
}

impl Log {
    /// Reads every entry after a place, which is taken to be right: the floor, or what a state
    /// says that it shows.
    ///
    /// # Errors
    /// When the store fails before any entry was read.
    pub async fn examine(&self, from: Position) -> Result<Examined, LogError> {
        let mut examined =
            Examined { end: from, epoch: 0, entries: 0, damage: None, last_seq: from.seq };
        let mut start = self.keys.entry(from.seq.saturating_add(1));
        let end = self.keys.entries_end();
        loop {
            let page = match self.kv.scan(&start, &end, ScanLimit::default()).await {
                Ok(page) => page,
                Err(error) => {
                    examined.damage.get_or_insert(error.into());
                    return Ok(examined);
                }
            };
            for (key, value) in page.pairs {
                let seq = self.keys.seq(&key).unwrap_or(u64::MAX);
                examined.last_seq = examined.last_seq.max(seq);
                if examined.damage.is_none() {
                    examined.take(seq, &value);
                }
            }
            match page.next {
                Some(next) => start = next,
                None => return Ok(examined),
            }
        }
    }

    /// The payloads after a place that can be read, in order, whatever lies between them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn payloads_after(&self, seq: u64) -> Result<Vec<Vec<u8>>, LogError> {
        let (mut start, end) = (self.keys.entry(seq.saturating_add(1)), self.keys.entries_end());
        let mut payloads = Vec::new();
        loop {
            let page = self.kv.scan(&start, &end, ScanLimit::default()).await?;
            let entries = page.pairs.iter().filter_map(|(_, value)| Entry::decode(value).ok());
            payloads.extend(entries.map(|entry| entry.payload));
            match page.next {
                Some(next) => start = next,
                None => return Ok(payloads),
            }
        }
    }

    /// Writes this log into another store, where it is not yet: from after a place up to an entry,
    /// with at least the given epoch. What was before the place counts as trimmed.
    ///
    /// # Errors
    /// When an entry is damaged or missing, or a store fails.
    pub async fn save(
        &self,
        to: Arc<dyn Kv>,
        after: Position,
        through: u64,
        epoch: u64,
        writer: Writer,
    ) -> Result<(), LogError> {
        let saved = Self { kv: to, keys: self.keys.clone() };
        saved.begin_after(after, epoch, writer).await?;
        let mut position = after;
        let mut start = self.keys.entry(after.seq.saturating_add(1));
        let end = self.keys.entry(through.saturating_add(1));
        while position.seq < through {
            let page = self.kv.scan(&start, &end, ScanLimit::default()).await?;
            for (key, value) in page.pairs {
                (_, position) = check_entry(&value, position)?;
                let put = saved.kv.put_if_absent(&key, &value, Durability::Buffered).await?;
                debug_assert_eq!(put, PutIfAbsent::Stored, "the log is not there yet");
            }
            match page.next {
                Some(next) => start = next,
                None => break,
            }
        }
        if position.seq < through {
            return Err(LogError::EndsBefore { seq: through });
        }
        saved.kv.sync().await?;
        Ok(())
    }
}

impl Examined {
    fn take(&mut self, seq: u64, value: &[u8]) {
        let expected = self.end.seq.saturating_add(1);
        if seq != expected {
            self.damage = Some(LogError::Hole { seq: expected, next: seq });
            return;
        }
        match check_entry(value, self.end) {
            Ok((entry, position)) => {
                self.end = position;
                self.epoch = entry.epoch;
                self.entries += 1;
            }
            Err(error) => self.damage = Some(error),
        }
    }
}

impl From<Floor> for Position {
    fn from(floor: Floor) -> Self {
        Self { seq: floor.seq, hash: floor.hash }
    }
}
