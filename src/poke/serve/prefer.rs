use std::time::Duration;

use actix_web::http::header::HeaderMap;

/// The longest that an answer is held.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// How long the sender would like to wait for the outcome, as RFC 7240 has it: `Prefer: wait=60`. What cannot be
/// understood is no preference, as it says.
pub(super) fn wait(head: &HeaderMap) -> Option<Duration> {
    let values = head.get_all("prefer").filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or_default());
    let seconds = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    });
    seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST)).next()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_wait_is_read_from_among_other_preferences() {
        let wait = |values: &[&'static str]| {
            let mut head = HeaderMap::new();
            for value in values {
                head.append(HeaderName::from_static("prefer"), HeaderValue::from_static(value));
            }
            super::wait(&head).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&["wait=60"]), Some(60));
        assert_eq!(wait(&["respond-async, Wait = \"5\"; x=y"]), Some(5));
        assert_eq!(wait(&["respond-async", "wait=1, wait=2"]), Some(1));
        assert_eq!(wait(&["wait=86400"]), Some(600));
        for none in ["", "wait", "wait=", "wait=-1", "wait=1.5", "waiting=3"] {
            assert_eq!(wait(&[none]), None, "{none:?}");
        }
    }
}
