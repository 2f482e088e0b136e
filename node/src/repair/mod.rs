//! `hvs-node repair`: looks at everything in a data directory that no node has open, builds anew
//! what can be built from what is whole, and says what cannot.
//!
//! # Invariants
//! - Nothing in the directory is changed in place: what is looked at is a copy, what is built takes
//!   the place of what was there, and that is kept aside.
//! - Nothing that was acknowledged is given up unless `--accept-loss` names it.
//! - It may be ended at any moment and be repeated.

mod checkpoints;
mod folder;
mod logs;
mod rebuild;
mod report;
mod shard;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hvs_index::Builders;
use hvs_shard::Writer;
use tokio::runtime::Runtime;
use uuid::Uuid;

pub use self::report::{Item, Outcome, Report};
pub(crate) use self::{folder::is_unfinished, logs::are_lost};

use self::{
    folder::{Finished, Folder},
    logs::Logs,
    rebuild::Trusting,
    shard::Target,
};
use crate::{
    catalogue::{self, CatalogueError, Surroundings, inspect},
    cluster::LocalDirectory,
    config::{Config, KvKind},
    identity::{self, IdentityError},
};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Look only.
    pub dry_run: bool,
    /// What may be lost: `logs`, or `shard=UID`.
    pub accept_loss: Vec<String>,
}

/// Why nothing was repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// There is no such directory, or another one.
    #[error("{} is no data directory of a node", path.display())]
    NoData {
        /// The directory.
        path: PathBuf,
    },
    /// The logs are elsewhere.
    #[error(
        "the logs of this node are in TiKV (storage.kv), and {} holds only what is built from them: \
         if it is damaged, stop the node, move the directory away, and start it again",
        path.display()
    )]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// A node is running.
    #[error("{} is in use by a running node; stop it first", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A repair was interrupted, and nothing is to be changed now.
    #[error(
        "a repair of {} was interrupted while it moved its results into place; repeat it without \
         --dry-run, which finishes it",
        path.display()
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// What may be lost has another form.
    #[error("--accept-loss {given}: it must be `logs` or `shard=UID`, as the report says")]
    Accept {
        /// What was given.
        given: String,
    },
    /// A new store, a state or an index cannot be made.
    #[error("cannot build {what}: {reason}")]
    Build {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// A newer version wrote it; what that one knows would be taken for damage.
    #[error("{reason}")]
    Newer {
        /// What, and what to do.
        reason: String,
    },
    /// The settings of a namespace mean nothing here.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Looks at the data directory of a configuration, and repairs it unless told otherwise. Blocks.
///
/// # Errors
/// [`RepairError`]; nothing was changed then, or a repetition goes on with it.
pub fn run(config: Config, options: Options) -> Result<Report, RepairError> {
    for given in &options.accept_loss {
        let uid = given.strip_prefix("shard=").map(Uuid::parse_str);
        if given != "logs" && !matches!(uid, Some(Ok(_))) {
            return Err(RepairError::Accept { given: given.clone() });
        }
    }
    if config.storage.kv != KvKind::Embedded || LocalDirectory::is_one(&config.storage.data_dir) {
        return Err(RepairError::Shared { path: config.storage.data_dir });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| RepairError::Io { path: PathBuf::new(), source })?;
    let (folder, finished) = Folder::take(&config.storage.data_dir, options.dry_run)?;
    let data_dir = config.storage.data_dir.clone();
    let repair = Repair {
        config: Arc::new(config),
        options,
        folder,
        runtime,
        items: Vec::new(),
        behind: Vec::new(),
        trusting: Vec::new(),
    };
    repair.run(finished).inspect_err(|_| folder::discard_work(&data_dir))
}

struct Repair {
    config: Arc<Config>,
    options: Options,
    folder: Folder,
    runtime: Runtime,
    items: Vec<Item>,
    /// Whose logs end before their states.
    behind: Vec<String>,
    trusting: Vec<Trusting>,
}

impl Repair {
    fn run(mut self, finished: Option<Finished>) -> Result<Report, RepairError> {
        if let Some(Finished { aside, report }) = finished {
            let found = "a repair was ended while it moved its results into place".to_owned();
            let action = if report.is_empty() {
                "finished; what it found is not known any more".to_owned()
            } else {
                format!("finished; this is what it had to tell:\n{report}")
            };
            self.add(Item {
                outcome: Outcome::Repaired,
                action,
                ..Item::clean("repair", "an earlier one", &aside, found)
            });
        }
        let logs = Logs::open(&mut self)?;
        let writer = self.identity(&logs)?;
        let surroundings = Surroundings {
            config: Arc::clone(&self.config),
            kv: Arc::clone(&logs.kv),
            writer: writer.clone(),
            lease: None,
            builders: Builders::new(1, 1),
        };
        let mut saves = Vec::new();
        let system = Target {
            name: "the catalogue".to_owned(),
            config: inspect::system_config(writer.clone())?,
            folder: Path::new("shards").join(inspect::DIRECTORY),
            checkpoints: None,
        };
        let (state, save) = self.shard(&logs, &system)?;
        let given_up = self.items.get(save.items.clone()).unwrap_or_default();
        let given_up = given_up.iter().find_map(|item| item.accept.clone());
        let given_up = given_up.or_else(|| logs.lost.as_ref().map(|_| logs::ACCEPT.to_owned()));
        saves.push(save);
        let entries = match &state {
            None => None,
            Some(state) => self.catalogue(state),
        };
        drop(state);
        let mut known = BTreeSet::from([inspect::DIRECTORY.to_owned()]);
        for (name, entry) in entries.iter().flatten() {
            let place = checkpoints::place(&self.config, name, entry.uid);
            for (number, &uid) in entry.shards.iter().enumerate() {
                known.insert(uid.to_string());
                let target = Target {
                    name: format!("{name}, shard {uid}"),
                    config: surroundings.shard_config(entry, uid)?,
                    folder: Path::new("shards").join(uid.to_string()),
                    checkpoints: place.clone().map(|place| (place, number)),
                };
                saves.push(self.shard(&logs, &target)?.1);
            }
        }
        if entries.is_some() || given_up.is_some() {
            self.strangers(&known, given_up.as_deref())?;
        }
        self.doubt_logs(&mut saves);
        logs.finish(&mut self, saves, entries.is_some(), &writer)?;
        let uids = entries.map(|entries| {
            entries.iter().map(|(_, entry)| entry.uid.to_string()).collect::<BTreeSet<_>>()
        });
        self.checkpoints(uids.as_ref());
        self.finish()
    }

    /// The namespaces in a state of the catalogue that is whole.
    fn catalogue(
        &mut self,
        state: &hvs_shard::repair::LocalState,
    ) -> Option<Vec<(String, catalogue::Entry)>> {
        let read = state.read_records().map_err(|error| error.to_string());
        match read.and_then(|records| inspect::ready(records).map_err(|error| error.to_string())) {
            Ok(entries) => {
                let found = format!("{} namespaces", entries.len());
                self.add(Item::clean("catalogue", "the catalogue", "shards/system", found));
                Some(entries)
            }
            Err(reason) => {
                let action = "a newer version may have written it: use that one".to_owned();
                self.add(Item {
                    outcome: Outcome::Decision,
                    action,
                    ..Item::clean("catalogue", "the catalogue", "shards/system", reason)
                });
                None
            }
        }
    }

    /// Folders of shards that belong to no namespace. `given_up`: what accepts that the last changes
    /// of the catalogue are lost, where they may be; then it may lack namespaces.
    fn strangers(
        &mut self,
        known: &BTreeSet<String>,
        given_up: Option<&str>,
    ) -> Result<(), RepairError> {
        let path = self.folder.path().join("shards");
        let Ok(entries) = fs::read_dir(&path) else { return Ok(()) };
        for entry in entries {
            let name = entry.map_err(folder::io_error(&path))?.file_name();
            let name = name.to_string_lossy().into_owned();
            if known.contains(&name) {
                continue;
            }
            let item = |found: &str| {
                Item::clean("state", &name, &format!("shards/{name}"), found.to_owned())
            };
            let item = if let Some(accept) = given_up {
                Item {
                    outcome: self.lossy(accept),
                    action: "put the store of logs back that belongs here; else all records of \
                             this shard are lost with the name of its namespace, unless a \
                             checkpoint has them. The folder stays where it is"
                        .to_owned(),
                    accept: Some(accept.to_owned()),
                    ..item(
                        "it belongs to no namespace that the catalogue shows, and of the catalogue \
                         the last changes may be missing",
                    )
                }
            } else {
                let found = "it belongs to no namespace that is ready; nobody reads it";
                Item { outcome: Outcome::Note, ..item(found) }
            };
            self.add(item);
        }
        Ok(())
    }

    /// Who the node is; from its logs if the file that says it is damaged.
    fn identity(&mut self, logs: &Logs) -> Result<Writer, RepairError> {
        let file = Path::new(identity::FILE);
        let item = |found: String| Item::clean("identity", "the node", identity::FILE, found);
        let known = self.runtime.block_on(logs.last_writer());
        let found = identity::look(self.folder.path()).and_then(|found| match found {
            Some(writer) => {
                identity::check(self.folder.path(), &writer, known.as_ref()).map(|()| Some(writer))
            }
            None => Ok(None),
        });
        match found {
            Ok(Some(writer)) => {
                self.add(item(format!("node {}", writer.node)));
                Ok(writer)
            }
            Ok(None) if logs.are_new => {
                self.add(item("there is none yet".to_owned()));
                Ok(Writer { node: Uuid::new_v4().to_string(), incarnation: 0 })
            }
            Err(error @ IdentityError::Foreign { .. }) => {
                let action = "put the right one back; if it is this file that is wrong, remove it \
                              and repeat";
                let (outcome, action) = (Outcome::Decision, action.to_owned());
                self.add(Item { outcome, action, ..item(error.to_string()) });
                let nobody = || Writer { node: Uuid::new_v4().to_string(), incarnation: 0 };
                Ok(known.unwrap_or_else(nobody))
            }
            Err(error @ IdentityError::Newer { .. }) => {
                Err(RepairError::Newer { reason: error.to_string() })
            }
            found => {
                let reason = match found {
                    Err(error) => error.to_string(),
                    Ok(_) => "it is missing".to_owned(),
                };
                let (writer, action) = if let Some(writer) = known {
                    (writer, "written anew from what the logs say")
                } else {
                    let node = Uuid::new_v4().to_string();
                    (Writer { node, incarnation: 0 }, "the node gets a new id")
                };
                self.folder.replace_file(file, &identity::encode(&writer))?;
                let outcome = self.repaired();
                self.add(Item { outcome, action: action.to_owned(), ..item(reason) });
                Ok(writer)
            }
        }
    }

    fn finish(self) -> Result<Report, RepairError> {
        let data_dir = self.folder.path().display().to_string();
        let dry_run = self.options.dry_run;
        let kept_in = self.folder.aside().filter(|_| !dry_run);
        let report = Report { data_dir, dry_run, kept_in, items: self.items };
        if dry_run {
            self.folder.clean()?;
        } else {
            self.folder.carry_out(report.to_text())?;
        }
        Ok(report)
    }

    fn add(&mut self, item: Item) {
        self.items.push(item);
    }

    /// What becomes of what can be repaired.
    fn repaired(&self) -> Outcome {
        if self.options.dry_run { Outcome::Repairable } else { Outcome::Repaired }
    }

    /// What becomes of what loses data.
    fn lossy(&self, accept: &str) -> Outcome {
        if self.accepts(accept) { self.repaired() } else { Outcome::Decision }
    }

    fn accepts(&self, what: &str) -> bool {
        self.options.accept_loss.iter().any(|accepted| accepted == what)
    }
}

impl Item {
    fn clean(part: &'static str, of: &str, path: &str, found: String) -> Self {
        Self {
            part,
            of: of.to_owned(),
            path: path.to_owned(),
            outcome: Outcome::Clean,
            found,
            action: String::new(),
            accept: None,
            lost_records: None,
            lost_entries: None,
        }
    }
}
