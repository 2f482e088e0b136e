//! Which documents are found, with which scores and in which order.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::time::{Duration, Instant};

use hvs_text::{SearchError, Statistics, TextRequest};
use kit::{LIMITS, Live, Records, assert_same, bm25, open, query, search, search_with, statistics};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A text of words of which the first are the most frequent.
fn text(random: &mut StdRng, words: usize) -> String {
    let word = |random: &mut StdRng| {
        let (one, other) = (random.random_range(0..60), random.random_range(0..60));
        format!("w{}", one.min(other))
    };
    (0..words).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

fn filled(count: usize, seed: u64) -> (Records, StdRng) {
    let mut random = StdRng::seed_from_u64(seed);
    let records = Records::default();
    for number in 0..count {
        let length = random.random_range(1..120);
        let text = text(&mut random, length);
        let _ = records.put(&format!("id-{number}"), &text);
    }
    (records, random)
}

#[test]
fn scores_are_those_of_the_definition_wherever_documents_lie() {
    let folder = tempfile::tempdir().unwrap();
    // A part from the source, a part that was told and written, a part that is in memory.
    let (records, mut random) = filled(400, 1);
    let index = open(folder.path(), &records);
    for number in 400..600 {
        let text = text(&mut random, 1 + number % 70);
        records.tell(&index, records.put(&format!("id-{number}"), &text));
        if number == 500 {
            index.flush().unwrap();
        }
    }
    let live: Live = records.live.lock().clone();
    for words in ["w0", "w3 w50", "w59 w1 w17 w0 w2", "w0 w0 none", "w58 w59"] {
        for k in [1, 7, 50, 1_000] {
            assert_same(&search(&index, words, k), &bm25(&live, words, k));
        }
        let told = index.statistics(&query(words), None).unwrap();
        assert_eq!(told, statistics(&live, words), "{words}");
    }
    assert!(search(&index, "none", 10).is_empty());
    // Nothing changes when all of it is on disk, not even a bit.
    let before = search(&index, "w3 w50 w0", 600);
    index.flush().unwrap();
    assert_eq!(search(&index, "w3 w50 w0", 600), before);
    assert_eq!(index.stats().pending_bytes, 0);
}

#[test]
fn equal_documents_come_in_the_order_of_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let index = open(folder.path(), &records);
    for number in 0..40 {
        records.tell(&index, records.put(&format!("id-{number}"), "one two three"));
        if number % 9 == 0 {
            index.flush().unwrap();
        }
    }
    for k in [1, 5, 39, 40] {
        let keys: Vec<u64> = search(&index, "three one", k).iter().map(|hit| hit.0).collect();
        assert_eq!(keys, (1..=k as u64).collect::<Vec<_>>());
    }
}

#[test]
fn scores_of_several_indexes_can_be_compared() {
    let (all, _) = filled(300, 3);
    let live: Live = all.live.lock().clone();
    let parts = [Records::default(), Records::default()];
    for (key, record) in &live {
        let part = &parts[usize::from(*key < 50)];
        part.live.lock().insert(*key, record.clone());
        *part.next_key.lock() = key + 1;
    }
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let indexes = [open(folders[0].path(), &parts[0]), open(folders[1].path(), &parts[1])];
    let words = "w2 w40 w55";
    let mut sum = Statistics::default();
    for index in &indexes {
        sum.add(&index.statistics(&query(words), None).unwrap());
    }
    let mut hits: Vec<(u64, f64)> =
        indexes.iter().flat_map(|index| search_with(index, words, 300, &sum)).collect();
    hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    assert_same(&hits, &bm25(&live, words, 300));
}

#[test]
fn no_hit_is_missing_behind_a_filter() {
    let folder = tempfile::tempdir().unwrap();
    let (records, mut random) = filled(1_200, 4);
    let index = open(folder.path(), &records);
    for number in 1_200..1_300 {
        let text = text(&mut random, 20);
        records.tell(&index, records.put(&format!("id-{number}"), &text));
    }
    let live: Live = records.live.lock().clone();
    let words = query("w0 w7");
    let statistics = index.statistics(&words, None).unwrap();
    for (every, known) in [(1, true), (3, true), (200, true), (200, false), (77, false)] {
        let admits = |key: u64| key.is_multiple_of(every);
        let id_admits = |id: &str| {
            let (key, _) = live.iter().find(|(_, record)| record.0 == id).unwrap();
            admits(*key)
        };
        let request = TextRequest {
            query: &words,
            statistics: &statistics,
            k: 10,
            known: &|key| known.then(|| admits(key)),
            accept: &id_admits,
            deadline: None,
        };
        let (hits, scanned) = index.search(&request).unwrap();
        let found: Vec<(u64, f64)> = hits.iter().map(|hit| (hit.key, hit.score)).collect();
        let all = bm25(&live, "w0 w7", 10_000);
        let expected: Vec<_> = all.iter().filter(|hit| admits(hit.0)).take(10).copied().collect();
        assert_same(&found, &expected);
        assert!(hits.iter().all(|hit| live[&hit.key].0 == hit.id));
        assert_eq!(scanned, all.len());
    }
}

#[test]
fn a_deadline_ends_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let (records, _) = filled(300, 5);
    let index = open(folder.path(), &records);
    let words = query("w0");
    let statistics = index.statistics(&words, None).unwrap();
    let mut request = TextRequest {
        query: &words,
        statistics: &statistics,
        k: 10,
        known: &|_| Some(true),
        accept: &|_| true,
        deadline: Some(Instant::now()),
    };
    assert!(matches!(index.search(&request), Err(SearchError::Deadline { .. })));
    request.deadline = Some(Instant::now() + Duration::from_mins(1));
    assert_eq!(index.search(&request).unwrap().0.len(), 10);
}

#[test]
fn any_text_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let index = open(folder.path(), &records);
    let mut random = StdRng::seed_from_u64(6);
    let odd =
        ["\u{0}", "\u{202e}", "🦓", "e\u{301}", "\"", "AND", "*", "(", "~", "\u{ffff}", "ß", "a"];
    let mut draw = |most: usize| -> String {
        let count = random.random_range(0..most);
        (0..count)
            .map(|_| {
                if random.random() {
                    odd[random.random_range(0..odd.len())].to_owned()
                } else {
                    random.random::<char>().to_string()
                }
            })
            .collect()
    };
    for number in 0..300 {
        let text = draw(200);
        records.tell(&index, records.put(&format!("{number}\u{0}"), &text));
    }
    let huge = "x".repeat(100_000);
    records.tell(&index, records.put("huge", &format!("{huge} end")));
    index.flush().unwrap();
    assert_eq!(search(&index, "END", 5).len(), 1);
    for _ in 0..300 {
        if let Ok(words) = hvs_text::TextQuery::new(&draw(60), hvs_text::Language::NONE, LIMITS) {
            let statistics = index.statistics(&words, None).unwrap();
            let request = TextRequest {
                query: &words,
                statistics: &statistics,
                k: 5,
                known: &|_| Some(true),
                accept: &|_| true,
                deadline: None,
            };
            assert!(index.search(&request).unwrap().0.iter().all(|hit| hit.score > 0.0));
        }
    }
}
