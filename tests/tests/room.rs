//! A disk that is really full, and one that is really read-only: small file systems in memory,
//! mounted where only the test sees them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hvs_tests::{
    http::Connection,
    node::{Node, Settings, run_to_end},
    sample::{ask, path, records, task},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);
const INSIDE: &str = "HVS_TEST_IN_NAMESPACE";

/// Runs a test once more, in a process with mounts of its own, and says whether this is that
/// process.
fn has_own_mounts(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]).stdin(Stdio::null());
    let is_allowed = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !is_allowed {
        assert!(env::var_os("CI").is_none(), "{test} needs the right to mount");
        // Not by `println`, which the test harness keeps to itself: whoever counts is to see it.
        let reason = "needs the right to mount file systems (unshare --mount)";
        #[expect(clippy::explicit_write, reason = "see above")]
        writeln!(io::stdout(), "SKIPPED: {test} {reason}").unwrap();
        return false;
    }
    let output = unshare
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
    false
}

/// A file system of its own.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn new(at: &Path, megabytes: u32) -> Self {
        fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"], at);
        Self { at: at.to_owned() }
    }

    /// Leaves no page free.
    fn fill(&self) {
        let mut filler = File::create(self.at.join("filler")).unwrap();
        for bytes in [1 << 20, 4096] {
            while filler.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }

    fn set_read_only(&self, is_read_only: bool) {
        mount(&["-o", if is_read_only { "remount,ro" } else { "remount,rw" }], &self.at);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn create(connection: &mut Connection, name: &str) {
    let space = json!({"geometry": "euclidean", "dimension": 2});
    ask(connection, "PUT", &path(name, ""), &space).unwrap();
}

/// Large enough to take a page of the disk.
fn put(connection: &mut Connection, name: &str, id: &str, level: &str) -> (u16, Value) {
    // Not to be compressed away.
    let noise = id.bytes().cycle().zip(0..3_000_u32);
    let noise = noise
        .map(|(a, n)| char::from(b'a' + (n.wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ a) % 26));
    let body = json!({"vector": [id.len(), 1], "durability": level,
        "metadata": {"noise": noise.collect::<String>()}});
    let at = path(name, &format!("/vectors/{id}"));
    let answer = connection.json("PUT", &at, &body.to_string()).unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn ids(connection: &mut Connection, name: &str) -> Vec<String> {
    let records = records(connection, name).unwrap();
    records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

fn search(connection: &mut Connection, name: &str) -> Value {
    let request = json!({"vector": [7, 1], "k": 20, "exact": true});
    ask(connection, "POST", &path(name, "/search"), &request).unwrap()["hits"].take()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_full_disk_refuses_writes_and_loses_none_that_it_took() {
    if !has_own_mounts("a_full_disk_refuses_writes_and_loses_none_that_it_took") {
        return;
    }
    for level in ["sync", "buffered"] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(&folder.path().join("disk"), 24);
        let settings = Settings::new(&disk.at.join("data")).unwrap();
        let node = Node::start(&settings).unwrap();
        let connection = &mut node.connect().unwrap();
        create(connection, "room");
        let mut taken = Vec::new();
        let mut refusals = Vec::new();
        for number in 0..40 {
            if number == 20 {
                disk.fill();
            }
            let id = format!("{level}-{number:02}");
            let (status, said) = put(connection, "room", &id, level);
            match status {
                201 => taken.push(id),
                _ => refusals.push((status, said)),
            }
        }
        println!("{level}: {} taken, first refusal {:?}", taken.len(), refusals.first());
        assert!(taken.len() >= 20 && refusals.len() >= 10, "{} taken", taken.len());
        for (number, (status, said)) in refusals.iter().enumerate() {
            let (expected, code) =
                if number == 0 { (503, "outcome_unknown") } else { (500, "storage_failed") };
            assert_eq!((*status, said["code"].as_str()), (expected, Some(code)), "{said}");
        }
        // What was wrong is in the log of the node, for who runs it.
        assert!(node.log_text().contains("No space left on device"), "{}", node.log_text());
        // Reads and searches go on.
        let found = ids(connection, "room");
        assert!(taken.iter().all(|id| found.contains(id)));
        let hits = search(connection, "room");
        assert_eq!(hits.as_array().unwrap().len(), 20);
        node.kill().unwrap();

        // Still full: it refuses to start or starts, and makes nothing worse.
        match Node::start(&settings) {
            Ok(node) => node.kill().unwrap(),
            Err(error) => {
                let said = format!("{error:#}");
                assert!(said.contains("No space left on device"), "{said}");
                assert!(!said.contains("panicked"), "{said}");
            }
        }
        disk.make_room();
        let node = Node::start(&settings).unwrap();
        let connection = &mut node.connect().unwrap();
        let found = ids(connection, "room");
        for id in &taken {
            assert!(found.contains(id), "{id} was acknowledged and is gone");
        }
        assert_eq!(put(connection, "room", "after", level).0, 201);
        node.stop().unwrap();
    }
}

#[test]
fn a_checkpoint_onto_a_full_disk_fails_and_leaves_the_earlier_ones() {
    if !has_own_mounts("a_checkpoint_onto_a_full_disk_fails_and_leaves_the_earlier_ones") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(&folder.path().join("backups"), 4);
    let settings = Settings::new(&folder.path().join("data")).unwrap();
    let settings = settings.with("checkpoints.url", disk.at.to_str().unwrap());
    let node = Node::start(&settings).unwrap();
    let connection = &mut node.connect().unwrap();
    create(connection, "room");
    put(connection, "room", "first", "buffered");
    let place = path("room", "/checkpoints");
    let made = task(connection, &place, &json!({})).unwrap();
    assert_eq!(made["state"], "done", "{made}");

    put(connection, "room", "second", "buffered");
    disk.fill();
    let failed = task(connection, &place, &json!({})).unwrap();
    println!("{failed}");
    assert_eq!(failed["state"], "failed", "{failed}");
    let said = failed["problem"]["detail"].as_str().unwrap();
    assert!(said.contains("no space is left there"), "{failed}");
    assert!(node.log_text().contains("No space left on device"), "{}", node.log_text());
    let list = ask(connection, "GET", &place, &Value::Null).unwrap();
    assert_eq!(list["checkpoints"].as_array().unwrap().len(), 1);
    let id = &list["checkpoints"][0]["id"];
    let verified = task(connection, &format!("{place}/{id}/verify"), &json!({})).unwrap();
    assert_eq!(verified["state"], "done", "{verified}");

    disk.make_room();
    let made = task(connection, &place, &json!({})).unwrap();
    assert_eq!((&made["state"], &made["checkpoint"]["records"]), (&json!("done"), &json!(2)));
    let request = json!({"namespace": "copy", "source": "room"});
    assert_eq!(task(connection, "/v1/restore", &request).unwrap()["state"], "done");
    assert_eq!(ids(connection, "copy"), ["first", "second"]);
    node.stop().unwrap();
}

#[test]
fn an_index_that_cannot_be_written_is_searched_from_memory_and_written_later() {
    if !has_own_mounts("an_index_that_cannot_be_written_is_searched_from_memory_and_written_later")
    {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(&folder.path().join("disk"), 24);
    let data = disk.at.join("data");
    let settings = Settings::new(&data).unwrap().with("index.tail", "40");
    let node = Node::start(&settings.clone().with("maintenance.paused", "true")).unwrap();
    let connection = &mut node.connect().unwrap();
    create(connection, "room");
    let operations: Vec<Value> = (0..60)
        .map(|n| json!({"put": {"id": format!("id-{n:02}"), "vector": [f64::from(n), 1.0]}}))
        .collect();
    ask(connection, "POST", &path("room", "/batch"), &json!({"operations": operations})).unwrap();
    let before = search(connection, "room");
    disk.fill();
    ask(connection, "POST", "/v1/maintenance/resume", &json!({})).unwrap();
    wait_for("the failed build is not logged", || {
        node.log_text().contains("building an index segment failed")
    });
    let said = node.log_text();
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(search(connection, "room"), before);

    disk.make_room();
    // The next write tries again, once some time has passed.
    let is_written = || {
        hvs_tests::sample::files(&data).unwrap().iter().any(|file| file.ends_with("manifest.json"))
            && hvs_tests::sample::files(&data)
                .unwrap()
                .iter()
                .any(|file| file.extension().is_some_and(|extension| extension == "rows"))
    };
    wait_for("no segment was written", || {
        let body = json!({"vector": [1_000, 1_000]});
        ask(connection, "PUT", &path("room", "/vectors/far"), &body).unwrap();
        is_written()
    });
    assert_eq!(search(connection, "room"), before);
    node.stop().unwrap();
    let node = Node::start(&settings).unwrap();
    assert_eq!(search(&mut node.connect().unwrap(), "room"), before);
    node.stop().unwrap();
}

#[test]
fn a_read_only_directory_is_refused_with_what_to_do() {
    if !has_own_mounts("a_read_only_directory_is_refused_with_what_to_do") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(&folder.path().join("disk"), 16);
    let data = disk.at.join("data");
    let settings = Settings::new(&data).unwrap();
    disk.set_read_only(true);
    let (status, said) = run_to_end(&settings).unwrap();
    assert!(!status.success());
    assert!(said.contains("Read-only file system") && said.contains("disk"), "{said}");
    disk.set_read_only(false);

    let node = Node::start(&settings).unwrap();
    let connection = &mut node.connect().unwrap();
    create(connection, "room");
    put(connection, "room", "kept", "buffered");
    node.stop().unwrap();
    disk.set_read_only(true);
    let (status, said) = run_to_end(&settings).unwrap();
    println!("{said}");
    assert!(!status.success());
    assert!(said.contains(data.to_str().unwrap()), "{said}");
    assert!(said.contains("make the file system writable"), "{said}");
    disk.set_read_only(false);
    let node = Node::start(&settings).unwrap();
    assert_eq!(ids(&mut node.connect().unwrap(), "room"), ["kept"]);
    node.stop().unwrap();
}
