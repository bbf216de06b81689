use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use uuid::Uuid;

use super::{
    Engine, chance,
    slot::{Running, Slot},
    when::STALL_MAX,
};
use crate::{
    poke::{
        hook::{Hook, Retry, doubled},
        outcome::Outcome,
        pending::{Pending, millis_of},
        profile::Ended,
        record::{Phase, Run},
        run::{End, log, output::Printed},
    },
    primitives::millis,
};

/// The pause of those who meet a lock for the first time, or are disabled.
const STALL_FIRST: Duration = Duration::from_secs(1);
/// The pause of those who could not be started for want of room, on the disk or for another process.
const NO_ROOM: Duration = Duration::from_secs(10);

impl Engine {
    /// What comes of a run that is over: its outcome, what is told of it, and whether there is another try.
    pub(super) async fn end(&self, slot: &Slot, end: End, printed: Printed) {
        let hook = &slot.hook;
        let now = millis();
        let logged = printed.logged;
        let (run, stored) = {
            let mut inner = slot.lock();
            let Some(Running { run, pending, .. }) = inner.running.take() else { return };
            let put_back = match &end {
                End::Stopped(_) => Some(Duration::ZERO),
                End::NotNow(_) => Some(NO_ROOM),
                _ => None,
            };
            let run = judged(run, hook, end, printed, now);
            let again = again(hook, &run, put_back, now).map(|change| change(pending));
            if let Some(again) = again {
                inner.pending = Some(again.put_back(inner.pending.take()));
            }
            let (kept, pending, keep, name) = (run.clone(), inner.pending.clone(), self.keep, hook.name.clone());
            let stored = self.state.ask(move |connection| {
                if let Some(pending) = &pending {
                    pending.keep(connection, &name)?;
                }
                kept.settle(connection, logged, &keep)
            });
            if run.outcome.is_some_and(Outcome::is_clean) {
                inner.applied = inner.applied.max(run.revision);
            }
            let run = self.tell(run);
            inner.last = Some(run.clone());
            slot.publish(&inner);
            (run, stored)
        };
        self.metrics.ended(&run);
        report(&run);
        if let Ok(gone) = stored.done().await
            && !gone.is_empty()
        {
            let runs = self.state.runs();
            // It is tidying: nobody waits for it.
            drop(tokio::task::spawn_blocking(move || log::remove(&runs, |id| gone.iter().any(|gone| gone == id))));
        }
    }
}

/// The run with its outcome.
fn judged(run: Run, hook: &Hook, end: End, printed: Printed, now: i64) -> Run {
    let of = |status: &ExitStatus| (status.code(), status.signal());
    let (outcome, (exit_code, signal), words) = match &end {
        End::Itself(status) => {
            let (code, signal) = of(status);
            (hook.profile.judge(&Ended { code, signal, tail: &printed.tail }), (code, signal), None)
        }
        End::TimedOut(status) => {
            let limit = humantime::format_duration(hook.timeout.unwrap_or_default());
            (Outcome::Timeout, of(status), Some(format!("ended after its timeout of {limit}")))
        }
        End::Stopped(status) => {
            (Outcome::Killed, of(status), Some("ended because the listener stopped; it is pending again".to_owned()))
        }
        End::NotStarted(words) | End::NotNow(words) => (Outcome::Failed, (None, None), Some(words.clone())),
    };
    Run {
        phase: Phase::Ended,
        ended: Some(now),
        outcome: Some(outcome),
        exit_code,
        signal,
        words,
        printed: printed.bytes,
        tail: printed.tail,
        ..run
    }
}

/// What is done to the pokes of a run so that they lead to another, if they do.
fn again(
    hook: &Hook,
    run: &Run,
    put_back: Option<Duration>,
    now: i64,
) -> Option<impl FnOnce(Pending) -> Pending + use<>> {
    let outcome = run.outcome?;
    let (failures, stalls, pause) = match (put_back, outcome) {
        // It is not the command's own doing.
        (Some(pause), _) => (0, 0, pause),
        (None, outcome) if outcome.is_clean() || hook.retry == Retry::Never => return None,
        (None, Outcome::Locked | Outcome::Disabled) => (0, 1, Duration::ZERO),
        (None, _) => (1, 0, hook.retry.pause(run.failures + 1, chance())?),
    };
    Some(move |mut pending: Pending| {
        // A run has one end; the next for the same pokes is another.
        pending.run = Uuid::new_v4();
        pending.failures += failures;
        pending.stalls = if stalls == 0 { 0 } else { pending.stalls + 1 };
        let pause = if stalls == 0 { pause } else { doubled(STALL_FIRST, STALL_MAX, pending.stalls, chance()) };
        pending.not_before = now + millis_of(pause);
        pending
    })
}

fn report(run: &Run) {
    let (id, hook, path, revision) = (run.id, run.hook.as_str(), run.path.as_deref(), run.revision);
    let (outcome, end, duration_ms) = (run.outcome.map_or("unknown", Outcome::as_str), run.end(), run.duration_ms());
    match run.outcome {
        Some(Outcome::Unchanged | Outcome::Changed | Outcome::Reboot) => {
            tracing::info!(hook, run = %id, path, revision, outcome, end, duration_ms, "run done");
        }
        // Neither is a failure: they are waited for.
        Some(Outcome::Locked | Outcome::Disabled) => {
            tracing::info!(hook, run = %id, path, revision, outcome, end, duration_ms, "run did nothing");
        }
        _ => tracing::warn!(hook, run = %id, path, revision, outcome, end, duration_ms, "run failed"),
    }
}
