//! What is on disk: restarts, interruptions, damage, other spaces, old files.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod kit;

use std::{
    fs,
    path::{Path, PathBuf},
};

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::{
    IndexConfig, IndexKind, OpenError, Quantisation, RestartState, Row, SearchRequest, Strategy,
    VectorIndex,
};
use kit::{Model, Random, config, fill, hyperboloid, space};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn open(dir: &Path, config: IndexConfig) -> Result<VectorIndex, OpenError> {
    VectorIndex::open(dir, config, RestartState::default())
}

/// An index of 1,000 rows in one segment with a graph.
fn filled(space: &Space, dir: &Path) -> Model {
    let index = open(dir, config(space, Precision::F32)).unwrap();
    let (mut model, mut random) = (Model::default(), Random(77));
    fill(&index, &mut model, space, Precision::F32, &mut random, 1, 1_000);
    index.flush().unwrap();
    model
}

/// All rows by an exact search from the first row.
fn everything(index: &VectorIndex, space: &Space, model: &Model) -> Vec<(u64, f64)> {
    let query = space.from_storage(&model.rows[0].2);
    let request = SearchRequest { exact: true, ..SearchRequest::nearest(&query, 5_000) };
    index.search(&request).unwrap().hits.iter().map(|hit| (hit.key, hit.distance)).collect()
}

#[test]
fn a_restart_finds_the_same() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let model = filled(&space, dir.path());
    assert_eq!(VectorIndex::covered(dir.path()).unwrap(), 1_001);
    for resident_rows in [true, false] {
        let config = IndexConfig { resident_rows, ..config(&space, Precision::F32) };
        // A row below what is covered is skipped, so a caller may pass too many.
        let tail = vec![
            Row { key: 1_000, id: "old".into(), vector: vec![0.0; 6] },
            Row { key: 1_001, id: "new".into(), vector: model.rows[0].2.clone() },
        ];
        let state = RestartState { tail, dead: vec![3, 1_000_000] };
        let index = VectorIndex::open(dir.path(), config, state).unwrap();
        let stats = index.stats();
        assert_eq!((stats.live, stats.dead, stats.tail, stats.segments), (1_000, 1, 1, 1));
        let found = everything(&index, &space, &model);
        assert_eq!(found.len(), 1_000);
        assert!(found.iter().all(|(key, _)| *key != 3));
        assert_eq!(found[0].0, 1);
        assert_eq!(found[1].0, 1_001, "the same vector, in the tail");
    }
}

/// Copies the directory as it is after each step of a build's end, and opens it.
#[test]
fn an_interruption_between_files_loses_nothing() {
    let space = hyperboloid(6);
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut model = filled(&space, before.path());
    copy(before.path(), after.path());
    {
        let index = open(after.path(), config(&space, Precision::F32)).unwrap();
        fill(&index, &mut model, &space, Precision::F32, &mut Random(5), 1_001, 500);
        index.flush().unwrap();
    }
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let new: Vec<String> = files(after.path())
        .iter()
        .map(name)
        .filter(|file| !files(before.path()).iter().any(|old| name(old) == *file))
        .collect();
    assert_eq!(new.len(), 2, "{new:?}: rows and graph, and the old ones are gone");
    let tail: Vec<Row> = model.rows[1_000..]
        .iter()
        .map(|(key, id, vector)| Row { key: *key, id: id.clone(), vector: vector.clone() })
        .collect();
    // 0 and 1: some new files; 2: all of them, but the old manifest; 3: the new manifest, and the
    // old files are still there.
    for step in 0..=3 {
        let dir = tempfile::tempdir().unwrap();
        copy(before.path(), dir.path());
        for file in new.iter().take(step) {
            fs::copy(after.path().join(file), dir.path().join(file)).unwrap();
        }
        fs::write(dir.path().join("segment-9.native.tmp"), b"half a file").unwrap();
        fs::write(dir.path().join("manifest.json.tmp"), b"half a file").unwrap();
        if step == 3 {
            let manifest = "manifest.json";
            fs::copy(after.path().join(manifest), dir.path().join(manifest)).unwrap();
        }
        let covered = VectorIndex::covered(dir.path()).unwrap();
        assert_eq!(covered, if step == 3 { 1_501 } else { 1_001 });
        let state = RestartState { tail: tail.clone(), dead: Vec::new() };
        let index = VectorIndex::open(dir.path(), config(&space, Precision::F32), state).unwrap();
        assert_eq!(everything(&index, &space, &model).len(), 1_500, "step {step}");
        assert_eq!(files(dir.path()).len(), 3, "leftovers are removed");
    }
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let space = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    let model = filled(&space, dir.path());
    let mut random = Random(1);
    for file in files(dir.path()) {
        let good = fs::read(&file).unwrap();
        let mut places: Vec<usize> = (0..40).map(|_| random.below(good.len())).collect();
        // The ends, where headers and trailers are.
        places.extend(0..80.min(good.len()));
        places.extend(good.len().saturating_sub(80)..good.len());
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 1 << random.below(8);
            fs::write(&file, &bad).unwrap();
            let error = open(dir.path(), config(&space, Precision::F32));
            let Err(error) = error else { panic!("{}: byte {place}", file.display()) };
            match error {
                OpenError::Damaged { path, .. }
                | OpenError::Format { path, .. }
                | OpenError::Mismatch { path, .. } => assert_eq!(path, file),
                other => panic!("{other}"),
            }
        }
        for _ in 0..20 {
            fs::write(&file, &good[..random.below(good.len())]).unwrap();
            let error = open(dir.path(), config(&space, Precision::F32)).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        }
        fs::write(&file, &good).unwrap();
    }
    let missing = files(dir.path()).pop().unwrap();
    fs::remove_file(&missing).unwrap();
    let error = open(dir.path(), config(&space, Precision::F32)).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { path, .. } if path == missing));

    // The way out: build it anew from records.
    VectorIndex::discard(dir.path()).unwrap();
    assert!(files(dir.path()).is_empty());
    assert_eq!(VectorIndex::covered(dir.path()).unwrap(), 0);
    let tail = model.rows.iter().cloned().map(|(key, id, vector)| Row { key, id, vector });
    let state = RestartState { tail: tail.collect(), dead: Vec::new() };
    let index = VectorIndex::open(dir.path(), config(&space, Precision::F32), state).unwrap();
    assert_eq!(everything(&index, &space, &model).len(), 1_000);
}

#[test]
fn files_of_another_space_are_refused() {
    let space_6 = hyperboloid(6);
    let dir = tempfile::tempdir().unwrap();
    filled(&space_6, dir.path());
    let others = [
        config(&hyperboloid(7), Precision::F32),
        config(&space(Geometry::Hyperboloid, 6, -2.0), Precision::F32),
        config(&space(Geometry::Euclidean, 6, 0.0), Precision::F32),
        config(&space_6, Precision::F64),
    ];
    for other in others {
        let error = open(dir.path(), other).unwrap_err();
        assert!(matches!(error, OpenError::Mismatch { .. }), "{error}");
    }
    // Another graph is no other index: new segments are built with it.
    let mut other = config(&space_6, Precision::F32);
    other.kind = IndexKind::Hnsw { m: 8, ef_construction: 32, ef_search: 32 };
    open(dir.path(), other).unwrap();
}

/// Files that an older version wrote must be readable by every later one. When a format is added,
/// `HVS_WRITE_CORPUS=folder` makes this test write the files of the new one first.
#[test]
fn files_of_older_formats_are_read() {
    for (name, kind, strategy) in [
        ("format-1", IndexKind::default(), Strategy::Scan),
        ("format-2-tree", IndexKind::Geometric, Strategy::Bounds),
        ("format-2-lists", IVF, Strategy::Lists),
        ("format-2-codes", IndexKind::Flat, Strategy::Scan),
        ("format-3-pq", IndexKind::Flat, Strategy::Scan),
    ] {
        let quantisation = match name {
            "format-2-codes" => Quantisation::F16,
            "format-3-pq" => Quantisation::Pq,
            _ => Quantisation::None,
        };
        if let Some(folder) = std::env::var_os("HVS_WRITE_CORPUS") {
            write_corpus(&Path::new(&folder).join(name), kind, quantisation);
        }
        read_corpus(name, kind, quantisation, strategy);
    }
}

const IVF: IndexKind = IndexKind::Ivf { nlist: None, nprobe: Some(2) };

/// A new section raises the version of the files that have it, and of no others.
#[test]
fn an_index_without_newer_sections_is_written_as_older_programs_read_it() {
    let version =
        |file: &Path| u32::from_le_bytes(fs::read(file).unwrap()[8..12].try_into().unwrap());
    for (kind, quantisation, expected) in [
        (IndexKind::default(), Quantisation::None, 1),
        (IndexKind::Flat, Quantisation::None, 1),
        (IndexKind::Geometric, Quantisation::None, 2),
        (IVF, Quantisation::None, 2),
        (IndexKind::Flat, Quantisation::F16, 2),
        (IndexKind::Flat, Quantisation::Pq, 3),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_corpus(dir.path(), kind, quantisation);
        assert_eq!(version(&dir.path().join("segment-1.graph")), expected, "{kind:?}");
        assert_eq!(version(&dir.path().join("segment-1.rows")), 1, "{kind:?}");
    }
}

fn read_corpus(name: &str, kind: IndexKind, quantisation: Quantisation, strategy: Strategy) {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name), dir.path());
    let space = corpus_space(quantisation);
    let mut config = config(&space, Precision::F32);
    config.graph_from = 8;
    config.kind = kind;
    config.quantisation = quantisation;
    let index = open(dir.path(), config).unwrap();
    assert_eq!(VectorIndex::covered(dir.path()).unwrap(), 33);
    assert_eq!((index.stats().live, index.stats().segments), (32, 1));
    for key in 1..=32_u64 {
        let query = space.from_storage(&corpus_vector(key));
        let mut answer = index.search(&SearchRequest::nearest(&query, 1)).unwrap();
        assert_eq!(answer.strategy, strategy);
        let hit = answer.hits.remove(0);
        assert_eq!((hit.key, hit.id), (key, format!("point {key} é")));
    }
}

fn corpus_space(quantisation: Quantisation) -> Space {
    match quantisation {
        Quantisation::Pq => space(Geometry::Euclidean, 2, 0.0),
        _ => hyperboloid(2),
    }
}

fn corpus_vector(key: u64) -> [f64; 2] {
    let angle = key as f64;
    let r = 0.125 * key as f64;
    [r * angle.cos(), r * angle.sin()].map(|x| f64::from(x as f32))
}

fn write_corpus(dir: &Path, kind: IndexKind, quantisation: Quantisation) {
    let mut config = config(&corpus_space(quantisation), Precision::F32);
    config.graph_from = 8;
    config.kind = kind;
    config.quantisation = quantisation;
    let index = open(dir, config).unwrap();
    for key in 1..=32_u64 {
        index.insert(key, &format!("point {key} é"), &corpus_vector(key)).unwrap();
    }
    index.flush().unwrap();
}
