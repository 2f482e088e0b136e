//! Nodes over TiKV: one leads, another stands by and takes over, and nothing that was acknowledged is
//! lost or comes twice.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hvs_api::{
    BatchOperation, BatchRequest, BatchResponse, CountRequest, CountResponse, CreateNamespace,
    Durability, FetchRequest, FetchResponse, NamespaceInfo, Problem, PutRecord, SearchRequest,
    SearchResponse, Vector, WriteStatus,
};
use hvs_tests::{
    http::Connection,
    node::{Node, Settings, run_to_end},
    tikv::{Cluster, Fault, FaultKind},
};
use tempfile::TempDir;

const NAMESPACE: &str = "/v1/namespaces/standby";
const WRITERS: usize = 3;
/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a node ends with that was taken over from.
const SESSION_ENDED: i32 = 4;

/// A TiKV, and room for nodes.
struct Cloud {
    cluster: Cluster,
    folder: TempDir,
}

impl Cloud {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { cluster: Cluster::start(folder.path()).unwrap(), folder }
    }

    /// Of a node with a data directory of this name. Sessions are short, so that tests are.
    fn settings(&self, name: &str) -> Settings {
        Settings::new(&self.folder.path().join(name))
            .unwrap()
            .with("storage.kv", "tikv")
            .with("tikv.endpoints", &self.cluster.endpoints().join(","))
            .with("tikv.prefix", "standby-test")
            .with("tikv.attempt_timeout_ms", "400")
            .with("tikv.call_timeout_ms", "1200")
            .with("cluster.session_ttl_ms", "4000")
            .with("cluster.heartbeat_ms", "200")
            .with("writes.queue_ms", "60000")
    }

    fn wipe(&self, name: &str) {
        fs::remove_dir_all(self.folder.path().join(name)).unwrap();
    }
}

fn create(connection: &mut Connection) {
    let request = CreateNamespace {
        geometry: Some("euclidean".into()),
        dimension: Some(2),
        shards: Some(2),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = connection.call("PUT", NAMESPACE, &request).unwrap();
}

fn request(id: &str, number: u64) -> BatchRequest {
    let put = PutRecord {
        id: Some(id.to_owned()),
        vector: Some(Vector(vec![number as f64, 1.0])),
        metadata: serde_json::json!({ "number": number }).as_object().cloned(),
        if_absent: Some(true),
        ..PutRecord::default()
    };
    BatchRequest {
        operations: vec![BatchOperation::Put(put)],
        durability: Some(Durability::Sync),
        ..BatchRequest::default()
    }
}

/// Writes a record that is not there yet.
fn write(connection: &mut Connection, id: &str, number: u64) -> anyhow::Result<WriteStatus> {
    let path = format!("{NAMESPACE}/batch");
    let answer: BatchResponse = connection.call("POST", &path, &request(id, number))?;
    Ok(answer.results[0].status)
}

/// The problem that a request ends with.
fn problem(connection: &mut Connection, method: &str, path: &str, body: &str) -> Problem {
    let answer = connection.json(method, path, body).unwrap();
    let problem = answer.problem().unwrap_or_else(|| panic!("{method} {path}: {}", answer.status));
    if problem.status == 503 {
        assert!(answer.header("retry-after").is_some(), "{problem:?}");
    }
    problem
}

/// Asks until the answer is the one that is waited for.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn count(connection: &mut Connection) -> u64 {
    let path = format!("{NAMESPACE}/count");
    let answer: CountResponse = connection.call("POST", &path, &CountRequest::default()).unwrap();
    answer.count
}

/// Every record is as it was written, once.
fn check_records(connection: &mut Connection, written: &BTreeSet<(String, u64)>) {
    let all: Vec<_> = written.iter().collect();
    for part in all.chunks(500) {
        let ids = part.iter().map(|(id, _)| id.clone()).collect();
        let request = FetchRequest { ids, ..FetchRequest::default() };
        let found: FetchResponse =
            connection.call("POST", &format!("{NAMESPACE}/fetch"), &request).unwrap();
        assert_eq!(found.missing, [""; 0], "acknowledged, and not there");
        for (record, (id, number)) in found.records.iter().zip(part) {
            assert_eq!(&record.id, id);
            assert_eq!(record.version, 1, "{id} was written more than once");
            assert_eq!(record.metadata.as_ref().unwrap()["number"], *number, "{id}");
        }
    }
}

fn nearest(connection: &mut Connection, number: u64) -> String {
    let request = SearchRequest {
        vector: Some(Vector(vec![number as f64, 1.0])),
        k: Some(1),
        ..SearchRequest::default()
    };
    let found: SearchResponse =
        connection.call("POST", &format!("{NAMESPACE}/search"), &request).unwrap();
    found.hits[0].id.clone()
}

#[test]
fn a_node_comes_back_from_tikv_alone() {
    let cloud = Cloud::start();
    let settings = cloud.settings("only");
    let node = Node::start(&settings).unwrap();
    let mut connection = node.connect().unwrap();
    create(&mut connection);
    let mut written = BTreeSet::new();
    for number in 0..200 {
        let id = format!("r{number}");
        assert_eq!(write(&mut connection, &id, number).unwrap(), WriteStatus::Created);
        written.insert((id, number));
    }
    node.stop().unwrap();
    let check = |node: &Node, what: &str, began: Instant| {
        println!("{what}: ready after {:?}", began.elapsed());
        let mut connection = node.connect().unwrap();
        assert_eq!(count(&mut connection), 200, "{what}");
        check_records(&mut connection, &written);
        assert_eq!(nearest(&mut connection, 137), "r137", "{what}");
    };

    let began = Instant::now();
    let node = Node::start(&settings).unwrap();
    check(&node, "stopped and started", began);
    node.kill().unwrap();
    let began = Instant::now();
    let node = Node::start(&settings).unwrap();
    check(&node, "killed and started", began);
    node.stop().unwrap();

    cloud.wipe("only");
    let began = Instant::now();
    let node = Node::start(&settings).unwrap();
    check(&node, "stopped, wiped and started", began);
    // Nobody has ended the session of the one before, which must count as dead first.
    node.kill().unwrap();
    cloud.wipe("only");
    let began = Instant::now();
    let node = Node::start(&settings).unwrap();
    check(&node, "killed, wiped and started", began);
    let answer = node.connect().unwrap().json("GET", "/metrics", "").unwrap();
    assert!(String::from_utf8(answer.body).unwrap().contains("hvs_session_valid 1"));

    // What others could not build their state from is refused.
    let mut connection = node.connect().unwrap();
    let body = r#"{"namespace": "clone", "source": "standby"}"#;
    let refused = problem(&mut connection, "POST", "/v1/restore", body);
    assert_eq!(refused.code, "restore_unavailable", "{refused:?}");
    node.stop().unwrap();

    // The directory is not taken for one that has its logs in it, which would be lost then.
    let embedded = Settings::new(&cloud.folder.path().join("only")).unwrap();
    let (status, log) = run_to_end(&embedded).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("is of a node with storage.kv tikv"), "{log}");
}

/// Writes new records one after the other, to whichever node takes them, until told to stop. The
/// record whose write failed is written again: it is new, or there already.
fn keep_writing(
    writer: usize,
    addresses: &[SocketAddr],
    written: &Mutex<BTreeSet<(String, u64)>>,
    answered: &AtomicU64,
    stop: &AtomicBool,
) {
    let mut at = 0;
    let mut connection = None;
    let mut failed = false;
    let mut number = writer as u64 * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("w{writer}-{number}");
        let address = addresses[at % addresses.len()];
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(address),
        };
        let outcome = open.and_then(|mut open| {
            let outcome = write(&mut open, &id, number)?;
            connection = Some(open);
            Ok(outcome)
        });
        let Ok(status) = outcome else {
            failed = true;
            at += 1;
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let is_new = status == WriteStatus::Created;
        assert!(is_new || failed && status == WriteStatus::ConditionFailed, "{status:?}");
        written.lock().unwrap().insert((id, number));
        answered.fetch_add(1, Ordering::Relaxed);
        (failed, number) = (false, number + 1);
    }
}

#[test]
fn a_standby_takes_over_from_a_leader_that_is_killed() {
    let cloud = Cloud::start();
    let leader = Node::start(&cloud.settings("one")).unwrap();
    create(&mut leader.connect().unwrap());
    let mut standby = Node::start_standby(&cloud.settings("two")).unwrap();
    // Before it has looked it only says that it is not ready.
    let refused = until("the standby knows who leads", || {
        let refused = problem(&mut standby.connect().unwrap(), "GET", "/readyz", "");
        (refused.code == "standby").then_some(refused)
    });
    assert!(refused.detail.contains("standby of node "), "{refused:?}");
    let refused = problem(&mut standby.connect().unwrap(), "GET", NAMESPACE, "");
    assert_eq!((refused.code.as_str(), refused.status), ("standby", 503));
    assert!(refused.detail.contains(&leader.external().to_string()), "{refused:?}");
    assert_eq!(standby.connect().unwrap().json("GET", "/livez", "").unwrap().status, 200);
    assert_eq!(standby.connect().unwrap().json("GET", "/metrics", "").unwrap().status, 200);

    let addresses = [leader.external(), standby.external()];
    let written = Mutex::new(BTreeSet::new());
    let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (addresses, written, answered, stop) = (&addresses, &written, &answered, &stop);
            scope.spawn(move || keep_writing(writer, addresses, written, answered, stop));
        }
        until("writes", || (answered.load(Ordering::Relaxed) >= 300).then_some(()));
        let killed = Instant::now();
        leader.kill().unwrap();
        let before = answered.load(Ordering::Relaxed);
        until("writes at the standby", || {
            (answered.load(Ordering::Relaxed) > before + WRITERS as u64).then_some(())
        });
        println!("writes went on {:?} after the leader was killed", killed.elapsed());
        standby.wait_until_ready().unwrap();
        until("more writes", || (answered.load(Ordering::Relaxed) >= before + 300).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    let written = written.into_inner().unwrap();
    let mut connection = standby.connect().unwrap();
    check_records(&mut connection, &written);
    // Beyond what was acknowledged there is at most what each writer was just writing.
    let found = count(&mut connection);
    let most = (written.len() + WRITERS) as u64;
    assert!((written.len() as u64..=most).contains(&found), "{found} of {}", written.len());
    println!("{} acknowledged, {found} there", written.len());

    // The one that was killed comes back as a standby, and takes over at once when the other stops.
    let mut first = Node::start_standby(&cloud.settings("one")).unwrap();
    until("the first node stands by", || {
        let refused = problem(&mut first.connect().unwrap(), "GET", "/readyz", "");
        (refused.code == "standby").then_some(())
    });
    let stopping = Instant::now();
    standby.stop().unwrap();
    first.wait_until_ready().unwrap();
    println!("handed over {:?} after the leader was asked to stop", stopping.elapsed());
    let mut connection = first.connect().unwrap();
    check_records(&mut connection, &written);
    assert_eq!(count(&mut connection), found);
    first.stop().unwrap();
}

#[test]
fn a_leader_that_slept_too_long_acknowledges_nothing_more() {
    let cloud = Cloud::start();
    let leader = Node::start(&cloud.settings("one")).unwrap();
    create(&mut leader.connect().unwrap());
    let mut standby = Node::start_standby(&cloud.settings("two")).unwrap();

    // Some writes are under way when it is stopped; whatever it answers must be true.
    let written = Mutex::new(BTreeSet::new());
    let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let address = [leader.external()];
    let late = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (address, written, answered, stop) = (&address, &written, &answered, &stop);
            scope.spawn(move || keep_writing(writer, address, written, answered, stop));
        }
        until("writes", || (answered.load(Ordering::Relaxed) >= 100).then_some(()));
        // Open before, since nobody accepts connections then.
        let mut connections: Vec<_> = (0..5).map(|_| leader.connect().unwrap()).collect();
        leader.signal("STOP").unwrap();
        stop.store(true, Ordering::Relaxed);
        let stopped = Instant::now();
        let mut reader = connections.remove(0);
        let path = format!("{NAMESPACE}/vectors/after-0");
        let read = scope.spawn(move || reader.json("GET", &path, ""));
        let late: Vec<_> = connections
            .drain(..)
            .enumerate()
            .map(|(number, mut connection)| {
                let id = format!("late-{number}");
                scope.spawn(move || write(&mut connection, &id, number as u64))
            })
            .collect();
        standby.wait_until_ready().unwrap();
        println!("taken over {:?} after the leader was stopped", stopped.elapsed());
        let mut connection = standby.connect().unwrap();
        for number in 0..50 {
            let id = format!("after-{number}");
            assert_eq!(write(&mut connection, &id, number).unwrap(), WriteStatus::Created);
            written.lock().unwrap().insert((id, number));
        }
        leader.signal("CONT").unwrap();
        // It may end before it answers.
        if let Ok(answer) = read.join().unwrap() {
            let refused = answer.problem().expect("a read that misses what is written elsewhere");
            assert_eq!(refused.code, "not_leading");
        }
        late.into_iter().map(|late| late.join().unwrap()).collect::<Vec<_>>()
    });
    for outcome in late {
        let refused = outcome.expect_err("acknowledged by one that does not lead any more");
        println!("the old leader: {refused:#}");
    }
    let (status, log) = leader.wait_for_end().unwrap();
    assert_eq!(status.code(), Some(SESSION_ENDED), "{log}");
    assert!(log.contains("the session was fenced by another node"), "{log}");

    let written = written.into_inner().unwrap();
    let mut connection = standby.connect().unwrap();
    check_records(&mut connection, &written);
    let ids = (0..4).map(|number| format!("late-{number}")).collect();
    let request = FetchRequest { ids, ..FetchRequest::default() };
    let found: FetchResponse =
        connection.call("POST", &format!("{NAMESPACE}/fetch"), &request).unwrap();
    assert_eq!(found.missing.len(), 4, "an entry of the old leader has appeared");
    standby.stop().unwrap();
}

#[test]
fn of_nodes_that_start_at_once_one_leads() {
    let cloud = Cloud::start();
    let names = ["one", "two", "three"];
    let nodes: Vec<Node> = thread::scope(|scope| {
        let starting = names.map(|name| {
            let settings = cloud.settings(name);
            scope.spawn(move || Node::start_standby(&settings).unwrap())
        });
        starting.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let code = |node: &Node| {
        let answer = node.connect().unwrap().json("GET", "/readyz", "").unwrap();
        answer.problem().map_or_else(|| "ready".to_owned(), |problem| problem.code)
    };
    let codes = until("one leads and the others know it", || {
        let mut codes: Vec<String> = nodes.iter().map(code).collect();
        codes.sort();
        (!codes.contains(&"not_ready".to_owned())).then_some(codes)
    });
    assert_eq!(codes, ["ready", "standby", "standby"]);
    // Whatever they are doing then.
    for node in nodes {
        node.stop().unwrap();
    }
}

/// The codes with which writes fail while the store is away.
const AWAY: [&str; 3] = ["outcome_unknown", "store_unavailable", "not_leading"];

/// Writes until the session has ended, and then until everything works again.
fn ride_out(cloud: &mut Cloud, node: &Node, round: u64, back: impl FnOnce(&mut Cloud)) {
    let mut connection = node.connect().unwrap();
    let mut codes = BTreeSet::new();
    let mut longest = Duration::ZERO;
    let mut number = round;
    until("the session ends", || {
        let begun = Instant::now();
        let id = format!("away-{number}");
        let body = serde_json::to_string(&request(&id, number)).unwrap();
        let refused = problem(&mut connection, "POST", &format!("{NAMESPACE}/batch"), &body);
        longest = longest.max(begun.elapsed());
        number += 1;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(AWAY.contains(&refused.code.as_str()), "{refused:?}");
        codes.insert(refused.code.clone());
        (refused.code == "not_leading").then_some(())
    });
    println!("{} writes refused with {codes:?}, the slowest in {longest:?}", number - round);
    let refused = problem(&mut connection, "GET", NAMESPACE, "");
    assert_eq!(refused.code, "not_leading", "a read of what may be old");
    assert_eq!(problem(&mut connection, "GET", "/readyz", "").code, "not_leading");
    assert_eq!(connection.json("GET", "/livez", "").unwrap().status, 200);
    let begun = Instant::now();
    back(cloud);
    until("writes work again", || {
        let outcome = write(&mut connection, &format!("back-{number}"), number);
        number += 1;
        outcome.ok().filter(|status| *status == WriteStatus::Created)
    });
    println!("writes went on {:?} after the store came back", begun.elapsed());
}

#[test]
fn a_store_that_goes_away_stops_nothing_for_good() {
    let mut cloud = Cloud::start();
    let node = Node::start(&cloud.settings("only")).unwrap();
    let mut connection = node.connect().unwrap();
    create(&mut connection);
    let mut written = BTreeSet::new();
    for number in 0..20 {
        let id = format!("before-{number}");
        assert_eq!(write(&mut connection, &id, number).unwrap(), WriteStatus::Created);
        written.insert((id, number));
    }
    cloud.cluster.kill_store().unwrap();
    ride_out(&mut cloud, &node, 1_000, |cloud| cloud.cluster.start_store().unwrap());
    // It takes requests, and does not answer.
    cloud.cluster.inject(&Fault::new(FaultKind::Hang).milliseconds(60_000)).unwrap();
    ride_out(&mut cloud, &node, 2_000, |cloud| {
        cloud.cluster.clear().unwrap();
    });
    check_records(&mut node.connect().unwrap(), &written);
    node.stop().unwrap();
}

#[test]
fn what_is_not_there_is_said_at_the_start() {
    let cloud = Cloud::start();
    let settings = cloud.settings("wrong");
    let store = cloud.cluster.store_address().to_string();
    let (status, log) = run_to_end(&settings.clone().with("tikv.endpoints", &store)).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("storage.kv is tikv: no PD of TiKV at"), "{log}");
    let (status, log) = run_to_end(&settings.with("tikv.endpoints", "nowhere")).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("tikv.endpoints"), "{log}");
}
