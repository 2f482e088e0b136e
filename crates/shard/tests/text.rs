//! The index of text beside the records: in step through writes, restarts, crashes, damage and
//! restored checkpoints.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use hvs_filter::FilterLimits;
use hvs_kv::Kv;
use hvs_shard::checkpoint::restore;
use hvs_shard::{
    DetailsRequest, FieldPath, Language, QueryLimits, ReadError, SearchRequest, Shard, ShardConfig,
    TextConfig, TextQuery, TextSearch, WriteRequest,
};
use proptest::prelude::*;
use serde_json::json;
use support::{FLAT, Home, copy, lift, put, record, write};
use uuid::Uuid;

const WORDS: [&str; 5] = ["ant", "bee", "cat", "dog", "elk"];

fn home() -> Home {
    let mut home = Home::new();
    let fields = vec![FieldPath::parse("text").unwrap(), FieldPath::parse("more.tags").unwrap()];
    home.config.text = Some(TextConfig {
        // Only on a flush and at the end.
        commit_every: std::time::Duration::from_hours(1),
        ..TextConfig::new(fields, Language::NONE)
    });
    home
}

/// Id to its words, which is all that a model of matches needs.
type Model = BTreeMap<String, Vec<usize>>;

fn put_words(shard: &Shard, model: &mut Model, id: &str, words: &[usize]) {
    let mut new = record(id, u32::try_from(words.len()).unwrap());
    let texts: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
    if let Some((first, rest)) = texts.split_first() {
        new.metadata.insert("text".into(), json!(first));
        new.metadata.insert("more".into(), json!({"tags": rest}));
    }
    put(shard, new);
    model.insert(id.to_owned(), words.to_vec());
}

fn delete(shard: &Shard, model: &mut Model, id: &str) {
    write(shard, WriteRequest::delete(id)).unwrap();
    model.remove(id);
}

fn request(shard: &Shard, text: &str, k: usize) -> Result<TextSearch, ReadError> {
    let limits = QueryLimits { bytes: 1_000, words: 10 };
    let query = TextQuery::new(text, Language::NONE, limits).unwrap();
    let statistics = shard.text_statistics(&query, None)?;
    Ok(TextSearch { query, statistics, k, filter: None, deadline: None })
}

fn found(shard: &Shard, text: &str) -> Vec<String> {
    let answer = shard.search_text(&request(shard, text, 10_000).unwrap()).unwrap();
    let mut ids: Vec<String> = answer.hits.into_iter().map(|hit| hit.id).collect();
    ids.sort_unstable();
    ids
}

fn assert_in_step(shard: &Shard, model: &Model) {
    for words in [&[0][..], &[1, 4], &[2, 3, 0]] {
        let text: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
        let matches = |has: &&Vec<usize>| words.iter().any(|word| has.contains(word));
        let expected: Vec<&String> =
            model.iter().filter(|(_, has)| matches(has)).map(|(id, _)| id).collect();
        assert_eq!(found(shard, &text.join(" ")).iter().collect::<Vec<_>>(), expected);
    }
}

fn fill(shard: &Shard, model: &mut Model, from: usize, to: usize) {
    for n in from..to {
        let id = format!("id-{:03}", n % 97);
        match n % 5 {
            4 => delete(shard, model, &id),
            left => {
                let words: Vec<usize> = (0..left).map(|i| (n * 7 + i * n) % 5).collect();
                put_words(shard, model, &id, &words);
            }
        }
    }
}

/// Copies the files of one moment: segments may be merged meanwhile, and removed.
fn copy_of_one_moment(from: &Path, to: &Path) {
    let seen = || {
        let entries = std::fs::read_dir(from).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (names, std::fs::read(from.join("meta.json")).unwrap())
    };
    loop {
        let before = seen();
        copy(from, to);
        if seen() == before {
            break;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn it_is_in_step_after_restarts_and_with_older_damaged_or_no_files() {
    let home = home();
    let text = home.shard_path().join("index").join("text");
    let older = home.path().join("older");
    let mut model = Model::new();
    let shard = home.open();
    fill(&shard, &mut model, 0, 150);
    assert_in_step(&shard, &model);
    shard.flush().unwrap();
    copy_of_one_moment(&text, &older);
    fill(&shard, &mut model, 150, 180);
    assert_in_step(&shard, &model);
    drop(shard);

    let shard = home.open();
    assert_in_step(&shard, &model);
    // After a clean end nothing was read, however the log has moved.
    assert_eq!(shard.stats().text.unwrap().read, 0);
    drop(shard);

    // What a crash leaves: files of an earlier commit.
    std::fs::remove_dir_all(&text).unwrap();
    copy(&older, &text);
    let shard = home.open();
    assert_in_step(&shard, &model);
    let stats = shard.stats().text.unwrap();
    assert!(stats.read > 0 && stats.read < model.len() as u64, "{stats:?}");
    assert_eq!(stats.rebuilds, 0);
    fill(&shard, &mut model, 180, 230);
    drop(shard);

    for damage in ["meta.json", ".managed.json"] {
        std::fs::write(text.join(damage), b"{}").unwrap();
        let shard = home.open();
        assert_in_step(&shard, &model);
        assert_eq!(shard.stats().text.unwrap().rebuilds, 1);
        shard.close().unwrap();
    }
    std::fs::remove_dir_all(&text).unwrap();
    let shard = home.open();
    assert_in_step(&shard, &model);
    drop(shard);
    // The whole of the local state: the log is the truth.
    std::fs::remove_dir_all(home.shard_path()).unwrap();
    assert_in_step(&home.open_committed().unwrap(), &model);
}

#[test]
fn a_restored_checkpoint_builds_its_own() {
    let home = home();
    let kv: Arc<dyn Kv> = home.kv();
    let shard = Shard::open(home.config.clone(), Arc::clone(&kv), &home.shard_path()).unwrap();
    let mut model = Model::new();
    fill(&shard, &mut model, 0, 200);
    let score = |shard: &Shard| {
        let answer = shard.search_text(&request(shard, "ant elk", 5).unwrap()).unwrap();
        answer.hits.into_iter().map(|hit| hit.score).collect::<Vec<_>>()
    };
    let export = shard.export().unwrap();
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let digest = export.write(None, |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok::<(), Infallible>(())
    });
    let config =
        ShardConfig { namespace: Uuid::new_v4(), shard: Uuid::new_v4(), ..home.config.clone() };
    let directory = home.path().join("other");
    let ok = rows.iter().map(|(key, value)| Ok::<_, Infallible>((key, value)));
    restore(&config, &kv, &directory, ok, digest.ok(), None).unwrap();
    let restored = Shard::open(config, kv, &directory).unwrap();
    assert_in_step(&restored, &model);
    assert_eq!(score(&restored).len(), 5);
}

#[test]
fn filters_hold_and_details_are_those_of_the_records() {
    let home = home();
    let shard = home.open();
    let mut model = Model::new();
    fill(&shard, &mut model, 0, 300);
    let filter = json!({"number": 2}).as_object().cloned().unwrap();
    let filter = hvs_filter::Filter::parse(&filter, &FilterLimits::default()).unwrap();
    for is_indexed in [false, true] {
        if is_indexed {
            shard.flush().unwrap();
        }
        let mut search = request(&shard, "ant bee cat dog elk", 500).unwrap();
        search.filter = Some(filter.clone().into());
        let hits = shard.search_text(&search).unwrap().hits;
        let mut ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
        ids.sort_unstable();
        let expected: Vec<&String> =
            model.iter().filter(|(_, words)| words.len() == 2).map(|(id, _)| id).collect();
        assert_eq!(ids, expected);
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }
    // The same distances as a search by vector has.
    let from = lift([0.3, -0.2, 0.9]);
    let nearest = shard.search(&SearchRequest::nearest(from.clone(), 50)).unwrap().hits;
    let ids: Vec<&str> = nearest.iter().map(|hit| hit.id.as_str()).chain(["missing"]).collect();
    let mut details =
        DetailsRequest { ids, from: Some(("", &from)), with_records: true, max_bytes: usize::MAX };
    let told = shard.details(&details).unwrap();
    for (hit, detail) in nearest.iter().zip(&told) {
        assert_eq!(detail.distance, Some(hit.distance));
        assert_eq!(detail.record, shard.get(&hit.id).unwrap());
    }
    assert!(!told.last().unwrap().exists);
    details.max_bytes = told.iter().map(|detail| detail.bytes).sum();
    assert!(shard.details(&details).is_ok());
    details.max_bytes -= 1;
    assert!(matches!(shard.details(&details), Err(ReadError::AnswerTooLarge { .. })));
    // A record without that vector.
    let in_the_plane = [0.0, 0.0];
    details.from = Some((FLAT, &in_the_plane));
    details.with_records = false;
    assert!(shard.details(&details).unwrap().iter().all(|detail| detail.distance.is_none()));
}

#[test]
fn a_shard_without_text_says_so() {
    let home = Home::new();
    let shard = home.open();
    assert!(matches!(request(&shard, "ant", 1), Err(ReadError::NoText)));
    assert_eq!(shard.stats().text, None);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<usize>),
    Delete(u8),
    Flush,
    Restart,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..30_u8, proptest::collection::vec(0..5_usize, 0..6))
            .prop_map(|(id, words)| Step::Put(id, words)),
        4 => (0..30_u8).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
        2 => Just(Step::Check),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn any_sequence_of_writes_and_restarts_is_in_step(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let home = home();
        let mut model = Model::new();
        let mut shard = home.open();
        for step in steps {
            match step {
                Step::Put(id, words) => put_words(&shard, &mut model, &id.to_string(), &words),
                Step::Delete(id) => delete(&shard, &mut model, &id.to_string()),
                Step::Flush => shard.flush().unwrap(),
                Step::Restart => {
                    drop(shard);
                    shard = home.open();
                }
                Step::Check => assert_in_step(&shard, &model),
            }
        }
        assert_in_step(&shard, &model);
    }
}
