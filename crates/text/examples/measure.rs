//! How long indexing and searching take: `cargo run --release -p hvs-text --example measure -- N`
//! with N documents of 60 words, drawn as words of a language are (the nth in proportion to 1/n).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an example"
)]

use std::time::Instant;

use hvs_text::{
    Change, Document, FieldPath, Language, Mark, QueryLimits, Source, TextConfig, TextIndex,
    TextQuery, TextRequest, Visit,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const WORDS: f64 = 50_000.0;
const LENGTH: usize = 60;

struct Nothing;

impl Source for Nothing {
    fn visit(&self, _visit: &mut Visit<'_>) -> Result<(), String> {
        Ok(())
    }
}

fn word(random: &mut StdRng) -> String {
    format!("w{:.0}", WORDS.powf(random.random::<f64>()))
}

fn main() {
    let count: u64 = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir().unwrap();
    let config = TextConfig::new(vec![FieldPath::parse("text").unwrap()], Language::NONE);
    let index =
        TextIndex::open(folder.path(), config, Nothing, Mark { next_key: 1, records: 0 }).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let texts: Vec<String> = (0..count)
        .map(|_| (0..LENGTH).map(|_| word(&mut random)).collect::<Vec<_>>().join(" "))
        .collect();
    let started = Instant::now();
    for (key, text) in (1..).zip(texts) {
        let document = Document { key, id: format!("id-{key}"), texts: vec![text] };
        let change = Change { inserts: vec![document], removes: Vec::new() };
        index.apply(change, Mark { next_key: key + 1, records: key });
    }
    index.flush().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} documents in {seconds:.1} s: {:.0} per second", count as f64 / seconds);
    println!("{:?}", index.stats());
    let limits = QueryLimits { bytes: 1_000, words: 100 };
    for words in [1, 3, 10] {
        let mut times = Vec::new();
        let mut scanned = 0;
        for _ in 0..200 {
            let text: Vec<String> = (0..words).map(|_| word(&mut random)).collect();
            let query = TextQuery::new(&text.join(" "), Language::NONE, limits).unwrap();
            let started = Instant::now();
            let statistics = index.statistics(&query, None).unwrap();
            let request = TextRequest {
                query: &query,
                statistics: &statistics,
                k: 10,
                known: &|_| Some(true),
                accept: &|_| true,
                deadline: None,
            };
            scanned += index.search(&request).unwrap().1;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{words} words: median {:.2} ms, 99 % {:.2} ms, {} documents scored on average",
            times[100],
            times[198],
            scanned / 200
        );
    }
}
