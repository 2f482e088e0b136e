//! Records in memory alone: what they promise, and what they leave to the log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use hvs_shard::{
    Condition, Durability, Etag, Expiry, FacetRequest, Filter, FilterLimits, MatchingRequest,
    Operation, OrderedRequest, ScrollRequest, SearchRequest, Shard, Subject, WriteAnswer,
    WriteError, WriteOutcome, WriteRequest,
};
use serde_json::json;

mod support;
use support::{Home, lift, put, record, write};

fn memory(operations: Vec<Operation>) -> WriteRequest {
    WriteRequest { operations, durability: Durability::Memory, ..WriteRequest::default() }
}

fn put_in_memory(shard: &Shard, id: &str, number: u32) -> WriteAnswer {
    let operation = Operation::Put { record: record(id, number), condition: None };
    write(shard, memory(vec![operation])).unwrap()
}

fn etag(outcome: &WriteOutcome) -> Etag {
    match outcome {
        WriteOutcome::Put { etag, .. } => *etag,
        other => panic!("{other:?}"),
    }
}

fn ids(shard: &Shard) -> Vec<String> {
    let page = shard.scroll(&ScrollRequest::first(100)).unwrap();
    assert_eq!(page.next, None);
    page.records.into_iter().map(|record| record.id).collect()
}

fn number_filter(number: u32) -> Filter {
    let filter = json!({"number": number});
    let limits = FilterLimits::default();
    hvs_filter::Filter::parse(filter.as_object().unwrap(), &limits).unwrap().into()
}

#[test]
fn what_lists_counts_and_orders_records_has_those_in_memory() {
    let home = Home::new();
    let shard = home.open();
    for (id, number) in [("b", 1), ("d", 3)] {
        put(&shard, record(id, number));
    }
    for (id, number) in [("a", 3), ("c", 2)] {
        put_in_memory(&shard, id, number);
    }
    let subject = Subject::Metadata(vec!["number".to_owned()]);
    let filter = Some(number_filter(3));
    for (filter, expected) in [(None, vec![2, 1, 1]), (filter, vec![2])] {
        let request = FacetRequest { subject: subject.clone(), filter, most: 10, deadline: None };
        let facet = shard.facet(&request).unwrap();
        let counts: Vec<u64> = facet.top(10).into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, expected);
    }
    let request =
        MatchingRequest { filter: number_filter(3), after: None, limit: 10, deadline: None };
    let matching = shard.matching(&request).unwrap().records;
    let found: Vec<_> = matching.iter().map(|matched| matched.id.as_str()).collect();
    assert_eq!(found, ["a", "d"]);
    let ordered = OrderedRequest {
        subject,
        descending: false,
        after: None,
        limit: 10,
        filter: None,
        deadline: None,
    };
    let ordered = shard.scroll_ordered(&ordered).unwrap();
    let ordered: Vec<_> = ordered.records.iter().map(|found| found.record.id.as_str()).collect();
    assert_eq!(ordered, ["b", "c", "a", "d"]);
    // A write under the etag that was seen reaches the record where it is.
    let condition = Some(Condition::IfMatch(matching[0].etag));
    let delete = Operation::Delete { id: "a".to_owned(), condition };
    let request = WriteRequest { operations: vec![delete], ..WriteRequest::default() };
    let answer = write(&shard, request).unwrap();
    assert!(matches!(answer.outcomes[0], WriteOutcome::Deleted { .. }), "{answer:?}");
    assert_eq!(ids(&shard), ["b", "c", "d"]);
}

#[test]
fn what_expires_is_logged_whatever_is_asked() {
    let home = Home::new();
    let shard = home.open();
    let mut fleeting = record("a", 1);
    fleeting.expiry = Some(Expiry::At(4_000_000_000_000));
    let operation = Operation::Put { record: fleeting, condition: None };
    let answer = write(&shard, memory(vec![operation])).unwrap();
    assert_eq!(answer.durability, Durability::Buffered);
    assert_eq!(shard.stats().memory_records, 0);
}

#[test]
fn a_record_in_memory_is_read_and_found_and_lost_without_a_trace() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("b", 2));
    let before = shard.stats();
    for (id, number) in [("a", 1), ("c", 3)] {
        assert_eq!(put_in_memory(&shard, id, number).durability, Durability::Memory);
    }
    let stats = shard.stats();
    assert_eq!((stats.records, stats.memory_records), (3, 2));
    assert!(stats.memory_bytes > 0);
    assert_eq!(
        (stats.applied_seq, stats.log_entries, stats.log_bytes),
        (before.applied_seq, before.log_entries, before.log_bytes),
        "something was logged"
    );
    assert_eq!(shard.get("a").unwrap().unwrap().metadata["number"], 1);
    let many = shard.get_many(&["c", "x", "b", "a"]).unwrap();
    let many: Vec<_> = many.into_iter().map(|record| record.map(|record| record.id)).collect();
    assert_eq!(many, [Some("c".to_owned()), None, Some("b".into()), Some("a".into())]);
    assert_eq!(ids(&shard), ["a", "b", "c"]);
    assert_eq!(shard.count(None, None).unwrap(), 3);
    assert_eq!(shard.count(Some(&number_filter(3)), None).unwrap(), 1);
    let query = record("c", 3).vectors[""].clone();
    let found = shard.search(&SearchRequest::nearest(query, 2)).unwrap();
    assert_eq!(found.hits[0].id, "c");
    assert!(found.hits[0].distance < 1e-6, "{}", found.hits[0].distance);
    assert_eq!(found.hits.len(), 2);

    shard.close().unwrap();
    drop(shard);
    let shard = home.open();
    assert_eq!(ids(&shard), ["b"]);
    assert_eq!(shard.stats().memory_records, 0);
}

#[test]
fn the_limit_of_memory_is_exact_and_refuses_without_changing_anything() {
    let mut home = Home::new();
    let shard = home.open();
    put_in_memory(&shard, "a", 1);
    let one = usize::try_from(shard.stats().memory_bytes).unwrap();
    drop(shard);

    home.config.memory_bytes = 2 * one;
    let shard = home.open();
    put_in_memory(&shard, "a", 1);
    put_in_memory(&shard, "b", 1);
    let operation = |id: &str| Operation::Put { record: record(id, 1), condition: None };
    let refused = write(&shard, memory(vec![operation("a"), operation("c")]));
    let full = WriteError::MemoryFull { bytes: 2 * one, needed: one, limit: 2 * one };
    assert_eq!(refused, Err(full));
    assert_eq!(ids(&shard), ["a", "b"]);
    // In place of one of them it fits, and what is logged needs no room here.
    put_in_memory(&shard, "b", 1);
    put(&shard, record("c", 1));
    let delete = Operation::Delete { id: "a".to_owned(), condition: None };
    write(&shard, memory(vec![delete, operation("d")])).unwrap();
    assert_eq!(ids(&shard), ["b", "c", "d"]);
    assert_eq!(shard.stats().memory_bytes, 2 * one as u64);

    drop(shard);
    home.config.memory_bytes = one - 1;
    let shard = home.open();
    let refused = write(&shard, memory(vec![operation("a")]));
    assert!(matches!(refused, Err(WriteError::MemoryFull { bytes: 0, .. })), "{refused:?}");
}

#[test]
fn a_logged_record_stays_logged_and_the_answer_says_so() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    let answer = put_in_memory(&shard, "a", 2);
    assert_eq!(answer.durability, Durability::Buffered);
    assert!(matches!(answer.outcomes[0], WriteOutcome::Put { version: 2, created: false, .. }));
    let keyed = WriteRequest {
        idempotency_key: Some("key".to_owned()),
        ..memory(vec![Operation::Put { record: record("b", 1), condition: None }])
    };
    assert_eq!(write(&shard, keyed.clone()).unwrap().durability, Durability::Buffered);
    drop(shard);
    let shard = home.open();
    assert_eq!(shard.get("a").unwrap().unwrap().metadata["number"], 2);
    assert!(write(&shard, keyed).unwrap().repeated);
}

#[test]
fn conditions_hold_across_memory_and_log() {
    let home = Home::new();
    let shard = home.open();
    let first = etag(&put_in_memory(&shard, "a", 1).outcomes[0]);
    let conditional = |condition, durability| {
        let operation = Operation::Put { record: record("a", 2), condition: Some(condition) };
        let request = WriteRequest { durability, ..memory(vec![operation]) };
        write(&shard, request).unwrap().outcomes.remove(0)
    };
    let failed = WriteOutcome::ConditionFailed { current: Some(first) };
    let other = Etag { seq: 1, ..first };
    for durability in [Durability::Memory, Durability::Buffered, Durability::Sync] {
        assert_eq!(conditional(Condition::IfAbsent, durability), failed);
        assert_eq!(conditional(Condition::IfMatch(other), durability), failed);
    }
    assert_eq!(shard.stats().memory_records, 1, "a failed condition moved the record");
    let second = etag(&conditional(Condition::IfMatch(first), Durability::Memory));
    assert_eq!(shard.stats().memory_records, 1);
    let third = conditional(Condition::IfMatch(second), Durability::Sync);
    assert!(matches!(third, WriteOutcome::Put { created: false, .. }), "{third:?}");
    assert_eq!((shard.stats().memory_records, shard.stats().records), (0, 1));
    let failed = WriteOutcome::ConditionFailed { current: Some(etag(&third)) };
    assert_eq!(conditional(Condition::IfMatch(second), Durability::Buffered), failed);
    assert_eq!(conditional(Condition::IfMatch(second), Durability::Memory), failed);
}

#[test]
fn a_logged_delete_of_a_record_in_memory_deletes_it() {
    let home = Home::new();
    let shard = home.open();
    put_in_memory(&shard, "a", 1);
    put_in_memory(&shard, "b", 1);
    let outcome = write(&shard, WriteRequest::delete("a")).unwrap().outcomes.remove(0);
    assert!(matches!(outcome, WriteOutcome::Deleted { .. }), "{outcome:?}");
    assert_eq!(ids(&shard), ["b"]);
    let delete = Operation::Delete { id: "b".to_owned(), condition: None };
    let again = memory(vec![delete.clone(), delete]);
    let outcomes = write(&shard, again).unwrap().outcomes;
    assert!(matches!(outcomes[0], WriteOutcome::Deleted { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1], WriteOutcome::NotFound);
    assert_eq!(shard.count(None, None).unwrap(), 0);
    // What is forgotten is forgotten: only the logged deletion counts.
    put_in_memory(&shard, "a", 1);
    assert_eq!(shard.get("a").unwrap().unwrap().version, 3);
}

#[test]
fn etags_of_memory_are_never_given_out_twice() {
    let home = Home::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let shard = home.open();
        for number in 0..5 {
            assert!(seen.insert(etag(&put_in_memory(&shard, "a", number).outcomes[0])));
            assert!(seen.insert(etag(&put(&shard, record("logged", number)))));
        }
    }
}

#[test]
fn a_record_that_moves_is_never_missing_and_never_there_twice() {
    const IDS: u32 = 600;
    const AT_ONCE: usize = 60;
    let home = Home::new();
    let shard = home.open();
    let all: Vec<String> = (0..IDS).map(|number| format!("id-{number:03}")).collect();
    for (id, number) in all.iter().zip(0..) {
        put_in_memory(&shard, id, number);
    }
    let every = json!({"number": {"$gte": 0}});
    let limits = FilterLimits::default();
    let every: Filter =
        hvs_filter::Filter::parse(every.as_object().unwrap(), &limits).unwrap().into();
    let stop = AtomicBool::new(false);
    let records = || {
        while !stop.load(Ordering::Acquire) {
            assert!(shard.get_many(&all).unwrap().iter().all(Option::is_some));
            let page = shard.scroll(&ScrollRequest::first(1_000)).unwrap();
            let ids: Vec<_> = page.records.into_iter().map(|record| record.id).collect();
            assert_eq!(ids, all);
        }
    };
    let counts = || {
        while !stop.load(Ordering::Acquire) {
            assert_eq!(shard.count(None, None).unwrap(), u64::from(IDS));
            assert_eq!(shard.stats().records, u64::from(IDS));
            // While a logged record is replaced, its old and its new key may both match.
            assert!(shard.count(Some(&every), None).unwrap() >= u64::from(IDS));
            let found = shard.search(&SearchRequest::nearest(lift([0.0; 3]), 1_000)).unwrap();
            let mut found: Vec<_> = found.hits.into_iter().map(|hit| hit.id).collect();
            found.sort_unstable();
            assert_eq!(found, all);
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(records), scope.spawn(counts)];
        for part in all.chunks(AT_ONCE) {
            let puts = part.iter().map(|id| record(id, 7));
            let operations = puts.map(|record| Operation::Put { record, condition: None });
            let request =
                WriteRequest { operations: operations.collect(), ..WriteRequest::default() };
            let left = shard.stats().memory_records;
            write(&shard, request).unwrap();
            assert_eq!(shard.stats().memory_records, left - part.len() as u64);
            if readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        stop.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(shard.stats().memory_records, 0);
}
