//! The index of metadata changes which fields it has while the shard is in use, and no answer
//! changes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hvs_filter::FilterLimits;
use hvs_shard::{FieldType, Filter, PayloadSchema, SearchRequest, Shard, WriteRequest};
use serde_json::{Value, json};
use support::{Home, put, record, write};

fn filter(json: &Value) -> Filter {
    let limits = FilterLimits::default();
    hvs_filter::Filter::parse(json.as_object().unwrap(), &limits).unwrap().into()
}

fn schema(only_declared: bool, declared: &[(&str, FieldType)]) -> PayloadSchema {
    let declared = declared.iter().map(|(path, of)| ((*path).to_owned(), *of)).collect();
    PayloadSchema { only_declared, declared }
}

fn wait(shard: &Shard) {
    shard.flush().unwrap();
    assert!(!shard.stats().payload_building);
}

#[test]
fn what_is_indexed_changes_in_use_and_answers_do_not() {
    let home = Home::new();
    let shard = home.open();
    let (stop, ready, written) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let schemas = [
        schema(true, &[("number", FieldType::Integer)]),
        schema(true, &[]),
        schema(false, &[("parity", FieldType::Bool)]),
        schema(true, &[("number", FieldType::Keyword), ("parity", FieldType::Integer)]),
        PayloadSchema::default(),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Every record is put twice, so that the first one leaves while indexes are built.
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for parity in [9, number % 2] {
                    let mut new = record(&format!("id-{number:05}"), number);
                    new.metadata.insert("parity".to_owned(), parity.into());
                    put(&shard, new);
                }
                if number % 3 == 0 {
                    write(&shard, WriteRequest::delete(format!("id-{number:05}"))).unwrap();
                }
                written.store(number + 1, Ordering::Release);
                ready.store(number + 1, Ordering::Release);
            }
        });
        for schema in schemas.iter().cycle().take(25) {
            let before = ready.load(Ordering::Acquire);
            shard.index_metadata(schema).unwrap();
            // What was there before is counted right, whatever is going on.
            while ready.load(Ordering::Acquire) < before + 20 {
                for parity in [0, 1] {
                    let such = json!({"parity": parity, "number": {"$lt": before}});
                    let count = shard.count(Some(&filter(&such)), None).unwrap();
                    let is_such = |number: &u32| !number.is_multiple_of(3) && number % 2 == parity;
                    let expected = (0..before).filter(is_such).count() as u64;
                    assert_eq!(count, expected, "{before}, {schema:?}");
                }
                let none = json!({"parity": 9, "number": {"$lt": before}});
                assert_eq!(shard.count(Some(&filter(&none)), None).unwrap(), 0);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    wait(&shard);
    let total = written.load(Ordering::Acquire);
    let all = (0..total).filter(|number| number % 3 > 0).count() as u64;
    for schema in &schemas {
        shard.index_metadata(schema).unwrap();
        wait(&shard);
        assert_eq!(
            shard.stats().payload.fields,
            if schema.only_declared { schema.declared.len() } else { 2 }
        );
        let everything = filter(&json!({"number": {"$gte": 0}}));
        assert_eq!(shard.count(Some(&everything), None).unwrap(), all, "{schema:?}");
        let properties = shard.filter_properties(&filter(&json!({"number": 1, "$region": "eu"})));
        let is_known = !schema.only_declared || schema.declared.contains_key("number");
        assert_eq!(properties["number"], is_known);
        assert!(properties["$region"]);
        let mut search = SearchRequest::nearest(record("x", 4).vectors[""].clone(), 5);
        search.filter = Some(filter(&json!({"number": 4})));
        let hits = shard.search(&search).unwrap().hits;
        assert_eq!(hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["id-00004"]);
    }
}

#[test]
fn the_schema_of_the_configuration_is_that_of_the_start() {
    let mut home = Home::new();
    home.config.payload_schema = schema(true, &[("number", FieldType::Integer)]);
    let shard = home.open();
    for number in 0..10 {
        put(&shard, record(&format!("id-{number}"), number));
    }
    wait(&shard);
    assert_eq!((shard.stats().payload.fields, shard.stats().payload.values), (1, 11));
    drop(shard);
    let shard = home.open();
    wait(&shard);
    assert_eq!((shard.stats().payload.fields, shard.stats().payload.values), (1, 11));
    shard.close().unwrap();
    // Nothing is built for a shard that is closed.
    shard.index_metadata(&PayloadSchema::default()).unwrap();
    assert!(!shard.stats().payload_building);
}
