//! What is waited for and for how long, on a terminal.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use tokio::time::{Instant, interval};

/// Runs `work`, and says meanwhile on a terminal what it waits for.
pub async fn shown<T>(what: &str, time: Duration, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    let (start, mut ticks) = (Instant::now(), interval(Duration::from_secs(1)));
    tokio::pin!(work);
    // The first is at once; what is there already is not worth a line.
    ticks.tick().await;
    loop {
        tokio::select! {
            done = &mut work => {
                say("");
                return done;
            }
            _ = ticks.tick() => {
                let waited = humantime::format_duration(Duration::from_secs(start.elapsed().as_secs()));
                say(&format!("waiting for {what}: {waited} of {}", humantime::format_duration(time)));
            }
        }
    }
}

/// In place of what was said before.
fn say(line: &str) {
    let mut terminal = io::stderr();
    // When it is gone, nobody looks at it any more.
    let _ = write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush());
}
