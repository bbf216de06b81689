//! What a poke brings: the event for the command's stdin, and the few fields of it for its environment.

mod fields;

use std::fmt;

use actix_web::web::Bytes;
use serde::{Deserialize, Serialize};

use fields::Fields;

use crate::primitives::{Cause, decode_segment};

/// The variables that tell a command about its run. All are taken out of what it would inherit, so that it never
/// sees those of another run.
pub const VARIABLES: [&str; 7] =
    ["NOAH_ACTION", "NOAH_PATH", "NOAH_REVISION", "NOAH_EVENT", "NOAH_RUN_ID", "NOAH_CAUSE", "NOAH_URL"];

/// The longest value of a variable, in bytes. A longer one is left out: half a path is another path.
pub const MAX_VALUE: usize = 4096;

/// How the sources of Noah's own events begin, and their channels.
const NOAH: &str = "//noah";

/// A poke, as far as it is understood. Whoever sent it is not trusted with more than its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// What the command reads on its stdin: the body, byte by byte; nothing when the poke was only a signal. It is
    /// stored beside the rest.
    #[serde(skip)]
    pub body: Bytes,
    /// `create`, `update`, `delete` or `expire`; of a CloudEvent that is not Noah's, its type.
    pub action: Option<String>,
    /// The path of what changed: `/hosts/web1`; of a CloudEvent its subject.
    pub path: Option<String>,
    /// The number of the change.
    pub revision: Option<u64>,
    /// The channel it was published on: `//noah/hosts/web1`.
    pub channel: Option<String>,
    /// What led to the change.
    pub cause: Option<String>,
}

/// It says that it is a CloudEvent, and is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Event {
    /// Reads a poke as any transport brings it: the type of its content, the attributes of a CloudEvent that the
    /// transport carries beside the body (`attribute("source")`), and the body.
    ///
    /// A body that is neither a CloudEvent nor a JSON object is only a signal: the command runs, and is told nothing.
    ///
    /// # Errors
    /// [`Malformed`] when it says that it is a CloudEvent and is none.
    pub fn understand(
        content_type: Option<&str>,
        attribute: &dyn Fn(&str) -> Option<String>,
        body: Bytes,
    ) -> Result<Self, Malformed> {
        let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
        if kind.starts_with("application/cloudevents-batch") {
            return Err(Malformed("a batch of CloudEvents is not taken: send one at a time"));
        }
        if kind.starts_with("application/cloudevents") {
            return Self::structured(body);
        }
        match attribute("specversion") {
            Some(_) => Self::of_attributes(attribute, Self::parse(body.clone()), body),
            None => Ok(Self::parse(body)),
        }
    }

    /// Reads a body of Noah's.
    #[must_use]
    pub fn parse(body: Bytes) -> Self {
        match Fields::parse(&body) {
            Some(fields) => Self { body, ..Self::of_fields(&fields) },
            None => Self::default(),
        }
    }

    fn of_fields(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).and_then(safe);
        Self {
            body: Bytes::new(),
            action: text("action"),
            path: text("path"),
            revision: fields.number("revision"),
            channel: text("pubcategory"),
            cause: text("cause").and_then(|cause| Cause::parse(&cause).ok()?).map(|cause| cause.to_string()),
        }
    }

    /// A CloudEvent that is one JSON object, with Noah's body as its data.
    fn structured(body: Bytes) -> Result<Self, Malformed> {
        let Some(fields) = Fields::parse(&body) else {
            return Err(Malformed("a structured CloudEvent is one JSON object"));
        };
        let data = fields.object("data").map(Self::of_fields).unwrap_or_default();
        let attribute = |name: &str| {
            fields.text(name).map(ToOwned::to_owned).or_else(|| fields.number(name).map(|number| number.to_string()))
        };
        Self::of_attributes(&attribute, data, body)
    }

    /// What the data does not say itself is taken from the attributes.
    fn of_attributes(attribute: &dyn Fn(&str) -> Option<String>, data: Self, body: Bytes) -> Result<Self, Malformed> {
        if attribute("specversion").as_deref() != Some("1.0") {
            return Err(Malformed("only CloudEvents of the version 1.0 are taken"));
        }
        let missing = ["id", "source", "type"].iter().any(|name| attribute(name).is_none_or(|text| text.is_empty()));
        if missing {
            return Err(Malformed("a CloudEvent has an id, a source and a type"));
        }
        let read = |name: &str| attribute(name).as_deref().and_then(safe);
        let (kind, subject) = (read("type"), read("subject"));
        let is_noahs = attribute("source").as_deref() == Some(NOAH);
        let channel = subject.as_ref().filter(|_| is_noahs).map(|path| format!("{NOAH}{path}"));
        let action = match is_noahs {
            true => kind.and_then(|kind| kind.rsplit('.').next().map(ToOwned::to_owned)),
            false => kind,
        };
        let revision = attribute("noahrevision").filter(|_| is_noahs).and_then(|number| number.parse().ok());
        Ok(Self {
            body,
            action: data.action.or(action),
            path: data.path.or(subject),
            revision: data.revision.or(revision),
            channel: data.channel.or(channel),
            cause: data.cause,
        })
    }

    /// The segments of its channel below `//noah`, which patterns are matched against; `None` for a signal.
    #[must_use]
    pub fn segments(&self) -> Option<Vec<String>> {
        let below = self.channel.as_deref()?.strip_prefix(NOAH)?;
        Some(below.split('/').skip(1).map(|segment| decode_segment(segment).into_owned()).collect())
    }

    /// Whether it stands for events that the log no longer has, so that nobody can say which they were.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.action.as_deref() == Some("gap")
    }

    /// What led here, with the event itself at its end.
    #[must_use]
    pub fn chain(&self) -> String {
        let event = self.revision.map(|revision| format!("event:{revision}"));
        let parts: Vec<&str> = self.cause.as_deref().into_iter().chain(event.as_deref()).collect();
        if parts.is_empty() { "poke".to_owned() } else { parts.join(" ") }
    }

    /// The variables of a run that this event is the reason for, without those about the run itself.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let [action, path, revision, channel, ..] = VARIABLES;
        let number = self.revision.map(|revision| revision.to_string());
        [(action, self.action.clone()), (path, self.path.clone()), (revision, number), (channel, self.channel.clone())]
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

/// A value that can be put into an environment and into a log: of bounded length, on one line.
fn safe(value: &str) -> Option<String> {
    (value.len() <= MAX_VALUE && !value.chars().any(char::is_control)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(body: &str) -> Vec<(&'static str, String)> {
        Event::parse(Bytes::copy_from_slice(body.as_bytes())).variables().collect()
    }

    #[test]
    fn the_fields_of_an_event_become_variables() {
        let body = r#"{"action":"update","path":"/hosts/h","pubcategory":"//noah/hosts/h","revision":7,"status":"up"}"#;
        let expected = [
            ("NOAH_ACTION", "update"),
            ("NOAH_PATH", "/hosts/h"),
            ("NOAH_REVISION", "7"),
            ("NOAH_EVENT", "//noah/hosts/h"),
        ];
        assert_eq!(variables(body), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn hostile_values_are_left_out_and_the_others_stay() {
        assert_eq!(variables(r#"{"action":"a\nb","path":"/p"}"#), [("NOAH_PATH", "/p".to_owned())]);
        assert!(variables(r#"{"action":"a\u0000b","path":["/p"],"revision":"7","pubcategory":{}}"#).is_empty());
        assert!(variables(r#"{"revision":-1,"action":"\u001b[31m","path":"\u0085"}"#).is_empty());
        let long = format!(r#"{{"action":"{}","path":"{}"}}"#, "x".repeat(MAX_VALUE + 1), "y".repeat(MAX_VALUE));
        assert_eq!(variables(&long), [("NOAH_PATH", "y".repeat(MAX_VALUE))]);
    }

    #[test]
    fn what_is_no_json_object_is_a_signal_without_a_body() {
        for body in ["", "hello", "[1]", "\"x\"", "null", "{", "{\"a\":1} x"] {
            let event = Event::parse(Bytes::copy_from_slice(body.as_bytes()));
            assert!(event.body.is_empty() && event.variables().next().is_none(), "{body}");
        }
    }

    #[test]
    fn a_cloud_event_says_in_its_attributes_what_its_data_does_not() {
        let attribute = |name: &str| {
            let pairs = [
                ("specversion", "1.0"),
                ("id", "1"),
                ("source", "//noah"),
                ("type", "noah.hosts.update"),
                ("subject", "/hosts/h"),
                ("noahrevision", "7"),
            ];
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let event = Event::understand(Some("text/plain"), &attribute, Bytes::from_static(b"any")).unwrap();
        let told: Vec<(&str, String)> = event.variables().collect();
        let expected = [
            ("NOAH_ACTION", "update"),
            ("NOAH_PATH", "/hosts/h"),
            ("NOAH_REVISION", "7"),
            ("NOAH_EVENT", "//noah/hosts/h"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(event.body, Bytes::from_static(b"any"));
    }

    #[test]
    fn what_says_that_it_is_a_cloud_event_has_to_be_one() {
        let none = |_: &str| None;
        let structured = |body: &'static str| {
            Event::understand(
                Some("application/cloudevents+json; charset=utf-8"),
                &none,
                Bytes::from_static(body.as_bytes()),
            )
        };
        for body in [
            "",
            "[]",
            "{}",
            r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#,
            r#"{"specversion":"1.0","id":"1","source":"s"}"#,
        ] {
            assert!(structured(body).is_err(), "{body}");
        }
        let foreign = structured(
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t.u","subject":"x","data":{"revision":3}}"#,
        );
        let event = foreign.unwrap();
        assert_eq!((event.action.as_deref(), event.path.as_deref(), event.channel), (Some("t.u"), Some("x"), None));
        assert_eq!(event.revision, Some(3));
        assert!(Event::understand(Some("application/cloudevents-batch+json"), &none, Bytes::new()).is_err());
    }

    #[test]
    fn a_chain_ends_with_the_event() {
        let chain = |body: &'static str| Event::parse(Bytes::from_static(body.as_bytes())).chain();
        assert_eq!(chain(r#"{"revision":7,"cause":"event:1 run:2"}"#), "event:1 run:2 event:7");
        assert_eq!(chain(r#"{"revision":7}"#), "event:7");
        assert_eq!(chain("x"), "poke");
    }
}
