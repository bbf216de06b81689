//! Waits that make no sense are refused, with words that say what to write.

use crate::support::{Noah, on_both_stores};

const REFUSED: [(&str, &str); 31] = [
    ("/ephemerals/e?wait=x", "500ms"),
    ("/ephemerals/e?wait=60", "500ms"),
    ("/ephemerals/e?wait=-1s", "500ms"),
    ("/ephemerals/e?wait=", "500ms"),
    ("/ephemerals/e?wait=601s", "at most 10m"),
    ("/ephemerals/e?wait=11m", "at most 10m"),
    ("/ephemerals/e?until=x", "wait=60s&until"),
    ("/ephemerals/e?after=3", "wait=60s&after"),
    ("/hosts/h?absent=true", "wait=60s&absent"),
    ("/services?count=3", "wait=60s&count"),
    ("/services/s/h?until=up", "wait=60s&until"),
    ("/group?after=3", "wait=60s&after"),
    ("/ephemerals/e?wait=1s&after=x", "whole number"),
    ("/hosts?wait=1s&after=web1", "whole number"),
    ("/ephemerals/e?wait=1s&after=-1", "whole number"),
    ("/ephemerals/e?wait=1s&absent=yes", "absent is true"),
    ("/ephemerals/e?wait=1s&until=x&absent=true", "only one"),
    ("/hosts?wait=1s&count=2&absent=true", "only one"),
    ("/ephemerals/e?wait=1s&count=1", "count is for lists"),
    ("/hosts/h?wait=1s&count=1", "count is for lists"),
    ("/configurations?wait=1s&count=1", "count is for lists"),
    ("/hosts?wait=1s&count=0", "absent=true"),
    ("/hosts?wait=1s&count=x", "whole number"),
    ("/hosts?wait=1s&count=5&limit=3", "limit"),
    ("/hosts?wait=1s&until=up", "until is for"),
    ("/applications/a?wait=1s&until=x", "until is for"),
    ("/tags/t?wait=1s&until=x", "until is for"),
    ("/hosts/h?wait=1s&until=ready", "up, down or pending"),
    ("/events?wait=1s", "stream"),
    ("/version?wait=1s", "cannot be waited for"),
    ("/watches/x?wait=1s", "cannot be waited for"),
];

async fn waits_that_make_no_sense_are_refused(noah: Noah) {
    for (path, words) in REFUSED {
        let answer = noah.get(path).await;
        assert_eq!((answer.status, answer.header("noah-wait")), (400, None), "{path}: {}", answer.text());
        assert!(answer.failure().contains(words), "{path}: {}", answer.text());
    }
}

async fn a_page_still_begins_behind_a_name(noah: Noah) {
    for n in 0..3 {
        noah.put_ok(&format!("/hosts/{n}"), r#"{"status":"up"}"#).await;
    }
    assert_eq!(noah.see("/hosts?after=0").await.as_object().unwrap().len(), 2);
}

on_both_stores!(Noah: waits_that_make_no_sense_are_refused, a_page_still_begins_behind_a_name);
