//! The commands, and where they find their token.

use std::{fs, process::Output};

use serde_json::Value;

use super::{ADMIN, Guarded};
use crate::{
    poke::Poke,
    support::{Backend, command, eventually},
};

/// Runs a command with `NOAH_TOKEN`; its exit code, stdout and stderr.
fn run(guarded: &Guarded, secret: Option<&str>, words: &[&str]) -> (i32, String, String) {
    let mut noah = command();
    noah.args(words).env("NOAH_URL", guarded.noah.url());
    if let Some(secret) = secret {
        noah.env("NOAH_TOKEN", secret);
    }
    let Output { status, stdout, stderr } = noah.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn done(guarded: &Guarded, secret: &str, words: &[&str]) -> String {
    let (code, out, err) = run(guarded, Some(secret), words);
    assert_eq!(code, 0, "{words:?}: {out}{err}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_made_shown_changed_rotated_and_revoked() {
    let guarded = Guarded::on(Backend::Sqlite).await;
    let admin = |words: &[&str]| done(&guarded, ADMIN, words);
    let made = admin(&[
        "token",
        "create",
        "deploy",
        "--allow",
        "read,write=//noah/ephemerals",
        "--allow",
        "lock=//noah",
        "--ttl",
        "30d",
        "--note",
        "for deploys",
    ]);
    let secret = made.trim().strip_prefix("deploy: ").expect("the secret is shown").to_owned();
    assert!(secret.starts_with("noah_"));
    let who = done(&guarded, &secret, &["whoami"]);
    assert!(
        who.contains("deploy") && who.contains("read,write=//noah/ephemerals") && who.contains("lock=//noah"),
        "{who}"
    );
    done(&guarded, &secret, &["put", "ephemerals/a", "x"]);
    let list = admin(&["token", "list"]);
    assert!(list.lines().any(|line| line.starts_with("deploy ") && line.contains("for deploys")), "{list}");
    assert!(list.contains("all=//noah") && !list.contains(&secret), "{list}");
    let json: Value = serde_json::from_str(&admin(&["token", "list", "--output", "json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    admin(&["token", "change", "deploy", "--allow", "read=//noah/ephemerals", "--ttl", "", "--note", ""]);
    let shown = admin(&["token", "show", "deploy"]);
    assert!(
        shown.contains("read=//noah/ephemerals") && !shown.contains("NOTE") && !shown.contains("EXPIRES"),
        "{shown}"
    );
    let (code, _, err) = run(&guarded, Some(&secret), &["put", "ephemerals/a", "y"]);
    assert_eq!(code, 1);
    assert!(err.contains("may not write //noah/ephemerals/a") && err.contains("noah token change"), "{err}");
    let json: Value =
        serde_json::from_str(&admin(&["token", "rotate", "deploy", "--grace", "1h", "--output", "json"])).unwrap();
    let rotated = json["secret"].as_str().unwrap().to_owned();
    for secret in [&secret, &rotated] {
        assert_eq!(done(&guarded, secret, &["get", "ephemerals/a"]), "x");
    }
    admin(&["token", "revoke", "deploy"]);
    let (code, _, err) = run(&guarded, Some(&rotated), &["get", "ephemerals/a"]);
    assert!(code == 1 && err.contains("There is no such token"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_finds_its_token_in_a_file_or_a_variable_and_says_when_it_needs_one() {
    let guarded = Guarded::on(Backend::Sqlite).await;
    let file = guarded.noah.database.dir().join("token");
    fs::write(&file, format!("{ADMIN}\n")).unwrap();
    let path = file.to_str().unwrap();
    assert!(run(&guarded, None, &["whoami", "--token-file", path]).1.contains("bootstrap"));
    // What is said on the command line is stronger.
    assert!(run(&guarded, Some("wrong"), &["whoami", "--token-file", path]).1.contains("bootstrap"));
    let by_variable = command().args(["whoami", "--url", &guarded.noah.url()]).env("NOAH_TOKEN_FILE", path).output();
    assert!(String::from_utf8(by_variable.unwrap().stdout).unwrap().contains("bootstrap"));
    let (code, _, err) = run(&guarded, None, &["get", "hosts/a"]);
    assert!(code == 1 && err.contains("needs a token that may read //noah/hosts/a"), "{err}");
    assert!(err.contains("NOAH_TOKEN") && err.contains("--token-file"), "{err}");
    let (code, _, err) = run(&guarded, None, &["get", "hosts/a", "--token-file", "/nowhere"]);
    assert!(code == 2 && err.contains("/nowhere"), "{err}");
    fs::write(&file, "\n").unwrap();
    let (code, _, err) = run(&guarded, None, &["get", "hosts/a", "--token-file", path]);
    assert!(code == 2 && err.contains("is empty"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_shows_its_token_and_gives_it_to_nothing_that_it_runs() {
    let guarded = Guarded::on(Backend::Sqlite).await;
    let policy = ["write=//noah/hosts/web1", "write=//noah/ephemerals/pokes/web1", "read,watch=//noah/ephemerals/db"];
    let secret = guarded.token("web1", &policy).await;
    let url = guarded.noah.url();
    let flags = ["--noah", &url, "--host", "web1", "--watch", "//noah/ephemerals/db"];
    let (directory, argv) = (tempfile::tempdir().unwrap(), ["sh", "-c", "env > environment"]);
    let poke = Poke::start_with(directory, &[("NOAH_TOKEN", &secret), ("NOAH_TOKEN_FILE", "/nowhere")], &flags, &argv);
    eventually("the host is up", || async { (guarded.admin.get("/hosts/web1").await.status == 200).then_some(()) })
        .await;
    guarded.admin.put_ok("/ephemerals/db", "x").await;
    let converged = guarded.admin.see("/convergence?pattern=//noah/ephemerals/db&wait=30s").await;
    assert_eq!(converged["converged"], true, "{converged}");
    let environment = poke.read("environment");
    assert!(environment.contains("NOAH_RUN_ID") && !environment.contains("NOAH_TOKEN"), "{environment}");
    assert!(!environment.contains(&secret));
}
