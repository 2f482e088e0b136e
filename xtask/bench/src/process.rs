//! What the kernel says about a process: processor time and memory.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Processor time of a process, all its threads together, ended ones too, in user and kernel mode.
/// The kernel tells it in hundredths of a second.
///
/// # Errors
/// There is no such process, or the system has no `/proc`.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    // The second field is the program's name in parentheses, which may hold anything.
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let hundredths: Option<u64> =
        after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
    let hundredths = hundredths.with_context(|| format!("{file} has not the expected fields"))?;
    Ok(Duration::from_millis(hundredths * 10))
}

/// Resident memory, files that are mapped included, in bytes.
///
/// # Errors
/// There is no such process, or the system has no `/proc`.
pub(crate) fn resident_memory(pid: u32) -> Result<u64> {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Resident memory that no file backs, in bytes.
///
/// # Errors
/// There is no such process, or the system has no `/proc`.
pub(crate) fn anonymous_memory(pid: u32) -> Result<u64> {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Anonymous:")
}

/// Bytes that the process has caused to be written to disks, so far.
///
/// # Errors
/// There is no such process, or the system has no `/proc`.
pub(crate) fn written(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/io");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .with_context(|| format!("{file} has no line write_bytes"))
}

/// The number in the line that begins with `name`, as bytes.
fn kilobytes(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let kilobytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{file} has no line {name}"))?;
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
        while begun.elapsed() < Duration::from_millis(100) {
            for byte in black_box(&mut block) {
                *byte = byte.wrapping_add(1);
            }
        }
        assert!(cpu_time(pid).unwrap() > time_before);
        assert!(anonymous_memory(pid).unwrap() > memory_before + (32 << 20));
        assert!(resident_memory(pid).unwrap() > 32 << 20);
        assert!(cpu_time(u32::MAX).is_err());
    }
}
