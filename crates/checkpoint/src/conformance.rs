//! What every place of checkpoints must do; run on each kind of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test suite"
)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    Chain, ChainError, Checkpoint, CheckpointStore, Finished, Hash, Kind, Link, Manifest,
    ObjectRef, ObjectWriter, Row, ShardPart, Sizes, StoreError, SwapError,
};

/// Runs the whole suite on an empty place.
///
/// # Panics
/// When the place does not behave.
pub async fn run(store: CheckpointStore) {
    objects_are_written_once_and_read_as_they_were(&store.child("objects")).await;
    manifests_are_swapped_only_over_the_one_that_was_read(&store.child("swap")).await;
    of_many_swaps_one_wins(&store.child("race")).await;
    chains_merge(&store.child("chain")).await;
    what_no_manifest_names_is_found(&store.child("orphans")).await;
    let mut children = store.children().await.expect("children");
    children.sort();
    assert_eq!(children, ["chain", "objects", "orphans", "race", "swap"]);
    assert!(store.child("nothing").children().await.expect("no children").is_empty());
}

fn reference(name: &str, bytes: &Bytes) -> ObjectRef {
    ObjectRef { name: name.to_owned(), bytes: bytes.len() as u64, rows: 0, hash: Hash::of(bytes) }
}

/// A checkpoint of one shard at a seq, with the given links.
pub fn checkpoint(uid: Uuid, seq: u64, links: Vec<Link>) -> Checkpoint {
    let part = ShardPart {
        uid,
        seq,
        entry: Hash::default(),
        epoch: 1,
        digest: Hash::default(),
        records: 0,
        links,
    };
    Checkpoint {
        id: 0,
        created_at_ms: 1,
        kind: Kind::Full,
        settings: serde_json::Value::Null,
        shards: vec![part],
    }
}

fn base(seq: u64, objects: Vec<ObjectRef>) -> Link {
    Link { seq, since: None, objects }
}

async fn objects_are_written_once_and_read_as_they_were(store: &CheckpointStore) {
    let bytes = Bytes::from(vec![7; 100_000]);
    let object = reference("objects/a/000001", &bytes);
    let missing = store.get(&object).await;
    assert!(matches!(missing, Err(StoreError::Missing { ref name }) if name.contains("objects/a")));
    store.put(&object.name, bytes.clone()).await.expect("first put");
    assert_eq!(store.get(&object).await.expect("get"), bytes);
    store.put(&object.name, bytes.clone()).await.expect("the same again, as after a lost reply");
    let other = store.put(&object.name, Bytes::from_static(b"other")).await;
    assert!(other.is_err(), "an object is never replaced");
    assert_eq!(store.get(&object).await.expect("get"), bytes);

    let shorter = ObjectRef { bytes: 99_999, ..object.clone() };
    assert!(matches!(store.get(&shorter).await, Err(StoreError::Size { found: 100_000, .. })));
    let different = ObjectRef { hash: Hash([1; 32]), ..object.clone() };
    assert!(matches!(store.get(&different).await, Err(StoreError::Hash { .. })));

    let names = [object.name.clone()];
    store.remove(&names).await.expect("remove");
    store.remove(&names).await.expect("remove what is gone");
    assert!(matches!(store.get(&object).await, Err(StoreError::Missing { .. })));
    store.put(&object.name, bytes).await.expect("a name that is free again");
}

async fn manifests_are_swapped_only_over_the_one_that_was_read(store: &CheckpointStore) {
    let (namespace, shard) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(store.manifest().await.expect("no manifest").is_none());
    let empty = Manifest::new("docs", namespace);
    let first = empty.with(checkpoint(shard, 5, vec![base(5, vec![])])).expect("first");
    store.swap(None, &first).await.expect("the first one");
    let again = empty.with(checkpoint(shard, 6, vec![base(6, vec![])])).expect("other first");
    assert!(matches!(store.swap(None, &again).await, Err(SwapError::Conflict)));
    store.swap(None, &first).await.expect("an own swap whose reply was lost");

    let loaded = store.manifest().await.expect("manifest").expect("is there");
    assert_eq!(loaded.manifest, first);
    let second = first.with(checkpoint(shard, 9, vec![base(9, vec![])])).expect("second");
    store.swap(Some(&loaded.version), &second).await.expect("over the one that was read");
    let third = first.with(checkpoint(shard, 8, vec![base(8, vec![])])).expect("third");
    let stale = store.swap(Some(&loaded.version), &third).await;
    assert!(matches!(stale, Err(SwapError::Conflict)));
    let found = store.manifest().await.expect("manifest").expect("is there");
    assert_eq!(found.manifest, second);
    let nowhere = store.child("elsewhere").swap(Some(&found.version), &second).await;
    assert!(matches!(nowhere, Err(SwapError::Conflict)), "there is nothing to replace");
}

async fn of_many_swaps_one_wins(store: &CheckpointStore) {
    let (namespace, shard) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let mut conflicts = 0;
            for _ in 0..5 {
                loop {
                    let loaded = store.manifest().await.expect("manifest");
                    let version = loaded.as_ref().map(|loaded| &loaded.version);
                    let before = loaded
                        .as_ref()
                        .map_or_else(|| Manifest::new("n", namespace), |l| l.manifest.clone());
                    let seq = before.newest().map_or(0, |newest| newest.shards[0].seq) + 1;
                    // As every attempt has, by which it is known again.
                    let own = format!("objects/{}/000000", Uuid::new_v4().simple());
                    let own = vec![reference(&own, &Bytes::new())];
                    let next = before.with(checkpoint(shard, seq, vec![base(seq, own)]));
                    match store.swap(version, &next.expect("raised")).await {
                        Ok(()) => break,
                        Err(SwapError::Conflict) => conflicts += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            conflicts
        }));
    }
    for task in tasks {
        task.await.expect("task");
    }
    let manifest = store.manifest().await.expect("manifest").expect("is there").manifest;
    let seqs: Vec<_> = manifest.checkpoints.iter().map(|one| one.shards[0].seq).collect();
    assert_eq!(seqs, (1..=30).collect::<Vec<_>>(), "no swap was lost");
    let ids: Vec<_> = manifest.checkpoints.iter().map(|one| one.id).collect();
    assert_eq!(ids, (1..=30).collect::<Vec<_>>());
}

/// Writes rows as a link of a chain.
pub async fn write_link(
    store: &CheckpointStore,
    attempt: &str,
    since: Option<u64>,
    seq: u64,
    rows: &[(&[u8], &[u8])],
    sizes: Sizes,
) -> Link {
    let mut writer = ObjectWriter::new(sizes).expect("writer");
    let mut finished: Vec<Finished> = Vec::new();
    for (key, value) in rows {
        finished.extend(writer.push(key, value).expect("row"));
    }
    finished.extend(writer.finish().expect("last rows"));
    let mut objects = Vec::new();
    for (number, object) in finished.into_iter().enumerate() {
        let name = format!("objects/{attempt}/{number:06}");
        let bytes = object.bytes.len() as u64;
        store.put(&name, object.bytes).await.expect("put");
        objects.push(ObjectRef { name, bytes, rows: object.rows, hash: object.hash });
    }
    Link { seq, since, objects }
}

async fn chains_merge(store: &CheckpointStore) {
    let sizes = Sizes { chunk: 32, object: 100, level: 1 };
    let keys: Vec<Vec<u8>> = (0..60_u8).map(|n| vec![n]).collect();
    let base: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &b"base"[..])).collect();
    let first: Vec<(&[u8], &[u8])> =
        keys.iter().step_by(7).map(|key| (&key[..], &b"first"[..])).collect();
    let last = [0_u8; 2];
    let second: [(&[u8], &[u8]); 2] = [(&[0], b"second"), (&last, b"new")];
    let links = [
        write_link(store, "a", None, 1, &base, sizes).await,
        write_link(store, "b", Some(1), 2, &first, sizes).await,
        write_link(store, "c", Some(2), 3, &second, sizes).await,
    ];
    assert!(links[0].objects.len() > 1);
    let mut fetched = std::collections::HashMap::new();
    for object in links.iter().flat_map(|link| &link.objects) {
        fetched.insert(object.name.clone(), store.get(object).await.expect("object"));
    }
    let rows: Result<Vec<Row>, ChainError> =
        Chain::new(&links, |object: &ObjectRef| Ok(fetched[&object.name].clone())).collect();
    let rows = rows.expect("chain");
    assert_eq!(rows.len(), 61);
    assert_eq!((&rows[0].value[..], &rows[1].value[..]), (&b"second"[..], &b"new"[..]));
    for (number, row) in rows.iter().enumerate().skip(2) {
        let expected: &[u8] = if (number - 1) % 7 == 0 { b"first" } else { b"base" };
        assert_eq!(&row.value[..], expected, "row {number}");
    }
}

async fn what_no_manifest_names_is_found(store: &CheckpointStore) {
    let bytes = Bytes::from_static(b"left behind");
    store.put("objects/crashed/000000", bytes.clone()).await.expect("put");
    store.put("objects/kept/000000", bytes.clone()).await.expect("put");
    let kept = reference("objects/kept/000000", &bytes);
    let manifest = Manifest::new("n", Uuid::from_u128(1))
        .with(checkpoint(Uuid::from_u128(2), 1, vec![base(1, vec![kept])]))
        .expect("manifest");
    let young = store.orphans(&manifest, Duration::from_hours(1)).await.expect("orphans");
    assert!(young.is_empty(), "it may belong to a checkpoint that is being made");
    let all = store.orphans(&manifest, Duration::ZERO).await.expect("orphans");
    assert_eq!(all, ["objects/crashed/000000"]);
}

/// A place in memory, for tests.
pub fn in_memory() -> CheckpointStore {
    CheckpointStore::over(Arc::new(object_store::memory::InMemory::new()), "checkpoints")
}
