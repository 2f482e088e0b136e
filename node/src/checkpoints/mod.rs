//! Making, checking and restoring checkpoints of namespaces.
//!
//! A namespace's checkpoints are below `{checkpoints.url}/{name}/{uid}`: the name for people, the
//! uid because a name may be used again. What takes long is a task on a thread of its own; it
//! ends early when the node stops, and leaves nothing that counts.

mod create;
mod error;
mod figures;
mod objects;
mod place;
mod restore;
mod tasks;
mod verify;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hvs_api::{
    CheckpointInfo, CheckpointKind, CheckpointList, CheckpointPlaces, DamagedCheckpoints,
    DeletedCheckpoint, RestoreRequest, TaskInfo, TaskKind, TaskList,
};
use hvs_checkpoint::{Checkpoint, CheckpointStore, Kind, Loaded, Manifest, ORPHAN_AGE, StoreError};

pub(crate) use error::CheckpointError;
pub(crate) use figures::{AllFigures, Figures};

pub(crate) use self::place::Places;
use self::{
    create::Made,
    figures::Ended,
    tasks::{Outcome, Tasks},
};
use crate::{
    catalogue::{Catalogue, Rebuild, RebuildError},
    config::Config,
};

/// The checkpoints of a node.
pub(crate) struct Checkpoints {
    config: Arc<Config>,
    catalogue: Arc<Catalogue>,
    places: Places,
    tasks: Tasks,
    figures: Arc<AllFigures>,
}

impl Checkpoints {
    pub(crate) fn new(config: Arc<Config>, catalogue: Arc<Catalogue>) -> Arc<Self> {
        Arc::new(Self {
            places: Places::new(&config),
            tasks: Tasks::new(config.checkpoints.running, config.checkpoints.remembered),
            figures: Arc::default(),
            config,
            catalogue,
        })
    }

    /// Begins to make a checkpoint.
    pub(crate) async fn create(
        self: &Arc<Self>,
        name: &str,
        kind: CheckpointKind,
        until: Instant,
    ) -> Result<TaskInfo, CheckpointError> {
        // Held until the task ends, so that it stays loaded.
        let namespace = self.catalogue.get(name, until).await?;
        let this = Arc::clone(self);
        self.tasks.begin(TaskKind::Create, &namespace.name.clone(), move |work| {
            let begun = Instant::now();
            let made = create::run(&this, &namespace, kind, work);
            this.count(&namespace.name, &made, begun.elapsed());
            Ok(Outcome { checkpoint: Some(made?.info), restored_seqs: None })
        })
    }

    fn count(&self, name: &str, made: &Result<Made, CheckpointError>, duration: Duration) {
        let ended = match made {
            Ok(Made { is_new: true, info }) => Ended::Made { bytes: info.new_bytes, duration },
            Ok(Made { is_new: false, .. }) | Err(CheckpointError::SameState { .. }) => {
                Ended::Unchanged
            }
            // Nobody is to be woken because a node was stopped.
            Err(CheckpointError::Stopping) => return,
            Err(_) => Ended::Failed,
        };
        let exists = |name: &str| self.catalogue.describe(name).is_ok();
        self.figures.count(name, ended, tasks::now_ms(), exists);
    }

    /// How checkpoints went.
    pub(crate) fn figures(&self) -> Arc<AllFigures> {
        Arc::clone(&self.figures)
    }

    /// Begins to read all of a checkpoint.
    pub(crate) fn verify(
        self: &Arc<Self>,
        name: &str,
        id: u64,
    ) -> Result<TaskInfo, CheckpointError> {
        let namespace = self.catalogue.describe(name)?;
        let store = self.places.of(&namespace)?;
        self.tasks.begin(TaskKind::Verify, &namespace.name, move |work| {
            let manifest = work.wait_for(load(&store))?.manifest;
            let checkpoint = find(&manifest, id)?;
            verify::run(&store, checkpoint, work)?;
            let checkpoint = Some(info(&manifest, checkpoint));
            Ok(Outcome { checkpoint, restored_seqs: None })
        })
    }

    /// Begins to make a namespace from a checkpoint.
    pub(crate) fn restore(
        self: &Arc<Self>,
        request: RestoreRequest,
    ) -> Result<TaskInfo, CheckpointError> {
        // What can be known at once is said at once.
        self.catalogue.check_new(&request.namespace)?;
        if let Some(url) = &request.url {
            self.places.at(url)?;
        }
        let this = Arc::clone(self);
        let name = request.namespace.clone();
        self.tasks.begin(TaskKind::Restore, &name, move |work| restore::run(&this, &request, work))
    }

    /// Begins to build indexes anew.
    pub(crate) fn reindex(&self, rebuild: Rebuild) -> Result<TaskInfo, CheckpointError> {
        let name = rebuild.namespace().to_owned();
        self.tasks.begin(TaskKind::Reindex, &name, move |work| {
            work.expect_rows(rebuild.rows());
            let run =
                rebuild.run(&|rows| work.go_on(rows), &|| work.is_stopping(), |put| work.wait(put));
            match run {
                Err(RebuildError::Cancelled) if work.is_stopping() => {
                    Err(CheckpointError::Stopping)
                }
                outcome => Ok(outcome.map(|()| Outcome::default())?),
            }
        })
    }

    /// The checkpoints of a namespace.
    pub(crate) async fn list(&self, name: &str) -> Result<CheckpointList, CheckpointError> {
        let namespace = self.catalogue.describe(name)?;
        let store = self.places.of(&namespace)?;
        let manifest = on_own_runtime({
            let store = store.clone();
            async move { Ok(store.manifest().await?) }
        });
        let manifest = match manifest.await? {
            Some(loaded) => loaded.manifest,
            None => Manifest::new(&namespace.name, namespace.entry.uid),
        };
        Ok(list_of(&store, &manifest))
    }

    /// All checkpoints at the node's place for them.
    pub(crate) async fn list_all(&self) -> Result<CheckpointPlaces, CheckpointError> {
        let root = self.places.root()?;
        let namespaces = on_own_runtime({
            let root = root.clone();
            async move {
                let (mut namespaces, mut damaged) = (Vec::new(), Vec::new());
                for name in root.children().await? {
                    let named = root.child(&name);
                    for uid in named.children().await? {
                        let store = named.child(&uid);
                        match store.manifest().await {
                            Ok(Some(loaded)) => namespaces.push(list_of(&store, &loaded.manifest)),
                            Ok(None) => damaged.extend(without_manifest(&store).await?),
                            Err(error @ StoreError::Manifest { .. }) => {
                                let url = store.url().to_owned();
                                damaged.push(DamagedCheckpoints { url, reason: error.to_string() });
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Ok((namespaces, damaged))
            }
        });
        let (namespaces, damaged) = namespaces.await?;
        Ok(CheckpointPlaces { url: root.url().to_owned(), namespaces, damaged })
    }

    /// Deletes a checkpoint. What it is made of is removed where no other one needs it.
    pub(crate) async fn delete(
        &self,
        name: &str,
        id: u64,
    ) -> Result<DeletedCheckpoint, CheckpointError> {
        let namespace = self.catalogue.describe(name)?;
        let store = self.places.of(&namespace)?;
        let deletion = on_own_runtime(async move {
            let Loaded { manifest, version } = load(&store).await?;
            let without = manifest.without(id);
            let (next, mut names) = without.ok_or(CheckpointError::NotFound { id })?;
            store.swap(Some(&version), &next).await?;
            names.extend(store.orphans(&next, ORPHAN_AGE).await?);
            store.remove(&names).await?;
            Ok(names.len() as u64)
        });
        Ok(DeletedCheckpoint { id, removed_objects: deletion.await? })
    }

    /// Every task that is known.
    pub(crate) fn tasks(&self) -> TaskList {
        TaskList { tasks: self.tasks.list() }
    }

    /// How far a task is.
    pub(crate) fn task(&self, id: &str) -> Result<TaskInfo, CheckpointError> {
        self.tasks
            .get(id)
            .ok_or_else(|| CheckpointError::TaskNotFound { id: id.chars().take(80).collect() })
    }

    /// Tells a task to end.
    pub(crate) fn cancel(&self, id: &str) -> Result<TaskInfo, CheckpointError> {
        self.tasks.cancel(id)
    }

    /// Ends all tasks and waits for them.
    pub(crate) async fn stop(&self) {
        self.tasks.stop().await;
    }
}

async fn load(store: &CheckpointStore) -> Result<Loaded, CheckpointError> {
    let loaded = store.manifest().await?;
    loaded.ok_or_else(|| CheckpointError::NoCheckpoints { url: store.url().to_owned() })
}

/// What to say of a place that has objects and no manifest.
async fn without_manifest(
    store: &CheckpointStore,
) -> Result<Option<DamagedCheckpoints>, StoreError> {
    let nothing = Manifest::new("", uuid::Uuid::nil());
    let objects = store.orphans(&nothing, Duration::ZERO).await?.len();
    Ok((objects > 0).then(|| DamagedCheckpoints {
        url: store.url().to_owned(),
        reason: format!(
            "there are {objects} objects and no manifest: a first checkpoint is being made, or did \
             not come to its end, or the manifest is gone"
        ),
    }))
}

fn find(manifest: &Manifest, id: u64) -> Result<&Checkpoint, CheckpointError> {
    manifest.get(id).ok_or(CheckpointError::NotFound { id })
}

fn list_of(store: &CheckpointStore, manifest: &Manifest) -> CheckpointList {
    let checkpoints = manifest.checkpoints.iter();
    CheckpointList {
        namespace: manifest.namespace.clone(),
        uid: manifest.uid.to_string(),
        url: store.url().to_owned(),
        checkpoints: checkpoints.map(|checkpoint| info(manifest, checkpoint)).collect(),
    }
}

fn info(manifest: &Manifest, checkpoint: &Checkpoint) -> CheckpointInfo {
    let earlier: std::collections::HashSet<&str> = manifest
        .checkpoints
        .iter()
        .take_while(|earlier| earlier.id < checkpoint.id)
        .flat_map(Checkpoint::objects)
        .map(|object| object.name.as_str())
        .collect();
    let new = checkpoint.objects().filter(|object| !earlier.contains(object.name.as_str()));
    CheckpointInfo {
        id: checkpoint.id,
        kind: match checkpoint.kind {
            Kind::Full => CheckpointKind::Full,
            Kind::Incremental => CheckpointKind::Incremental,
        },
        created_at_ms: checkpoint.created_at_ms,
        records: checkpoint.records(),
        seqs: checkpoint.shards.iter().map(|part| part.seq).collect(),
        objects: checkpoint.objects().count() as u64,
        bytes: checkpoint.bytes(),
        new_bytes: new.map(|object| object.bytes).sum(),
    }
}

/// Runs on a thread with a runtime of its own: a place may take long to answer, and even to be
/// looked up, which must not hold up the connections of other clients.
async fn on_own_runtime<T: Send + 'static>(
    work: impl Future<Output = Result<T, CheckpointError>> + Send + 'static,
) -> Result<T, CheckpointError> {
    let running = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CheckpointError::Thread)?;
        runtime.block_on(work)
    });
    running.await.map_err(|_| CheckpointError::Lost)?
}
