//! What is waited for: as a server is asked for it, and as it is judged where the server cannot.

use serde_json::Value;

use crate::{
    cli::{client::Request, failure::Failure, table::printable},
    primitives::Status,
};

/// How things should be at a path.
#[derive(Debug)]
pub struct Condition {
    kind: Kind,
    wanted: Wanted,
    status: Option<String>,
    tags: Vec<String>,
}

/// What is at the path, by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ephemeral,
    Hosts,
    Services,
    /// A record whose JSON says its data.
    Valued,
    Other,
}

#[derive(Debug)]
enum Wanted {
    Something,
    Nothing,
    Data(String),
    Count(u32),
}

impl Condition {
    /// Takes the command's options; `path` is percent-encoded.
    pub fn new(
        path: &str,
        data: Option<String>,
        absent: bool,
        count: Option<u32>,
        status: Option<String>,
        tags: Vec<String>,
    ) -> Result<Self, Failure> {
        let kind = match *path.trim_end_matches('/').split('/').collect::<Vec<_>>() {
            ["ephemerals", _, ..] => Kind::Ephemeral,
            ["hosts"] => Kind::Hosts,
            ["services"] | ["services", _] => Kind::Services,
            ["hosts" | "configurations", _] | ["services", _, _] => Kind::Valued,
            ["hosts", _, "services", _] | ["applications", _, "configurations", _] => Kind::Valued,
            _ => Kind::Other,
        };
        let is_list = matches!(kind, Kind::Hosts | Kind::Services);
        if !is_list && (count.is_some() || status.is_some() || !tags.is_empty()) {
            return Err(Failure::usage("--count, --status and --tag are for hosts, services and services/NAME")
                .hint("what is to be said of one thing by itself is written --data VALUE"));
        }
        if data.is_some() && !matches!(kind, Kind::Ephemeral | Kind::Valued) {
            return Err(Failure::usage("--data is for an ephemeral, a configuration, a host, and a service on a host")
                .hint("of a list, --status up --count 1 waits for one that is up"));
        }
        if let Some(status) = &status {
            Status::parse(status).map_err(|error| Failure::usage(error.to_string()))?;
        }
        let wanted = match (data, count) {
            _ if absent => Wanted::Nothing,
            (Some(data), _) => Wanted::Data(data),
            (_, Some(count)) => Wanted::Count(count),
            _ => Wanted::Something,
        };
        Ok(Self { kind, wanted, status, tags })
    }

    /// Whether it is that there is nothing.
    pub fn is_absence(&self) -> bool {
        matches!(self.wanted, Wanted::Nothing)
    }

    /// What it is, for people.
    pub fn describe(&self, path: &str) -> String {
        let mut what = printable(path);
        for filter in self.status.iter().chain(&self.tags) {
            what = format!("{what} {}", printable(filter));
        }
        match &self.wanted {
            Wanted::Something => what,
            Wanted::Nothing => format!("{what} to be gone"),
            Wanted::Data(data) => format!("{what} to be {}", printable(data)),
            Wanted::Count(count) => format!("{count} of {what}"),
        }
    }

    /// Asks for what is counted only.
    pub fn filter(&self, request: Request) -> Request {
        let request = request.maybe("status", self.status.as_ref());
        self.tags.iter().fold(request, |request, tag| request.query("tag", tag))
    }

    /// Asks for an answer when it is met.
    pub fn ask(&self, request: Request) -> Request {
        match &self.wanted {
            Wanted::Something => request,
            Wanted::Nothing => request.query("absent", true),
            Wanted::Data(data) => request.query("until", data),
            Wanted::Count(count) => request.query("count", count),
        }
    }

    /// Whether an answer shows that it is met, to which `found` says whether there is something.
    pub fn is_met(&self, found: bool, body: &[u8]) -> bool {
        // Only lists have filters, which the original does not know.
        let members = || if found { self.members(body) } else { 0 };
        let is_there = if self.status.is_some() || !self.tags.is_empty() { members() > 0 } else { found };
        match &self.wanted {
            Wanted::Something => is_there,
            Wanted::Nothing => !is_there,
            Wanted::Data(data) => found && self.value(body) == data.as_bytes(),
            Wanted::Count(count) => members() >= usize::try_from(*count).unwrap_or(usize::MAX),
        }
    }

    /// How many members of a list pass the filters.
    fn members(&self, body: &[u8]) -> usize {
        let list: Value = serde_json::from_slice(body).unwrap_or_default();
        let entries = |value: &Value| value.as_object().into_iter().flatten().map(|(_, entry)| entry.clone()).collect();
        let mut members: Vec<Value> = entries(&list);
        if self.kind == Kind::Services {
            members = members.iter().flat_map(|hosts| -> Vec<Value> { entries(hosts) }).collect();
        }
        let has = |member: &Value, tag: &String| {
            member["tags"].as_array().into_iter().flatten().any(|carried| carried.as_str() == Some(tag))
        };
        let passes = |member: &&Value| {
            self.status.as_ref().is_none_or(|status| member["status"].as_str() == Some(status))
                && self.tags.iter().all(|tag| has(member, tag))
        };
        members.iter().filter(passes).count()
    }

    /// What the data of an answer is.
    fn value(&self, body: &[u8]) -> Vec<u8> {
        let json: Value = match self.kind {
            Kind::Ephemeral => Value::Null,
            _ => serde_json::from_slice(body).unwrap_or_default(),
        };
        let field = json["body"].as_str().or_else(|| json["status"].as_str());
        field.map_or_else(|| body.to_vec(), |text| text.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(path: &str, data: Option<&str>, count: Option<u32>, status: Option<&str>, tags: &[&str]) -> Condition {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        Condition::new(path, data.map(str::to_owned), false, count, status.map(str::to_owned), tags).unwrap()
    }

    #[test]
    fn members_are_counted_as_the_filters_say() {
        let hosts = br#"{"a":{"status":"up","tags":["t"]},"b":{"status":"up"},"c":{"status":"down","tags":["t","u"]}}"#;
        let services = br#"{"s":{"h":{"status":"up"},"i":{"status":"down"}},"t":{"h":{"status":"up"}}}"#;
        for (path, status, tags, count) in [
            ("hosts", None, &[][..], 3),
            ("hosts", Some("up"), &[], 2),
            ("hosts", Some("up"), &["t"], 1),
            ("hosts", None, &["t", "u"], 1),
            ("services", None, &[], 3),
            ("services/s", Some("up"), &[], 2),
        ] {
            let body: &[u8] = if path == "hosts" { hosts } else { services };
            assert!(condition(path, None, Some(count), status, tags).is_met(true, body), "{path} {status:?} {tags:?}");
            let more = condition(path, None, Some(count + 1), status, tags);
            assert!(!more.is_met(true, body) && !more.is_met(false, body), "{path} {status:?} {tags:?}");
        }
    }

    #[test]
    fn data_is_what_the_kind_calls_so() {
        for (path, body) in [
            ("ephemerals/a", "up"),
            ("hosts/h", r#"{"status":"up","name":"h"}"#),
            ("services/s/h", r#"{"status":"up"}"#),
            ("configurations/c", r#"{"format":"string","body":"up"}"#),
            ("configurations/c", "up"),
        ] {
            assert!(condition(path, Some("up"), None, None, &[]).is_met(true, body.as_bytes()), "{path}");
            assert!(!condition(path, Some("u"), None, None, &[]).is_met(true, body.as_bytes()), "{path}");
        }
        let json = br#"{"status":"up"}"#;
        assert!(
            !condition("ephemerals/a", Some("up"), None, None, &[]).is_met(true, json),
            "an ephemeral is its bytes"
        );
    }
}
