//! `/openapi.json` says what the server does: Schemathesis makes up requests from it, good ones and bad ones, and holds
//! every answer against it. What it would hardly come upon is in [`truth`].

mod truth;

use std::process::Stdio;

use tokio::process::Command;

use crate::support::{Backend, Client, Noah, on_both_stores, python};

/// What is asked of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method";

on_both_stores! {
    Noah:
    every_answer_is_as_it_is_described,
}

/// What each parameter may be is gone through on one store; it is read before any store is asked.
async fn every_answer_is_as_it_is_described(noah: Noah) {
    let (phases, examples) = match noah.database.backend {
        Backend::Sqlite => ("coverage,fuzzing", "3"),
        Backend::Redis => ("fuzzing", "3"),
    };
    conforms(&noah, &["run", "--max-examples", examples, "--phases", phases]).await;
}

/// Ten minutes of sequences of requests, on each store:
/// `cargo nextest run --run-ignored only -E 'test(/^openapi::/)' --no-capture -j 1`.
#[tokio::test]
#[ignore = "twenty minutes"]
async fn no_sequence_of_requests_is_answered_otherwise() {
    for backend in [Backend::Sqlite, Backend::Redis] {
        let noah = Noah::on(backend).await;
        conforms(&noah, &["fuzz", "--max-time", "600"]).await;
    }
}

/// Runs Schemathesis, while what it asks for is there now and then.
async fn conforms(noah: &Noah, how: &[&str]) {
    let tool = python::tool("schemathesis");
    let location = format!("{}/openapi.json", noah.url());
    let mut command = Command::new(tool);
    command.args(how).args(["--checks", CHECKS, "--warnings", "off", "--no-color", "--continue-on-failure"]);
    command.args(["--seed", "1", "--generation-database", "none", location.as_str()]);
    command.env("SCHEMATHESIS_HOOKS", "openapi_hooks").env("PYTHONPATH", python::scripts()).kill_on_drop(true);
    let directory = tempfile::tempdir().unwrap();
    command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.output();
    tokio::pin!(run);
    let output = loop {
        tokio::select! {
            output = &mut run => break output.unwrap(),
            () = populate(noah.client()) => {}
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Test cases:"), "it asked nothing");
}

/// Makes some of everything, under the names that are asked for.
async fn populate(client: &Client) {
    for name in ["a", "b", "%C3%A9%2F%25"] {
        let service = format!("/services/{name}/a");
        client.put(&service, r#"{"status": "up", "host_status": "up"}"#).await;
        let attached = format!("/applications/{name}/configurations/b");
        client.put(&attached, r#"{"format": "json", "body": "{}"}"#).await;
        client.put(&format!("/ephemerals/{name}"), "data").await;
        for object in ["/hosts/a", "/services/b/a", "/ephemerals/a"] {
            client.put(&format!("{object}/tag"), r#"{"tags": ["a", "b", "é/%"]}"#).await;
            client.put(&format!("{object}/link"), r#"{"link_name": "a"}"#).await;
        }
    }
    client.put("/hosts/a/watch", r#"{"endpoint": "dummy://a"}"#).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}
