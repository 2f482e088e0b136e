//! Making a namespace from a checkpoint.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use hvs_api::RestoreRequest;
use hvs_checkpoint::{Checkpoint, CheckpointStore, Manifest};
use hvs_shard::checkpoint::{History, Replay, restore};

use super::{
    CheckpointError, Checkpoints, info, load,
    tasks::{Outcome, Work},
    verify::rows,
};
use crate::catalogue::{CatalogueError, Entry, Namespace, Settings, Surroundings};

pub(super) fn run(
    checkpoints: &Checkpoints,
    request: &RestoreRequest,
    work: &Work,
) -> Result<Outcome, CheckpointError> {
    let store = place(checkpoints, request, work)?;
    let manifest = work.wait_for(load(&store))?.manifest;
    let source = source(checkpoints, &manifest, work)?;
    let checkpoint = choose(checkpoints, &manifest, request, source.as_deref())?;
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
            let done = restore(&config, &surroundings.kv, &directory, rows, part.digest.0, replay)
                .map_err(|error| CheckpointError::restoring(number, error))?;
            restored.push(done.seq);
        }
        Ok(())
    };
    work.wait(checkpoints.catalogue.restore(&request.namespace, settings, fill))?;
    let checkpoint = Some(info(&manifest, checkpoint));
    Ok(Outcome { checkpoint, restored_seqs: Some(restored) })
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
            if let Ok(namespace) = checkpoints.catalogue.describe(name) {
                return Ok(places.of(&namespace)?);
            }
            checkpoints.catalogue.check_name(name)?;
            let named = places.root()?.child(name);
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
) -> Result<&'a Checkpoint, CheckpointError> {
    let newest = manifest.newest().ok_or_else(|| CheckpointError::NoCheckpoints {
        url: format!("the place of {}", manifest.namespace),
    })?;
    let chosen = match (request.checkpoint, &request.seqs) {
        (Some(id), _) => super::find(manifest, id)?,
        (None, None) => newest,
        (None, Some(seqs)) => {
            let is_before = |checkpoint: &&Checkpoint| {
                checkpoint.shards.len() == seqs.len()
                    && checkpoint.shards.iter().zip(seqs).all(|(part, seq)| part.seq <= *seq)
            };
            let found = manifest.checkpoints.iter().rev().find(is_before);
            found.ok_or_else(|| unavailable(checkpoints, manifest, seqs, source))?
        }
    };
    let Some(seqs) = &request.seqs else { return Ok(chosen) };
    let can_be_had = chosen.shards.len() == seqs.len()
        && chosen.shards.iter().zip(seqs).enumerate().all(|(shard, (part, &seq))| {
            seq == part.seq
                || reach(checkpoints, chosen, shard, source)
                    .is_some_and(|tail| (part.seq..=tail).contains(&seq))
        });
    if can_be_had { Ok(chosen) } else { Err(unavailable(checkpoints, manifest, seqs, source)) }
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
    let shards = manifest.newest().map_or(0, |newest| newest.shards.len());
    if wanted.len() != shards {
        return CheckpointError::Seqs(format!(
            "seqs has {} numbers, but the namespace has {shards} shards",
            wanted.len()
        ));
    }
    let mut text = format!("the state at {wanted:?} cannot be had. There are");
    for (number, checkpoint) in manifest.checkpoints.iter().enumerate() {
        let seqs: Vec<String> = checkpoint
            .shards
            .iter()
            .enumerate()
            .map(|(shard, part)| match reach(checkpoints, checkpoint, shard, source) {
                Some(tail) if tail > part.seq => format!("{} to {tail}", part.seq),
                _ => part.seq.to_string(),
            })
            .collect();
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma} [{}] (checkpoint {})", seqs.join(", "), checkpoint.id);
    }
    CheckpointError::Seqs(text)
}
