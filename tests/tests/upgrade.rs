//! Data that earlier versions wrote opens, and answers as it did.
//!
//! `tests/corpus/vX` holds a data directory of each version, with its checkpoints, and what was
//! answered from it. `cargo xtask corpus` adds that of the present version.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hvs_tests::{
    archive,
    http::Connection,
    node::{Node, Settings, current_program, workspace},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(2);
/// Enough for a segment to get a graph, a tree or lists.
const MANY: usize = 2_150;
const TAIL: &str = "2100";
/// A time that is not over soon: the year 2100.
const FAR: u64 = 4_102_444_800_000;
/// What a corpus of this version has; an older one may have fewer.
const NAMESPACES: [&str; 4] = ["kinds", "texts", "life", "packed"];
/// Enough of them to have a dictionary.
const PACKED: usize = 400;

fn settings(data: &Path) -> Settings {
    Settings::new(data).unwrap().with("index.tail", TAIL)
}

fn ask(connection: &mut Connection, method: &str, path: &str, body: &Value) -> Value {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer = connection.json(method, path, &text).unwrap();
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status < 300, "{method} {path}: {} {said}", answer.status);
    serde_json::from_str(&said).unwrap_or_default()
}

fn path(namespace: &str, rest: &str) -> String {
    format!("/v1/namespaces/{namespace}{rest}")
}

fn batch(connection: &mut Connection, namespace: &str, operations: &[Value]) -> Value {
    let request = json!({"operations": operations});
    let answer = ask(connection, "POST", &path(namespace, "/batch"), &request);
    assert_eq!(answer["failed"], 0, "{answer}");
    answer
}

/// On a coarse grid, so that the archive is small.
fn coordinates(number: usize) -> [f64; 4] {
    let on_grid = |n: usize, of: usize| (n % of) as f64 / 64.0 - 0.375;
    [on_grid(number, 47), on_grid(number / 47, 46), on_grid(number, 23), on_grid(number / 5, 31)]
}

fn with_all_kinds(number: usize) -> Value {
    let [a, b, c, d] = coordinates(number);
    json!({"put": {"id": format!("k{number:04}"), "vector": [a, b], "metadata": {"n": number % 10},
        "vectors": {"geometric": [b, a], "ivf": [c, d], "pq": [a, b, c, d], "flat": [d.cos(), d.sin()]}}})
}

fn create(connection: &mut Connection) {
    let spaces = [
        json!({"geometry": "poincare", "dimension": 2, "vectors": {
            "geometric": {"geometry": "poincare", "dimension": 2, "index": {"type": "GEOMETRIC"}},
            "ivf": {"geometry": "euclidean", "dimension": 2, "index": {"type": "IVF"}},
            "pq": {"geometry": "euclidean", "dimension": 4,
                "index": {"type": "HNSW", "quantisation": "pq"}},
            "flat": {"geometry": "spherical", "dimension": 1, "precision": "f64",
                "index": {"type": "FLAT"}}}}),
        json!({"geometry": "hyperboloid", "dimension": 2,
            "index": {"type": "HYBRID", "text_fields": ["title"], "language": "english"}}),
        json!({"geometry": "euclidean", "dimension": 1, "shards": 2, "compression": "lz4"}),
        json!({"geometry": "euclidean", "dimension": 1, "payload_indexing": "declared",
            "payload_indexes": [{"field": "year", "type": "integer"}]}),
    ];
    for (name, space) in NAMESPACES.iter().zip(spaces) {
        ask(connection, "PUT", &path(name, ""), &space);
    }
}

fn fill(connection: &mut Connection) {
    create(connection);
    for start in (0..MANY).step_by(430) {
        let end = (start + 430).min(MANY);
        batch(connection, "kinds", &(start..end).map(with_all_kinds).collect::<Vec<_>>());
    }
    let title = |n: usize| ["walking dogs", "a dog walks", "cats", "birds and dogs"][n % 4];
    let texts = (0..60).map(|n| {
        let x = n as f64 / 32.0;
        json!({"put": {"id": format!("t{n:02}"), "vector": [(1.0 + x * x).sqrt(), x, 0.0],
            "metadata": {"title": title(n)}}})
    });
    batch(connection, "texts", &texts.collect::<Vec<_>>());
    let life = (0..80).map(|n| {
        let region = if n % 2 == 0 { "north" } else { "south" };
        json!({"put": {"id": format!("l{n:02}"), "vector": [f64::from(n)], "kind": "thing",
            "region": region, "metadata": {"n": n, "tags": ["a", n.to_string()]}}})
    });
    batch(connection, "life", &life.collect::<Vec<_>>());
    batch(connection, "packed", &(0..PACKED).map(packed).collect::<Vec<_>>());
}

/// With metadata that compresses well.
fn packed(number: usize) -> Value {
    let text = format!("the record of this number, {number}, is one of very many alike");
    json!({"put": {"id": format!("p{number:03}"), "vector": [number % 50],
        "metadata": {"year": 1900 + number % 100, "text": text}}})
}

/// Has what is there written anew with a dictionary, and adds to it.
fn compress(connection: &mut Connection) {
    let describe = path("packed", "");
    ask(connection, "PATCH", &describe, &json!({"compression": "zstd"}));
    let begun = Instant::now();
    while ask(connection, "GET", &describe, &Value::Null)["storage"]["rewriting"] == true {
        assert!(begun.elapsed() < PATIENCE, "records are rewritten for ever");
        thread::sleep(Duration::from_millis(20));
    }
    batch(connection, "packed", &(PACKED..PACKED + 20).map(packed).collect::<Vec<_>>());
}

/// Changes of every sort, after the checkpoints.
fn change(connection: &mut Connection) {
    let deleted = (0..60).step_by(7).map(|n| json!({"delete": {"id": format!("k{n:04}")}}));
    batch(connection, "kinds", &deleted.collect::<Vec<_>>());
    batch(connection, "kinds", &(100..130).map(with_all_kinds).collect::<Vec<_>>());
    batch(connection, "texts", &[json!({"delete": {"id": "t03"}})]);
    let deleted = (0..PACKED).step_by(9).map(|n| json!({"delete": {"id": format!("p{n:03}")}}));
    batch(connection, "packed", &deleted.collect::<Vec<_>>());
    let changed = (0..80).map(|n| match n % 4 {
        0 => json!({"delete": {"id": format!("l{n:02}")}}),
        1 => json!({"patch": {"id": format!("l{n:02}"), "metadata": {"n": n + 1000, "new": true}}}),
        2 => json!({"put": {"id": format!("l{n:02}"), "vector": [0.5], "expires_at_ms": FAR}}),
        _ => json!({"patch": {"id": format!("l{n:02}"), "region": null}}),
    });
    batch(connection, "life", &changed.collect::<Vec<_>>());
    once(connection);
}

/// A write with an idempotency key, and its answer.
fn once(connection: &mut Connection) -> Value {
    let body = json!({"operations": [{"put": {"id": "once", "vector": [7.0]}}]}).to_string();
    let headers = "content-type: application/json\r\nidempotency-key: corpus\r\n";
    let request = connection.prepare("POST", &path("life", "/batch"), headers, body.as_bytes());
    let answer = connection.send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["results"].take()
}

fn records(connection: &mut Connection, namespace: &str) -> Value {
    let (mut records, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut request = json!({"limit": 500, "include_vectors": true});
        if !token.is_null() {
            request["token"] = token;
        }
        let mut page = ask(connection, "POST", &path(namespace, "/scroll"), &request);
        records.extend(page["records"].as_array().unwrap().iter().cloned());
        token = page["next"].take();
        if token.is_null() {
            return Value::Array(records);
        }
    }
}

/// A digest of many records is as good as the records, and smaller.
fn summary(records: &Value) -> Value {
    let records = records.as_array().unwrap();
    let fingerprint = records.iter().map(|record| {
        let etag = record["etag"].as_str().unwrap();
        format!("{} {} {} {}", record["id"], record["version"], etag, record["content_hash"])
    });
    let fingerprint = fingerprint.collect::<Vec<_>>().join("\n");
    let sum = fingerprint.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let some: Vec<&Value> = records.iter().step_by(records.len().div_ceil(40)).collect();
    json!({"records": records.len(), "fingerprint": format!("{sum:016x}"), "some": some})
}

/// What is asked of the data: everything that an upgrade must not change.
fn answers(connection: &mut Connection, names: &[&str]) -> Value {
    let mut found = json!({"once": once(connection)});
    for name in names {
        let records = records(connection, name);
        let count = ask(connection, "POST", &path(name, "/count"), &json!({}))["count"].take();
        found[name] = json!({"records": summary(&records), "count": count});
    }
    let mut search = |name: &str, request: Value| {
        ask(connection, "POST", &path(name, "/search"), &request)["hits"].take()
    };
    for (using, point) in [
        ("", json!([0.1, 0.2])),
        ("geometric", json!([-0.3, 0.1])),
        ("ivf", json!([0.01, 0.02])),
        ("pq", json!([0.0, 0.1, 0.0, -0.1])),
        ("flat", json!([0.6, 0.8])),
    ] {
        let mut request = json!({"vector": point, "k": 15, "exact": true});
        if !using.is_empty() {
            request["using"] = json!(using);
        }
        found["kinds"]["search"][using] = search("kinds", request.clone());
        request["filter"] = json!({"n": 3});
        found["kinds"]["filtered"][using] = search("kinds", request);
    }
    let hits = search("texts", json!({"text": "dog walking", "k": 60}));
    let mut ids: Vec<String> =
        hits.as_array().unwrap().iter().map(|h| h["id"].to_string()).collect();
    ids.sort();
    found["texts"]["text"] = json!(ids);
    found["life"]["search"] = search("life", json!({"vector": [3.0], "k": 20, "exact": true}));
    if names.contains(&"packed") {
        let filter = json!({"year": {"$gte": 1940, "$lt": 1943}});
        let request = json!({"vector": [3.0], "k": 20, "exact": true, "filter": filter});
        found["packed"]["filtered"] =
            ask(connection, "POST", &path("packed", "/search"), &request)["hits"].take();
        let request = json!({"order_by": "year", "descending": true, "limit": 30});
        let page = ask(connection, "POST", &path("packed", "/scroll"), &request)["records"].take();
        found["packed"]["ordered"] = page;
    }
    found
}

fn task(connection: &mut Connection, path: &str, request: &Value) -> Value {
    let begun = Instant::now();
    let mut task = ask(connection, "POST", path, request);
    while task["state"] == "running" {
        assert!(begun.elapsed() < PATIENCE, "{task}");
        thread::sleep(Duration::from_millis(20));
        let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
        task = ask(connection, "GET", &path, &Value::Null);
    }
    assert_eq!(task["state"], "done", "{task}");
    task
}

/// Everything that was answered before is answered now; answers may have gained fields.
fn assert_within(expected: &Value, found: &Value, at: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                let found = found.get(key).unwrap_or(&Value::Null);
                assert_within(value, found, &format!("{at}/{key}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{at}");
            for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
                assert_within(expected, found, &format!("{at}/{number}"));
            }
        }
        (Value::Number(expected), Value::Number(found)) if expected.is_f64() => {
            let (expected, found) = (expected.as_f64().unwrap(), found.as_f64().unwrap());
            assert!((expected - found).abs() <= 1e-9 * expected.abs().max(1.0), "{at}");
        }
        _ => assert_eq!(expected, found, "{at}"),
    }
}

fn segments(data: &Path) -> usize {
    let mut count = 0;
    let mut folders = vec![data.join("shards")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "graph") {
                count += 1;
            }
        }
    }
    count
}

/// A data directory with everything in it, of a node that was killed, and what it answered.
fn make(data: &Path) -> Value {
    let node = Node::start(&settings(data)).unwrap();
    let connection = &mut node.connect().unwrap();
    fill(connection);
    compress(connection);
    let begun = Instant::now();
    while segments(data) < 3 {
        assert!(begun.elapsed() < PATIENCE, "segments were not built");
        thread::sleep(Duration::from_millis(50));
    }
    for name in NAMESPACES {
        task(connection, &path(name, "/checkpoints"), &json!({}));
    }
    let mut restored = json!({});
    for name in NAMESPACES {
        restored[name] = summary(&records(connection, name));
    }
    // Orderly, so that the states are on the disk; then a tail that is in the logs alone.
    node.stop().unwrap();
    let node = Node::start(&settings(data)).unwrap();
    let connection = &mut node.connect().unwrap();
    change(connection);
    let mut expected = answers(connection, &NAMESPACES);
    expected["checkpoints"] = restored;
    node.kill().unwrap();
    expected
}

fn check(data: &Path, expected: &Value) {
    let names = expected["checkpoints"].as_object().unwrap().keys().map(String::as_str);
    let names: Vec<&str> = names.collect();
    let output = Command::new(current_program("hvs").unwrap())
        .args(["repair", "--dry-run", "--data-dir", data.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for _ in 0..2 {
        let node = Node::start(&settings(data)).unwrap();
        let found = answers(&mut node.connect().unwrap(), &names);
        for part in names.iter().copied().chain(["once"]) {
            assert_within(&expected[part], &found[part], part);
        }
        node.stop().unwrap();
    }
    let node = Node::start(&settings(data)).unwrap();
    let connection = &mut node.connect().unwrap();
    for name in names {
        let copy = format!("{name}-copy");
        task(connection, "/v1/restore", &json!({"namespace": copy, "source": name}));
        let found = summary(&records(connection, &copy));
        assert_within(&expected["checkpoints"][name], &found, &copy);
    }
    node.stop().unwrap();
}

fn corpora() -> PathBuf {
    workspace().join("tests/corpus")
}

#[test]
fn what_earlier_versions_wrote_opens_and_answers_as_it_did() {
    let mut versions = 0;
    for entry in fs::read_dir(corpora()).unwrap() {
        let corpus = entry.unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        archive::unpack(&fs::read(corpus.join("data.zst")).unwrap(), &data).unwrap();
        let expected = fs::read(corpus.join("expected.json")).unwrap();
        check(&data, &serde_json::from_slice(&expected).unwrap());
        versions += 1;
    }
    assert!(versions > 0, "there is no corpus");
}

/// So that the one of the next version can be written when its time has come.
#[test]
fn a_corpus_of_this_version_can_be_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let expected = make(&made);
    let packed = archive::pack(&made).unwrap();
    let data = folder.path().join("data");
    archive::unpack(&packed, &data).unwrap();
    check(&data, &expected);
    assert!(packed.len() < 2_000_000, "{} bytes are too many to keep", packed.len());
    if let Some(to) = env::var_os("HVS_CORPUS_TO") {
        let to = PathBuf::from(to);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("data.zst"), packed).unwrap();
        fs::write(to.join("expected.json"), format!("{expected:#}\n")).unwrap();
    }
}
