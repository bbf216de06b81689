//! Transports of others: an executable `noah-agent-SCHEME` delivers to `SCHEME://…`. How it is talked to is
//! described for its author in `examples/plugins/README.md`.

mod find;
mod lines;
mod process;
mod protocol;
mod said;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::time::timeout;

pub(super) use self::find::find;
pub use self::process::heard;
use self::process::{End, Process};
use super::{Agent, Delivery, Options, Outcome};
use crate::primitives::watch::Watch;

/// The pause before a plug-in that ended is started again; it doubles while it answers nothing in between.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An executable that delivers, as one process that is started when it is first needed.
pub struct Plugin {
    scheme: String,
    path: PathBuf,
    timeout: Duration,
    state: Mutex<State>,
}

struct State {
    running: Option<Arc<Process>>,
    /// How it ended last, while it was not started again.
    ended: Option<End>,
    /// How long after that it is started again.
    pause: Duration,
}

impl Plugin {
    fn new(scheme: String, path: PathBuf, options: &Options) -> Self {
        let state = State { running: None, ended: None, pause: Duration::ZERO };
        Self { scheme, path, timeout: options.timeout, state: Mutex::new(state) }
    }

    /// The running process, which is started when there is none.
    fn process(&self) -> Result<Arc<Process>, Outcome> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = &state.running {
            let Some(end) = process.end() else { return Ok(Arc::clone(process)) };
            let answers = process.answers();
            state.ended(end, answers > 0);
        }
        if let Some(end) = &state.ended {
            let wait = state.pause.saturating_sub(end.at.elapsed());
            if !wait.is_zero() {
                return Err(Outcome::RetryAfter {
                    why: format!("its plug-in {}; it is started again in {wait:.1?}", end.why),
                    wait: Some(wait),
                    slow: false,
                });
            }
        }
        match Process::start(&self.path, &self.scheme, self.timeout) {
            Ok(process) => {
                let process = Arc::new(process);
                state.running = Some(Arc::clone(&process));
                Ok(process)
            }
            Err(error) => {
                let why = format!("cannot be started: {error}; check {}", self.path.display());
                tracing::warn!(plugin = self.scheme, "the plug-in {why}");
                let outcome = Outcome::failed(format!("its plug-in {why}"));
                state.ended(End { why, at: Instant::now() }, false);
                Err(outcome)
            }
        }
    }
}

impl State {
    fn ended(&mut self, end: End, was_of_use: bool) {
        self.running = None;
        self.ended = Some(end);
        self.pause = if was_of_use { FIRST_PAUSE } else { (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) };
    }
}

#[async_trait]
impl Agent for Plugin {
    fn schemes(&self) -> Vec<String> {
        vec![self.scheme.clone()]
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let process = match self.process() {
            Ok(process) => process,
            Err(outcome) => return outcome,
        };
        let answers = process.answers();
        let line = |id| protocol::request(id, watch, delivery).map_err(|why| Outcome::Refused { why });
        match timeout(self.timeout, process.request(line)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // One slow request is its endpoint's fault; a plug-in that answers nothing at all hangs.
                if process.answers() == answers {
                    process.kill(&format!("answered nothing for {:?}", self.timeout));
                }
                Outcome::failed(format!("its plug-in did not answer within {:?}", self.timeout))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_while_it_is_of_no_use() {
        let mut state = State { running: None, ended: None, pause: Duration::ZERO };
        let mut pause = |was_of_use| {
            state.ended(End { why: String::new(), at: Instant::now() }, was_of_use);
            state.pause
        };
        assert_eq!(pause(false), FIRST_PAUSE);
        assert_eq!(pause(false), FIRST_PAUSE * 2);
        assert_eq!(pause(false), FIRST_PAUSE * 4);
        assert_eq!(pause(true), FIRST_PAUSE);
        for _ in 0..10 {
            pause(false);
        }
        assert_eq!(pause(false), LONGEST_PAUSE);
    }
}
