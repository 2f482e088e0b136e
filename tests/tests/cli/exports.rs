//! Exports.

use std::{
    fs,
    io::BufRead as _,
    net::TcpListener,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    process::{Command, Stdio},
};

use crate::setup::{Setup, code, errors, interrupt, rows};

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
