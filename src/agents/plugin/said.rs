use std::time::{Duration, Instant};

use tokio::process::ChildStderr;

use super::lines::Lines;

/// How much of a line is logged.
const LONGEST_LINE: usize = 1024;
/// How many lines are logged in a second.
const MOST_LINES: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Writes what a plug-in says on its stderr to the log, until that ends.
pub(super) async fn log(scheme: String, stderr: ChildStderr) {
    let mut lines = Lines::new(stderr, LONGEST_LINE);
    let (mut since, mut count) = (Instant::now(), 0);
    while let Ok(Some(line)) = lines.next().await {
        if since.elapsed() >= SECOND {
            (since, count) = (Instant::now(), 0);
        }
        count += 1;
        let says = String::from_utf8_lossy(line.bytes);
        let cut = if line.is_whole { "" } else { "…" };
        if count <= MOST_LINES {
            tracing::info!(plugin = scheme, "{}{cut}", says.escape_debug());
        } else if count == MOST_LINES + 1 {
            tracing::warn!(plugin = scheme, "it says more than {MOST_LINES} lines in a second; the rest is left out");
        }
    }
}
