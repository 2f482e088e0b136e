//! An index against the meaning of filters, record by record.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use hvs_filter::{
    FieldType, Fields, Filter, FilterLimits, Matching, OrderRequest, PayloadIndex, PayloadLimits,
    PayloadSchema, Scalar, Subject,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

#[derive(Debug, Clone)]
struct Record {
    kind: &'static str,
    region: Option<&'static str>,
    metadata: Map<String, Value>,
}

impl Record {
    fn fields(&self) -> Fields<'_> {
        Fields {
            kind: self.kind,
            region: self.region,
            partition_key: None,
            metadata: &self.metadata,
        }
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(1.0),
        json!(2.5),
        json!(-3),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_992_u64),
        json!(""),
        json!("a"),
        json!("ab"),
        json!("b"),
        json!("a long text"),
    ])
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d", "x.y", "", "$odd"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            vec((name(), inner), 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn record() -> impl Strategy<Value = Record> {
    let metadata = vec((name(), value()), 0..4).prop_map(|members| members.into_iter().collect());
    (select(vec!["vector", "message"]), select(vec![None, Some("eu"), Some("us")]), metadata)
        .prop_map(|(kind, region, metadata)| Record { kind, region, metadata })
}

fn filter() -> impl Strategy<Value = Value> {
    let bound = scalar().prop_filter("bounds", |v| v.is_number() || v.is_string()).boxed();
    let condition = prop_oneof![
        value().prop_filter("no operators", |v| !v.is_object()),
        value().prop_map(|v| json!({ "$eq": v })),
        value().prop_map(|v| json!({ "$ne": v })),
        vec(value(), 0..3).prop_map(|v| json!({ "$in": v })),
        vec(value(), 0..3).prop_map(|v| json!({ "$nin": v })),
        (select(vec!["$gt", "$gte", "$lt", "$lte"]), bound.clone())
            .prop_map(|(o, v)| json!({ o: v })),
        (bound.clone(), bound).prop_map(|(low, high)| json!({ "$gt": low, "$lte": high })),
        any::<bool>().prop_map(|v| json!({ "$exists": v })),
        value().prop_map(|v| json!({ "$contains": v })),
    ]
    .boxed();
    let condition = prop_oneof![
        4 => condition.clone(),
        1 => condition.prop_filter("operators", Value::is_object).prop_map(|v| json!({ "$not": v })),
    ];
    let field = select(vec!["a", "b", "c", "a.b", "b.a", "a.a", "a.b.c", "$kind", "$region", "z"]);
    let member = (field, condition).prop_map(|(field, condition)| json!({ field: condition }));
    member.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(|v| json!({ "$and": v })),
            vec(inner.clone(), 1..3).prop_map(|v| json!({ "$or": v })),
            inner.prop_map(|v| json!({ "$not": v })),
        ]
    })
}

fn limits() -> impl Strategy<Value = PayloadLimits> {
    prop_oneof![
        2 => Just(PayloadLimits::default()),
        1 => (0_usize..3, 0_usize..500, 0_usize..4)
            .prop_map(|(fields, bytes, text_bytes)| PayloadLimits { fields, bytes, text_bytes }),
    ]
}

fn schema() -> impl Strategy<Value = PayloadSchema> {
    use FieldType::{Bool, Datetime, Float, Integer, Keyword};
    let field = select(vec!["a", "b", "a.b", "b.a", "z"]).prop_map(str::to_owned);
    let declared = (field, select(vec![Keyword, Integer, Float, Bool, Datetime]));
    prop_oneof![
        1 => Just(PayloadSchema::default()),
        2 => (any::<bool>(), vec(declared, 0..4)).prop_map(|(only_declared, declared)| {
            PayloadSchema { only_declared, declared: declared.into_iter().collect() }
        }),
    ]
}

fn automatic(limits: PayloadLimits) -> PayloadIndex {
    PayloadIndex::new(limits, &PayloadSchema::default())
}

fn parse(filter: &Value) -> Filter {
    Filter::parse(filter.as_object().unwrap(), &FilterLimits::default()).unwrap()
}

fn check(records: &BTreeMap<u64, Record>, filter: &Filter, matching: &Matching) {
    assert!((&matching.sure & &matching.maybe).is_empty());
    for key in &matching.sure | &matching.maybe {
        assert!(records.contains_key(&key), "{key} is not a record");
    }
    for (key, record) in records {
        let meant = filter.matches(&record.fields());
        let known = matching.sure.contains(*key);
        let possible = known || matching.maybe.contains(*key);
        assert!(!known || meant, "{filter:?} does not match {record:?}");
        assert!(!meant || possible, "{filter:?} matches {record:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn an_index_never_contradicts_the_meaning(
        records in vec(record(), 0..12),
        filters in vec(filter(), 1..4),
        limits in limits(),
        schema in schema(),
        removed in vec(0_usize..12, 0..6),
    ) {
        let mut index = PayloadIndex::new(limits, &schema);
        let mut left = BTreeMap::new();
        for (key, record) in (1_u64 << 31..).step_by(1 << 30).zip(&records) {
            index.insert(key, &record.fields());
            left.insert(key, record.clone());
        }
        for filter in &filters {
            let filter = parse(filter);
            check(&left, &filter, &index.evaluate(&filter));
        }
        for position in removed {
            if let Some((&key, _)) = left.iter().nth(position) {
                index.remove(key);
                left.remove(&key);
            }
        }
        for filter in &filters {
            let filter = parse(filter);
            check(&left, &filter, &index.evaluate(&filter));
        }
    }

    #[test]
    fn the_order_of_an_index_is_that_of_the_records(
        records in vec(record(), 0..12),
        field in select(vec!["a", "b", "a.b", "z", "$kind", "$region"]),
        limits in limits(),
        schema in schema(),
        descending in any::<bool>(),
        step in (1_u64..4, 1_usize..4),
    ) {
        let subject = Subject::parse(field).unwrap();
        let mut index = PayloadIndex::new(limits, &schema);
        let (mut keys, mut expected) = (roaring::RoaringTreemap::new(), BTreeSet::new());
        for (key, record) in (0_u64..).zip(&records) {
            index.insert(key, &record.fields());
            // Every third is not asked for.
            if key % 3 != 2 {
                keys.insert(key);
                record.fields().scalars(&subject, &mut |scalar| {
                    expected.insert((scalar, key));
                });
            }
        }
        let Some(unknown) = index.unordered(&subject) else { return Ok(()) };
        let mut found = Vec::new();
        let mut from = Some(Bound::Unbounded);
        while let Some(begin) = from {
            let request = OrderRequest {
                subject: &subject,
                descending,
                from: begin,
                keys: &keys,
                records: step.0,
                values: step.1,
            };
            let Some(part) = index.order(&request) else { break };
            for (scalar, with) in part.values {
                found.extend(with.iter().map(|key| (scalar.clone(), key)));
            }
            from = part.next;
        }
        let place = |scalar: &Scalar, key| (scalar.clone(), key);
        let is_in_order = found.windows(2).all(|pair| {
            let values = pair[0].0.cmp(&pair[1].0);
            let values = if descending { values.reverse() } else { values };
            values.then(pair[0].1.cmp(&pair[1].1)).is_lt()
        });
        prop_assert!(is_in_order, "{found:?}");
        // Whatever is missing is of records that are known to be unknown.
        let found: BTreeSet<_> = found.iter().map(|(scalar, key)| place(scalar, *key)).collect();
        prop_assert!(found.is_subset(&expected));
        for (scalar, key) in expected.difference(&found) {
            prop_assert!(unknown.contains(*key), "{scalar:?} of {key}");
        }
    }
}

fn metadata(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn plain(metadata: &Map<String, Value>) -> Fields<'_> {
    Fields { kind: "vector", region: None, partition_key: None, metadata }
}

fn numbered(count: u64) -> PayloadIndex {
    let mut index = automatic(PayloadLimits::default());
    for key in 1..=count {
        let metadata = metadata(&json!({"n": key, "parity": key % 2, "name": format!("r{key}")}));
        index.insert(key, &plain(&metadata));
    }
    index
}

#[test]
fn plain_values_are_answered_without_looking_at_records() {
    let index = numbered(10_000);
    for (filter, expected) in [
        (json!({"parity": 1}), 5_000),
        (json!({"n": {"$gt": 10, "$lte": 20}}), 10),
        (json!({"n": {"$lt": 100}, "parity": 0}), 49),
        (json!({"name": {"$in": ["r1", "r10000", "r10001"]}}), 2),
        (json!({"parity": {"$ne": 1}, "n": {"$gte": 9_000}}), 501),
        (json!({"$not": {"$or": [{"n": {"$lt": 5_001}}, {"parity": 1}]}}), 2_500),
        (json!({"missing": {"$exists": false}}), 10_000),
        (json!({"missing": 1}), 0),
        (json!({"$kind": "vector"}), 10_000),
        (json!({"$region": "eu"}), 0),
    ] {
        let matching = index.evaluate(&parse(&filter));
        assert_eq!(matching.sure.len(), expected, "{filter}");
        assert!(matching.maybe.is_empty(), "{filter}");
    }
}

#[test]
fn ranges_of_too_many_values_are_left_to_the_records_unless_bounded_on_both_sides() {
    let index = numbered(100_000);
    let open = index.evaluate(&parse(&json!({"n": {"$gt": 10}})));
    assert_eq!((open.sure.len(), open.maybe.len()), (0, 100_000));
    let closed = index.evaluate(&parse(&json!({"n": {"$gt": 10, "$lt": 20}})));
    assert_eq!((closed.sure.len(), closed.maybe.len()), (9, 0));
}

#[test]
fn what_is_dead_is_compacted_away() {
    let mut index = numbered(10_000);
    let before = index.stats();
    assert_eq!((before.fields, before.values, before.partial), (3, 20_003, 0));
    for key in 1..=9_000 {
        index.remove(key);
    }
    // One field at a time; the three labels have theirs.
    for _ in 0..6 {
        index.compact_step();
    }
    let after = index.stats();
    assert_eq!((after.fields, after.values), (3, 2_003));
    assert!(after.bytes < before.bytes / 5, "{after:?} {before:?}");
    assert_eq!(index.evaluate(&parse(&json!({"parity": 1}))).sure.len(), 500);
    for key in 9_001..=10_000 {
        index.remove(key);
    }
    for _ in 0..10 {
        index.compact_step();
    }
    assert_eq!(index.evaluate(&parse(&json!({}))).at_most(), 0);
}

#[test]
fn fields_texts_and_bytes_are_limited() {
    let limits = PayloadLimits { fields: 2, bytes: 2_000, text_bytes: 3 };
    let mut index = automatic(limits);
    let insert = |index: &mut PayloadIndex, key: u64, value: Value| {
        index.insert(key, &plain(&metadata(&value)));
    };
    insert(&mut index, 1, json!({"a": "abc", "b": 1}));
    assert_eq!(index.stats().partial, 0);
    insert(&mut index, 2, json!({"a": "abcd"}));
    assert_eq!(index.stats().partial, 1);
    insert(&mut index, 3, json!({"c": 1}));
    assert_eq!((index.stats().fields, index.stats().partial), (2, 2));
    for key in 4..100 {
        insert(&mut index, key, json!({"b": key}));
    }
    let stats = index.stats();
    // Labels are indexed in any case, at two bytes a record.
    assert!(stats.bytes < 2_000 + 100 + 2 * 100 + 64, "{stats:?}");
    // What is not indexed is still found, by looking at it.
    for (filter, key) in [(json!({"a": "abcd"}), 2), (json!({"c": 1}), 3), (json!({"b": 99}), 99)] {
        let matching = index.evaluate(&parse(&filter));
        assert!(matching.maybe.contains(key) && !matching.sure.contains(key), "{filter}");
    }
}

#[test]
fn partition_keys_are_found_with_their_records() {
    let mut index = automatic(PayloadLimits { text_bytes: 0, ..PayloadLimits::default() });
    let none = Map::new();
    for key in 1..=30 {
        let partition_key = ["", "a", "b"][usize::try_from(key % 3).unwrap()];
        let partition_key = (!partition_key.is_empty()).then_some(partition_key);
        index.insert(key, &Fields { partition_key, ..plain(&none) });
    }
    index.remove(4);
    let found: Vec<u64> = index.with_partition_key("a").iter().collect();
    assert_eq!(found, [1, 7, 10, 13, 16, 19, 22, 25, 28]);
    assert!(index.with_partition_key("c").is_empty());
}

#[test]
fn a_record_with_several_values_may_pass_each_bound_with_another() {
    let mut index = automatic(PayloadLimits::default());
    for (key, value) in (1..).zip([json!({"n": [0, 9]}), json!({"n": [[3], 9]}), json!({"n": 3})]) {
        index.insert(key, &plain(&metadata(&value)));
    }
    let objects = metadata(&json!({"list": [{"n": 0}, {"n": 9}]}));
    index.insert(4, &plain(&objects));
    let matching = index.evaluate(&parse(&json!({"n": {"$gt": 1, "$lt": 5}})));
    assert!(matching.maybe.contains(1) && matching.sure.contains(3), "{matching:?}");
    let matching = index.evaluate(&parse(&json!({"list.n": {"$gt": 1, "$lt": 5}})));
    assert!(matching.maybe.contains(4), "{matching:?}");
}

#[test]
fn a_declared_field_is_answered_alone_and_the_rest_looked_at() {
    let schema = PayloadSchema {
        only_declared: true,
        declared: [("n", FieldType::Integer), ("day", FieldType::Datetime)]
            .map(|(path, of)| (path.to_owned(), of))
            .into(),
    };
    let mut index = PayloadIndex::new(PayloadLimits::default(), &schema);
    for key in 1..=100_u64 {
        let day = format!("2026-01-{:02}", key % 28 + 1);
        let metadata = metadata(&json!({"n": key, "day": day, "name": format!("r{key}")}));
        index.insert(key, &plain(&metadata));
    }
    let odd = [json!({"n": "12"}), json!({"n": 12.5}), json!({"day": "soon"}), json!({"n": null})];
    for (key, odd) in (101..).zip(odd) {
        index.insert(key, &plain(&metadata(&odd)));
    }
    let counts = |filter: Value| {
        let matching = index.evaluate(&parse(&filter));
        (matching.sure.len(), matching.maybe.len())
    };
    // Those of another type are looked at, whatever is asked.
    assert_eq!(counts(json!({"n": 12})), (1, 2));
    assert_eq!(counts(json!({"n": {"$gt": 50, "$lte": 60}})), (10, 2));
    assert_eq!(counts(json!({"n": null})), (1, 2));
    assert_eq!(counts(json!({"day": {"$lt": "2026-01-03"}})), (7, 1));
    // Nothing is known of what is not declared, of those that have such a field.
    assert_eq!(counts(json!({"name": "r1"})), (0, 100));
    assert_eq!(counts(json!({"name": "r1", "n": 1})), (0, 1));
    assert_eq!(counts(json!({"$kind": "vector"})), (104, 0));
    assert_eq!(index.stats().fields, 2);
    assert_eq!(index.stats().partial, 3);
    let filter = parse(&json!({"$or": [{"n": 1}, {"name": "x"}, {"$not": {"$region": "eu"}}]}));
    let expected = [("$region", true), ("n", true), ("name", false)];
    assert_eq!(index.properties(&filter), expected.map(|(p, i)| (p.to_owned(), i)).into());
}

#[test]
fn declared_fields_have_room_beside_the_others() {
    let declared = [("z".to_owned(), FieldType::Keyword)].into();
    let schema = PayloadSchema { only_declared: false, declared };
    let limits = PayloadLimits { fields: 1, ..PayloadLimits::default() };
    let mut index = PayloadIndex::new(limits, &schema);
    for key in 1..=9_000 {
        index.insert(key, &plain(&metadata(&json!({"a": 1, "b": 1, "z": "x"}))));
    }
    assert_eq!(index.stats().fields, 2);
    let matching = index.evaluate(&parse(&json!({"z": "x"})));
    assert_eq!((matching.sure.len(), matching.maybe.len()), (9_000, 0));
    // It stays when nobody has it any more.
    for key in 1..=9_000 {
        index.remove(key);
    }
    for _ in 0..10 {
        index.compact_step();
    }
    assert_eq!(index.stats().fields, 1);
    index.insert(9_001, &plain(&metadata(&json!({"c": 1, "d": 1, "z": "x"}))));
    assert_eq!(index.evaluate(&parse(&json!({"z": "x"}))).sure.len(), 1);
}
