//! A node that is killed at any moment, or whose machine loses power, keeps what it promised.
//!
//! A failure prints its seed; `HVS_TEST_SEED=n` runs that one.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, CountRequest, CountResponse, CreateNamespace,
    DeleteRecord, Durability, FetchRequest, FetchResponse, NamespaceInfo, PutRecord, SearchRequest,
    SearchResponse, Vector, WriteStatus,
};
use hvs_tests::{http::Connection, node::Node, shim::Shim};

const NAMESPACE: &str = "/v1/namespaces/crash";
const DIMENSION: u64 = 3;
const WRITERS: usize = 3;
/// Ids of one writer; few, so that most writes replace or delete something.
const IDS: u64 = 40;
/// Most answers before a kill.
const ANSWERS: u64 = 400;

#[test]
fn what_was_promised_survives_twenty_kills() {
    crash_rounds(20);
}

#[test]
#[ignore = "full: kills a node two hundred times"]
fn what_was_promised_survives_two_hundred_kills() {
    crash_rounds(200);
}

/// What an id holds: the number of the write that stored it, or nothing; and its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Content {
    number: Option<u64>,
    version: u64,
}

type State = BTreeMap<String, Content>;

/// One request of a writer.
#[derive(Clone, Debug)]
struct Batch {
    changes: Vec<Change>,
    durability: Durability,
    /// By a clock that ticks with every request and every answer of any writer.
    sent: u64,
    /// `None` if there was no answer.
    answered: Option<u64>,
}

#[derive(Clone, Debug)]
struct Change {
    id: String,
    /// None deletes.
    number: Option<u64>,
    if_absent: bool,
}

impl Batch {
    fn apply(&self, state: &mut State) {
        for change in &self.changes {
            let content = state.entry(change.id.clone()).or_default();
            let is_live = content.number.is_some();
            let refused = change.if_absent && is_live;
            if !refused && (is_live || change.number.is_some()) {
                *content = Content { number: change.number, version: content.version + 1 };
            }
        }
    }
}

/// A generator whose numbers follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

fn crash_rounds(rounds: u64) {
    let seed = match std::env::var("HVS_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from(std::process::id()),
    };
    println!("seed {seed}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    // A small tail, so that segments are built, and killed while they are built.
    let settings =
        shim.settings().unwrap().with("index.tail", "64").with("writes.queue_ms", "60000");
    let mut node = shim.start(&settings).unwrap();
    create(&mut node.connect().unwrap());
    let mut states = vec![State::new(); WRITERS];
    for round in 0..rounds {
        let power_fails = round % 2 == 1;
        let answers = 1 + random.below(ANSWERS);
        println!("round {round}: {answers} answers, power fails: {power_fails}");
        let written = write_until_killed(node, round, answers, &states, random.below(u64::MAX));
        if power_fails {
            shim.lose_power().unwrap();
        }
        node = shim.start(&settings).unwrap();
        let mut connection = node.connect().unwrap();
        for (writer, state) in states.iter_mut().enumerate() {
            let found = fetch(&mut connection, writer);
            settle(state, &written, writer, &found, power_fails);
        }
        check(&mut connection, &states, &mut random);
    }
    node.stop().unwrap();
    // What the events say is what is there: the shim has missed nothing.
    assert_eq!(shim.disk().unwrap().differences().unwrap(), [""; 0]);
}

fn create(connection: &mut Connection) {
    let request = CreateNamespace {
        geometry: Some("euclidean".into()),
        dimension: Some(DIMENSION),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", NAMESPACE, &request).unwrap();
}

/// Several clients write; after a number of answers the node is killed. What each has written.
fn write_until_killed(
    node: Node,
    round: u64,
    answers: u64,
    states: &[State],
    seed: u64,
) -> Vec<Vec<Batch>> {
    let (clock, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let address = node.external();
    thread::scope(|scope| {
        let writers: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(writer, state)| {
                let (clock, answered) = (&clock, &answered);
                let random = Random(seed ^ writer as u64);
                let first = (round * WRITERS as u64 + writer as u64) * 100_000;
                let state = state.clone();
                scope.spawn(move || write(address, writer, first, state, random, clock, answered))
            })
            .collect();
        while answered.load(Ordering::Relaxed) < answers {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer gave up");
            thread::yield_now();
        }
        node.kill().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// Writes until the connection breaks. Every answer is what the state says.
fn write(
    address: SocketAddr,
    writer: usize,
    first: u64,
    mut state: State,
    mut random: Random,
    clock: &AtomicU64,
    answered: &AtomicU64,
) -> Vec<Batch> {
    let mut connection = Connection::open(address).unwrap();
    let path = format!("{NAMESPACE}/batch");
    let mut batches: Vec<Batch> = Vec::new();
    for turn in 0_u64.. {
        let size = if turn % 5 == 0 { 7 } else { 1 };
        let start = random.below(IDS);
        let changes = (0..size).map(|place| Change {
            id: format!("w{writer}-{}", (start + place) % IDS),
            number: (random.below(6) != 0).then_some(first + turn * 10 + place),
            if_absent: random.below(5) == 0,
        });
        let mut changes: Vec<Change> = changes.collect();
        for change in &mut changes {
            change.if_absent &= change.number.is_some();
        }
        let is_sync = random.below(3) == 0;
        let durability = if is_sync { Durability::Sync } else { Durability::Buffered };
        let sent = clock.fetch_add(1, Ordering::SeqCst);
        batches.push(Batch { changes: changes.clone(), durability, sent, answered: None });
        let request = BatchRequest {
            operations: changes.iter().map(operation).collect(),
            durability: Some(durability),
            ..BatchRequest::default()
        };
        let answer: anyhow::Result<BatchResponse> = connection.call("POST", &path, &request);
        let Ok(answer) = answer else { return batches };
        let last = batches.last_mut().unwrap();
        last.answered = Some(clock.fetch_add(1, Ordering::SeqCst));
        let before = state.clone();
        last.apply(&mut state);
        for (change, result) in changes.iter().zip(&answer.results) {
            let (before, after) = (before.get(&change.id).copied(), state[&change.id]);
            let was_live = before.is_some_and(|content| content.number.is_some());
            let status = match change.number {
                Some(_) if change.if_absent && was_live => WriteStatus::ConditionFailed,
                Some(_) if was_live => WriteStatus::Updated,
                Some(_) => WriteStatus::Created,
                None if was_live => WriteStatus::Deleted,
                None => WriteStatus::NotFound,
            };
            assert_eq!(result.status, status, "{change:?} {result:?}");
            if result.version.is_some() {
                assert_eq!(result.version, Some(after.version), "{change:?}");
                assert_eq!(result.durability, Some(durability));
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    batches
}

fn operation(change: &Change) -> BatchOperation {
    let id = change.id.clone();
    match change.number {
        Some(number) => BatchOperation::Put(PutRecord {
            id: Some(id),
            vector: Some(Vector(point(number))),
            metadata: serde_json::json!({ "number": number }).as_object().cloned(),
            if_absent: change.if_absent.then_some(true),
            ..PutRecord::default()
        }),
        None => BatchOperation::Delete(DeleteRecord { id, ..DeleteRecord::default() }),
    }
}

/// A point that tells its number, exact in f32.
fn point(number: u64) -> Vec<f64> {
    let digit = |divisor: u64| (number / divisor % 256) as f64 / 128.0;
    vec![digit(1), digit(256), digit(65_536)]
}

/// How many of a writer's requests must have survived: those that were answered; after a loss of
/// power those that were forced to the disk, by themselves or by one that came after them.
fn required(written: &[Vec<Batch>], writer: usize, power_fails: bool) -> usize {
    let covered = |batch: &Batch| {
        let Some(answered) = batch.answered else { return false };
        let later = |other: &Batch| {
            other.durability == Durability::Sync
                && other.answered.is_some()
                && other.sent > answered
        };
        !power_fails || batch.durability == Durability::Sync || written.iter().flatten().any(later)
    };
    written[writer].iter().rposition(covered).map_or(0, |last| last + 1)
}

/// What is found must be what the first requests made of the state, at least as many as were
/// promised: none in the middle is missing. Takes over how many.
fn settle(
    state: &mut State,
    written: &[Vec<Batch>],
    writer: usize,
    found: &State,
    power_fails: bool,
) {
    let required = required(written, writer, power_fails);
    let mut after = state.clone();
    let live = |state: &State| -> State {
        let live = state.iter().filter(|(_, content)| content.number.is_some());
        live.map(|(id, content)| (id.clone(), *content)).collect()
    };
    let batches = &written[writer];
    for (number, batch) in batches.iter().enumerate() {
        if number >= required && live(&after) == *found {
            break;
        }
        batch.apply(&mut after);
    }
    assert_eq!(
        live(&after),
        *found,
        "writer {writer} was promised {required} of {} requests; power failed: {power_fails}",
        batches.len()
    );
    *state = after;
}

fn fetch(connection: &mut Connection, writer: usize) -> State {
    let ids: Vec<String> = (0..IDS).map(|number| format!("w{writer}-{number}")).collect();
    let request = FetchRequest { ids, ..FetchRequest::default() };
    let answer: FetchResponse =
        connection.call("POST", &format!("{NAMESPACE}/fetch"), &request).unwrap();
    assert_eq!((answer.records.len() + answer.missing.len()) as u64, IDS);
    let records = answer.records.into_iter().map(|record| {
        let number = record.metadata.unwrap()["number"].as_u64().unwrap();
        assert_eq!(record.vector.unwrap()[..], point(number), "{}", record.id);
        (record.id, Content { number: Some(number), version: record.version })
    });
    records.collect()
}

/// Counts and searches say what the states say.
fn check(connection: &mut Connection, states: &[State], random: &mut Random) {
    let live: BTreeMap<&str, u64> = states
        .iter()
        .flatten()
        .filter_map(|(id, content)| Some((id.as_str(), content.number?)))
        .collect();
    let count: CountResponse =
        connection.call("POST", &format!("{NAMESPACE}/count"), &CountRequest::default()).unwrap();
    assert_eq!(count.count, live.len() as u64);

    for k in [1_000, 10, 10, 10] {
        let query = point(random.below(1 << 24));
        let request = SearchRequest {
            vector: Some(Vector(query.clone())),
            k: Some(k),
            exact: Some(true),
            ..SearchRequest::default()
        };
        let found: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &request).unwrap();
        let distance = |number: u64| -> f64 {
            let squares = point(number).into_iter().zip(&query).map(|(a, b)| (a - b) * (a - b));
            squares.sum::<f64>().sqrt()
        };
        let mut nearest: Vec<f64> = live.values().map(|number| distance(*number)).collect();
        nearest.sort_by(f64::total_cmp);
        nearest.truncate(usize::try_from(k).unwrap());
        assert_eq!(found.hits.len(), nearest.len());
        for (hit, nearest) in found.hits.iter().zip(nearest) {
            let own = distance(live[hit.id.as_str()]);
            let distance = hit.distance.unwrap();
            assert!((distance - own).abs() <= 1e-9, "{}: {distance} {own}", hit.id);
            assert!((own - nearest).abs() <= 1e-9, "{}: {own} {nearest}", hit.id);
        }
        let near = SearchRequest { exact: None, ..request };
        let near: SearchResponse =
            connection.call("POST", &format!("{NAMESPACE}/search"), &near).unwrap();
        assert_eq!(near.hits.len(), found.hits.len());
        assert!(near.hits.iter().all(|hit| live.contains_key(hit.id.as_str())));
    }
}
