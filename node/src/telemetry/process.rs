//! What the operating system knows of this process.

use std::fs;

/// A reading of `/proc/self`. Figures that the system does not offer are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub resident_bytes: u64,
    pub anonymous_bytes: u64,
    pub cpu_seconds: f64,
    pub open_files: u64,
}

/// The unit of times in `/proc`, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Self {
            resident_bytes: kibibytes(&status, "VmRSS:"),
            anonymous_bytes: kibibytes(&status, "RssAnon:"),
            cpu_seconds: cpu_seconds(&stat),
            open_files,
        }
    }
}

fn kibibytes(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |number| number * 1_024)
}

/// User and system time, the 14th and 15th field; the 2nd is a name that may hold anything, so
/// the fields are counted from its closing parenthesis.
fn cpu_seconds(stat: &str) -> f64 {
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0.0 };
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_name_and_place() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), 2 << 20);
        assert_eq!(kibibytes(status, "RssAnon:"), 1 << 20);
        assert_eq!(kibibytes(status, "RssFile:"), 0);
        let stat = "7 (a ) name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert!((cpu_seconds(stat) - 2.0).abs() < 1e-9, "{}", cpu_seconds(stat));
        assert!(cpu_seconds("").abs() < 1e-9);
    }
}
