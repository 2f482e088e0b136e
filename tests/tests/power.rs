//! What each level of durability promises of a disk, watched at the system calls of a real node.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use hvs_api::{
    CreateNamespace, Durability, FetchRequest, FetchResponse, NamespaceInfo, PutRecord, Vector,
    WriteResult,
};
use hvs_tests::{
    disk::{Event, Kind},
    http::{Answer, Connection},
    node::Node,
    shim::Shim,
};

const NAMESPACE: &str = "/v1/namespaces/power";

fn create(node: &Node) {
    let request = CreateNamespace {
        geometry: Some("euclidean".into()),
        dimension: Some(2),
        ..CreateNamespace::default()
    };
    let _: NamespaceInfo = node.connect().unwrap().call("PUT", NAMESPACE, &request).unwrap();
}

fn put(
    connection: &mut Connection,
    id: &str,
    durability: Durability,
) -> anyhow::Result<WriteResult> {
    let record = PutRecord {
        vector: Some(Vector(vec![1.0, 2.0])),
        durability: Some(durability),
        ..PutRecord::default()
    };
    connection.call("PUT", &format!("{NAMESPACE}/vectors/{id}"), &record)
}

fn put_raw(connection: &mut Connection, id: &str, durability: &str) -> anyhow::Result<Answer> {
    let body = format!(r#"{{"vector": [1, 2], "durability": "{durability}"}}"#);
    connection.json("PUT", &format!("{NAMESPACE}/vectors/{id}"), &body)
}

fn missing(node: &Node, ids: &[String]) -> Vec<String> {
    let mut connection = node.connect().unwrap();
    let mut missing = Vec::new();
    for part in ids.chunks(500) {
        let request = FetchRequest { ids: part.to_vec(), ..FetchRequest::default() };
        let answer: FetchResponse =
            connection.call("POST", &format!("{NAMESPACE}/fetch"), &request).unwrap();
        missing.extend(answer.missing);
    }
    missing
}

/// A metric, summed over its labels.
fn metric(node: &Node, name: &str) -> f64 {
    let mut connection = Connection::open(node.internal()).unwrap();
    let answer = connection.json("GET", "/metrics", "").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    text.lines()
        .filter(of_name)
        .map(|line| line.rsplit(' ').next().unwrap())
        .fold(0.0, |sum, value| sum + value.parse::<f64>().unwrap())
}

/// Clients that put records of their own until they have done so many; the ids that were
/// acknowledged.
fn put_from_many(
    address: SocketAddr,
    clients: usize,
    each: usize,
    durability: Durability,
) -> Vec<String> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    let id = |number| format!("{durability:?}-{client}-{number};").to_lowercase();
                    let ids: Vec<String> = (0..each).map(id).collect();
                    for id in &ids {
                        put(&mut connection, id, durability).unwrap();
                    }
                    ids
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// Where the log of the shards is: what its syncs are syncs of.
fn log_inodes(events: &[Event]) -> Vec<u64> {
    let is_log = |event: &&Event| {
        let path = String::from_utf8_lossy(&event.payload);
        event.kind == Kind::Create && path.contains("/kv/") && path.ends_with(".jnl")
    };
    events.iter().filter(is_log).map(|event| event.inode).collect()
}

/// Positions of `text` in the payloads of events of a kind.
fn positions(events: &[Event], kind: Kind, inodes: Option<&[u64]>, text: &str) -> Vec<usize> {
    let of_kind = events.iter().enumerate().filter(|(_, event)| {
        event.kind == kind && inodes.is_none_or(|inodes| inodes.contains(&event.inode))
    });
    let holds = |payload: &[u8]| payload.windows(text.len()).any(|part| part == text.as_bytes());
    of_kind.filter(|(_, event)| holds(&event.payload)).map(|(number, _)| number).collect()
}

#[test]
fn no_sync_answer_leaves_before_the_sync_that_covers_it_has_returned() {
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    let settings = shim.settings().unwrap().with("writes.queue_ms", "60000");
    let node = shim.start(&settings).unwrap();
    create(&node);
    shim.delay_syncs(Duration::from_millis(2)).unwrap();
    let mut ids = put_from_many(node.external(), 8, 20, Durability::Sync);
    let buffered = put_from_many(node.external(), 2, 5, Durability::Buffered);
    node.kill().unwrap();

    let events = shim.events().unwrap();
    let log = log_inodes(&events);
    assert!(!log.is_empty());
    // For each id: written to the log, then a sync of it that begins later and returns before the
    // answer is sent.
    let check = |id: &String| {
        let written = *positions(&events, Kind::Write, Some(&log), id).first().unwrap();
        let sent = *positions(&events, Kind::Send, None, id).first().unwrap();
        let mut begun = BTreeMap::new();
        (written..sent).any(|at| match events[at].kind {
            Kind::SyncBegin if log.contains(&events[at].inode) => {
                begun.insert(events[at].thread, at);
                false
            }
            Kind::SyncEnd => begun.remove(&events[at].thread).is_some() && events[at].result == 0,
            _ => false,
        })
    };
    for id in &ids {
        assert!(check(id), "{id} was acknowledged before it was durable");
    }
    // The check can fail: buffered writes were not waited for.
    assert!(!buffered.iter().all(check), "the check sees syncs everywhere");

    shim.lose_power().unwrap();
    let node = shim.start(&settings).unwrap();
    ids.sort();
    assert_eq!(missing(&node, &ids), [""; 0]);
}

#[test]
fn what_is_buffered_is_forced_to_the_disk_when_its_window_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    let settings = shim.settings().unwrap().with("storage.log_sync_ms", "20");
    let node = shim.start(&settings).unwrap();
    create(&node);
    let ids = put_from_many(node.external(), 2, 5, Durability::Buffered);
    // Nothing else is written: it is the end of the window that brings the sync.
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let events = shim.events().unwrap();
        let log = log_inodes(&events);
        let written = ids
            .iter()
            .filter_map(|id| positions(&events, Kind::Write, Some(&log), id).first().copied());
        let last = written.max().unwrap();
        let begun = events
            .iter()
            .enumerate()
            .skip(last)
            .find(|(_, event)| event.kind == Kind::SyncBegin && log.contains(&event.inode));
        let is_synced = begun.is_some_and(|(at, begun)| {
            let ended = |event: &&Event| {
                event.kind == Kind::SyncEnd && event.thread == begun.thread && event.result == 0
            };
            events.iter().skip(at).any(|event| ended(&event))
        });
        if is_synced {
            break;
        }
        assert!(Instant::now() < deadline, "what was buffered is never synced");
        thread::yield_now();
    }
    node.kill().unwrap();
    shim.lose_power().unwrap();
    let node = shim.start(&settings).unwrap();
    assert_eq!(missing(&node, &ids), [""; 0]);
    // A window that does not end leaves nothing: the loss is seen.
    node.stop().unwrap();
    let settings = settings.with("storage.log_sync_ms", "0");
    let node = shim.start(&settings).unwrap();
    put(&mut node.connect().unwrap(), "later", Durability::Buffered).unwrap();
    node.kill().unwrap();
    shim.lose_power().unwrap();
    let node = shim.start(&settings).unwrap();
    assert_eq!(missing(&node, &["later".to_owned()]), ["later"]);
}

#[test]
fn many_sync_writers_share_syncs() {
    const CLIENTS: usize = 64;
    const EACH: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    let settings = shim.settings().unwrap().with("writes.queue_ms", "60000");
    let node = shim.start(&settings).unwrap();
    create(&node);
    put(&mut node.connect().unwrap(), "first", Durability::Sync).unwrap();
    let (events_before, syncs_before) =
        (shim.events().unwrap().len(), metric(&node, "hvs_log_syncs_total"));
    put_from_many(node.external(), CLIENTS, EACH, Durability::Sync);
    let syncs = metric(&node, "hvs_log_syncs_total") - syncs_before;
    let all = shim.events().unwrap();
    let log = log_inodes(&all);
    let is_sync = |event: &&Event| event.kind == Kind::SyncEnd && log.contains(&event.inode);
    let seen = all[events_before..].iter().filter(is_sync).count();
    let writes = CLIENTS * EACH;
    println!("{writes} writes, {syncs} syncs by the metric, {seen} by the trace");
    assert!(seen * 16 <= writes, "{seen} syncs for {writes} writes");
    assert!(syncs * 16.0 <= writes as f64, "{syncs} syncs for {writes} writes");
    node.stop().unwrap();
    assert_eq!(shim.disk().unwrap().differences().unwrap(), [""; 0]);
}

#[test]
fn memory_writes_touch_no_disk_and_do_not_wait_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    let settings = shim.settings().unwrap();
    let node = shim.start(&settings).unwrap();
    create(&node);
    put(&mut node.connect().unwrap(), "logged", Durability::Sync).unwrap();
    let ids = put_from_many(node.external(), 4, 25, Durability::Memory);
    assert_eq!(missing(&node, &ids), [""; 0]);
    let events = shim.events().unwrap();
    for id in &ids {
        assert_eq!(positions(&events, Kind::Write, None, id), [0; 0], "{id} was written");
        assert!(!positions(&events, Kind::Send, None, id).is_empty());
    }
    // Only the restart loses them.
    node.stop().unwrap();
    let node = shim.start(&settings).unwrap();
    assert_eq!(missing(&node, &ids), ids);
    assert_eq!(missing(&node, &["logged".to_owned()]), [""; 0]);
}

#[test]
fn a_slow_disk_refuses_writes_within_bounds_and_loses_none_it_took() {
    const CLIENTS: usize = 64;
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    let settings = shim
        .settings()
        .unwrap()
        .with("writes.queue_requests", "24")
        .with("writes.queue_ms", "60000");
    let node = shim.start(&settings).unwrap();
    create(&node);
    shim.delay_syncs(Duration::from_millis(50)).unwrap();
    let address = node.external();
    let (refused, most) = (AtomicUsize::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<String> = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let queued = metric(&node, "hvs_log_queued_requests");
                // The bits of numbers that are not negative are in the order of the numbers.
                most.fetch_max(queued.to_bits(), Ordering::Relaxed);
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let refused = &refused;
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    let mut taken = Vec::new();
                    for number in 0..20 {
                        let id = format!("slow-{client}-{number}");
                        let answer = put_raw(&mut connection, &id, "sync").unwrap();
                        match answer.status {
                            201 => taken.push(id),
                            503 => {
                                let code = answer.problem().unwrap().code;
                                assert_eq!(code, "overloaded");
                                let after = answer.header("retry-after").unwrap();
                                assert!(after.parse::<u64>().unwrap() >= 1, "{after}");
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
                        }
                    }
                    taken
                })
            })
            .collect();
        let taken = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        stop.store(true, Ordering::Release);
        watch.join().unwrap();
        taken
    });
    let refused = refused.load(Ordering::Relaxed);
    let most = f64::from_bits(most.load(Ordering::Relaxed));
    println!("{} taken, {refused} refused, at most {most} waiting", acknowledged.len());
    assert!(refused > 0 && !acknowledged.is_empty());
    assert!(most <= 24.0, "{most} requests waited");
    let counted = metric(&node, "hvs_overloaded_total");
    assert!((counted - refused as f64).abs() < 0.5, "{counted} counted, {refused} met");
    assert_eq!(missing(&node, &acknowledged), [""; 0]);
    node.kill().unwrap();
    shim.lose_power().unwrap();
    let node = shim.start(&settings).unwrap();
    assert_eq!(missing(&node, &acknowledged), [""; 0]);
}

/// Writes until one is refused while `break_disk` holds, then starts the node anew on the mended
/// disk: what was acknowledged is there.
fn breaks(break_disk: fn(&Shim, bool) -> anyhow::Result<()>, level: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut shim = Shim::new(folder.path()).unwrap();
    let settings = shim.settings().unwrap();
    let node = shim.start(&settings).unwrap();
    create(&node);
    let mut connection = node.connect().unwrap();
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let id = format!("before-{number}");
        assert_eq!(put_raw(&mut connection, &id, level).unwrap().status, 201);
        acknowledged.push(id);
    }
    break_disk(&shim, true).unwrap();
    let mut codes = Vec::new();
    for number in 0..3 {
        let id = format!("during-{number}");
        let answer = put_raw(&mut connection, &id, level).unwrap();
        match answer.problem() {
            Some(problem) => codes.push(problem.code),
            None => acknowledged.push(id),
        }
    }
    println!("{level}: {codes:?}");
    assert!(!codes.is_empty(), "a broken disk was not noticed");
    let known = |code: &String| code == "outcome_unknown" || code == "storage_failed";
    assert!(codes.iter().all(known), "{codes:?}");
    // Reads go on.
    assert_eq!(missing(&node, &acknowledged), [""; 0]);
    break_disk(&shim, false).unwrap();
    node.kill().unwrap();
    let node = shim.start(&settings).unwrap();
    assert_eq!(missing(&node, &acknowledged), [""; 0]);
    let mut connection = node.connect().unwrap();
    assert_eq!(put_raw(&mut connection, "after", level).unwrap().status, 201);
}

#[test]
fn a_full_disk_refuses_writes_and_keeps_what_it_took() {
    breaks(Shim::fill, "buffered");
}

#[test]
fn a_disk_that_fails_to_sync_refuses_writes_and_keeps_what_it_took() {
    breaks(Shim::fail_syncs, "sync");
}

#[test]
fn a_disk_that_fails_to_write_refuses_writes_and_keeps_what_it_took() {
    breaks(Shim::fail_writes, "buffered");
}
