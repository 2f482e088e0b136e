//! How much memory a process can have here: that of the machine, or of its control group if that is
//! less.

use std::{
    fs,
    path::{Path, PathBuf},
};

const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes, if the system says.
pub fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&own).into_iter().filter_map(|file| {
        // In version 2 it is `max` where there is none, in version 1 a number beyond any memory.
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    machine.into_iter().chain(limits).min()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1_024)
}

/// Where the limits of a process are that is in these control groups: its own and those above it.
fn limit_files(own: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => (PathBuf::from(GROUPS), "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (Path::new(GROUPS).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let below = Path::new(path.trim_start_matches('/'));
        files.extend(below.ancestors().map(|group| root.join(group).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree:  1 kB\n"), Some(16_777_216));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: many kB\n"), None);
        assert!(available_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn limits_are_looked_for_in_the_own_group_and_those_above_it() {
        let names = |own| -> Vec<String> {
            limit_files(own).iter().map(|file| file.display().to_string()).collect()
        };
        assert_eq!(
            names("0::/system.slice/hvs.service\n"),
            [
                "/sys/fs/cgroup/system.slice/hvs.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            names("5:cpu:/a\n4:cpuset,memory:/a\n"),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(names("nonsense"), Vec::<String>::new());
    }
}
