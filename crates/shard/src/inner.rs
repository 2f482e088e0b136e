//! Opening, reading and closing: what stands behind the clones of a shard.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use hvs_kv::Kv;
use hvs_log::{
    BarrierOutcome, Leader, LeaderRecord, Log, LogError, Position, is_over, session_key,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::block_on::block_on;
use crate::config::ShardConfig;
use crate::error::{CloseError, OpenError, ReadError, WriteError};
use crate::indexes::Indexes;
use crate::machine::{Machine, Progress};
use crate::memory::Memory;
use crate::operation::{Durability, WriteAnswer, WriteRequest};
use crate::prepare::{Prepared, prepare};
use crate::queue::Queue;
use crate::read::{ShardMemory, ShardStats};
use crate::store::Store;
use crate::writer::{Writer, WriterStats};

pub(crate) struct Inner {
    pub(crate) config: ShardConfig,
    pub(crate) store: Store,
    pub(crate) indexes: Arc<Indexes>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) memory: Arc<Memory>,
    /// For reading only.
    pub(crate) log: Log,
    queue: Arc<Queue>,
    writer_stats: Arc<WriterStats>,
    writer: Mutex<Option<JoinHandle<Result<(), WriteError>>>>,
}

impl Inner {
    pub(crate) fn open(
        config: ShardConfig,
        kv: Arc<dyn Kv>,
        directory: &Path,
    ) -> Result<Self, OpenError> {
        config.check()?;
        let config = config.owning();
        hvs_kv::directory::create(directory).map_err(|source| OpenError::Io {
            what: format!("create the directory {}", directory.display()),
            source,
        })?;
        let may_lose_buffered = kv.may_lose_buffered();
        let sessions = Arc::clone(&kv);
        let log = Log::new(kv, &config.log_prefix, config.log_id());
        let path = directory.join("store");
        if may_lose_buffered && !hvs_kv::database::is_there(&path) {
            // Of such a log alone nobody can tell whether it has lost its end.
            if block_on(log.leader())?.is_some() {
                return Err(OpenError::StateMissing { shard: config.shard, path });
            }
        }
        let store = Store::open(&path, config.store, config.verify_tables)?;
        store.check_identity(&config)?;
        store.records.set_compression(config.compression);
        let mut machine = Machine::new(store.clone(), store.load_meta()?, config.wall.clone());

        machine.load_feed().map_err(|source| store.storage(source))?;
        let leader = lead(&*sessions, &log, &config, &mut machine)?;
        let floor = block_on(log.floor())?.seq;
        machine.progress().feed.begin_after(floor);

        let indexes = Indexes::open(&directory.join("index"), &config, &store, machine.meta())?;
        let indexes = Arc::new(indexes);
        machine.attach(Arc::clone(&indexes));
        store.settle().map_err(|source| store.storage(source))?;
        let progress = machine.progress();

        let queue = Arc::new(Queue::new(config.queue));
        let memory = Memory::new(leader.epoch(), &config);
        let memory = Arc::new(memory);
        let writer_stats = Arc::new(WriterStats::default());
        let mut writer = Writer::new(
            config.clone(),
            leader,
            machine,
            Arc::clone(&queue),
            Arc::clone(&memory),
            Arc::clone(&writer_stats),
            floor,
        );
        writer.log_configuration().map_err(|error| OpenError::Apply {
            seq: progress.applied.load(Ordering::Acquire),
            reason: error.to_string(),
        })?;
        let thread = std::thread::Builder::new()
            .name("hvs-shard".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io {
                what: "start the writing thread".to_owned(),
                source,
            })?;
        Ok(Self {
            config,
            store,
            indexes,
            progress,
            memory,
            log,
            queue,
            writer_stats,
            writer: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn destroy(
        config: &ShardConfig,
        kv: Arc<dyn Kv>,
        directory: &Path,
    ) -> Result<(), OpenError> {
        // The state goes first: a log without state is a shard, state without its log is not.
        match std::fs::remove_dir_all(directory) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                let what = format!("remove the directory {}", directory.display());
                return Err(OpenError::Io { what, source });
            }
            _ => {}
        }
        Ok(block_on(Log::new(kv, &config.log_prefix, config.log_id()).destroy())?)
    }

    pub(crate) async fn write(&self, request: WriteRequest) -> Result<WriteAnswer, WriteError> {
        let prepared = prepare(&request, &self.config, self.progress.clock.now())?;
        drop(request);
        if prepared.durability == Durability::Memory
            && let Some(answer) = self.write_in_memory(&prepared)
        {
            return answer;
        }
        let (responder, answer) = oneshot::channel();
        self.queue.push(prepared, responder)?;
        // Closing answers everything that was queued: only a panic leaves a caller without.
        answer.await.unwrap_or_else(|_| {
            let reason = "the writing thread ended without an answer".to_owned();
            Err(self.stopped().unwrap_or(WriteError::Wedged { reason }))
        })
    }

    /// Carries a request out without the writer, unless that is at work or the request has to be
    /// logged.
    fn write_in_memory(&self, request: &Prepared) -> Option<Result<WriteAnswer, WriteError>> {
        let mut turn = self.memory.try_turn()?;
        if let Some(refusal) = self.queue.closed() {
            return Some(Err(refusal));
        }
        self.memory.carry_out(&mut turn, &self.store, &self.progress, request).transpose()
    }

    pub(crate) fn stats(&self) -> ShardStats {
        let queue = self.queue.stats();
        let (progress, writer) = (&self.progress, &self.writer_stats);
        let (written_plain_bytes, written_stored_bytes) = self.store.records.written();
        ShardStats {
            records: self.records().unwrap_or_else(|_| self.stored()),
            memory_records: self.memory.len() as u64,
            memory_bytes: self.memory.bytes() as u64,
            tombstones: progress.tombstones.load(Ordering::Relaxed),
            idempotency_keys: progress.remembered.load(Ordering::Relaxed),
            epoch: progress.epoch.load(Ordering::Relaxed),
            applied_seq: progress.applied.load(Ordering::Acquire),
            log_floor: writer.floor.load(Ordering::Relaxed),
            log_entries: writer.entries.load(Ordering::Relaxed),
            log_bytes: writer.bytes.load(Ordering::Relaxed),
            operations: progress.operations.load(Ordering::Relaxed),
            syncs: writer.syncs.load(Ordering::Relaxed),
            queued_requests: queue.requests,
            queued_bytes: queue.bytes,
            overloaded: queue.overloaded,
            store_bytes: self.store.disk_bytes(),
            written_plain_bytes,
            written_stored_bytes,
            is_recompressing: self.store.records.is_changing(self.stored()),
            indexes: self.indexes.stats(),
            rebuild_rows: self.indexes.rebuild_rows(),
            // Before what it holds: when nothing is built, that is of what was built last.
            payload_building: self.indexes.payload().is_building(),
            payload: self.indexes.payload().stats(),
            text: self.text_stats(),
            stopped: self.stopped().map(|error| error.to_string()),
        }
    }

    pub(crate) fn memory_held(&self) -> ShardMemory {
        let text = self.indexes.text().current().map(|text| text.stats().pending_bytes);
        ShardMemory {
            indexes: self.indexes.anonymous_bytes(),
            metadata: self.indexes.payload().stats().bytes as u64,
            text: text.unwrap_or(0),
            unlogged: self.memory.bytes() as u64,
            queued: self.queue.stats().bytes as u64,
            buffers: self.store.buffer_bytes(),
            blocks: self.store.block_bytes(),
        }
    }

    /// Live records, wherever they are.
    pub(crate) fn records(&self) -> Result<u64, ReadError> {
        self.memory.settled(|| {
            let in_memory = self.memory.len() as u64;
            Ok(self.count_all()? + in_memory)
        })
    }

    pub(crate) fn flush(&self) -> Result<(), ReadError> {
        self.indexes
            .flush()
            .map_err(|(name, error)| ReadError::Index { name, reason: error.to_string() })
    }

    pub(crate) fn persist(&self) -> Result<(), WriteError> {
        self.store.persist().map_err(|error| WriteError::Wedged {
            reason: format!("the local state cannot be made durable: {error}"),
        })
    }

    pub(crate) fn close(&self) -> Result<(), CloseError> {
        self.queue.close(WriteError::Closed);
        let writer = self.writer.lock().take();
        let ended = writer.map(|thread| {
            thread.join().unwrap_or_else(|_| {
                Err(WriteError::Wedged { reason: "the writing thread has panicked".to_owned() })
            })
        });
        self.indexes.close();
        // The shard may be closed because its namespace is deleted.
        self.progress.feed.wake();
        if let Some(ended) = ended {
            return ended.map_err(|error| CloseError { reason: error.to_string() });
        }
        match self.stopped() {
            None => Ok(()),
            Some(error) => Err(CloseError { reason: error.to_string() }),
        }
    }

    fn stopped(&self) -> Option<WriteError> {
        self.writer_stats.stopped.lock().clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(shard = %self.config.shard, %error, "shard did not close cleanly");
        }
    }
}

/// Takes over the log and brings the machine to its end.
fn lead(
    kv: &dyn Kv,
    log: &Log,
    config: &ShardConfig,
    machine: &mut Machine,
) -> Result<Leader, OpenError> {
    let shard = config.shard;
    let (claim, mut tail) = loop {
        let seq = machine.meta().applied.seq;
        let observed = block_on(log.leader())?;
        let led = match &observed {
            Some(leader) => leader.epoch,
            None if seq > 0 => return Err(OpenError::LogMissing { shard, seq }),
            None => 0,
        };
        let Some(lease) = &config.lease else {
            let tail = catch_up(log, shard, led, machine, kv.may_lose_buffered())?;
            break (block_on(log.claim(config.writer.clone()))?, tail);
        };
        if let Some(leader) = &observed {
            ensure_over(kv, config, leader)?;
        }
        let tail = catch_up(log, shard, led, machine, kv.may_lose_buffered())?;
        // Not before: reading the log may take longer than the session lasts.
        if !lease.is_valid() {
            return Err(OpenError::NoLease);
        }
        match block_on(log.take_over(config.writer.clone(), observed.as_ref())) {
            // Perhaps by one whose session is over as well; it is looked at anew.
            Err(LogError::Overtaken { .. }) => {}
            claimed => break (claimed?, tail),
        }
    };
    loop {
        let (leader, entry, position) = match block_on(claim.barrier(tail))? {
            BarrierOutcome::Leading(leader, entry, position) => (Some(leader), entry, position),
            BarrierOutcome::Absorb(entry, position) => (None, entry, position),
        };
        apply(machine, &entry, position)?;
        tail = position;
        if let Some(leader) = leader {
            return Ok(*leader);
        }
    }
}

/// Fence first: whoever led before must not be able to go on. This start of this node may take the
/// place of itself, since it has the shard open once.
fn ensure_over(kv: &dyn Kv, config: &ShardConfig, leader: &LeaderRecord) -> Result<(), OpenError> {
    if leader.writer == config.writer {
        return Ok(());
    }
    let key = session_key(&config.log_prefix, &leader.writer.node);
    if block_on(is_over(kv, &key, leader.writer.incarnation))? {
        return Ok(());
    }
    let (node, epoch) = (leader.writer.node.clone(), leader.epoch);
    Err(OpenError::Led { shard: config.shard, node, epoch })
}

/// Applies everything that is in the log, which was led up to an epoch.
fn catch_up(
    log: &Log,
    shard: Uuid,
    led: u64,
    machine: &mut Machine,
    may_lose_buffered: bool,
) -> Result<Position, OpenError> {
    let applied = machine.meta().applied;
    let store = machine.store();
    let synced = store.load_log_synced().map_err(|source| store.storage(source))?;
    let mut replay = log.replay(applied);
    loop {
        match block_on(replay.next()) {
            Ok(Some((entry, position))) => apply(machine, &entry, position)?,
            Ok(None) => return Ok(replay.position()),
            Err(LogError::EndsBefore { seq }) if may_lose_buffered => {
                // An epoch is durable before anything is written in it, whatever is lost later.
                let epoch = machine.meta().epoch;
                if epoch > led {
                    return Err(OpenError::OtherLog { shard, seq, epoch, led });
                }
                // What was forced to the disk is not lost with the power.
                let has_synced =
                    block_on(log.floor())?.seq >= synced || block_on(log.entry(synced))?.is_some();
                if has_synced {
                    tracing::warn!(
                        shard_seq = seq,
                        "the log has lost entries that were not known to be on the disk, and the \
                         local state has kept them; going on from it. Entries after them are lost, \
                         if there were any"
                    );
                } else {
                    tracing::error!(
                        shard_seq = seq,
                        synced,
                        "the log has lost entries that had been forced to the disk: the store of \
                         logs is damaged, or an older one. The local state has kept them; going on \
                         from it. Entries after them are lost, if there were any"
                    );
                }
                block_on(log.restart_after(applied))?;
                return Ok(applied);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn apply(
    machine: &mut Machine,
    entry: &hvs_log::Entry,
    position: Position,
) -> Result<(), OpenError> {
    machine
        .apply(entry, position)
        .map(drop)
        .map_err(|error| OpenError::Apply { seq: position.seq, reason: error.to_string() })
}
