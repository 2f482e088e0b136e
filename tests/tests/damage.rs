//! Every kind of file of a data directory, damaged: a changed bit is noticed, the file is named,
//! and no answer is ever another one than before.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use anyhow::{Context as _, Result, bail, ensure};
use hvs_tests::{
    node::{Node, current_program},
    sample::{self, Random, answers, ask, difference, settings, task},
};
use serde_json::{Value, json};

/// A directory that nobody changes, and what it answers.
struct Sample {
    _folder: tempfile::TempDir,
    data: PathBuf,
    expected: Value,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let folder = sample::folder().unwrap();
    let (made, data) = (folder.path().join("made"), folder.path().join("data"));
    let expected = sample::make(&made, false).unwrap();
    sample::copy(&made, &data).unwrap();
    fs::remove_dir_all(made).unwrap();
    Sample { _folder: folder, data, expected }
});

/// What a file is, by its path below the data directory; none if nobody knows such a file.
fn kind(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["node.json"] => Some("identity"),
        ["kv", ref rest @ ..] => database(rest, &["log version", "log journal", "log table"]),
        ["shards", _, "store", ref rest @ ..] => {
            database(rest, &["state version", "state journal", "state table"])
        }
        ["shards", _, "index", "text", file] => text(file),
        ["shards", _, "index", _, file] => index(file),
        ["checkpoints", _, _, "manifest"] => Some("checkpoint manifest"),
        ["checkpoints", _, _, "manifest.lock"] => Some("lock"),
        ["checkpoints", _, _, "objects", ..] => Some("checkpoint object"),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn database(parts: &[&str], names: &[&'static str; 3]) -> Option<&'static str> {
    match *parts {
        ["lock"] => Some("lock"),
        ["version"] => Some(names[0]),
        [journal] if journal.strip_suffix(".jnl").is_some_and(is_number) => Some(names[1]),
        ["keyspaces", _, "tables", table] if is_number(table) => Some(names[2]),
        ["keyspaces", _, "current"] => Some("current"),
        ["keyspaces", _, v] if v.strip_prefix('v').is_some_and(is_number) => Some("list of tables"),
        _ => None,
    }
}

fn index(file: &str) -> Option<&'static str> {
    let segment = file.strip_prefix("segment-").and_then(|rest| rest.split_once('.'));
    match (file, segment) {
        ("manifest.json", _) => Some("index manifest"),
        (_, Some((number, "rows"))) if is_number(number) => Some("index rows"),
        (_, Some((number, "graph"))) if is_number(number) => Some("index graph"),
        _ => None,
    }
}

fn text(file: &str) -> Option<&'static str> {
    match file {
        "meta.json" | ".managed.json" => Some("text list"),
        _ => match file.rsplit_once('.')?.1 {
            "lock" => Some("lock"),
            "fast" => Some("text keys"),
            "fieldnorm" => Some("text lengths"),
            "idx" => Some("text postings"),
            "pos" => Some("text positions"),
            "store" => Some("text documents"),
            "term" => Some("text words"),
            "del" => Some("text deletions"),
            _ => None,
        },
    }
}

/// In all of these every change is noticed. In the others it is not where a crash may leave the
/// same, or where nothing lies: the end of a journal is read from the log, or is in the state.
fn is_always_noticed(kind: &str) -> bool {
    !matches!(kind, "log journal" | "state journal")
}

/// The files of the sample, by what they are.
fn kinds() -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut kinds: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    for path in sample::files(&SAMPLE.data).unwrap() {
        let below = path.strip_prefix(&SAMPLE.data).unwrap().to_owned();
        let name = below.to_str().unwrap();
        let Some(kind) = kind(name) else {
            panic!("{name} is of no kind that is known: say what it is, and test its damage")
        };
        // A list of tables that was replaced and is not removed yet.
        let is_replaced = kind == "list of tables" && {
            let current = fs::read(path.with_file_name("current")).unwrap();
            let number = u64::from_le_bytes(*current.first_chunk().unwrap());
            path.file_name().unwrap().to_str().unwrap() != format!("v{number}")
        };
        // Whose content nobody reads.
        if kind != "lock" && !is_replaced {
            kinds.entry(kind).or_default().push(below);
        }
    }
    kinds
}

/// Changes a bit or cuts the file off; says what was done.
fn damage(path: &Path, random: &mut Random) -> String {
    let mut bytes = fs::read(path).unwrap();
    assert!(!bytes.is_empty(), "{} is empty", path.display());
    let at = random.below(bytes.len());
    if random.below(3) == 0 {
        bytes.truncate(at);
        fs::write(path, bytes).unwrap();
        return format!("cut at {at}");
    }
    let bit = random.below(8);
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
    format!("bit {bit} of byte {at}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    Rebuilt,
    Unnoticed,
}

fn remove(path: &Path) -> String {
    fs::remove_file(path).unwrap();
    "removed".to_owned()
}

/// Opens a copy of the sample with one file damaged.
fn open_damaged(
    data: &Path,
    below: &Path,
    damage: impl FnOnce(&Path) -> String,
) -> Result<(Outcome, String)> {
    sample::copy(&SAMPLE.data, data)?;
    let path = data.join(below);
    let done = damage(&path);
    let outcome = open(data, &path).with_context(|| format!("{}: {done}", below.display()))?;
    if outcome == Outcome::Refused {
        // Nothing else was touched: with the file as it was, all is as it was.
        fs::copy(SAMPLE.data.join(below), &path)?;
        sample::expect(data, &SAMPLE.expected)
            .with_context(|| format!("{}: {done}, and mended", below.display()))?;
    }
    fs::remove_dir_all(data)?;
    Ok((outcome, done))
}

fn is_in(said: &str, folder: Option<&Path>) -> bool {
    folder.and_then(Path::to_str).is_some_and(|folder| said.contains(folder))
}

fn open(data: &Path, damaged: &Path) -> Result<Outcome> {
    let node = match Node::start(&settings(data)?) {
        Ok(node) => node,
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("(exit status: 1)"), "it did not refuse in order: {said}");
            ensure!(!said.contains("panicked"), "{said}");
            // Of a log that ends too early it is not known which file had the rest.
            let named = said.contains(damaged.to_str().context("a path")?)
                || (said.contains("it has no journal") && is_in(&said, damaged.parent()))
                || (damaged.ends_with("kv/0.jnl") && said.contains("its log ends before"))
                || (damaged.ends_with("kv/0.jnl") && said.contains("the store of logs has never"));
            ensure!(named, "the damaged file is not named: {said}");
            return Ok(Outcome::Refused);
        }
    };
    let found = answers(&mut node.connect()?).with_context(|| node.log_text())?;
    let said = node.log_text();
    if let Some(difference) = difference(&SAMPLE.expected, &found) {
        bail!("{difference}\n{said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    // What is written now is there after the next start.
    let connection = &mut node.connect()?;
    ask(connection, "PUT", &sample::path("texts", "/vectors/new"), &json!({"vector": [1, 2]}))?;
    node.kill()?;
    let node = Node::start(&settings(data)?)?;
    let connection = &mut node.connect()?;
    ask(connection, "GET", &sample::path("texts", "/vectors/new"), &Value::Null)?;
    node.kill()?;
    let is_told = said.contains("anew") || said.contains("the log has lost");
    Ok(if is_told { Outcome::Rebuilt } else { Outcome::Unnoticed })
}

fn damage_every_kind(seeds: std::ops::Range<u64>) {
    let folder = sample::folder().unwrap();
    let mut failures = Vec::new();
    for (kind, files) in kinds() {
        if kind.starts_with("checkpoint") {
            continue;
        }
        let mut outcomes = BTreeSet::new();
        for seed in seeds.clone() {
            let name =
                kind.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let random = &mut Random(name);
            let file = &files[random.below(files.len())];
            let data = folder.path().join(format!("{kind}-{seed}").replace(' ', "-"));
            match open_damaged(&data, file, |path| damage(path, random)) {
                Ok((Outcome::Unnoticed, done)) if is_always_noticed(kind) => {
                    failures.push(format!("{kind} {seed}, {}: {done}: unnoticed", file.display()));
                }
                Ok((outcome, _)) => {
                    outcomes.insert(outcome);
                }
                Err(error) => failures.push(format!("{kind} {seed}: {error:#}")),
            }
        }
        println!("{kind}: {} files, {outcomes:?}", files.len());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn damage_of_any_file_is_noticed_and_changes_no_answer() {
    let kinds = kinds();
    for kind in [
        "identity",
        "log version",
        "log journal",
        "log table",
        "state version",
        "state journal",
        "state table",
        "current",
        "list of tables",
        "index manifest",
        "index rows",
        "index graph",
        "text list",
        "text postings",
        "text words",
        "text documents",
        "text keys",
        "text lengths",
        "checkpoint manifest",
        "checkpoint object",
    ] {
        assert!(kinds.contains_key(kind), "the sample has no {kind}");
    }
    damage_every_kind(0..1);
}

#[test]
#[ignore = "full: hundreds of starts"]
fn damage_of_any_file_is_noticed_and_changes_no_answer_many_times() {
    damage_every_kind(1..25);
}

/// Removes some files of each kind, and all of those without which a database takes a part of
/// itself for nothing.
fn remove_every_kind(of_each: usize) {
    let folder = sample::folder().unwrap();
    let mut failures = Vec::new();
    for (kind, files) in kinds() {
        if kind.starts_with("checkpoint") {
            continue;
        }
        let mut outcomes = BTreeSet::new();
        let most = if kind == "current" { files.len() } else { of_each };
        for (number, file) in files.iter().step_by(files.len().div_ceil(most)).enumerate() {
            let data = folder.path().join(format!("{kind}-{number}").replace(' ', "-"));
            match open_damaged(&data, file, remove) {
                Ok((outcome, _)) => {
                    outcomes.insert(outcome);
                }
                Err(error) => failures.push(format!("{kind}: {error:#}")),
            }
        }
        println!("{kind}: {} files, {outcomes:?}", files.len());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_loss_of_any_file_changes_no_answer() {
    remove_every_kind(2);
}

#[test]
#[ignore = "full: hundreds of starts"]
fn the_loss_of_any_file_changes_no_answer_many_times() {
    remove_every_kind(usize::MAX);
}

/// The messages of failed verifications and restores, and what the whole ones restored.
fn verify_and_restore(node: &Node, number: u64) -> (Vec<String>, Vec<String>) {
    let connection = &mut node.connect().unwrap();
    let (mut refused, mut wrong) = (Vec::new(), Vec::new());
    for name in ["points", "texts"] {
        let list = ask(connection, "GET", &sample::path(name, "/checkpoints"), &Value::Null);
        let Ok(list) = list else {
            refused.push(list.unwrap_err().to_string());
            continue;
        };
        for checkpoint in list["checkpoints"].as_array().unwrap() {
            let id = &checkpoint["id"];
            let verify = sample::path(name, &format!("/checkpoints/{id}/verify"));
            let verified = task(connection, &verify, &json!({})).unwrap();
            let copy = format!("{name}-{number}-{id}");
            let request = json!({"namespace": copy, "source": name, "checkpoint": id});
            let restored = task(connection, "/v1/restore", &request).unwrap();
            if verified["state"] == "done" {
                assert_eq!(restored["state"], "done", "{restored}");
                let found = sample::records(connection, &copy).unwrap();
                if Some(found.len() as u64) != checkpoint["records"].as_u64() {
                    wrong.push(format!("{copy} has {} records: {checkpoint}", found.len()));
                }
                ask(connection, "DELETE", &sample::path(&copy, ""), &Value::Null).unwrap();
            } else {
                assert_eq!(restored["state"], "failed", "{restored}");
                assert!(ask(connection, "GET", &sample::path(&copy, ""), &Value::Null).is_err());
                refused.push(verified.to_string());
                refused.push(restored.to_string());
            }
        }
    }
    (refused, wrong)
}

fn damage_checkpoints(seeds: std::ops::Range<u64>) {
    let folder = sample::folder().unwrap();
    let data = folder.path().join("data");
    sample::copy(&SAMPLE.data, &data).unwrap();
    let node = Node::start(&settings(&data).unwrap()).unwrap();
    let (refused, wrong) = verify_and_restore(&node, u64::MAX);
    assert_eq!((refused, wrong), (vec![], vec![]));
    for kind in ["checkpoint manifest", "checkpoint object"] {
        let files: Vec<PathBuf> = kinds().remove(kind).unwrap();
        let files: Vec<_> =
            files.iter().filter(|path| !path.starts_with("checkpoints/trees")).collect();
        for seed in seeds.clone() {
            let random = &mut Random(seed + 1_000);
            let below = files[random.below(files.len())];
            let done = damage(&data.join(below), random);
            let (refused, wrong) = verify_and_restore(&node, seed);
            assert_eq!(wrong, [""; 0], "{}: {done}", below.display());
            assert!(!refused.is_empty(), "{}: {done}: unnoticed", below.display());
            let name = below.file_name().unwrap().to_str().unwrap();
            for said in refused {
                assert!(said.contains("checkpoint_damaged") && said.contains(name), "{said}");
            }
            // Nothing else is touched by it.
            let found = answers(&mut node.connect().unwrap()).unwrap();
            assert_eq!(difference(&SAMPLE.expected, &found), None);
            fs::copy(SAMPLE.data.join(below), data.join(below)).unwrap();
        }
    }
    node.stop().unwrap();
}

#[test]
fn damage_of_a_checkpoint_is_noticed_and_named_and_leaves_the_others() {
    damage_checkpoints(0..2);
}

#[test]
#[ignore = "full: many restores"]
fn damage_of_a_checkpoint_is_noticed_and_named_many_times() {
    damage_checkpoints(2..40);
}

/// What `hvs-node repair` makes of a damaged copy: everything as it was, or a decision and nothing
/// changed.
fn repair_every_kind(seeds: std::ops::Range<u64>, kinds: &BTreeMap<&str, Vec<PathBuf>>) {
    let folder = sample::folder().unwrap();
    for (kind, files) in kinds {
        let mut codes = BTreeMap::new();
        for seed in seeds.clone() {
            let random = &mut Random(seed * 7 + kind.len() as u64);
            let below = &files[random.below(files.len())];
            let data = folder.path().join(format!("{kind}-{seed}").replace(' ', "-"));
            sample::copy(&SAMPLE.data, &data).unwrap();
            let done = format!("{}: {}", below.display(), damage(&data.join(below), random));
            let before = sample::content(&data).unwrap();
            let output = Command::new(current_program("hvs-node").unwrap())
                .args(["repair", "--data-dir", data.to_str().unwrap()])
                .args(["--set", "index.tail=2100"])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            *codes.entry(code).or_insert(0) += 1;
            match code {
                Some(0 | 1) if !kind.starts_with("checkpoint") => {
                    let expected = sample::expect(&data, &SAMPLE.expected);
                    expected.with_context(|| format!("{done}\n{said}")).unwrap();
                }
                // A newer version may have written what has a changed version.
                Some(2 | 3) => {
                    let after = sample::content(&data).unwrap();
                    assert!(before == after, "{done}: something was changed\n{said}");
                }
                code => panic!("{done}: {code:?}\n{said}\n{errors}"),
            }
            fs::remove_dir_all(&data).unwrap();
        }
        println!("{kind}: {codes:?}");
    }
}

#[test]
fn a_repair_restores_everything_or_changes_nothing() {
    let mut kinds = kinds();
    kinds
        .retain(|kind, _| ["current", "list of tables", "state table", "log table"].contains(kind));
    repair_every_kind(0..1, &kinds);
}

#[test]
#[ignore = "full: hundreds of repairs"]
fn a_repair_restores_everything_or_changes_nothing_many_times() {
    repair_every_kind(1..20, &kinds());
}
