//! What a listener looks like in numbers, as Prometheus has it.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{engine::HookState, outcome::Outcome, record::Run};

/// How many seconds runs take.
const RUN_SECONDS: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0];
/// How many seconds pokes wait.
const WAIT_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHook {
    hook: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    hook: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: u16,
}

/// The counters of one listener.
pub(super) struct Metrics {
    registry: Registry,
    pokes: Family<ByHook, Counter>,
    merged: Family<ByHook, Counter>,
    dropped: Family<ByHook, Counter>,
    runs: Family<ByOutcome, Counter>,
    refused: Family<ByStatus, Counter>,
    run_seconds: Family<ByHook, Histogram>,
    wait_seconds: Family<ByHook, Histogram>,
    running: Family<ByHook, Gauge>,
    pending: Family<ByHook, Gauge>,
    applied: Family<ByHook, Gauge>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("noah_poke");
        let (pokes, merged, dropped, runs, refused) = Default::default();
        let run_seconds = Family::new_with_constructor((|| Histogram::new(RUN_SECONDS)) as fn() -> Histogram);
        let wait_seconds = Family::new_with_constructor((|| Histogram::new(WAIT_SECONDS)) as fn() -> Histogram);
        let (running, pending, applied) = Default::default();
        registry.register("pokes", "Pokes that were taken", Family::clone(&pokes));
        registry.register("pokes_merged", "Pokes that joined one that waited", Family::clone(&merged));
        registry.register("pokes_dropped", "Pending runs that became too old", Family::clone(&dropped));
        registry.register("runs", "Runs, by their outcome", Family::clone(&runs));
        registry.register("requests_refused", "Requests that were refused, by their status", Family::clone(&refused));
        registry.register_with_unit("run", "How long runs took", Unit::Seconds, Family::clone(&run_seconds));
        let words = "How long the newest poke of a run waited for its start";
        registry.register_with_unit("wait", words, Unit::Seconds, Family::clone(&wait_seconds));
        registry.register("running", "Whether the hook's command runs", Family::clone(&running));
        registry.register("pending", "Whether something waits to be run", Family::clone(&pending));
        registry.register("applied_revision", "The highest revision a clean run began behind", Family::clone(&applied));
        Self { registry, pokes, merged, dropped, runs, refused, run_seconds, wait_seconds, running, pending, applied }
    }

    pub(super) fn poked(&self, hook: &str, is_merged: bool) {
        self.pokes.get_or_create(&ByHook { hook: hook.to_owned() }).inc();
        if is_merged {
            self.merged.get_or_create(&ByHook { hook: hook.to_owned() }).inc();
        }
    }

    pub(super) fn refused(&self, status: u16) {
        self.refused.get_or_create(&ByStatus { status }).inc();
    }

    pub(super) fn dropped(&self, hook: &str) {
        self.dropped.get_or_create(&ByHook { hook: hook.to_owned() }).inc();
    }

    pub(super) fn started(&self, hook: &str, waited_ms: i64) {
        self.wait_seconds.get_or_create(&ByHook { hook: hook.to_owned() }).observe(seconds(waited_ms));
    }

    pub(super) fn ended(&self, run: &Run) {
        let outcome = run.outcome.map_or("unknown", Outcome::as_str);
        self.runs.get_or_create(&ByOutcome { hook: run.hook.clone(), outcome }).inc();
        if let (Some(started), Some(ended)) = (run.started, run.ended) {
            self.run_seconds.get_or_create(&ByHook { hook: run.hook.clone() }).observe(seconds(ended - started));
        }
    }

    /// The text of them, with how the hooks do at the moment.
    pub(super) fn text(&self, hooks: &[HookState]) -> String {
        for state in hooks {
            let hook = ByHook { hook: state.hook.clone() };
            self.running.get_or_create(&hook).set(i64::from(state.running.is_some()));
            self.pending.get_or_create(&hook).set(i64::from(state.pending.is_some()));
            if let Some(applied) = state.applied {
                self.applied.get_or_create(&hook).set(i64::try_from(applied).unwrap_or(i64::MAX));
            }
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text can always be written");
        text
    }
}

/// Milliseconds by a clock that may have been set meanwhile.
fn seconds(millis: i64) -> f64 {
    std::time::Duration::from_millis(u64::try_from(millis).unwrap_or_default()).as_secs_f64()
}
