//! What must be installed before anything can be built, and how to get it.

use std::{env, path::Path};

use xtask::{places::USUAL_GO, shell};

/// Something that a machine may lack.
struct Prerequisite {
    what: &'static str,
    present: fn() -> bool,
    how_to_get: &'static str,
    only_for_tests: bool,
}

/// What a chore is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Build and run programs.
    Build,
    /// Run every check.
    Test,
}

const ALL: [Prerequisite; 9] = [
    Prerequisite {
        what: "cargo",
        present: || env::var_os("CARGO").is_some() || shell::find("cargo").is_some(),
        how_to_get: "install Rust with rustup; rust-toolchain.toml then chooses the version",
        only_for_tests: false,
    },
    Prerequisite {
        what: "rustfmt",
        present: || cargo_knows("fmt"),
        how_to_get: "rustup component add rustfmt",
        only_for_tests: true,
    },
    Prerequisite {
        what: "clippy",
        present: || cargo_knows("clippy"),
        how_to_get: "rustup component add clippy",
        only_for_tests: true,
    },
    Prerequisite {
        what: "a C compiler",
        present: || env::var_os("CC").is_some() || any_of(&["cc", "gcc", "clang"]),
        how_to_get: "on Debian: apt-get install gcc libc6-dev; on macOS: xcode-select --install",
        only_for_tests: false,
    },
    Prerequisite {
        what: "a C++ compiler",
        present: || env::var_os("CXX").is_some() || any_of(&["c++", "g++", "clang++"]),
        how_to_get: "on Debian: apt-get install g++; on macOS: xcode-select --install",
        only_for_tests: false,
    },
    Prerequisite {
        what: "bash",
        present: || shell::find("bash").is_some(),
        how_to_get: "on Debian: apt-get install bash",
        only_for_tests: true,
    },
    Prerequisite {
        what: "curl",
        present: || shell::find("curl").is_some(),
        how_to_get: "on Debian: apt-get install curl",
        only_for_tests: true,
    },
    Prerequisite {
        what: "Go",
        present: || shell::find("go").is_some() || Path::new(USUAL_GO).is_file(),
        how_to_get: "install it from https://go.dev/dl, or on Debian: apt-get install golang-go",
        only_for_tests: true,
    },
    Prerequisite {
        what: "protoc",
        present: || shell::find("protoc").is_some(),
        how_to_get: "on Debian: apt-get install protobuf-compiler; on macOS: brew install protobuf",
        only_for_tests: true,
    },
];

/// One line for each thing that is missing, with how to get it; empty when nothing is.
pub(crate) fn missing(purpose: Purpose) -> Vec<String> {
    ALL.iter()
        .filter(|needed| purpose == Purpose::Test || !needed.only_for_tests)
        .filter(|needed| !(needed.present)())
        .map(|needed| format!("{} is missing: {}", needed.what, needed.how_to_get))
        .collect()
}

/// How many things are looked for.
pub(crate) fn count() -> usize {
    ALL.len()
}

fn any_of(programs: &[&str]) -> bool {
    programs.iter().any(|program| shell::find(program).is_some())
}

/// Whether cargo has the subcommand, with the toolchain that the checkout asks for: rustup has a
/// stand-in for components that are not installed.
fn cargo_knows(subcommand: &str) -> bool {
    shell::output(Path::new("."), "cargo", &[subcommand, "--version"]).is_ok()
}
