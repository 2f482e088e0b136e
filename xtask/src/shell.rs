//! Running other programs, with errors that say what was run and what it printed.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The path of `program`, when it is on `PATH` and may be run.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// Runs a program in `folder` without input and returns what it wrote to standard output.
///
/// # Errors
/// The program cannot be started, or ends with a failure: the message then carries the last lines
/// that it wrote.
pub fn output<A: AsRef<OsStr>>(folder: &Path, program: &str, arguments: &[A]) -> Result<String> {
    let result = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n  ");
        bail!("{program} failed ({}):\n  {last}", result.status);
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_reported_with_what_it_said() {
        let here = Path::new(".");
        let said = output(here, "sh", &["-c", "echo too bad >&2; exit 3"]).unwrap_err().to_string();
        assert!(said.contains("too bad") && said.contains('3'), "{said}");
        assert_eq!(output(here, "sh", &["-c", "printf well"]).unwrap(), "well");
        assert!(output::<&str>(here, "no-such-program-anywhere", &[]).is_err());
    }

    #[test]
    fn programs_are_found_on_the_path_only() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
