//! Building the state of a shard anew, from the best that there is.

use std::path::{Path, PathBuf};

use hvs_kv::{copy::copy_database, database, journal};
use hvs_shard::repair::{LocalState, rebuild_from_log, rebuild_from_rows};

use super::{
    Item, Outcome, Repair, RepairError,
    folder::io_error,
    logs::{Kept, Logs},
    shard::{LogState, Target, Unusable, no_panic},
};

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
            action: format!("built anew from {}: {records} records{unknown}", built.from),
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
        unusable: &Unusable,
    ) -> Result<Option<Built>, RepairError> {
        let whole = log.whole();
        // Which of the two is the right one is not for this to say.
        let is_lossy = unusable.is_of_another_log;
        if whole.is_some_and(|(floor, examined)| floor.seq == 0 && examined.entries > 0) {
            let path = self.folder.work(&target.work("from-log"))?;
            if let Ok(state) = no_panic(|| rebuild_from_log(&target.config, &logs.kv, &path)) {
                let from = "its log".to_owned();
                return Ok(Some(Built { is_lossy, ..Built::whole(state, path, from) }));
            }
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
                || unusable
                    .state
                    .as_ref()
                    .is_some_and(|damaged| damaged.position().seq < checkpoint.state.position().seq)
        };
        let is_checkpoint_better = checkpoint.as_ref().is_some_and(is_better);
        if let Some(damaged) = unusable.state.as_ref().filter(|_| !is_checkpoint_better) {
            let path = self.folder.work(&target.work("saved"))?;
            if let Ok(saved) = no_panic(|| damaged.save_what_is_whole(&path)) {
                let mut state = saved.state;
                let follows = whole.is_some() && no_panic(|| state.catch_up(&logs.kv)).is_ok();
                let last = log.read.as_ref().map_or(0, |(_, examined)| examined.last_seq);
                let at = state.position().seq;
                let missed = last.saturating_sub(at);
                let after = if follows { Some(0) } else { self.operations_after(log, at) };
                return Ok(Some(Built {
                    state,
                    path,
                    from: "what is whole of it".to_owned(),
                    lost_records: after.map(|after| after.saturating_add(saved.lost_records)),
                    lost_entries: (!follows).then_some(missed),
                    is_lossy: true,
                    follows,
                }));
            }
        }
        Ok(checkpoint)
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
}

impl Built {
    fn whole(state: LocalState, path: PathBuf, from: String) -> Self {
        let (lost_records, lost_entries) = (None, None);
        Self { state, path, from, lost_records, lost_entries, is_lossy: false, follows: true }
    }
}
