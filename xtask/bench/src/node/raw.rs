//! The index without a node around it: what the measures over HTTP are held against.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hvs_geometry::{Geometry, Space};
use hvs_index::{IndexConfig, RestartState, Row, SearchRequest, VectorIndex};

use super::{DIMENSION, K, ROUNDS, Workload, id_of, traffic::Alone};
use crate::{latency::Latencies, process};

/// How long throughput is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// The key of the first record of a shard; each put takes the next.
const FIRST_KEY: u64 = 1;

/// Opens a copy of the stopped node's index and runs the same searches on it.
///
/// # Errors
/// The folder holds no index, or more than one, or it cannot be opened.
pub(super) fn measure(folder: &Path, workload: &Workload, width: u64) -> Result<Alone> {
    let copy = tempfile::tempdir().context("cannot create a folder for the copy")?;
    let mut found = Vec::new();
    find_indexes(&folder.join("shards"), &mut found)?;
    let [original] = found.as_slice() else {
        anyhow::bail!("{} indexes instead of one", found.len());
    };
    for entry in fs::read_dir(original)? {
        let file = entry?.path();
        if file.is_file() {
            fs::copy(&file, copy.path().join(file.file_name().unwrap_or_default()))?;
        }
    }
    let index = open(copy.path(), workload)?;
    let width = usize::try_from(width)?;
    let search = |query: &[f64]| {
        let request = SearchRequest { ef: Some(width), ..SearchRequest::nearest(query, K) };
        let answer = index.search(&request)?;
        ensure!(answer.hits.len() == K, "{} hits", answer.hits.len());
        Ok(())
    };

    for query in &workload.queries {
        search(query)?;
    }
    let mut latencies = Latencies::default();
    let this = std::process::id();
    let cpu_before = process::cpu_time(this)?;
    for query in workload.queries.iter().cycle().take(workload.queries.len() * ROUNDS) {
        latencies.time(|| search(query))?;
    }
    let cpu = process::cpu_time(this)?.saturating_sub(cpu_before);
    let cpu_before = process::cpu_time(this)?;
    let (searched, throughput) = throughput(workload, search)?;
    let loaded = process::cpu_time(this)?.saturating_sub(cpu_before);
    Ok(Alone {
        search_p50: latencies.p50(),
        cpu_per_search: cpu.div_f64(latencies.count() as f64),
        loaded_cpu_per_search: loaded.div_f64(searched as f64),
        throughput,
    })
}

fn open(folder: &Path, workload: &Workload) -> Result<VectorIndex> {
    let space = Space::new(Geometry::Hyperboloid, DIMENSION, -1.0)?;
    let mut config = IndexConfig::new(space);
    // Nothing is to be built while it is measured.
    config.tail_limit = usize::MAX;
    let covered = VectorIndex::covered(folder)?;
    let tail = workload
        .points
        .iter()
        .enumerate()
        .map(|(at, point)| (FIRST_KEY + at as u64, at, point))
        .filter(|(key, ..)| *key >= covered)
        .map(|(key, at, point)| Row {
            key,
            id: id_of(at),
            vector: point.iter().map(|coordinate| f64::from(*coordinate)).collect(),
        })
        .collect();
    let index = VectorIndex::open(folder, config, RestartState { tail, dead: Vec::new() })?;
    let live = index.stats().live;
    ensure!(live == workload.points.len(), "the copied index holds {live} points");
    Ok(index)
}

fn find_indexes(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find_indexes(&path, found)?;
        } else if path.file_name().is_some_and(|name| name == "manifest.json") {
            found.push(folder.to_path_buf());
        }
    }
    Ok(())
}

/// How many searches all processors make, and how many that is in a second.
fn throughput(
    workload: &Workload,
    search: impl Fn(&[f64]) -> Result<()> + Sync,
) -> Result<(usize, f64)> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = workload.queries.len() / threads;
    let begun = Instant::now();
    let searched = thread::scope(|scope| {
        let search = &search;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut searched = 0;
                    for query in workload.queries.iter().cycle().skip(worker * share) {
                        if begun.elapsed() > WINDOW {
                            break;
                        }
                        search(query)?;
                        searched += 1;
                    }
                    Ok::<usize, anyhow::Error>(searched)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
            .sum::<Result<usize>>()
    })?;
    Ok((searched, searched as f64 / begun.elapsed().as_secs_f64()))
}
