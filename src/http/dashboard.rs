//! The front page: what is registered and how its watches do, at a glance. It keeps itself as things are now, where
//! scripts may run.

mod watches;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{lists::fill, live::SCRIPT, target::encode};
use crate::{
    primitives::{
        Answer as Counted, Collection, Key, List, Policy, Query, Reading, Record, Select, Status, application,
        ephemeral, rfc3339,
    },
    store::{Store, StoreError, Version},
    watches::Status as WatchStatus,
};

const STYLE: &str = include_str!("dashboard/page.css");

/// How many of each kind are shown.
const SHOWN: u64 = 200;
const KINDS: [Collection; 6] = [
    Collection::Hosts,
    Collection::Services,
    Collection::Applications,
    Collection::Configurations,
    Collection::Ephemerals,
    Collection::Watches,
];

/// Reads what the page shows: of each kind the count and the first ones. Of those who may not see all, of each kind one
/// more than is shown is looked for, and no more are counted.
pub async fn read(store: &dyn Store, policy: &Policy) -> Result<Reading, StoreError> {
    if policy.sees_all() {
        let queries = |kind: &Collection| [Query::Count(kind.as_str().to_owned()), Query::List(first(*kind))];
        return store.read(&KINDS.iter().flat_map(queries).collect::<Vec<_>>()).await;
    }
    let mut reading = Reading::default();
    for kind in KINDS {
        let mut filled = fill(store, first(kind), policy, SHOWN + 1).await?;
        let count = filled.records.len() as u64;
        filled.records.truncate(usize::try_from(SHOWN).unwrap_or(usize::MAX));
        reading.answers.extend([Counted { records: Vec::new(), count }, Counted { records: filled.records, count: 0 }]);
        reading.revision = filled.revision;
    }
    Ok(reading)
}

fn first(kind: Collection) -> List {
    List {
        limit: Some(SHOWN),
        lengths: ["data", "body"].map(ToOwned::to_owned).into(),
        ..List::of(Select::all(kind.as_str()))
    }
}

/// The watches among what was read.
#[must_use]
pub fn watches_of(reading: &Reading) -> &[Record] {
    reading.answers.last().map(|answer| answer.records.as_slice()).unwrap_or_default()
}

/// The page, of what was read and how each of [`watches_of`] it does.
///
/// `whole` is whether all is counted, and not only what is shown.
#[must_use]
pub fn page(reading: &Reading, whole: bool, statuses: &[WatchStatus], store: &Version) -> Markup {
    let watches = watches::rows(watches_of(reading), statuses);
    let to_look_at = watches.iter().filter(|watch| watch.needs_a_look()).count();
    let kinds: Vec<Kind<'_>> = KINDS
        .iter()
        .zip(reading.answers.chunks_exact(2))
        .map(|(kind, answers)| Kind { kind: *kind, count: answers[0].count, whole, records: &answers[1].records })
        .collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Noah Start Page" }
                style { (PreEscaped(STYLE)) }
            }
            body data-every="5000" {
                p id="away" hidden { "The server does not answer; this is how it was." }
                header id="now" {
                    h1 { "Noah" }
                    p { "Noah Start Page · noah " (env!("CARGO_PKG_VERSION")) " · " (store.kind) " " (store.number)
                        " · revision " (reading.revision) }
                    nav { @for kind in &kinds {
                        a href={ "#" (kind.kind.as_str()) } {
                            b { (kind.counted()) } " " (kind.kind.as_str())
                            @if kind.kind == Collection::Watches && to_look_at > 0 {
                                " " span.status.retrying { (to_look_at) " to look at" }
                            }
                        }
                    } }
                }
                main { @for kind in &kinds { (kind.section(&watches)) } }
                footer { p { "The same as JSON: " code { "curl -H 'Accept: application/json' …" } ". Lists: "
                    @for word in ["hosts", "services", "applications", "configurations", "watches", "tags"] {
                        a href={ "/" (word) } { "/" (word) } " "
                    }
                    a href="/ephemerals?limit=200" { "/ephemerals?limit=200" }
                } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

struct Kind<'a> {
    kind: Collection,
    count: u64,
    whole: bool,
    records: &'a [Record],
}

impl Kind<'_> {
    fn counted(&self) -> String {
        if self.whole || self.count <= SHOWN { self.count.to_string() } else { format!("more than {SHOWN}") }
    }

    fn section(&self, watches: &[watches::Row<'_>]) -> Markup {
        html! {
            section id=(self.kind.as_str()) {
                h2 { (self.kind.as_str()) " " small { (self.counted()) } }
                @if self.records.is_empty() {
                    p.none { "none" }
                } @else {
                    @match self.kind {
                        Collection::Services => (self.by_status()),
                        Collection::Watches => table { @for watch in watches { (watch.line()) } },
                        _ => table { @for record in self.records { (row(record)) } },
                    }
                }
                @if self.count > SHOWN {
                    p.none { "the first " (SHOWN) @if self.whole { " of " (self.count) } @else { "; there are more" } }
                }
            }
        }
    }

    /// Services are looked at for those that are not up, so these come first.
    fn by_status(&self) -> Markup {
        html! {
            @for status in [Status::Down, Status::Pending, Status::Up] {
                @let of_status: Vec<&Record> =
                    self.records.iter().filter(|record| record.text("status") == status.as_str()).collect();
                @if !of_status.is_empty() {
                    h3 { (mark(status.as_str())) " " (of_status.len()) }
                    table { @for record in of_status { (row(record)) } }
                }
            }
        }
    }
}

fn row(record: &Record) -> Markup {
    let updated = rfc3339(record.updated_at);
    let cells = match record.key.collection() {
        Collection::Hosts => {
            html! { td { (mark(record.text("status"))) } td { (services_of(record)) } }
        }
        Collection::Services => html! { td { (mark(record.text("status"))) } td { "on " (record.key.name()) } },
        Collection::Applications => html! { td {} td { (application::attached_names(record).join(", ")) } },
        Collection::Configurations => html! { td { (record.text("format")) } td { (tags_of(record)) } },
        _ => html! { td { (ephemeral::size(record)) " bytes" } td { (tags_of(record)) } },
    };
    html! {
        tr {
            td { a href=(href(&record.key, record)) { (title(record)) } }
            (cells)
            td.time { time datetime=(updated) { (updated) } " · " (record.revision) }
        }
    }
}

fn title(record: &Record) -> String {
    match record.key.collection() {
        Collection::Ephemerals => ephemeral::path(record).to_owned(),
        Collection::Services => record.key.first().into_owned(),
        _ => record.key.name().into_owned(),
    }
}

fn href(key: &Key, record: &Record) -> String {
    match key.collection() {
        Collection::Ephemerals => {
            format!("/ephemerals{}", ephemeral::path(record).split('/').map(encode).collect::<Vec<_>>().join("/"))
        }
        Collection::Services => format!("/services/{}/{}", encode(&key.first()), encode(&key.name())),
        kind => format!("/{}/{}", kind.as_str(), encode(&key.name())),
    }
}

fn mark(status: &str) -> Markup {
    html! { span class={ "status " (status) } { (status) } }
}

fn services_of(host: &Record) -> Markup {
    html! { @for (name, status) in host.texts("service/") { span class={ "status " (status) } title=(status) { (name) } " " } }
}

fn tags_of(record: &Record) -> Markup {
    html! { @for tag in record.members_of("tags") { span.tag { (tag) } " " } }
}
