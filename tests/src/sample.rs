//! A data directory with something of everything in it, and what a user sees of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{
    http::Connection,
    node::{Node, Settings},
};

/// Enough for a segment to get a graph.
const TREES: usize = 2_150;
const TAIL: &str = "2100";
const POINTS: usize = 300;
const TEXTS: usize = 60;
const NAMESPACES: [&str; 3] = ["trees", "points", "texts"];
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder for directories whose durability is not what is tested: in memory if there is such a
/// file system, because nodes are started and ended there all the time.
///
/// # Errors
/// The operating system's.
pub fn folder() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())
}

/// How the node on such a directory is started.
///
/// # Errors
/// The node does not build.
pub fn settings(data: &Path) -> Result<Settings> {
    // So little memory that sorted files are written.
    Ok(Settings::new(data)?
        .with("index.tail", TAIL)
        .with("storage.shard_memtable_bytes", "65536")
        .with("storage.log_memtable_bytes", "65536"))
}

/// Sends a request and decodes the answer.
///
/// # Errors
/// It is not answered, or by a problem.
pub fn ask(connection: &mut Connection, method: &str, path: &str, body: &Value) -> Result<Value> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer = connection.json(method, path, &text)?;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status < 300, "{method} {path}: {} {said}", answer.status);
    if said.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&said)?) }
}

/// The path of something of a namespace.
pub fn path(namespace: &str, rest: &str) -> String {
    format!("/v1/namespaces/{namespace}{rest}")
}

fn batch(connection: &mut Connection, namespace: &str, operations: Vec<Value>) -> Result<()> {
    let request: Value = [("operations", Value::from(operations))].into_iter().collect();
    let answer = ask(connection, "POST", &path(namespace, "/batch"), &request)?;
    ensure!(answer.get("failed") == Some(&json!(0)), "{answer}");
    Ok(())
}

fn tree(number: usize) -> Value {
    let (angle, height) = (number as f64 * 0.7, 0.1 + (number % 97) as f64 / 40.0);
    let (x, y) = (height.sinh() * angle.cos(), height.sinh() * angle.sin());
    let t = (1.0 + x * x + y * y).sqrt();
    let metadata = json!({"n": number % 10, "parent": number / 3});
    json!({"put": {"id": format!("tree-{number:04}"), "vector": [t, x, y], "metadata": metadata}})
}

fn point(number: usize) -> Value {
    let x = number as f64 / 8.0;
    let vector = [x.sin(), x.cos(), (x / 3.0).sin() * 2.0, x / 40.0];
    // Long, so that the records do not fit into the memory that there is for them.
    let note = format!("{number} ").repeat(60);
    json!({"put": {"id": format!("point-{number:03}"), "vector": vector, "kind": "thing",
        "metadata": {"n": number, "note": note}}})
}

fn text(number: usize) -> Value {
    let titles = ["walking dogs", "a dog walks", "cats", "birds and dogs"];
    let title = titles.iter().cycle().nth(number).copied().unwrap_or_default();
    let vector = [number as f64 / 16.0, 1.0];
    let metadata = json!({"title": format!("{title} w{number:02}")});
    json!({"put": {"id": format!("text-{number:02}"), "vector": vector, "metadata": metadata}})
}

fn fill(connection: &mut Connection) -> Result<()> {
    let spaces = [
        json!({"geometry": "hyperboloid", "dimension": 2}),
        json!({"geometry": "euclidean", "dimension": 4, "shards": 2}),
        json!({"geometry": "euclidean", "dimension": 2,
            "index": {"type": "HYBRID", "text_fields": ["title"], "language": "english"}}),
    ];
    for (name, space) in NAMESPACES.iter().zip(spaces) {
        ask(connection, "PUT", &path(name, ""), &space)?;
    }
    for start in (0..TREES).step_by(430) {
        batch(connection, "trees", (start..(start + 430).min(TREES)).map(tree).collect())?;
    }
    for start in (0..POINTS).step_by(50) {
        batch(connection, "points", (start..start + 50).map(point).collect())?;
    }
    batch(connection, "texts", (0..TEXTS).map(text).collect())?;
    ask(connection, "POST", "/v1/aliases", &json!({"aliases": {"forest": "trees"}}))?;
    once(connection).map(drop)
}

/// Changes of every sort.
fn change(connection: &mut Connection) -> Result<()> {
    let delete = |id: String| json!({"delete": {"id": id}});
    batch(connection, "trees", (0..60).map(|n| delete(format!("tree-{:04}", n * 7))).collect())?;
    batch(connection, "trees", (500..530).map(tree).collect())?;
    batch(connection, "points", (0..30).map(|n| delete(format!("point-{:03}", n * 9))).collect())?;
    let far = 4_102_444_800_000_u64;
    let changed = (0..40).map(|n| {
        let id = format!("point-{:03}", n * 3 + 1);
        match n % 2 {
            0 => json!({"patch": {"id": id, "metadata": {"new": n}}}),
            _ => json!({"put": {"id": id, "vector": [0.5, 0.5, 0.5, n], "expires_at_ms": far}}),
        }
    });
    batch(connection, "points", changed.collect())?;
    batch(connection, "texts", vec![delete("text-03".to_owned()), delete("text-20".to_owned())])
}

/// A write with an idempotency key, which takes effect once, and its answer.
fn once(connection: &mut Connection) -> Result<Value> {
    let body = json!({"operations": [{"put": {"id": "once", "vector": [7, 7, 7, 7]}}]}).to_string();
    let headers = "content-type: application/json\r\nidempotency-key: sample\r\n";
    let request = connection.prepare("POST", &path("points", "/batch"), headers, body.as_bytes());
    let answer = connection.send(&request)?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    let answer: Value = serde_json::from_slice(&answer.body)?;
    answer.get("results").cloned().context("an answer without results")
}

/// Carries a task out and waits for its end, whatever that is.
///
/// # Errors
/// The request is refused, or the task takes longer than a minute.
pub fn task(connection: &mut Connection, path: &str, request: &Value) -> Result<Value> {
    let begun = Instant::now();
    let mut task = ask(connection, "POST", path, request)?;
    while task.get("state") == Some(&json!("running")) {
        ensure!(begun.elapsed() < PATIENCE, "{task}");
        thread::sleep(Duration::from_millis(2));
        let id = task.get("id").and_then(Value::as_str).context("a task without id")?;
        task = ask(connection, "GET", &format!("/v1/tasks/{id}"), &Value::Null)?;
    }
    Ok(task)
}

/// Every record of a namespace, with everything in it.
///
/// # Errors
/// They cannot be read.
pub fn records(connection: &mut Connection, namespace: &str) -> Result<Vec<Value>> {
    let (mut records, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut request = Map::from_iter([
            ("limit".to_owned(), json!(1_000)),
            ("include_vectors".to_owned(), json!(true)),
        ]);
        if !token.is_null() {
            request.insert("token".to_owned(), token);
        }
        let scroll = path(namespace, "/scroll");
        let page = ask(connection, "POST", &scroll, &Value::Object(request))?;
        records.extend(page.get("records").and_then(Value::as_array).cloned().unwrap_or_default());
        token = page.get("next").cloned().unwrap_or_default();
        if token.is_null() {
            return Ok(records);
        }
    }
}

/// What a user sees: all records, counts, exact searches, a search by text, aliases, and what is
/// remembered of a request.
///
/// # Errors
/// Something is not answered.
pub fn answers(connection: &mut Connection) -> Result<Value> {
    let mut found = Map::new();
    found.insert("once".to_owned(), once(connection)?);
    found.insert("aliases".to_owned(), ask(connection, "GET", "/v1/aliases", &Value::Null)?);
    for name in NAMESPACES {
        let count = ask(connection, "POST", &path(name, "/count"), &json!({}))?;
        found.insert(format!("{name}: count"), count);
        found.insert(format!("{name}: records"), Value::Array(records(connection, name)?));
    }
    for (name, request) in [
        ("trees", json!({"vector": [1.0, 0.0, 0.0], "k": 40, "exact": true})),
        ("forest", json!({"vector": [1.25, 0.75, 0.0], "k": 9, "exact": true, "filter": {"n": 3}})),
        ("points", json!({"vector": [0.1, 0.9, 0.3, 2.0], "k": 40, "exact": true})),
        ("texts", json!({"vector": [1.5, 0.5], "k": 20, "exact": true})),
    ] {
        let answer = ask(connection, "POST", &path(name, "/search"), &request)?;
        found.insert(format!("{name}: search"), answer.get("hits").cloned().unwrap_or_default());
    }
    // Scores depend on how many removed documents are still counted.
    let request = json!({"text": "dog walking w07", "k": TEXTS});
    let answer = ask(connection, "POST", &path("texts", "/search"), &request)?;
    let hits = answer.get("hits").and_then(Value::as_array).cloned().unwrap_or_default();
    let ids = hits.iter().filter_map(|hit| hit.get("id")).filter_map(Value::as_str);
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    found.insert("texts: by text".to_owned(), json!(ids));
    Ok(Value::Object(found))
}

/// The first thing in which answers differ, if they do.
pub fn difference(expected: &Value, found: &Value) -> Option<String> {
    let (Some(expected), Some(found)) = (expected.as_object(), found.as_object()) else {
        return Some("an answer is missing".to_owned());
    };
    let (key, value) = expected.iter().find(|(key, value)| found.get(*key) != Some(value))?;
    let count = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
    let (before, now) = (count(Some(value)), count(found.get(key)));
    Some(format!("{key}: {before} things before, {now} now, and not the same"))
}

/// Fills a directory that does not exist yet. The node is stopped in order in the middle, and
/// killed in the end if `is_killed`. Answers what a user sees of it.
///
/// # Errors
/// Something does not work.
pub fn make(data: &Path, is_killed: bool) -> Result<Value> {
    let node = Node::start(&settings(data)?)?;
    let connection = &mut node.connect()?;
    fill(connection)?;
    let begun = Instant::now();
    while !files(data)?.iter().any(|path| path.ends_with("segment-1.graph")) {
        ensure!(begun.elapsed() < PATIENCE, "no segment was built");
        thread::sleep(Duration::from_millis(10));
    }
    checkpoint(connection)?;
    node.stop()?;
    let node = Node::start(&settings(data)?)?;
    let connection = &mut node.connect()?;
    change(connection)?;
    checkpoint(connection)?;
    let expected = answers(connection)?;
    if is_killed {
        node.kill()?;
    } else {
        node.stop()?;
    }
    Ok(expected)
}

fn checkpoint(connection: &mut Connection) -> Result<()> {
    for name in NAMESPACES {
        let done = task(connection, &path(name, "/checkpoints"), &json!({}))?;
        ensure!(done.get("state") == Some(&json!("done")), "{done}");
    }
    Ok(())
}

/// Every file below a folder, in order.
///
/// # Errors
/// The operating system's.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a data directory that nobody has open. The holes at the end of journals are left out.
///
/// # Errors
/// The operating system's.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::write(target, read(&source)?)?;
        }
    }
    Ok(())
}

/// Every file below a folder with its content, but for the holes at the end of journals.
///
/// # Errors
/// The operating system's.
pub fn content(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let pair = |path: PathBuf| read(&path).map(|bytes| (path, bytes));
    Ok(files(folder)?.into_iter().map(pair).collect::<io::Result<_>>()?)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    if path.extension().is_some_and(|extension| extension == "jnl") {
        bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
    }
    Ok(bytes)
}

/// Numbers that follow from a seed (`SplitMix64`).
pub struct Random(pub u64);

impl Random {
    /// The next one below a limit; 0 below 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap_or(0).checked_rem(limit).unwrap_or(0)
    }
}

/// Fails unless a directory answers as expected.
///
/// # Errors
/// It does not start, or answers something else.
pub fn expect(data: &Path, expected: &Value) -> Result<()> {
    let node = Node::start(&settings(data)?)?;
    let found = answers(&mut node.connect()?)?;
    if let Some(difference) = difference(expected, &found) {
        bail!("{difference}\n{}", node.log_text());
    }
    node.kill()
}
