//! What the operating system says about this process, from `/proc`.

use std::fs;
use std::time::Duration;

/// Time on a processor so far, of all threads, in steps of 10 ms.
pub(crate) fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold blanks: count fields behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Bytes that this process has handed to the disk so far.
pub(crate) fn written() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

/// Resident memory, in megabytes.
pub(crate) fn resident() -> f64 {
    field("/proc/self/status", "VmRSS:") as f64 / 1024.0
}

/// Most resident memory so far, in megabytes.
pub(crate) fn peak() -> f64 {
    field("/proc/self/status", "VmHWM:") as f64 / 1024.0
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
