//! One shard: its log, its state, and its indexes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use hvs_checkpoint::CheckpointStore;
use hvs_kv::{
    copy::{copy_database, share_folder},
    database::{self, DatabaseError},
    journal,
};
use hvs_shard::{
    OpenError, Position, ShardConfig,
    repair::{
        Examined, IndexState, LocalState, Log, LogError, StateReport, deletions_in, log_of,
        make_empty, operations_in,
    },
};

use super::{
    Item, Repair, RepairError,
    folder::io_error,
    logs::{self, Kept, Logs, Save},
};

/// A shard to look at.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) config: ShardConfig,
    /// Below the data directory.
    pub(super) folder: PathBuf,
    /// Where its namespace's checkpoints are, and its number among the shards.
    pub(super) checkpoints: Option<(CheckpointStore, usize)>,
}

/// What the log of a shard is like.
pub(super) struct LogState {
    log: Log,
    leader_epoch: u64,
    /// The store was read, and has never had this log.
    is_missing: bool,
    /// Where it begins, and what is in it; or why that cannot be told.
    pub(super) read: Result<(Position, Examined), String>,
}

impl LogState {
    /// Where it begins, if it is whole up to its end.
    pub(super) fn whole(&self) -> Option<(Position, &Examined)> {
        let (floor, examined) = self.read.as_ref().ok().filter(|_| !self.is_missing)?;
        examined.damage.is_none().then_some((*floor, examined))
    }

    /// Its last whole entry.
    pub(super) fn end(&self) -> u64 {
        self.read.as_ref().map_or(0, |(_, examined)| examined.end.seq)
    }

    /// The last entry that was trimmed, if it could be read.
    pub(super) fn trimmed(&self) -> Option<u64> {
        self.read.as_ref().ok().map(|(floor, _)| floor.seq)
    }

    /// Why it cannot be what a whole state was made of, unless it can.
    fn is_not_of(&self, state: &LocalState) -> Option<String> {
        let (at, synced) = (state.position().seq, state.log_synced());
        let ends_before = |seq| self.whole().is_some_and(|(_, examined)| examined.end.seq < seq);
        if at == 0 {
            None
        } else if ends_before(at) && state.epoch() > self.leader_epoch {
            let found =
                "it ends before the state, and was never led in its epoch: it is another one";
            Some(found.to_owned())
        } else if ends_before(synced) {
            // Of those that are known to have been on the disk none goes with the power.
            let end = self.end();
            Some(format!(
                "it ends with entry {end}, and entry {synced} had been forced to the disk"
            ))
        } else {
            self.is_missing.then(|| "there has never been one in this store".to_owned())
        }
    }

    fn damage(&self) -> Option<String> {
        match &self.read {
            Ok((_, examined)) => examined.damage.as_ref().map(ToString::to_string),
            Err(reason) => Some(reason.clone()),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        let examined = self.read.as_ref().map_or(0, |(_, examined)| examined.epoch);
        self.leader_epoch.max(examined)
    }
}

/// Why a state cannot be used as it is.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each of them may hold beside the others")]
pub(super) struct Unusable {
    pub(super) reason: String,
    /// What can be opened of it.
    pub(super) state: Option<LocalState>,
    /// Every row that it says it has could be read.
    pub(super) is_whole: bool,
    /// Some of its records are another shard's, or older than the rest.
    pub(super) is_mixed: bool,
    /// A journal is damaged; whole batches may lie before it.
    pub(super) has_damaged_journal: bool,
    /// It is whole, but not what its log says: one of them is of another directory.
    pub(super) is_of_another_log: bool,
}

impl Repair {
    /// Looks at a shard, and repairs what can be. The state that it has in the end, if it has one.
    pub(super) fn shard(
        &mut self,
        logs: &Logs,
        target: &Target,
    ) -> Result<(Option<LocalState>, Save), RepairError> {
        let first_item = self.items.len();
        let log = self.read_log(logs, target);
        let mut moves = Vec::new();
        let (state, kept, is_changed) = match self.open_state(logs, target, &log)? {
            Ok((state, report)) => {
                let found = format!(
                    "{} records, {} tombstones, {} idempotency keys",
                    report.records, report.tombstones, report.idempotency_keys
                );
                self.add(Item::clean("state", &target.name, &target.store(), found));
                let (kept, is_changed) = self.check_log(logs, target, &log, &state);
                if is_changed {
                    // The state on the disk may still be in the operating system's hands alone.
                    // The copy is the same, and is made durable.
                    let copy = self.folder.path_of_work(&target.work("copy"));
                    moves.push((copy, target.folder.join("store")));
                }
                (Some(state), kept, is_changed)
            }
            Err(unusable) => self.rebuild_state(logs, target, &log, &unusable, &mut moves)?,
        };
        if let Some(state) = &state {
            self.indexes(target, state)?;
        }
        let items = first_item..self.items.len();
        let config = target.config.clone();
        Ok((state, Save { config, kept, is_changed, moves, items }))
    }

    fn read_log(&self, logs: &Logs, target: &Target) -> LogState {
        let log = log_of(&target.config, Arc::clone(&logs.kv));
        let leader = self.runtime.block_on(log.leader());
        let is_missing = logs.lost.is_none() && !logs.are_new && matches!(leader, Ok(None));
        let leader_epoch = leader.as_ref().ok().and_then(Option::as_ref).map_or(0, |l| l.epoch);
        let read = match (&logs.lost, leader, self.runtime.block_on(log.floor())) {
            (Some(reason), _, _) => Err(reason.clone()),
            (None, Err(error), _) | (None, Ok(_), Err(error)) => Err(error.to_string()),
            (None, Ok(_), Ok(floor)) => {
                let from = Position::from(floor);
                let examined = self.runtime.block_on(log.examine(from));
                examined.map(|examined| (from, examined)).map_err(|error| error.to_string())
            }
        };
        LogState { log, leader_epoch, is_missing, read }
    }

    /// A copy of what is on the disk that can be opened, what is wrong with it, and whether that is in
    /// a journal; or why there can be none.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    fn copy_state(
        &self,
        target: &Target,
        path: &Path,
    ) -> Result<Result<(PathBuf, Vec<String>, bool), String>, RepairError> {
        let work = self.folder.work(&target.work("copy"))?;
        copy_database(path, &work).map_err(io_error(path))?;
        let mut reasons = Vec::new();
        let mut checked = database::check(path);
        if let Ok(()) | Err(DatabaseError::Journal(_)) = &checked
            && let Err(damage) = database::check_listing(path)
        {
            checked = Err(damage);
        }
        match &checked {
            Ok(()) | Err(DatabaseError::Journal(_)) => {}
            Err(newer @ DatabaseError::Newer { .. }) => {
                return Err(RepairError::Newer { reason: newer.to_string() });
            }
            // Lists are small and say nothing of users: without one, what journals have is left.
            Err(damage) => {
                reasons.push(damage.to_string());
                let empty = self.folder.work(&target.work("empty"))?;
                let replaced = no_panic(|| make_empty(&target.config, &empty))
                    .and_then(|()| no_panic(|| database::replace_lists(&work, &empty)));
                if replaced.is_err() {
                    return Ok(Err(reasons.join("; ")));
                }
                checked = database::check(&work);
            }
        }
        let Err(damage) = checked else { return Ok(Ok((work, reasons, false))) };
        let found = on_disk(&damage.to_string(), &work, path);
        if !reasons.contains(&found) {
            reasons.push(found);
        }
        if matches!(damage, DatabaseError::Journal(_)) {
            Ok(Ok((work, reasons, true)))
        } else {
            Ok(Err(reasons.join("; ")))
        }
    }

    /// The state on the disk, brought to the end of the log where that is whole.
    fn open_state(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
    ) -> Result<Result<(LocalState, StateReport), Unusable>, RepairError> {
        let unusable = |reason| Unusable { reason, ..Unusable::default() };
        let path = self.folder.path().join(target.folder.join("store"));
        if !path.join("keyspaces").exists() {
            return Ok(Err(unusable("there is no store".to_owned())));
        }
        let (work, mut reasons, has_damaged_journal) = match self.copy_state(target, &path)? {
            Ok(copied) => copied,
            Err(reason) => return Ok(Err(unusable(reason))),
        };
        let unusable = |reason| Unusable { reason, has_damaged_journal, ..Unusable::default() };
        if has_damaged_journal {
            for journal in journal::journals(&work).unwrap_or_default() {
                // What cannot be taken out is met when it is opened.
                let _ = journal::take_out_damage(&journal);
            }
        }
        // Once it is open its files change.
        let tables = if reasons.is_empty() { &path } else { &work };
        let tables = (!has_damaged_journal).then(|| database::check_all(tables).err()).flatten();
        let mut state = match no_panic(|| LocalState::open(&target.config, &work)) {
            Ok(state) => state,
            Err(reason) => {
                reasons.push(on_disk(&reason, &work, &path));
                return Ok(Err(unusable(reasons.join("; "))));
            }
        };
        if !reasons.is_empty() && state.position().seq == 0 && log.end() > 0 {
            // What says which entry it shows is lost, and nothing can be told of it without.
            return Ok(Err(unusable(reasons.join("; "))));
        }
        let report = match no_panic(|| Ok::<_, RepairError>(state.verify())) {
            Ok(report) => report,
            Err(reason) => {
                reasons.push(on_disk(&reason, &work, &path));
                return Ok(Err(unusable(reasons.join("; "))));
            }
        };
        let mut is_whole = !has_damaged_journal && report.damaged == 0;
        if let Some(damage) = tables {
            reasons.push(on_disk(&damage.to_string(), &work, &path));
            is_whole = false;
        }
        // Damage of files explains what is missing; where they are whole, some are of another state.
        let is_mixed = report.is_mixed && reasons.is_empty();
        if report.damaged > 0 {
            reasons.push(format!("wrong rows: {}", report.damaged));
            reasons.extend_from_slice(&report.damage);
        }
        if !reasons.is_empty() {
            let state = Some(state);
            return Ok(Err(Unusable { state, is_whole, is_mixed, ..unusable(reasons.join("; ")) }));
        }
        let mut is_of_another_log = false;
        let catch_up = || {
            state.catch_up(&logs.kv).inspect_err(|error| {
                is_of_another_log = matches!(error, OpenError::Log(LogError::Diverged { .. }));
            })
        };
        if log.whole().is_some()
            && let Err(reason) = no_panic(catch_up)
        {
            let state = Some(state);
            return Ok(Err(Unusable { state, is_of_another_log, ..unusable(reason) }));
        }
        Ok(Ok((state, report)))
    }

    /// What becomes of the log of a shard whose state is whole.
    fn check_log(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
        state: &LocalState,
    ) -> (Option<Kept>, bool) {
        let at = state.position();
        let epoch = log.epoch().max(state.epoch());
        if log.is_missing || log.whole().is_some() && log.end() < at.seq {
            self.behind.extend((at.seq > 0 && logs.lost.is_none()).then(|| target.name.clone()));
        }
        if let Some(found) = log.is_not_of(state) {
            let accept = target.accept();
            let outcome = self.lossy(&accept);
            self.add(Item {
                outcome,
                action: format!(
                    "put the store of logs back that belongs here; else the log begins anew after \
                     entry {}, which the state shows, and what was logged and not applied is lost",
                    at.seq
                ),
                accept: Some(accept.clone()),
                ..Item::clean("log", &target.name, "kv", found)
            });
            if !self.accepts(&accept) {
                return (None, false);
            }
            return (Some(Kept { after: at, through: at.seq, epoch }), true);
        }
        if let Some((floor, examined)) = log.whole() {
            let found = format!("{} entries after {}", examined.entries, floor.seq);
            self.add(Item::clean("log", &target.name, "kv", found));
            let through = examined.end.seq;
            // One that ends before the state begins anew after it when it is opened, and here.
            let (after, through) = if through < at.seq { (at, at.seq) } else { (floor, through) };
            return (Some(Kept { after, through, epoch }), false);
        }
        if logs.are_new || log.is_missing {
            return (Some(Kept { after: at, through: at.seq, epoch }), false);
        }
        let reason = log.damage().unwrap_or_default();
        let item = Item::clean("log", &target.name, "kv", reason);
        let rest = if logs.lost.is_some() {
            None
        } else {
            self.runtime.block_on(log.log.examine(at)).ok()
        };
        let Some(rest) = rest else {
            let accept = logs::ACCEPT;
            let outcome = self.lossy(accept);
            self.add(Item {
                outcome,
                action: format!(
                    "the log begins anew after entry {}, which the state shows; entries that were \
                     logged and not applied are lost, which are none if the node was stopped and \
                     not killed",
                    at.seq
                ),
                accept: Some(accept.to_owned()),
                ..item
            });
            if !self.accepts(accept) {
                return (None, false);
            }
            return (Some(Kept { after: at, through: at.seq, epoch }), true);
        };
        let epoch = epoch.max(rest.epoch);
        let kept = Kept { after: at, through: rest.end.seq, epoch };
        if rest.damage.is_none() {
            let outcome = self.repaired();
            let action = format!(
                "nothing is lost: the state shows entry {}. The log begins anew after it; older \
                 states between checkpoints can no longer be restored",
                at.seq
            );
            self.add(Item { outcome, action, ..item });
            return (Some(kept), true);
        }
        let accept = target.accept();
        let outcome = self.lossy(&accept);
        let (through, last) = (rest.end.seq, rest.last_seq);
        let operations = self.operations_after(log, through);
        self.add(Item {
            outcome,
            action: format!(
                "the log ends at entry {through}; entries {} to {last} are lost",
                through + 1
            ),
            accept: Some(accept.clone()),
            lost_entries: Some(last.saturating_sub(through)),
            lost_records: operations,
            ..item
        });
        if !self.accepts(&accept) {
            return (None, false);
        }
        (Some(kept), true)
    }

    /// Operations in the entries after a place, as far as they can be read; not known where some of
    /// these entries were trimmed, or the log ends before the place.
    pub(super) fn operations_after(&self, log: &LogState, seq: u64) -> Option<u64> {
        self.sum_after(log, seq, operations_in)
    }

    /// Deletions in them.
    pub(super) fn deletions_after(&self, log: &LogState, seq: u64) -> Option<u64> {
        self.sum_after(log, seq, deletions_in)
    }

    fn sum_after(
        &self,
        log: &LogState,
        seq: u64,
        count: impl Fn(&[u8]) -> Option<u64>,
    ) -> Option<u64> {
        let (floor, examined) = log.read.as_ref().ok()?;
        if floor.seq > seq || examined.last_seq < seq {
            return None;
        }
        let payloads = self.runtime.block_on(log.log.payloads_after(seq)).ok()?;
        Some(payloads.iter().filter_map(|payload| count(payload)).sum())
    }

    /// Compares the indexes with the records, and builds anew what differs.
    fn indexes(&mut self, target: &Target, state: &LocalState) -> Result<(), RepairError> {
        for vector in state.vectors() {
            let of = format!("{}, vector {vector:?}", target.name);
            let place = state.index_folder(vector);
            self.index(
                target,
                "index",
                &of,
                &place,
                &Checked {
                    verify: &|copy| state.verify_index(vector, copy),
                    build: &|folder| state.build_index(vector, folder),
                },
            )?;
        }
        if state.has_text() {
            self.index(
                target,
                "text index",
                &target.name,
                &state.text_folder(),
                &Checked {
                    verify: &|copy| state.verify_text(copy),
                    build: &|folder| state.build_text(folder),
                },
            )?;
        }
        Ok(())
    }

    fn index(
        &mut self,
        target: &Target,
        part: &'static str,
        of: &str,
        place: &Path,
        checked: &Checked<'_>,
    ) -> Result<(), RepairError> {
        let below = target.folder.join(place);
        let path = self.folder.path().join(&below);
        let copy = self.folder.work(&target.work("index-copy"))?;
        let item = |found: String| Item::clean(part, of, &below.display().to_string(), found);
        let reason = if path.is_dir() {
            share_folder(&path, &copy).map_err(io_error(&path))?;
            match no_panic(|| (checked.verify)(&copy)) {
                Ok(IndexState::Whole { rows }) => {
                    self.add(item(format!("{rows} rows")));
                    return Ok(());
                }
                Ok(IndexState::Unusable { reason }) => {
                    reason.replace(&copy.display().to_string(), &path.display().to_string())
                }
                Err(reason) => reason,
            }
        } else {
            "it is missing".to_owned()
        };
        let built = self.folder.work(&target.work("built").join(place))?;
        let rows = (checked.build)(&built).map_err(|error| RepairError::Build {
            what: format!("an index of {of}"),
            reason: error.to_string(),
        })?;
        self.folder.replace(&built, &below);
        let outcome = self.repaired();
        let action = format!("built anew from the records: {rows} rows");
        self.add(Item { outcome, action, ..item(reason) });
        Ok(())
    }
}

type Verify<'a> = dyn Fn(&Path) -> Result<IndexState, hvs_shard::OpenError> + 'a;
type Build<'a> = dyn Fn(&Path) -> Result<u64, hvs_shard::OpenError> + 'a;

/// How an index is looked at and built.
struct Checked<'a> {
    verify: &'a Verify<'a>,
    build: &'a Build<'a>,
}

impl Target {
    pub(super) fn store(&self) -> String {
        self.folder.join("store").display().to_string()
    }

    pub(super) fn accept(&self) -> String {
        format!("shard={}", self.config.shard)
    }

    pub(super) fn work(&self, what: &str) -> PathBuf {
        self.folder.join(what)
    }
}

/// What was found in a copy, told of what it is a copy of.
pub(super) fn on_disk(found: &str, copy: &Path, original: &Path) -> String {
    found.replace(&copy.display().to_string(), &original.display().to_string())
}

/// The database below takes some damage for a defect of its own and panics; here it is damage.
pub(super) fn no_panic<T, E: std::fmt::Display>(
    look: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(look)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it cannot be opened: its files contradict each other".to_owned()),
    }
}
