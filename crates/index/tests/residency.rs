//! What of an index's files is part of the process, where rows are mapped to save memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::{fs, path::Path};

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::{IndexConfig, IndexKind, Quantisation, RestartState, SearchRequest, VectorIndex};
use kit::{Model, Random, config, fill, space};

const ROWS: usize = 4_000;
const DIMENSION: usize = 256;

/// Bytes of files with this ending that the process has in memory, and of their mappings.
fn resident(dir: &Path, ending: &str) -> (usize, usize) {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut resident, mut mapped, mut counts) = (0, 0, false);
    for line in maps.lines() {
        let figure = |name: &str| -> Option<usize> {
            let rest = line.strip_prefix(name)?.trim();
            rest.strip_suffix(" kB")?.parse().ok()
        };
        if let Some(kilobytes) = figure("Size:") {
            mapped += if counts { kilobytes << 10 } else { 0 };
        } else if let Some(kilobytes) = figure("Rss:") {
            resident += if counts { kilobytes << 10 } else { 0 };
        } else if !line.split_whitespace().next().unwrap_or_default().ends_with(':') {
            let file = line.split_whitespace().nth(5).unwrap_or_default();
            counts = Path::new(file).starts_with(dir) && file.ends_with(ending);
        }
    }
    (resident, mapped)
}

/// The answers of approximate searches, and where the process has the files after them.
fn search(dir: &Path, space: &Space, resident_rows: bool) -> Vec<Vec<(u64, f64)>> {
    let config = IndexConfig { resident_rows, ..index_config(space) };
    let index = VectorIndex::open(dir, config, RestartState::default()).unwrap();
    let mut random = Random(5);
    let mut answers = Vec::new();
    for _ in 0..50 {
        let query = space.from_storage(&random.stored(space, 4.0));
        let found = index.search(&SearchRequest::nearest(&query, 10)).unwrap();
        answers.push(found.hits.iter().map(|hit| (hit.key, hit.distance)).collect());
    }
    let (rows, mapped) = resident(dir, ".rows");
    assert!(mapped > ROWS * DIMENSION * 4, "the file is mapped: {mapped}");
    if resident_rows {
        let (graph, mapped) = resident(dir, ".graph");
        assert!(graph < mapped / 2, "codes are in memory once: {graph} of {mapped}");
    } else {
        assert!(rows < mapped / 8, "{rows} of {mapped}");
    }
    answers
}

fn index_config(space: &Space) -> IndexConfig {
    IndexConfig {
        kind: IndexKind::Ivf { nlist: None, nprobe: None },
        quantisation: Quantisation::I8,
        ..config(space, Precision::F32)
    }
}

#[test]
fn searches_of_mapped_rows_leave_the_vectors_on_the_disk() {
    let space = space(Geometry::Euclidean, DIMENSION, 0.0);
    let dir = tempfile::tempdir().unwrap();
    let index =
        VectorIndex::open(dir.path(), index_config(&space), RestartState::default()).unwrap();
    let (mut model, mut random) = (Model::default(), Random(3));
    fill(&index, &mut model, &space, Precision::F32, &mut random, 1, ROWS);
    index.flush().unwrap();
    drop(index);
    let dir = fs::canonicalize(dir.path()).unwrap();
    assert_eq!(search(&dir, &space, false), search(&dir, &space, true));
}
