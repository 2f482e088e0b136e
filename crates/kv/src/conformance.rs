//! What every backend must do, as one suite: call [`run`] from the backend's tests, inside a
//! multi-threaded tokio runtime. It panics at the first difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test suite fails by panicking"
)]

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    CompareAndSwap, Durability, Kv, KvError, MAX_KEY_BYTES, MAX_VALUE_BYTES, PutIfAbsent, ScanLimit,
};

/// How the suite gets at a backend.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the same store again. Every handle from before has been dropped.
    async fn open(&self) -> Arc<dyn Kv>;
}

/// Runs everything below keys that start with `prefix`, which must be unused.
///
/// # Panics
/// The backend does something else.
pub async fn run(fixture: &dyn Fixture, prefix: &str) {
    let unknown = run_with_faults(fixture, prefix).await;
    assert_eq!(unknown, 0, "writes with an unknown outcome, on a store without faults");
}

/// As [`run`], on a store that fails now and then. What can be repeated must succeed all the same;
/// only a compare-and-swap may say that its outcome is unknown. Gives back how many did.
///
/// # Panics
/// The backend does something else.
pub async fn run_with_faults(fixture: &dyn Fixture, prefix: &str) -> u64 {
    let kv = fixture.open().await;
    let keys = Keys(prefix.to_owned());
    absent_keys_are_absent(&*kv, &keys).await;
    put_if_absent_keeps_the_first(&*kv, &keys).await;
    compare_and_swap_needs_the_exact_value(&*kv, &keys).await;
    empty_values_are_values(&*kv, &keys).await;
    scans_are_in_byte_order_within_the_range(&*kv, &keys).await;
    scans_page_by_count_and_by_bytes(&*kv, &keys).await;
    deletes_are_idempotent_and_ranges_exclude_the_end(&*kv, &keys).await;
    limits_are_the_same_everywhere(&*kv, &keys).await;
    one_of_many_wins_a_slot(&kv, &keys).await;
    let unknown = increments_by_compare_and_swap_lose_nothing(&kv, &keys).await;
    drop(kv);
    writes_survive_reopening(fixture, &keys).await;
    unknown
}

struct Keys(String);

impl Keys {
    fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [self.0.as_bytes(), b"/", name.as_ref()].concat()
    }
}

async fn absent_keys_are_absent(kv: &dyn Kv, keys: &Keys) {
    assert_eq!(kv.get(&keys.key("absent")).await.unwrap(), None);
    let page = kv.scan(&keys.key(""), &keys.key([0xff]), ScanLimit::default()).await.unwrap();
    assert!(page.pairs.is_empty() && page.next.is_none(), "the prefix is in use");
}

async fn put_if_absent_keeps_the_first(kv: &dyn Kv, keys: &Keys) {
    let key = keys.key("slot");
    let first = kv.put_if_absent(&key, b"first", Durability::Sync).await.unwrap();
    assert_eq!(first, PutIfAbsent::Stored);
    let second = kv.put_if_absent(&key, b"second", Durability::Buffered).await.unwrap();
    assert_eq!(second, PutIfAbsent::Present(b"first".to_vec()));
    assert_eq!(kv.get(&key).await.unwrap().as_deref(), Some(&b"first"[..]));
}

async fn compare_and_swap_needs_the_exact_value(kv: &dyn Kv, keys: &Keys) {
    let key = keys.key("swap");
    let swap = async |expected: Option<&[u8]>, value: &[u8]| {
        kv.compare_and_swap(&key, expected, value, Durability::Sync).await.unwrap()
    };
    assert_eq!(swap(Some(b"a"), b"b").await, CompareAndSwap::Different(None));
    assert_eq!(swap(None, b"a").await, CompareAndSwap::Swapped);
    assert_eq!(swap(None, b"b").await, CompareAndSwap::Different(Some(b"a".to_vec())));
    assert_eq!(swap(Some(b""), b"b").await, CompareAndSwap::Different(Some(b"a".to_vec())));
    assert_eq!(swap(Some(b"a "), b"b").await, CompareAndSwap::Different(Some(b"a".to_vec())));
    assert_eq!(swap(Some(b"a"), b"b").await, CompareAndSwap::Swapped);
    assert_eq!(kv.get(&key).await.unwrap().as_deref(), Some(&b"b"[..]));
    kv.delete(&key, Durability::Sync).await.unwrap();
    assert_eq!(swap(None, b"c").await, CompareAndSwap::Swapped);
}

async fn empty_values_are_values(kv: &dyn Kv, keys: &Keys) {
    let key = keys.key("empty");
    let put = kv.put_if_absent(&key, b"", Durability::Buffered).await.unwrap();
    assert_eq!(put, PutIfAbsent::Stored);
    assert_eq!(kv.get(&key).await.unwrap(), Some(Vec::new()));
    let absent = kv.compare_and_swap(&key, None, b"x", Durability::Buffered).await.unwrap();
    assert_eq!(absent, CompareAndSwap::Different(Some(Vec::new())));
    let empty = kv.compare_and_swap(&key, Some(b""), b"x", Durability::Buffered).await.unwrap();
    assert_eq!(empty, CompareAndSwap::Swapped);
}

async fn scans_are_in_byte_order_within_the_range(kv: &dyn Kv, keys: &Keys) {
    let names: [&[u8]; 6] = [b"", b"\x00", b"a", b"a\x00", b"b", b"\xff"];
    for name in names.iter().rev() {
        let key = keys.key([b"scan/", *name].concat());
        kv.put_if_absent(&key, name, Durability::Buffered).await.unwrap();
    }
    let values = async |start: &[u8], end: &[u8]| {
        let page = kv
            .scan(
                &keys.key([b"scan/", start].concat()),
                &keys.key([b"scan/", end].concat()),
                ScanLimit::default(),
            )
            .await
            .unwrap();
        assert_eq!(page.next, None);
        page.pairs.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(values(b"", b"\xff\xff").await, names);
    assert_eq!(values(b"\x00", b"b").await, [&b"\x00"[..], b"a", b"a\x00"]);
    assert_eq!(values(b"a\x00\x00", b"b").await, Vec::<Vec<u8>>::new());
    assert_eq!(values(b"b", b"a").await, Vec::<Vec<u8>>::new());
    assert_eq!(values(b"a", b"a").await, Vec::<Vec<u8>>::new());
}

async fn scans_page_by_count_and_by_bytes(kv: &dyn Kv, keys: &Keys) {
    let value = vec![7; 1000];
    let wanted: Vec<Vec<u8>> = (0_u16..50)
        .map(|number| keys.key([b"page/", &number.to_be_bytes()[..]].concat()))
        .collect();
    for key in &wanted {
        kv.put_if_absent(key, &value, Durability::Buffered).await.unwrap();
    }
    let (start, end) = (keys.key("page/"), keys.key("page0"));
    // A pair has a little over 1,000 bytes, so that the third one passes 2,500.
    let limits = [
        (ScanLimit { pairs: 7, bytes: usize::MAX }, 7),
        (ScanLimit { pairs: usize::MAX, bytes: 2500 }, 3),
        (ScanLimit { pairs: 0, bytes: 0 }, 1),
        (ScanLimit { pairs: 50, bytes: usize::MAX }, 50),
    ];
    for (limit, page_length) in limits {
        let mut found = Vec::new();
        let mut next = Some(start.clone());
        while let Some(from) = next {
            let page = kv.scan(&from, &end, limit).await.unwrap();
            if page.next.is_some() {
                assert_eq!(page.pairs.len(), page_length, "{limit:?}");
            }
            assert!(page.pairs.len() <= page_length, "{limit:?}");
            assert!(page.pairs.iter().all(|(_, found)| *found == value));
            found.extend(page.pairs.into_iter().map(|(key, _)| key));
            next = page.next;
        }
        assert_eq!(found, wanted, "{limit:?}");
    }
}

async fn deletes_are_idempotent_and_ranges_exclude_the_end(kv: &dyn Kv, keys: &Keys) {
    for name in ["d/1", "d/2", "d/3"] {
        kv.put_if_absent(&keys.key(name), b"x", Durability::Buffered).await.unwrap();
    }
    kv.delete(&keys.key("d/2"), Durability::Sync).await.unwrap();
    kv.delete(&keys.key("d/2"), Durability::Buffered).await.unwrap();
    assert_eq!(kv.get(&keys.key("d/2")).await.unwrap(), None);
    kv.delete_range(&keys.key("d/"), &keys.key("d/3")).await.unwrap();
    kv.delete_range(&keys.key("d/"), &keys.key("d/3")).await.unwrap();
    kv.delete_range(&keys.key("d/3"), &keys.key("d/")).await.unwrap();
    assert_eq!(kv.get(&keys.key("d/1")).await.unwrap(), None);
    assert_eq!(kv.get(&keys.key("d/3")).await.unwrap().as_deref(), Some(&b"x"[..]));
    for number in 0_u16..3000 {
        let key = keys.key([b"many/", &number.to_be_bytes()[..]].concat());
        kv.put_if_absent(&key, b"x", Durability::Buffered).await.unwrap();
    }
    kv.delete_range(&keys.key("many/"), &keys.key("many0")).await.unwrap();
    let page = kv.scan(&keys.key("many/"), &keys.key("many0"), ScanLimit::default()).await.unwrap();
    assert!(page.pairs.is_empty() && page.next.is_none());
}

async fn limits_are_the_same_everywhere(kv: &dyn Kv, keys: &Keys) {
    let long_key = vec![b'k'; MAX_KEY_BYTES + 1];
    let refused = kv.get(&long_key).await;
    assert!(matches!(refused, Err(KvError::KeyTooLong { bytes }) if bytes == MAX_KEY_BYTES + 1));
    let key = keys.key("long");
    let long_value = vec![1; MAX_VALUE_BYTES + 1];
    let refused = kv.put_if_absent(&key, &long_value, Durability::Buffered).await;
    assert!(matches!(refused, Err(KvError::ValueTooLong { .. })));
    let refused = kv.compare_and_swap(&key, None, &long_value, Durability::Buffered).await;
    assert!(matches!(refused, Err(KvError::ValueTooLong { .. })));
    assert_eq!(kv.get(&key).await.unwrap(), None);
    // What a log entry may have at most must fit.
    let largest_entry = vec![2; 2 << 20];
    kv.put_if_absent(&key, &largest_entry, Durability::Sync).await.unwrap();
    assert_eq!(kv.get(&key).await.unwrap(), Some(largest_entry));
}

async fn one_of_many_wins_a_slot(kv: &Arc<dyn Kv>, keys: &Keys) {
    for round in 0..20 {
        let key = keys.key(format!("race/{round}"));
        let racers: Vec<_> = (0_u8..8)
            .map(|racer| {
                let (kv, key) = (Arc::clone(kv), key.clone());
                tokio::spawn(async move {
                    kv.put_if_absent(&key, &[racer], Durability::Buffered).await.unwrap()
                })
            })
            .collect();
        let mut winners = Vec::new();
        let mut seen = Vec::new();
        for (racer, task) in (0_u8..).zip(racers) {
            match task.await.unwrap() {
                PutIfAbsent::Stored => winners.push(racer),
                PutIfAbsent::Present(value) => seen.extend(value),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?} all won");
        assert!(seen.iter().all(|racer| winners.contains(racer)), "a loser saw another value");
        assert_eq!(kv.get(&key).await.unwrap(), Some(winners));
    }
}

/// Gives back how many increments ended with an unknown outcome.
async fn increments_by_compare_and_swap_lose_nothing(kv: &Arc<dyn Kv>, keys: &Keys) -> u64 {
    const TASKS: u64 = 4;
    const INCREMENTS: u64 = 50;
    let key = keys.key("counter");
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (kv, key) = (Arc::clone(kv), key.clone());
            tokio::spawn(async move {
                let mut unknown = 0;
                for _ in 0..INCREMENTS {
                    unknown += u64::from(!increment(&*kv, &key).await);
                }
                unknown
            })
        })
        .collect();
    let mut unknown = 0;
    for task in tasks {
        unknown += task.await.unwrap();
    }
    let last = kv.get(&key).await.unwrap().map_or(0, |last| number(&last));
    let all = TASKS * INCREMENTS;
    assert!((all - unknown..=all).contains(&last), "{last} of {all}, {unknown} of them unknown");
    unknown
}

/// False: whether it was done is not known.
async fn increment(kv: &dyn Kv, key: &[u8]) -> bool {
    let mut present = kv.get(key).await.unwrap();
    loop {
        let next = (present.as_deref().map_or(0, number) + 1).to_be_bytes();
        match kv.compare_and_swap(key, present.as_deref(), &next, Durability::Buffered).await {
            Ok(CompareAndSwap::Swapped) => return true,
            Ok(CompareAndSwap::Different(found)) => present = found,
            Err(KvError::Backend { .. }) => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

async fn writes_survive_reopening(fixture: &dyn Fixture, keys: &Keys) {
    let kv = fixture.open().await;
    kv.put_if_absent(&keys.key("kept/buffered"), b"b", Durability::Buffered).await.unwrap();
    kv.put_if_absent(&keys.key("kept/sync"), b"s", Durability::Sync).await.unwrap();
    kv.put_if_absent(&keys.key("kept/deleted"), b"d", Durability::Sync).await.unwrap();
    kv.delete(&keys.key("kept/deleted"), Durability::Sync).await.unwrap();
    kv.sync().await.unwrap();
    drop(kv);
    let kv = fixture.open().await;
    let page = kv.scan(&keys.key("kept/"), &keys.key("kept0"), ScanLimit::default()).await.unwrap();
    let values: Vec<Vec<u8>> = page.pairs.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"b", b"s"]);
    let slot = kv.put_if_absent(&keys.key("kept/sync"), b"x", Durability::Sync).await.unwrap();
    assert_eq!(slot, PutIfAbsent::Present(b"s".to_vec()));
}
