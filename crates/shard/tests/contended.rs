//! Searches while what they find is written: never fewer than k while k records are there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use hvs_filter::{Filter as Condition, FilterLimits};
use hvs_geometry::{Geometry, Space};
use hvs_shard::{
    Durability, NewRecord, Operation, SearchAnswer, SearchRequest, Shard, WriteRequest,
};
use serde_json::json;
use support::{DIMENSION, Home, lift, write};

const STEADY: usize = 20;
const SEARCHES: usize = 1_500;

/// A record that every filter of these tests lets through, somewhere near the origin.
fn record(id: usize, round: usize) -> NewRecord {
    let angle = (id * 7 + round * 13) as f64 / 10.0;
    let mut record = NewRecord::new(format!("r{id:02}"), lift([angle.sin(), angle.cos(), 0.1]));
    record.metadata.insert("kept".to_owned(), json!(true));
    record.metadata.insert("round".to_owned(), json!(round));
    record
}

fn request(operations: Vec<Operation>) -> WriteRequest {
    WriteRequest {
        operations,
        durability: Durability::Buffered,
        atomic: false,
        idempotency_key: None,
    }
}

fn puts(ids: impl Iterator<Item = usize>, round: usize) -> WriteRequest {
    let put = |id| Operation::Put { record: record(id, round), condition: None };
    request(ids.map(put).collect())
}

/// Searches until it has done so often enough, while `change` writes round after round.
fn while_writing(shard: &Shard, change: impl Fn(usize) + Sync, check: impl Fn(&SearchAnswer)) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                change(round);
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        // Also when a check fails, else the writer would go on for ever.
        let done = Done(&is_done);
        for number in 0..SEARCHES {
            let mut search = SearchRequest::nearest(lift([0.0; DIMENSION]), STEADY);
            search.with_records = true;
            search.exact = number % 2 == 0;
            if number % 3 == 0 {
                let kept = json!({"kept": true});
                let limits = FilterLimits::default();
                let condition = Condition::parse(kept.as_object().unwrap(), &limits).unwrap();
                search.filter = Some(condition.into());
            }
            check(&shard.search(&search).unwrap());
        }
        drop(done);
    });
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check_hits(answer: &SearchAnswer, space: &Space) {
    let mut ids = BTreeSet::new();
    let mut last = 0.0;
    for hit in &answer.hits {
        let record = hit.record.as_ref().unwrap();
        assert_eq!(record.id, hit.id);
        assert!(ids.insert(&hit.id), "{} twice", hit.id);
        let distance = space.distance(&lift([0.0; DIMENSION]), &record.vectors[""]).unwrap();
        assert!((distance - hit.distance).abs() < 1e-5, "{distance} and {}", hit.distance);
        assert!(hit.distance >= last, "not in order");
        last = hit.distance;
    }
}

#[test]
fn all_are_found_while_all_are_put_again() {
    let home = Home::new();
    let shard = home.open();
    let space = Space::new(Geometry::Hyperboloid, DIMENSION, -1.0).unwrap();
    write(&shard, puts(0..STEADY, 0)).unwrap();
    let put_again = |round| drop(write(&shard, puts(0..STEADY, round)).unwrap());
    while_writing(&shard, put_again, |answer| {
        check_hits(answer, &space);
        assert_eq!(answer.hits.len(), STEADY, "exact: {}", answer.exact);
    });
}

#[test]
fn others_take_the_place_of_what_is_deleted() {
    let home = Home::new();
    let shard = home.open();
    let space = Space::new(Geometry::Hyperboloid, DIMENSION, -1.0).unwrap();
    let passing = STEADY..STEADY * 3;
    write(&shard, puts(0..STEADY * 3, 0)).unwrap();
    let come_and_go = |round| {
        if round % 2 == 0 {
            write(&shard, puts(passing.clone(), round)).unwrap();
            return;
        }
        let delete = |id| Operation::Delete { id: format!("r{id:02}"), condition: None };
        write(&shard, request(passing.clone().map(delete).collect())).unwrap();
    };
    while_writing(&shard, come_and_go, |answer| {
        check_hits(answer, &space);
        assert_eq!(answer.hits.len(), STEADY, "exact: {}", answer.exact);
    });
}
