//! A full checkpoint, beside compressing the same bytes into a file that is forced to the disk.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hvs_api::{CreateCheckpoint, TaskInfo, TaskState};
use hvs_checkpoint::{Chain, ChainError, Manifest, ObjectRef};
use hvs_tests::node::Node;
use xtask::report::{Measure, number};

use super::ingest::Set;

pub(super) fn measure(
    node: &Node,
    folder: &Path,
    set: &Set,
    rows: &mut Vec<Measure>,
) -> Result<()> {
    eprintln!("a checkpoint of {} records", set.rows.len());
    let mut connection = node.connect()?;
    let begun = Instant::now();
    let path = format!("{}/checkpoints", set.path());
    let mut task: TaskInfo = connection.call("POST", &path, &CreateCheckpoint::default())?;
    while matches!(task.state, TaskState::Running) {
        thread::sleep(Duration::from_millis(20));
        task = connection.get(&format!("/v1/tasks/{}", task.id))?;
    }
    let made = begun.elapsed().as_secs_f64();
    let Some(checkpoint) = task.checkpoint else { bail!("no checkpoint: {task:?}") };

    let plain = plain_bytes(&folder.join("checkpoints"))?;
    let file = folder.join("plain.zst");
    let begun = Instant::now();
    let mut encoder = zstd::Encoder::new(File::create(&file)?, 1)?;
    encoder.write_all(&plain)?;
    encoder.finish()?.sync_all()?;
    let compressed = begun.elapsed().as_secs_f64();
    let size = plain.len() as f64 / 1e6;
    rows.push(
        Measure::at_least("checkpoint / zstd -1 of the same", 100.0 * compressed / made, "%", 50.0)
            .against(format!(
                "{} / {} MB/s; {size:.0} MB to {:.0} and {:.0} MB",
                number(size / made),
                number(size / compressed),
                checkpoint.bytes as f64 / 1e6,
                fs::metadata(&file)?.len() as f64 / 1e6
            )),
    );
    fs::remove_file(file)?;
    Ok(())
}

/// Every row of the only checkpoint below a folder.
fn plain_bytes(folder: &Path) -> Result<Vec<u8>> {
    let (place, manifest) = find_manifest(folder)?.context("no manifest")?;
    let checkpoint = manifest.newest().context("no checkpoint")?;
    let fetch = |object: &ObjectRef| -> Result<Bytes, Read> {
        Ok(Bytes::from(fs::read(place.join(&object.name))?))
    };
    let mut plain = Vec::new();
    for part in &checkpoint.shards {
        for row in Chain::new(&part.links, fetch) {
            let row = row?;
            plain.extend_from_slice(&row.key);
            plain.extend_from_slice(&row.value);
        }
    }
    Ok(plain)
}

#[derive(Debug, thiserror::Error)]
enum Read {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// The folder of a namespace's checkpoints, and its manifest.
fn find_manifest(folder: &Path) -> Result<Option<(PathBuf, Manifest)>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_manifest(&path)? {
                return Ok(Some(found));
            }
        } else if path.file_stem().is_some_and(|name| name == "manifest") {
            return Ok(Some((folder.to_path_buf(), Manifest::decode(&fs::read(&path)?)?)));
        }
    }
    Ok(None)
}
