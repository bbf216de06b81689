use std::cmp::Reverse;

use maud::{Markup, html};

use super::mark;
use crate::{
    primitives::{Endpoint, Record, watch},
    watches::Status,
};

/// How much of an error is shown; `GET /watches/NAME` has all of it.
const ERROR: usize = 300;

/// A watch and how it does.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    record: &'a Record,
    status: &'a Status,
}

/// The watches, those to look at first: they are tried in vain, their key is not there, are paused, or have dead letters.
pub fn rows<'a>(records: &'a [Record], statuses: &'a [Status]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = records.iter().zip(statuses).map(|(record, status)| Row { record, status }).collect();
    rows.sort_by_key(|row| (row.rank(), Reverse(row.status.lag)));
    rows
}

impl Row<'_> {
    fn rank(&self) -> u8 {
        match self.status.state {
            "retrying" | "sealed" => 0,
            "paused" => 1,
            _ if self.status.dead_letters > 0 => 2,
            "behind" => 3,
            _ => 4,
        }
    }

    /// Whether a person should look at it.
    pub fn needs_a_look(&self) -> bool {
        self.rank() <= 2
    }

    /// Its line. The name of a watch holds its endpoint, so there is no link to it.
    pub fn line(&self) -> Markup {
        let Self { record, status } = self;
        html! {
            tr {
                td { (record.text("pattern")) }
                td { (mark(status.state)) }
                td {
                    "→ " (endpoint(record))
                    @if status.dead_letters > 0 { " " span.status.dead { (count(status.dead_letters, "dead letter")) } }
                    @if !self.how().is_empty() { div { (self.how().join(" · ")) } }
                    @if let Some((error, at)) = self.error() {
                        div.error { (short(error)) " · " time datetime=(at) { (at) } }
                    }
                }
                td.time {
                    @match &status.last_success {
                        Some(at) => { "delivered " time datetime=(at) { (at) } },
                        None => { "nothing delivered yet" },
                    }
                    " · " (status.cursor)
                }
            }
        }
    }

    /// Why its last attempt failed, and when, if none has succeeded since.
    fn error(&self) -> Option<(&str, &str)> {
        let Status { last_error, last_error_at, last_success, .. } = self.status;
        let at = last_error_at.as_deref().filter(|at| last_success.as_deref() < Some(*at));
        last_error.as_deref().zip(at)
    }

    /// What there is to say of its deliveries besides its state.
    fn how(&self) -> Vec<String> {
        let Self { record, status } = self;
        let mut words = Vec::new();
        if let Some(why) = watch::paused(record) {
            words.push(format!("paused: {}", short(why)));
        }
        if status.lag > 0 {
            let more = if status.lag_is_more { "or more " } else { "" };
            words.push(format!("{} {more}behind", count(status.lag, "event")));
        }
        if status.attempts > 0 {
            words.push(format!("tried {}", count(status.attempts, "time")));
        }
        words.extend(status.next_attempt.as_ref().map(|at| format!("next try {at}")));
        words
    }
}

/// An endpoint may hold a password, and this page is looked at by many.
fn endpoint(watch: &Record) -> String {
    let text = watch.text("endpoint");
    let scheme = text.split(':').next().unwrap_or_default();
    Endpoint::parse(text, &[scheme]).map_or_else(|_| format!("{scheme}://…"), |endpoint| endpoint.to_string())
}

fn count(number: impl TryInto<u64>, word: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn short(text: &str) -> String {
    match text.char_indices().nth(ERROR) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
