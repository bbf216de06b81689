//! What a poke brings: the event for the command's stdin, and the few fields of it for its environment.

use actix_web::web::Bytes;
use serde_json::{Map, Value};

/// The variables that tell a command about its run. All are taken out of what it would inherit, so that it never
/// sees those of another run.
pub const VARIABLES: [&str; 5] = ["NOAH_ACTION", "NOAH_PATH", "NOAH_REVISION", "NOAH_EVENT", "NOAH_RUN_ID"];

/// The longest value of a variable, in bytes. A longer one is left out: half a path is another path.
pub const MAX_VALUE: usize = 4096;

/// The body of a poke, as far as it is understood. Whoever sent it is not trusted with more than its values.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// What the command reads on its stdin: the body, byte by byte; nothing when the poke was only a signal.
    pub body: Bytes,
    /// `create`, `update`, `delete` or `expire`.
    pub action: Option<String>,
    /// The path of what changed: `/hosts/web1`.
    pub path: Option<String>,
    /// The number of the change.
    pub revision: Option<String>,
    /// The channel it was published on: `//noah/hosts/web1`.
    pub channel: Option<String>,
}

impl Event {
    /// Reads the body of a poke. One that is no JSON object is only a signal: the command runs, and is told nothing.
    #[must_use]
    pub fn parse(body: Bytes) -> Self {
        let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(&body) else { return Self::default() };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).and_then(safe);
        let revision = fields.get("revision").and_then(Value::as_u64).map(|revision| revision.to_string());
        Self { action: text("action"), path: text("path"), revision, channel: text("pubcategory"), body }
    }

    /// The variables of a run that this event is the reason for, without the run's own id.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let [action, path, revision, channel, _] = VARIABLES;
        [(action, &self.action), (path, &self.path), (revision, &self.revision), (channel, &self.channel)]
            .into_iter()
            .filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
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
        let event = Event::parse(Bytes::copy_from_slice(body.as_bytes()));
        event.variables().map(|(name, value)| (name, value.to_owned())).collect()
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
}
