//! What the kernel says about a process: processor time and memory.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Processor time of a process, all its threads together, in user and kernel mode.
///
/// # Errors
/// There is no such process, or the system has no `/proc`.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    // Per thread, because only there the kernel counts in nanoseconds.
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        // A thread may end while the others are read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds +=
            text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory that no file backs, in bytes.
///
/// # Errors
/// There is no such process, or the system has no `/proc`.
pub(crate) fn anonymous_memory(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let kilobytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{file} has no line Anonymous"))?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, time::Instant};

    use super::*;

    #[test]
    fn work_shows_as_processor_time_and_memory() {
        let pid = std::process::id();
        let (time_before, memory_before) = (cpu_time(pid).unwrap(), anonymous_memory(pid).unwrap());
        let mut block = vec![1_u8; 64 << 20];
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {
            for byte in black_box(&mut block) {
                *byte = byte.wrapping_add(1);
            }
        }
        assert!(cpu_time(pid).unwrap() > time_before);
        assert!(anonymous_memory(pid).unwrap() > memory_before + (32 << 20));
        assert!(cpu_time(u32::MAX).is_err());
    }
}
