//! Starting cargo from a program that cargo started.

use std::{
    env,
    process::{Command, Stdio},
};

use xtask::places;

/// cargo, at the root of the checkout, without input.
///
/// `cargo run` describes this program to itself in environment variables; a nested cargo would
/// pass them on and build scripts that watch them would run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(places::workspace_root()).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
