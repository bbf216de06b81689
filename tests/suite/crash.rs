//! The server is killed while it is written to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Answer, Client, Noah, Receiver, eventually, on_both_stores};

const PUTS: usize = 10_000;
const CONNECTIONS: usize = 8;
const KILL_AFTER: usize = 3_000;
const KILL_DELIVERED: usize = 500;
/// The most deliveries that may be repeated: those whose cursors were not saved yet.
const REPEATED: u64 = 100;

/// Sends every PUT whose number this connection has, from `from` on, until the server is gone. What was answered
/// is told with its revision.
async fn write(client: Client, numbers: Vec<usize>, answered: Arc<AtomicUsize>) -> BTreeMap<usize, u64> {
    let mut done = BTreeMap::new();
    for n in numbers {
        let put = client.request(reqwest::Method::PUT, &format!("/ephemerals/crash/{n}")).body(format!("data {n}"));
        match Answer::try_of(put).await {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.text());
                done.insert(n, answer.revision());
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => break,
        }
    }
    done
}

/// Writes what is not yet written, on several connections; kills the server on the way when it is to be killed
/// beside this receiver.
async fn run(noah: &mut Noah, done: &mut BTreeMap<usize, u64>, kill_beside: Option<&Receiver>) {
    let answered = Arc::new(AtomicUsize::new(0));
    let left: Vec<usize> = (0..PUTS).filter(|n| !done.contains_key(n)).collect();
    let writing: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let numbers = left.iter().copied().filter(|n| n % CONNECTIONS == connection).collect();
            tokio::spawn(write(Client::new(noah.url()), numbers, Arc::clone(&answered)))
        })
        .collect();
    if let Some(receiver) = kill_beside {
        let counter = Arc::clone(&answered);
        eventually("thousands of PUTs are answered, and hundreds delivered", || async {
            let (answered, delivered) = (counter.load(Ordering::Relaxed), receiver.count());
            (answered >= KILL_AFTER && delivered >= KILL_DELIVERED).then_some(())
        })
        .await;
        noah.kill9();
    }
    for connection in writing {
        done.extend(connection.await.unwrap());
    }
}

async fn nothing_that_was_answered_is_lost_and_watches_go_on(mut noah: Noah) {
    let receiver = Receiver::start().await;
    noah.watch("//noah/ephemerals/crash", &receiver.url("/hook")).await;
    let mut done = BTreeMap::new();
    run(&mut noah, &mut done, Some(&receiver)).await;
    assert!((KILL_AFTER..PUTS).contains(&done.len()), "it was killed in the middle: {}", done.len());
    let before_kill = receiver.count();
    noah.start_again();
    run(&mut noah, &mut done, None).await;
    assert_eq!(done.len(), PUTS);

    let events = noah.database.whole_log().await;
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=revisions.len() as u64).collect::<Vec<_>>(), "the log has no hole");
    for (n, revision) in &done {
        let event = &events[usize::try_from(*revision).unwrap() - 1];
        assert_eq!(event.record.key.as_str(), format!("ephemerals/crash/{n}"), "PUT {n} has another's revision");
        assert_eq!(event.record.text("data"), format!("data {n}"));
    }
    for n in (0..PUTS).step_by(97) {
        assert_eq!(noah.get(&format!("/ephemerals/crash/{n}")).await.text(), format!("data {n}"));
    }

    let last = *revisions.last().unwrap();
    eventually_delivered(&receiver, last).await;
    let delivered = receiver.revisions();
    // Event 1 is the watch itself, which its pattern does not match.
    let mut distinct = delivered.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct, (2..=last).collect::<Vec<_>>(), "every event was delivered");
    let steps_back: Vec<usize> = (1..delivered.len()).filter(|&n| delivered[n] <= delivered[n - 1]).collect();
    assert!(steps_back.len() <= 1, "deliveries start over only once, after the kill: {steps_back:?}");
    for n in steps_back {
        assert!(n.abs_diff(before_kill) <= 1, "they started over at {n}, and the kill was at {before_kill}");
        println!("delivered before the kill: {before_kill}");
        let again = delivered[n - 1] + 1 - delivered[n];
        assert!(again <= REPEATED, "{again} events were delivered again: the cursor lags too far behind");
    }
}

/// Waits for the end of the deliveries for as long as they make progress.
async fn eventually_delivered(receiver: &Receiver, last: u64) {
    while receiver.last().is_none_or(|hit| hit.revision() < last) {
        receiver.at_least(receiver.count() + 1).await;
    }
}

on_both_stores!(Noah: nothing_that_was_answered_is_lost_and_watches_go_on);
