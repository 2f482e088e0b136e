//! Random operations on a shard and on a map in memory, which must agree on every answer, while time
//! passes, indexes change, and the shard is opened again and restored elsewhere.
//!
//! A failure prints its seed; `HVS_TEST_SEED=n` runs that one alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod check;
mod compare;
mod filters;
mod operations;
mod reference;
mod run;
mod search;
#[path = "../support/mod.rs"]
mod support;

use run::Run;

/// Operations of a normal run, at least, and of a full one.
const OPERATIONS: usize = 20_000;
const OPERATIONS_IN_FULL: usize = 200_000;
const FIRST_SEED_IN_FULL: u64 = 1_000_000;

#[test]
fn a_shard_answers_like_a_map() {
    run_from(0, OPERATIONS);
}

#[test]
#[ignore = "full: 200,000 operations take minutes"]
fn a_shard_answers_like_a_map_for_long() {
    run_from(FIRST_SEED_IN_FULL, OPERATIONS_IN_FULL);
}

/// Runs seed after seed until so many operations have been carried out.
fn run_from(first: u64, operations: usize) {
    if let Ok(seed) = std::env::var("HVS_TEST_SEED") {
        let seed = seed.parse().unwrap();
        for with_memory in [false, true] {
            Run::new(seed, with_memory).run();
        }
        return;
    }
    let mut done = 0;
    let mut seeds = first..;
    while done < operations {
        let seed = seeds.next().unwrap();
        println!("seed {seed}, after {done} operations");
        for with_memory in [false, true] {
            done += Run::new(seed, with_memory).run();
        }
    }
}
