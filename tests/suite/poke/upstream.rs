//! What a listener says to its Noah: its host, its watches and its receipts, through all that can happen to either.

use serde_json::json;

use super::*;
use crate::support::{self, Client, Noah, eventually, on_both_stores};

const WATCH: [&str; 2] = ["--watch", "//noah/ephemerals/site"];

/// A listener of this Noah, with a host's name, and a command that tells of each run.
fn listener(noah: &Noah, host: &str, more: &[&str], script: &str) -> Poke {
    in_directory(noah, tempfile::tempdir().expect("a temporary directory"), host, more, script)
}

fn in_directory(noah: &Noah, directory: TempDir, host: &str, more: &[&str], script: &str) -> Poke {
    let url = noah.url();
    let flags = [&["--noah", &url, "--host", host, "--ttl", "2s"][..], &WATCH, more].concat();
    Poke::start_in(directory, &flags, &["sh", "-c", script])
}

/// The receipt once it is as it should be.
async fn receipt(client: &Client, host: &str, right: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/ephemerals/pokes/{host}/default");
    eventually(&format!("the receipt of {host}"), || async {
        let answer = client.get(&path).await;
        (answer.status == 200).then(|| answer.json()).filter(|receipt| right(receipt))
    })
    .await
}

async fn status(client: &Client, host: &str) -> Value {
    let answer = client.get(&format!("/hosts/{host}")).await;
    if answer.status == 200 { answer.json()["status"].clone() } else { Value::Null }
}

async fn idle(client: &Client, host: &str) -> Value {
    receipt(client, host, |receipt| receipt["state"] == "idle" && !receipt["outcome"].is_null()).await
}

async fn change(noah: &Noah, value: &str) -> u64 {
    noah.put_ok("/ephemerals/site", value.to_owned()).await.revision()
}

async fn a_listener_registers_runs_and_says_what_it_applied(noah: Noah) {
    let poke = listener(&noah, "web1", &[], "echo run $NOAH_URL");
    let first = idle(&noah, "web1").await;
    assert_eq!((&first["outcome"], &first["causes"][0].as_str().unwrap()[..10]), (&json!("changed"), "registered"));
    assert_eq!(status(&noah, "web1").await, "up");
    let revision = change(&noah, "1").await;
    let applied = receipt(&noah, "web1", |receipt| receipt["applied"] == revision).await;
    assert_eq!(
        (&applied["host"], &applied["hook"], &applied["exit_code"]),
        (&json!("web1"), &json!("default"), &json!(0))
    );
    assert_eq!((&applied["patterns"], &applied["causes"]), (&json!([WATCH[1]]), &json!([format!("event:{revision}")])));
    assert_eq!(applied["tail"], format!("run {}\n", noah.url()), "its commands talk to the same Noah");
    let converged = noah.see("/convergence?pattern=//noah/ephemerals/site").await;
    assert_eq!((&converged["converged"], &converged["revision"]), (&json!(true), &json!(revision)));
    // The event of the receipt leads back to what the run was for.
    let events = noah.see("/events?limit=1000").await;
    let of_run = format!("event:{revision} run:{}", applied["run"].as_str().unwrap());
    assert!(events["events"].as_array().unwrap().iter().any(|event| event["cause"] == of_run.as_str()), "{events}");
    drop(poke);
}

async fn only_what_noah_signed_is_believed(noah: Noah) {
    let poke = listener(&noah, "web1", &[], "true");
    idle(&noah, "web1").await;
    assert!(poke.post(b"{}").starts_with("HTTP/1.1 401 "));
    let watches = noah.see("/watches").await.to_string();
    assert!(!watches.contains("whsec_") && !poke.read("stderr").contains("whsec_"));
}

async fn receipts_do_not_poke(noah: Noah) {
    let url = noah.url();
    let flags = ["--noah", &url, "--host", "web1", "--watch", "//noah/ephemerals"];
    let _poke = Poke::start_in(tempfile::tempdir().unwrap(), &flags, &["sh", "-c", "echo run"]);
    idle(&noah, "web1").await;
    let revision = change(&noah, "1").await;
    let applied = receipt(&noah, "web1", |receipt| receipt["applied"].as_u64() >= Some(revision)).await;
    // Whatever came of the receipts has been delivered before this.
    let next = change(&noah, "2").await;
    let then = receipt(&noah, "web1", |receipt| receipt["applied"].as_u64() >= Some(next)).await;
    assert_eq!((applied["applied"].as_u64(), then["applied"].as_u64()), (Some(revision), Some(next)));
    let converged = noah.see("/convergence?pattern=//noah/ephemerals&wait=20s").await;
    assert_eq!((&converged["converged"], &converged["revision"]), (&json!(true), &json!(next)));
}

async fn a_killed_listener_is_down_and_comes_back_to_what_it_missed(noah: Noah) {
    let poke = listener(&noah, "web1", &[], "echo $NOAH_REVISION >> ran");
    idle(&noah, "web1").await;
    let before = change(&noah, "1").await;
    receipt(&noah, "web1", |receipt| receipt["applied"] == before).await;
    let ran = poke.read("ran").lines().count();
    let directory = poke.kill();
    eventually("its host is down", || async { (status(&noah, "web1").await == "down").then_some(()) }).await;
    for n in 0..20 {
        change(&noah, &n.to_string()).await;
    }
    let last = change(&noah, "last").await;
    let silent = noah.see("/convergence?pattern=//noah/ephemerals/site").await;
    assert_eq!((&silent["converged"], &silent["hosts"][0]["state"]), (&json!(false), &json!("silent")));
    // Another port, as if the machine had come back with another address.
    let again = in_directory(&noah, directory, "web1", &[], "echo $NOAH_REVISION >> ran");
    receipt(&noah, "web1", |receipt| receipt["applied"].as_u64() >= Some(last)).await;
    assert_eq!(status(&noah, "web1").await, "up");
    let runs: Vec<String> = again.read("ran").lines().skip(ran).map(ToOwned::to_owned).collect();
    assert!(runs.len() <= 2, "what it missed is one run: {runs:?}");
}

async fn what_ran_while_noah_was_away_is_told_when_it_is_back(mut noah: Noah) {
    let gate = gate();
    let script = "echo up >> started; read pass < gate";
    let poke = in_directory(&noah, gate, "web1", &[], script);
    poke.wait_for("started", |text| text.lines().count() == 1);
    noah.kill9();
    pass(&poke.path("gate"));
    poke.wait_for("stderr", |text| text.contains("run done"));
    noah.start_again_where_it_was();
    idle(&noah, "web1").await;
    let revision = change(&noah, "1").await;
    pass(&poke.path("gate"));
    receipt(&noah, "web1", |receipt| receipt["applied"] == revision).await;
}

/// The watches of what a hook was for before are in the way of those of what it is for now.
async fn the_pattern_of_a_hook_can_be_changed(noah: Noah) {
    let url = noah.url();
    let mut directory = tempfile::tempdir().unwrap();
    let mut address = "127.0.0.1:0".to_owned();
    for pattern in ["//noah/ephemerals/site", "//noah/ephemerals", "//noah/ephemerals/site/a", "//noah/ephemerals/site"]
    {
        let at = ["--listen", &address, "--noah", &url, "--host", "web1", "--ttl", "2s", "--watch", pattern];
        let poke = Poke::start_in(directory, &at, &["true"]);
        eventually(&format!("{pattern} is the one that is watched"), || async {
            let answer = noah.get("/watches").await;
            let watches = (answer.status == 200).then(|| answer.json())?;
            let [watch] = &watches.as_array()?[..] else { return None };
            (watch["pattern"] == pattern && watch["session"] == "there").then_some(())
        })
        .await;
        let revision = noah.put_ok("/ephemerals/site/a", "1".to_owned()).await.revision();
        receipt(&noah, "web1", |receipt| receipt["applied"].as_u64() >= Some(revision)).await;
        address.clone_from(&poke.address);
        directory = poke.kill();
    }
}

on_both_stores!(Noah:
    the_pattern_of_a_hook_can_be_changed,
    a_listener_registers_runs_and_says_what_it_applied,
    only_what_noah_signed_is_believed,
    receipts_do_not_poke,
    a_killed_listener_is_down_and_comes_back_to_what_it_missed,
    what_ran_while_noah_was_away_is_told_when_it_is_back,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noah_that_lost_its_memory_is_told_all_again() {
    let mut noah = Noah::on(support::Backend::Redis).await;
    let poke = listener(&noah, "web1", &[], "test ! -e fails");
    idle(&noah, "web1").await;
    for n in 0..50 {
        change(&noah, &n.to_string()).await;
    }
    let last = change(&noah, "last").await;
    receipt(&noah, "web1", |receipt| receipt["applied"] == last).await;
    fs::write(poke.path("fails"), "").unwrap();
    // In memory only, so all of it is lost.
    noah.database.redis().restart();
    eventually("the store is back", || async { (noah.get("/readyz").await.status == 200).then_some(()) }).await;
    let is_registered =
        |receipt: &Value| receipt["causes"][0].as_str().is_some_and(|cause| cause.starts_with("registered"));
    receipt(&noah, "web1", |receipt| is_registered(receipt) && receipt["state"] == "idle").await;
    eventually("it is up again", || async { (status(&noah, "web1").await == "up").then_some(()) }).await;
    eventually("its watch is there", || async {
        let watches = noah.get("/watches").await;
        (watches.status == 200).then_some(())
    })
    .await;
    // What it had applied was of another past, whose numbers come again.
    let revision = change(&noah, "1").await;
    assert!(revision < last);
    let failed = receipt(&noah, "web1", |receipt| receipt["revision"] == revision && receipt["state"] == "idle").await;
    assert_eq!((&failed["applied"], &failed["outcome"]), (&Value::Null, &json!("failed")));
    let seen = noah.see(&format!("/convergence?revision={revision}")).await;
    assert_eq!((&seen["converged"], &seen["hosts"][0]["state"]), (&json!(false), &json!("failed")));
    fs::remove_file(poke.path("fails")).unwrap();
    let revision = change(&noah, "2").await;
    receipt(&noah, "web1", |receipt| receipt["applied"] == revision).await;
}

/// Twenty, of which one fails until its third try, and one is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_listeners_converge_when_the_last_of_them_does() {
    let noah = Noah::on(support::Backend::Sqlite).await;
    let script = "echo run >> runs; [ ! -e fails ] || [ $(wc -l < runs) -ge 4 ]";
    let more = ["--retry", "until-clean", "--retry-first", "200ms", "--retry-max", "400ms"];
    let mut listeners: Vec<Poke> = (0..20).map(|n| listener(&noah, &format!("h{n:02}"), &more, script)).collect();
    for n in 0..20 {
        idle(&noah, &format!("h{n:02}")).await;
    }
    // The first run of the failing one was for its registration.
    fs::write(listeners[3].path("fails"), "").unwrap();
    let directory = listeners.remove(7).kill();
    eventually("the dead one is down", || async { (status(&noah, "h07").await == "down").then_some(()) }).await;
    let revision = change(&noah, "1").await;
    let all = format!("/convergence?pattern=//noah/ephemerals/site&revision={revision}");
    let state = |seen: &Value, host: &str| {
        let hosts = seen["hosts"].as_array().unwrap();
        hosts.iter().find(|one| one["host"] == host).unwrap()["state"].clone()
    };
    eventually("the failing one is seen to fail", || async {
        let seen = noah.see(&all).await;
        assert_eq!((&seen["converged"], state(&seen, "h07")), (&json!(false), json!("silent")));
        (state(&seen, "h03") == "failed").then_some(())
    })
    .await;
    let seen = eventually("all but the dead one have it", || async {
        let seen = noah.see(&all).await;
        let applied = seen["hosts"].as_array().unwrap().iter().filter(|one| one["state"] == "applied").count();
        (applied == 19).then_some(seen)
    })
    .await;
    assert_eq!((&seen["converged"], state(&seen, "h07")), (&json!(false), json!("silent")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_noah"));
    command.args(["converged", "--revision", &revision.to_string(), "--url", &noah.url()]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let waiting = noah.client().clone();
    let held = tokio::spawn(async move { waiting.get(&format!("{all}&wait=60s")).await });
    noah.holds(1).await;
    let _back = in_directory(&noah, directory, "h07", &more, script);
    let met = held.await.unwrap();
    assert_eq!((&met.json()["converged"], met.header("noah-wait")), (&json!(true), Some("met")));
    assert_eq!(command.output().unwrap().status.code(), Some(0));
}
