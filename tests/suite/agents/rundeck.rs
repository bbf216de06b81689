//! Rundeck needs Java and minutes to start, so a stand-in takes its place that writes down what it is asked. What the
//! requests should be is from Rundeck's documentation of its API.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Backend, Behaviour, Noah, Receiver, eventually};

/// The endpoint of a job on the stand-in.
fn endpoint(rundeck: &Receiver, rest: &str) -> String {
    rundeck.url(rest).replace("http://", "rundeck://t%2Bhunter2@")
}

#[tokio::test]
async fn an_event_runs_the_job_with_the_token_and_the_options() {
    let (noah, rundeck) = (Noah::on(Backend::Sqlite).await, Receiver::start().await);
    noah.watch("//noah/hosts", &endpoint(&rundeck, "/base/1-2-3?option.role=web%20server&event=options")).await;
    noah.watch("//noah/**", &endpoint(&rundeck, "/9?api=47")).await;
    let revision = noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await.revision();
    let hits = rundeck.at_least(2).await;
    for hit in &hits {
        assert_eq!((hit.method.as_str(), hit.headers["x-rundeck-auth-token"].as_str()), ("POST", "t+hunter2"));
        assert_eq!((&*hit.headers["content-type"], &*hit.headers["accept"]), ("application/json", "application/json"));
        assert!(!hit.headers.contains_key("authorization"));
    }
    let body = |path: &str| hits.iter().find(|hit| hit.path == path).unwrap_or_else(|| panic!("{hits:?}")).json();
    let told = json!({"role": "web server", "noah_action": "create", "noah_channel": "//noah/hosts/h1",
                      "noah_revision": revision.to_string()});
    assert_eq!(body("/base/api/18/job/1-2-3/run"), json!({ "options": told }));
    assert_eq!(body("/api/47/job/9/run"), json!({"options": {}}));
    assert!(!noah.logs().contains("hunter2"));
}

#[tokio::test]
async fn a_job_that_cannot_be_run_is_tried_again() {
    let (noah, rundeck) = (Noah::on(Backend::Sqlite).await, Receiver::start().await);
    rundeck.behave(Behaviour::Answer(409));
    noah.watch("//noah/ephemerals", &endpoint(&rundeck, "/1")).await;
    noah.put_ok("/ephemerals/a", "1").await;
    rundeck.at_least(2).await;
    rundeck.behave(Behaviour::Answer(200));
    eventually("the job is run", || async { noah.logs().contains(": delivered ").then_some(()) }).await;
    assert!(noah.logs().contains("Rundeck: it answered 409 Conflict"), "{}", noah.logs());
}

#[tokio::test]
async fn rundecks_own_words_are_told() {
    let noah = Noah::on(Backend::Sqlite).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    noah.watch("//noah/ephemerals", &format!("rundeck://t@{}/1", listener.local_addr().unwrap())).await;
    noah.put_ok("/ephemerals/a", "1").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    let body = json!({"error": true, "errorCode": "api.error.item.doesnotexist", "message": "Job ID does\nnot exist"});
    let body = body.to_string();
    let head = format!("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let words = "404 Not Found: Job ID does not exist";
    eventually("the log has Rundeck's words", || async { noah.logs().contains(words).then_some(()) }).await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_job_or_has_no_token_is_not_registered() {
    let noah = Noah::on(Backend::Sqlite).await;
    for (endpoint, words) in [
        ("rundeck://h/1", "Rundeck wants a token"),
        ("rundeck://hunter2@h/", "rundeck://TOKEN@HOST[:PORT]/JOB-ID"),
        ("rundecks://hunter2@h/1?opt.a=b", "option.NAME=VALUE"),
    ] {
        let answer = noah.put("/watches", json!({"pattern": "//noah", "endpoint": endpoint}).to_string()).await;
        assert_eq!(answer.status, 422, "{endpoint}");
        assert!(answer.failure().contains(words) && !answer.failure().contains("hunter2"), "{}", answer.failure());
    }
}
