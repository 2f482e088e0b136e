//! Building the kit: once for each state of its sources, in the cache.
//!
//! PD is a Go module. The module of TiKV's messages, kvproto, is not served by the module proxy for
//! the version that this PD wants, so that it is generated, from the messages that the Rust client
//! is built with: both ends then speak of the same.

use std::{
    env,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, id},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::{places, shell};

use crate::{disk::write_file, node::workspace};

/// The compiler of messages to Go, and its version.
const GENERATOR: &str = "github.com/gogo/protobuf/protoc-gen-gofast@v1.3.2";
/// Where kvproto's packages are in Go.
const PACKAGES: &str = "github.com/pingcap/kvproto/pkg";
/// The packages, in the order of files of the same name.
const MESSAGES: [&str; 18] = [
    "coprocessor",
    "deadlock",
    "diagnosticspb",
    "disaggregated",
    "disk_usage",
    "encryptionpb",
    "eraftpb",
    "errorpb",
    "keyspacepb",
    "kvrpcpb",
    "metapb",
    "mpp",
    "pdpb",
    "raft_serverpb",
    "replication_modepb",
    "resource_manager",
    "tikvpb",
    "tracepb",
];
/// Calls of PD that came after the PD of the kit, whose server would lack them.
const LATER_CALLS: [&str; 11] = [
    "GetAllGCSafePointV2",
    "GetClusterInfo",
    "GetExternalTimestamp",
    "GetGCSafePointV2",
    "GetMinTS",
    "IsSnapshotRecovering",
    "ReportMinResolvedTS",
    "SetExternalTimestamp",
    "UpdateGCSafePointV2",
    "UpdateServiceSafePointV2",
    "WatchGCSafePointV2",
];
/// Fields that this PD knows under other names: of pdpb, with their numbers.
const RENAMED: [(&str, &str); 2] =
    [(" tombstones = 3;", " deletes = 3;"), (" recovery_plan = 5;", " plan = 5;")];
/// What the generated module needs, as this PD does.
const KVPROTO: &str = "module github.com/pingcap/kvproto

go 1.19

require (
	github.com/gogo/protobuf v1.3.1
	github.com/golang/protobuf v1.3.4
	google.golang.org/grpc v1.26.0
)
";

/// The kit's program, built if it is not yet.
///
/// # Errors
/// Go or protoc is missing, or what is to be fetched or built cannot be.
pub fn program() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BUILT.get_or_init(|| find_or_build().map_err(|error| format!("{error:#}"))) {
        Ok(program) => Ok(program.clone()),
        Err(reason) => bail!("the kit of PD and a store does not build: {reason}"),
    }
}

fn find_or_build() -> Result<PathBuf> {
    let sources = sources()?;
    let messages = client_messages()?;
    let mut hasher = DefaultHasher::new();
    sources.hash(&mut hasher);
    (messages.file_name(), messages.parent().and_then(Path::file_name)).hash(&mut hasher);
    include_str!("build.rs").hash(&mut hasher);
    let cache = places::cache_dir()?.join("kit");
    let program = cache.join(format!("tikv-{:016x}", hasher.finish()));
    if program.exists() {
        return Ok(program);
    }
    // Of this process: others may build at the same time, and a rename is atomic.
    let folder = cache.join(format!("building-{}", id()));
    fs::create_dir_all(&folder)?;
    let built = build(&folder, &sources, &messages);
    if built.is_ok() {
        fs::rename(folder.join("kit"), &program)?;
    }
    fs::remove_dir_all(&folder)?;
    built.map(|()| program)
}

/// What the kit is built from, with the names of the files.
fn sources() -> Result<Vec<(String, Vec<u8>)>> {
    let folder = workspace().join("tests/kit/tikv");
    let mut sources = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let kind = path.extension().and_then(OsStr::to_str);
        if matches!(kind, Some("go" | "mod" | "sum")) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sources.push((name, fs::read(&path)?));
        }
    }
    sources.sort();
    Ok(sources)
}

/// The folder of message files in the source of the Rust client.
fn client_messages() -> Result<PathBuf> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let text =
        shell::output(&workspace(), &cargo, &["metadata", "--format-version", "1", "--locked"])?;
    let metadata: Value = serde_json::from_str(&text)?;
    let manifest = metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|package| package.get("name").is_some_and(|name| name == "tikv-client"))
        .and_then(|package| package.get("manifest_path")?.as_str())
        .context("cargo does not know of tikv-client")?;
    Ok(Path::new(manifest).with_file_name("proto"))
}

fn build(folder: &Path, sources: &[(String, Vec<u8>)], messages: &Path) -> Result<()> {
    for (name, text) in sources {
        write_file(&folder.join(name), text)?;
    }
    let proto = folder.join("proto");
    fs::create_dir_all(proto.join("gogoproto"))?;
    fs::create_dir_all(proto.join("google/protobuf"))?;
    let include = messages.join("include");
    for file in ["gogoproto/gogo.proto", "google/protobuf/descriptor.proto"] {
        if include.join(file).is_file() {
            fs::copy(include.join(file), proto.join(file))?;
        }
    }
    for name in MESSAGES {
        let file = format!("{name}.proto");
        let from = [messages.join(&file), include.join(&file)];
        let from = from.iter().find(|path| path.is_file()).with_context(|| file.clone())?;
        write_file(&proto.join(&file), fitted(&fs::read_to_string(from)?).as_bytes())?;
    }
    let binaries = folder.join("bin");
    run(go()?.args(["install", GENERATOR]).env("GOBIN", &binaries).current_dir(folder))?;
    let mut options = "plugins=grpc,paths=source_relative".to_owned();
    options += ",Mgogoproto/gogo.proto=github.com/gogo/protobuf/gogoproto";
    for name in MESSAGES {
        options = format!("{options},M{name}.proto={PACKAGES}/{name}");
    }
    let kvproto = folder.join("kvproto");
    for name in MESSAGES {
        let package = kvproto.join("pkg").join(name);
        fs::create_dir_all(&package)?;
        let generator = binaries.join("protoc-gen-gofast");
        run(Command::new(protoc()?)
            .arg(format!("--plugin=protoc-gen-gofast={}", generator.display()))
            .arg(format!("--proto_path={}", proto.display()))
            .arg(format!("--gofast_out={options}:{}", package.display()))
            .arg(proto.join(format!("{name}.proto"))))?;
    }
    write_file(&kvproto.join("go.mod"), KVPROTO.as_bytes())?;
    run(go()?
        .args(["build", "-tags", "without_dashboard", "-trimpath", "-o", "kit", "."])
        .current_dir(folder))
}

/// The messages as this PD knows them.
fn fitted(text: &str) -> String {
    let is_known = |line: &&str| {
        let called = line.trim_start().strip_prefix("rpc ").unwrap_or_default();
        let name = called.split(['(', ' ']).next().unwrap_or_default();
        !line.contains("rustproto") && !LATER_CALLS.contains(&name)
    };
    let mut fitted: String = text
        .lines()
        .filter(is_known)
        .flat_map(|line| [without_custom_type(line), "\n".into()])
        .collect();
    for (there, here) in RENAMED {
        fitted = fitted.replace(there, here);
    }
    fitted
}

/// The line without the option that names a Go type of kvproto's own code, which is not here.
fn without_custom_type(line: &str) -> String {
    let Some((before, rest)) = line.split_once("[(gogoproto.customtype)") else {
        return line.to_owned();
    };
    let after = rest.split_once(']').map_or("", |(_, after)| after);
    format!("{}{after}", before.trim_end())
}

/// Go, with what its build must not depend on taken away.
fn go() -> Result<Command> {
    let usual = PathBuf::from(places::USUAL_GO);
    let program = shell::find("go").or_else(|| usual.is_file().then_some(usual));
    let program = program.context(
        "Go is missing: install it from https://go.dev/dl, or on Debian: apt-get install golang-go",
    )?;
    let mut go = Command::new(program);
    go.env("GOFLAGS", "-buildvcs=false -mod=mod")
        .env("CGO_ENABLED", "0")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    Ok(go)
}

fn protoc() -> Result<PathBuf> {
    shell::find("protoc").context("protoc is missing: on Debian: apt-get install protobuf-compiler")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
