//! Searches WordNet's nouns, embedded in hyperbolic space, by bounds and by a scan.
//!
//! `cargo run --release -p hvs-index --example wordnet -- DATA_NOUN [DIMENSION]`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement stops at the first surprise"
)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::time::{Duration, Instant};

use hvs_geometry::{
    Precision,
    hierarchy::{EmbedOptions, HierarchyBuilder, embed},
};
use hvs_index::{IndexConfig, IndexKind, RestartState, SearchRequest, VectorIndex};
use kit::{Random, hyperboloid, rounded};

const QUERIES: usize = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dimension = arguments.get(1).map_or(10, |text| text.parse().expect("a number"));
    let text = std::fs::read_to_string(arguments.first().expect("a file")).expect("readable");
    let mut builder = HierarchyBuilder::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        let fields: Vec<&str> = line.split(' ').collect();
        builder.node(fields[0]);
        let words = usize::from_str_radix(fields[3], 16).expect("a count");
        let pointers: usize = fields[4 + 2 * words].parse().expect("a count");
        for pointer in 0..pointers {
            let at = 5 + 2 * words + 4 * pointer;
            if fields[at] == "@" || fields[at] == "@i" {
                builder.edge(fields[0], fields[at + 1]);
            }
        }
    }
    let hierarchy = builder.build().expect("a hierarchy");
    for precision in [Precision::F32, Precision::F64] {
        let began = Instant::now();
        let mut options = EmbedOptions::new(dimension);
        options.precision = precision;
        let embedding = embed(&hierarchy, &options).expect("fits");
        println!(
            "{precision}: {} nouns embedded in {:.1} s",
            hierarchy.len(),
            began.elapsed().as_secs_f64()
        );
        measure(&embedding.points, dimension, precision);
    }
}

fn measure(points: &[f64], dimension: usize, precision: Precision) {
    let space = hyperboloid(dimension);
    let open = |kind| {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = IndexConfig::new(space.clone());
        config.kind = kind;
        config.precision = precision;
        config.tail_limit = 1 << 20;
        let index = VectorIndex::open(dir.path(), config, RestartState::default()).expect("open");
        let began = Instant::now();
        for (key, point) in points.chunks_exact(dimension).enumerate() {
            index
                .insert(key as u64 + 1, &format!("id-{key}"), &rounded(point, precision))
                .expect("insert");
        }
        index.flush().expect("flush");
        println!(
            "  {kind:?}: built in {:.1} s, {} segments",
            began.elapsed().as_secs_f64(),
            index.stats().segments
        );
        (index, dir)
    };
    let (flat, _flat_dir) = open(IndexKind::Flat);
    let (geometric, _geometric_dir) = open(IndexKind::Geometric);
    let mut random = Random(5);
    let count = points.len() / dimension;
    // Drawn from the data, and moved by so much in a random direction.
    for perturbation in [0.0, 0.1, 1.0, 4.0] {
        let queries: Vec<Vec<f64>> = (0..QUERIES)
            .map(|_| {
                let row = random.below(count);
                let point = &points[row * dimension..(row + 1) * dimension];
                kit::moved(&space, point, perturbation, &mut random)
            })
            .collect();
        for k in [1, 10, 100] {
            let (mut times, mut scanned, mut same, mut exact) = ([Duration::ZERO; 2], [0; 2], 0, 0);
            for query in &queries {
                let mut ids = Vec::new();
                for (which, index) in [&flat, &geometric].into_iter().enumerate() {
                    let began = Instant::now();
                    let answer = index.search(&SearchRequest::nearest(query, k)).expect("search");
                    times[which] += began.elapsed();
                    scanned[which] += answer.scanned;
                    exact += usize::from(answer.exact);
                    ids.push(answer.hits.iter().map(|hit| hit.key).collect::<Vec<_>>());
                }
                same += usize::from(ids[0] == ids[1]);
            }
            let micros = |at: usize| times[at].as_secs_f64() * 1e6 / QUERIES as f64;
            println!(
                "  moved {perturbation}, k {k}: same ids {same}/{QUERIES}, exact {exact}, flat {:.0} us {} distances, geometric {:.0} us {} distances: 1/{:.1} of the time, 1/{:.1} of the distances",
                micros(0),
                scanned[0] / QUERIES,
                micros(1),
                scanned[1] / QUERIES,
                micros(0) / micros(1),
                scanned[0] as f64 / scanned[1] as f64
            );
        }
    }
}
