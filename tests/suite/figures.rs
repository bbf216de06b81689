//! Figures: how fast, and how evenly. They need a quiet machine and an optimized build, so they run on request only:
//! `cargo nextest run --release --run-ignored only -E 'test(/^figures::/)' --no-capture -j 1`.
//!
//! What is compared with others, and what requests cost, is measured by `benches/run`.

mod expiry;
mod failover;
mod independence;
mod overload;
mod snapshot;
mod waiters;

use std::time::Duration;

/// The value below which this part of all samples is.
fn percentile(samples: &mut [Duration], part: f64) -> Duration {
    assert!(!samples.is_empty(), "there are no samples");
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * part).round() as usize]
}

/// A duration in milliseconds, for tables.
fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

/// The memory a process has, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
