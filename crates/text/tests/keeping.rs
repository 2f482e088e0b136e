//! What a restart, a crash and damage make of an index.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod kit;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hvs_text::{FieldPath, Language, TextConfig, TextIndex};
use kit::{Live, Records, assert_same, bm25, config, open, search, search_with, statistics};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const WORDS: &str = "w0 w5 w9";

fn text(random: &mut StdRng) -> String {
    let count = random.random_range(1..12);
    let words = (0..count).map(|_| format!("w{}", random.random_range(0..10)));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether the index has exactly the documents. Statistics may count removed ones, so they are
/// given.
fn assert_right(index: &TextIndex, records: &Records) {
    let live: Live = records.live.lock().clone();
    let given = statistics(&live, WORDS);
    let found = search_with(index, WORDS, 10_000, &given);
    // Waits until it is built.
    assert_same(&found, &bm25(&live, WORDS, 10_000));
    let stats = index.stats();
    if stats.pending_bytes == 0 {
        let with_text = live.values().filter(|(_, text)| !text.is_empty()).count();
        assert_eq!(stats.documents, with_text as u64);
    }
}

fn fill(records: &Records, index: &TextIndex, random: &mut StdRng, count: usize) {
    for _ in 0..count {
        let id = format!("id-{}", random.random_range(0..150));
        let change = if random.random_bool(0.25) {
            records.delete(&id)
        } else {
            records.put(&id, &text(random))
        };
        records.tell(index, change);
    }
}

#[test]
fn any_sequence_of_changes_and_restarts_is_the_same_as_a_map() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let records = Records::default();
        let mut index = open(folder.path(), &records);
        for _ in 0..25 {
            let count = random.random_range(0..60);
            fill(&records, &index, &mut random, count);
            match random.random_range(0..5) {
                0 => index.flush().unwrap(),
                1 => {
                    index.close();
                    drop(index);
                    index = open(folder.path(), &records);
                }
                2 => {
                    // What is told while it is down it finds in the source.
                    drop(index);
                    for _ in 0..20 {
                        let id = format!("id-{}", random.random_range(0..150));
                        let _ = records.put(&id, &text(&mut random));
                    }
                    let _ = records.delete("id-3");
                    index = open(folder.path(), &records);
                    // And what is told while it is built.
                    fill(&records, &index, &mut random, 30);
                }
                _ => {}
            }
            assert_right(&index, &records);
        }
    }
}

#[test]
fn after_a_clean_end_nothing_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let mut random = StdRng::seed_from_u64(10);
    let index = open(folder.path(), &records);
    fill(&records, &index, &mut random, 500);
    // A record without text, and the deletion of one, move the mark as well.
    records.tell(&index, records.put("empty", ""));
    records.tell(&index, records.delete("empty"));
    drop(index);
    records.visits.store(0, Ordering::Relaxed);
    let index = open(folder.path(), &records);
    assert_right(&index, &records);
    assert_eq!(records.visits.load(Ordering::Relaxed), 0);
    assert_eq!((index.stats().read, index.stats().rebuilds), (0, 0));
}

/// A copy is what a crash leaves.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // A file may go while the folder is read.
        let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

#[test]
fn after_a_crash_only_what_is_newer_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let records = Records::default();
    let index = open(folder.path(), &records);
    for number in 0..400 {
        records.tell(&index, records.put(&format!("id-{number}"), "w0 old"));
    }
    index.flush().unwrap();
    copy(folder.path(), crashed.path());
    for number in 0..30 {
        records.tell(&index, records.put(&format!("id-{number}"), "w0 new"));
    }
    records.tell(&index, records.delete("id-399"));
    let index = open(crashed.path(), &records);
    assert_right(&index, &records);
    assert_eq!(search(&index, "new", 100).len(), 30);
    assert_eq!((index.stats().read, index.stats().rebuilds), (30, 0));
}

#[test]
fn an_index_ahead_of_the_records_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let index = open(folder.path(), &records);
    for number in 0..50 {
        records.tell(&index, records.put(&format!("id-{number}"), "w0 kept"));
    }
    let (live, next_key) = (records.live.lock().clone(), *records.next_key.lock());
    records.tell(&index, records.put("lost", "w0 lost"));
    drop(index);
    // The records lose what was written last, and give its key to another.
    *records.live.lock() = live;
    *records.next_key.lock() = next_key;
    let index = open(folder.path(), &records);
    records.tell(&index, records.put("other", "w0 other"));
    assert_right(&index, &records);
    assert_eq!(index.stats().rebuilds, 1);
    assert!(search(&index, "lost", 5).is_empty());
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_none_or(|end| end != "lock"));
    files.sort();
    files
}

#[test]
fn whatever_is_damaged_is_built_anew() {
    let original = tempfile::tempdir().unwrap();
    let records = Records::default();
    let mut random = StdRng::seed_from_u64(12);
    let index = open(original.path(), &records);
    fill(&records, &index, &mut random, 300);
    index.flush().unwrap();
    fill(&records, &index, &mut random, 300);
    drop(index);
    let names: Vec<_> =
        files(original.path()).iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in &names {
        // 8 bits, a cut, no file.
        for damage in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            copy(original.path(), folder.path());
            let file = folder.path().join(name);
            let mut bytes = std::fs::read(&file).unwrap();
            match damage {
                8 => std::fs::remove_file(&file).unwrap(),
                9 => std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
                _ => {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] ^= 1 << random.random_range(0..8);
                    std::fs::write(&file, &bytes).unwrap();
                }
            }
            let index = open(folder.path(), &records);
            assert_right(&index, &records);
            let rebuilt = index.stats().rebuilds;
            let is_meta_gone = name == "meta.json" && damage == 8;
            assert!(rebuilt == 1 || is_meta_gone, "{name:?} {damage}: {rebuilt}");
            records.tell(&index, records.put("later", "w0 w9"));
            assert_right(&index, &records);
            records.tell(&index, records.delete("later"));
            index.flush().unwrap();
        }
    }
}

/// Each has a checksum that holds.
#[test]
fn files_of_another_index_are_built_anew() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [records, others] = [Records::default(), Records::default()];
    for (number, (folder, records)) in folders.iter().zip([&records, &others]).enumerate() {
        let index = open(folder.path(), records);
        for id in 0..200 {
            let text = format!("w{} of{number} w{}", id % 7, (id + number) % 5);
            records.tell(&index, records.put(&format!("id-{id}"), &text));
        }
        index.flush().unwrap();
        for id in number..20 + number {
            records.tell(&index, records.delete(&format!("id-{id}")));
        }
        index.flush().unwrap();
    }
    let kind = |file: &PathBuf| file.extension().map(ToOwned::to_owned);
    let [own, other] = folders.each_ref().map(|folder| files(folder.path()));
    let mut exchanged = 0;
    for mine in own.iter().filter(|file| kind(file).is_some_and(|kind| kind != "json")) {
        let Some(theirs) = other.iter().find(|file| kind(file) == kind(mine)) else { continue };
        if std::fs::read(mine).unwrap() == std::fs::read(theirs).unwrap() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        copy(folders[0].path(), folder.path());
        std::fs::copy(theirs, folder.path().join(mine.file_name().unwrap())).unwrap();
        let index = open(folder.path(), &records);
        assert_right(&index, &records);
        assert_eq!(index.stats().rebuilds, 1, "{}", mine.display());
        exchanged += 1;
    }
    assert!(exchanged >= 5, "{own:?}");
}

#[test]
fn other_settings_are_another_index() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let _ = records.put("a", "running zebras");
    drop(open(folder.path(), &records));
    let english = TextConfig { language: "english".parse().unwrap(), ..config() };
    let fields = TextConfig { fields: vec![FieldPath::parse("other").unwrap()], ..english.clone() };
    for config in [english.clone(), fields, config()] {
        let language = config.language;
        let index =
            TextIndex::open(folder.path(), config, records.clone(), records.mark()).unwrap();
        let word = if language == Language::NONE { "running" } else { "run" };
        assert_eq!(search(&index, word, 5).len(), 1);
        assert_eq!(index.stats().rebuilds, 1);
    }
    let least = hvs_text::MIN_WRITER_BYTES;
    let small = TextConfig { writer_bytes: least - 1, ..config() };
    assert!(TextIndex::open(folder.path(), small, records.clone(), records.mark()).is_err());
    let enough = TextConfig { writer_bytes: least, ..config() };
    let index = TextIndex::open(folder.path(), enough, records.clone(), records.mark()).unwrap();
    assert_eq!(search(&index, "running", 5).len(), 1);
}

#[test]
fn what_waits_for_the_disk_is_bounded_and_deleted_space_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let limit = 64 << 10;
    let small = TextConfig { pending_bytes: limit, ..config() };
    let index = TextIndex::open(folder.path(), small, records.clone(), records.mark()).unwrap();
    let mut random = StdRng::seed_from_u64(13);
    for number in 0..3_000 {
        let text = format!("{} {} {number}", text(&mut random), text(&mut random));
        records.tell(&index, records.put(&format!("id-{number}"), &text));
        // Two memories, each with one step above the limit.
        assert!(index.stats().pending_bytes < 2 * (limit as u64 + 4_096));
    }
    assert!(index.stats().commits > 3);
    assert_right(&index, &records);
    // A file may be gone by now: segments are merged meanwhile.
    let length = |file: &PathBuf| file.metadata().map_or(0, |metadata| metadata.len());
    let size = || files(folder.path()).iter().map(length).sum();
    index.flush().unwrap();
    let full: u64 = size();
    for number in 0..2_900 {
        records.tell(&index, records.delete(&format!("id-{number}")));
    }
    let until = Instant::now() + Duration::from_mins(2);
    loop {
        index.flush().unwrap();
        if size() < full / 3 {
            break;
        }
        assert!(Instant::now() < until, "{} of {full} bytes are left", size());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_right(&index, &records);
}

#[test]
fn a_closed_index_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::default();
    let index = open(folder.path(), &records);
    records.tell(&index, records.put("a", "w0"));
    index.close();
    index.close();
    records.tell(&index, records.put("b", "w0"));
    let error = index.statistics(&kit::query("w0"), None).unwrap_err();
    assert!(matches!(error, hvs_text::SearchError::Closed));
    assert!(index.flush().is_err());
}
