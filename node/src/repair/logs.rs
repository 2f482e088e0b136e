//! The store of logs: a copy to read from, and a new one when any log has to be another.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use hvs_kv::{
    Kv,
    copy::copy_database,
    database::{self, DatabaseError},
    embedded::{Embedded, EmbeddedConfig},
    journal,
};
use hvs_shard::{Position, ShardConfig, Writer, repair::log_of};

use super::{
    Item, Outcome, Repair, RepairError,
    folder::io_error,
    shard::{no_panic, on_disk},
};

const KV: &str = "kv";
/// What a report calls the store itself, beside the logs in it.
const STORE: &str = "store of logs";
pub(super) const ACCEPT: &str = "logs";

/// What is to be in the store for one shard.
pub(super) struct Save {
    pub(super) config: ShardConfig,
    /// None if the log is left as it is, because nobody has decided what becomes of it.
    pub(super) kept: Option<Kept>,
    /// Whether the store has to be another for it.
    pub(super) is_changed: bool,
    /// What is to be moved where together with the store.
    pub(super) moves: Vec<(PathBuf, PathBuf)>,
    /// What was reported of the shard.
    pub(super) items: Range<usize>,
}

pub(super) struct Kept {
    /// What comes before counts as trimmed.
    pub(super) after: Position,
    pub(super) through: u64,
    pub(super) epoch: u64,
}

/// Whether there are shards and no store of their logs, which a node must not take for a new
/// directory: it would begin with nothing, and say nothing.
pub(crate) fn are_lost(data_dir: &Path) -> bool {
    is_empty(&data_dir.join(KV)) && !is_empty(&data_dir.join("shards"))
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
}

/// The logs of all shards.
pub(super) struct Logs {
    /// A copy of the store, or an empty one if it does not open.
    pub(super) kv: Arc<dyn Kv>,
    /// Why it does not open.
    pub(super) lost: Option<String>,
    /// There has never been a store.
    pub(super) are_new: bool,
    /// Damage was taken out of the copy.
    is_changed: bool,
}

impl Logs {
    pub(super) fn open(repair: &mut Repair) -> Result<Self, RepairError> {
        let path = repair.folder.path().join(KV);
        let are_new = is_empty(&path) && is_empty(&repair.folder.path().join("shards"));
        let work = repair.folder.work(Path::new("kv-copy"))?;
        let mut is_changed = false;
        let opened = if are_new {
            Err(None)
        } else if database::is_there(&path) {
            copy_database(&path, &work).map_err(io_error(&path))?;
            let mut damage: Vec<String> = check(&path)?.into_iter().collect();
            if database::restore_version(&work).unwrap_or(false) {
                // What else there is was hidden behind it.
                damage.extend(check(&work)?.map(|more| on_disk(&more, &work, &path)));
            }
            for journal in journal::journals(&work).unwrap_or_default() {
                is_changed |= journal::take_out_damage(&journal).unwrap_or(true);
            }
            // Damaged tables are read as far as they can be.
            let config = EmbeddedConfig { verify_tables: false, ..EmbeddedConfig::default() };
            let opened = no_panic(|| Embedded::open(&work, config)).map_err(Some);
            if let (false, Ok(_)) = (damage.is_empty(), &opened) {
                is_changed = true;
                let outcome = repair.repaired();
                let action = "what is whole of it is read; see the logs below".to_owned();
                let found = damage.join("; ");
                let item = Item::clean(STORE, "all logs", KV, found);
                repair.add(Item { outcome, action, ..item });
            }
            opened
        } else {
            Err(Some("there is no store of logs".to_owned()))
        };
        // Of a copy that nobody sees.
        let opened = opened.map_err(|lost| lost.map(|lost| on_disk(&lost, &work, &path)));
        match opened {
            Ok(kv) => Ok(Self { kv: Arc::new(kv), lost: None, are_new, is_changed }),
            Err(lost) => {
                let stand_in = repair.folder.work(Path::new("kv-empty"))?;
                let kv = build(&stand_in)?;
                Ok(Self { kv, lost, are_new, is_changed })
            }
        }
    }

    /// Whose logs they are, as far as they can be read.
    pub(super) async fn last_writer(&self) -> Option<Writer> {
        super::inspect::last_writer(Arc::clone(&self.kv)).await.ok().flatten()
    }

    /// Builds the new store, if there has to be one.
    pub(super) fn finish(
        self,
        repair: &mut Repair,
        saves: Vec<Save>,
        are_all: bool,
        writer: &Writer,
    ) -> Result<(), RepairError> {
        if !self.is_changed && !saves.iter().any(|save| save.is_changed) {
            return Ok(());
        }
        let undecided = saves.iter().any(|save| save.kept.is_none());
        if undecided || !are_all {
            let changed = saves.into_iter().filter(|save| save.is_changed);
            let waiting: Vec<usize> = changed.flat_map(|save| save.items).collect();
            for (number, item) in repair.items.iter_mut().enumerate() {
                let waits = waiting.contains(&number) || item.part == STORE;
                if waits && matches!(item.outcome, Outcome::Repaired | Outcome::Repairable) {
                    item.outcome = Outcome::Decision;
                    item.accept = None;
                    item.action = format!(
                        "it waits until all logs can be written anew, when the others are decided \
                         about; then: {}",
                        item.action
                    );
                }
            }
            return Ok(());
        }
        let work = repair.folder.work(Path::new(KV))?;
        let new = build(&work)?;
        for Save { config, kept, moves, .. } in saves {
            for (from, to) in moves {
                repair.folder.replace(&from, &to);
            }
            let Some(Kept { after, through, epoch }) = kept else { continue };
            let log = log_of(&config, Arc::clone(&self.kv));
            let saved = log.save(Arc::clone(&new), after, through, epoch, writer.clone());
            repair.runtime.block_on(saved).map_err(|error| RepairError::Build {
                what: format!("the log of shard {}", config.shard),
                reason: error.to_string(),
            })?;
        }
        drop(new);
        repair.folder.replace(&work, Path::new(KV));
        Ok(())
    }
}

/// What is wrong with a store, if anything is.
fn check(store: &Path) -> Result<Option<String>, RepairError> {
    match database::check_all(store) {
        Err(newer @ DatabaseError::Newer { .. }) => {
            Err(RepairError::Newer { reason: newer.to_string() })
        }
        checked => Ok(checked.err().map(|damage| damage.to_string())),
    }
}

fn build(path: &Path) -> Result<Arc<dyn Kv>, RepairError> {
    let store = Embedded::open(path, EmbeddedConfig::default());
    let store = store.map_err(|error| RepairError::Build {
        what: "a store of logs".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Arc::new(store))
}
