//! One shard: its log, its state, and its indexes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use hvs_checkpoint::CheckpointStore;
use hvs_kv::{
    copy::{copy_database, share_folder},
    journal,
};
use hvs_shard::{
    Position, ShardConfig,
    repair::{
        Examined, IndexState, LocalState, Log, StateReport, log_of, operations_in,
        rebuild_from_log, rebuild_from_rows,
    },
};

use super::{
    Item, Outcome, Repair, RepairError,
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
struct LogState {
    log: Log,
    leader_epoch: u64,
    /// Where it begins, and what is in it; or why that cannot be told.
    read: Result<(Position, Examined), String>,
}

impl LogState {
    /// Where it begins, if it is whole up to its end.
    fn whole(&self) -> Option<(Position, &Examined)> {
        let (floor, examined) = self.read.as_ref().ok()?;
        examined.damage.is_none().then_some((*floor, examined))
    }

    fn damage(&self) -> Option<String> {
        match &self.read {
            Ok((_, examined)) => examined.damage.as_ref().map(ToString::to_string),
            Err(reason) => Some(reason.clone()),
        }
    }

    fn epoch(&self) -> u64 {
        let examined = self.read.as_ref().map_or(0, |(_, examined)| examined.epoch);
        self.leader_epoch.max(examined)
    }
}

/// A state that was built, and what it lacks.
struct Built {
    state: LocalState,
    path: PathBuf,
    from: String,
    lost_records: Option<u64>,
    lost_entries: Option<u64>,
    is_lossy: bool,
    /// Whether the log goes on after it; else it begins anew there.
    follows: bool,
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
            Err((reason, damaged)) => {
                self.rebuild_state(logs, target, &log, &reason, damaged.as_ref(), &mut moves)?
            }
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
        LogState { log, leader_epoch, read }
    }

    /// The state on the disk, brought to the end of the log where that is whole; or why it is not
    /// usable, with what can be opened of it.
    #[expect(clippy::type_complexity, reason = "one caller, which takes it apart at once")]
    fn open_state(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
    ) -> Result<Result<(LocalState, StateReport), (String, Option<LocalState>)>, RepairError> {
        let path = self.folder.path().join(target.folder.join("store"));
        if !path.join("version").exists() {
            return Ok(Err(("there is no store".to_owned(), None)));
        }
        if let Err(damage) = journal::check(&path) {
            return Ok(Err((damage.to_string(), None)));
        }
        let work = self.folder.work(&target.work("copy"))?;
        copy_database(&path, &work).map_err(io_error(&path))?;
        let mut state = match no_panic(|| LocalState::open(&target.config, &work)) {
            Ok(state) => state,
            Err(reason) => return Ok(Err((reason, None))),
        };
        let report = match no_panic(|| Ok::<_, RepairError>(state.verify())) {
            Ok(report) => report,
            Err(reason) => return Ok(Err((reason, None))),
        };
        if report.damaged > 0 {
            let reason =
                format!("{} things are wrong: {}", report.damaged, report.damage.join("; "));
            return Ok(Err((reason, Some(state))));
        }
        if log.whole().is_some()
            && let Err(reason) = no_panic(|| state.catch_up(&logs.kv))
        {
            return Ok(Err((reason, Some(state))));
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
        if let Some((floor, examined)) = log.whole() {
            let found = format!("{} entries after {}", examined.entries, floor.seq);
            self.add(Item::clean("log", &target.name, "kv", found));
            let through = examined.end.seq;
            // One that ends before the state begins anew after it when it is opened, and here.
            let (after, through) = if through < at.seq { (at, at.seq) } else { (floor, through) };
            return (Some(Kept { after, through, epoch }), false);
        }
        if logs.are_new {
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

    /// Operations in the entries after a place, as far as they can be read.
    fn operations_after(&self, log: &LogState, seq: u64) -> Option<u64> {
        let payloads = self.runtime.block_on(log.log.payloads_after(seq)).ok()?;
        Some(payloads.iter().filter_map(|payload| operations_in(payload)).sum())
    }

    /// Builds a state in the place of one that is damaged.
    fn rebuild_state(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
        reason: &str,
        damaged: Option<&LocalState>,
        moves: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(Option<LocalState>, Option<Kept>, bool), RepairError> {
        let item = Item::clean("state", &target.name, &target.store(), reason.to_owned());
        let built = self.build_state(logs, target, log, damaged)?;
        let accept = target.accept();
        let Some(built) = built else {
            self.add(Item {
                outcome: Outcome::Decision,
                action:
                    "neither its log nor a checkpoint reaches back to its beginning, and no row \
                         of it can be read: restore a copy of the data directory, or a checkpoint \
                         under another name, and delete the namespace"
                        .to_owned(),
                ..item
            });
            return Ok((None, None, false));
        };
        let outcome = if built.is_lossy { self.lossy(&accept) } else { self.repaired() };
        let records = built.state.records();
        self.add(Item {
            outcome,
            action: format!("built anew from {}: {records} records", built.from),
            accept: built.is_lossy.then(|| accept.clone()),
            lost_records: built.lost_records,
            lost_entries: built.lost_entries,
            ..item
        });
        if built.is_lossy && !self.accepts(&accept) {
            return Ok((None, None, false));
        }
        let at = built.state.position();
        let epoch = log.epoch().max(built.state.epoch());
        let store = target.folder.join("store");
        match log.whole() {
            Some((floor, examined)) if built.follows => {
                let found = format!("{} entries after {}", examined.entries, floor.seq);
                self.add(Item::clean("log", &target.name, "kv", found));
                self.folder.replace(&built.path, &store);
                let kept = Kept { after: floor, through: examined.end.seq, epoch };
                Ok((Some(built.state), Some(kept), false))
            }
            _ => {
                moves.push((built.path, store));
                let kept = Kept { after: at, through: at.seq, epoch };
                Ok((Some(built.state), Some(kept), true))
            }
        }
    }

    /// The best state that can be had: all of it from the log, or from a checkpoint and the log;
    /// else what is whole of the damaged one, or a checkpoint.
    fn build_state(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
        damaged: Option<&LocalState>,
    ) -> Result<Option<Built>, RepairError> {
        let whole = log.whole();
        if whole.is_some_and(|(floor, examined)| floor.seq == 0 && examined.entries > 0) {
            let path = self.folder.work(&target.work("from-log"))?;
            if let Ok(state) = no_panic(|| rebuild_from_log(&target.config, &logs.kv, &path)) {
                let from = "its log".to_owned();
                return Ok(Some(Built::whole(state, path, from)));
            }
        }
        let checkpoint = self.rebuilt_from_checkpoint(logs, target, log)?;
        if let Some(built) = &checkpoint
            && !built.is_lossy
        {
            return Ok(checkpoint);
        }
        if let Some(damaged) = damaged {
            let path = self.folder.work(&target.work("saved"))?;
            if let Ok(saved) = no_panic(|| damaged.save_what_is_whole(&path)) {
                let mut state = saved.state;
                let follows = whole.is_some() && no_panic(|| state.catch_up(&logs.kv)).is_ok();
                return Ok(Some(Built {
                    state,
                    path,
                    from: "what is whole of it".to_owned(),
                    lost_records: Some(saved.lost_records),
                    lost_entries: None,
                    is_lossy: true,
                    follows,
                }));
            }
        }
        Ok(checkpoint)
    }

    /// From the newest checkpoint that can be read, with the log if that goes on from there.
    fn rebuilt_from_checkpoint(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
    ) -> Result<Option<Built>, RepairError> {
        let Some((store, number)) = &target.checkpoints else { return Ok(None) };
        let Ok(Some(loaded)) = self.runtime.block_on(store.manifest()) else { return Ok(None) };
        for checkpoint in loaded.manifest.checkpoints.iter().rev() {
            let part = checkpoint.shards.get(*number);
            let Some(part) = part.filter(|part| part.uid == target.config.shard) else { continue };
            let path = self.folder.work(&target.work("from-checkpoint"))?;
            let rows = self.rows(store, &part.links).map(|row| {
                let hvs_checkpoint::Row { key, value } = row?;
                Ok::<_, crate::checkpoints::CheckpointError>((key, value))
            });
            let built = no_panic(|| rebuild_from_rows(&target.config, &path, rows, part.digest.0));
            let Ok(mut state) = built else { continue };
            let from = format!("checkpoint {}", checkpoint.id);
            if log.whole().is_some() && no_panic(|| state.catch_up(&logs.kv)).is_ok() {
                return Ok(Some(Built::whole(state, path, format!("{from} and its log"))));
            }
            let at = part.seq;
            let last = log.read.as_ref().map_or(at, |(_, examined)| examined.last_seq);
            return Ok(Some(Built {
                state,
                path,
                from,
                lost_records: self.operations_after(log, at),
                lost_entries: Some(last.saturating_sub(at)),
                is_lossy: true,
                follows: false,
            }));
        }
        Ok(None)
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

impl Built {
    fn whole(state: LocalState, path: PathBuf, from: String) -> Self {
        let (lost_records, lost_entries) = (None, None);
        Self { state, path, from, lost_records, lost_entries, is_lossy: false, follows: true }
    }
}

impl Target {
    fn store(&self) -> String {
        self.folder.join("store").display().to_string()
    }

    fn accept(&self) -> String {
        format!("shard={}", self.config.shard)
    }

    fn work(&self, what: &str) -> PathBuf {
        self.folder.join(what)
    }
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
