//! Imports.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::setup::{Setup, code, errors, row, rows, wait_until};

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
