//! Every type of index finds what a scan finds, in every geometry, with default settings.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use hvs_geometry::{Component, Geometry, Precision, Space};
use hvs_index::{IndexConfig, IndexKind, RestartState, SearchRequest, VectorIndex};
use kit::{Groups, Random, hyperboloid, space};

const K: usize = 10;
const QUERIES: usize = 100;
const GATE: f64 = 0.95;
/// Vectors in a group: more than a walk has candidates, so that a group can fill them all.
const GROUP: usize = 333;

fn spaces() -> Vec<Space> {
    vec![
        hyperboloid(12),
        space(Geometry::Poincare, 8, -1.0),
        space(Geometry::Klein, 5, -1.0),
        space(Geometry::Euclidean, 24, 0.0),
        space(Geometry::Spherical, 15, 1.0),
        Space::product(vec![
            Component { space: space(Geometry::Poincare, 4, -1.0), weight: 1.0 },
            Component { space: space(Geometry::Spherical, 3, 1.0), weight: 0.5 },
            Component { space: space(Geometry::Euclidean, 4, 0.0), weight: 2.0 },
        ])
        .unwrap(),
    ]
}

fn kinds() -> Vec<IndexKind> {
    vec![IndexKind::default(), IndexKind::Geometric, IndexKind::Ivf { nlist: None, nprobe: None }]
}

/// An index with default settings whose rows are all in segments.
struct Filled<'a> {
    space: &'a Space,
    groups: Groups<'a>,
    random: Random,
    index: VectorIndex,
    /// For people: how long the first build took.
    built: std::time::Duration,
    /// Live rows.
    rows: Vec<(u64, Vec<f64>)>,
    _dir: tempfile::TempDir,
}

impl<'a> Filled<'a> {
    fn new(space: &'a Space, config: IndexConfig, rows: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
        let mut random = Random(99);
        let groups = Groups::new(space, rows / GROUP, &mut random);
        let mut filled = Self {
            space,
            groups,
            random,
            index,
            built: std::time::Duration::ZERO,
            rows: Vec::new(),
            _dir: dir,
        };
        let began = std::time::Instant::now();
        for key in 1..=rows as u64 {
            let vector = filled.groups.point(&mut filled.random, Precision::F32);
            filled.index.insert(key, &format!("id-{key}"), &vector).unwrap();
            filled.rows.push((key, vector));
        }
        filled.flush();
        filled.built = began.elapsed();
        filled
    }

    fn flush(&self) {
        self.index.flush().unwrap();
        assert_eq!(self.index.stats().tail, 0);
    }

    /// Gives every second id a new vector.
    fn replace_half(&mut self) {
        let first = self.rows.len() as u64 + 1;
        for (next, at) in (first..).zip((0..self.rows.len()).step_by(2)) {
            let vector = self.groups.point(&mut self.random, Precision::F32);
            self.index.insert(next, &format!("id-{}", at + 1), &vector).unwrap();
            self.index.remove(self.rows[at].0);
            self.rows[at] = (next, vector);
        }
        self.flush();
    }

    /// The part of the true nearest that is found, and the part of rows compared.
    fn recall(&mut self) -> (f64, f64) {
        let (mut found, mut compared) = (0, 0);
        for _ in 0..QUERIES {
            let query = self.groups.point(&mut self.random, Precision::F32);
            let query = self.space.from_storage(&query);
            let request = SearchRequest::nearest(&query, K);
            let truth = self.index.search(&SearchRequest { exact: true, ..request }).unwrap();
            assert!(truth.exact);
            let answer = self.index.search(&request).unwrap();
            assert_eq!(answer.hits.len(), K);
            compared += answer.scanned;
            found += truth
                .hits
                .iter()
                .filter(|true_hit| answer.hits.iter().any(|hit| hit.key == true_hit.key))
                .count();
        }
        let queries = QUERIES as f64;
        (found as f64 / queries / K as f64, compared as f64 / queries / self.rows.len() as f64)
    }

    /// How many of the stored vectors do not find themselves, and of how many.
    fn orphans(&self, step: usize) -> (usize, usize) {
        let rows = self.rows.iter().step_by(step);
        let tried = rows.len();
        let lost = rows.filter(|(key, vector)| {
            let query = self.space.from_storage(vector);
            let answer = self.index.search(&SearchRequest::nearest(&query, 1)).unwrap();
            // Another one may lie at the very same place.
            answer.hits[0].key != *key && answer.hits[0].distance > 0.0
        });
        (lost.count(), tried)
    }
}

fn gate(rows: usize, step: usize) {
    let mut failed = Vec::new();
    for space in spaces() {
        for kind in kinds() {
            let config = IndexConfig { kind, ..IndexConfig::new(space.clone()) };
            // Where a graph loses a row, it is alone: all are looked for.
            let step = if matches!(kind, IndexKind::Hnsw { .. }) { 1 } else { step };
            let what = format!("{space}, {kind:?}, {rows} rows");
            let mut filled = Filled::new(&space, config, rows);
            let (fresh, compared) = filled.recall();
            let (lost, tried) = filled.orphans(step);
            filled.replace_half();
            let (replaced, _) = filled.recall();
            let (lost_later, _) = filled.orphans(step);
            let line = format!(
                "{what}: recall {fresh:.4}, half replaced {replaced:.4}, {:.1} % compared, \
                 {lost} and {lost_later} of {tried} do not find themselves, built in {:.1} s",
                100.0 * compared,
                filled.built.as_secs_f64()
            );
            eprintln!("{line}");
            if fresh < GATE || replaced < fresh - 0.01 || lost.max(lost_later) > 0 {
                failed.push(line);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn recall_at_defaults_fresh_and_after_half_is_replaced() {
    gate(20_000, 7);
}

#[test]
#[ignore = "full: a hundred thousand rows in each space and type of index"]
fn recall_at_defaults_with_a_hundred_thousand_rows() {
    gate(100_000, 1);
}
