//! A node that is killed in the middle of writing keeps everything that it acknowledged.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, Coordinates, CountRequest, CountResponse,
    CreateNamespace, DeleteRecord, Durability, FetchRequest, FetchResponse, NamespaceInfo,
    PutRecord, SearchRequest, SearchResponse, Vector,
};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings},
};

const NAMESPACE: &str = "/v1/namespaces/crash";
const DIMENSION: usize = 3;
const WRITERS: usize = 3;
/// Ids of one writer; few, so that most writes replace or delete something.
const IDS: u64 = 40;

/// What an id holds: the number of the write that stored it, or nothing.
type Content = Option<u64>;

/// What one writer knows when its connection breaks.
struct Known {
    acknowledged: BTreeMap<String, Content>,
    /// Sent, without an answer: may have happened or not.
    pending: Vec<(String, Content)>,
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    crash_rounds(folder.path(), 4);
}

#[test]
#[ignore = "full: kills a node fifty times"]
fn what_was_acknowledged_survives_many_kills() {
    let folder = tempfile::tempdir().unwrap();
    crash_rounds(folder.path(), 50);
}

fn crash_rounds(folder: &Path, rounds: u64) {
    // A small tail, so that segments are built, and killed while they are built.
    let settings = Settings::new(folder).unwrap().with("index.tail", "64");
    let mut expected: BTreeMap<String, Content> = BTreeMap::new();
    let mut next_write = 0;
    for round in 0..rounds {
        let node = Node::start(&settings).unwrap();
        if round == 0 {
            create(&mut node.connect().unwrap());
        }
        let known = write_until_killed(node, round, next_write);
        next_write += 1_000_000;

        let node = Node::start(&settings).unwrap();
        let mut connection = node.connect().unwrap();
        for writer in known {
            expected.extend(writer.acknowledged);
            settle(&mut connection, &writer.pending, &mut expected);
        }
        check(&mut connection, &expected);
        node.stop().unwrap();
    }
}

fn create(connection: &mut Connection) {
    let request = CreateNamespace {
        geometry: Some("hyperboloid".into()),
        dimension: Some(DIMENSION as u64),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", NAMESPACE, &request).unwrap();
}

/// Several clients write; after a number of answers, which differs by round, the node is killed.
fn write_until_killed(node: Node, round: u64, first_write: u64) -> Vec<Known> {
    let answered = AtomicUsize::new(0);
    let enough = 150 + 97 * usize::try_from(round % 11).unwrap();
    let address = node.external();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let answered = &answered;
                let first = first_write + 100_000 * writer as u64;
                scope.spawn(move || write(address, writer, first, answered))
            })
            .collect();
        while answered.load(Ordering::Relaxed) < enough {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer gave up");
            thread::yield_now();
        }
        node.kill().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// Writes until the connection breaks.
fn write(address: SocketAddr, writer: usize, first: u64, answered: &AtomicUsize) -> Known {
    let mut connection = Connection::open(address).unwrap();
    let mut known = Known { acknowledged: BTreeMap::new(), pending: Vec::new() };
    let path = format!("{NAMESPACE}/batch");
    for turn in 0_u64.. {
        let number = first + turn * 10;
        let size = if turn % 5 == 0 { 7 } else { 1 };
        let changes: Vec<(String, Content)> = (0..size)
            .map(|place| {
                let id = format!("w{writer}-{}", (turn * 13 + place) % IDS);
                let deletes = (turn + place) % 6 == 5;
                (id, (!deletes).then_some(number + place))
            })
            .collect();
        let request = BatchRequest {
            operations: changes.iter().map(|(id, content)| operation(id, *content)).collect(),
            durability: Some(if turn % 3 == 0 { Durability::Sync } else { Durability::Buffered }),
            coordinates: Some(Coordinates::Spatial),
            ..BatchRequest::default()
        };
        let answer: anyhow::Result<BatchResponse> = connection.call("POST", &path, &request);
        let Ok(answer) = answer else {
            known.pending = changes;
            return known;
        };
        assert_eq!((answer.results.len(), answer.failed), (changes.len(), 0));
        known.acknowledged.extend(changes);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    known
}

fn operation(id: &str, content: Content) -> BatchOperation {
    match content {
        Some(number) => BatchOperation::Put(PutRecord {
            id: Some(id.to_owned()),
            vector: Some(Vector(spatial(number))),
            metadata: serde_json::json!({ "number": number }).as_object().cloned(),
            ..PutRecord::default()
        }),
        None => {
            BatchOperation::Delete(DeleteRecord { id: id.to_owned(), ..DeleteRecord::default() })
        }
    }
}

/// A point that tells its number, exact in f32.
fn spatial(number: u64) -> Vec<f64> {
    let digit = |divisor: u64| (number / divisor % 256) as f64 / 128.0;
    vec![digit(1), digit(256), digit(65_536)]
}

/// Writes without an answer either happened or did not: takes over which.
fn settle(
    connection: &mut Connection,
    pending: &[(String, Content)],
    expected: &mut BTreeMap<String, Content>,
) {
    let ids: Vec<&String> = pending.iter().map(|(id, _)| id).collect();
    let found = fetch(connection, &ids);
    for (id, content) in pending {
        let before = expected.get(id).copied().flatten();
        let now = found.get(id).copied();
        assert!(
            now == before || now == *content,
            "{id}: {now:?} is neither {before:?} nor {content:?}"
        );
        expected.insert(id.clone(), now);
    }
}

fn fetch(connection: &mut Connection, ids: &[&String]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for part in ids.chunks(100) {
        let request = FetchRequest {
            ids: part.iter().map(|id| (*id).clone()).collect(),
            ..FetchRequest::default()
        };
        let answer: FetchResponse =
            connection.call("POST", &format!("{NAMESPACE}/fetch"), &request).unwrap();
        assert_eq!(answer.records.len() + answer.missing.len(), part.len());
        for record in answer.records {
            let number = record.metadata.unwrap()["number"].as_u64().unwrap();
            let vector = record.vector.unwrap();
            assert_eq!(vector[1..], spatial(number), "{}: vector of another write", record.id);
            found.insert(record.id, number);
        }
    }
    found
}

/// Records, counts and searches all say the same.
fn check(connection: &mut Connection, expected: &BTreeMap<String, Content>) {
    let ids: Vec<&String> = expected.keys().collect();
    let live: BTreeMap<String, u64> = expected
        .iter()
        .filter_map(|(id, content)| content.map(|number| (id.clone(), number)))
        .collect();
    assert_eq!(fetch(connection, &ids), live);

    let count: CountResponse =
        connection.call("POST", &format!("{NAMESPACE}/count"), &CountRequest::default()).unwrap();
    assert_eq!(count.count, live.len() as u64);

    let everything = SearchRequest {
        vector: Some(Vector(vec![1.0, 0.0, 0.0, 0.0])),
        k: Some(1_000),
        exact: Some(true),
        ..SearchRequest::default()
    };
    let found: SearchResponse =
        connection.call("POST", &format!("{NAMESPACE}/search"), &everything).unwrap();
    let mut found: Vec<&str> = found.hits.iter().map(|hit| hit.id.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, live.keys().map(String::as_str).collect::<Vec<_>>());

    for (id, number) in live.iter().step_by(17) {
        let itself = SearchRequest {
            vector: Some(Vector(spatial(*number))),
            coordinates: Some(Coordinates::Spatial),
            radius: Some(1e-6),
            k: Some(10),
            ..SearchRequest::default()
        };
        let found: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &itself).unwrap();
        assert!(found.hits.iter().any(|hit| hit.id == *id), "{id} is not found where it is");
    }
}
