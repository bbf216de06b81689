use std::time::{Duration, SystemTime};

use reqwest::{
    Response, StatusCode, Url,
    header::{HeaderMap, LOCATION, RETRY_AFTER},
};

use crate::agents::Outcome;

/// How long the rest of an answer is waited for: its first line has said everything.
const REST: Duration = Duration::from_secs(1);

/// What the answer of the endpoint at `url` means.
pub(in crate::agents) fn judge(url: &Url, status: StatusCode, headers: &HeaderMap) -> Outcome {
    use StatusCode as S;
    let why = format!("it answered {status}");
    let wait = retry_after(headers, SystemTime::now());
    match status {
        _ if status.is_success() => Outcome::Delivered,
        S::GONE => Outcome::Gone { why },
        S::TOO_MANY_REQUESTS | S::BAD_GATEWAY | S::SERVICE_UNAVAILABLE | S::GATEWAY_TIMEOUT => {
            Outcome::RetryAfter { why, wait, slow: true }
        }
        _ if status.is_redirection() => {
            let to = destination(url, headers).map(|to| format!(" to {to}")).unwrap_or_default();
            let why = format!("{why}{to}; redirects are not followed, so the endpoint has to be what they lead to");
            Outcome::RetryAfter { why, wait, slow: false }
        }
        _ => Outcome::RetryAfter { why, wait, slow: false },
    }
}

/// Where a redirect leads to: no more than the host, since paths and queries may be secrets.
fn destination(url: &Url, headers: &HeaderMap) -> Option<String> {
    let to = url.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    let port = to.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", to.scheme(), to.host_str()?))
}

/// `Retry-After` as RFC 9110, section 10.2.3, has it: seconds or a date. A date that is over is no wait at all.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// Reads the rest of an answer, so that its connection can be used again. When it is longer than `most` bytes, or
/// slow, the connection is closed instead.
pub(in crate::agents) async fn drain(mut response: Response, most: usize) {
    let mut read = 0;
    let rest = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > most {
                return;
            }
        }
    };
    if tokio::time::timeout(REST, rest).await.is_err() {
        tracing::debug!("an answer does not end; its connection is closed");
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn judged(status: u16, all: &[(&'static str, &str)]) -> Outcome {
        let url = "http://u:hunter2@h:81/hunter2".parse().unwrap();
        judge(&url, StatusCode::from_u16(status).unwrap(), &headers(all))
    }

    #[test]
    fn each_status_means_what_standard_webhooks_say() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, &[("retry-after", "9")]), Outcome::Delivered);
        }
        assert_eq!(judged(410, &[]), Outcome::Gone { why: "it answered 410 Gone".to_owned() });
        let wait = Some(Duration::from_secs(9));
        for (status, is_slow) in
            [(429, true), (502, true), (503, true), (504, true), (500, false), (400, false), (404, false), (304, false)]
        {
            let outcome = judged(status, &[("retry-after", "9")]);
            let Outcome::RetryAfter { why, wait: asked, slow } = outcome else { panic!("{status}: {outcome:?}") };
            assert_eq!((asked, slow), (wait, is_slow), "{status}");
            assert!(why.contains(&status.to_string()), "{why}");
        }
    }

    #[test]
    fn a_redirect_says_where_to_and_no_secret() {
        for (location, shown) in [
            ("https://u:hunter2@other:8443/hunter2?t=hunter2#hunter2", " to https://other:8443;"),
            ("/hunter2", " to http://h:81;"),
            ("//other/hunter2", " to http://other;"),
            ("http://[hunter2", "302 Found;"),
        ] {
            let outcome = judged(302, &[("location", location)]);
            let Outcome::RetryAfter { why, .. } = outcome else { panic!("{outcome:?}") };
            assert!(why.contains(shown) && why.contains("not followed") && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date_of_any_of_the_three_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_717);
        for (text, wait) in [
            ("120", Some(120)),
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(retry_after(&headers(&[("retry-after", text)]), now), wait.map(Duration::from_secs), "{text}");
        }
    }
}
