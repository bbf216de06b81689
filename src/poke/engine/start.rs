use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex as Lane, broadcast, watch};

use super::{
    ENDED, Engine,
    slot::{Inner, Slot},
};
use crate::{
    poke::{
        config::Problem,
        hook::Hook,
        metrics::Metrics,
        replay::Met,
        run::{
            Surroundings, log,
            note::{Left, Note},
        },
        state::{Keep, Kept, State},
    },
    primitives::millis,
    tls::outgoing,
};

/// What an engine is told besides its hooks.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The folder of what outlives it; its own.
    pub state: PathBuf,
    /// The server that `noah` commands talk to.
    pub noah: Option<String>,
    /// With which files.
    pub noah_tls: outgoing::Files,
    /// How much of the end of the output is kept with a run.
    pub tail_bytes: usize,
    /// How much of the output of a run is kept in files.
    pub log_max_bytes: u64,
    /// How much of the past is kept of each hook.
    pub keep: Keep,
}

impl Engine {
    /// Goes on where the listener before this one has ended, however it did: what it left running is ended, and is
    /// pending again. Nothing runs before [`Engine::run_until`].
    ///
    /// # Errors
    /// The folder cannot be used, or is another listener's; or what was left running cannot be ended, so that it would
    /// overlap with what is to be run.
    pub async fn open(hooks: Vec<Hook>, setup: Setup) -> Result<Self, Problem> {
        let folder = setup.state.clone();
        let opened = tokio::task::spawn_blocking(move || State::open(&folder)).await;
        let state = opened.map_err(|error| Problem::new(error.to_string()))??;
        let broken = |error: String| Problem::new(format!("the state cannot be read or written: {error}"));
        clear(&state.processes()).await?;
        for leftover in state.ask(Kept::leftovers).done().await.map_err(broken)? {
            tracing::warn!(hook = leftover.run.hook, run = %leftover.run.id, "a killed listener left it running; it is pending again");
            state.ask(move |connection| leftover.put_back(connection, millis())).done().await.map_err(broken)?;
        }
        let (logged, runs) = (state.ask(Kept::logged).done().await.map_err(broken)?, state.runs());
        // What a run that was never written down has printed, if there is such a thing. Before any run begins, whose output
        // would be unknown as well.
        let removed = tokio::task::spawn_blocking(move || log::remove(&runs, |id| !logged.contains(id))).await;
        removed.map_err(|error| Problem::new(error.to_string()))?;
        for waiting in state.ask(Kept::waiting).done().await.map_err(broken)? {
            if !hooks.iter().any(|hook| hook.name == waiting) {
                tracing::warn!(hook = waiting, "something is pending for a hook that is no longer there; it stays");
            }
        }
        let met = state.ask(Met::read).done().await.map_err(broken)?;
        let mut slots = Vec::with_capacity(hooks.len());
        let mut lanes: BTreeMap<String, Arc<Lane<()>>> = BTreeMap::new();
        for hook in hooks {
            let name = hook.name.clone();
            let kept = state.ask(move |connection| Kept::of(connection, &name)).done().await.map_err(broken)?;
            let lane = match &hook.lane {
                Some(lane) => lanes.entry(lane.clone()).or_default().clone(),
                None => Arc::default(),
            };
            let inner = taken_up(&hook, kept);
            let note = Note::open(&state.processes(), &hook.name)
                .map_err(|error| Problem::new(format!("{}: {error}", state.processes().display())))?;
            slots.push(Arc::new(Slot::new(hook, inner, lane, note)));
        }
        let around = Surroundings {
            noah: setup.noah,
            noah_tls: setup.noah_tls,
            tail_bytes: setup.tail_bytes,
            log_max_bytes: setup.log_max_bytes,
            runs: state.runs(),
        };
        Ok(Self {
            slots,
            state,
            around,
            keep: setup.keep,
            met,
            is_stopping: false.into(),
            stop: watch::Sender::new(false),
            kill: watch::Sender::new(false),
            ended: broadcast::Sender::new(ENDED),
            turns: std::array::from_fn(|_| Lane::default()),
            metrics: Metrics::new(),
        })
    }
}

/// Ends what there still is of the runs of a listener that was killed.
async fn clear(processes: &Path) -> Result<(), Problem> {
    let refuse = |error| Problem::new(format!("{}: {error}", processes.display()));
    for (file, left) in Note::left(processes).map_err(refuse)? {
        if let Some(Left { run, process: Some(process) }) = left
            && !process.end(run).await
        {
            return Err(Problem::new(format!(
                "the processes of the run {run} ({process}), which a listener that was killed has left behind, cannot be \
                 ended; see what they wait for, and start again"
            )));
        }
        std::fs::remove_file(file).map_err(refuse)?;
    }
    Ok(())
}

fn taken_up(hook: &Hook, kept: Kept) -> Inner {
    let last_started = kept.last.as_ref().and_then(|run| run.started);
    let mut inner = Inner {
        pending: kept.pending,
        applied: kept.applied,
        last: kept.last.map(Arc::new),
        last_started,
        ..Inner::default()
    };
    // One that has never run is to do so soon.
    inner.plan_every(hook, last_started.unwrap_or_default(), millis());
    inner
}
