//! Making a checkpoint.

use hvs_api::{CheckpointInfo, CheckpointKind};
use hvs_checkpoint::{
    Checkpoint, CheckpointStore, Finished, Hash, Kind, Link, Loaded, Manifest, ObjectRef,
    ShardPart, Sizes, StoreError,
};
use hvs_shard::checkpoint::{Export, ExportError, History};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{
    CheckpointError, Checkpoints, info,
    objects::{self, Rows},
    tasks::{Work, now_ms},
};
use crate::catalogue::Namespace;

/// A checkpoint that holds the state.
pub(super) struct Made {
    pub(super) info: CheckpointInfo,
    /// Whether it was made for it, and not before.
    pub(super) is_new: bool,
}

pub(super) fn run(
    checkpoints: &Checkpoints,
    namespace: &Namespace,
    kind: CheckpointKind,
    work: &Work,
) -> Result<Made, CheckpointError> {
    let store = checkpoints.places.of(namespace)?;
    let (manifest, version) = match work.wait_for(store.manifest())? {
        Some(Loaded { manifest, version }) => (manifest, Some(version)),
        None => (Manifest::new(&namespace.name, namespace.entry.uid), None),
    };
    if manifest.uid != namespace.entry.uid {
        let url = store.url().to_owned();
        return Err(CheckpointError::OtherNamespace { url, found: manifest.uid });
    }
    // All of them before any is written, so that they are close to each other in time.
    let exports: Vec<Export> =
        namespace.shards().iter().map(hvs_shard::Shard::export).collect::<Result<_, _>>()?;
    if let Some(newest) = manifest.newest().filter(|newest| is_same_state(newest, &exports)) {
        if kind == CheckpointKind::Full {
            return Err(CheckpointError::SameState { id: newest.id });
        }
        return Ok(Made { info: info(&manifest, newest), is_new: false });
    }
    let count = manifest.checkpoints.len();
    if count >= checkpoints.config.checkpoints.kept {
        return Err(CheckpointError::Full { count });
    }
    work.wait(checkpoints.catalogue.sync())?;

    let mut writer = Writer {
        store: &store,
        work,
        sizes: Sizes { level: checkpoints.config.checkpoints.level, ..Sizes::default() },
        attempt: Uuid::new_v4().simple().to_string(),
        number: 0,
        written: Vec::new(),
        uploading: None,
    };
    let written = writer.shards(checkpoints, namespace, kind, &manifest, &exports);
    let published = written.and_then(|shards| {
        let is_full = shards.iter().all(|part| part.links.len() == 1);
        let checkpoint = Checkpoint {
            id: 0,
            created_at_ms: now_ms(),
            kind: if is_full { Kind::Full } else { Kind::Incremental },
            settings: serde_json::to_value(&namespace.entry.settings)
                .map_err(|error| CheckpointError::Settings(error.to_string()))?,
            shards,
        };
        let next = manifest.with(checkpoint)?;
        work.wait_for(store.swap(version.as_ref(), &next))?;
        Ok(next)
    });
    let next = published.inspect_err(|error| writer.clean_up(error))?;
    writer.remove_abandoned(&next);
    let newest = next.newest().ok_or(CheckpointError::Lost)?;
    Ok(Made { info: info(&next, newest), is_new: true })
}

fn is_same_state(newest: &Checkpoint, exports: &[Export]) -> bool {
    newest.shards.len() == exports.len()
        && newest
            .shards
            .iter()
            .zip(exports)
            .all(|(part, export)| part.seq == export.seq() && part.entry == Hash(export.entry()))
}

/// Writes the objects of one checkpoint.
struct Writer<'a> {
    store: &'a CheckpointStore,
    work: &'a Work,
    sizes: Sizes,
    attempt: String,
    number: u64,
    /// Names of everything begun.
    written: Vec<String>,
    /// One object is on its way while the next one is made.
    uploading: Option<JoinHandle<Result<(), StoreError>>>,
}

/// Why a link ended early.
enum Stop {
    /// A delta is larger than it may be.
    Outgrown,
    Failed(CheckpointError),
}

impl From<CheckpointError> for Stop {
    fn from(error: CheckpointError) -> Self {
        Self::Failed(error)
    }
}

impl Writer<'_> {
    fn shards(
        &mut self,
        checkpoints: &Checkpoints,
        namespace: &Namespace,
        kind: CheckpointKind,
        manifest: &Manifest,
        exports: &[Export],
    ) -> Result<Vec<ShardPart>, CheckpointError> {
        for export in exports {
            self.work.expect_rows(export.rows());
        }
        let mut parts = Vec::with_capacity(exports.len());
        for (number, (export, &uid)) in exports.iter().zip(&namespace.entry.shards).enumerate() {
            let before = match (kind, manifest.newest()) {
                (CheckpointKind::Incremental, Some(newest)) => newest.shards.get(number),
                _ => None,
            };
            let before = match before {
                Some(part) if follows(checkpoints, namespace, number, part, uid, export)? => {
                    Some(part)
                }
                _ => None,
            };
            parts.push(self.shard(uid, export, before)?);
        }
        Ok(parts)
    }

    fn shard(
        &mut self,
        uid: Uuid,
        export: &Export,
        before: Option<&ShardPart>,
    ) -> Result<ShardPart, CheckpointError> {
        let read_before = self.work.rows();
        let delta = before.map(|part| (part, self.link(export, Some(part))));
        let (links, digest) = match delta {
            Some((part, Ok((link, digest)))) => {
                let mut links = part.links.clone();
                links.push(link);
                (links, digest)
            }
            Some((_, Err(Stop::Failed(error)))) => return Err(error),
            outgrown => {
                if outgrown.is_some() {
                    // They are read once more.
                    self.work.expect_rows(self.work.rows() - read_before);
                }
                match self.link(export, None) {
                    Ok((link, digest)) => (vec![link], digest),
                    Err(Stop::Failed(error)) => return Err(error),
                    Err(Stop::Outgrown) => return Err(CheckpointError::Lost),
                }
            }
        };
        Ok(ShardPart {
            uid,
            seq: export.seq(),
            entry: Hash(export.entry()),
            epoch: export.epoch(),
            digest: Hash(digest),
            records: export.records(),
            links,
        })
    }

    fn link(
        &mut self,
        export: &Export,
        before: Option<&ShardPart>,
    ) -> Result<(Link, [u8; 32]), Stop> {
        let since = before.map(|part| part.seq);
        let room = before.and_then(ShardPart::room_for_delta);
        let mut references: Vec<ObjectRef> = Vec::new();
        let mut used = 0;
        let (sizes, work) = (self.sizes, self.work);
        let read = |rows: &mut Rows| {
            let row = || work.row().map_err(|error| objects::Interrupted::Failed(error.into()));
            let digest = export.write_watched(since, row, |key, value| rows.push(key, value));
            digest.map_err(|error| match error {
                ExportError::Sink(stop) => stop,
                ExportError::Read(error) => {
                    objects::Interrupted::Failed(CheckpointError::from(error).into())
                }
            })
        };
        let take = |object: Finished| {
            used += object.bytes.len() as u64;
            if room.is_some_and(|room| used > room) {
                return Err(Stop::Outgrown);
            }
            references.push(self.put(object)?);
            Ok(())
        };
        let digest = objects::write(sizes, read, take)?;
        self.uploaded()?;
        Ok((Link { seq: export.seq(), since, objects: references }, digest))
    }

    fn put(&mut self, object: Finished) -> Result<ObjectRef, CheckpointError> {
        self.uploaded()?;
        let name = format!("objects/{}/{:06}", self.attempt, self.number);
        self.number += 1;
        self.written.push(name.clone());
        let Finished { bytes, hash, rows } = object;
        let reference = ObjectRef { name: name.clone(), bytes: bytes.len() as u64, rows, hash };
        let store = self.store.clone();
        self.work.bytes(reference.bytes);
        self.uploading = Some(self.work.spawn(async move { store.put(&name, bytes).await }));
        Ok(reference)
    }

    /// Waits for the object that is on its way.
    fn uploaded(&mut self) -> Result<(), CheckpointError> {
        let Some(uploading) = self.uploading.take() else { return Ok(()) };
        self.work.wait_for(async {
            match uploading.await {
                Ok(uploaded) => uploaded.map_err(CheckpointError::from),
                Err(_) => Err(CheckpointError::Lost),
            }
        })
    }

    /// Removes what no manifest names. After a swap of unknown outcome one may, and a node that
    /// stops waits for nothing: what is left then goes with a later deletion.
    fn clean_up(&mut self, error: &CheckpointError) {
        let is_unknown =
            matches!(error, CheckpointError::Store(StoreError::Io { what: "replace", .. }));
        if is_unknown || matches!(error, CheckpointError::Stopping) {
            return;
        }
        // An object that is still on its way must not come after its removal.
        let _ = self.uploaded();
        self.remove(&self.written);
    }

    /// Removes what belongs to a delta that had outgrown its room.
    fn remove_abandoned(&self, manifest: &Manifest) {
        let named = manifest.object_names();
        let abandoned = self.written.iter().filter(|name| !named.contains(name.as_str()));
        self.remove(&abandoned.cloned().collect::<Vec<_>>());
    }

    fn remove(&self, names: &[String]) {
        if let Err(error) = self.work.wait_for(self.store.remove(names)) {
            tracing::warn!(%error, "objects that no checkpoint needs are not removed yet");
        }
    }
}

/// Whether a delta over a part can be told.
fn follows(
    checkpoints: &Checkpoints,
    namespace: &Namespace,
    shard: usize,
    part: &ShardPart,
    uid: Uuid,
    export: &Export,
) -> Result<bool, CheckpointError> {
    if part.uid != uid || part.epoch > export.epoch() || !export.can_follow(part.seq) {
        return Ok(false);
    }
    let history = checkpoints.catalogue.history(&namespace.entry, uid, part.seq, part.entry.0);
    match history {
        Ok(History::Diverged) => Ok(false),
        Ok(_) => Ok(part.room_for_delta().is_some()),
        Err(error) => Err(CheckpointError::Log { shard, reason: error.to_string() }),
    }
}
