//! Pages of records in the order of a property: the same from the index of metadata as from the
//! records, and read from the index wherever it knows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use hvs_filter::FilterLimits;
use hvs_shard::{
    Durability, FieldType, Filter, NewRecord, Operation, OrderedPage, OrderedRequest,
    PayloadSchema, ReadError, Scalar, Shard, Subject, WriteRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::{Home, record, write};

const RECORDS: u32 = 6_000;

fn filter(json: &Value) -> Filter {
    let limits = FilterLimits::default();
    hvs_filter::Filter::parse(json.as_object().unwrap(), &limits).unwrap().into()
}

fn request(subject: &str, limit: usize) -> OrderedRequest {
    OrderedRequest {
        subject: Subject::parse(subject).unwrap(),
        descending: false,
        after: None,
        limit,
        filter: None,
        deadline: None,
    }
}

/// Ids in their order, with what each of the pages looked at.
fn pages(shard: &Shard, mut request: OrderedRequest) -> (Vec<String>, Vec<OrderedPage>) {
    let (mut ids, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = shard.scroll_ordered(&request).unwrap();
        ids.extend(page.records.iter().map(|found| found.record.id.clone()));
        let last = page.records.last().map(|last| (last.value.clone(), last.record.id.clone()));
        let is_full = page.records.len() == request.limit;
        pages.push(page);
        match last.filter(|_| is_full) {
            Some((value, id)) => request.after = Some((value, id, false)),
            None => return (ids, pages),
        }
    }
}

/// The values of a record, in the simplest way.
fn values(record: &NewRecord, field: &str) -> Vec<Scalar> {
    let Some(value) = record.metadata.get(field) else { return Vec::new() };
    match value {
        Value::Array(elements) => elements.iter().filter_map(Scalar::of).collect(),
        value => Scalar::of(value).into_iter().collect(),
    }
}

fn expected(
    records: &[NewRecord],
    field: &str,
    descending: bool,
    matches: impl Fn(&NewRecord) -> bool,
) -> Vec<String> {
    let mut found: Vec<(Scalar, String)> = Vec::new();
    for record in records.iter().filter(|record| matches(record)) {
        let values = values(record, field).into_iter();
        let value = if descending { values.max() } else { values.min() };
        found.extend(value.map(|value| (value, record.id.clone())));
    }
    found.sort_by(|left, right| {
        let values = left.0.cmp(&right.0);
        let values = if descending { values.reverse() } else { values };
        values.then_with(|| left.1.cmp(&right.1))
    });
    found.into_iter().map(|(_, id)| id).collect()
}

fn filled(home: &Home) -> (Shard, Vec<NewRecord>) {
    let mut random = StdRng::seed_from_u64(7);
    let shard = home.open();
    let mut records = Vec::new();
    for number in 0..RECORDS {
        let mut new = record(&format!("id-{:05}", (number * 7_919) % RECORDS), number);
        new.metadata.insert("few".to_owned(), random.random_range(0..4).into());
        new.metadata.insert("flag".to_owned(), random.random_bool(0.999).into());
        let some = match number % 40 {
            0 => json!([number % 13, "text", null]),
            1 => json!(null),
            2 => json!({"inner": number}),
            3 => json!(format!("t{}", number % 50)),
            4 => json!(f64::from(number) / 8.0),
            5 => json!(number % 2 == 0),
            6..10 => Value::Null,
            _ => json!(number % 300),
        };
        if !some.is_null() || number % 40 == 1 {
            new.metadata.insert("some".to_owned(), some);
        }
        records.push(new);
    }
    for chunk in records.chunks(500) {
        let puts = chunk.iter().map(|new| Operation::Put { record: new.clone(), condition: None });
        write(&shard, WriteRequest { operations: puts.collect(), ..WriteRequest::default() })
            .unwrap();
    }
    shard.flush().unwrap();
    (shard, records)
}

#[test]
fn pages_from_the_index_are_those_of_the_records() {
    let home = Home::new();
    let (shard, mut records) = filled(&home);
    // Some are replaced, some gone, some in memory alone.
    for number in (0..RECORDS).step_by(41) {
        let mut new = record(&records[number as usize].id, number);
        new.metadata.insert("some".to_owned(), (number % 17).into());
        write(&shard, WriteRequest::put(new.clone())).unwrap();
        records[number as usize] = new;
    }
    for number in (1..RECORDS).step_by(43).collect::<Vec<_>>().into_iter().rev() {
        let gone = records.remove(number as usize);
        write(&shard, WriteRequest::delete(&gone.id)).unwrap();
    }
    for number in 0..40 {
        let mut new = record(&format!("held-{number:02}"), number);
        new.metadata.insert("some".to_owned(), (number * 9).into());
        let operations = vec![Operation::Put { record: new.clone(), condition: None }];
        let request =
            WriteRequest { operations, durability: Durability::Memory, ..WriteRequest::default() };
        assert_eq!(write(&shard, request).unwrap().durability, Durability::Memory);
        records.push(new);
    }
    let low = |new: &NewRecord| values(new, "few").first() < Scalar::of(&json!(2)).as_ref();
    let few = json!({"few": {"$lt": 2}});
    for (field, limit) in [("some", 100), ("few", 100), ("number", 250), ("flag", 999)] {
        for descending in [false, true] {
            let request = OrderedRequest { descending, ..request(field, limit) };
            let (ids, pages) = pages(&shard, request.clone());
            assert_eq!(ids, expected(&records, field, descending, |_| true), "{field}");
            assert!(pages.iter().all(|page| page.by_index), "{field}");
            let filtered = OrderedRequest { filter: Some(filter(&few)), ..request };
            let (ids, pages) = self::pages(&shard, filtered);
            let is_low = |new: &NewRecord| new.metadata.contains_key("few") && low(new);
            assert_eq!(ids, expected(&records, field, descending, is_low), "{field}");
            assert!(pages.iter().all(|page| page.by_index), "{field}");
        }
    }
}

#[test]
fn a_page_from_the_index_looks_at_little_more_than_it_answers() {
    let home = Home::new();
    let (shard, records) = filled(&home);
    // A value of its own for each: about as many as are answered.
    let (ids, pages) = pages(&shard, request("number", 50));
    assert_eq!(ids.len(), records.len());
    let most = pages.iter().map(|page| page.looked_at).max().unwrap();
    assert!(most <= 120, "{most}");
    // Four values for all: about as many more as there are values.
    let (_, pages) = self::pages(&shard, request("few", 50));
    let all: u64 = pages.iter().map(|page| page.looked_at).sum();
    assert!(all / pages.len() as u64 <= 50 * 8, "{all} in {} pages", pages.len());
    // Few that match are looked up, wherever they are in the order.
    let rare =
        OrderedRequest { filter: Some(filter(&json!({"flag": false}))), ..request("number", 50) };
    let (ids, pages) = self::pages(&shard, rare);
    assert!(!ids.is_empty() && pages.iter().all(|page| page.looked_at <= ids.len() as u64));
}

#[test]
fn what_the_index_does_not_know_is_read_from_the_records() {
    let mut home = Home::new();
    home.config.max_scanned = u64::from(RECORDS) - 1;
    home.config.payload_schema = PayloadSchema {
        only_declared: true,
        declared: [("number".to_owned(), FieldType::Integer)].into(),
    };
    let (shard, records) = filled(&home);
    let by_number = shard.scroll_ordered(&request("number", 10)).unwrap();
    assert!(by_number.by_index);
    let refused = shard.scroll_ordered(&request("few", 10));
    assert!(matches!(refused, Err(ReadError::TooManyToScan { .. })), "{refused:?}");
    // A filter that is not indexed makes the walk of the index long, and then the scan is refused.
    let rare = json!({"few": 17});
    let hopeless = OrderedRequest { filter: Some(filter(&rare)), ..request("number", 10) };
    let refused = shard.scroll_ordered(&hopeless);
    assert!(matches!(refused, Err(ReadError::TooManyToScan { .. })), "{refused:?}");
    drop(shard);

    home.config.max_scanned = 0;
    let shard = home.open();
    shard.flush().unwrap();
    let (ids, pages) = pages(&shard, request("few", 900));
    assert_eq!(ids, expected(&records, "few", false, |_| true));
    assert!(pages.iter().all(|page| !page.by_index));
    assert!(shard.scroll_ordered(&hopeless).unwrap().records.is_empty());
}

#[test]
fn no_record_is_missed_that_is_there_throughout() {
    let home = Home::new();
    let (shard, records) = filled(&home);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The same values again, under other keys.
            for new in records.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                write(&shard, WriteRequest::put(new.clone())).unwrap();
            }
        });
        for (field, limit) in [("few", 600), ("number", 400), ("some", 500)] {
            let (ids, _) = pages(&shard, request(field, limit));
            assert_eq!(ids, expected(&records, field, false, |_| true), "{field}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}
