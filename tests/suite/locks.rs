//! Locks as users see them: who holds one, in which order, and with what number.

mod commands;
mod guarded;
mod steps;
mod terminal;
mod trouble;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Client, Noah, end, eventually, on_both_stores, session};

/// Asks for a lock.
async fn ask(client: &Client, name: &str, session: &str, more: &str) -> Answer {
    client.put(&format!("/locks/{name}?session={session}{more}"), "").await
}

/// Asks for a lock, in the background.
fn wait(client: &Client, name: &str, session: &str, more: &str) -> tokio::task::JoinHandle<Answer> {
    let (client, path) = (client.clone(), format!("/locks/{name}?session={session}&wait=30s{more}"));
    tokio::spawn(async move { client.put(&path, "").await })
}

/// Asks for a lock, and waits until the queue is so long.
async fn queue_up(noah: &Noah, session: &str, more: &str, place: usize) -> tokio::task::JoinHandle<Answer> {
    let asking = wait(noah, "l", session, more);
    eventually("it queues", || async {
        let lock = noah.get("/locks/l").await;
        let long = |queue: &str| lock.json()[queue].as_array().map_or(0, Vec::len);
        (lock.status == 200 && long("holders") + long("waiters") == place).then_some(())
    })
    .await;
    asking
}

fn names(lock: &Value, queue: &str) -> Vec<String> {
    let name = |entry: &Value| entry["session_name"].as_str().unwrap().to_owned();
    lock[queue].as_array().unwrap().iter().map(name).collect()
}

fn fence(answer: &Answer) -> u64 {
    let json = answer.json();
    assert!(answer.status == 200 && json["holder"] == true, "it does not hold it: {}", answer.text());
    json["fence"].as_u64().unwrap()
}

async fn some(noah: &Noah, names: &[&str]) -> Vec<String> {
    let mut sessions = Vec::new();
    for name in names {
        sessions.push(session(noah, "60s", name).await);
    }
    sessions
}

async fn a_lock_is_had_and_given_back(noah: Noah) {
    let [a, b] = &some(&noah, &["a", "b"]).await[..] else { unreachable!() };
    let first = ask(&noah, "l", a, "").await;
    let json = first.json();
    assert_eq!((&json["holder"], &json["position"], &json["slots"]), (&json!(true), &json!(0), &json!(1)));
    assert_eq!((&json["action"], first.header("noah-wait")), (&json!("create"), None));
    let again = ask(&noah, "l", a, "").await;
    assert_eq!((fence(&again), &again.json()["action"]), (fence(&first), &json!("update")), "it is the same ticket");
    let refused = ask(&noah, "l", b, "").await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.failure(), format!("The lock l is held by a (fence {})", fence(&first)));
    assert!(refused.text().contains("wait=30s"), "{}", refused.text());
    let lock = noah.see("/locks/l").await;
    assert_eq!((names(&lock, "holders"), names(&lock, "waiters").len()), (vec!["a".to_owned()], 0), "b has no place");
    assert_eq!((&lock["holders"][0]["fence"], &lock["holders"][0]["session"]), (&json!(fence(&first)), &json!(a)));
    assert_eq!(noah.see("/locks").await["l"], lock);
    let others = noah.delete(&format!("/locks/l?session={b}")).await;
    assert!(others.status == 404 && others.text().contains("neither holds"), "{}", others.text());
    assert_eq!(noah.delete(&format!("/locks/l?session={a}")).await.status, 200);
    assert_eq!((noah.get("/locks/l").await.status, noah.get("/locks").await.status), (404, 404));
    assert!(fence(&ask(&noah, "l", b, "").await) > fence(&first));
}

async fn the_next_in_line_gets_it(noah: Noah) {
    let sessions = some(&noah, &["a", "b", "c", "d"]).await;
    let mut fences = vec![fence(&ask(&noah, "l", &sessions[0], "").await)];
    let mut waiting = Vec::new();
    for (n, id) in sessions.iter().enumerate().skip(1) {
        waiting.push(queue_up(&noah, id, "", n + 1).await);
    }
    assert_eq!(names(&noah.see("/locks/l").await, "waiters"), ["b", "c", "d"]);
    // By giving it back, by ending the session, and by leaving the queue.
    noah.delete(&format!("/locks/l?session={}", sessions[0])).await;
    let b = waiting.remove(0).await.unwrap();
    assert_eq!((b.header("noah-wait"), &b.json()["position"]), (Some("met"), &json!(0)));
    fences.push(fence(&b));
    end(&noah, &sessions[2]).await;
    let c = waiting.remove(0).await.unwrap();
    assert!(c.status == 409 && c.failure().contains("left the queue"), "{}", c.text());
    assert_eq!(names(&noah.see("/locks/l").await, "waiters"), ["d"]);
    end(&noah, &sessions[1]).await;
    fences.push(fence(&waiting.remove(0).await.unwrap()));
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
}

async fn so_many_hold_it_as_all_allow(noah: Noah) {
    let sessions = some(&noah, &["a", "b", "c", "d", "e"]).await;
    for id in &sessions[..2] {
        fence(&ask(&noah, "l", id, "&slots=3").await);
    }
    let alone = ask(&noah, "l", &sessions[2], "").await;
    assert!(
        alone.status == 409 && alone.failure().contains(" by a ") && alone.failure().contains("and by b"),
        "{}",
        alone.text()
    );
    let alone = queue_up(&noah, &sessions[2], "&slots=1", 3).await;
    // There were three slots, but one who came before wants to be alone.
    let behind = queue_up(&noah, &sessions[3], "&slots=3", 4).await;
    assert_eq!(ask(&noah, "l", &sessions[4], "&slots=3").await.status, 409, "it cannot go past them");
    let lock = noah.see("/locks/l").await;
    assert_eq!(
        (names(&lock, "holders"), names(&lock, "waiters")),
        (vec!["a".into(), "b".into()], vec!["c".into(), "d".into()])
    );
    end(&noah, &sessions[0]).await;
    assert_eq!(names(&noah.see("/locks/l").await, "holders"), ["b"]);
    end(&noah, &sessions[1]).await;
    let third = fence(&alone.await.unwrap());
    assert_eq!(names(&noah.see("/locks/l").await, "holders"), ["c"]);
    let other = ask(&noah, "l", &sessions[3], "&slots=2&wait=1s").await;
    assert!(other.status == 409 && other.failure().contains("slots=3"), "{}", other.text());
    end(&noah, &sessions[2]).await;
    assert!(fence(&behind.await.unwrap()) > third);
    fence(&ask(&noah, "l", &sessions[4], "&slots=3").await);
}

async fn who_waited_in_vain_keeps_its_place(noah: Noah) {
    let [a, b, c] = &some(&noah, &["a", "b", "c"]).await[..] else { unreachable!() };
    fence(&ask(&noah, "l", a, "&wait=1s").await);
    let began = Instant::now();
    let vain = ask(&noah, "l", b, "&wait=500ms").await;
    assert!(began.elapsed() >= Duration::from_millis(500));
    let json = vain.json();
    assert_eq!((vain.status, vain.header("noah-wait")), (202, Some("timeout")));
    assert_eq!((&json["holder"], &json["position"], &json["fence"]), (&json!(false), &json!(1), &Value::Null));
    let late = queue_up(&noah, c, "", 3).await;
    assert_eq!(ask(&noah, "l", b, "").await.status, 409);
    assert_eq!(names(&noah.see("/locks/l").await, "waiters"), ["b", "c"], "to look does not cost the place");
    let again = wait(&noah, "l", b, "");
    end(&noah, a).await;
    let b_fence = fence(&again.await.unwrap());
    end(&noah, b).await;
    assert!(fence(&late.await.unwrap()) > b_fence);
}

async fn a_wait_for_nothing_looks_and_stays(noah: Noah) {
    let [a, b] = &some(&noah, &["a", "b"]).await[..] else { unreachable!() };
    ask(&noah, "l", a, "").await;
    let looked = ask(&noah, "l", b, "&wait=0s").await;
    assert_eq!((looked.status, &looked.json()["position"]), (202, &json!(1)));
    let free = tokio::spawn({
        let client = noah.client().clone();
        async move { client.get("/locks/l?wait=30s&absent=true").await }
    });
    end(&noah, a).await;
    end(&noah, b).await;
    assert_eq!(free.await.unwrap().header("noah-wait"), Some("met"), "to wait until nobody has it");
}

async fn a_session_that_runs_out_lets_go(noah: Noah) {
    let holder = session(&noah, "700ms", "a").await;
    fence(&ask(&noah, "l", &holder, "").await);
    let waiter = session(&noah, "60s", "b").await;
    let began = Instant::now();
    let got = wait(&noah, "l", &waiter, "").await.unwrap();
    fence(&got);
    assert!(began.elapsed() < Duration::from_millis(1_700), "{:?}", began.elapsed());
}

async fn another_servers_waiters_are_woken(noah: Noah) {
    let other = noah.sibling();
    let [a, b] = &some(&noah, &["a", "b"]).await[..] else { unreachable!() };
    ask(&noah, "l", a, "").await;
    let waiting = wait(&other, "l", b, "");
    eventually("it queues", || async { (names(&noah.see("/locks/l").await, "waiters") == ["b"]).then_some(()) }).await;
    end(&noah, a).await;
    fence(&waiting.await.unwrap());
}

async fn who_hangs_up_keeps_its_place_and_nothing_else(noah: Noah) {
    let [a, b] = &some(&noah, &["a", "b"]).await[..] else { unreachable!() };
    ask(&noah, "l", a, "").await;
    let waiting = queue_up(&noah, b, "", 2).await;
    let waiters = || async {
        let metrics = noah.get("/metrics").await.text();
        metrics.lines().find_map(|line| line.strip_prefix("noah_waiters ")).map(ToOwned::to_owned)
    };
    assert_eq!(waiters().await.as_deref(), Some("1"));
    waiting.abort();
    eventually("it is freed", || async { (waiters().await? == "0").then_some(()) }).await;
    assert_eq!(names(&noah.see("/locks/l").await, "waiters"), ["b"]);
}

async fn what_cannot_be_a_lock_is_refused(noah: Noah) {
    let a = &session(&noah, "60s", "a").await;
    for more in ["&slots=0", "&slots=1001", "&slots=x", "&slots=", "&wait=11m", "&wait=x", "&ttl=1s"] {
        let refused = ask(&noah, "l", a, more).await;
        assert_eq!(refused.status, 400, "{more}: {}", refused.text());
        refused.failure();
    }
    for answer in [noah.put("/locks/l", "").await, noah.delete("/locks/l").await] {
        assert!(answer.status == 400 && answer.failure().contains("?session=ID"), "{}", answer.text());
    }
    for path in ["/locks", "/locks/a/b"] {
        assert!([404, 405].contains(&noah.put(&format!("{path}?session={a}"), "").await.status), "{path}");
    }
    for path in ["/locks?limit=1", "/locks?tag=x", "/locks?status=up"] {
        assert_eq!(noah.get(path).await.status, 422, "{path}");
    }
    assert_eq!(noah.get("/locks/l").await.status, 404);
    let odd = "a%2Fb%25c%20d%C3%A9";
    fence(&ask(&noah, odd, a, "").await);
    assert_eq!(noah.see("/locks").await["a/b%c dé"]["name"], "a/b%c dé");
    assert_eq!(noah.see(&format!("/locks/{odd}")).await["name"], "a/b%c dé");
}

async fn many_who_try_at_once_leave_one(noah: Noah) {
    let names: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let sessions = some(&noah, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for round in 0..10 {
        let lock = format!("r{round}");
        let asking = sessions.iter().map(|id| ask(&noah, &lock, id, ""));
        let answers = futures_util::future::join_all(asking).await;
        let held = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(held == 1 && answers.iter().all(|answer| [200, 409].contains(&answer.status)), "{answers:?}");
        let seen = noah.get(&format!("/locks/{lock}")).await;
        let waiters = if seen.status == 200 { self::names(&seen.json(), "waiters") } else { Vec::new() };
        assert_eq!(waiters, [""; 0], "who tries leaves no ticket");
    }
    // The same session, twice at once: one ticket, and both are told so.
    let both =
        futures_util::future::join(ask(&noah, "same", &sessions[0], ""), ask(&noah, "same", &sessions[0], "")).await;
    assert_eq!(fence(&both.0), fence(&both.1));
}

on_both_stores!(Noah:
    a_lock_is_had_and_given_back,
    the_next_in_line_gets_it,
    so_many_hold_it_as_all_allow,
    who_waited_in_vain_keeps_its_place,
    a_wait_for_nothing_looks_and_stays,
    a_session_that_runs_out_lets_go,
    another_servers_waiters_are_woken,
    who_hangs_up_keeps_its_place_and_nothing_else,
    what_cannot_be_a_lock_is_refused,
    many_who_try_at_once_leave_one,
);
