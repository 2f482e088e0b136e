//! Making a namespace from a checkpoint.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use hvs_api::RestoreRequest;
use hvs_checkpoint::{Checkpoint, CheckpointStore, Hash, Kind, Manifest, ShardPart};
use hvs_shard::checkpoint::{History, Replay, restore};
use uuid::Uuid;

use super::{
    CheckpointError, Checkpoints, info, load,
    tasks::{Outcome, Work},
    verify::rows,
};
use crate::catalogue::{CatalogueError, Entry, Namespace, Settings, Surroundings};

/// The id of what is no checkpoint but the state before the first entry of a log.
const BEGINNING: u64 = 0;

pub(super) fn run(
    checkpoints: &Checkpoints,
    request: &RestoreRequest,
    work: &Work,
) -> Result<Outcome, CheckpointError> {
    let store = place(checkpoints, request, work)?;
    let manifest = manifest(checkpoints, &store, request, work)?;
    let source = source(checkpoints, &manifest, work)?;
    let checkpoint = &*choose(checkpoints, &manifest, request, source.as_deref())?;
    let settings: Settings = serde_json::from_value(checkpoint.settings.clone())
        .map_err(|error| CheckpointError::Settings(error.to_string()))?;
    work.expect_rows(checkpoint.objects().map(|object| object.rows).sum());
    let mut restored = Vec::with_capacity(checkpoint.shards.len());
    let fill = |surroundings: &Surroundings, entry: &Entry| {
        if entry.shards.len() != checkpoint.shards.len() {
            let reason = "it has another number of shards than its settings say".to_owned();
            return Err(CheckpointError::Settings(reason));
        }
        for (number, (part, &shard)) in checkpoint.shards.iter().zip(&entry.shards).enumerate() {
            let config = surroundings.shard_config(entry, shard)?;
            let source =
                source.as_ref().map(|source| surroundings.shard_config(&source.entry, part.uid));
            let source = source.transpose()?;
            let wanted = request.seqs.as_ref().and_then(|seqs| seqs.get(number).copied());
            let replay = match (&source, wanted) {
                (Some(source), Some(up_to)) if up_to > part.seq => Some(Replay { source, up_to }),
                _ => None,
            };
            let rows = rows(&store, &part.links, work).map(|row| {
                let row = row?;
                Ok((row.key, row.value))
            });
            let directory = surroundings.shard_directory(shard);
            let digest = (checkpoint.id != BEGINNING).then_some(part.digest.0);
            let done = restore(&config, &surroundings.kv, &directory, rows, digest, replay)
                .map_err(|error| CheckpointError::restoring(number, error))?;
            restored.push(done.seq);
        }
        Ok(())
    };
    work.wait(checkpoints.catalogue.restore(&request.namespace, settings, fill))?;
    let checkpoint = (checkpoint.id != BEGINNING).then(|| info(&manifest, checkpoint));
    Ok(Outcome { checkpoint, restored_seqs: Some(restored) })
}

/// What is known at a place; of a namespace without checkpoints that nothing is.
fn manifest(
    checkpoints: &Checkpoints,
    store: &CheckpointStore,
    request: &RestoreRequest,
    work: &Work,
) -> Result<Manifest, CheckpointError> {
    let source = request.source.as_ref().filter(|_| request.seqs.is_some());
    let source = source.and_then(|name| checkpoints.catalogue.describe(name).ok());
    match (work.wait_for(load(store)), source) {
        (Err(CheckpointError::NoCheckpoints { .. }), Some(source)) => {
            Ok(Manifest::new(&source.name, source.entry.uid))
        }
        (loaded, _) => Ok(loaded?.manifest),
    }
}

/// Where the checkpoints are that a request means.
fn place(
    checkpoints: &Checkpoints,
    request: &RestoreRequest,
    work: &Work,
) -> Result<CheckpointStore, CheckpointError> {
    let places = &checkpoints.places;
    match (&request.source, &request.url) {
        (None, Some(url)) => places.at(url),
        (Some(name), None) => {
            let named = places.root()?.child(name);
            if let Ok(namespace) = checkpoints.catalogue.describe(name) {
                let own = places.of(&namespace)?;
                // One that was restored has none of its own yet, and those of its name are meant;
                // but a state of its log is one of this namespace.
                if request.seqs.is_some() || work.wait_for(own.manifest())?.is_some() {
                    return Ok(own);
                }
            }
            checkpoints.catalogue.check_name(name)?;
            let uids = work.wait_for(named.children())?;
            match uids.as_slice() {
                [] => Err(CheckpointError::NoCheckpoints { url: named.url().to_owned() }),
                [uid] => Ok(named.child(uid)),
                _ => {
                    let urls: Vec<_> =
                        uids.iter().map(|uid| named.child(uid).url().to_owned()).collect();
                    let urls = urls.join(", ");
                    Err(CheckpointError::Ambiguous { name: name.clone(), urls })
                }
            }
        }
        _ => Err(CheckpointError::Source),
    }
}

/// The namespace that the checkpoints are of, if it still exists. It stays loaded for as long as it
/// is held, and its log is there.
fn source(
    checkpoints: &Checkpoints,
    manifest: &Manifest,
    work: &Work,
) -> Result<Option<Arc<Namespace>>, CheckpointError> {
    let mut all = checkpoints.catalogue.overviews().into_iter();
    let found = all.find(|overview| overview.description.entry.uid == manifest.uid);
    let Some(found) = found else { return Ok(None) };
    let until = Instant::now() + Duration::from_millis(checkpoints.config.limits.deadline_ms);
    let loaded = work.wait(checkpoints.catalogue.get(&found.description.name, until));
    match loaded {
        Ok(namespace) => Ok(Some(namespace).filter(|it| it.entry.uid == manifest.uid)),
        // Deleted meanwhile.
        Err(CatalogueError::NamespaceNotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The checkpoint that a request means.
fn choose<'a>(
    checkpoints: &Checkpoints,
    manifest: &'a Manifest,
    request: &RestoreRequest,
    source: Option<&Namespace>,
) -> Result<Cow<'a, Checkpoint>, CheckpointError> {
    let chosen = match (request.checkpoint, &request.seqs) {
        (Some(id), _) => Cow::Borrowed(super::find(manifest, id)?),
        (None, None) => Cow::Borrowed(manifest.newest().ok_or_else(|| {
            CheckpointError::NoCheckpoints { url: format!("the place of {}", manifest.namespace) }
        })?),
        (None, Some(seqs)) => {
            let is_before = |checkpoint: &&Checkpoint| {
                checkpoint.shards.len() == seqs.len()
                    && checkpoint.shards.iter().zip(seqs).all(|(part, seq)| part.seq <= *seq)
            };
            let found = manifest.checkpoints.iter().rev().find(is_before).map(Cow::Borrowed);
            let beginning = || source.and_then(beginning).map(Cow::Owned);
            found
                .or_else(beginning)
                .ok_or_else(|| unavailable(checkpoints, manifest, seqs, source))?
        }
    };
    let Some(seqs) = &request.seqs else { return Ok(chosen) };
    let can_be_had = chosen.shards.len() == seqs.len()
        && chosen.shards.iter().zip(seqs).enumerate().all(|(shard, (part, &seq))| {
            seq == part.seq
                || reach(checkpoints, &chosen, shard, source)
                    .is_some_and(|tail| (part.seq..=tail).contains(&seq))
        });
    if can_be_had { Ok(chosen) } else { Err(unavailable(checkpoints, manifest, seqs, source)) }
}

/// The state before the first entry of each log.
fn beginning(source: &Namespace) -> Option<Checkpoint> {
    let part = |uid: &Uuid| ShardPart {
        uid: *uid,
        seq: 0,
        entry: Hash([0; 32]),
        epoch: 0,
        digest: Hash([0; 32]),
        records: 0,
        links: Vec::new(),
    };
    Some(Checkpoint {
        id: BEGINNING,
        created_at_ms: source.entry.created_at_ms,
        kind: Kind::Full,
        settings: serde_json::to_value(&source.entry.settings).ok()?,
        shards: source.entry.shards.iter().map(part).collect(),
    })
}

/// The last entry that the log of the source can be replayed to after a checkpoint.
fn reach(
    checkpoints: &Checkpoints,
    checkpoint: &Checkpoint,
    shard: usize,
    source: Option<&Namespace>,
) -> Option<u64> {
    let source = source?;
    let part = checkpoint.shards.get(shard)?;
    let position = source.entry.shards.iter().position(|uid| *uid == part.uid)?;
    let tail = source.shards().get(position)?.stats().applied_seq;
    let history = checkpoints.catalogue.history(&source.entry, part.uid, part.seq, part.entry.0);
    matches!(history, Ok(History::Kept)).then_some(tail)
}

fn unavailable(
    checkpoints: &Checkpoints,
    manifest: &Manifest,
    wanted: &[u64],
    source: Option<&Namespace>,
) -> CheckpointError {
    let beginning = source.and_then(beginning);
    let any = manifest.newest().or(beginning.as_ref());
    let shards = any.map_or(0, |checkpoint| checkpoint.shards.len());
    if wanted.len() != shards {
        return CheckpointError::Seqs(format!(
            "seqs has {} numbers, but the namespace has {shards} shards",
            wanted.len()
        ));
    }
    let of = |checkpoint: &Checkpoint| {
        let parts = checkpoint.shards.iter().enumerate();
        let seqs = parts.map(|(shard, part)| {
            let tail =
                reach(checkpoints, checkpoint, shard, source).filter(|tail| *tail > part.seq);
            tail.map_or_else(|| part.seq.to_string(), |tail| format!("{} to {tail}", part.seq))
        });
        seqs.collect::<Vec<_>>().join(", ")
    };
    let reaches = |checkpoint: &&Checkpoint| {
        let mut parts = 0..checkpoint.shards.len();
        parts.all(|shard| reach(checkpoints, checkpoint, shard, source).is_some())
    };
    let from_beginning = beginning.as_ref().filter(reaches);
    let from_beginning = from_beginning
        .map(|beginning| format!("[{}] (from the beginning of the log)", of(beginning)));
    let from_checkpoints = manifest
        .checkpoints
        .iter()
        .map(|checkpoint| format!("[{}] (checkpoint {})", of(checkpoint), checkpoint.id));
    let known: Vec<String> = from_beginning.into_iter().chain(from_checkpoints).collect();
    let known = if known.is_empty() {
        "no checkpoints, and the log does not begin with its first entry".to_owned()
    } else {
        known.join(", ")
    };
    CheckpointError::Seqs(format!("the state at {wanted:?} cannot be had. There are {known}"))
}
