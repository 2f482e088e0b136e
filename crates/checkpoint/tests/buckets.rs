//! Buckets, through the client that a node uses and a server that speaks its protocol: the suite of
//! every place, and what must hold when requests go wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod s3;

use std::time::Duration;

use bytes::Bytes;
use hvs_checkpoint::{
    Checkpoint, CheckpointStore, DamagedManifest, Hash, Link, Manifest, ObjectRef, StoreError,
    SwapError, conformance,
};
use hyper::Method;
use s3::{ACCESS_KEY, BUCKET, Fault, SECRET_KEY, Server, pairs};
use uuid::Uuid;

const SHARD: Uuid = Uuid::from_u128(2);

fn reference(name: &str, bytes: &Bytes) -> ObjectRef {
    ObjectRef { name: name.to_owned(), bytes: bytes.len() as u64, rows: 0, hash: Hash::of(bytes) }
}

/// A checkpoint with an object that no other attempt has.
fn checkpoint(seq: u64) -> Checkpoint {
    let name = format!("objects/{}/000000", Uuid::new_v4().simple());
    let objects = vec![reference(&name, &Bytes::from_static(b"rows"))];
    conformance::checkpoint(SHARD, seq, vec![Link { seq, since: None, objects }])
}

fn empty() -> Manifest {
    Manifest::new("docs", Uuid::from_u128(1))
}

/// A place with one checkpoint, and its manifest.
async fn place_with_one(server: &Server) -> (CheckpointStore, Manifest) {
    let store = server.place("docs");
    let first = empty().with(checkpoint(1)).unwrap();
    store.swap(None, &first).await.unwrap();
    (store, first)
}

async fn manifest_of(store: &CheckpointStore) -> Manifest {
    store.manifest().await.unwrap().unwrap().manifest
}

/// An error with everything that stands behind it, as a log shows it.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(|error| format!("{error} {error:?}")).collect();
    causes.join("\n")
}

fn whole_bucket_is_below(server: &Server, prefix: &str) {
    let keys = server.keys();
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|key| key.starts_with(prefix)), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_s3_conforms() {
    let server = Server::start().await;
    conformance::run(server.place("node-1/with%20blank,%20%C3%A4")).await;
    whole_bucket_is_below(&server, "node-1/with blank, ä/");
    let pages = server.requests("GET /backups?");
    assert!(pages.iter().any(|request| request.contains("continuation-token")), "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_s3_conforms_without_a_prefix() {
    let server = Server::start().await;
    let url = format!("s3://{BUCKET}");
    conformance::run(CheckpointStore::open(&url, server.settings()).unwrap()).await;
    whole_bucket_is_below(&server, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_google_conforms() {
    let server = Server::start_as_google().await;
    let url = format!("gs://{BUCKET}/node-1");
    let store = CheckpointStore::open(&url, server.settings_of_google()).unwrap();
    conformance::run(store).await;
    whole_bucket_is_below(&server, "node-1/");
    let pages = server.requests("GET /backups?");
    assert!(pages.iter().any(|request| request.contains("continuation-token")), "{pages:?}");
}

/// Whatever goes wrong with the first request of each kind, the suite holds.
async fn conforms_in_spite_of(faults: impl Fn(&Method) -> Vec<Fault>) {
    conforms(&Server::start().await, faults).await;
}

async fn conforms(server: &Server, faults: impl Fn(&Method) -> Vec<Fault>) {
    for (method, path) in [
        (Method::PUT, "objects/objects/a/000001"),
        (Method::GET, "objects/objects/a/000001"),
        (Method::PUT, "swap/manifest"),
        (Method::GET, "swap/manifest"),
        (Method::PUT, "race/manifest"),
        (Method::GET, "race/manifest"),
        (Method::GET, BUCKET),
        (Method::POST, BUCKET),
    ] {
        for fault in faults(&method) {
            server.plan(method.clone(), path, fault);
        }
    }
    conformance::run(server.place("node-1")).await;
    assert_eq!(server.planned(), 0, "some fault has not happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_slowed_down_conforms() {
    conforms_in_spite_of(|_| vec![Fault::SlowDown, Fault::SlowDown]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_loses_requests_and_replies_conforms() {
    conforms_in_spite_of(|_| vec![Fault::LostReply, Fault::LostRequest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_resets_connections_conforms() {
    let server = Server::start().await;
    server.reset_connections();
    conforms(&server, |_| vec![Fault::LostReply, Fault::LostRequest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_busy_with_other_conditional_writes_conforms() {
    let busy = |method: &Method| match *method {
        Method::PUT => vec![Fault::Busy, Fault::Busy],
        _ => vec![],
    };
    conforms_in_spite_of(busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_everything_once_however_many_pages_they_take() {
    let server = Server::start().await;
    let root = server.place("node");
    let bytes = Bytes::from_static(b"rows");
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        root.child(name).put("objects/x/000000", bytes.clone()).await.unwrap();
        root.child("many").put(&format!("objects/{name}/000000"), bytes.clone()).await.unwrap();
    }
    // Beside the place, not in it.
    server.place("node-2").put("objects/x/000000", bytes.clone()).await.unwrap();
    assert_eq!(root.children().await.unwrap(), ["a", "b", "c", "d", "e", "f", "g", "many"]);
    let orphans = root.child("many").orphans(&empty(), Duration::ZERO).await.unwrap();
    let expected = ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("objects/{name}/000000"));
    assert_eq!(orphans, expected);
    root.child("many").remove(&orphans).await.unwrap();
    assert!(!server.keys().iter().any(|key| key.contains("many")));
    assert_eq!(server.keys().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_reply_is_lost_was_made_once() {
    for resets in [false, true] {
        let server = Server::start().await;
        if resets {
            server.reset_connections();
        }
        server.plan(Method::PUT, "docs/manifest", Fault::LostReply);
        let (store, first) = place_with_one(&server).await;
        assert_eq!(manifest_of(&store).await, first);
        let loaded = store.manifest().await.unwrap().unwrap();
        let second = first.with(checkpoint(2)).unwrap();
        server.plan(Method::PUT, "docs/manifest", Fault::LostReply);
        store.swap(Some(&loaded.version), &second).await.unwrap();
        assert_eq!(server.planned(), 0);
        assert_eq!(manifest_of(&store).await, second, "once, and nothing else");
        // Others, and this one, go on from there.
        let loaded = store.manifest().await.unwrap().unwrap();
        let third = second.with(checkpoint(3)).unwrap();
        store.swap(Some(&loaded.version), &third).await.unwrap();
        let ids: Vec<_> = manifest_of(&store).await.checkpoints.iter().map(|c| c.id).collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}

/// Who is told of a lost race removes the objects that it has written. Here they are needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_reply_is_lost_and_that_others_build_on_is_no_lost_race() {
    let server = Server::start().await;
    let (store, first) = place_with_one(&server).await;
    let loaded = store.manifest().await.unwrap().unwrap();
    let second = first.with(checkpoint(2)).unwrap();
    let third = second.with(checkpoint(3)).unwrap();
    let by = Bytes::from(third.encode());
    server.plan(Method::PUT, "docs/manifest", Fault::LostReplyThenReplaced(by));
    store.swap(Some(&loaded.version), &second).await.unwrap();
    assert_eq!(manifest_of(&store).await, third);

    // What was added is gone again, and what builds on it is not.
    let loaded = store.manifest().await.unwrap().unwrap();
    let fourth = third.with(checkpoint(4)).unwrap();
    let mut fifth = fourth.newest().unwrap().clone();
    fifth.shards[0].seq = 5;
    fifth.shards[0].links.push(Link { seq: 5, since: Some(4), objects: vec![] });
    let (last, gone) = fourth.with(fifth).unwrap().without(4).unwrap();
    assert!(gone.is_empty());
    let by = Bytes::from(last.encode());
    server.plan(Method::PUT, "docs/manifest", Fault::LostReplyThenReplaced(by));
    store.swap(Some(&loaded.version), &fourth).await.unwrap();

    // The first one of a namespace.
    let other = server.place("other");
    let first = empty().with(checkpoint(1)).unwrap();
    let by = Bytes::from(first.with(checkpoint(2)).unwrap().encode());
    server.plan(Method::PUT, "other/manifest", Fault::LostReplyThenReplaced(by));
    other.swap(None, &first).await.unwrap();
    assert_eq!(server.planned(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_that_was_lost_while_the_reply_was_as_well_is_a_lost_race() {
    let server = Server::start().await;
    let (store, first) = place_with_one(&server).await;
    let loaded = store.manifest().await.unwrap().unwrap();
    let mine = first.with(checkpoint(2)).unwrap();
    let theirs = first.with(checkpoint(2)).unwrap();
    store.swap(Some(&loaded.version), &theirs).await.unwrap();
    let theirs = theirs.with(checkpoint(3)).unwrap();
    let version = store.manifest().await.unwrap().unwrap().version;
    store.swap(Some(&version), &theirs).await.unwrap();
    server.plan(Method::PUT, "docs/manifest", Fault::LostReply);
    let lost = store.swap(Some(&loaded.version), &mine).await;
    assert!(matches!(lost, Err(SwapError::Conflict)), "{lost:?}");
    assert_eq!(manifest_of(&store).await, theirs);

    // Nothing tells apart two that have no object of their own.
    let bare =
        || conformance::checkpoint(SHARD, 4, vec![Link { seq: 4, since: None, objects: vec![] }]);
    let loaded = store.manifest().await.unwrap().unwrap();
    let (mine, other) = (theirs.with(bare()).unwrap(), theirs.with(bare()).unwrap());
    store.swap(Some(&loaded.version), &other).await.unwrap();
    let lost = store.swap(Some(&loaded.version), &mine).await;
    assert!(matches!(lost, Err(SwapError::Conflict)), "{lost:?}");

    // Of a deletion nothing tells whether it was this one, so that nothing is claimed.
    let (without, _) = theirs.without(1).unwrap();
    let lost = store.swap(Some(&loaded.version), &without).await;
    assert!(matches!(lost, Err(SwapError::Conflict)), "{lost:?}");
}

/// Neither a conflict, after which the objects of the checkpoint would be removed, nor a success.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_of_which_nothing_can_be_learnt_is_of_unknown_outcome() {
    let server = Server::start().await;
    let (store, first) = place_with_one(&server).await;
    let loaded = store.manifest().await.unwrap().unwrap();
    let second = first.with(checkpoint(2)).unwrap();
    server.plan(Method::PUT, "docs/manifest", Fault::LostReply);
    server.plan(Method::GET, "docs/manifest", Fault::Forbidden);
    let unknown = store.swap(Some(&loaded.version), &second).await.unwrap_err();
    let SwapError::Store(StoreError::Io { what: "replace", name, .. }) = &unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(name, "s3://backups/docs/manifest");
    assert_eq!(server.planned(), 0);
    assert_eq!(manifest_of(&store).await, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_manifest_that_stays_refused_is_no_lost_race() {
    let server = Server::start().await;
    for _ in 0..50 {
        server.plan(Method::PUT, "docs/manifest", Fault::Busy);
    }
    let first = empty().with(checkpoint(1)).unwrap();
    let store = server.place("docs");
    let refused = store.swap(None, &first).await.unwrap_err();
    let is_unknown = matches!(refused, SwapError::Store(StoreError::Io { what: "replace", .. }));
    assert!(is_unknown, "{refused:?}");
    assert!(server.planned() > 0, "it does not go on for ever");
    let object = store.put("objects/a/manifest", Bytes::new()).await;
    object.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_reply_is_lost_is_there() {
    for resets in [false, true] {
        let server = Server::start().await;
        if resets {
            server.reset_connections();
        }
        let store = server.place("docs");
        let bytes = Bytes::from(vec![7; 200_000]);
        let object = reference("objects/a/000000", &bytes);
        for fault in [Fault::LostReply, Fault::LostRequest, Fault::Busy] {
            server.plan(Method::PUT, "a/000000", fault);
            store.put(&object.name, bytes.clone()).await.unwrap();
            assert!(store.get(&object).await.unwrap() == bytes);
            store.remove(std::slice::from_ref(&object.name)).await.unwrap();
        }
        // What somebody else wrote there is not replaced, and not taken for one's own.
        let by = Bytes::from_static(b"of somebody else");
        server.plan(Method::PUT, "a/000000", Fault::LostReplyThenReplaced(by.clone()));
        store.put(&object.name, bytes).await.unwrap_err();
        assert_eq!(store.get(&reference("objects/a/000000", &by)).await.unwrap(), by);
        assert_eq!(server.planned(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_short_is_never_taken_as_whole() {
    let server = Server::start().await;
    let (store, first) = place_with_one(&server).await;
    let bytes: Bytes = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let object = reference("objects/a/000000", &bytes);
    store.put(&object.name, bytes.clone()).await.unwrap();

    // The rest is asked for.
    server.plan(Method::GET, "a/000000", Fault::Cut);
    server.plan(Method::GET, "a/000000", Fault::Cut);
    assert!(store.get(&object).await.unwrap() == bytes);
    assert_eq!(server.requests("GET /backups/docs/objects/a/000000").len(), 3);
    server.plan(Method::GET, "docs/manifest", Fault::Cut);
    assert_eq!(manifest_of(&store).await, first);

    // What looks whole to the client is not.
    server.plan(Method::GET, "a/000000", Fault::Half);
    let half = store.get(&object).await.map(|bytes| bytes.len()).unwrap_err();
    assert!(matches!(half, StoreError::Size { found: 400_000, expected: 800_000, .. }), "{half}");
    server.plan(Method::GET, "docs/manifest", Fault::Half);
    let half = store.manifest().await.unwrap_err();
    let is_found = matches!(half, StoreError::Manifest { source: DamagedManifest::Hash, .. });
    assert!(is_found, "{half}");

    // Half of one and half of another one.
    let second = first.with(checkpoint(2)).unwrap();
    let by = Bytes::from(second.encode());
    server.plan(Method::GET, "docs/manifest", Fault::CutThenReplaced(by));
    let mixed = store.manifest().await;
    assert!(
        mixed.as_ref().is_ok_and(|found| found.as_ref().unwrap().manifest == second),
        "{mixed:?}"
    );
    assert_eq!(server.planned(), 0);
}

/// The place, what the store said, and nothing with which to get in.
fn names_the_place(error: &StoreError, place: &str, reason: &str) {
    assert!(error.to_string().contains(place), "{error}");
    let all = said(error);
    assert!(all.contains(reason), "{all}");
    assert!(!all.contains(SECRET_KEY) && !all.contains("wrong-secret"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_said_to_be_wrong_without_the_secret() {
    let server = Server::start().await;
    let (_, first) = place_with_one(&server).await;
    for (access, secret, reason) in [
        ("AKIASOMEBODY", SECRET_KEY, "InvalidAccessKeyId"),
        (ACCESS_KEY, "wrong-secret", "SignatureDoesNotMatch"),
    ] {
        let options = server.settings_with(access, secret);
        let url = "s3://somebody:wrong-secret@backups/docs?key=wrong-secret";
        let store = CheckpointStore::open(url, options).unwrap();
        let place = "s3://backups/docs";
        names_the_place(&store.manifest().await.unwrap_err(), place, reason);
        names_the_place(&store.children().await.unwrap_err(), place, reason);
        let orphans = store.orphans(&first, Duration::ZERO).await.unwrap_err();
        names_the_place(&orphans, place, reason);
        let put = store.put("objects/a/000000", Bytes::new()).await.unwrap_err();
        names_the_place(&put, "s3://backups/docs/objects/a/000000", reason);
        let names = ["objects/a/000000".to_owned()];
        names_the_place(&store.remove(&names).await.unwrap_err(), place, reason);
        let SwapError::Store(swap) = store.swap(None, &first).await.unwrap_err() else {
            panic!("not a lost race");
        };
        names_the_place(&swap, place, reason);
        assert!(!format!("{store:?}").contains(secret), "{store:?}");
    }
    assert_eq!(server.keys(), ["docs/manifest"]);
}

/// Not a place without checkpoints: whoever restores would look for them in vain.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_no_empty_place() {
    let s3 = Server::start().await;
    let google = Server::start_as_google().await;
    for (url, settings) in
        [("s3://backup/docs", s3.settings()), ("gs://backup/docs", google.settings_of_google())]
    {
        let store = CheckpointStore::open(url, settings).unwrap();
        let reason = "NoSuchBucket";
        names_the_place(&store.manifest().await.unwrap_err(), url, reason);
        names_the_place(&store.children().await.unwrap_err(), url, reason);
        let object = reference("objects/a/000000", &Bytes::new());
        names_the_place(&store.get(&object).await.unwrap_err(), url, reason);
        names_the_place(&store.put(&object.name, Bytes::new()).await.unwrap_err(), url, reason);
        names_the_place(&store.remove(&[object.name]).await.unwrap_err(), url, reason);
        let first = empty().with(checkpoint(1)).unwrap();
        let SwapError::Store(swap) = store.swap(None, &first).await.unwrap_err() else {
            panic!("not a lost race");
        };
        names_the_place(&swap, url, reason);
    }
}

#[test]
fn settings_that_cannot_be_read_are_refused_without_their_secrets() {
    let secret = "wrong-secret";
    let quoted = format!("\"{secret}\"");
    for (url, options) in [
        ("gs://backups/docs", pairs(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &quoted)])),
        (
            "az://backups/docs",
            pairs(&[("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", secret)]),
        ),
        (
            "s3://backups/docs",
            pairs(&[("AWS_ALLOW_HTTP", "maybe"), ("AWS_SECRET_ACCESS_KEY", secret)]),
        ),
    ] {
        let refused = CheckpointStore::open(url, options).unwrap_err();
        assert!(matches!(refused, StoreError::Url { .. }), "{refused:?}");
        names_the_place(&refused, url, "");
    }
}
