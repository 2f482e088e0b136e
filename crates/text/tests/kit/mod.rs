//! A source in memory, and BM25 straight from its definition.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hvs_text::{
    B, Change, Document, FieldPath, K1, Language, Mark, QueryLimits, Source, Statistics,
    TextConfig, TextIndex, TextQuery, TextRequest, Visit, counted_length,
};
use parking_lot::Mutex;

/// The records as they are, by key: id and text.
pub(crate) type Live = BTreeMap<u64, (String, String)>;

/// What an index is built from, and how often it was asked.
#[derive(Clone, Default)]
pub(crate) struct Records {
    pub(crate) live: Arc<Mutex<Live>>,
    pub(crate) next_key: Arc<Mutex<u64>>,
    pub(crate) visits: Arc<AtomicUsize>,
}

impl Source for Records {
    fn visit(&self, visit: &mut Visit<'_>) -> Result<(), String> {
        self.visits.fetch_add(1, Ordering::Relaxed);
        let live = self.live.lock().clone();
        for (key, (id, text)) in &live {
            let load = || Ok(Document { key: *key, id: id.clone(), texts: vec![text.clone()] });
            if visit(*key, &load)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl Records {
    pub(crate) fn mark(&self) -> Mark {
        Mark { next_key: (*self.next_key.lock()).max(1), records: self.live.lock().len() as u64 }
    }

    /// Puts a record in the place of the one with its id, without telling anybody.
    pub(crate) fn put(&self, id: &str, text: &str) -> Change {
        let mut change = self.delete(id);
        let mut next = self.next_key.lock();
        let key = (*next).max(1);
        *next = key + 1;
        self.live.lock().insert(key, (id.to_owned(), text.to_owned()));
        change.inserts.push(Document { key, id: id.to_owned(), texts: vec![text.to_owned()] });
        change
    }

    pub(crate) fn delete(&self, id: &str) -> Change {
        let mut live = self.live.lock();
        let keys: Vec<u64> =
            live.iter().filter(|(_, (other, _))| other == id).map(|(key, _)| *key).collect();
        for key in &keys {
            live.remove(key);
        }
        Change { inserts: Vec::new(), removes: keys }
    }

    pub(crate) fn tell(&self, index: &TextIndex, change: Change) {
        index.apply(change, self.mark());
    }
}

pub(crate) fn config() -> TextConfig {
    // Only when it is asked for.
    TextConfig {
        commit_every: Duration::from_hours(1),
        ..TextConfig::new(vec![FieldPath::parse("text").unwrap()], Language::NONE)
    }
}

pub(crate) fn open(path: &Path, records: &Records) -> TextIndex {
    TextIndex::open(path, config(), records.clone(), records.mark()).unwrap()
}

pub(crate) const LIMITS: QueryLimits = QueryLimits { bytes: 1_000, words: 100 };

pub(crate) fn query(text: &str) -> TextQuery {
    TextQuery::new(text, Language::NONE, LIMITS).unwrap()
}

/// Keys and scores.
pub(crate) fn search(index: &TextIndex, text: &str, k: usize) -> Vec<(u64, f64)> {
    let statistics = index.statistics(&query(text), None).unwrap();
    search_with(index, text, k, &statistics)
}

pub(crate) fn search_with(
    index: &TextIndex,
    text: &str,
    k: usize,
    statistics: &Statistics,
) -> Vec<(u64, f64)> {
    let request = TextRequest {
        query: &query(text),
        statistics,
        k,
        known: &|_| Some(true),
        accept: &|_| true,
        deadline: None,
    };
    let (hits, _) = index.search(&request).unwrap();
    hits.into_iter().map(|hit| (hit.key, hit.score)).collect()
}

/// Statistics of the documents alone.
pub(crate) fn statistics(live: &Live, text: &str) -> Statistics {
    let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let documents: Vec<_> = live.values().map(|(_, text)| split(text)).collect();
    let with = |word: &String| documents.iter().filter(|words| words.contains(word)).count();
    Statistics {
        documents: documents.len() as u64,
        words: documents.iter().map(|words| words.len() as u64).sum(),
        with_word: query(text).words().iter().map(|word| with(word) as u64).collect(),
    }
}

/// The best by BM25 as its definition has it, of texts whose words are parted by one space.
pub(crate) fn bm25(live: &Live, text: &str, k: usize) -> Vec<(u64, f64)> {
    let documents: Vec<(u64, Vec<&str>)> =
        live.iter().map(|(key, (_, text))| (*key, text.split(' ').collect())).collect();
    let count = documents.len() as f64;
    let mean = documents.iter().map(|(_, words)| words.len() as f64).sum::<f64>() / count;
    let mut scores = Vec::new();
    for (key, words) in &documents {
        let mut score = 0.0;
        for word in query(text).words() {
            let with =
                documents.iter().filter(|(_, words)| words.contains(&word.as_str())).count() as f64;
            let times = words.iter().filter(|other| *other == word).count() as f64;
            let idf = (1.0 + (count - with + 0.5) / (with + 0.5)).ln();
            let length = f64::from(counted_length(u32::try_from(words.len()).unwrap()));
            score += idf * times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length / mean));
        }
        if score > 0.0 {
            scores.push((*key, score));
        }
    }
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scores.truncate(k);
    scores
}

/// Held against each other: the same documents, and scores that differ by rounding alone.
pub(crate) fn assert_same(found: &[(u64, f64)], expected: &[(u64, f64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}\n{expected:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.1 - expected.1).abs() < 1e-12 * expected.1, "{found:?} {expected:?}");
    }
    let sorted = |hits: &[(u64, f64)]| {
        let mut keys: Vec<u64> = hits.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    };
    // The last ones may be equal to others that are left out, but for rounding.
    let last = expected.last().map_or(0.0, |(_, score)| *score) * (1.0 + 1e-12);
    let above =
        |hits: &[(u64, f64)]| hits.iter().filter(|hit| hit.1 > last).copied().collect::<Vec<_>>();
    assert_eq!(sorted(&above(found)), sorted(&above(expected)));
}
