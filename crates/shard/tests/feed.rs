//! What those who follow a shard are told, held against what its writers were told.
//!
//! A failure prints its seed; `HVS_TEST_SEED=n` runs that one alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use hvs_shard::{
    Change, ChangeKind, ChangesError, ChangesRequest, Condition, Durability, Etag, Expiry,
    FeedPosition, NewRecord, Operation, Patch, Shard, WriteOutcome, WriteRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod support;
use support::{Home, record, write};

fn request(after: FeedPosition, epoch: Option<u64>, limit: usize) -> ChangesRequest {
    ChangesRequest { after, epoch, limit, max_bytes: 1 << 20, with_records: true }
}

/// A follower that never asks for anything twice.
struct Follower {
    after: FeedPosition,
    epoch: Option<u64>,
    seen: Vec<Change>,
}

impl Follower {
    fn new() -> Self {
        Self { after: FeedPosition::START, epoch: None, seen: Vec::new() }
    }

    /// Reads a page; false if there was nothing.
    fn read(&mut self, shard: &Shard, limit: usize) -> bool {
        let page = shard.changes(&request(self.after, self.epoch, limit)).unwrap();
        assert!(page.changes.len() <= limit);
        let is_something = page.next != self.after;
        (self.after, self.epoch) = (page.next, (page.epoch > 0).then_some(page.epoch));
        self.seen.extend(page.changes);
        is_something
    }
}

/// What a writer was told of a change.
#[derive(Debug, PartialEq)]
struct Told {
    kind: ChangeKind,
    id: String,
    version: u64,
    etag: Etag,
}

fn told(operations: &[Operation], outcomes: &[WriteOutcome]) -> Vec<Told> {
    let each = operations.iter().zip(outcomes);
    each.filter_map(|(operation, outcome)| {
        let (WriteOutcome::Put { etag, version, .. } | WriteOutcome::Deleted { etag, version, .. }) =
            outcome
        else {
            return None;
        };
        let kind = match operation {
            Operation::Put { .. } => ChangeKind::Put,
            Operation::Patch { .. } => ChangeKind::Patch,
            Operation::Delete { .. } => ChangeKind::Delete,
        };
        let id = operation.id().to_owned();
        Some(Told { kind, id, version: *version, etag: *etag })
    })
    .collect()
}

fn operation(rng: &mut StdRng, etags: &[Etag]) -> Operation {
    let id = format!("id-{}", rng.random_range(0..30));
    let condition = match rng.random_range(0..6) {
        0 => Some(Condition::IfAbsent),
        1 => etags.last().map(|etag| Condition::IfMatch(*etag)),
        _ => None,
    };
    match rng.random_range(0..6) {
        0 => Operation::Delete { id, condition },
        1 | 2 => {
            let number = rng.random_range(0..1_000);
            let metadata = [("patched".to_owned(), number.into())].into_iter().collect();
            let patch = Patch { metadata: Some(metadata), ..Patch::default() };
            Operation::Patch { id, patch, condition }
        }
        _ => Operation::Put { record: record(&id, rng.random_range(0..1_000)), condition },
    }
}

/// Every acknowledged change once and in order, whatever a restart, a page or a place does; and
/// with each the record that a read returned right after it.
#[test]
fn followers_see_what_writers_were_told() {
    let seeds = match std::env::var("HVS_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..6).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut home = Home::new();
        home.config.entry_target_bytes = 1 << rng.random_range(8..14);
        let mut shard = home.open();
        let (mut expected, mut etags) = (Vec::new(), Vec::new());
        let mut records = Vec::new();
        let mut followers = [Follower::new(), Follower::new()];
        for _ in 0..150 {
            let count = if rng.random_bool(0.5) { 1 } else { rng.random_range(1..25) };
            let operations: Vec<_> = (0..count).map(|_| operation(&mut rng, &etags)).collect();
            let atomic = rng.random_bool(0.2);
            let request =
                WriteRequest { operations: operations.clone(), atomic, ..WriteRequest::default() };
            // An atomic request that is too large for an entry changes nothing.
            if let Ok(answer) = write(&shard, request) {
                let new = told(&operations, &answer.outcomes);
                etags.extend(new.iter().map(|told| told.etag));
                if let [one] = new.as_slice() {
                    records.push((one.etag, shard.get(&one.id).unwrap()));
                }
                expected.extend(new);
            }
            if rng.random_bool(0.3) {
                followers[0].read(&shard, rng.random_range(1..20));
            }
            if rng.random_bool(0.05) {
                drop(shard);
                shard = home.open();
            }
        }
        for follower in &mut followers {
            while follower.read(&shard, rng.random_range(1..40)) {}
            let seen: Vec<_> = follower
                .seen
                .iter()
                .map(|change| Told {
                    kind: change.kind,
                    id: change.id.clone(),
                    version: change.version,
                    etag: change.etag,
                })
                .collect();
            assert_eq!(seen, expected, "seed {seed}");
            for (etag, record) in &records {
                let change = follower.seen.iter().find(|change| change.etag == *etag).unwrap();
                assert_eq!(change.record, *record, "seed {seed}");
            }
        }
        // From any place on there is the rest, and no more.
        for _ in 0..20 {
            let from = rng.random_range(0..expected.len());
            let etag = expected[from].etag;
            let after = FeedPosition { seq: etag.seq, index: etag.index };
            let page = shard.changes(&request(after, Some(etag.epoch), usize::MAX)).unwrap();
            let rest: Vec<_> = page.changes.iter().map(|change| change.etag).collect();
            let expected: Vec<_> = expected[from + 1..].iter().map(|told| told.etag).collect();
            assert_eq!(rest, expected, "seed {seed}");
        }
    }
}

#[test]
fn expiry_is_a_change_and_memory_is_none() {
    let home = Home::new();
    let shard = home.open();
    let mut lasting = record("lasting", 1);
    lasting.expiry = Some(Expiry::At(1));
    let mut brief = record("brief", 1);
    brief.expiry = Some(Expiry::After(1));
    let in_memory = WriteRequest {
        durability: Durability::Memory,
        ..WriteRequest::put(record("in memory", 1))
    };
    write(&shard, in_memory).unwrap();
    for record in [lasting, brief] {
        write(&shard, WriteRequest::put(record)).unwrap();
    }
    let mut follower = Follower::new();
    let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while follower.seen.iter().filter(|change| change.kind == ChangeKind::Expire).count() < 2 {
        assert!(std::time::Instant::now() < until, "{:?}", follower.seen);
        if !follower.read(&shard, 10) {
            std::thread::yield_now();
        }
    }
    // What had expired when it came was never there.
    assert_eq!(
        (follower.seen[0].id.as_str(), follower.seen[0].kind),
        ("lasting", ChangeKind::Expire)
    );
    assert!(follower.seen.iter().all(|change| change.id != "in memory"));
    let last = follower.seen.last().unwrap();
    assert_eq!(
        (last.id.as_str(), last.kind, last.record.as_ref()),
        ("brief", ChangeKind::Expire, None)
    );
}

#[test]
fn what_is_not_kept_is_said_with_the_oldest_place() {
    let mut home = Home::new();
    home.config.retention.entries = 20;
    let shard = home.open();
    for number in 0..100 {
        write(&shard, WriteRequest::put(record("a", number))).unwrap();
    }
    // Rows go in the writer's own time.
    let begins = shard.changes_begin_after();
    assert!(begins >= 70, "{begins}");
    let error = shard.changes(&request(FeedPosition::after(begins - 1), None, 10)).unwrap_err();
    let ChangesError::Gone { begins, .. } = error else { panic!("{error}") };
    let page = shard.changes(&request(FeedPosition::after(begins), None, 1_000)).unwrap();
    assert_eq!(page.changes.len() as u64, page.newest - begins);
    assert_eq!(page.next, FeedPosition::after(page.newest));
    let newest = page.newest;

    let ahead = shard.changes(&request(FeedPosition::after(newest + 1), None, 10)).unwrap_err();
    assert!(matches!(ahead, ChangesError::Ahead { .. }), "{ahead}");
    let other = shard.changes(&request(FeedPosition::after(newest), Some(99), 10)).unwrap_err();
    assert!(matches!(other, ChangesError::Diverged { found: 1, .. }), "{other}");

    drop(shard);
    let shard = home.open();
    let gone = shard.changes(&request(FeedPosition::after(begins - 1), None, 10)).unwrap_err();
    assert!(matches!(gone, ChangesError::Gone { .. }), "{gone}");
    let page = shard.changes(&request(FeedPosition::after(newest), Some(1), 10)).unwrap();
    assert_eq!((page.changes.len(), page.epoch), (0, 2));
}

/// Small patches of large records make the feed larger than the log.
#[test]
fn the_bytes_of_the_feed_are_bounded_too() {
    let mut home = Home::new();
    home.config.retention.bytes = 200_000;
    let shard = home.open();
    let mut large: NewRecord = record("a", 1);
    large.metadata.insert("padding".into(), "x".repeat(20_000).into());
    write(&shard, WriteRequest::put(large)).unwrap();
    for number in 0..60 {
        let metadata = [("n".to_owned(), number.into())].into_iter().collect();
        let patch = Patch { metadata: Some(metadata), ..Patch::default() };
        let operations = vec![Operation::Patch { id: "a".into(), patch, condition: None }];
        write(&shard, WriteRequest { operations, ..WriteRequest::default() }).unwrap();
    }
    let stats = shard.stats();
    assert_eq!(stats.log_floor, 0);
    let kept = stats.applied_seq - shard.changes_begin_after();
    assert!((5..=14).contains(&kept), "{kept} entries are kept");
    let mut follower = Follower::new();
    follower.after = FeedPosition::after(shard.changes_begin_after());
    while follower.read(&shard, 3) {}
    let last = follower.seen.last().unwrap().record.as_ref().unwrap();
    assert_eq!((&last.metadata["n"], &Some(last.clone())), (&59.into(), &shard.get("a").unwrap()));
}

#[test]
fn followers_are_woken_and_end_with_the_shard() {
    let home = Home::new();
    let shard = home.open();
    let mut newest = shard.follow();
    let seen = *newest.borrow_and_update();
    write(&shard, WriteRequest::put(record("a", 1))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(newest.changed()).unwrap();
    assert!(*newest.borrow_and_update() > seen);
    drop(shard);
    while runtime.block_on(newest.changed()).is_ok() {}
}
