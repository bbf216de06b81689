//! What counts as the same answer: the status, the media type, raw bodies byte for byte, and JSON by structure.
//! Every field of the original is there with the same value, fields of ours may be added; ids and times are
//! compared by presence, tags and links as sets, lists of watches in any order. Where the original answered 500,
//! a 4xx with Noah's failure body is due, in the same words where those were meant for people. A 404 for a wrong
//! verb may be 405.

use serde_json::Value;

use super::Row;
use crate::support::RawAnswer;

/// What the original said to people.
const SPOKEN: [&str; 14] = [
    "missing parameters",
    "status must be up, down or pending",
    "name attribute missing",
    "status attribute missing",
    "format attribute missing",
    "body attribute missing",
    "pattern attribute missing",
    "endpoint attribute missing",
    "record already exists",
    "pattern is already provided",
    "pattern would overwrite existing",
    "path is reserved",
    "data too large",
    "need an endpoint",
];
/// Fields of which only the presence counts.
const VOLATILE: [&str; 7] = ["id", "created_at", "updated_at", "redis_version", "noah_version", "link", "location"];
/// Lists whose order does not count.
const SETS: [&str; 3] = ["tags", "links", "affected_applications"];

/// Says where an answer differs from the recorded one.
pub fn judge(row: &Row, answer: &RawAnswer) -> Result<(), String> {
    let want = row.body("response_body").unwrap_or_default();
    let want_status = row.0["status"].as_u64().unwrap();
    let status = u64::from(answer.status);
    if want_status == 500 {
        return failed(&want, answer);
    }
    if want_status == 404 && status == 405 {
        return Ok(());
    }
    if status != want_status {
        return Err(format!("status {status}, was {want_status}: {}", shown(&answer.body)));
    }
    if row.text("method") == "HEAD" {
        return Ok(());
    }
    let want_media = media(row.0["response_headers"]["content-type"].as_str());
    let got_media = media(answer.header("content-type"));
    if got_media != want_media {
        return Err(format!("media type {got_media}, was {want_media}"));
    }
    if want_media == "text/html" {
        return Ok(());
    }
    if want_media == "application/json"
        && let Ok(want) = serde_json::from_slice(&want)
    {
        let got = serde_json::from_slice(&answer.body).map_err(|_| format!("not JSON: {}", shown(&answer.body)))?;
        return same(&want, &got, "", "");
    }
    if want == answer.body { Ok(()) } else { Err(format!("body {}, was {}", shown(&answer.body), shown(&want))) }
}

fn failed(want: &[u8], answer: &RawAnswer) -> Result<(), String> {
    if !(400..500).contains(&answer.status) {
        return Err(format!("status {}, a 4xx was due", answer.status));
    }
    let got: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = got["error_message"].as_str().unwrap_or_default();
    if got["result"] != "failure" || words.is_empty() {
        return Err(format!("no failure body: {}", shown(&answer.body)));
    }
    let want: Value = serde_json::from_slice(want).unwrap_or_default();
    let said = want["error_message"].as_str().unwrap_or_default().to_lowercase();
    if SPOKEN.contains(&said.as_str()) && words.to_lowercase() != said {
        return Err(format!("says {words:?}, the original {said:?}"));
    }
    Ok(())
}

/// Whether `got` carries all of `want`, which stands under `key`.
pub fn same(want: &Value, got: &Value, key: &str, at: &str) -> Result<(), String> {
    let became = || Err(format!("{at}: {want} became {got}"));
    if VOLATILE.contains(&key) {
        return if want.is_null() == got.is_null() { Ok(()) } else { became() };
    }
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => want.iter().try_for_each(|(name, value)| {
            let at = format!("{at}.{name}");
            let there = got.get(name).ok_or_else(|| format!("{at}: missing"))?;
            same(value, there, name, &at)
        }),
        (Value::Array(wants), Value::Array(gots)) if wants.len() == gots.len() => {
            if SETS.contains(&key) {
                let sorted = |values: &[Value]| {
                    let mut texts: Vec<String> = values.iter().map(Value::to_string).collect();
                    texts.sort_unstable();
                    texts
                };
                return if sorted(wants) == sorted(gots) { Ok(()) } else { became() };
            }
            let pairs = ordered(wants).into_iter().zip(ordered(gots));
            pairs.into_iter().try_for_each(|(want, got)| same(want, got, "", &format!("{at}[]")))
        }
        _ => {
            if want == got {
                Ok(())
            } else {
                became()
            }
        }
    }
}

/// A list in an order of its own: of watches by pattern and endpoint, of anything else by what it is.
fn ordered(values: &[Value]) -> Vec<&Value> {
    let mut ordered: Vec<&Value> = values.iter().collect();
    ordered.sort_by_key(|value| match value {
        Value::Object(map) => serde_json::json!([map.get("pattern"), map.get("endpoint")]).to_string(),
        other => other.to_string(),
    });
    ordered
}

fn media(content_type: Option<&str>) -> String {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_lowercase()
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(120)]))
}

mod tests {
    use serde_json::json;

    use super::*;

    fn row(status: u16, content_type: &str, body: &str) -> Row {
        let headers = json!({"content-type": content_type});
        Row(json!({"method": "GET", "path": "/", "status": status, "response_headers": headers, "response_body": body}))
    }

    fn answer(status: u16, content_type: &str, body: &str) -> RawAnswer {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        RawAnswer { status, headers, body: body.as_bytes().to_vec() }
    }

    fn alike(want: &str, got: &str) -> bool {
        let json = "application/json;charset=utf-8";
        judge(&row(200, json, want), &answer(200, "application/json", got)).is_ok()
    }

    #[test]
    fn json_is_compared_by_its_fields() {
        assert!(alike(r#"{"a":1,"id":"7"}"#, r#"{"id":"8","more":true,"a":1}"#));
        assert!(!alike(r#"{"a":1}"#, r#"{"a":2}"#));
        assert!(!alike(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!alike(r#"{"a":{"b":null}}"#, r#"{"a":{}}"#));
        assert!(!alike(r#"{"id":"7"}"#, r#"{"id":null}"#));
        assert!(!alike(r#"{"id":"7"}"#, r#"{}"#));
    }

    #[test]
    fn only_lists_that_are_sets_may_change_their_order() {
        assert!(alike(r#"{"tags":["a","b"]}"#, r#"{"tags":["b","a"]}"#));
        assert!(!alike(r#"{"tags":["a","b"]}"#, r#"{"tags":["a"]}"#));
        assert!(alike(r#"[{"pattern":"b"},{"pattern":"a"}]"#, r#"[{"pattern":"a"},{"pattern":"b"}]"#));
        assert!(!alike(r#"[{"pattern":"b"}]"#, r#"[{"pattern":"a"}]"#));
    }

    #[test]
    fn statuses_media_types_and_raw_bodies_are_compared() {
        assert!(judge(&row(200, "text/plain", "x"), &answer(200, "text/plain;charset=utf-8", "x")).is_ok());
        assert!(judge(&row(200, "text/plain", "x"), &answer(200, "text/plain", "y")).is_err());
        assert!(judge(&row(200, "text/plain", "x"), &answer(200, "text/html", "x")).is_err());
        assert!(judge(&row(200, "text/plain", "x"), &answer(404, "text/plain", "x")).is_err());
        assert!(judge(&row(404, "text/plain", ""), &answer(405, "text/plain", "")).is_ok());
    }

    #[test]
    fn a_500_became_a_4xx_in_the_same_words() {
        let want = row(500, "application/json", r#"{"result":"failure","error_message":"Missing Parameters"}"#);
        let said = |status, words: &str| {
            let body = json!({"result": "failure", "error_message": words}).to_string();
            judge(&want, &answer(status, "application/json", &body))
        };
        assert!(said(400, "Missing Parameters").is_ok());
        assert!(said(400, "Something else").is_err());
        assert!(said(500, "Missing Parameters").is_err());
        assert!(judge(&want, &answer(400, "application/json", "{}")).is_err());
    }
}
