//! What deliveries look like in numbers, named and measured as Prometheus has it: seconds, counters that only grow.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::agents::Outcome;

/// How many seconds attempts take; most take milliseconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAgent {
    agent: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    agent: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

/// The counters of one process that delivers.
pub(super) struct Metrics {
    registry: Registry,
    deliveries: Family<ByResult, Counter>,
    seconds: Family<ByAgent, Histogram>,
    retries: Family<ByAgent, Counter>,
    dead_letters: Family<ByAgent, Counter>,
    withheld: Family<ByAgent, Counter>,
    gaps: Counter,
    pub(super) events: Counter,
    pub(super) alive: Gauge,
    pub(super) parts: Gauge,
}

/// How the watches of a process are doing at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Census {
    pub(super) current: i64,
    pub(super) behind: i64,
    pub(super) retrying: i64,
    pub(super) paused: i64,
    /// By how many revisions the one that is furthest behind is so, and since when its event waits, in milliseconds
    /// since 1970. Paused ones do not count.
    pub(super) lag: u64,
    pub(super) waiting_since: Option<i64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("noah");
        let deliveries = Family::default();
        let seconds = Family::new_with_constructor(new_histogram as fn() -> Histogram);
        let (retries, dead_letters, withheld) = (Family::default(), Family::default(), Family::default());
        let (gaps, events, alive, parts) = Default::default();
        registry.register(
            "deliveries",
            "Attempts to deliver an event, by what came of them",
            Family::clone(&deliveries),
        );
        let words = "How long attempts to deliver an event took";
        registry.register_with_unit("delivery", words, Unit::Seconds, Family::clone(&seconds));
        registry.register("delivery_retries", "Attempts after the first of an event", Family::clone(&retries));
        registry.register("dead_letters", "Events that were given up", Family::clone(&dead_letters));
        let words = "Events that were not delivered because the owner of the watch may not read them";
        registry.register("withheld", words, Family::clone(&withheld));
        registry.register("gaps", "Stretches of the log that a watch missed", Counter::clone(&gaps));
        registry.register("events", "Events read from the log for the watches held here", Counter::clone(&events));
        registry.register("agents", "Processes that deliver, as far as this one knows", Gauge::clone(&alive));
        registry.register("parts_held", "Of the 128 parts of all watches, those held here", Gauge::clone(&parts));
        Self { registry, deliveries, seconds, retries, dead_letters, withheld, gaps, events, alive, parts }
    }

    /// One attempt of an agent.
    pub(super) fn attempted(&self, scheme: &str, attempt: u32, took: Duration, outcome: &Outcome) {
        let agent = scheme.to_owned();
        let result = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::RetryAfter { .. } => "failed",
            Outcome::Refused { .. } => "refused",
            Outcome::Gone { .. } => "gone",
        };
        let by_agent = ByAgent { agent };
        self.seconds.get_or_create(&by_agent).observe(took.as_secs_f64());
        if attempt > 1 {
            self.retries.get_or_create(&by_agent).inc();
        }
        self.deliveries.get_or_create(&ByResult { agent: by_agent.agent, result }).inc();
    }

    pub(super) fn given_up(&self, scheme: &str) {
        self.dead_letters.get_or_create(&ByAgent { agent: scheme.to_owned() }).inc();
    }

    pub(super) fn withheld(&self, scheme: &str) {
        self.withheld.get_or_create(&ByAgent { agent: scheme.to_owned() }).inc();
    }

    pub(super) fn missed(&self) {
        self.gaps.inc();
    }

    /// All of it in OpenMetrics' text, without the mark of its end.
    pub(super) fn text(&self, census: &Census, now: i64) -> String {
        let mut all = String::new();
        let mut current = Registry::with_prefix("noah");
        let states = Family::<ByState, Gauge>::default();
        let counts = [
            ("current", census.current),
            ("behind", census.behind),
            ("retrying", census.retrying),
            ("paused", census.paused),
        ];
        for (state, count) in counts {
            states.get_or_create(&ByState { state }).set(count);
        }
        current.register("watches_held", "Watches held here, by how they are doing", states);
        let words = "By how many revisions the watch held here that is furthest behind is so";
        current.register("lag_revisions", words, ConstGauge::new(i64::try_from(census.lag).unwrap_or(i64::MAX)));
        let waited = census.waiting_since.map_or(0.0, |since| (now - since).max(0) as f64 / 1000.0);
        let gauge: Gauge<f64, AtomicU64> = Gauge::default();
        gauge.set(waited);
        let words = "For how long the oldest event that waits here for its delivery has done so";
        current.register_with_unit("lag", words, Unit::Seconds, gauge);
        for registry in [&self.registry, &current] {
            encode(&mut all, registry).expect("text can always be written");
            all.truncate(all.trim_end_matches("# EOF\n").len());
        }
        all
    }
}

fn new_histogram() -> Histogram {
    Histogram::new(SECONDS)
}
