//! The pages of the documentation.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use hvs_tests::node::{current_program, workspace};

use crate::setup::{Setup, code, errors};

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
    let names = ["cli", "hierarchy", "import-export", "querying", "records", "filters", "indexes"];
    let others = ["changes", "geometry", "storage"];
    let pages = names.iter().chain(&others).map(|name| {
        let commands = commands(&format!("docs/{name}.md"));
        assert!(!commands.is_empty(), "{name} has no commands");
        commands
    });
    let script: Vec<String> = [tour.join("\n")].into_iter().chain(pages).collect();
    let hvs = current_program("hvs").unwrap();
    let folder = hvs.parent().unwrap().to_path_buf();
    let others = env::var_os("PATH").unwrap();
    let path = [folder].into_iter().chain(env::split_paths(&others));
    let output = Command::new("sh")
        .args(["-euc", &script.join("\n")])
        .current_dir(setup.folder.path())
        .env("HVS_URL", format!("http://{}", setup.node.external()))
        .env("PATH", env::join_paths(path).unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", errors(&output));
}
