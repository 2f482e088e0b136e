//! The one thread that writes: group commit, apply, answer, and keep house.
//!
//! It takes everything that waits, puts as much as fits into one log entry, appends it, applies
//! it, and answers; then the next. Requests that want to be durable are answered after one
//! `fdatasync` for all that were taken together.

mod moving;
mod riding;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hvs_kv::Durability as StoreDurability;
use hvs_log::{AppendError, Appended, Leader};
use parking_lot::Mutex;

use crate::block_on::block_on;
use crate::changes::recall;
use crate::command::{
    EncodedRequest, LoggedKey, encode_batch, encode_configure, encode_expire, encode_purge,
};
use crate::config::ShardConfig;
use crate::error::WriteError;
use crate::housekeeping::Housekeeping;
use crate::machine::Machine;
use crate::memory::{Memory, Turn};
use crate::operation::{Durability, WriteAnswer, WriteOutcome};
use crate::prepare::{MAX_OPERATIONS_BYTES, Prepared};
use crate::queue::{Gather, Queue, Responder, Taken, Waiting};
use crate::record::Timestamp;

/// How often the writer looks after what is not urgent when nothing is written.
const IDLE: Duration = Duration::from_millis(500);
/// For how long those are waited for that have just been answered: as long as the last `fdatasync`
/// took, within these bounds.
const LEAST_GATHER: Duration = Duration::from_millis(2);
const MOST_GATHER: Duration = Duration::from_millis(5);
/// Bytes around the operations of a request in a batch, at most, without the idempotency key.
const REQUEST_FRAME_BYTES: usize = 64;
/// How often an append of unknown outcome is proposed again, and how long apart.
const RESOLVE_ATTEMPTS: u32 = 5;
const RESOLVE_PAUSE: Duration = Duration::from_millis(100);

/// What others may see of the writer.
#[derive(Debug, Default)]
pub(crate) struct WriterStats {
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) floor: AtomicU64,
    /// Why it has stopped, unless it was asked to.
    pub(crate) stopped: Mutex<Option<WriteError>>,
}

/// The state of the writing thread.
pub(crate) struct Writer {
    config: ShardConfig,
    leader: Leader,
    machine: Machine,
    queue: Arc<Queue>,
    memory: Arc<Memory>,
    stats: Arc<WriterStats>,
    housekeeping: Housekeeping,
    /// For whom to wait before the next requests are taken.
    gather: Gather,
    /// What is left to do of an append of unknown outcome.
    left: riding::Left,
}

/// A request that is being carried out.
struct Active {
    request: Prepared,
    responder: Responder,
    /// Operations that are in the log.
    logged: usize,
    outcomes: Vec<WriteOutcome>,
    epoch: u64,
    seq: u64,
}

/// A request that is answered once the log is durable.
struct Unsynced {
    responder: Responder,
    answer: WriteAnswer,
}

/// How much of a request goes into the entry that is being filled.
struct Share {
    active: Active,
    operations: usize,
}

impl Writer {
    pub(crate) fn new(
        config: ShardConfig,
        leader: Leader,
        machine: Machine,
        queue: Arc<Queue>,
        memory: Arc<Memory>,
        stats: Arc<WriterStats>,
        floor: u64,
    ) -> Self {
        let housekeeping = Housekeeping::new(&config, floor, &machine);
        stats.floor.store(floor, Ordering::Relaxed);
        Self {
            config,
            leader,
            machine,
            queue,
            memory,
            stats,
            housekeeping,
            gather: Gather::default(),
            left: riding::Left::default(),
        }
    }

    /// Logs what the configuration says differently from what was logged last.
    pub(crate) fn log_configuration(&mut self) -> Result<(), WriteError> {
        if self.machine.meta().idempotency != self.config.idempotency {
            self.commit(encode_configure(self.config.idempotency))?;
        }
        Ok(())
    }

    /// Runs until the queue is closed or something fails.
    pub(crate) fn run(mut self) -> Result<(), WriteError> {
        let _guard = PanicGuard { queue: Arc::clone(&self.queue), stats: Arc::clone(&self.stats) };
        let result = self.serve();
        if let Err(reason) = &result {
            tracing::error!(shard = %self.config.shard, %reason, "shard has stopped writing");
            *self.stats.stopped.lock() = Some(reason.clone());
            self.queue.abort(reason);
        }
        result
    }

    fn serve(&mut self) -> Result<(), WriteError> {
        let mut patience = IDLE;
        loop {
            let taken = match self.queue.take(patience, self.gather) {
                Taken::Closed => return self.finish(),
                Taken::Requests(taken) => taken,
            };
            patience = match self.round(taken) {
                Ok(patience) => patience,
                Err(WriteError::Unknown { .. }) => {
                    self.ride_out()?;
                    Duration::ZERO
                }
                Err(reason) => return Err(reason),
            };
        }
    }

    /// Carries out what was taken, then keeps house. Answers how long the next may be waited for.
    fn round(&mut self, taken: VecDeque<Waiting>) -> Result<Duration, WriteError> {
        self.carry_out(taken)?;
        // What has expired goes in small steps, between which writes get their turn.
        let is_more_expired = self.expire()?;
        self.keep_house()?;
        let idle = IDLE.min(self.housekeeping.patience());
        Ok(if is_more_expired { Duration::ZERO } else { idle })
    }

    fn carry_out(&mut self, taken: VecDeque<Waiting>) -> Result<(), WriteError> {
        let mut active: VecDeque<Active> = taken.into_iter().map(Active::new).collect();
        let mut unsynced = Vec::new();
        let result = self.carry_out_all(&mut active, &mut unsynced);
        if let Err(reason) = &result {
            // What was only applied, and what was not even logged: neither outcome is known to
            // be durable.
            for request in active {
                let reason = if request.logged > 0 { in_part(reason) } else { reason.clone() };
                let _ = request.responder.send(Err(reason));
            }
            for request in unsynced {
                let _ = request.responder.send(Err(in_part(reason)));
            }
        }
        result
    }

    fn carry_out_all(
        &mut self,
        active: &mut VecDeque<Active>,
        unsynced: &mut Vec<Unsynced>,
    ) -> Result<(), WriteError> {
        let memory = Arc::clone(&self.memory);
        while !active.is_empty() {
            // Until the entry is applied: nothing that it touches may come into memory meanwhile.
            let mut turn = memory.turn();
            let mut shares = Vec::new();
            if let Err(reason) = self.fill_entry(&mut turn, active, unsynced, &mut shares) {
                // Whoever waits for any of them is to learn why.
                active.extend(shares.into_iter().map(|share| share.active));
                return Err(reason);
            }
            if shares.is_empty() {
                continue;
            }
            let now = self.now();
            let payload = encode_shares(now, &shares);
            match self.commit(payload) {
                Ok((seq, outcomes)) => {
                    for (share, mut outcomes) in shares.into_iter().zip(outcomes).rev() {
                        self.name_held(&share, &mut outcomes);
                        let mut request = share.active;
                        request.logged += share.operations;
                        request.outcomes.extend(outcomes);
                        request.epoch = self.leader.epoch();
                        request.seq = seq;
                        if request.is_done() {
                            request.answer(unsynced);
                        } else {
                            active.push_front(request);
                        }
                    }
                }
                Err(reason) => {
                    active.extend(shares.into_iter().map(|share| share.active));
                    return Err(reason);
                }
            }
        }
        if unsynced.is_empty() {
            self.gather = Gather::default();
            return Ok(());
        }
        let begun = Instant::now();
        self.sync()?;
        // Those that are answered now, and those that came meanwhile. Whoever writes alone is
        // never waited for.
        let requests = unsynced.len() + self.queue.stats().requests;
        let at_most = begun.elapsed().clamp(LEAST_GATHER, MOST_GATHER);
        self.gather = Gather { requests, at_most };
        for Unsynced { responder, answer } in unsynced.drain(..) {
            let _ = responder.send(Ok(answer));
        }
        Ok(())
    }

    /// Takes requests, the first of them perhaps in part, until the entry is full. What is
    /// already answered by its idempotency key never gets into it.
    fn fill_entry(
        &mut self,
        turn: &mut Turn,
        active: &mut VecDeque<Active>,
        unsynced: &mut Vec<Unsynced>,
        shares: &mut Vec<Share>,
    ) -> Result<(), WriteError> {
        let mut keys = HashSet::new();
        let mut bytes = 0;
        while let Some(mut request) = active.pop_front() {
            if request.request.durability == Durability::Memory {
                // What came before it is applied before it.
                if !shares.is_empty() {
                    active.push_front(request);
                    break;
                }
                if let Some(must_be_logged) = self.carry_out_in_memory(turn, request) {
                    active.push_front(must_be_logged);
                }
                continue;
            }
            let key = request.request.idempotency.as_ref().map(|(key, _)| key.clone());
            // What a key stands for is known only once its first use is applied.
            if key.as_ref().is_some_and(|key| keys.contains(key)) {
                active.push_front(request);
                break;
            }
            let is_new = if key.is_some() { self.recall(&mut request) } else { Ok(true) };
            match is_new {
                Ok(true) => {}
                Ok(false) => {
                    request.answer_repetition(&self.machine, unsynced);
                    continue;
                }
                Err(reason) => {
                    active.push_front(request);
                    return Err(reason);
                }
            }
            if self.touches_memory(&request) {
                if !shares.is_empty() {
                    active.push_front(request);
                    break;
                }
                if let Err(reason) = self.move_to_log(turn, &mut request) {
                    active.push_front(request);
                    return Err(reason);
                }
            }
            let frame = REQUEST_FRAME_BYTES + key.as_ref().map_or(0, String::len);
            let room = MAX_OPERATIONS_BYTES.saturating_sub(bytes + frame);
            let target = self.config.entry_target_bytes.saturating_sub(bytes + frame);
            let (operations, taken) = request.share(room, target, shares.is_empty());
            if operations == 0 {
                active.push_front(request);
                break;
            }
            bytes += taken + frame;
            keys.extend(key);
            let is_whole = request.logged + operations == request.request.operations.len();
            shares.push(Share { active: request, operations });
            if !is_whole {
                break;
            }
        }
        Ok(())
    }

    /// Answers a request that asks for no more than memory, or gives it back to be logged.
    fn carry_out_in_memory(&mut self, turn: &mut Turn, mut active: Active) -> Option<Active> {
        let (store, progress) = (self.machine.store(), self.machine.progress());
        match self.memory.carry_out(turn, store, &progress, &active.request) {
            Ok(None) => {
                active.request.durability = Durability::Buffered;
                return Some(active);
            }
            // A caller that no longer waits needs no answer.
            Ok(Some(answer)) => drop(active.responder.send(Ok(answer))),
            Err(error) => drop(active.responder.send(Err(error))),
        }
        None
    }

    /// Looks up what the request's key already stands for. False if nothing is left to do.
    fn recall(&mut self, request: &mut Active) -> Result<bool, WriteError> {
        let Some((key, digest)) = &request.request.idempotency else { return Ok(true) };
        let known = recall(self.machine.store(), key)
            .map_err(|error| WriteError::Wedged { reason: error.to_string() })?;
        let Some(known) = known else { return Ok(true) };
        if known.digest != *digest {
            return Ok(false);
        }
        let done = usize::try_from(known.done()).unwrap_or(usize::MAX);
        if request.logged == 0 && known.answer().is_none() {
            // The first attempt got into the log in part; the rest follows.
            request.logged = done;
            request.outcomes = known.parts.into_iter().flat_map(|part| part.outcomes).collect();
        }
        Ok(request.logged == done && !request.is_done())
    }

    /// Appends an entry and applies it: its seq, and the outcomes of each request.
    fn commit(&mut self, payload: Vec<u8>) -> Result<(u64, Vec<Vec<WriteOutcome>>), WriteError> {
        let appended = self.append(payload)?;
        self.apply(&appended)
    }

    fn apply(&mut self, appended: &Appended) -> Result<(u64, Vec<Vec<WriteOutcome>>), WriteError> {
        let Appended { entry, position, bytes } = appended;
        self.stats.entries.fetch_add(1, Ordering::Relaxed);
        self.stats.bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
        let outcomes = self.machine.apply(entry, *position).map_err(|error| {
            let seq = position.seq;
            WriteError::Wedged { reason: format!("entry {seq} of the log does not apply: {error}") }
        })?;
        self.housekeeping.applied(&self.machine);
        Ok((position.seq, outcomes))
    }

    fn append(&mut self, payload: Vec<u8>) -> Result<Appended, WriteError> {
        let mut result = block_on(self.leader.append(payload, StoreDurability::Buffered));
        if self.config.lease.is_some() {
            return self.settle(result);
        }
        for _ in 0..RESOLVE_ATTEMPTS {
            match result {
                Err(AppendError::Unknown { .. }) => {
                    std::thread::sleep(RESOLVE_PAUSE);
                    match block_on(self.leader.resolve()) {
                        Ok(Some(appended)) => return Ok(appended),
                        Ok(None) => break,
                        Err(error) => result = Err(error),
                    }
                }
                other => {
                    result = other;
                    break;
                }
            }
        }
        result.map_err(|error| match error {
            AppendError::SteppedDown { epoch, reason } => WriteError::SteppedDown { epoch, reason },
            error => WriteError::Wedged { reason: error.to_string() },
        })
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        block_on(self.leader.sync()).map_err(|error| WriteError::Wedged {
            reason: format!("the log cannot be made durable: {error}"),
        })?;
        self.housekeeping.log_is_synced(self.machine.meta().applied.seq);
        Ok(())
    }

    /// Deletes some of the records that have expired. True if it may be that there are more.
    fn expire(&mut self) -> Result<bool, WriteError> {
        let now = self.now();
        let wedged = |reason| WriteError::Wedged { reason };
        let found = Housekeeping::records_to_expire(&self.machine, now).map_err(wedged)?;
        let Some(at) = found else { return Ok(false) };
        self.commit(encode_expire(at))?;
        Ok(true)
    }

    fn keep_house(&mut self) -> Result<(), WriteError> {
        if let Some(before) = self.housekeeping.tombstones_to_purge(&self.machine, self.now()) {
            self.commit(encode_purge(before))?;
        }
        self.housekeeping
            .run(&mut self.leader, &self.machine)
            .map_err(|reason| WriteError::Wedged { reason })?;
        self.stats.floor.store(self.housekeeping.floor(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes everything durable before the thread ends.
    fn finish(&mut self) -> Result<(), WriteError> {
        self.housekeeping.finish(&self.machine).map_err(|reason| WriteError::Wedged { reason })?;
        self.sync()?;
        let store = self.machine.store();
        let noted = store.put_log_synced(self.machine.meta().applied.seq);
        noted.and_then(|()| store.persist()).map_err(|error| WriteError::Wedged {
            reason: format!("the local state cannot be made durable: {error}"),
        })
    }

    /// The next reading of the hybrid logical clock: the wall clock, unless the log is ahead.
    fn now(&self) -> Timestamp {
        let clock = self.machine.progress().clock.now();
        clock.max(self.machine.meta().clock).max(self.memory.clock())
    }
}

/// Why a request ended of which something is in the log: that nothing of it was written would be
/// wrong.
fn in_part(reason: &WriteError) -> WriteError {
    match reason {
        WriteError::SteppedDown { .. } => WriteError::Unknown { reason: reason.to_string() },
        other => other.clone(),
    }
}

/// Callers must get an answer even if a library below panics on the writing thread.
struct PanicGuard {
    queue: Arc<Queue>,
    stats: Arc<WriterStats>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason =
                WriteError::Wedged { reason: "the writing thread has panicked".to_owned() };
            *self.stats.stopped.lock() = Some(reason.clone());
            self.queue.abort(&reason);
        }
    }
}

impl Active {
    fn new(waiting: Waiting) -> Self {
        Self {
            request: waiting.request,
            responder: waiting.responder,
            logged: 0,
            outcomes: Vec::new(),
            epoch: 0,
            seq: 0,
        }
    }

    /// What is still to be logged.
    fn rest(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.request.operations.iter().skip(self.logged)
    }

    fn is_done(&self) -> bool {
        self.logged >= self.request.operations.len()
    }

    /// How many operations go into an entry with so much room, and their size. An atomic request
    /// goes as a whole or not at all; another one is cut when the target is reached, but the
    /// first of an entry always brings at least one operation.
    fn share(&self, room: usize, target: usize, is_first: bool) -> (usize, usize) {
        let rest = self.request.operations.iter().skip(self.logged);
        if self.request.atomic {
            let fits = is_first || self.request.bytes <= room.min(target);
            return if fits { (rest.len(), self.request.bytes) } else { (0, 0) };
        }
        let mut bytes = 0;
        let mut count = 0;
        for operation in rest {
            let limit =
                if is_first && count == 0 { room.max(operation.len()) } else { room.min(target) };
            if bytes + operation.len() > limit {
                break;
            }
            bytes += operation.len();
            count += 1;
        }
        (count, bytes)
    }

    fn answer(self, unsynced: &mut Vec<Unsynced>) {
        let answer = WriteAnswer {
            outcomes: self.outcomes,
            epoch: self.epoch,
            seq: self.seq,
            repeated: false,
            durability: self.request.durability,
        };
        deliver(self.responder, self.request.durability, answer, unsynced);
    }

    /// Answers a request whose key is already spent: with its first answer, or a refusal.
    fn answer_repetition(self, machine: &Machine, unsynced: &mut Vec<Unsynced>) {
        let Some((key, digest)) = self.request.idempotency else { return };
        let answer = match recall(machine.store(), &key) {
            Ok(Some(known)) if known.digest == digest => known.answer(),
            Ok(_) => None,
            Err(error) => {
                let reason = WriteError::Wedged { reason: error.to_string() };
                let _ = self.responder.send(Err(reason));
                return;
            }
        };
        match answer {
            Some(answer) => deliver(self.responder, self.request.durability, answer, unsynced),
            None => {
                let _ = self.responder.send(Err(WriteError::IdempotencyMismatch { key }));
            }
        }
    }
}

fn deliver(
    responder: Responder,
    durability: Durability,
    mut answer: WriteAnswer,
    unsynced: &mut Vec<Unsynced>,
) {
    answer.durability = durability;
    match durability {
        // A caller that no longer waits needs no answer.
        Durability::Memory | Durability::Buffered => drop(responder.send(Ok(answer))),
        Durability::Sync => unsynced.push(Unsynced { responder, answer }),
    }
}

fn encode_shares(now: Timestamp, shares: &[Share]) -> Vec<u8> {
    let bytes: usize = shares
        .iter()
        .map(|share| {
            let key = share.active.request.idempotency.as_ref().map_or(0, |(key, _)| key.len());
            share.active.request.bytes + key + REQUEST_FRAME_BYTES
        })
        .sum();
    let requests = shares.iter().map(|share| {
        let Prepared { operations, atomic, idempotency, .. } = &share.active.request;
        let (start, end) = (share.active.logged, share.active.logged + share.operations);
        EncodedRequest {
            atomic: *atomic,
            idempotency: idempotency.as_ref().map(|(key, digest)| LoggedKey {
                key,
                digest: *digest,
                total: operations.len() as u64,
                offset: start as u64,
            }),
            operations: operations.get(start..end).unwrap_or_default(),
        }
    });
    encode_batch(now, requests, bytes)
}
