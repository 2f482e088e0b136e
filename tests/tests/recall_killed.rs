//! Indexes that were killed while they were built find as much as those that were not.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::BTreeMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, CreateNamespace, IndexSpec, IndexState, IndexType,
    NamespaceInfo, PutRecord, SearchRequest, SearchResponse, Vector, VectorSpec,
};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings},
    sample::Random,
};

const NAMESPACE: &str = "/v1/namespaces/killed";
const PATIENCE: Duration = Duration::from_mins(10);
const DIMENSION: usize = 16;
const BATCH: usize = 1_000;
/// Few beside the rows, so that next to all of them are in segments.
const TAIL: usize = 250;
const QUERIES: usize = 100;
const K: usize = 10;
/// Of what is asked for, and between an index that was killed and one that was not.
const GATE: f64 = 0.95;
const NEAR: f64 = 0.01;

/// The indexes that are killed, each of a vector of its own. The first is of the default vector.
#[derive(Clone, Copy, Debug)]
struct Killed {
    name: &'static str,
    geometry: &'static str,
    kind: IndexType,
}

const KILLED: [Killed; 3] = [
    Killed { name: "", geometry: "euclidean", kind: IndexType::Hnsw },
    Killed { name: "curved", geometry: "hyperboloid", kind: IndexType::Hnsw },
    Killed { name: "lists", geometry: "spherical", kind: IndexType::Ivf },
];

impl Killed {
    fn dimension(self) -> u64 {
        // A point of the sphere has a coordinate more than it has dimensions.
        if self.geometry == "spherical" { DIMENSION as u64 - 1 } else { DIMENSION as u64 }
    }

    /// The point of the space that some coordinates stand for.
    fn point(self, coordinates: &[f64]) -> Vec<f64> {
        let square: f64 = coordinates.iter().map(|x| x * x).sum();
        match self.geometry {
            "hyperboloid" => {
                let mut point = vec![(1.0 + square).sqrt()];
                point.extend(coordinates);
                point
            }
            "spherical" => coordinates.iter().map(|x| x / square.sqrt()).collect(),
            _ => coordinates.to_vec(),
        }
    }

    /// What rises with the distance of two points.
    fn rank(self, a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        match self.geometry {
            "hyperboloid" => a[0] * b[0] - dot(&a[1..], &b[1..]),
            "spherical" => -dot(a, b),
            _ => a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum(),
        }
    }
}

#[test]
fn an_index_that_was_killed_finds_as_much_as_a_fresh_one() {
    recall_after_kills(10_000, 3);
}

#[test]
#[ignore = "full: over a hundred thousand rows in segments of three indexes, twice"]
fn a_large_index_that_was_killed_finds_as_much_as_a_fresh_one() {
    recall_after_kills(110_000, 8);
}

/// In groups, as embeddings are, and as f32 can hold them.
fn points(count: usize) -> Vec<Vec<f64>> {
    let random = &mut Random(7);
    let mut unit = || random.below(1 << 20) as f64 / f64::from(1 << 19) - 1.0;
    let groups: Vec<Vec<f64>> =
        (0..10).map(|_| (0..DIMENSION).map(|_| 2.0 * unit()).collect()).collect();
    (0..count)
        .map(|number| {
            let group = &groups[number % groups.len()];
            group.iter().map(|x| x + unit()).collect()
        })
        .collect()
}

fn start(data: &Path) -> (Node, Connection) {
    let settings = Settings::new(data).unwrap().with("index.tail", &TAIL.to_string());
    let node = Node::start(&settings).unwrap();
    let connection = node.connect().unwrap();
    (node, connection)
}

fn vectors(coordinates: &[f64]) -> BTreeMap<String, Vector> {
    let of = |killed: Killed| (killed.name.to_owned(), Vector(killed.point(coordinates)));
    KILLED.into_iter().map(of).collect()
}

/// Whether it was answered.
fn put(connection: &mut Connection, points: &[Vec<f64>], first: usize) -> bool {
    let operations = points.iter().enumerate().skip(first).take(BATCH).map(|(number, point)| {
        BatchOperation::Put(PutRecord {
            id: Some(number.to_string()),
            vectors: Some(vectors(point)),
            ..PutRecord::default()
        })
    });
    let request = BatchRequest { operations: operations.collect(), ..BatchRequest::default() };
    let answer: anyhow::Result<BatchResponse> =
        connection.call("POST", &format!("{NAMESPACE}/batch"), &request);
    answer.is_ok_and(|answer| answer.failed == 0)
}

fn states(connection: &mut Connection) -> Vec<IndexState> {
    let info: NamespaceInfo = connection.get(NAMESPACE).unwrap();
    KILLED.iter().map(|killed| info.vectors[killed.name].state.clone()).collect()
}

fn wait_until(connection: &mut Connection, what: &str, is_so: impl Fn(&[IndexState]) -> bool) {
    let begun = Instant::now();
    loop {
        let states = states(connection);
        if is_so(&states) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {states:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The part of the true neighbours that searches with the defaults find, of each index.
fn recalls(connection: &mut Connection, points: &[Vec<f64>]) -> Vec<f64> {
    let count = points.len() as u64;
    wait_until(connection, "never indexed", |states| {
        let is_done =
            |state: &IndexState| !state.building && state.tail < TAIL as u64 && state.live == count;
        states.iter().all(is_done)
    });
    for state in states(connection) {
        assert!(state.bytes_graph > 0, "everything is compared: {state:?}");
    }
    KILLED.into_iter().map(|killed| recall(connection, points, killed)).collect()
}

fn recall(connection: &mut Connection, points: &[Vec<f64>], killed: Killed) -> f64 {
    let count = points.len();
    let rows: Vec<Vec<f64>> = points.iter().map(|point| killed.point(point)).collect();
    let mut found = 0;
    for query in 0..QUERIES {
        // Between two rows.
        let (a, b) = (&points[query * 37 % count], &points[query * 91 % count]);
        let query: Vec<f64> = a.iter().zip(b).map(|(a, b)| 0.9 * a + 0.1 * b).collect();
        let query = killed.point(&query);
        let mut ranks: Vec<f64> = rows.iter().map(|row| killed.rank(row, &query)).collect();
        ranks.sort_by(f64::total_cmp);
        // Rows are stored in f32.
        let farthest = ranks[K - 1] + 1e-5;
        let request = SearchRequest {
            using: Some(killed.name.to_owned()),
            vector: Some(Vector(query.clone())),
            k: Some(K as u64),
            ..SearchRequest::default()
        };
        let answer: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &request).unwrap();
        let is_true =
            |id: &str| killed.rank(&rows[id.parse::<usize>().unwrap()], &query) <= farthest;
        found += answer.hits.iter().filter(|hit| is_true(&hit.id)).count();
    }
    found as f64 / (QUERIES * K) as f64
}

fn create(connection: &mut Connection) {
    let index = |killed: Killed| Some(IndexSpec { kind: killed.kind, ..IndexSpec::default() });
    let [first, named @ ..] = KILLED;
    let spec = |killed: Killed| VectorSpec {
        geometry: Some(killed.geometry.into()),
        dimension: Some(killed.dimension()),
        index: index(killed),
        ..VectorSpec::default()
    };
    let request = CreateNamespace {
        geometry: Some(first.geometry.into()),
        dimension: Some(first.dimension()),
        index: index(first),
        vectors: named.into_iter().map(|killed| (killed.name.to_owned(), spec(killed))).collect(),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", NAMESPACE, &request).unwrap();
}

fn recall_after_kills(count: usize, kills: usize) {
    let points = points(count);
    let folder = tempfile::tempdir().unwrap();
    let (node, mut connection) = start(&folder.path().join("fresh"));
    create(&mut connection);
    for first in (0..count).step_by(BATCH) {
        assert!(put(&mut connection, &points, first));
    }
    let fresh = recalls(&mut connection, &points);
    drop(connection);
    node.stop().unwrap();

    let data = folder.path().join("killed");
    let (mut node, mut connection) = start(&data);
    create(&mut connection);
    let part = count.div_ceil(BATCH).div_ceil(kills) * BATCH;
    for (number, first) in (0..count).step_by(BATCH).enumerate() {
        assert!(put(&mut connection, &points, first));
        if ((number + 1) * BATCH).is_multiple_of(part) {
            wait_until(&mut connection, "nothing is built", |states| {
                states.iter().any(|state| state.building || state.tail < TAIL as u64)
            });
            drop(connection);
            node.kill().unwrap();
            (node, connection) = start(&data);
        }
    }
    let killed = recalls(&mut connection, &points);
    drop(connection);
    node.kill().unwrap();
    let (node, mut connection) = start(&data);
    let at_rest = recalls(&mut connection, &points);
    drop(connection);
    node.stop().unwrap();
    println!("{count} rows: fresh {fresh:.4?}, killed {killed:.4?}, and at rest {at_rest:.4?}");
    for (number, fresh) in fresh.iter().enumerate() {
        for one in [*fresh, killed[number], at_rest[number]] {
            assert!(one >= GATE && one >= fresh - NEAR, "{:?}: {one}", KILLED[number]);
        }
    }
}
