//! The server as a process: configuration, logs, spans, shutdown.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

/// A value that appears in vectors and metadata, and must not appear in any log line.
const SECRET: &str = "0.7531902468";

struct Process {
    child: Child,
    external: SocketAddr,
    internal: SocketAddr,
    lines: mpsc::Receiver<Value>,
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hvs-node"));
    command.env_clear().current_dir(directory);
    command
}

impl Process {
    fn start(directory: &Path, settings: &[&str]) -> Self {
        let mut command = command(directory);
        command
            .args(["--data-dir", "data", "--listen", "127.0.0.1:0"])
            .args(["--internal-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped());
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.unwrap();
                assert!(!line.contains(SECRET), "{line}");
                let parsed = serde_json::from_str(&line).unwrap_or_else(|error| {
                    panic!("a line is not JSON ({error}): {line}");
                });
                if sender.send(parsed).is_err() {
                    return;
                }
            }
        });
        let ready = lines.iter().find(|line: &Value| line["message"] == "ready").unwrap();
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        let (external, internal) = (address("listen.external"), address("listen.internal"));
        Self { child, external, internal, lines }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.external)
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end, and answers whether it was a success and what was logged last.
    fn end(mut self) -> (bool, Vec<Value>) {
        let success = self.child.wait().unwrap().success();
        (success, self.lines.iter().collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed test leaves no process behind; after a success there is none to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(directory: &Path, arguments: &[&str]) -> Output {
    command(directory).args(arguments).output().unwrap()
}

#[test]
fn the_configuration_is_shown_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let shown = config(directory.path(), &["config", "show", "--set", "limits.k=7"]);
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("k: 7"), "{text}");
    // What is shown can be read again.
    std::fs::write(directory.path().join("hvs.yaml"), &text).unwrap();
    let check = config(directory.path(), &["--config", "hvs.yaml", "config", "check"]);
    assert!(check.status.success(), "{check:?}");

    std::fs::write(directory.path().join("bad.yaml"), "limits: {k: 0, ef: 0}\n").unwrap();
    let check = config(directory.path(), &["--config", "bad.yaml", "config", "check"]);
    assert_eq!(check.status.code(), Some(1));
    let text = String::from_utf8(check.stderr).unwrap();
    assert!(text.contains("limits.k: 0") && text.contains("limits.ef: 0"), "{text}");
    // A start refuses what the check refuses.
    assert_eq!(config(directory.path(), &["--config", "bad.yaml"]).status.code(), Some(1));
}

#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start(directory.path(), &[]);
    let second = config(
        directory.path(),
        &["--data-dir", "data", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"],
    );
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("in use by another process"), "{text}");
    first.signal("TERM");
    assert!(first.end().0);
}

#[tokio::test]
async fn signals_end_it_cleanly_and_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    for (round, signal) in ["TERM", "INT"].into_iter().enumerate() {
        let process = Process::start(directory.path(), &["log.level=debug"]);
        let client = reqwest::Client::new();
        let settings = json!({"geometry": "euclidean", "dimension": 1});
        let put = async |path: String, body: Value| {
            let answer = client.put(process.url(&path)).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        };
        put("/v1/namespaces/n".into(), settings).await;
        for n in 0..20 {
            let vector: f64 = SECRET.parse().unwrap();
            let body = json!({"vector": [vector], "metadata": {"secret": SECRET}});
            put(format!("/v1/namespaces/n/vectors/{round}-{n}"), body).await;
        }
        process.signal(signal);
        let (success, lines) = process.end();
        assert!(success);
        assert_eq!(lines.last().unwrap()["message"], "stopped");
        let request = lines.iter().find(|line| line["message"] == "request").unwrap();
        for name in [
            "@timestamp",
            "log.level",
            "http.request.method",
            "url.path_template",
            "http.response.status_code",
            "event.duration",
            "http.request.id",
            "hvs.namespace",
        ] {
            assert!(!request[name].is_null(), "{name} in {request}");
        }
    }
    let process = Process::start(directory.path(), &[]);
    let count = reqwest::Client::new()
        .post(process.url("/v1/namespaces/n/count"))
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    let count: Value = count.json().await.unwrap();
    assert_eq!(count["count"], 40);
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), &[]);
    let client = reqwest::Client::new();
    let put = async |url: String, body: Value| {
        assert!(client.put(url).json(&body).send().await.unwrap().status().is_success());
    };
    let settings = json!({"geometry": "euclidean", "dimension": 1, "shards": 2});
    put(process.url("/v1/namespaces/n"), settings).await;
    for n in 0..50 {
        put(process.url(&format!("/v1/namespaces/n/vectors/r{n}")), json!({"vector": [n]})).await;
    }
    process.child.kill().unwrap();
    let process = Process::start(directory.path(), &[]);
    let search = json!({"vector": [49.4], "k": 3});
    let found = client.post(process.url("/v1/namespaces/n/search")).json(&search).send();
    let found: Value = found.await.unwrap().json().await.unwrap();
    assert_eq!(support::ids(&found), ["r49", "r48", "r47"]);
    let count = client.post(process.url("/v1/namespaces/n/count")).json(&json!({})).send();
    let count: Value = count.await.unwrap().json().await.unwrap();
    assert_eq!(count["count"], 50);
}

#[tokio::test]
async fn readiness_fails_first_and_a_request_in_progress_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    // Long enough to look; the wait ends with the process, not by this clock.
    let process = Process::start(directory.path(), &["shutdown.lead_ms=3000"]);
    let ready = format!("http://{}/readyz", process.internal);
    assert_eq!(reqwest::get(&ready).await.unwrap().status(), 200);
    process.signal("TERM");
    let stopping = process.lines.iter().find(|line| line["message"] == "stopping").unwrap();
    assert_eq!(stopping["log.level"], "info");
    // Said before the flag is set: ask until it is.
    let answer = loop {
        let answer = reqwest::get(&ready).await.unwrap();
        if answer.status() == 503 {
            break answer;
        }
    };
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "shutting_down");
    let live = reqwest::get(format!("http://{}/livez", process.internal)).await.unwrap();
    assert_eq!(live.status(), 200);

    // A request whose body is still on its way when the listener closes.
    let mut stream = TcpStream::connect(process.external).unwrap();
    let body = br#"{"geometry":"euclidean","dimension":1}"#;
    let head = format!(
        "PUT /v1/namespaces/late HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..10]).unwrap();
    while reqwest::get(&ready).await.is_ok() {}
    stream.write_all(&body[10..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(process.end().0);
}

#[tokio::test]
async fn near_a_limit_of_scale_the_log_the_metrics_and_the_answers_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ["scale.dimension_warn=8", "scale.vectors_warn=3", "scale.vectors_refuse=900"];
    let process = Process::start(directory.path(), &settings);
    let client = reqwest::Client::new();
    let near = async |method: reqwest::Method, path: &str, body: Value| {
        let request = client.request(method, process.url(path)).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let found = answer.headers().get("hvs-near-limit");
        found.map(|value| value.to_str().unwrap().to_owned())
    };
    let logged = |message: &str| loop {
        let line = process.lines.recv().unwrap();
        if line["message"] == message {
            break line;
        }
    };
    let put = reqwest::Method::PUT;
    let settings = json!({"geometry": "euclidean", "dimension": 8});
    let of_dimension = "dimension; used=8; warn=8; refuse=4096";
    assert_eq!(near(put.clone(), "/v1/namespaces/n", settings).await.unwrap(), of_dimension);
    let line = logged("near a limit of scale");
    assert_eq!((&line["log.level"], &line["figure"]), (&json!("warn"), &json!("dimension")));
    let figures = |line: &Value| json!([line["used"], line["warn"], line["refuse"]]);
    assert_eq!(figures(&line), json!([8, 8, 4_096]));

    for id in ["a", "b", "c"] {
        let path = format!("/v1/namespaces/n/vectors/{id}");
        near(put.clone(), &path, json!({"vector": [0, 0, 0, 0, 0, 0, 0, 1]})).await;
    }
    let line = logged("near a limit of scale");
    assert_eq!((&line["log.level"], &line["figure"]), (&json!("warn"), &json!("vectors")));
    assert_eq!(figures(&line), json!([3, 3, 900]));
    let both = format!("vectors; used=3; warn=3; refuse=900, {of_dimension}");
    let get = reqwest::Method::GET;
    assert_eq!(near(get, "/v1/aliases", json!({})).await.unwrap(), both);
    let metrics = reqwest::get(process.url("/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        r#"hvs_scale_used{figure="vectors"} 3"#,
        r#"hvs_scale_used{figure="dimension"} 8"#,
        r#"hvs_scale_limit{bound="refuse",figure="vectors"} 900"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    near(reqwest::Method::DELETE, "/v1/namespaces/n", json!({})).await;
    for _ in 0..2 {
        let line = logged("no longer near a limit of scale");
        assert_eq!(line["log.level"], "info");
    }
    process.signal("TERM");
    assert!(process.end().0);
}

#[tokio::test]
async fn a_listener_beyond_loopback_is_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(directory.path());
    command
        .args(["--data-dir", "data", "--listen", "0.0.0.0:0"])
        .args(["--internal-listen", "127.0.0.1:0"])
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut warnings = 0;
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let message = line["message"].as_str().unwrap();
        if message.starts_with("NOT ON LOOPBACK") {
            assert_eq!(line["log.level"], "warn");
            warnings += 1;
        }
        if message == "ready" {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(warnings, 1);
}

/// Takes what is posted to it, answers 200, and hands over the bodies.
fn collector() -> (SocketAddr, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            if sender.send((path, body)).is_err() {
                return;
            }
        }
    });
    (address, received)
}

#[tokio::test]
async fn spans_go_to_the_collector_under_the_trace_of_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let (address, received) = collector();
    let endpoint = format!("otlp.endpoint=http://{address}");
    let process = Process::start(directory.path(), &[&endpoint, "log.level=debug"]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = reqwest::Client::new()
        .get(process.url("/v1/namespaces"))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    process.signal("TERM");
    let (success, lines) = process.end();
    assert!(success);
    let request = lines.iter().find(|line| line["message"] == "request").unwrap();
    assert_eq!(request["trace.id"], trace);

    let (path, body) = received.recv().unwrap();
    assert_eq!(path, "/v1/traces");
    let id: Vec<u8> =
        (0..16).map(|n| u8::from_str_radix(&trace[2 * n..2 * n + 2], 16).unwrap()).collect();
    let holds = |needle: &[u8]| body.windows(needle.len()).any(|window| window == needle);
    assert!(holds(&id) && holds(b"GET /v1/namespaces") && holds(b"hvs-node"));
}
