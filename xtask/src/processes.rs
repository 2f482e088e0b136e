//! Processes with what they have started.

use std::{fs, process::Command};

/// Ends a process and all that come from it, at once. Where there is no `/proc`, only the process
/// itself.
pub(crate) fn end_all(process: u32) {
    let mut all = vec![process.to_string()];
    let mut at = 0;
    while let Some(parent) = all.get(at) {
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        all.extend(children.split_whitespace().map(str::to_owned));
        at += 1;
    }
    let _ = Command::new("kill").arg("-KILL").args(&all).status();
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::lines;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_program_started_is_ended_with_it() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & echo begun; wait; echo ended"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let id = shell.id();
        let mut seen = Vec::new();
        // Both hold the other end: only when both are gone does the output end.
        let ended = lines::until_silent(
            shell.stdout.take().unwrap(),
            std::time::Duration::from_mins(1),
            |line| {
                seen.push(line.to_owned());
                end_all(id);
                Ok(())
            },
        );
        assert!(ended.unwrap());
        assert_eq!(seen, ["begun"]);
        assert!(!shell.wait().unwrap().success());
    }
}
