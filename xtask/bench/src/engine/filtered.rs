//! Searches with a filter that one record in a hundred passes, beside the same without.

use anyhow::{Result, ensure};
use hvs_api::{SearchRequest, SearchResponse, Vector};
use hvs_tests::node::Node;
use serde_json::json;
use xtask::report::Measure;

use super::{
    DIMENSION, RADIUS, SEED,
    ingest::{PARTS, Set},
};
use crate::{latency::Latencies, points::Points};

const QUERIES: usize = 1_000;
const K: u64 = 10;

pub(super) fn measure(node: &Node, set: &Set, rows: &mut Vec<Measure>) -> Result<()> {
    let mut connection = node.connect()?;
    let path = format!("{}/search", set.path());
    let queries = Points::in_ball(DIMENSION, RADIUS, QUERIES, SEED + 1);
    let filter = json!({"part": 0}).as_object().cloned();
    let mut medians = Vec::new();
    let mut strategies = Vec::new();
    eprintln!("searches without and with a filter of selectivity 1/{PARTS}");
    // The first round warms.
    for round in 0..2 {
        for filter in [None, filter.clone()] {
            let mut latencies = Latencies::default();
            for query in queries.iter() {
                let request = SearchRequest {
                    vector: Some(Vector(Points::ambient(query))),
                    k: Some(K),
                    filter: filter.clone(),
                    explain: Some(true),
                    cache: Some(false),
                    ..SearchRequest::default()
                };
                let answer: SearchResponse =
                    latencies.time(|| connection.call("POST", &path, &request))?;
                ensure!(answer.hits.len() as u64 == K, "{} hits", answer.hits.len());
                if strategies.len() < 4
                    && let Some(shard) =
                        answer.explain.and_then(|explain| explain.shards.into_iter().next())
                    && !strategies.contains(&shard.strategy)
                {
                    strategies.push(shard.strategy);
                }
            }
            if round > 0 {
                medians.push(latencies.p50());
            }
        }
    }
    if let [plain, filtered] = medians.as_slice() {
        rows.push(
            Measure::at_most("filtered search p50 / unfiltered", filtered / plain, "x", 2.0)
                .against(format!("{filtered:.3} ms / {plain:.3} ms; {}", strategies.join(", "))),
        );
    }
    Ok(())
}
