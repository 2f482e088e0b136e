//! Records, refusals and what scripts are told.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::setup::{Setup, code, errors, json_lines, row};

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
    let broken = setup.run(&["count", "tour", "--filter", r#"legs={"$gt":"#]);
    assert_eq!(code(&broken), 2, "{}", errors(&broken));
    assert!(errors(&broken).contains("begins as JSON"), "{}", errors(&broken));
    let negative = setup.run(&["search", "tour", "--id", "b", "--radius", "-1"]);
    assert!(errors(&negative).contains("at least 0"), "{}", errors(&negative));
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
