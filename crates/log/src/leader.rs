//! Writing a log: taking leadership, appending, trimming.

use hvs_kv::{CompareAndSwap, Durability, KvError, PutIfAbsent};
use uuid::Uuid;

use crate::entry::{
    AttemptId, ENTRY_OVERHEAD_BYTES, Entry, EntryHash, EntryKind, MAX_ENTRY_BYTES, MAX_NODE_BYTES,
    Writer,
};
use crate::log::{Log, LogError, Position, check_entry};
use crate::records::LeaderRecord;

/// Proposals of the same bytes before an append reports that its outcome is unknown, to a store
/// whose calls are not repeated by themselves.
const PROPOSALS: usize = 3;

/// Leadership that is recorded, but not yet marked in the log by a barrier.
pub struct Claim {
    log: Log,
    epoch: u64,
    writer: Writer,
}

/// What became of a barrier.
pub enum BarrierOutcome {
    /// It is in the log: apply it and lead.
    Leading(Box<Leader>, Entry, Position),
    /// An entry of a lower epoch took the slot. Apply it and try again after it.
    Absorb(Entry, Position),
}

impl Log {
    /// Records the writer as the leader of the next epoch, whoever leads now.
    ///
    /// This is the whole of it for one node, whose store no other process can open. Where several
    /// nodes share a store, it is [`Log::take_over`].
    pub async fn claim(&self, writer: Writer) -> Result<Claim, LogError> {
        let mut present = self.leader().await?;
        loop {
            match self.take_over(writer.clone(), present.as_ref()).await {
                Err(LogError::Overtaken { by }) => present = by.map(|by| *by),
                claimed => return claimed,
            }
        }
    }

    /// Records the writer as the leader of the next epoch, in the place of exactly the leader that
    /// was observed, or of none.
    ///
    /// *Fence first*: the session of the one that was observed is over, by a fence or because a later
    /// incarnation has begun, or it hands over itself. Otherwise there would be two who believe
    /// that they lead.
    pub async fn take_over(
        &self,
        writer: Writer,
        observed: Option<&LeaderRecord>,
    ) -> Result<Claim, LogError> {
        let bytes = writer.node.len();
        if bytes == 0 || bytes > MAX_NODE_BYTES {
            return Err(LogError::NodeId { bytes });
        }
        let epoch = observed.map_or(0, |leader| leader.epoch).saturating_add(1);
        let record = LeaderRecord { epoch, writer: writer.clone(), attempt: new_attempt() };
        let swap = self
            .kv
            .compare_and_swap(
                &self.keys.leader,
                observed.map(LeaderRecord::encode).as_deref(),
                &record.encode(),
                Durability::Sync,
            )
            .await?;
        let by = match swap {
            CompareAndSwap::Swapped => None,
            CompareAndSwap::Different(found) => {
                let found = found.as_deref().map(LeaderRecord::decode).transpose()?;
                // The own one, from a call whose reply was lost, is none that has overtaken.
                let is_own = found.as_ref().is_some_and(|found| found.attempt == record.attempt);
                (!is_own).then_some(found)
            }
        };
        match by {
            None => Ok(Claim { log: self.clone(), epoch, writer }),
            Some(by) => Err(LogError::Overtaken { by: by.map(Box::new) }),
        }
    }
}

impl Claim {
    /// The epoch that was claimed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Tries to write the barrier after the given end of the log, up to which everything is
    /// applied.
    pub async fn barrier(&self, tail: Position) -> Result<BarrierOutcome, LogError> {
        let mut leader = Leader {
            log: self.log.clone(),
            epoch: self.epoch,
            writer: self.writer.clone(),
            tail,
            pending: None,
            ended: None,
            trimmed: 0,
        };
        let entry = leader.entry(EntryKind::Barrier, Vec::new());
        let encoded = entry.encode();
        let key = self.log.keys.entry(entry.seq);
        match self.log.kv.put_if_absent(&key, &encoded, Durability::Sync).await? {
            PutIfAbsent::Present(found) if found != encoded => {
                let (entry, position) = check_entry(&found, tail)?;
                if entry.epoch < self.epoch {
                    return Ok(BarrierOutcome::Absorb(entry, position));
                }
                Err(LogError::SteppedDown { epoch: self.epoch, reason: describe(&entry) })
            }
            PutIfAbsent::Stored | PutIfAbsent::Present(_) => {
                let position = Position { seq: entry.seq, hash: EntryHash::of(&encoded) };
                leader.tail = position;
                Ok(BarrierOutcome::Leading(Box::new(leader), entry, position))
            }
        }
    }
}

/// The one who may append, in its epoch.
pub struct Leader {
    log: Log,
    epoch: u64,
    writer: Writer,
    tail: Position,
    /// Proposed, and not known to be in the log or not.
    pending: Option<Proposal>,
    /// Why the epoch has ended.
    ended: Option<String>,
    /// Everything up to here has been deleted by this leader.
    trimmed: u64,
}

struct Proposal {
    entry: Entry,
    encoded: Vec<u8>,
}

/// An entry that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The entry, to be applied.
    pub entry: Entry,
    /// The place after it.
    pub position: Position,
    /// Its encoded size.
    pub bytes: usize,
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The payload does not fit; nothing was proposed.
    #[error("a payload of {bytes} bytes is too long for an entry, at most {limit} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that fits.
        limit: usize,
    },
    /// Someone else has written the slot. The entry is not in the log and will not be.
    #[error("epoch {epoch} has ended: {reason}")]
    SteppedDown {
        /// The epoch that has ended.
        epoch: u64,
        /// What was found.
        reason: String,
    },
    /// The store failed, and the entry may be in the log or come later. Call [`Leader::resolve`]
    /// until it says; nothing else can be appended before.
    #[error("it is not known whether entry {seq} is in the log: {source}")]
    Unknown {
        /// Which entry.
        seq: u64,
        /// Why.
        source: KvError,
    },
    /// An earlier append is not resolved; nothing was proposed.
    #[error("it is still not known whether entry {seq} is in the log")]
    Unresolved {
        /// Which entry.
        seq: u64,
    },
}

impl Leader {
    /// The epoch of this leader.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The end of the log.
    pub fn tail(&self) -> Position {
        self.tail
    }

    /// The longest payload of one entry of this writer.
    pub fn max_payload(&self) -> usize {
        MAX_ENTRY_BYTES - ENTRY_OVERHEAD_BYTES
    }

    /// Appends an entry and returns when it is as durable as asked.
    pub async fn append(
        &mut self,
        payload: Vec<u8>,
        durability: Durability,
    ) -> Result<Appended, AppendError> {
        if let Some(proposal) = &self.pending {
            return Err(AppendError::Unresolved { seq: proposal.entry.seq });
        }
        self.check_leading()?;
        let limit = self.max_payload();
        if payload.len() > limit {
            return Err(AppendError::TooLarge { bytes: payload.len(), limit });
        }
        let entry = self.entry(EntryKind::Data, payload);
        let proposal = Proposal { encoded: entry.encode(), entry };
        self.propose(proposal, durability).await
    }

    /// Proposes an append of unknown outcome again. None if there is no such append.
    pub async fn resolve(&mut self) -> Result<Option<Appended>, AppendError> {
        let Some(proposal) = self.pending.take() else { return Ok(None) };
        self.propose(proposal, Durability::Sync).await.map(Some)
    }

    /// Whether an entry that was appended is part of the log, where the session of this node was not
    /// known to be valid when the append returned: a later leader may have trimmed the log beyond
    /// it before the append came, which then filled a slot that nobody looks at.
    pub async fn stands(&self, seq: u64) -> Result<bool, LogError> {
        Ok(self.log.floor().await?.seq < seq)
    }

    /// Makes everything appended so far durable.
    pub async fn sync(&self) -> Result<(), KvError> {
        self.log.kv.sync().await
    }

    /// Deletes the entries up to and including `through`, floor first. Nothing above the end is
    /// deleted. The caller has made sure that nobody needs them: the state up to there is durable.
    pub async fn trim(&mut self, through: u64) -> Result<(), LogError> {
        let through = through.min(self.tail.seq);
        if through <= self.trimmed {
            return Ok(());
        }
        let hash = if through == self.tail.seq {
            self.tail.hash
        } else {
            match self.log.kv.get(&self.log.keys.entry(through)).await? {
                Some(bytes) => EntryHash::of(&bytes),
                // Trimmed by an earlier leader: its floor is there or above.
                None => self.log.floor().await?.hash,
            }
        };
        self.log.raise_floor(Position { seq: through, hash }).await?;
        let start = self.log.keys.entry(self.trimmed.saturating_add(1));
        let end = self.log.keys.entry(through.saturating_add(1));
        self.log.kv.delete_range(&start, &end).await?;
        self.trimmed = through;
        Ok(())
    }

    fn entry(&self, kind: EntryKind, payload: Vec<u8>) -> Entry {
        Entry {
            seq: self.tail.seq.saturating_add(1),
            epoch: self.epoch,
            kind,
            writer: self.writer.clone(),
            attempt: new_attempt(),
            previous: self.tail.hash,
            payload,
        }
    }

    fn check_leading(&self) -> Result<(), AppendError> {
        match &self.ended {
            None => Ok(()),
            Some(reason) => {
                Err(AppendError::SteppedDown { epoch: self.epoch, reason: reason.clone() })
            }
        }
    }

    async fn propose(
        &mut self,
        proposal: Proposal,
        durability: Durability,
    ) -> Result<Appended, AppendError> {
        let seq = proposal.entry.seq;
        let key = self.log.keys.entry(seq);
        let proposals = if self.log.kv.repeats() { 1 } else { PROPOSALS };
        let mut failures = 0;
        let present = loop {
            match self.log.kv.put_if_absent(&key, &proposal.encoded, durability).await {
                Ok(PutIfAbsent::Stored) => break None,
                Ok(PutIfAbsent::Present(found)) => break Some(found),
                Err(source) => {
                    failures += 1;
                    if failures >= proposals {
                        self.pending = Some(proposal);
                        return Err(AppendError::Unknown { seq, source });
                    }
                }
            }
        };
        // The own bytes, with the own attempt id, from a call whose reply was lost.
        if let Some(found) = present.filter(|found| *found != proposal.encoded) {
            let reason = Entry::decode(&found).map_or_else(
                |damage| format!("entry {seq} is damaged: {damage}"),
                |entry| describe(&entry),
            );
            self.ended = Some(reason);
            self.check_leading()?;
        }
        let Proposal { entry, encoded } = proposal;
        self.tail = Position { seq, hash: EntryHash::of(&encoded) };
        Ok(Appended { entry, position: self.tail, bytes: encoded.len() })
    }
}

fn describe(entry: &Entry) -> String {
    format!(
        "entry {} was written by node {:?} (incarnation {}) in epoch {}",
        entry.seq, entry.writer.node, entry.writer.incarnation, entry.epoch
    )
}

pub(crate) fn new_attempt() -> AttemptId {
    AttemptId(*Uuid::new_v4().as_bytes())
}
