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
use hvs_api::{
    CheckpointInfo, CheckpointKind, CreateCheckpoint, DeletedCheckpoint, TaskInfo, TaskState,
};
use hvs_checkpoint::{Chain, ChainError, Manifest, ObjectRef};
use hvs_tests::{http::Connection, node::Node};
use xtask::report::{Measure, number};

use super::ingest::Set;
use crate::process;

/// Both sides are measured in turns, and the middle one counts: what else the machine does meets
/// both of them.
const ROUNDS: usize = 5;

/// What one side of one round took, in seconds.
struct Cost {
    wall: f64,
    cpu: f64,
}

pub(super) fn measure(
    node: &Node,
    folder: &Path,
    set: &Set,
    rows: &mut Vec<Measure>,
) -> Result<()> {
    eprintln!("{ROUNDS} checkpoints of {} records", set.rows.len());
    let mut connection = node.connect()?;
    let path = format!("{}/checkpoints", set.path());
    let (mut made, mut compressed) = (Vec::new(), Vec::new());
    let mut plain = Vec::new();
    let (mut size, mut zstd_size) = (0, 0);
    for _ in 0..ROUNDS {
        let (cost, checkpoint) =
            timed(node.pid(), || create(&mut connection, &path, CheckpointKind::Full))?;
        made.push(cost);
        size = checkpoint.bytes;
        if plain.is_empty() {
            plain = plain_bytes(&folder.join("checkpoints"))?;
        }
        let file = folder.join("plain.zst");
        let (cost, written) = timed(std::process::id(), || zstd(&plain, &file))?;
        compressed.push(cost);
        zstd_size = written;
        fs::remove_file(file)?;
        let one = format!("{path}/{}", checkpoint.id);
        let _: DeletedCheckpoint = connection.call("DELETE", &one, &())?;
    }
    let mega = plain.len() as f64 / 1e6;
    let side = |costs: &[Cost], read: fn(&Cost) -> f64| median(costs.iter().map(read).collect());
    for (what, read) in [
        ("time", (|cost| cost.wall) as fn(&Cost) -> f64),
        ("processor time", |cost: &Cost| cost.cpu),
    ] {
        let (ours, theirs) = (side(&made, read), side(&compressed, read));
        let name = format!("{}: checkpoint / zstd -1, {what}", set.name);
        let percent = 100.0 * theirs / ours;
        let measure = if what == "time" {
            Measure::at_least(name, percent, "%", 50.0)
        } else {
            Measure::plain(name, percent, "%")
        };
        rows.push(measure.against(format!(
            "{} / {} MB/s; {mega:.0} MB to {:.0} and {:.0} MB",
            number(mega / ours),
            number(mega / theirs),
            size as f64 / 1e6,
            zstd_size as f64 / 1e6
        )));
    }
    Ok(())
}

fn timed<T>(pid: u32, work: impl FnOnce() -> Result<T>) -> Result<(Cost, T)> {
    let cpu = process::cpu_time(pid)?;
    let begun = Instant::now();
    let done = work()?;
    let wall = begun.elapsed().as_secs_f64();
    let cpu = process::cpu_time(pid)?.saturating_sub(cpu).as_secs_f64();
    Ok((Cost { wall, cpu }, done))
}

fn create(connection: &mut Connection, path: &str, kind: CheckpointKind) -> Result<CheckpointInfo> {
    let mut task: TaskInfo = connection.call("POST", path, &CreateCheckpoint { kind })?;
    while matches!(task.state, TaskState::Running) {
        thread::sleep(Duration::from_millis(5));
        task = connection.get(&format!("/v1/tasks/{}", task.id))?;
    }
    match task.checkpoint {
        Some(checkpoint) => Ok(checkpoint),
        None => bail!("no checkpoint: {task:?}"),
    }
}

/// Returns the size of the file.
fn zstd(plain: &[u8], file: &Path) -> Result<u64> {
    let mut encoder = zstd::Encoder::new(File::create(file)?, 1)?;
    encoder.write_all(plain)?;
    let file = encoder.finish()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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
