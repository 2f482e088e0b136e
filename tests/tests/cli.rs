//! The command line against a real node: what it prints, stores and answers to scripts.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    env, fs,
    io::{BufRead as _, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hvs_tests::node::{Node, Settings, current_program, workspace};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long something that is done in moments may take.
const PATIENCE: Duration = Duration::from_mins(1);

struct Setup {
    folder: TempDir,
    node: Node,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&Settings::new(&folder.path().join("node")).unwrap()).unwrap();
        Self { folder, node }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(current_program("hvs").unwrap());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HVS_URL", format!("http://{}", self.node.external()))
            .env_remove("HVS_TIMEOUT")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that succeeds, and reads what it says for scripts.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn create(&self, name: &str, dimension: &str) {
        self.json(&[
            "ns",
            "create",
            name,
            "--geometry",
            "hyperboloid",
            "--dimension",
            dimension,
            "--precision",
            "f64",
        ]);
    }

    fn count(&self, namespace: &str) -> u64 {
        self.json(&["count", namespace])["count"].as_u64().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A row of JSON Lines with the spatial coordinates of a point.
fn row(id: &str, x: f64) -> String {
    json!({"id": id, "vector": [x, 0.5], "coordinates": "spatial", "metadata": {"x": x}})
        .to_string()
}

fn rows(count: usize) -> String {
    (0..count).map(|n| row(&format!("r{n}"), n as f64 / 100.0) + "\n").collect()
}

#[test]
fn records_are_put_found_read_and_deleted() {
    let setup = Setup::new();
    setup.create("tour", "2");
    let put = setup.json(&[
        "put",
        "tour",
        "a",
        "--vector",
        "-0.5,0.25",
        "--coordinates",
        "spatial",
        "--metadata",
        r#"{"legs": 4}"#,
    ]);
    assert_eq!(put["status"], "created");
    setup.json(&["put", "tour", "b", "--vector", "2,1", "--coordinates", "spatial"]);
    let found = setup.json(&["search", "tour", "--id", "a", "-k", "2"]);
    assert_eq!(found["hits"][0]["id"], "a");
    assert_eq!(found["hits"][1]["id"], "b");
    let filtered = setup.json(&["search", "tour", "--id", "b", "--filter", "legs=4"]);
    assert_eq!(filtered["hits"].as_array().unwrap().len(), 1);
    assert_eq!(setup.count("tour"), 2);
    setup.json(&["delete", "tour", "a"]);
    let missing = setup.run(&["get", "tour", "a"]);
    assert_eq!(code(&missing), 1, "{}", errors(&missing));
    let table = setup.run(&["get", "tour", "b"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("2.0000, 1.0000"));
}

#[test]
fn refusals_and_absent_nodes_have_exit_codes_of_their_own() {
    let setup = Setup::new();
    let unknown = setup.run(&["count", "nowhere", "--json"]);
    assert_eq!(code(&unknown), 3);
    let problem: Value = serde_json::from_slice(&unknown.stderr).unwrap();
    assert_eq!(problem["error"]["problem"]["code"], "namespace_not_found");
    let nobody = setup.run(&["count", "nowhere", "--url", "http://127.0.0.1:1", "--timeout", "1"]);
    assert_eq!(code(&nobody), 4, "{}", errors(&nobody));
    assert_eq!(code(&setup.run(&["count"])), 2);
    let absent = setup.run(&["import", "nowhere", "no-such-file.jsonl"]);
    assert_eq!(code(&absent), 5, "{}", errors(&absent));
}

/// What a script reads from standard error: a JSON object in each line.
fn json_lines(output: &Output) -> Vec<Value> {
    let lines: Vec<Value> = errors(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is not JSON")))
        .collect();
    assert!(lines.iter().all(Value::is_object), "{lines:?}");
    lines
}

#[test]
fn scripts_get_json_alone() {
    let setup = Setup::new();
    for arguments in [&["count", "--json"][..], &["--json", "fly"], &["--json"]] {
        let unusable = setup.run(arguments);
        assert_eq!(code(&unusable), 2, "{arguments:?}");
        let lines = json_lines(&unusable);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["error"]["exit_code"], 2);
    }
    assert_eq!(code(&setup.run(&["--help", "--json"])), 0);
    assert!(errors(&setup.run(&["count"])).starts_with("error: "), "people get text");

    setup.create("rows", "2");
    let wrong = json!({"id": "long", "vector": [1.0, 2.0, 3.0, 4.0]}).to_string();
    setup.file("rows.jsonl", [row("good", 0.1), "{".to_owned(), wrong, "{".to_owned()].join("\n"));
    let import = setup.run(&["import", "rows", "rows.jsonl", "--json", "--show-bad", "2"]);
    assert_eq!(code(&import), 1);
    let lines = json_lines(&import);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0]["bad_row"]["line"], 2);
    assert_eq!(lines[1]["bad_row"]["code"], "dimension_mismatch");
    assert_eq!(lines[1]["bad_row"]["id"], "long");
    assert_eq!(lines[2], json!({"bad_rows": 3, "shown": 2}));
    assert_eq!(lines[3]["error"]["exit_code"], 1);
    let summary: Value = serde_json::from_slice(&import.stdout).unwrap();
    assert_eq!(summary["bad"], 3);

    let invalid = setup.run(&["geometry", "validate", "-g", "poincare", "1,1", "--json"]);
    assert_eq!(code(&invalid), 1);
    let answer: Value = serde_json::from_slice(&invalid.stdout).unwrap();
    assert_eq!(answer["valid"], false);
    assert!(answer["reason"].is_string(), "{answer}");

    setup.file("edges.tsv", "dog\tanimal\n");
    let embedded = setup.run(&["embed-hierarchy", "edges.tsv", "--json"]);
    assert_eq!(json_lines(&embedded)[0]["nodes"], 2);
}

#[test]
fn a_condition_that_does_not_hold_is_refused_by_every_command_alike() {
    let setup = Setup::new();
    setup.create("conditions", "2");
    let put = ["put", "conditions", "a", "--vector", "1,2", "--coordinates", "spatial"];
    let stale = setup.json(&put)["etag"].as_str().unwrap().to_owned();
    setup.json(&put);
    let delete = ["delete", "conditions", "a", "--if-match", &stale];
    for refused in [
        setup.run(&[&put[..], &["--if-match", &stale]].concat()),
        setup.run(&[&put[..], &["--if-absent"]].concat()),
        setup.run(&delete),
        setup.run(&[&delete[..], &["b"]].concat()),
    ] {
        assert_eq!(code(&refused), 3, "{}", errors(&refused));
        assert!(errors(&refused).contains("condition"), "{}", errors(&refused));
    }
    assert_eq!(setup.count("conditions"), 1);
    assert_eq!(code(&setup.run(&["delete", "conditions", "b"])), 1, "nothing to delete");
}

#[test]
fn a_wrong_address_is_told_soon() {
    let setup = Setup::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let begun = Instant::now();
    let nobody = setup.run(&["count", "n", "--url", &url]);
    assert_eq!(code(&nobody), 4, "{}", errors(&nobody));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(errors(&nobody).contains("--url"), "{}", errors(&nobody));
}

#[test]
fn a_node_that_is_not_ready_is_waited_for() {
    let setup = Setup::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let node = std::thread::spawn(move || {
        let problem =
            r#"{"type":"","title":"","status":503,"code":"not_ready","detail":"","help":""}"#;
        let not_ready = ("503 Service Unavailable", "application/problem+json", problem);
        let ready = ("200 OK", "application/json", r#"{"namespaces":[]}"#);
        for (status, media_type, body) in [not_ready; 10].into_iter().chain([ready]) {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let length = body.len();
            write!(
                connection,
                "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\
                 retry-after: 0\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    assert_eq!(setup.json(&["ns", "list", "--url", &url])["namespaces"], json!([]));
    node.join().unwrap();
}

#[test]
fn bad_rows_are_named_and_the_good_ones_are_stored() {
    let setup = Setup::new();
    setup.create("rows", "2");
    let lines = [
        row("good-1", 0.1),
        "{\"id\": \"broken\", ".to_owned(),
        json!({"id": "long", "vector": [1.0, 2.0, 3.0, 4.0]}).to_string(),
        json!({"id": "off", "vector": [7.0, 0.0, 0.0]}).to_string(),
        row("good-2", 0.2),
    ];
    setup.file("rows.jsonl", lines.join("\n"));
    let strict = setup.run(&["import", "rows", "rows.jsonl", "--strict"]);
    assert_eq!(code(&strict), 1);
    assert!(errors(&strict).contains("rows.jsonl:2: "), "{}", errors(&strict));
    assert_eq!(setup.count("rows"), 1, "what comes before the bad row is stored");

    let output = setup.run(&["import", "rows", "rows.jsonl", "--rejects", "bad.jsonl"]);
    assert_eq!(code(&output), 1);
    for place in ["rows.jsonl:2: ", "rows.jsonl:3 (\"long\"): ", "rows.jsonl:4 (\"off\"): "] {
        assert!(errors(&output).contains(place), "{place} in {}", errors(&output));
    }
    assert_eq!(setup.count("rows"), 2);
    let rejects = fs::read_to_string(setup.folder.path().join("bad.jsonl")).unwrap();
    let rejects: Vec<Value> =
        rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<&str> = rejects.iter().map(|reject| reject["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["bad_json", "dimension_mismatch", "off_manifold"]);
    assert_eq!(rejects[2]["record"]["id"], "off");

    let skipping = setup.json(&["import", "rows", "rows.jsonl", "--skip-bad"]);
    assert_eq!((&skipping["imported"], &skipping["bad"]), (&json!(2), &json!(3)));
    let projecting = setup.run(&["import", "rows", "rows.jsonl", "--project", "--skip-bad"]);
    assert_eq!(code(&projecting), 0);
    assert_eq!(setup.count("rows"), 3, "the point off the sheet is projected");
}

#[test]
fn a_strict_import_names_the_first_bad_row() {
    let setup = Setup::new();
    let good = |n: u32| row(&format!("good-{n}"), f64::from(n));
    let refused = |id: &str| json!({"id": id, "vector": [1.0, 2.0, 3.0, 4.0]}).to_string();
    let (refused_1, refused_2) = (refused("r1"), refused("r2"));
    let broken = || "{".to_owned();
    for (number, lines, named, stored) in [
        // A batch that the node refuses a row of is not stored.
        (1, [good(1), refused_1, good(2), broken(), refused_2.clone()], 2, 0),
        (2, [good(1), good(2), broken(), refused_2, broken()], 3, 2),
        (3, [broken(), good(1), good(2), good(3), good(4)], 1, 0),
    ] {
        let (namespace, file) = (format!("n{number}"), format!("{number}.jsonl"));
        setup.create(&namespace, "2");
        setup.file(&file, lines.join("\n"));
        let strict = setup.run(&["import", &namespace, &file, "--strict"]);
        assert_eq!(code(&strict), 1, "{}", errors(&strict));
        let place = format!("error: {file}:{named}");
        assert!(errors(&strict).starts_with(&place), "{place}: {}", errors(&strict));
        assert_eq!(setup.count(&namespace), stored, "{namespace}");
    }
}

/// The same as over HTTP: which of the two values was meant, nobody knows.
#[test]
fn a_key_that_occurs_twice_is_refused_wherever_it_stands() {
    let setup = Setup::new();
    setup.create("keys", "2");
    let put = ["put", "keys", "a", "--vector", "0.1,0.2", "--coordinates", "spatial"];
    for metadata in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"a":2}]}"#] {
        let refused = setup.run(&[&put[..], &["-m", metadata]].concat());
        assert_eq!(code(&refused), 2, "{}", errors(&refused));
        assert!(errors(&refused).contains("\"a\" occurs twice"), "{}", errors(&refused));
    }
    let start = r#"{"id":"a","vector":[0.1,0.2],"coordinates":"spatial","#;
    let ends = [
        r#""metadata":{"a":1,"a":2}}"#,
        r#""metadata":{"b":{"a":1,"a":2}}}"#,
        r#""c":{"a":1,"a":2}}"#,
    ];
    setup.file("rows.jsonl", ends.map(|end| format!("{start}{end}\n")).concat());
    setup.file("rows.csv", "id,vector,m\na,0.1 0.2,\"{\"\"a\"\":1,\"\"a\"\":2}\"\n");
    for (file, option, rows) in [("rows.jsonl", "--rest", 3), ("rows.csv", "--json-column=m", 1)] {
        let refused = setup.run(&["import", "keys", file, option]);
        assert_eq!(code(&refused), 1, "{}", errors(&refused));
        for line in 1..=rows {
            let place = format!("{file}:{}: ", line + u64::from(file == "rows.csv"));
            assert!(errors(&refused).contains(&place), "{place} in {}", errors(&refused));
        }
        let told = errors(&refused).matches("\"a\" occurs twice").count();
        assert_eq!(told as u64, rows);
    }
    assert_eq!(setup.count("keys"), 0);
}

#[test]
fn of_rows_with_one_id_the_last_one_stays() {
    let setup = Setup::new();
    setup.create("twice", "2");
    let many: String = (0..500)
        .flat_map(|n| [row(&format!("r{}", n % 7), f64::from(n)), row(&format!("s{n}"), 1.0)])
        .map(|line| line + "\n")
        .collect();
    setup.file("twice.jsonl", many);
    let summary =
        setup.json(&["import", "twice", "twice.jsonl", "--batch", "3", "--in-flight", "8"]);
    assert_eq!(summary["imported"], 1_000);
    for last in 493..500 {
        let record = setup.json(&["get", "twice", &format!("r{}", last % 7)]);
        let record = record.get("records").map_or(&record, |records| &records[0]);
        assert_eq!(record["metadata"]["x"], f64::from(last), "{record}");
    }
}

#[test]
fn tables_and_arrays_are_imported() {
    let setup = Setup::new();
    setup.create("csv", "2");
    setup.file("points.csv", "id,x1,x2,name\na,0.1,0.2,Ann\nb,-1,2,\"Bo, jr.\"\n");
    setup.json(&["import", "csv", "points.csv", "--vector", "x*", "--coordinates", "spatial"]);
    let found = setup.json(&["search", "csv", "--id", "b", "-k", "1"]);
    assert_eq!(found["hits"][0]["metadata"]["name"], "Bo, jr.");

    setup.file("points.npy", npy(&[[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]));
    setup.file("ids.txt", "first\nsecond\nthird\n");
    let summary = setup.json(&[
        "import",
        "csv",
        "points.npy",
        "--ids",
        "ids.txt",
        "--coordinates",
        "spatial",
    ]);
    assert_eq!(summary["imported"], 3);
    assert_eq!(setup.count("csv"), 5);
    let third = setup.json(&["search", "csv", "--id", "third", "-k", "1", "--with-vectors"]);
    assert_eq!(third["hits"][0]["vector"][1], 2.0);
}

/// A numpy array of 64-bit floats, as numpy writes it.
fn npy(rows: &[[f64; 2]]) -> Vec<u8> {
    let shape = rows.len();
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}, 2), }}");
    let padded = format!("{header:<117}\n");
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
    array.extend(padded.as_bytes());
    array.extend(rows.iter().flatten().flat_map(|x| x.to_le_bytes()));
    array
}

#[test]
fn an_array_goes_on_only_with_the_same_ids() {
    let setup = Setup::new();
    setup.create("array", "2");
    let points: Vec<[f64; 2]> =
        (0..30).map(|n| [if n == 15 { f64::NAN } else { f64::from(n) }, 0.5]).collect();
    setup.file("points.npy", npy(&points));
    let ids =
        |prefix: &str| (0..30).map(|n| format!("{prefix}{n:02}")).collect::<Vec<_>>().join("\n");
    setup.file("ids.txt", ids("a"));
    let import = ["import", "array", "points.npy", "--ids", "ids.txt", "--coordinates", "spatial"];
    let stopped = setup.run(&[&import[..], &["--strict", "--batch", "10"]].concat());
    assert_eq!(code(&stopped), 1, "{}", errors(&stopped));
    let before = setup.count("array");
    assert!(before >= 10, "{before}");

    // As many ids, as long as before.
    setup.file("ids.txt", ids("b"));
    let refused = setup.run(&[&import[..], &["--skip-bad"]].concat());
    assert_eq!(code(&refused), 5, "{}", errors(&refused));
    assert!(errors(&refused).contains("another file of ids"), "{}", errors(&refused));
    assert_eq!(setup.count("array"), before);
    setup.file("ids.txt", ids("a"));
    setup.json(&[&import[..], &["--skip-bad"]].concat());
    assert_eq!(setup.count("array"), 29);
}

/// Rows of an import that takes long enough to be killed.
const ROWS: usize = 60_000;

/// An import that is killed goes on where it was, and writes nothing a second time.
#[test]
fn an_import_that_is_killed_goes_on() {
    let setup = Setup::new();
    setup.create("resume", "2");
    setup.file("many.jsonl", rows(ROWS));
    let state = setup.folder.path().join("many.jsonl.hvs-import");
    let arguments = ["import", "resume", "many.jsonl", "--batch", "50", "--json"];
    let mut first = setup.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    let rows_done = || {
        let state: Value = serde_json::from_slice(&fs::read(&state).ok()?).ok()?;
        state["tally"]["position"]["row"].as_u64()
    };
    wait_until(|| rows_done().is_some_and(|rows| rows > 0));
    first.kill().unwrap();
    first.wait().unwrap();
    let before = setup.count("resume");
    assert!((1..ROWS as u64).contains(&before), "{before} rows when it was killed");

    let summary = setup.json(&["import", "resume", "many.jsonl", "--batch", "50"]);
    assert!(summary["resumed_at_row"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(summary["rows"], ROWS);
    assert_eq!(setup.count("resume"), ROWS as u64);
    assert!(!state.exists(), "nothing is left to go on with");
    let export = setup.run(&["export", "resume"]);
    assert_eq!(String::from_utf8_lossy(&export.stdout).lines().count(), ROWS);
    for id in ["r0", "r49", &format!("r{before}"), &format!("r{}", before - 1)] {
        let record = setup.json(&["get", "resume", id]);
        let record = record.get("records").map_or(&record, |records| &records[0]);
        assert_eq!(record["version"], 1, "{id} was written once");
    }
}

#[test]
fn another_file_does_not_continue_an_import() {
    let setup = Setup::new();
    setup.create("other", "2");
    setup.file("rows.jsonl", rows(10));
    setup.file("rows.jsonl.hvs-import", "{}");
    let garbage = setup.run(&["import", "other", "rows.jsonl"]);
    assert_eq!(code(&garbage), 5);
    assert!(errors(&garbage).contains("--restart"), "{}", errors(&garbage));
    setup.json(&["import", "other", "rows.jsonl", "--restart"]);
    assert_eq!(setup.count("other"), 10);
}

/// Stores the rows before row 10 and stops there, at a bad one.
fn stop_half_way(setup: &Setup, namespace: &str, file: &str) {
    let lines: Vec<String> = (0..30)
        .map(|n| if n == 15 { "broken".to_owned() } else { row(&format!("r{n}"), f64::from(n)) })
        .collect();
    setup.file(file, lines.join("\n"));
    let stopped = setup.run(&["import", namespace, file, "--strict", "--batch", "10"]);
    assert_eq!(code(&stopped), 1, "{}", errors(&stopped));
    assert!(setup.folder.path().join(format!("{file}.hvs-import")).exists());
}

#[test]
fn an_import_goes_on_only_in_the_namespace_that_has_its_rows() {
    let setup = Setup::new();
    setup.create("target", "2");
    stop_half_way(&setup, "target", "rows.jsonl");
    setup.json(&["ns", "delete", "target", "--yes"]);
    setup.create("target", "2");
    let again = ["import", "target", "rows.jsonl", "--skip-bad"];
    let refused = setup.run(&again);
    assert_eq!(code(&refused), 5, "{}", errors(&refused));
    for told in ["\"target\"", "created again", "--restart"] {
        assert!(errors(&refused).contains(told), "{told} in {}", errors(&refused));
    }
    assert_eq!(setup.count("target"), 0);
    setup.json(&[&again[..], &["--restart"]].concat());
    assert_eq!(setup.count("target"), 29);
}

#[test]
fn an_import_into_an_alias_goes_on_where_the_alias_led() {
    let setup = Setup::new();
    setup.create("blue", "2");
    setup.create("green", "2");
    setup.json(&["ns", "alias", "set", "live", "blue"]);
    stop_half_way(&setup, "live", "rows.jsonl");
    setup.json(&["ns", "alias", "set", "live", "green"]);
    let refused = setup.run(&["import", "live", "rows.jsonl", "--skip-bad"]);
    assert_eq!(code(&refused), 5, "{}", errors(&refused));
    assert!(errors(&refused).contains("alias leads elsewhere"), "{}", errors(&refused));
    assert_eq!(setup.count("green"), 0);
    let summary = setup.json(&["import", "blue", "rows.jsonl", "--skip-bad"]);
    assert!(summary["resumed_at_row"].as_u64() >= Some(10), "{summary}");
    assert_eq!(setup.count("blue"), 29);
}

/// A process of root writes where it has no permission to, so the places here cannot exist.
#[test]
fn an_import_stores_nothing_that_it_cannot_take_note_of() {
    let setup = Setup::new();
    setup.create("noted", "2");
    setup.file("rows.jsonl", rows(10));
    fs::create_dir(setup.folder.path().join("rows.jsonl.hvs-import.tmp")).unwrap();
    for state in [&[][..], &["--state", "/nonexistent/x"]] {
        let refused = setup.run(&[&["import", "noted", "rows.jsonl"], state].concat());
        assert_eq!(code(&refused), 5, "{}", errors(&refused));
        assert!(errors(&refused).contains("--state FILE"), "{}", errors(&refused));
        assert!(!errors(&refused).contains("same command"), "{}", errors(&refused));
        assert_eq!(setup.count("noted"), 0);
    }
    let state = setup.folder.path().join("elsewhere");
    setup.json(&["import", "noted", "rows.jsonl", "--state", state.to_str().unwrap()]);
    assert_eq!(setup.count("noted"), 10);
    assert!(!state.exists());
}

/// An import that stopped before its first row counts does not stand in the way of another.
#[test]
fn what_was_never_begun_is_not_in_the_way() {
    let setup = Setup::new();
    setup.create("fresh", "2");
    setup.file("rows.jsonl", "broken\n".to_owned() + &rows(3));
    let strict = setup.run(&["import", "fresh", "rows.jsonl", "--strict"]);
    assert_eq!(code(&strict), 1, "{}", errors(&strict));
    setup.file("rows.jsonl", rows(3));
    setup.json(&["import", "fresh", "rows.jsonl"]);
    assert_eq!(setup.count("fresh"), 3);
}

#[test]
fn an_export_imports_to_the_same_namespace() {
    let setup = Setup::new();
    setup.create("from", "2");
    setup.create("to", "2");
    setup.file("rows.jsonl", rows(2_345));
    setup.json(&["import", "from", "rows.jsonl"]);
    let told = setup.json(&["export", "from", "--output", "first.jsonl", "--page", "100"]);
    assert_eq!(told["records"], 2_345);
    setup.json(&["import", "to", "first.jsonl"]);
    setup.json(&["export", "to", "--output", "second.jsonl"]);
    let read = |name: &str| fs::read_to_string(setup.folder.path().join(name)).unwrap();
    assert_eq!(read("first.jsonl"), read("second.jsonl"));
}

#[test]
fn an_export_keeps_what_its_target_is() {
    let setup = Setup::new();
    setup.create("from", "2");
    setup.file("rows.jsonl", rows(30));
    setup.json(&["import", "from", "rows.jsonl"]);
    let at = |name: &str| setup.folder.path().join(name);
    let rows = setup.run(&["export", "from"]).stdout;
    assert_eq!(rows.lines().count(), 30);
    let written = |name: &str| fs::read(at(name)).unwrap() == rows;
    for standard_output in ["-", "/dev/stdout"] {
        assert_eq!(setup.run(&["export", "from", "-o", standard_output]).stdout, rows);
    }
    assert!(!at("-").exists());

    // Links, to a file that is there, and to one that is not.
    fs::create_dir(at("elsewhere")).unwrap();
    setup.file("elsewhere/old", "old");
    for (link, target) in [("link", "elsewhere/old"), ("new", "elsewhere/new")] {
        symlink(target, at(link)).unwrap();
        setup.json(&["export", "from", "-o", link]);
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
        assert!(written(target), "{target}");
    }

    let secret = setup.file("secret", "old");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o604)).unwrap();
    setup.json(&["export", "from", "-o", "secret"]);
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o604);
    assert!(written("secret"));

    // A folder is refused before anything is asked of the node.
    let folder = setup.run(&["export", "from", "-o", "elsewhere", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code(&folder), 5, "{}", errors(&folder));
    assert!(!at("elsewhere.part").exists());

    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = at("pipe");
        move || fs::read(pipe).unwrap()
    });
    setup.json(&["export", "from", "-o", "pipe"]);
    assert_eq!(reader.join().unwrap(), rows);
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
    assert!(!at("pipe.part").exists());
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let setup = Setup::new();
    let failed = setup.run(&["export", "nowhere", "-o", "out.jsonl"]);
    assert_eq!(code(&failed), 3, "{}", errors(&failed));
    assert!(!setup.folder.path().join("out.jsonl.part").exists());

    // A node that takes the request and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut export = setup.command(&["export", "n", "-o", "out.jsonl", "--url", &url]);
    let export = export.stderr(Stdio::piped()).spawn().unwrap();
    let (_connection, _) = silent.accept().unwrap();
    interrupt(&export);
    let output = export.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", errors(&output));
    assert!(!setup.folder.path().join("out.jsonl.part").exists());
}

/// What Ctrl-C sends.
fn interrupt(process: &Child) {
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

#[test]
fn reference_cases_are_checked() {
    let setup = Setup::new();
    let golden = workspace().join("crates/geometry/tests/golden/geometry.json");
    let golden = golden.to_str().unwrap();
    let report = setup.json(&["geometry", "check", golden]);
    let cases: u64 = report["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["cases"].as_u64().unwrap())
        .sum();
    assert_eq!(cases, 804);

    let mut file: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    file["cases"][0]["out"] = json!(0.759_116_737);
    setup.file("altered.json", file.to_string());
    let altered = setup.run(&["geometry", "check", "altered.json"]);
    assert_eq!(code(&altered), 1);
    let shown = String::from_utf8_lossy(&altered.stdout).into_owned();
    assert!(shown.contains("case 0, poincare distance: error"), "{shown}");
    file["cases"][3]["op"] = json!("cube");
    setup.file("malformed.json", file.to_string());
    let malformed = setup.run(&["geometry", "check", "malformed.json"]);
    assert_eq!(code(&malformed), 5);
    assert!(errors(&malformed).contains("case 3: unknown operation \"cube\""));
}

#[test]
fn geometry_is_computed_without_a_node() {
    let setup = Setup::new();
    let distance =
        setup.json(&["geometry", "distance", "-g", "poincare", "-c", "-4", "0.1,0", "-0.1,0"]);
    // Radii 2·artanh(√c·x)/√c on either side of the centre.
    let expected = 2.0 * 0.2_f64.atanh();
    assert!((distance["distance"].as_f64().unwrap() - expected).abs() < 1e-15, "{distance}");
    let wrong = setup.run(&["geometry", "validate", "-g", "hyperboloid", "1,1,0"]);
    assert_eq!(code(&wrong), 1);
    assert!(errors(&wrong).contains("1.414"), "{}", errors(&wrong));
    setup.file("points.txt", "[1, 0]\n\n-1 0\n");
    let mean = setup.json(&["geometry", "mean", "-g", "euclidean", "points.txt"]);
    assert_eq!(mean["point"], json!([0.0, 0.0]));
}

#[test]
fn coordinates_are_read_from_the_standard_input() {
    let setup = Setup::new();
    setup.file("point", "[0.1, 0]\n");
    setup.file("nothing", "\n");
    let distance = |arguments: &[&str], input: &str| {
        let start = ["geometry", "distance", "-g", "euclidean", "--json"];
        let mut command = setup.command(&[&start[..], arguments].concat());
        command.stdin(fs::File::open(setup.folder.path().join(input)).unwrap()).output().unwrap()
    };
    for arguments in [["-", "0.5,0"], ["0.5,0", "-"]] {
        let output = distance(&arguments, "point");
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!((answer["distance"].as_f64().unwrap() - 0.4).abs() < 1e-15, "{answer}");
    }
    for (arguments, input) in [(["-", "-"], "point"), (["-", "0.5,0"], "nothing")] {
        let output = distance(&arguments, input);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).contains("standard input"), "{}", errors(&output));
    }
}

#[test]
fn a_hierarchy_is_embedded_imported_and_searched() {
    let setup = Setup::new();
    let edges = "animal\nmammal\tanimal\nbird\tanimal\ndog\tmammal\ncat\tmammal\nowl\tbird\n";
    setup.file("edges.tsv", edges);
    let report = setup.json(&[
        "embed-hierarchy",
        "edges.tsv",
        "--dimension",
        "4",
        "--output",
        "points.jsonl",
        "--report",
    ]);
    assert_eq!(report["nodes"], 6);
    assert!(report["ancestors"]["map"].as_f64().unwrap() > 0.99, "{report}");
    setup.create("animals", "4");
    setup.json(&["import", "animals", "points.jsonl"]);
    let found = setup.json(&["search", "animals", "--id", "dog", "-k", "3"]);
    let nearest: Vec<&str> =
        found["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(nearest[..2], ["dog", "mammal"]);

    setup.file("circle.tsv", "a\tb\nb\ta\n");
    let circle = setup.run(&["embed-hierarchy", "circle.tsv"]);
    assert_eq!(code(&circle), 5);
    assert!(errors(&circle).contains("circle"), "{}", errors(&circle));
    setup.file("wide.tsv", "a\tb\nc\td\te\n");
    let wide = setup.run(&["embed-hierarchy", "wide.tsv"]);
    assert!(errors(&wide).contains("line 2: 3 fields"), "{}", errors(&wide));
}

#[test]
fn a_running_node_is_measured_and_left_as_it_was() {
    let setup = Setup::new();
    let rows = setup.json(&["bench", "--records", "500", "--seconds", "0.05"]);
    let kinds: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["request"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["batch of 1,000 puts", "put", "get", "search"]);
    let left = setup.json(&["ns", "list"]);
    assert_eq!(left["namespaces"].as_array().map(Vec::len), Some(0), "{left}");
}

#[test]
fn a_measurement_that_is_interrupted_leaves_nothing() {
    let setup = Setup::new();
    let namespaces = || setup.json(&["ns", "list"])["namespaces"].as_array().unwrap().clone();
    let mut bench = setup.command(&["bench", "--records", "1000", "--seconds", "3600"]);
    let bench = bench.stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| namespaces().first().is_some_and(|one| one["records"].as_u64() > Some(1_000)));
    interrupt(&bench);
    let output = bench.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", errors(&output));
    assert_eq!(namespaces(), Vec::<Value>::new());
}

/// The commands of a page that are to be run.
fn commands(page: &str) -> String {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect()
}

/// Whoever reads one page after the other on one node meets no namespace of another page.
#[test]
fn the_pages_can_be_followed_one_after_the_other() {
    let setup = Setup::new();
    let readme = commands("README.md");
    let tour: Vec<&str> = readme.lines().filter(|line| line.starts_with("hvs ns create")).collect();
    assert!(!tour.is_empty());
    let pages = [tour.join("\n"), commands("docs/cli.md"), commands("docs/hierarchy.md")];
    let hvs = current_program("hvs").unwrap();
    let folder = hvs.parent().unwrap().to_path_buf();
    let others = env::var_os("PATH").unwrap();
    let path = [folder].into_iter().chain(env::split_paths(&others));
    let output = Command::new("sh")
        .args(["-euc", &pages.join("\n")])
        .current_dir(setup.folder.path())
        .env("HVS_URL", format!("http://{}", setup.node.external()))
        .env("PATH", env::join_paths(path).unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", errors(&output));
}

fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}
