//! What a manifest takes, what it refuses, and that no damage of it goes unseen.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use hvs_checkpoint::{
    AddError, Chain, ChainError, Checkpoint, CheckpointStore, DamagedManifest, Hash, Link,
    MAX_LINKS, Manifest, ObjectRef, Row, ShardPart, Sizes, StoreError,
    conformance::{checkpoint, write_link},
};
use uuid::Uuid;

const UID: Uuid = Uuid::from_u128(1);
const SHARD: Uuid = Uuid::from_u128(2);

fn object(name: &str, bytes: u64) -> ObjectRef {
    ObjectRef { name: format!("objects/{name}"), bytes, rows: 1, hash: Hash::default() }
}

fn base(seq: u64, objects: &[(&str, u64)]) -> Link {
    let objects = objects.iter().map(|(name, bytes)| object(name, *bytes)).collect();
    Link { seq, since: None, objects }
}

fn delta(since: u64, seq: u64, objects: &[(&str, u64)]) -> Link {
    Link { since: Some(since), ..base(seq, objects) }
}

fn at(seq: u64, links: Vec<Link>) -> Checkpoint {
    checkpoint(SHARD, seq, links)
}

#[test]
fn a_checkpoint_must_raise_seq_and_no_epoch_may_fall() {
    let empty = Manifest::new("docs", UID);
    let first = empty.with(at(5, vec![base(5, &[])])).unwrap();
    assert_eq!((first.generation, first.checkpoints[0].id, first.next_id), (1, 1, 2));
    let two_shards = |seqs: [(u64, u64); 2]| {
        let mut both = at(seqs[0].0, vec![base(seqs[0].0, &[])]);
        let mut other = both.shards[0].clone();
        other.uid = Uuid::from_u128(3);
        both.shards.push(other);
        for (part, (seq, epoch)) in both.shards.iter_mut().zip(seqs) {
            part.seq = seq;
            part.links[0].seq = seq;
            part.epoch = epoch;
        }
        both
    };
    assert_eq!(first.with(two_shards([(9, 1), (9, 1)])), Err(AddError::OtherShards { newest: 1 }));
    let first = empty.with(two_shards([(5, 2), (7, 2)])).unwrap();
    for refused in [[(5, 2), (7, 2)], [(4, 2), (9, 2)], [(9, 2), (6, 2)], [(9, 1), (9, 2)]] {
        let outcome = first.with(two_shards(refused));
        assert!(matches!(outcome, Err(AddError::NotRaised { .. })), "{refused:?}");
    }
    for taken in [[(6, 2), (7, 2)], [(5, 2), (8, 2)], [(5, 2), (8, 3)]] {
        assert!(first.with(two_shards(taken)).is_ok(), "{taken:?}");
    }
}

#[test]
fn a_chain_is_a_base_with_deltas_in_order_within_its_folder() {
    let refused = |seq, links| {
        let outcome = Manifest::new("docs", UID).with(at(seq, links));
        assert!(matches!(outcome, Err(AddError::Chain { shard: 0, .. })), "{outcome:?}");
    };
    refused(5, vec![]);
    refused(5, vec![delta(0, 5, &[])]);
    refused(5, vec![base(4, &[])]);
    refused(5, vec![base(4, &[]), delta(3, 5, &[])]);
    refused(5, vec![base(4, &[]), base(5, &[])]);
    let long = |links: u64| -> Vec<Link> {
        [base(0, &[])].into_iter().chain((1..links).map(|n| delta(n - 1, n, &[]))).collect()
    };
    let most = MAX_LINKS as u64;
    Manifest::new("docs", UID).with(at(most - 1, long(most))).unwrap();
    refused(most, long(most + 1));
    for name in ["../secret", "a/../b", "", "a//b", "a.b", "/a", "ä"] {
        refused(5, vec![base(5, &[(name, 1)])]);
    }
}

#[test]
fn a_new_base_is_due_when_deltas_outgrow_half_of_the_old_one() {
    let room = |links: Vec<Link>| {
        let part = ShardPart { links, ..at(1, vec![]).shards[0].clone() };
        part.room_for_delta()
    };
    assert_eq!(room(vec![base(1, &[("a", 60), ("b", 40)])]), Some(50));
    assert_eq!(room(vec![base(1, &[("a", 100)]), delta(1, 2, &[("c", 49)])]), Some(1));
    assert_eq!(room(vec![base(1, &[("a", 100)]), delta(1, 2, &[("c", 50)])]), None);
    assert_eq!(room(vec![base(1, &[("a", 100)]), delta(1, 2, &[("c", 51)])]), None);
    assert_eq!(room(vec![]), None);
    let many = (0..MAX_LINKS).map(|_| base(1, &[("a", 100)]));
    assert_eq!(room(many.collect()), None);
}

#[test]
fn removal_frees_what_nothing_else_needs() {
    let first = vec![base(1, &[("a", 9)])];
    let second = vec![base(1, &[("a", 9)]), delta(1, 2, &[("b", 1)])];
    let manifest = Manifest::new("docs", UID);
    let manifest = manifest.with(at(1, first)).unwrap().with(at(2, second)).unwrap();
    assert!(manifest.without(3).is_none());
    let (without_first, gone) = manifest.without(1).unwrap();
    assert!(gone.is_empty());
    let (without_second, gone) = manifest.without(2).unwrap();
    assert_eq!(gone, ["objects/b"]);
    assert_eq!(without_first.without(2).unwrap().1, ["objects/a", "objects/b"]);
    assert_eq!(without_second.with(at(5, vec![base(5, &[])])).unwrap().checkpoints[1].id, 3);
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_manifest_is_found() {
    let manifest = Manifest::new("docs", UID).with(at(5, vec![base(5, &[("a", 9)])])).unwrap();
    let bytes = manifest.encode();
    assert_eq!(Manifest::decode(&bytes), Ok(manifest));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..length]).is_err(), "length {length}");
    }
    let mut later = bytes;
    later[4] = 2;
    assert_eq!(Manifest::decode(&later), Err(DamagedManifest::Version { found: 2 }));
}

/// As above for what a checkpoint is made of, through the place that it is in: whatever is wrong
/// with a file, the error names it.
#[tokio::test(flavor = "multi_thread")]
async fn damage_at_rest_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(folder.path().to_str().unwrap(), []).unwrap();
    let keys: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; 4]).collect();
    let rows: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &key[..3])).collect();
    let sizes = Sizes { chunk: 64, object: 1 << 20, level: 1 };
    let links = [
        write_link(&store, "base", None, 1, &rows, sizes).await,
        write_link(&store, "delta", Some(1), 2, &rows[..9], sizes).await,
    ];
    let manifest = Manifest::new("docs", UID).with(at(2, links.to_vec())).unwrap();
    store.swap(None, &manifest).await.unwrap();
    let read = async || -> Result<(), String> {
        let loaded = store.manifest().await.map_err(|error| error.to_string())?.unwrap();
        for link in &loaded.manifest.checkpoints[0].shards[0].links {
            for object in &link.objects {
                store.get(object).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    };
    for name in ["objects/base/000000", "objects/delta/000000", "manifest"] {
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        let flips = (0..whole.len() * 8).step_by(7).map(|bit| {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged
        });
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        let longer = [&whole[..], b"x"].concat();
        for damaged in flips.chain(cuts).chain([longer]) {
            std::fs::write(&path, damaged).unwrap();
            let error = read().await.unwrap_err();
            assert!(error.contains(name) && error.contains("damaged"), "{error}");
        }
        std::fs::write(&path, whole).unwrap();
        read().await.unwrap();
    }
    std::fs::remove_file(folder.path().join("objects/delta/000000")).unwrap();
    let error = read().await.unwrap_err();
    assert!(error.contains("objects/delta/000000 is missing"), "{error}");
}

/// A writer that was wrong gives right hashes to wrong objects.
#[tokio::test]
async fn a_chain_says_which_object_does_not_fit() {
    let store = hvs_checkpoint::conformance::in_memory();
    let sizes = Sizes::default();
    let mut link = write_link(&store, "a", None, 1, &[(b"b", b"")], sizes).await;
    let early = write_link(&store, "b", None, 1, &[(b"a", b"")], sizes).await;
    let mut fetched = std::collections::HashMap::new();
    for object in link.objects.iter().chain(&early.objects) {
        fetched.insert(object.name.clone(), store.get(object).await.unwrap());
    }
    let read = |links: &[Link]| -> Result<Vec<Row>, ChainError> {
        Chain::new(links, |object: &ObjectRef| -> Result<_, ChainError> {
            Ok(fetched[&object.name].clone())
        })
        .collect()
    };
    link.objects.extend(early.objects);
    let error = read(std::slice::from_ref(&link)).unwrap_err();
    assert!(
        matches!(error, ChainError::Object { ref name, .. } if name.contains("/b/")),
        "{error}"
    );
    link.objects.truncate(1);
    link.objects[0].rows = 2;
    let error = read(std::slice::from_ref(&link)).unwrap_err();
    assert!(
        matches!(error, ChainError::Object { ref name, .. } if name.contains("/a/")),
        "{error}"
    );
    let failing = |_: &ObjectRef| Err(ChainError::Store(StoreError::Missing { name: "x".into() }));
    assert!(Chain::new(&[link], failing).next().unwrap().is_err());
}
