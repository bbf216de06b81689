//! Watches that are made, paused, resumed and removed all the time.

use std::time::Duration;

use noah::primitives::Key;

use super::{Request, Writer, records::watch_body};
use crate::{
    faults::journal::{Effect, Kind},
    support::{Answer, watch_path},
};

/// How many there are at a time.
const MOST: usize = 6;
/// A step every so often.
const PACE: Duration = Duration::from_millis(400);

const PATTERNS: [&str; 6] = [
    "//noah/ephemerals/contended",
    "//noah/hosts/h1",
    "//noah/services/s0",
    "//noah/configurations",
    "//noah/ephemerals/*/0",
    "//noah/tags",
];

struct Watch {
    key: String,
    path: String,
    paused: bool,
}

/// Makes, pauses, resumes and removes watches until it is over; then all that are left are resumed,
/// as nobody knows what a request without an answer has done since.
pub async fn run(mut writer: Writer, endpoint: String) {
    let (mut watches, mut ticks) = (Vec::new(), tokio::time::interval(PACE));
    while !writer.is_over() {
        ticks.tick().await;
        if watches.len() < MOST && writer.any(3) == 0 {
            let number = writer.world.journal.number();
            watches.extend(make(&mut writer, &format!("{endpoint}/made/{number}")).await);
        } else if !watches.is_empty() {
            let which = writer.any(watches.len() as u64) as usize;
            if writer.any(8) == 0 {
                let watch = watches.swap_remove(which);
                let removed = remove(&mut writer, &watch).await;
                watches.extend((!removed).then_some(watch));
            } else {
                pause(&mut writer, &mut watches[which]).await;
            }
        }
    }
    for watch in &watches {
        writer.insist(|| paused(watch, false)).await;
    }
}

async fn make(writer: &mut Writer, endpoint: &str) -> Option<Watch> {
    let pattern = PATTERNS[writer.any(PATTERNS.len() as u64) as usize];
    let key = Key::watch(pattern, endpoint).as_str().to_owned();
    let body = watch_body(pattern, endpoint, "all").to_string();
    let effects = vec![Effect::Put(key.clone(), Vec::new())];
    let made = writer.write(Request::put(Kind::Watch, "/watches".to_owned(), body, effects)).await;
    let path = watch_path(&made.filter(|answer: &Answer| answer.status == 200)?);
    Some(Watch { key, path, paused: false })
}

/// Pauses it, or resumes it. What is not answered may be either; so it counts as paused.
async fn pause(writer: &mut Writer, watch: &mut Watch) {
    let to = !watch.paused;
    let answer = writer.write(paused(watch, to)).await;
    watch.paused = to || answer.is_none_or(|answer| answer.status != 200);
}

fn paused(watch: &Watch, to: bool) -> Request {
    let (kind, word) = if to { (Kind::WatchPaused, "pause") } else { (Kind::WatchResumed, "resume") };
    Request::put(kind, format!("{}/{word}", watch.path), "", vec![Effect::Put(watch.key.clone(), Vec::new())])
}

/// Removes it; whether it is known to be gone.
async fn remove(writer: &mut Writer, watch: &Watch) -> bool {
    let effects = vec![Effect::Gone(watch.key.clone())];
    let answer = writer.write(Request::delete(Kind::WatchRemoved, watch.path.clone(), effects)).await;
    answer.is_some_and(|answer| [200, 404].contains(&answer.status))
}
