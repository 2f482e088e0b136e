//! Building the state of a shard anew, from the best that there is.

use std::path::{Path, PathBuf};

use hvs_kv::{copy::copy_database, database, journal};
use hvs_shard::repair::{LocalState, rebuild_from_log, rebuild_from_rows};

use super::{
    Item, Outcome, Repair, RepairError,
    folder::io_error,
    logs::{Kept, Logs, Save},
    shard::{LogState, Target, Unusable, no_panic},
};

/// A state that was built, and what it lacks.
struct Built {
    state: LocalState,
    path: PathBuf,
    from: String,
    /// What is known of deletions that are undone, to be put after the records.
    deleted: String,
    lost_records: Option<u64>,
    lost_entries: Option<u64>,
    is_lossy: bool,
    /// Whether the log goes on after it; else it begins anew there.
    follows: bool,
}

impl Repair {
    /// Builds a state in the place of one that is damaged.
    pub(super) fn rebuild_state(
        &mut self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
        unusable: &Unusable,
        moves: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(Option<LocalState>, Option<Kept>, bool), RepairError> {
        let item = Item::clean("state", &target.name, &target.store(), unusable.reason.clone());
        let built = self.build_state(logs, target, log, unusable)?;
        let accept = target.accept();
        let Some(mut built) = built else {
            self.add(Item {
                outcome: Outcome::Decision,
                action:
                    "neither its log nor a checkpoint reaches back to its beginning, and no row of \
                     it can be read: restore a copy of the data directory. A node on another, empty \
                     data directory can restore what checkpoints of other namespaces there are"
                        .to_owned(),
                ..item
            });
            return Ok((None, None, false));
        };
        let beyond = self.beyond(target, log, unusable, &built);
        if let Some(beyond) = &beyond {
            if !built.is_lossy {
                (built.lost_records, built.lost_entries) = (beyond.records, beyond.entries);
            }
            built.is_lossy = true;
        }
        let beyond = beyond.map(|beyond| beyond.reason).unwrap_or_default();
        let outcome = if built.is_lossy { self.lossy(&accept) } else { self.repaired() };
        let records = built.state.records();
        let at = built.state.position().seq;
        let unknown = match log.trimmed() {
            Some(floor) if built.lost_entries.is_some() && floor > at => format!(
                "; how many records are lost is not known, because the log was trimmed up to \
                 entry {floor}, and of entries {} to {floor} nothing is left",
                at + 1
            ),
            _ => String::new(),
        };
        self.add(Item {
            outcome,
            action: format!(
                "built anew from {}: {records} records{}{unknown}{beyond}",
                built.from, built.deleted
            ),
            accept: built.is_lossy.then(|| accept.clone()),
            lost_records: built.lost_records,
            lost_entries: built.lost_entries,
            ..item
        });
        if built.is_lossy && !self.accepts(&accept) {
            return Ok((None, None, false));
        }
        if !built.is_lossy {
            let (item, folder) = (self.items.len() - 1, target.folder.clone());
            self.trusting.push(Trusting { shard: target.config.shard, item, folder, accept });
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
        unusable: &Unusable,
    ) -> Result<Option<Built>, RepairError> {
        let whole = log.whole();
        // Which of the two is the right one is not for this to say.
        let is_lossy = unusable.is_of_another_log;
        let is_behind = !is_lossy && self.shown(target, unusable).seq() > log.end();
        let has_beginning =
            whole.is_some_and(|(floor, examined)| floor.seq == 0 && examined.entries > 0);
        if has_beginning
            && !is_behind
            && let Some(built) = self.rebuilt_from_log(logs, target)?
        {
            return Ok(Some(Built { is_lossy, ..built }));
        }
        if let Some((_, examined)) = whole.filter(|_| unusable.has_damaged_journal) {
            let path = self.folder.work(&target.work("before-damage"))?;
            let before = self.open_before_damage(target, &path)?;
            if let Some(mut state) = before
                && no_panic(|| state.catch_up(&logs.kv)).is_ok()
                && state.position() == examined.end
            {
                let from = "what was written before the damage, and its log".to_owned();
                return Ok(Some(Built::whole(state, path, from)));
            }
        }
        if unusable.is_whole
            && whole.is_some()
            && let Some(built) = self.rebuilt_from_rest(logs, target, log, unusable)?
            && !built.is_lossy
        {
            return Ok(Some(built));
        }
        let checkpoint = self.rebuilt_from_checkpoint(logs, target, log)?;
        if let Some(built) = &checkpoint
            && !built.is_lossy
        {
            return Ok(checkpoint);
        }
        // Of a damaged journal it is not known what was in it: an older state as a whole is better.
        // And a journal that lacks its end opens as a state that may be older than the checkpoint.
        let is_better = |checkpoint: &Built| {
            unusable.has_damaged_journal
                || unusable.is_mixed
                || unusable
                    .state
                    .as_ref()
                    .is_some_and(|damaged| damaged.position().seq < checkpoint.state.position().seq)
        };
        let is_checkpoint_better = checkpoint.as_ref().is_some_and(is_better);
        if !is_checkpoint_better
            && let Some(rest) = self.rebuilt_from_rest(logs, target, log, unusable)?
        {
            // Where more is lost than is left, an older state is worth more.
            let lost = |built: &Built, unknown| built.lost_records.unwrap_or(unknown);
            let left = rest.state.records();
            let is_worse = |older: &Built| lost(&rest, 0) > lost(older, left);
            if !checkpoint.as_ref().is_some_and(is_worse) {
                return Ok(Some(rest));
            }
            return Ok(checkpoint);
        }
        if checkpoint.is_none() && has_beginning && is_behind {
            return self.rebuilt_from_log(logs, target);
        }
        Ok(checkpoint)
    }

    /// What is whole of a damaged state, and the log after it.
    fn rebuilt_from_rest(
        &self,
        logs: &Logs,
        target: &Target,
        log: &LogState,
        unusable: &Unusable,
    ) -> Result<Option<Built>, RepairError> {
        let Some(damaged) = &unusable.state else { return Ok(None) };
        let path = self.folder.work(&target.work("saved"))?;
        let Ok(saved) = no_panic(|| damaged.save_what_is_whole(&path, unusable.is_mixed)) else {
            return Ok(None);
        };
        let mut state = saved.state;
        let caught_up = log.whole().is_some() && no_panic(|| state.catch_up(&logs.kv)).is_ok();
        // A log that ends before it has to begin anew after it.
        let follows = caught_up && state.position().seq <= log.end();
        let last = log.read.as_ref().map_or(0, |(_, examined)| examined.last_seq);
        let at = state.position().seq;
        let missed = last.saturating_sub(at);
        let after = match (caught_up, follows) {
            (true, true) => Some(0),
            // What came after the state is in no log that is here.
            (true, false) => None,
            (false, _) => self.operations_after(log, at),
        };
        Ok(Some(Built {
            state,
            path,
            from: "what is whole of it".to_owned(),
            deleted: String::new(),
            lost_records: after.map(|after| after.saturating_add(saved.lost_records)),
            lost_entries: (!caught_up).then_some(missed),
            is_lossy: !(follows && unusable.is_whole && saved.lost_records == 0),
            follows,
        }))
    }

    fn rebuilt_from_log(
        &mut self,
        logs: &Logs,
        target: &Target,
    ) -> Result<Option<Built>, RepairError> {
        let path = self.folder.work(&target.work("from-log"))?;
        let built = no_panic(|| rebuild_from_log(&target.config, &logs.kv, &path));
        Ok(built.ok().map(|state| Built::whole(state, path, "its log".to_owned())))
    }

    /// How far the shard had come, as far as anything but its log tells.
    fn shown(&self, target: &Target, unusable: &Unusable) -> Shown {
        let state = unusable.state.as_ref().map_or(0, |state| state.position().seq);
        let Some((store, number)) = &target.checkpoints else { return Shown::State(state) };
        let Ok(Some(loaded)) = self.runtime.block_on(store.manifest()) else {
            return Shown::State(state);
        };
        let parts = loaded.manifest.checkpoints.iter().filter_map(|checkpoint| {
            let part = checkpoint.shards.get(*number)?;
            (part.uid == target.config.shard).then_some((part.seq, checkpoint.id))
        });
        match parts.max() {
            Some((seq, id)) if seq > state => Shown::Checkpoint(seq, id),
            _ => Shown::State(state),
        }
    }

    /// What shows that the shard had come further than a state that was built, and how many records
    /// and entries are missing at least.
    fn beyond(
        &self,
        target: &Target,
        log: &LogState,
        unusable: &Unusable,
        built: &Built,
    ) -> Option<Beyond> {
        let at = built.state.position().seq;
        let shown = self.shown(target, unusable);
        if !unusable.is_of_another_log && shown.seq() > at {
            let (seq, witness) = (shown.seq(), shown.witness());
            let missing = seq - at;
            let reason = format!(
                "; it ends at entry {at}, but {witness} shows entry {seq}: what at least {missing} \
                 entries did is lost, and records deleted by them are back"
            );
            return Some(Beyond { reason, records: None, entries: Some(missing) });
        }
        let folder = self.folder.path().join(&target.folder);
        let (key, next) = (built.state.key_of_indexes(&folder), built.state.next_key());
        if key > next {
            let missing = key - next;
            let reason = format!(
                "; an index of it has keys up to {key}, but its records end at key {next}: at least \
                 {missing} writes are lost, and records deleted since may be back"
            );
            return Some(Beyond { reason, records: Some(missing), entries: None });
        }
        // It was cut off, or an older one was put in its place.
        if log.whole().is_some() && log.end() < at {
            let reason = format!(
                "; its log ends at entry {}, so what was logged after entry {at} is lost, and how \
                 much that is is not known",
                log.end()
            );
            return Some(Beyond { reason, records: None, entries: None });
        }
        None
    }

    /// Where the log of a shard ends before its state, the store of logs has lost something or is an
    /// older one: then a state that was built from another log in it may lack something too.
    pub(super) fn doubt_logs(&mut self, saves: &mut [Save]) {
        let Some(witness) = self.behind.first().cloned() else { return };
        for Trusting { shard, item, folder, accept } in std::mem::take(&mut self.trusting) {
            let outcome = self.lossy(&accept);
            if let Some(item) = self.items.get_mut(item) {
                item.outcome = outcome;
                item.accept = Some(accept.clone());
                item.action = format!(
                    "{}; but the log of {witness} ends before its state, so the store of logs is an \
                     older one or has lost its end: what was logged since is lost, and how much \
                     that is is not known",
                    item.action
                );
            }
            if self.accepts(&accept) {
                continue;
            }
            self.folder.leave(&folder);
            for save in saves.iter_mut().filter(|save| save.config.shard == shard) {
                save.kept = None;
                save.moves.clear();
                for item in self.items.get_mut(save.items.clone()).unwrap_or_default() {
                    if matches!(item.outcome, Outcome::Repaired | Outcome::Repairable) {
                        item.outcome = Outcome::Decision;
                        item.accept = Some(accept.clone());
                    }
                }
            }
        }
    }

    /// The state as it was before what is damaged in its last journal was written, if that is an
    /// earlier state and whole: sorted files may show later rows, which a check of all rows finds.
    fn open_before_damage(
        &self,
        target: &Target,
        path: &Path,
    ) -> Result<Option<LocalState>, RepairError> {
        let original = self.folder.path().join(target.folder.join("store"));
        copy_database(&original, path).map_err(io_error(&original))?;
        let last = journal::journals(path).unwrap_or_default().pop();
        let is_cut = last.is_some_and(|last| journal::cut_off_damage(&last).unwrap_or(false));
        if !is_cut || database::check_all(path).is_err() {
            return Ok(None);
        }
        let opened = no_panic(|| LocalState::open(&target.config, path)).ok();
        Ok(opened.filter(|state| {
            no_panic(|| Ok::<_, RepairError>(state.verify()))
                .is_ok_and(|report| report.damaged == 0)
        }))
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
            let caught_up = log.whole().is_some() && no_panic(|| state.catch_up(&logs.kv)).is_ok();
            if caught_up && state.position().seq <= log.end() {
                return Ok(Some(Built::whole(state, path, format!("{from} and its log"))));
            }
            let at = part.seq;
            let deleted = match self.deletions_after(log, at) {
                Some(0) => String::new(),
                Some(deleted) => {
                    format!("; {deleted} deletions since then are lost: the records are back")
                }
                None => "; records that were deleted since then may be back".to_owned(),
            };
            let last = log.read.as_ref().map_or(at, |(_, examined)| examined.last_seq);
            return Ok(Some(Built {
                state,
                path,
                from,
                deleted,
                lost_records: self.operations_after(log, at),
                lost_entries: Some(last.saturating_sub(at)),
                is_lossy: true,
                follows: false,
            }));
        }
        Ok(None)
    }
}

/// A state that was built without loss, if the logs are what they seem to be.
pub(super) struct Trusting {
    shard: uuid::Uuid,
    /// Its number in the report.
    item: usize,
    /// Of the shard.
    folder: PathBuf,
    accept: String,
}

/// That a shard had come further than a state that was built.
struct Beyond {
    /// What shows it, to be put after what was done.
    reason: String,
    /// How many are missing at least, where that is known.
    records: Option<u64>,
    entries: Option<u64>,
}

/// What shows how far a shard had come.
enum Shown {
    State(u64),
    /// And its number.
    Checkpoint(u64, u64),
}

impl Shown {
    fn seq(&self) -> u64 {
        match self {
            Self::State(seq) | Self::Checkpoint(seq, _) => *seq,
        }
    }

    fn witness(&self) -> String {
        match self {
            Self::State(_) => "what can be read of the damaged state".to_owned(),
            Self::Checkpoint(_, id) => format!("checkpoint {id}"),
        }
    }
}

impl Built {
    fn whole(state: LocalState, path: PathBuf, from: String) -> Self {
        let (lost_records, lost_entries) = (None, None);
        Self {
            state,
            path,
            from,
            deleted: String::new(),
            lost_records,
            lost_entries,
            is_lossy: false,
            follows: true,
        }
    }
}
