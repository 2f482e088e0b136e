//! `hvs repair`, killed at any moment and run again, comes to what it would have come to.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use hvs_tests::{
    node::{current_program, run_to_end},
    sample::{self, Random, settings},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);

/// A directory with damage in everything that can be repaired without loss, and what it answered
/// before.
struct Damaged {
    _folder: tempfile::TempDir,
    data: PathBuf,
    expected: Value,
}

static DAMAGED: LazyLock<Damaged> = LazyLock::new(|| {
    let folder = sample::folder().unwrap();
    let (made, data) = (folder.path().join("made"), folder.path().join("data"));
    let expected = sample::make(&made, false).unwrap();
    sample::copy(&made, &data).unwrap();
    fs::remove_dir_all(made).unwrap();
    let all = sample::files(&data).unwrap();
    let some = |part: &str| -> Vec<&PathBuf> {
        all.iter().filter(|path| path.to_str().unwrap().contains(part)).collect()
    };
    // The log stays whole, because the states of the shards are built from it.
    for journal in some("/store/")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "jnl"))
    {
        flip(journal);
    }
    for index in some("segment-").into_iter().chain(some(".idx")) {
        flip(index);
    }
    fs::write(data.join("node.json"), "{").unwrap();
    Damaged { _folder: folder, data, expected }
});

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn repair(data: &Path, arguments: &[&str]) -> Child {
    Command::new(current_program("hvs-node").unwrap())
        .args(["repair", "--data-dir", data.to_str().unwrap(), "--set", "index.tail=2100"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit code, and what was said.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn fresh(folder: &Path, name: &str) -> PathBuf {
    let data = folder.join(name);
    sample::copy(&DAMAGED.data, &data).unwrap();
    data
}

fn is_repaired(data: &Path, seed: u64) {
    let (code, said) = end(repair(data, &["--dry-run"]));
    assert_eq!(code, Some(0), "seed {seed}: {said}");
    assert!(!data.join("repair-work").exists() && !data.join("repairing").exists());
    sample::expect(data, &DAMAGED.expected).unwrap();
    // What was damaged is kept, in one place or in several if it was begun anew.
    let kept = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| path.to_str().unwrap().contains("damaged-"));
    let kept: Vec<PathBuf> = kept.flat_map(|path| sample::files(&path).unwrap()).collect();
    let is_journal = |path: &&PathBuf| {
        let path = path.to_str().unwrap();
        path.contains("/store/") && Path::new(path).extension().is_some_and(|kind| kind == "jnl")
    };
    assert!(kept.iter().any(|path| is_journal(&path)), "seed {seed}: {kept:?}");
}

/// What a kill came upon.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Moment {
    Working,
    Moving,
    After,
}

/// Runs a repair and kills it: after a time, or once results are being moved.
fn kill(data: &Path, after: Option<Duration>) -> Moment {
    let mut child = repair(data, &[]);
    let begun = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return Moment::After;
        }
        let is_time = match after {
            Some(after) => begun.elapsed() >= after,
            None => data.join("repairing").exists(),
        };
        if is_time {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the repair does not end");
        thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if data.join("repairing").exists() { Moment::Moving } else { Moment::Working }
}

fn kill_many(seeds: std::ops::Range<u64>) {
    let folder = sample::folder().unwrap();
    let data = fresh(folder.path(), "undisturbed");
    let begun = Instant::now();
    let (code, said) = end(repair(&data, &[]));
    let whole = begun.elapsed();
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("lost:"), "{said}");
    is_repaired(&data, 0);
    fs::remove_dir_all(data).unwrap();

    let mut moments = Vec::new();
    for seed in seeds {
        let random = &mut Random(seed);
        let data = fresh(folder.path(), &format!("killed-{seed}"));
        for _ in 0..=random.below(3) {
            let permille = u32::try_from(random.below(1_000)).unwrap();
            let after = (random.below(3) > 0).then(|| whole * permille / 1_000);
            let moment = kill(&data, after);
            moments.push(moment);
            if moment == Moment::Moving {
                let (status, said) = run_to_end(&settings(&data).unwrap()).unwrap();
                assert!(!status.success(), "seed {seed}: a node started");
                assert!(said.contains("interrupted") && said.contains("hvs repair"), "{said}");
                // Who only looks leaves it so.
                let (code, said) = end(repair(&data, &["--dry-run"]));
                assert!(code == Some(3) && said.contains("interrupted"), "{said}");
                assert!(data.join("repairing").exists(), "seed {seed}: it was finished");
            }
        }
        let is_moving = data.join("repairing").exists();
        let (code, said) = end(repair(&data, &[]));
        assert!(matches!(code, Some(0 | 1)), "seed {seed}: {code:?} {said}");
        if is_moving {
            // What the one before it could not tell any more.
            assert_eq!(code, Some(1), "seed {seed}: {said}");
            assert!(said.contains("REPAIRED") && said.contains("is repaired"), "{said}");
            assert!(said.contains("kept in"), "seed {seed}: {said}");
        }
        is_repaired(&data, seed);
        fs::remove_dir_all(data).unwrap();
    }
    let count = |wanted| moments.iter().filter(|moment| **moment == wanted).count();
    println!(
        "a repair takes {whole:?}; killed {} times while it worked, {} while it moved, {} too late",
        count(Moment::Working),
        count(Moment::Moving),
        count(Moment::After)
    );
    assert!(count(Moment::Working) > 0, "{moments:?}");
}

#[test]
fn a_repair_that_is_killed_and_run_again_comes_to_the_same() {
    kill_many(1..4);
}

#[test]
#[ignore = "full: dozens of repairs that are killed"]
fn a_repair_that_is_killed_and_run_again_comes_to_the_same_many_times() {
    kill_many(4..60);
}
