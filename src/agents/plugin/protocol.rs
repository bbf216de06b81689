//! What Noah and a plug-in say to each other, as `examples/plugins/README.md` has it: a JSON object a line.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    agents::{Delivery, Outcome, told},
    primitives::{rfc3339, watch::Watch},
};

/// The version of the protocol.
const VERSION: u32 = 1;
/// The longest request.
const MOST_SENT: usize = 16 << 20;
/// The longest pause that is understood, so that no number is too large to count with.
const MOST_WAITED: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Serialize)]
struct Hello<'a> {
    noah: u32,
    scheme: &'a str,
    timeout_ms: u128,
}

#[derive(Serialize)]
struct Request<'a> {
    id: u64,
    deliver: Deliver<'a>,
}

#[derive(Serialize)]
struct Deliver<'a> {
    endpoint: &'a str,
    id: &'a str,
    attempt: u32,
    revision: u64,
    action: &'a str,
    channel: &'a str,
    time: String,
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Greeting {
    noah: u32,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    result: Word,
    after: Option<After>,
    #[serde(default)]
    why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Delivered,
    Retry,
    Refused,
    Gone,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum After {
    Seconds(f64),
    Text(String),
}

/// The first line to a plug-in.
pub(super) fn hello(scheme: &str, timeout: Duration) -> Vec<u8> {
    line(&Hello { noah: VERSION, scheme, timeout_ms: timeout.as_millis() })
}

/// The line that asks for a delivery.
///
/// # Errors
/// Why the plug-in cannot be asked for it.
pub(super) fn request(id: u64, watch: &Watch, delivery: &Delivery) -> Result<Vec<u8>, String> {
    let event = serde_json::from_slice(&delivery.body).map_err(|_| "the event is not JSON")?;
    let deliver = Deliver {
        endpoint: watch.endpoint.as_str(),
        id: &delivery.id,
        attempt: delivery.attempt,
        revision: delivery.revision,
        action: delivery.action,
        channel: &delivery.channel,
        time: rfc3339(delivery.time),
        event,
    };
    let line = line(&Request { id, deliver });
    if line.len() > MOST_SENT {
        return Err(format!("the event is larger than plug-ins are told, {} MiB", MOST_SENT >> 20));
    }
    Ok(line)
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Noah's own JSON, the event's too, has no line break in it.
    let mut line = serde_json::to_vec(value).expect("all keys are text");
    line.push(b'\n');
    line
}

/// Reads the first line of a plug-in.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_greeting(line: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Greeting>(line) {
        Ok(Greeting { noah: VERSION }) => Ok(()),
        Ok(Greeting { noah }) => Err(format!("speaks version {noah} of the protocol; this noah speaks {VERSION}")),
        Err(_) => Err(format!("did not begin with {{\"noah\":{VERSION}}}")),
    }
}

/// Reads an answer: to which request, and what came of it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_answer(line: &[u8]) -> Result<(u64, Outcome), String> {
    // What the parser says repeats words of the line.
    let unread = |error: serde_json::Error| format!("said what is no answer ({})", told(&error.to_string()));
    let answer: Answer = serde_json::from_slice(line).map_err(unread)?;
    let why = match told(&answer.why) {
        words if words.is_empty() => "its plug-in did not say why".to_owned(),
        words => words,
    };
    let outcome = match answer.result {
        Word::Delivered => Outcome::Delivered,
        Word::Retry => Outcome::RetryAfter { why, wait: answer.after.map(pause).transpose()?, slow: false },
        Word::Refused => Outcome::Refused { why },
        Word::Gone => Outcome::Gone { why },
    };
    Ok((answer.id, outcome))
}

fn pause(after: After) -> Result<Duration, String> {
    let pause = match after {
        After::Seconds(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        After::Text(text) => humantime::parse_duration(&text).ok(),
    };
    let wrong = || "said an \"after\" that is neither a number of seconds nor like \"30s\"".to_owned();
    pause.map(|pause| pause.min(MOST_WAITED)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Result<(u64, Outcome), String> {
        read_answer(line.as_bytes())
    }

    #[test]
    fn each_answer_is_an_outcome() {
        let why = || "so".to_owned();
        assert_eq!(answer(r#"{"id":1,"result":"delivered","more":[]}"#), Ok((1, Outcome::Delivered)));
        assert_eq!(answer(r#"{"id":2,"result":"refused","why":"so"}"#), Ok((2, Outcome::Refused { why: why() })));
        assert_eq!(answer(r#"{"id":3,"result":"gone","why":"so"}"#), Ok((3, Outcome::Gone { why: why() })));
        for (after, wait) in [
            ("", None),
            (r#","after":1.5"#, Some(Duration::from_millis(1500))),
            (r#","after":"2m""#, Some(Duration::from_secs(120))),
            (r#","after":1e15"#, Some(MOST_WAITED)),
        ] {
            let said = answer(&format!(r#"{{"id":4,"result":"retry","why":"so"{after}}}"#));
            assert_eq!(said, Ok((4, Outcome::RetryAfter { why: why(), wait, slow: false })), "{after}");
        }
    }

    #[test]
    fn nonsense_is_told_as_such() {
        let cases = [
            "",
            "hello",
            "[]",
            r#"{"id":1}"#,
            r#"{"id":-1,"result":"delivered"}"#,
            r#"{"id":1,"result":"maybe"}"#,
            r#"{"id":1,"result":"retry","after":-1}"#,
            r#"{"id":1,"result":"retry","after":"soon"}"#,
        ];
        for line in cases {
            assert!(answer(line).unwrap_err().starts_with("said"), "{line}");
        }
        assert_eq!(read_greeting(br#"{"noah":1,"name":"x"}"#), Ok(()));
        assert!(read_greeting(br#"{"noah":2}"#).unwrap_err().contains("version 2"));
        assert!(read_greeting(b"hi").is_err());
    }

    #[test]
    fn a_plug_ins_words_are_one_bounded_line() {
        let long = serde_json::json!({"id": 1, "result": "gone", "why": format!("a\nb{}", "x".repeat(1000))});
        let Ok((_, Outcome::Gone { why })) = answer(&long.to_string()) else { panic!() };
        assert!(why.starts_with("a bx") && why.len() < 500, "{why}");
        let word = serde_json::json!({"id": 1, "result": format!("a\nb{}", "x".repeat(1000))});
        let why = answer(&word.to_string()).unwrap_err();
        assert!(why.contains("a bx") && why.len() < 500, "{why}");
    }
}
