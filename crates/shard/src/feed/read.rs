//! Reading the feed.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use fjall::Readable as _;
use tokio::sync::watch;

use super::{
    Change, ChangeKind, ChangesPage, ChangesRequest, FedChange, FeedPosition, Row, row_seq,
};
use crate::block_on::block_on;
use crate::command::{Command, LoggedChange, content_hash};
use crate::content::Content;
use crate::error::ReadError;
use crate::inner::Inner;
use crate::reading::{corrupt, storage};
use crate::record::{Etag, Record};
use crate::stored::{Header, StoredRecord};

/// What a change counts beside its id and record.
const FRAME_BYTES: usize = 64;

/// Why the feed cannot be read from a place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// What comes after the place is not kept any more.
    #[error("changes up to entry {begins} are not kept any more, and entry {seq} was asked for")]
    Gone {
        /// The entry of the place.
        seq: u64,
        /// Changes after this entry are kept.
        begins: u64,
    },
    /// The place is one that the shard has not come to.
    #[error("the shard has come to entry {newest}, and not to entry {seq}")]
    Ahead {
        /// The entry of the place.
        seq: u64,
        /// The last entry.
        newest: u64,
    },
    /// Another entry is at that place: the one that was read was lost in a crash.
    #[error("entry {seq} is of epoch {found}, and not of epoch {expected}")]
    Diverged {
        /// The entry of the place.
        seq: u64,
        /// Epoch that was expected.
        expected: u64,
        /// Epoch of the entry.
        found: u64,
    },
    /// The shard cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log cannot be read.
    #[error("the log cannot be read: {reason}")]
    Log {
        /// Why.
        reason: String,
    },
}

/// Hash and content of puts.
type Contents = HashMap<u32, ([u8; 32], Vec<u8>)>;

impl Inner {
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.progress.feed.follow()
    }

    /// Where the feed begins.
    pub(crate) fn feed_begins(&self) -> u64 {
        self.progress.feed.begins()
    }

    pub(crate) fn changes(&self, request: &ChangesRequest) -> Result<ChangesPage, ChangesError> {
        let mut next = request.after;
        // Before the snapshot, which then has all of it.
        let newest = self.progress.applied.load(Ordering::Acquire);
        let begins = self.progress.feed.begins();
        let seq = next.seq;
        if seq < begins {
            return Err(ChangesError::Gone { seq, begins });
        }
        if seq > newest {
            return Err(ChangesError::Ahead { seq, newest });
        }
        let snapshot = self.store.snapshot();
        let mut epoch = request.epoch.unwrap_or(0);
        let mut expected = if next.index == FeedPosition::WHOLE { seq + 1 } else { seq };
        let mut page = Page { changes: Vec::new(), bytes: 0, request };
        // From the entry of the place on, whose epoch tells whether it is the one that was read.
        let rows = snapshot.range(&self.store.feed, seq.to_be_bytes()..=newest.to_be_bytes());
        for row in rows {
            let (key, row) = row.into_inner().map_err(storage("changes"))?;
            let found = row_seq(&key).unwrap_or(0);
            let row = Row::decode(&row).map_err(|damage| corrupt("", &damage))?;
            if found == seq && request.epoch.is_some_and(|expected| expected != row.epoch) {
                let expected = request.epoch.unwrap_or(0);
                return Err(ChangesError::Diverged { seq, expected, found: row.epoch });
            }
            if found == seq {
                epoch = row.epoch;
            }
            if found < expected {
                continue;
            }
            if found != expected {
                break;
            }
            expected = found.saturating_add(1);
            if !page.add(self, found, &row, next)? {
                let last = page.changes.last().map_or(next, |change| FeedPosition {
                    seq: change.etag.seq,
                    index: change.etag.index,
                });
                // It may have been the last one of its entry, or the one before this one.
                if last.seq == found {
                    (next, epoch) = (last, row.epoch);
                }
                return Ok(page.ending(next, epoch, newest));
            }
            (next, epoch) = (FeedPosition::after(found), row.epoch);
        }
        if expected <= newest {
            // Rows were trimmed meanwhile.
            let begins = self.progress.feed.begins().max(expected);
            return Err(ChangesError::Gone { seq, begins });
        }
        Ok(page.ending(next, epoch, newest))
    }

    /// The contents of the puts of an entry, by their index.
    fn contents(&self, seq: u64) -> Result<Contents, ChangesError> {
        let log = |reason: String| ChangesError::Log { reason };
        let entry = block_on(self.log.entry(seq)).map_err(|error| log(error.to_string()))?;
        let Some(entry) = entry else {
            let begins = self.progress.feed.begins().max(seq);
            return Err(ChangesError::Gone { seq, begins });
        };
        let command = Command::decode(&entry.payload).map_err(|error| log(error.to_string()))?;
        let Command::Batch { requests, .. } = command else { return Ok(HashMap::new()) };
        let operations = requests.into_iter().flat_map(|request| request.operations);
        let contents = (0_u32..).zip(operations).filter_map(|(index, operation)| {
            let LoggedChange::Put { content_hash, content } = operation.change else {
                return None;
            };
            Some((index, (content_hash, content.to_vec())))
        });
        Ok(contents.collect())
    }
}

struct Page<'a> {
    changes: Vec<Change>,
    bytes: usize,
    request: &'a ChangesRequest,
}

impl Page<'_> {
    fn ending(self, next: FeedPosition, epoch: u64, newest: u64) -> ChangesPage {
        ChangesPage { changes: self.changes, next, epoch, newest, bytes: self.bytes }
    }

    /// Adds the changes of an entry that lie after a place. False if the page is full before
    /// that.
    fn add(
        &mut self,
        inner: &Inner,
        seq: u64,
        row: &Row<'_>,
        after: FeedPosition,
    ) -> Result<bool, ChangesError> {
        let mut contents = None;
        for fed in &row.changes {
            if seq == after.seq && fed.index <= after.index {
                continue;
            }
            let is_full = self.changes.len() >= self.request.limit.max(1)
                || (!self.changes.is_empty() && self.bytes >= self.request.max_bytes);
            if is_full {
                return Ok(false);
            }
            let etag = Etag { epoch: row.epoch, seq, index: fed.index };
            self.bytes += fed.id.len() + FRAME_BYTES;
            let content = match fed.kind {
                _ if !self.request.with_records => None,
                ChangeKind::Patch => Some((content_hash(fed.id, fed.content), fed.content)),
                ChangeKind::Put => {
                    if contents.is_none() {
                        contents = Some(inner.contents(seq)?);
                    }
                    let found = contents.as_ref().and_then(|found| found.get(&fed.index));
                    found.map(|(hash, content)| (*hash, content.as_slice()))
                }
                ChangeKind::Delete | ChangeKind::Expire => None,
            };
            let record = match content {
                Some((hash, content)) => {
                    self.bytes += content.len();
                    Some(record(inner, fed, etag, hash, content)?)
                }
                None => None,
            };
            self.changes.push(Change {
                kind: fed.kind,
                id: fed.id.to_owned(),
                version: fed.version,
                etag,
                timestamp: fed.timestamp,
                record,
            });
        }
        Ok(true)
    }
}

fn record(
    inner: &Inner,
    fed: &FedChange<'_>,
    etag: Etag,
    content_hash: [u8; 32],
    bytes: &[u8],
) -> Result<Record, ReadError> {
    let damaged = |damage| corrupt(fed.id, &damage);
    let header = Header { key: 0, version: fed.version, etag, timestamp: fed.timestamp };
    let content = Content::decode(bytes).map_err(damaged)?;
    let stored = StoredRecord { header, content_hash, content, content_bytes: bytes };
    stored.into_record(fed.id, &inner.config.vectors).map_err(damaged)
}
