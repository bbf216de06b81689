//! The whole way: a server, a watch, a listener, and a command.

use super::*;
use crate::support::{Noah, on_both_stores};

async fn a_thousand_changes_make_two_runs_of_which_the_last_has_the_last(noah: Noah) {
    let poke = Poke::start_in(gate(), &[], &["sh", "-c", "echo $NOAH_REVISION >> started; read pass < gate"]);
    noah.watch("//noah/ephemerals/site", &format!("http://{}", poke.address)).await;
    let mut last = 0;
    for n in 0..1000 {
        let answer = noah.put_ok("/ephemerals/site", n.to_string()).await;
        last = answer.header("noah-revision").expect("it says its revision").parse().expect("a number");
    }
    let (last, poke) = tokio::task::spawn_blocking(move || {
        // The first run holds until all have come, however fast the machine is.
        poke.wait_for("started", |text| text.lines().count() == 1);
        poke.until_json("/hooks/default", |state| state["pending"]["revision"] == last);
        pass(&poke.path("gate"));
        poke.wait_for("started", |text| text.lines().count() == 2);
        pass(&poke.path("gate"));
        poke.until_json("/hooks/default", |state| state["state"] == "idle");
        (last, poke)
    })
    .await
    .expect("it goes well");
    let started: Vec<u64> = poke.read("started").lines().map(|line| line.parse().expect("a revision")).collect();
    assert!(started.len() == 2 && started[1] == last, "{started:?} of {last}");
    assert_eq!(poke.json("/hooks/default")["applied"], last);
}

on_both_stores!(Noah: a_thousand_changes_make_two_runs_of_which_the_last_has_the_last);
