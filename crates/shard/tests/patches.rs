//! What a patch does beside the model's test: limits, order, atomicity.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use hvs_shard::{
    Condition, Etag, InvalidRecord, Metadata, Operation, Patch, WriteError, WriteOutcome,
    WriteRequest,
};
use serde_json::json;

mod support;
use support::{FLAT, Home, put, record, write};

fn patch(id: &str, metadata: &serde_json::Value) -> Operation {
    let metadata: Option<Metadata> = metadata.as_object().cloned();
    let patch = Patch { metadata, ..Patch::default() };
    Operation::Patch { id: id.into(), patch, condition: None }
}

fn batch(operations: Vec<Operation>, atomic: bool) -> WriteRequest {
    WriteRequest { operations, atomic, ..WriteRequest::default() }
}

#[test]
fn patches_of_one_batch_build_on_each_other() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    let before = shard.get("a").unwrap().unwrap();
    let operations = vec![
        patch("a", &json!({"one": 1, "deep": {"x": 1, "y": 2}})),
        patch("a", &json!({"deep": {"y": null, "z": 0.1}})),
        patch("a", &json!({"number": null})),
        Operation::Put { record: record("b", 1), condition: None },
        patch("b", &json!({"two": 2})),
    ];
    let outcomes = write(&shard, batch(operations, false)).unwrap().outcomes;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Put { .. })));
    let after = shard.get("a").unwrap().unwrap();
    assert_eq!(
        serde_json::Value::from(after.metadata),
        json!({"one": 1, "deep": {"x": 1, "z": 0.1}})
    );
    assert_eq!(after.vectors, before.vectors);
    assert_eq!(after.version, 4);
    assert_eq!(shard.get("b").unwrap().unwrap().metadata["two"], 2);
    // The same content has the same hash, however it came about.
    let mut whole = record("c", 1);
    whole.metadata = json!({"two": 2, "number": 1}).as_object().unwrap().clone();
    whole.id = "b".into();
    let hash = shard.get("b").unwrap().unwrap().content_hash;
    put(&shard, whole);
    assert_eq!(shard.get("b").unwrap().unwrap().content_hash, hash);
}

#[test]
fn a_patch_that_makes_too_much_is_refused_at_the_edge_of_the_limit() {
    let mut home = Home::new();
    home.config.max_metadata_bytes = 30;
    let shard = home.open();
    put(&shard, record("a", 1));
    // {"number":1,"x":"..."}
    let padding = |bytes: usize| json!({"x": "x".repeat(bytes - 19)});
    let fits = write(&shard, batch(vec![patch("a", &padding(30))], false)).unwrap();
    assert!(matches!(fits.outcomes[0], WriteOutcome::Put { version: 2, .. }), "{fits:?}");
    let key = Some("key".to_owned());
    let request =
        WriteRequest { idempotency_key: key, ..batch(vec![patch("a", &padding(31))], false) };
    let refused = write(&shard, request.clone()).unwrap();
    assert_eq!(refused.outcomes, [WriteOutcome::TooLarge { bytes: 31, limit: 30 }]);
    assert_eq!(shard.get("a").unwrap().unwrap().version, 2);
    let again = write(&shard, request).unwrap();
    assert!(again.repeated);
    assert_eq!(again.outcomes, refused.outcomes);
}

#[test]
fn an_atomic_batch_fails_with_a_patch_of_nothing() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    let operations = || vec![patch("a", &json!({"x": 1})), patch("b", &json!({"x": 1}))];
    let outcomes = write(&shard, batch(operations(), true)).unwrap().outcomes;
    assert_eq!(outcomes, [WriteOutcome::NotApplied, WriteOutcome::NotFound]);
    assert!(!shard.get("a").unwrap().unwrap().metadata.contains_key("x"));
    let outcomes = write(&shard, batch(operations(), false)).unwrap().outcomes;
    assert!(matches!(outcomes[0], WriteOutcome::Put { .. }));
    assert_eq!(outcomes[1], WriteOutcome::NotFound);
}

#[test]
fn conditions_and_bad_vectors_are_checked() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    let etag = Etag { epoch: 9, seq: 9, index: 9 };
    let current = shard.get("a").unwrap().unwrap().etag;
    let change = |vectors, etag| Operation::Patch {
        id: "a".into(),
        patch: Patch { vectors, ..Patch::default() },
        condition: Some(Condition::IfMatch(etag)),
    };
    let flat = |x: f64| [(FLAT.to_owned(), vec![x, 1.0])].into();
    let outcomes = write(&shard, batch(vec![change(flat(1.0), etag)], false)).unwrap().outcomes;
    assert_eq!(outcomes, [WriteOutcome::ConditionFailed { current: Some(current) }]);
    write(&shard, batch(vec![change(flat(3.0), current)], false)).unwrap();
    assert_eq!(shard.get("a").unwrap().unwrap().vectors[FLAT], [3.0, 1.0]);
    let current = shard.get("a").unwrap().unwrap().etag;
    let refused = write(&shard, batch(vec![change(flat(f64::NAN), current)], false));
    let Err(WriteError::Invalid { index: 0, source: InvalidRecord::Point { .. } }) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn a_patched_record_survives_a_replay_of_the_log() {
    let home = Home::new();
    let shard = home.open();
    put(&shard, record("a", 1));
    write(&shard, batch(vec![patch("a", &json!({"x": [1, 2.5]}))], false)).unwrap();
    let before = shard.get("a").unwrap();
    shard.close().unwrap();
    drop(shard);
    // The local state is lost, the log is not.
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    assert_eq!(home.open_committed().unwrap().get("a").unwrap(), before);
}
