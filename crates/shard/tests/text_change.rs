//! An index of text that is added, changed and taken away while the shard is in use, and the text of
//! records in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hvs_filter::FilterLimits;
use hvs_shard::{
    Durability, FieldPath, Filter, Language, Operation, QueryLimits, ReadError, ReindexError,
    Shard, TextAnswer, TextConfig, TextQuery, TextSearch, WriteError, WriteRequest,
};
use serde_json::json;
use support::{Home, record, write};

const WORDS: [&str; 7] = ["ants", "bee", "cat", "dogs", "elk", "fox", "gnu"];

fn config(field: &str, language: &str) -> TextConfig {
    TextConfig::new(vec![FieldPath::parse(field).unwrap()], language.parse().unwrap())
}

fn text(number: usize) -> String {
    let words = (0..=number % 5).map(|n| WORDS[(number * 3 + n * n) % WORDS.len()]);
    words.collect::<Vec<_>>().join(" ")
}

fn put(shard: &Shard, number: usize, durability: Durability) {
    let mut new = record(&format!("id-{number:04}"), u32::try_from(number).unwrap());
    new.metadata.insert("title".to_owned(), text(number).into());
    new.metadata.insert("other".to_owned(), "elk".into());
    let operations = vec![Operation::Put { record: new, condition: None }];
    let request = WriteRequest { operations, durability, ..WriteRequest::default() };
    assert_eq!(write(shard, request).unwrap().durability, durability);
}

fn search(shard: &Shard, text: &str, language: Language) -> Result<TextAnswer, ReadError> {
    search_filtered(shard, text, language, None)
}

fn search_filtered(
    shard: &Shard,
    text: &str,
    language: Language,
    filter: Option<Filter>,
) -> Result<TextAnswer, ReadError> {
    let limits = QueryLimits { bytes: 1_000, words: 10 };
    let query = TextQuery::new(text, language, limits).unwrap();
    let deadline = Some(std::time::Instant::now() + std::time::Duration::from_mins(1));
    let statistics = shard.text_statistics(&query, deadline)?;
    shard.search_text(&TextSearch { query, statistics, k: 10_000, filter, deadline })
}

fn english() -> Language {
    "english".parse().unwrap()
}

fn ids(answer: TextAnswer) -> Vec<String> {
    let mut ids: Vec<String> = answer.hits.into_iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    ids
}

fn with(word: &str, numbers: impl Iterator<Item = usize>) -> Vec<String> {
    let numbers = numbers.filter(|number| text(*number).split(' ').any(|other| other == word));
    numbers.map(|number| format!("id-{number:04}")).collect()
}

fn folders(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.shard_path().join("index")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("text")).collect();
    names.sort_unstable();
    names
}

#[test]
fn it_is_added_while_records_are_written() {
    let mut home = Home::new();
    let shard = home.open();
    for number in 0..400 {
        put(&shard, number, Durability::Buffered);
    }
    for number in 900..950 {
        put(&shard, number, Durability::Memory);
    }
    assert!(matches!(search(&shard, "bee", Language::NONE), Err(ReadError::NoText)));
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(400));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 400..900 {
                put(&shard, number, Durability::Buffered);
                // Replaced while they may be met.
                put(&shard, number - 400, Durability::Buffered);
                written.store(number + 1, Ordering::Release);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let change = shard.change_text(config("title", "none"), 1).unwrap();
        let again = shard.change_text(config("title", "none"), 2);
        assert!(matches!(again, Err(ReindexError::Text { .. })));
        change.switch().remove().unwrap();
        // From here on it answers, as soon as it is complete.
        let before = written.load(Ordering::Acquire);
        let found = ids(search(&shard, "bee", Language::NONE).unwrap());
        let expected = with("bee", (0..before).chain(900..950));
        assert!(expected.iter().all(|id| found.contains(id)), "{before}");
        shard.wait_for_text(&|_| true).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    let all = written.load(Ordering::Acquire);
    for word in ["bee", "elk", "gnu"] {
        let found = ids(search(&shard, word, Language::NONE).unwrap());
        assert_eq!(found, with(word, (0..all).chain(900..950)), "{word}");
    }
    let documents = shard.stats().text.unwrap().documents;
    // Those are counted as well that were replaced and are still on the disk.
    assert!(documents >= all as u64 + 50, "{documents}");
    drop(shard);

    // The configuration says which one it is.
    home.config.text = Some(config("title", "none"));
    home.config.text_generation = 1;
    let shard = home.open();
    assert_eq!(ids(search(&shard, "bee", Language::NONE).unwrap()), with("bee", 0..all));
    assert_eq!(shard.stats().text.unwrap().read, 0, "it was not kept");
    shard.drop_text().unwrap().remove().unwrap();
    assert!(matches!(search(&shard, "bee", Language::NONE), Err(ReadError::NoText)));
    assert!(folders(&home).is_empty());
}

#[test]
fn it_is_changed_beside_the_one_that_answers() {
    let mut home = Home::new();
    home.config.text = Some(config("title", "none"));
    let shard = home.open();
    for number in 0..300 {
        put(&shard, number, if number % 10 == 0 { Durability::Memory } else { Durability::Sync });
    }
    let change = shard.change_text(config("title", "english"), 1).unwrap();
    change.wait(&|_| true).unwrap();
    put(&shard, 300, Durability::Buffered);
    assert!(ids(search(&shard, "ant", Language::NONE).unwrap()).is_empty());
    let replaced = change.switch();
    // Nobody is answered whose words are those of the other.
    let stale = search(&shard, "ants", Language::NONE);
    assert!(matches!(stale, Err(ReadError::TextBuilding)), "{stale:?}");
    assert_eq!(ids(search(&shard, "ant", english()).unwrap()), with("ants", 0..301));
    replaced.remove().unwrap();
    assert_eq!(folders(&home), ["text-1"]);

    // One that is given up leaves nothing.
    let change = shard.change_text(config("other", "english"), 2).unwrap();
    let cancelled = change.wait(&|_| false);
    assert!(matches!(cancelled, Err(ReindexError::Cancelled)));
    drop(change);
    assert_eq!(folders(&home), ["text-1"]);
    assert_eq!(ids(search(&shard, "ant", english()).unwrap()), with("ants", 0..301));
    let old = shard.change_text(config("other", "english"), 1);
    assert!(matches!(old, Err(ReindexError::Text { .. })));
}

#[test]
fn what_a_crash_leaves_of_a_change_is_removed() {
    let mut home = Home::new();
    home.config.text = Some(config("title", "none"));
    let shard = home.open();
    for number in 0..50 {
        put(&shard, number, Durability::Buffered);
    }
    let change = shard.change_text(config("title", "english"), 1).unwrap();
    change.wait(&|_| true).unwrap();
    // As a crash does, it tells nobody.
    std::mem::forget(change);
    assert_eq!(folders(&home), ["text", "text-1"]);
    shard.close().unwrap();
    // Not even the handle is gone: what is on the disk is opened elsewhere.
    let copy = Home::new();
    support::copy(&home.path().join("shard"), &copy.shard_path());
    support::copy(&home.path().join("kv"), &copy.path().join("kv"));
    let mut config_of_copy = home.config.clone();
    for (with_text, expected) in [(true, vec!["text"]), (false, vec![])] {
        if !with_text {
            config_of_copy.text = None;
        }
        let shard = Shard::open(config_of_copy.clone(), copy.kv(), &copy.shard_path()).unwrap();
        assert_eq!(folders(&copy), expected);
        let found = search(&shard, "bee", Language::NONE);
        assert_eq!(found.is_ok(), with_text);
    }
}

#[test]
fn text_in_memory_is_scored_as_if_it_were_logged() {
    let mut home = Home::new();
    home.config.text = Some(config("title", "english"));
    let (mixed, logged) = (home.open(), Home::new());
    let logged = {
        let mut other = logged;
        other.config.text = home.config.text.clone();
        (other.open(), other)
    };
    for number in 0..120 {
        let durability = if number % 3 == 0 { Durability::Memory } else { Durability::Buffered };
        put(&mixed, number, durability);
        put(&logged.0, number, Durability::Buffered);
    }
    let even = json!({"number": {"$in": (0..120).step_by(2).collect::<Vec<_>>()}});
    let limits = FilterLimits::default();
    let even: Filter =
        hvs_filter::Filter::parse(even.as_object().unwrap(), &limits).unwrap().into();
    let by_score = |answer: TextAnswer| {
        let mut hits: Vec<_> =
            answer.hits.into_iter().map(|hit| (hit.score.to_bits(), hit.id)).collect();
        hits.sort_unstable();
        hits
    };
    for words in ["ants", "bee cat", "gnu dogs fox"] {
        for filter in [None, Some(even.clone())] {
            let found = search_filtered(&mixed, words, english(), filter.clone()).unwrap();
            let expected = search_filtered(&logged.0, words, english(), filter).unwrap();
            assert_eq!(found.scanned, expected.scanned, "{words}");
            let scores: Vec<f64> = found.hits.iter().map(|hit| hit.score).collect();
            assert!(scores.is_sorted_by(|left, right| left >= right), "{scores:?}");
            assert_eq!(by_score(found), by_score(expected), "{words}");
        }
    }
    assert_eq!(mixed.stats().text.unwrap().documents, 120);
    // What moves to the log is found there, once.
    for number in (0..120).step_by(6) {
        put(&mixed, number, Durability::Buffered);
    }
    let found = search(&mixed, "ants", english()).unwrap();
    let expected = search(&logged.0, "ants", english()).unwrap();
    assert_eq!(ids(found), ids(expected));
    // What is deleted there is not found.
    let delete = vec![Operation::Delete { id: "id-0003".to_owned(), condition: None }];
    let request = WriteRequest {
        operations: delete,
        durability: Durability::Memory,
        ..WriteRequest::default()
    };
    assert_eq!(write(&mixed, request).unwrap().durability, Durability::Memory);
    let left = ids(search(&mixed, &text(3), english()).unwrap());
    assert!(!left.contains(&"id-0003".to_owned()));
}

#[test]
fn the_words_of_what_is_in_memory_count_for_its_limit() {
    let mut home = Home::new();
    let many: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
    let mut new = record("a", 1);
    new.metadata.insert("title".to_owned(), many.join(" ").into());
    let operations = vec![Operation::Put { record: new, condition: None }];
    let request =
        WriteRequest { operations, durability: Durability::Memory, ..WriteRequest::default() };
    home.config.memory_bytes = 6_000;
    let shard = home.open();
    write(&shard, request.clone()).unwrap();
    let without = shard.stats().memory_bytes;
    let change = shard.change_text(config("title", "none"), 1).unwrap();
    change.switch().remove().unwrap();
    assert_eq!(shard.stats().memory_bytes, without + 160 + 1 + 40 * 200);
    shard.drop_text().unwrap().remove().unwrap();
    assert_eq!(shard.stats().memory_bytes, without);
    drop(shard);
    home.config.text = Some(config("title", "none"));
    home.config.text_generation = 2;
    let shard = home.open();
    let refused = write(&shard, request);
    assert!(matches!(refused, Err(WriteError::MemoryFull { .. })), "{refused:?}");
}
