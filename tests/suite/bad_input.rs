//! What clients get wrong, by accident or not: a 4xx that says what is wrong, in Noah's body, nothing written, and
//! the next request works.

mod broken;
mod requests;

use serde_json::Value;

use crate::support::{Noah, Raw, RawAnswer};

/// Sends one request and reads its answer, on a connection of its own.
async fn exchange(noah: &Noah, request: &[u8]) -> RawAnswer {
    let mut connection = Raw::connect(noah.address()).await;
    connection.send(request).await;
    connection.answer().await
}

/// A request with a body, well-formed as far as HTTP goes.
fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: noah\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// It is a 4xx with Noah's body, as JSON by its own account. Returns its words.
fn refused(what: &str, answer: &RawAnswer, statuses: &[u16]) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(statuses.contains(&answer.status), "{what}: {} instead of {statuses:?}: {text}", answer.status);
    assert_eq!(answer.header("content-type"), Some("application/json;charset=utf-8"), "{what}");
    answer.failure()
}

/// Everything that is stored, and how many commits there were.
async fn everything(noah: &Noah) -> (usize, Vec<Value>) {
    let mut lists = Vec::new();
    for list in ["/hosts", "/services", "/applications", "/configurations", "/tags", "/watches", "/org"] {
        lists.push(noah.get(list).await.json());
    }
    (noah.database.whole_log().await.len(), lists)
}

/// The server works.
async fn works(noah: &Noah) {
    let answer = exchange(noah, &request("GET", "/healthz", b"")).await;
    assert_eq!(answer.status, 200);
    assert!(!noah.logs().contains("panicked"), "it panicked:\n{}", noah.logs());
}
