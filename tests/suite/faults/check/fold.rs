//! What the log says that is stored, and what records have to say of each other behind each commit.

use std::collections::{BTreeMap, BTreeSet};

use noah::primitives::{Event, Record};

use super::{super::journal::Effect, Wrong};

/// The state behind some event.
#[derive(Default)]
pub struct Fold<'l> {
    pub records: BTreeMap<&'l str, &'l Record>,
    /// The members of each index that ever had one.
    pub members: BTreeMap<&'l str, BTreeSet<&'l str>>,
}

impl<'l> Fold<'l> {
    pub fn apply(&mut self, event: &'l Event) {
        let (key, record) = (event.record.key.as_str(), &event.record);
        for index in self.records.remove(key).iter().flat_map(|before| &before.indexes) {
            self.members.entry(index).or_default().remove(key);
        }
        if event.is_gone() {
            return;
        }
        self.records.insert(key, record);
        for index in &record.indexes {
            self.members.entry(index).or_default().insert(key);
        }
    }

    /// Whether an effect is there.
    pub fn has(&self, effect: &Effect) -> bool {
        let record = self.records.get(effect.key()).copied();
        match effect {
            Effect::Gone(_) => record.is_none(),
            _ => record.map_or(matches!(effect, Effect::Out(..)), |record| shows(record, effect)),
        }
    }

    fn text(&self, key: &str, field: &str) -> Option<&str> {
        let fields = &self.records.get(key)?.fields;
        fields.get(field).map(|value| std::str::from_utf8(value).unwrap_or("?"))
    }

    /// Records that were just changed agree with those that show the same.
    pub fn agrees(&self, changed: &[&'l Event], wrong: &mut Wrong) {
        for event in changed {
            let key = event.record.key.as_str();
            let of = || super::shown(event);
            match key.split_once('/').unwrap_or_default() {
                ("services", rest) => {
                    let (service, host) = rest.split_once('/').unwrap_or_default();
                    let on_host = self.text(&format!("hosts/{host}"), &format!("service/{service}"));
                    let own = self.text(key, "status");
                    wrong.unless(own == on_host, || format!("{}: it is {own:?}, its host shows {on_host:?}", of()));
                }
                ("hosts", host) => self.host_agrees(key, host, wrong, &of),
                ("configurations", name) => {
                    let index = format!("applications-with/{name}");
                    for application in self.members.get(&*index).into_iter().flatten() {
                        self.shows_what_it_is(application, name, wrong, &of);
                    }
                }
                ("applications", _) => {
                    let record = self.records.get(key);
                    for (name, _) in record.iter().flat_map(|record| record.texts("body/")) {
                        self.shows_what_it_is(key, name, wrong, &of);
                    }
                }
                ("sessions", id) if event.is_gone() => self.let_go(id, wrong, &of),
                _ => {}
            }
            let before_or_after = event.record.indexes.iter().map(String::as_str).chain([key]);
            for group in before_or_after.filter(|group| group.starts_with("tags/") || group.starts_with("links/")) {
                let count = self.members.get(group).map_or(0, BTreeSet::len);
                let is_there = self.records.contains_key(group);
                wrong.unless(is_there == (count > 0), || {
                    format!("{}: {group} has {count} members, and is there: {is_there}", of())
                });
            }
        }
    }

    fn host_agrees(&self, key: &str, host: &str, wrong: &mut Wrong, of: &dyn Fn() -> String) {
        let record = self.records.get(key);
        for (service, shown) in record.iter().flat_map(|record| record.texts("service/")) {
            let own = self.text(&format!("services/{service}/{host}"), "status");
            wrong.unless(own == Some(shown), || format!("{}: it shows {service} as {shown}, which is {own:?}", of()));
        }
        let index = format!("services-on/{host}");
        let services = self.members.get(&*index).map_or(0, BTreeSet::len);
        let shown = record.map_or(0, |record| record.texts("service/").count());
        wrong.unless(services == shown, || format!("{}: it shows {shown} services of {services}", of()));
    }

    fn shows_what_it_is(&self, application: &str, name: &str, wrong: &mut Wrong, of: &dyn Fn() -> String) {
        let own = self.text(&format!("configurations/{name}"), "body");
        let shown = self.text(application, &format!("body/{name}"));
        wrong.unless(own == shown, || format!("{}: {application} shows {shown:?} of {name}, which is {own:?}", of()));
    }

    /// Nothing is tied to a session that has ended.
    fn let_go(&self, id: &str, wrong: &mut Wrong, of: &dyn Fn() -> String) {
        let tied = self.records.iter().filter(|(key, record)| {
            (key.starts_with("locks/") && key.ends_with(id))
                || (key.starts_with("ephemerals/tied/") && record.text("data") == id)
        });
        for (key, _) in tied {
            wrong.0.push(format!("{}: {key} was tied to it, and is there still", of()));
        }
    }
}

/// Whether a record shows an effect on it.
pub fn shows(record: &Record, effect: &Effect) -> bool {
    match effect {
        Effect::Put(_, fields) => fields.iter().all(|(name, value)| record.fields.get(name) == Some(value)),
        Effect::Gone(_) => false,
        Effect::In(_, index) => record.indexes.contains(index),
        Effect::Out(_, index) => !record.indexes.contains(index),
    }
}
