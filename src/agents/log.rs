use async_trait::async_trait;

use super::{Agent, Delivery, Outcome};
use crate::primitives::watch::Watch;

/// How many bytes of an event's JSON are logged.
const MOST_SHOWN: usize = 1024;

/// `log://`: writes each event as one line to the server's log, under the name `noah::agents::log`.
pub struct Log;

#[async_trait]
impl Agent for Log {
    fn schemes(&self) -> Vec<String> {
        vec!["log".to_owned()]
    }

    async fn deliver(&self, _watch: &Watch, delivery: &Delivery) -> Outcome {
        let Delivery { revision, action, label, channel, body, .. } = delivery;
        // A channel that is not logged as it is belongs to a watch, whose JSON has a password in it as well.
        let body = if label == channel { shown(body) } else { "(hidden)".to_owned() };
        tracing::info!(revision, action, channel = label, %body, "event");
        Outcome::Delivered
    }
}

/// The beginning of a body, as text.
fn shown(body: &[u8]) -> String {
    if body.len() <= MOST_SHOWN {
        return String::from_utf8_lossy(body).into_owned();
    }
    let mut end = MOST_SHOWN;
    // Not within a character: those bytes all begin with the bits 10.
    while end > 0 && body[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    format!("{}… ({} bytes)", String::from_utf8_lossy(&body[..end]), body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_cut_between_characters() {
        assert_eq!(shown(b"{}"), "{}");
        let long = "é".repeat(MOST_SHOWN);
        let cut = shown(format!("x{long}").as_bytes());
        assert_eq!(cut, format!("x{}… (2049 bytes)", "é".repeat((MOST_SHOWN - 1) / 2)));
    }
}
