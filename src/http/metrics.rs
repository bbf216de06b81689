//! `GET /metrics`: OpenMetrics' text, for Prometheus.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    answer::Answer,
    api::{Api, Result},
};
use crate::{
    primitives::{Collection, Query, millis},
    store::{Used, Window},
};

const CONTENT_TYPE: &str = "application/openmetrics-text;version=1.0.0;charset=utf-8";

impl Api {
    /// What the store holds, and what this process has delivered, if it delivers.
    pub(super) async fn metrics(&self) -> Result {
        let count = |collection: Collection| Query::Count(collection.as_str().to_owned());
        let reading = self.store.read(&[count(Collection::Watches), count(Collection::DeadLetters)]).await?;
        let [watches, letters] = [0, 1].map(|at| reading.answers.get(at).map_or(0, |answer| answer.count));
        let Window { oldest, since, newest } = self.store.window().await?;
        let mut registry = Registry::with_prefix("noah");
        let mut gauge = |name: &str, help: &str, value: u64| {
            registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
        };
        gauge("revision", "The newest revision of the store", reading.revision);
        gauge("log_oldest_revision", "The oldest revision that the log has", oldest);
        gauge("log_events", "How many events the log has", (newest + 1).saturating_sub(oldest));
        let age = if newest == 0 { 0 } else { (millis() - since).max(0) / 1000 };
        gauge("log_age_seconds", "How old the oldest event of the log is", u64::try_from(age).unwrap_or_default());
        gauge("watches_registered", "Watches in the store", watches);
        gauge("dead_letters_kept", "Dead letters in the store", letters);
        gauge("waiters", "Requests to this server that are held until something changes", self.feed.waiting() as u64);
        let (refused, under_way) = self.limits.counts();
        gauge("requests_in_flight", "Requests that this server works on, without those that are held", under_way);
        let (connections, turned_away) = self.limits.connections.counts();
        gauge("connections", "Connections to this server", connections);
        let Used { hits, misses, bypasses, records, bytes } = self.hot.used();
        gauge("cache_records", "Records that this server keeps in memory", records);
        gauge("cache_bytes", "About how many bytes these are", bytes);
        let mut counter = |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
        counter("requests_limited", "Requests refused for being too many or too often", refused);
        counter("connections_refused", "Connections closed at once for being too many", turned_away);
        counter("cache_hits", "Reads of one record that were answered from memory", hits);
        counter("cache_misses", "Reads of one record that was not in memory, or has changed", misses);
        let help =
            "Reads of one record that was in memory, and could have been old or was not to be answered from there";
        counter("cache_bypasses", help, bypasses);
        let mut text = match &self.probe {
            Some(probe) => probe.metrics().await,
            None => String::new(),
        };
        encode(&mut text, &registry).expect("text can always be written");
        Ok(Answer::raw(CONTENT_TYPE, text).at(reading.revision))
    }
}
