//! An index that was killed while it was built finds as much as one that was not.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, CreateNamespace, IndexState, NamespaceInfo,
    PutRecord, SearchRequest, SearchResponse, Vector,
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

#[test]
fn an_index_that_was_killed_finds_as_much_as_a_fresh_one() {
    recall_after_kills(10_000, 3);
}

#[test]
#[ignore = "full: over a hundred thousand rows in segments, twice"]
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

/// Whether it was answered.
fn put(connection: &mut Connection, points: &[Vec<f64>], first: usize) -> bool {
    let operations = points.iter().enumerate().skip(first).take(BATCH).map(|(number, point)| {
        BatchOperation::Put(PutRecord {
            id: Some(number.to_string()),
            vector: Some(Vector(point.clone())),
            ..PutRecord::default()
        })
    });
    let request = BatchRequest { operations: operations.collect(), ..BatchRequest::default() };
    let answer: anyhow::Result<BatchResponse> =
        connection.call("POST", &format!("{NAMESPACE}/batch"), &request);
    answer.is_ok_and(|answer| answer.failed == 0)
}

fn state(connection: &mut Connection) -> IndexState {
    let info: NamespaceInfo = connection.get(NAMESPACE).unwrap();
    info.vectors[""].state.clone()
}

fn wait_until(connection: &mut Connection, what: &str, is_so: impl Fn(&IndexState) -> bool) {
    let begun = Instant::now();
    loop {
        let state = state(connection);
        if is_so(&state) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {state:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The part of the true neighbours that searches with the defaults find.
fn recall(connection: &mut Connection, points: &[Vec<f64>]) -> f64 {
    let count = points.len();
    wait_until(connection, "never indexed", |state| {
        !state.building && state.tail < TAIL as u64 && state.live == count as u64
    });
    assert!(state(connection).bytes_graph > 0, "everything is compared");
    let mut found = 0;
    for query in 0..QUERIES {
        // Between two rows.
        let (a, b) = (&points[query * 37 % count], &points[query * 91 % count]);
        let query: Vec<f64> = a.iter().zip(b).map(|(a, b)| 0.9 * a + 0.1 * b).collect();
        let distance = |point: &Vec<f64>| -> f64 {
            point.iter().zip(&query).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let mut distances: Vec<f64> = points.iter().map(distance).collect();
        distances.sort_by(f64::total_cmp);
        let farthest = distances[K - 1];
        let request = SearchRequest {
            vector: Some(Vector(query.clone())),
            k: Some(K as u64),
            ..SearchRequest::default()
        };
        let answer: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &request).unwrap();
        let is_true = |id: &str| distance(&points[id.parse::<usize>().unwrap()]) <= farthest;
        found += answer.hits.iter().filter(|hit| is_true(&hit.id)).count();
    }
    found as f64 / (QUERIES * K) as f64
}

fn create(connection: &mut Connection) {
    let request = CreateNamespace {
        geometry: Some("euclidean".into()),
        dimension: Some(DIMENSION as u64),
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
    let fresh = recall(&mut connection, &points);
    drop(connection);
    node.stop().unwrap();

    let data = folder.path().join("killed");
    let (mut node, mut connection) = start(&data);
    create(&mut connection);
    let part = count.div_ceil(BATCH).div_ceil(kills) * BATCH;
    for (number, first) in (0..count).step_by(BATCH).enumerate() {
        assert!(put(&mut connection, &points, first));
        if ((number + 1) * BATCH).is_multiple_of(part) {
            wait_until(&mut connection, "nothing is built", |state| {
                state.building || state.tail < TAIL as u64
            });
            drop(connection);
            node.kill().unwrap();
            (node, connection) = start(&data);
        }
    }
    let killed = recall(&mut connection, &points);
    drop(connection);
    node.kill().unwrap();
    let (node, mut connection) = start(&data);
    let at_rest = recall(&mut connection, &points);
    drop(connection);
    node.stop().unwrap();
    println!(
        "{count} rows: fresh {fresh:.4}, killed while built {killed:.4}, and after {at_rest:.4}"
    );
    for one in [fresh, killed, at_rest] {
        assert!(one >= GATE && one >= fresh - NEAR, "{fresh} {killed} {at_rest}");
    }
}
