//! Measures the ways to carry out a filter in a graph, by the share of rows that pass it.
//!
//! `cargo run --release -p hvs-index --example filtering -- GEOMETRY DIMENSION ROWS [DIR]`

#![allow(clippy::expect_used, reason = "a measurement stops at the first surprise")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use hvs_geometry::{Geometry, Precision};
use hvs_index::{
    Filtering, IndexConfig, KnownKeys, RestartState, SearchAnswer, SearchRequest, VectorIndex,
};
use kit::{Groups, Random, hyperboloid, space};
use roaring::RoaringTreemap;

const QUERIES: usize = 200;
const K: usize = 10;
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let figure = |at: usize, default: usize| {
        arguments.get(at).map_or(default, |text| text.parse().expect("a number"))
    };
    let (dimension, rows) = (figure(1, 12), figure(2, 100_000) as u64);
    let space = match arguments.first().map(String::as_str) {
        Some("euclidean") => space(Geometry::Euclidean, dimension, 0.0),
        _ => hyperboloid(dimension),
    };
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = arguments.get(3).map_or(temporary.path().to_owned(), Into::into);
    let config = IndexConfig::new(space.clone());
    let mut random = Random(23);
    let groups = Groups::new(&space, 300, &mut random);
    if VectorIndex::covered(&dir).expect("a manifest") == 0 {
        let index = VectorIndex::open(&dir, config.clone(), RestartState::default()).expect("open");
        for key in 1..=rows {
            let vector = groups.point(&mut random, Precision::F32);
            index.insert(key, &format!("id-{key}"), &vector).expect("insert");
        }
        index.flush().expect("flush");
    }
    let index = VectorIndex::open(&dir, config, RestartState::default()).expect("open");
    println!("{space}, {rows} rows in {} segments", index.stats().segments);
    let mut random = Random(5);
    let queries: Vec<Vec<f64>> = (0..QUERIES)
        .map(|_| space.from_storage(&groups.point(&mut random, Precision::F32)))
        .collect();
    let plain: Vec<SearchRequest<'_>> =
        queries.iter().map(|query| SearchRequest::nearest(query, K)).collect();
    let (answers, time) = timed(&index, &plain);
    let exact: Vec<SearchRequest<'_>> =
        plain.iter().map(|plain| SearchRequest { exact: true, ..*plain }).collect();
    println!("exact: {:?}", timed(&index, &exact).1);
    println!("unfiltered: {time:?}, {} compared", compared(&answers));
    for every in [2, 3, 5, 10, 15, 20, 30, 50, 100, 200] {
        let matching: RoaringTreemap =
            (1..=rows).filter(|key| mixed(*key).is_multiple_of(every)).collect();
        filtered(&index, &queries, &matching, &format!("one in {every}"));
    }
    // What passes lies apart from the queries: beyond a plane that they are on the other side of.
    let mut random = Random(23);
    let groups = Groups::new(&space, 300, &mut random);
    let side = |stored: &[f64]| stored.first().copied().unwrap_or_default();
    let sides: Vec<f64> =
        (1..=rows).map(|_| side(&groups.point(&mut random, Precision::F32))).collect();
    let mut sorted = sides.clone();
    sorted.sort_by(f64::total_cmp);
    for every in [2, 3, 5, 10, 20] {
        let edge = sorted.get(sorted.len() - sorted.len() / every).copied().unwrap_or_default();
        let matching: RoaringTreemap =
            (1..).zip(&sides).filter(|(_, side)| **side >= edge).map(|(key, _)| key).collect();
        let mut random = Random(5);
        let apart: Vec<Vec<f64>> =
            std::iter::repeat_with(|| groups.point(&mut random, Precision::F32))
                .filter(|stored| side(stored) < edge)
                .map(|stored| space.from_storage(&stored))
                .take(QUERIES)
                .collect();
        filtered(&index, &apart, &matching, &format!("one in {every}, apart"));
    }
}

/// Spreads keys, so that what passes is no pattern.
fn mixed(key: u64) -> u64 {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 30
}

fn filtered(index: &VectorIndex, queries: &[Vec<f64>], matching: &RoaringTreemap, name: &str) {
    let accept = |id: &str| {
        id.strip_prefix("id-")
            .and_then(|id| id.parse().ok())
            .is_some_and(|id| matching.contains(id))
    };
    let none = RoaringTreemap::new();
    let known = KnownKeys { sure: matching, maybe: &none, below: u64::MAX };
    let mut truth: Vec<HashSet<u64>> = Vec::new();
    let ways =
        [Filtering::Matching, Filtering::FilteredGraph, Filtering::OverFetch, Filtering::Cheapest];
    // Last without keys, as where there is no index of the field.
    let ways = ways
        .map(|way| (way, true))
        .into_iter()
        .chain([(Filtering::OverFetch, false), (Filtering::Cheapest, false)]);
    for (filtering, is_known) in ways {
        let requests: Vec<SearchRequest<'_>> = queries
            .iter()
            .map(|query| SearchRequest {
                accept: Some(&accept),
                known: is_known.then_some(known),
                filtering,
                ..SearchRequest::nearest(query, K)
            })
            .collect();
        let (answers, time) = timed(index, &requests);
        let keys = |answer: &SearchAnswer| answer.hits.iter().map(|hit| hit.key).collect();
        if truth.is_empty() {
            truth = answers.iter().map(keys).collect();
        }
        let found: usize = answers
            .iter()
            .zip(&truth)
            .map(|(answer, truth)| truth.intersection(&keys(answer)).count())
            .sum();
        let wanted: usize = truth.iter().map(HashSet::len).sum();
        println!(
            "{name}, {filtering:?}{}: {time:?}, {} compared, recall {:.4}, {}",
            if is_known { "" } else { " unknown" },
            compared(&answers),
            found as f64 / wanted as f64,
            answers.first().map_or("", |answer| answer.strategy.as_str())
        );
    }
}

/// The answers, and the middle of how long they took, each at the best of some rounds: what other
/// programs take away counts for little.
fn timed(index: &VectorIndex, requests: &[SearchRequest<'_>]) -> (Vec<SearchAnswer>, Duration) {
    let mut times = vec![Duration::MAX; requests.len()];
    let mut answers = Vec::new();
    for _ in 0..ROUNDS {
        answers.clear();
        for (request, time) in requests.iter().zip(&mut times) {
            let began = Instant::now();
            let answer = index.search(request).expect("search");
            *time = began.elapsed().min(*time);
            answers.push(answer);
        }
    }
    times.sort_unstable();
    (answers, times.get(requests.len() / 2).copied().unwrap_or_default())
}

fn compared(answers: &[SearchAnswer]) -> usize {
    answers.iter().map(|answer| answer.scanned).sum::<usize>() / answers.len().max(1)
}
