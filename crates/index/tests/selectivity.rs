//! Filters of every selectivity find what a scan of the matching rows finds, at default settings.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use hvs_geometry::{Geometry, Precision, Space};
use hvs_index::{
    Hit, IndexConfig, IndexKind, KnownKeys, RestartState, SearchAnswer, SearchRequest, VectorIndex,
};
use kit::{Groups, Random, hyperboloid, space};
use roaring::RoaringTreemap;

const K: usize = 10;
const GATE: f64 = 0.95;

struct Filled<'a> {
    space: &'a Space,
    groups: Groups<'a>,
    random: Random,
    index: VectorIndex,
    rows: u64,
    _dir: tempfile::TempDir,
}

impl<'a> Filled<'a> {
    fn new(space: &'a Space, kind: IndexKind, rows: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = IndexConfig { kind, ..IndexConfig::new(space.clone()) };
        let index = VectorIndex::open(dir.path(), config, RestartState::default()).unwrap();
        let mut random = Random(23);
        let groups = Groups::new(space, 300, &mut random);
        for key in 1..=rows {
            let vector = groups.point(&mut random, Precision::F32);
            index.insert(key, &format!("id-{key}"), &vector).unwrap();
        }
        index.flush().unwrap();
        assert_eq!(index.stats().tail, 0);
        Self { space, groups, random, index, rows, _dir: dir }
    }

    fn queries(&mut self, count: usize) -> Vec<Vec<f64>> {
        let mut query =
            || self.space.from_storage(&self.groups.point(&mut self.random, Precision::F32));
        (0..count).map(|_| query()).collect()
    }

    /// The answers of searches, and the middle of how long they took; the second time counts. For
    /// people: no test judges it.
    fn timed(&self, requests: &[SearchRequest<'_>]) -> (Vec<SearchAnswer>, Duration) {
        let mut times = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..2 {
            (times, answers) = (Vec::new(), Vec::new());
            for request in requests {
                let began = Instant::now();
                let answer = self.index.search(request).unwrap();
                times.push(began.elapsed());
                answers.push(answer);
            }
        }
        times.sort_unstable();
        (answers, times[times.len() / 2])
    }

    /// The part of the nearest matches that is found where one key in `every` matches, and how long
    /// it takes, for filters whose keys are known, and for those that are asked about each id.
    fn filtered(&self, every: u64, queries: &[Vec<f64>]) -> [(f64, Duration); 2] {
        let matching: RoaringTreemap = (1..=self.rows).filter(|key| key % every == 0).collect();
        let ids: HashSet<String> = matching.iter().map(|key| format!("id-{key}")).collect();
        let accept = |id: &str| ids.contains(id);
        let none = RoaringTreemap::new();
        let known = KnownKeys { sure: &matching, maybe: &none, below: u64::MAX };
        let wanted = K.min(ids.len());
        let truth: Vec<HashSet<u64>> = queries
            .iter()
            .map(|query| {
                let nearest = SearchRequest::nearest(query, K);
                let exact = SearchRequest { accept: Some(&accept), exact: true, ..nearest };
                let truth = self.index.search(&exact).unwrap();
                assert!(truth.exact);
                assert_eq!(truth.hits.len(), wanted);
                truth.hits.iter().map(|hit| hit.key).collect()
            })
            .collect();
        [Some(known), None].map(|known| {
            let request = |query| {
                let nearest = SearchRequest::nearest(query, K);
                SearchRequest { accept: Some(&accept), known, ..nearest }
            };
            let requests: Vec<SearchRequest<'_>> =
                queries.iter().map(|query| request(query)).collect();
            let (answers, time) = self.timed(&requests);
            let mut found = 0;
            for (answer, truth) in answers.iter().zip(&truth) {
                assert_eq!(answer.hits.len(), wanted, "one in {every}");
                let passes = |hit: &Hit| hit.key.is_multiple_of(every);
                assert!(answer.hits.iter().all(passes), "one in {every}");
                found += answer.hits.iter().filter(|hit| truth.contains(&hit.key)).count();
            }
            (found as f64 / (wanted * queries.len()) as f64, time)
        })
    }
}

fn gate(rows: u64, queries: usize) {
    let mut failed = Vec::new();
    for space in
        [hyperboloid(12), space(Geometry::Euclidean, 24, 0.0), space(Geometry::Spherical, 15, 1.0)]
    {
        for kind in [IndexKind::default(), IndexKind::Ivf { nlist: None, nprobe: None }] {
            let mut filled = Filled::new(&space, kind, rows);
            let queries = filled.queries(queries);
            let plain: Vec<SearchRequest<'_>> =
                queries.iter().map(|query| SearchRequest::nearest(query, K)).collect();
            let (_, plain) = filled.timed(&plain);
            for every in [2, 10, 100, 10_000] {
                let [known, asked] = filled.filtered(every, &queries);
                let line = format!(
                    "{space}, {kind:?}, one in {every}: recall {:.4} in {:?}, unknown {:.4} in {:?}, unfiltered {plain:?}",
                    known.0, known.1, asked.0, asked.1
                );
                eprintln!("{line}");
                if known.0.min(asked.0) < GATE {
                    failed.push(line);
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn recall_behind_filters() {
    gate(20_000, 50);
}

#[test]
#[ignore = "full: a hundred thousand rows in each space and type of index"]
fn recall_behind_filters_with_a_hundred_thousand_rows() {
    gate(100_000, 200);
}
