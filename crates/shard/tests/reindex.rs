//! The index of a vector is changed while records are written, deleted and searched. Before,
//! during and after it answers equal those of a list that is looked through.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hvs_index::Quantisation;
use hvs_shard::{
    Durability, IndexConfig, IndexKind, Operation, ReindexError, SearchRequest, Shard, WriteRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod support;
use support::{DIMENSION, FLAT, Home, lift, record, write};

const RECORDS: u32 = 3_000;
/// Names the directory that the child works in.
const CHILD: &str = "HVS_TEST_REINDEX_DIRECTORY";

fn kinds() -> [(IndexKind, Quantisation); 5] {
    let hnsw = IndexKind::Hnsw { m: 8, ef_construction: 64, ef_search: 64 };
    [
        (hnsw, Quantisation::None),
        (hnsw, Quantisation::F16),
        (IndexKind::Ivf { nlist: Some(16), nprobe: Some(8) }, Quantisation::None),
        (IndexKind::Geometric, Quantisation::None),
        (IndexKind::Flat, Quantisation::None),
    ]
}

fn config(home: &Home, (kind, quantisation): (IndexKind, Quantisation)) -> IndexConfig {
    IndexConfig {
        kind,
        quantisation,
        tail_limit: 256,
        graph_from: 128,
        ..home.config.vectors[""].clone()
    }
}

fn home_with(kind: (IndexKind, Quantisation)) -> Home {
    let mut home = Home::new();
    let config = config(&home, kind);
    home.config.vectors.insert(String::new(), config);
    home
}

/// What the shard must hold, and a source of changes to it.
struct Model {
    points: BTreeMap<String, Vec<f64>>,
    rng: StdRng,
}

impl Model {
    fn new() -> Self {
        Self { points: BTreeMap::new(), rng: StdRng::seed_from_u64(11) }
    }

    /// Puts, replaces and deletes, by one request.
    fn change(&mut self, shard: &Shard, operations: usize) {
        let mut request = Vec::new();
        for _ in 0..operations {
            let number = self.rng.random_range(0..RECORDS);
            let id = format!("id-{number}");
            if self.rng.random_bool(0.3) {
                self.points.remove(&id);
                request.push(Operation::Delete { id, condition: None });
            } else {
                request.push(self.put(id));
            }
        }
        self.write(shard, request);
    }

    fn put(&mut self, id: String) -> Operation {
        let point = lift(std::array::from_fn(|_| self.rng.random_range(-1.5..1.5)));
        let mut record = record(&id, 1);
        record.vectors.insert(String::new(), point.clone());
        record.vectors.insert(FLAT.to_owned(), vec![point[1], point[2]]);
        // As the index has it.
        self.points.insert(id, point);
        Operation::Put { record, condition: None }
    }

    fn write(&self, shard: &Shard, operations: Vec<Operation>) {
        let request = WriteRequest {
            operations,
            durability: Durability::Buffered,
            atomic: true,
            idempotency_key: None,
        };
        write(shard, request).unwrap();
    }

    fn fill(&mut self, shard: &Shard) {
        for first in (0..RECORDS).step_by(500) {
            let operations =
                (first..first + 500).map(|number| self.put(format!("id-{number}"))).collect();
            self.write(shard, operations);
        }
    }

    /// Compares what is found with what is there.
    fn check(&mut self, shard: &Shard, what: &str) {
        let space =
            hvs_geometry::Space::new(hvs_geometry::Geometry::Hyperboloid, DIMENSION, -1.0).unwrap();
        let query = lift(std::array::from_fn(|_| self.rng.random_range(-1.5..1.5)));
        let mut expected: Vec<f64> = self
            .points
            .values()
            .map(|point| space.distance(&query, &space.from_storage(&rounded(point))).unwrap())
            .collect();
        expected.sort_unstable_by(f64::total_cmp);
        let request = SearchRequest { exact: true, ..SearchRequest::nearest(query.clone(), 20) };
        let answer = shard.search(&request).unwrap();
        assert!(answer.exact, "{what}");
        assert_eq!(answer.hits.len(), expected.len().min(20), "{what}");
        for (hit, expected) in answer.hits.iter().zip(&expected) {
            assert!((hit.distance - expected).abs() < 1e-9, "{what}: {} {expected}", hit.distance);
            assert!(self.points.contains_key(&hit.id), "{what}: {} was deleted", hit.id);
        }
        // As it is asked without a wish, it finds most of them too.
        let answer = shard.search(&SearchRequest::nearest(query, 20)).unwrap();
        let worst = expected[answer.hits.len().min(expected.len()) - 1] + 1e-9;
        let found = answer.hits.iter().filter(|hit| hit.distance <= worst).count();
        assert!(found >= 16, "{what}: {found} of 20");
        assert!(answer.hits.iter().all(|hit| self.points.contains_key(&hit.id)), "{what}");
        // Everything, so that none is missing far away either.
        let all = SearchRequest {
            k: None,
            radius: Some(100.0),
            ..SearchRequest::nearest(lift([0.0; DIMENSION]), 1)
        };
        let mut ids: Vec<_> =
            shard.search(&all).unwrap().hits.into_iter().map(|hit| hit.id).collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(self.points.keys()), "{what}: {} {}", ids.len(), self.points.len());
    }
}

/// A point after it was stored in f32.
#[expect(clippy::cast_possible_truncation, reason = "storing rounds")]
fn rounded(point: &[f64]) -> Vec<f64> {
    let space =
        hvs_geometry::Space::new(hvs_geometry::Geometry::Hyperboloid, DIMENSION, -1.0).unwrap();
    space.to_storage(point).into_iter().map(|x| f64::from(x as f32)).collect()
}

fn directories(home: &Home) -> usize {
    std::fs::read_dir(home.shard_path().join("index")).unwrap().count()
}

#[test]
fn every_kind_becomes_every_other_under_writes() {
    let all = kinds();
    for from in all {
        let mut home = home_with(from);
        let shard = home.open();
        let model = RefCell::new(Model::new());
        model.borrow_mut().fill(&shard);
        let mut generation = 0;
        for to in all {
            if to == from && to != all[0] {
                continue;
            }
            let what = format!("{from:?} to {to:?}");
            model.borrow_mut().check(&shard, &what);
            generation += 1;
            let change = shard.change_index("", config(&home, to), generation).unwrap();
            let calls = Cell::new(0);
            let during = |_| {
                calls.set(calls.get() + 1);
                if calls.get() <= 6 {
                    // More at first than the last round takes.
                    let operations = if calls.get() <= 2 { 700 } else { 60 };
                    model.borrow_mut().change(&shard, operations);
                    model.borrow_mut().check(&shard, &format!("during {what}"));
                }
                true
            };
            change.fill(&during).unwrap();
            assert!(calls.get() > 2, "{}", calls.get());
            model.borrow_mut().change(&shard, 40);
            model.borrow_mut().check(&shard, &format!("filled, {what}"));
            change.switch().unwrap().remove().unwrap();
            model.borrow_mut().check(&shard, &format!("switched, {what}"));
            model.borrow_mut().change(&shard, 40);
            model.borrow_mut().check(&shard, &format!("after {what}"));
            home.config.vectors.insert(String::new(), config(&home, to));
        }
        home.config.generations.insert(String::new(), generation);
        shard.close().unwrap();
        drop(shard);
        let shard = home.open();
        model.borrow_mut().check(&shard, "opened again");
        assert_eq!(directories(&home), 2);
    }
}

#[test]
fn a_changed_index_is_opened_from_its_files() {
    let mut home = home_with(kinds()[0]);
    let shard = home.open();
    let mut model = Model::new();
    model.fill(&shard);
    shard.flush().unwrap();
    // The last records go, so that the new index covers fewer keys than the old one did. Rows of
    // keys below that are trimmed when the shard closes.
    let last: Vec<Operation> = (RECORDS - 50..RECORDS)
        .map(|number| {
            model.points.remove(&format!("id-{number}"));
            Operation::Delete { id: format!("id-{number}"), condition: None }
        })
        .collect();
    model.write(&shard, last);
    shard.close().unwrap();
    drop(shard);
    let shard = home.open();
    let to = config(&home, kinds()[2]);
    let change = shard.change_index("", to.clone(), 5).unwrap();
    change.fill(&|_| true).unwrap();
    change.switch().unwrap().remove().unwrap();
    shard.close().unwrap();
    drop(shard);
    home.config.vectors.insert(String::new(), to);
    home.config.generations.insert(String::new(), 5);
    let shard = home.open();
    let stats = shard.stats().indexes[""];
    assert_eq!((stats.builds, stats.tail), (0, 0), "it was built anew");
    assert!(stats.segments > 0);
    model.check(&shard, "opened again");
}

#[test]
fn a_cancelled_change_leaves_the_index_as_it_was() {
    let home = home_with(kinds()[0]);
    let shard = home.open();
    let mut model = Model::new();
    model.fill(&shard);
    for rows in [0, 1, 600] {
        let change = shard.change_index("", config(&home, kinds()[3]), 1).unwrap();
        let outcome = change.fill(&|built| built < rows);
        assert!(matches!(outcome, Err(ReindexError::Cancelled)), "{outcome:?}");
        let other = shard.change_index("", config(&home, kinds()[3]), 1);
        assert!(matches!(other, Err(ReindexError::Underway { .. })));
        drop(change);
        assert_eq!(directories(&home), 2);
        model.change(&shard, 30);
        model.check(&shard, "cancelled");
    }
    let change = shard.change_index("", config(&home, kinds()[3]), 1).unwrap();
    change.fill(&|_| true).unwrap();
    change.switch().unwrap().remove().unwrap();
    model.check(&shard, "changed in the end");
}

#[test]
fn what_cannot_change_is_refused() {
    let home = home_with(kinds()[0]);
    let shard = home.open();
    let plane = home.config.vectors[FLAT].clone();
    assert!(matches!(
        shard.change_index("", plane, 1),
        Err(ReindexError::Index { reason, .. }) if reason.contains("space")
    ));
    assert!(matches!(
        shard.change_index("none", config(&home, kinds()[1]), 1),
        Err(ReindexError::UnknownVector { .. })
    ));
    assert!(shard.change_index("", config(&home, kinds()[1]), 0).is_err());
    // What every search takes is changed at once, and nothing else so.
    assert!(shard.tune_index("", IndexKind::Hnsw { m: 8, ef_construction: 64, ef_search: 9 }));
    assert!(!shard.tune_index("", IndexKind::Hnsw { m: 9, ef_construction: 64, ef_search: 9 }));
    assert!(!shard.tune_index("", IndexKind::Flat));
}

/// What a step writes.
fn step(number: u32) -> WriteRequest {
    let mut rng = StdRng::seed_from_u64(number.into());
    let mut operations: Vec<Operation> = (0..20)
        .map(|_| {
            let id = format!("id-{}", rng.random_range(0..600));
            if rng.random_bool(0.3) {
                Operation::Delete { id, condition: None }
            } else {
                let record = record(&id, rng.random_range(0..1_000_000));
                Operation::Put { record, condition: None }
            }
        })
        .collect();
    operations.push(Operation::Put { record: record("progress", number), condition: None });
    WriteRequest {
        operations,
        atomic: true,
        durability: Durability::Buffered,
        idempotency_key: None,
    }
}

fn progress(shard: &Shard) -> u32 {
    let Some(record) = shard.get("progress").unwrap() else { return 0 };
    record.metadata["number"].as_u64().unwrap().try_into().unwrap()
}

/// The shard as the note beside it says: what the catalogue of a node is.
fn noted(directory: &Path) -> (Home, u64) {
    let mut home = Home::at(directory.to_owned());
    home.config.store.memtable_bytes = 16 << 10;
    let note = std::fs::read_to_string(directory.join("generation")).unwrap_or_default();
    let generation: u64 = note.parse().unwrap_or(0);
    let kinds = kinds();
    let kind = kinds[usize::try_from(generation).unwrap() % kinds.len()];
    let config = IndexConfig { tail_limit: 64, graph_from: 32, ..config(&home, kind) };
    home.config.vectors.insert(String::new(), config);
    home.config.generations.insert(String::new(), generation);
    (home, generation)
}

fn change_until_killed(directory: &Path) -> ! {
    let (home, mut generation) = noted(directory);
    let shard = home.open();
    let next = Cell::new(progress(&shard) + 1);
    let work = |_| {
        write(&shard, step(next.get())).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {}", next.get()).unwrap();
        out.flush().unwrap();
        next.set(next.get() + 1);
        true
    };
    loop {
        generation += 1;
        let kinds = kinds();
        let kind = kinds[usize::try_from(generation).unwrap() % kinds.len()];
        let config = IndexConfig { tail_limit: 64, graph_from: 32, ..config(&home, kind) };
        let change = shard.change_index("", config, generation).unwrap();
        change.fill(&work).unwrap();
        work(0);
        let path = directory.join("generation.tmp");
        std::fs::write(&path, generation.to_string()).unwrap();
        std::fs::rename(path, directory.join("generation")).unwrap();
        work(0);
        let replaced = change.switch().unwrap();
        work(0);
        replaced.remove().unwrap();
        work(0);
    }
}

#[test]
fn a_change_that_is_killed_leaves_the_old_index_or_the_new_one() {
    if let Ok(directory) = std::env::var(CHILD) {
        change_until_killed(directory.as_ref());
    }
    let directory = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let mut last = 0;
    for round in 0..15 {
        let answers = if round == 0 { 150 } else { rng.random_range(1..40) };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_change_that_is_killed_leaves_the_old_index_or_the_new_one"])
            .arg("--nocapture")
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u32>().ok())
        });
        for number in numbers.by_ref().take(answers) {
            last = number;
        }
        child.kill().unwrap();
        last = numbers.last().unwrap_or(last);
        assert_eq!(child.wait().unwrap().code(), None, "the child ended by itself");
        last = verify(directory.path(), last);
    }
    assert!(noted(directory.path()).1 > 3, "few changes were made");
}

fn verify(directory: &Path, acknowledged: u32) -> u32 {
    let (home, _) = noted(directory);
    let shard = home.open();
    let last = progress(&shard);
    assert!(last >= acknowledged, "{acknowledged} was acknowledged, {last} is the last");
    let mut expected = BTreeMap::new();
    for number in 1..=last {
        for operation in step(number).operations {
            match operation {
                Operation::Put { record, .. } => expected.insert(record.id.clone(), record),
                Operation::Delete { id, .. } => expected.remove(&id),
                #[allow(unreachable_patterns, reason = "there may be other operations")]
                _ => None,
            };
        }
    }
    let query = lift([0.1, 0.2, 0.3]);
    let request = SearchRequest { exact: true, ..SearchRequest::nearest(query, 2_000) };
    let mut ids: Vec<_> =
        shard.search(&request).unwrap().hits.into_iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    assert!(ids.iter().eq(expected.keys()), "the index differs from the records");
    assert!(directories(&home) <= 2, "an index that is not in use was left");
    shard.close().unwrap();
    last
}
