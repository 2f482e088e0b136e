//! Records that expire: from that moment no read returns them and conditions see none; then they
//! are deleted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hvs_shard::{
    Condition, Expiry, Filter, FilterLimits, NewRecord, Operation, Patch, ScrollRequest,
    SearchRequest, Shard, WriteOutcome, WriteRequest,
};
use serde_json::json;

mod support;
use support::{Home, lift, put, record, write};

fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn expiring(id: &str, number: u32, expiry: Expiry) -> NewRecord {
    NewRecord { expiry: Some(expiry), ..record(id, number) }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "{what}");
        std::thread::yield_now();
    }
}

fn filter(wire: &serde_json::Value) -> Filter {
    let limits = FilterLimits::default();
    hvs_filter::Filter::parse(wire.as_object().unwrap(), &limits).unwrap().into()
}

fn search(shard: &Shard, k: usize, filter: Option<Filter>, exact: bool) -> Vec<String> {
    let request = SearchRequest {
        vector: String::new(),
        query: lift([0.0, 0.0, 0.0]),
        k: Some(k),
        radius: None,
        ef: None,
        nprobe: None,
        exact,
        filter,
        with_records: false,
        max_bytes: usize::MAX,
        deadline: None,
    };
    shard.search(&request).unwrap().hits.into_iter().map(|hit| hit.id).collect()
}

/// Everything that a read can show of a record.
fn is_seen(shard: &Shard, id: &str) -> [bool; 6] {
    let all = filter(&json!({"number": {"$gte": 0}}));
    let scrolled = |filter| {
        let page = shard.scroll(&ScrollRequest { filter, ..ScrollRequest::first(1_000) }).unwrap();
        page.records.iter().any(|record| record.id == id)
    };
    [
        shard.get(id).unwrap().is_some(),
        shard.get_many(&[id]).unwrap()[0].is_some(),
        scrolled(None),
        scrolled(Some(all.clone())),
        search(shard, 1_000, None, false).iter().any(|hit| hit == id),
        search(shard, 1_000, Some(all), true).iter().any(|hit| hit == id),
    ]
}

#[test]
fn an_expired_record_is_gone_from_every_read_and_then_deleted() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("stays", 1));
    put(&shard, expiring("goes", 2, Expiry::After(400)));
    let at = shard.get("goes").unwrap().unwrap().expires_at.unwrap();
    let seen = is_seen(&shard, "goes");
    if now_millis() < at {
        assert_eq!(seen, [true; 6]);
    }
    until("it expires", || now_millis() >= at);
    // At once, whether it is deleted already or not.
    assert_eq!(is_seen(&shard, "goes"), [false; 6]);
    assert_eq!(shard.count(None, None).unwrap(), 1);
    assert_eq!(shard.count(Some(&filter(&json!({"number": {"$gte": 0}}))), None).unwrap(), 1);
    assert_eq!(shard.stats().records, 1);
    until("it is deleted", || shard.stats().tombstones == 1);
    assert_eq!(is_seen(&shard, "stays"), [true; 6]);
    // Versions count on.
    let again = put(&shard, record("goes", 3));
    assert!(matches!(again, WriteOutcome::Put { version: 3, created: true, .. }), "{again:?}");
}

#[test]
fn conditions_and_patches_see_no_expired_record() {
    let home = Home::new();
    let shard = home.open();
    let soon = Expiry::At(now_millis() + 300);
    let WriteOutcome::Put { etag, .. } = put(&shard, expiring("a", 1, soon)) else { panic!() };
    put(&shard, expiring("b", 1, soon));
    put(&shard, expiring("c", 1, soon));
    until("they expire", || shard.get("a").unwrap().is_none());
    let operations = vec![
        Operation::Delete { id: "a".into(), condition: Some(Condition::IfMatch(etag)) },
        Operation::Patch { id: "a".into(), patch: Patch::default(), condition: None },
        Operation::Delete { id: "b".into(), condition: None },
        Operation::Put { record: record("c", 7), condition: Some(Condition::IfAbsent) },
    ];
    let request = WriteRequest { operations, ..WriteRequest::default() };
    let outcomes = write(&shard, request).unwrap().outcomes;
    assert_eq!(outcomes[0], WriteOutcome::ConditionFailed { current: None });
    assert_eq!(outcomes[1..3], [WriteOutcome::NotFound, WriteOutcome::NotFound]);
    assert!(matches!(outcomes[3], WriteOutcome::Put { created: true, .. }));
    assert_eq!(shard.get("c").unwrap().unwrap().metadata["number"], 7);
}

#[test]
fn a_patch_prolongs_a_life_or_makes_it_endless() {
    let home = Home::new();
    let shard = home.open();
    for id in ["longer", "endless", "other"] {
        put(&shard, expiring(id, 1, Expiry::After(1_000)));
    }
    let first = shard.get("other").unwrap().unwrap().expires_at.unwrap();
    let patch = |expiry| Patch { expiry, ..Patch::default() };
    let far = now_millis() + 1_000_000;
    for (id, expiry) in
        [("longer", Some(Some(Expiry::At(far)))), ("endless", Some(None)), ("other", None)]
    {
        let operation = Operation::Patch { id: id.into(), patch: patch(expiry), condition: None };
        let request = WriteRequest { operations: vec![operation], ..WriteRequest::default() };
        write(&shard, request).unwrap();
    }
    assert_eq!(shard.get("longer").unwrap().unwrap().expires_at, Some(far));
    assert_eq!(shard.get("endless").unwrap().unwrap().expires_at, None);
    until("the other expires", || now_millis() >= first && shard.get("other").unwrap().is_none());
    until("it is deleted", || shard.stats().tombstones == 1);
    assert_eq!(shard.count(None, None).unwrap(), 2);
}

#[test]
fn a_record_whose_time_is_over_is_never_there() {
    let home = Home::new();
    let shard = home.open();
    let born = put(&shard, expiring("a", 1, Expiry::At(1)));
    assert!(matches!(born, WriteOutcome::Put { version: 1, created: true, .. }));
    assert_eq!(is_seen(&shard, "a"), [false; 6]);
    put(&shard, record("b", 1));
    put(&shard, expiring("b", 2, Expiry::At(1)));
    assert_eq!(is_seen(&shard, "b"), [false; 6]);
    assert_eq!((shard.stats().records, shard.stats().tombstones), (0, 2));
}

/// In graphs as in tails, filtered or not: k live records are found beside many expired ones that
/// nobody has deleted yet, although these are nearer.
#[test]
fn never_fewer_than_k_while_expired_records_are_still_stored() {
    let home = Home::new();
    let shard = home.open();
    // More than are deleted at once, so that some are there while others go.
    let near = 2_500_u32;
    let at = now_millis() + 4_000;
    let put_all = |records: Vec<NewRecord>| {
        for part in records.chunks(500) {
            let operations = part
                .iter()
                .map(|record| Operation::Put { record: record.clone(), condition: None })
                .collect();
            write(&shard, WriteRequest { operations, ..WriteRequest::default() }).unwrap();
        }
    };
    let at_radius = |id: String, number: u32, radius: f64| {
        let angle = f64::from(number);
        let mut record =
            NewRecord::new(id, lift([radius * angle.sin(), radius * angle.cos(), 0.0]));
        record.metadata.insert("number".to_owned(), number.into());
        record
    };
    let dies = |number| NewRecord {
        expiry: Some(Expiry::At(at)),
        ..at_radius(format!("dies-{number}"), number, 0.01)
    };
    put_all((0..near).map(dies).collect());
    put_all((0..40).map(|n| at_radius(format!("lives-{n}"), n, 1.0)).collect());
    until("the time is over", || now_millis() >= at);
    let mut rounds = 0;
    loop {
        let is_last = shard.stats().tombstones == u64::from(near);
        for filter in [None, Some(filter(&json!({"number": {"$lt": 100}})))] {
            for (k, exact) in [(10, false), (40, false), (40, true)] {
                let hits = search(&shard, k, filter.clone(), exact);
                assert_eq!(hits.len(), k, "{filter:?} {exact}");
                assert!(hits.iter().all(|id| id.starts_with("lives")), "{hits:?}");
            }
        }
        rounds += 1;
        if is_last {
            break;
        }
    }
    println!("{rounds} rounds");
    assert_eq!(shard.count(None, None).unwrap(), 40);
}

#[test]
fn what_expires_while_the_shard_is_closed_is_gone_when_it_opens() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, expiring("a", 1, Expiry::After(200)));
    let at = now_millis() + 300;
    shard.close().unwrap();
    drop(shard);
    until("it expires", || now_millis() >= at);
    let shard = home.open();
    assert_eq!(is_seen(&shard, "a"), [false; 6]);
    until("it is deleted", || shard.stats().tombstones == 1);
    // And deleted it stays, from the log as well.
    shard.close().unwrap();
    drop(shard);
    let shard = home.open();
    assert_eq!((shard.stats().records, shard.stats().tombstones), (0, 1));
}

#[test]
fn a_repetition_of_a_time_to_live_is_the_same_request() {
    let home = Home::new();
    let shard = home.open();
    let request = |millis| WriteRequest {
        idempotency_key: Some("key".into()),
        ..WriteRequest::put(expiring("a", 1, Expiry::After(millis)))
    };
    let first = write(&shard, request(100_000)).unwrap();
    let start = now_millis();
    until("the clock moves", || now_millis() > start + 2);
    let again = write(&shard, request(100_000)).unwrap();
    assert!(again.repeated);
    assert_eq!(again.outcomes, first.outcomes);
    assert!(write(&shard, request(100_001)).is_err());
}
