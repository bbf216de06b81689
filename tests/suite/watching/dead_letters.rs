//! Events that an endpoint did not take in time: given up, kept, sent again, thrown away.

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};

use crate::support::{Backend, Behaviour, Hit, Noah, Receiver, eventually, on_both_stores};

const PATTERN: &str = "//noah/ephemerals/p";
const SAYS_NO: Behaviour = Behaviour::Answer(500);
const SAYS_YES: Behaviour = Behaviour::Answer(200);

/// A server that gives an event up after a second, and the path of a watch whose endpoint takes nothing yet.
struct Given {
    noah: Noah,
    receiver: Receiver,
    path: String,
}

impl Given {
    async fn on(backend: Backend) -> Self {
        Self::up_after(backend, "1s").await
    }

    async fn up_after(backend: Backend, time: &str) -> Self {
        let noah = Noah::with(backend, &["--delivery-give-up-after", time]).await;
        let receiver = Receiver::start().await;
        receiver.behave(SAYS_NO);
        let path = noah.watch_with(PATTERN, &receiver.url("/"), &json!({})).await;
        Self { noah, receiver, path }
    }

    async fn put(&self, name: &str) -> u64 {
        self.noah.put_ok(&format!("/ephemerals/p/{name}"), name.to_owned()).await.revision()
    }

    async fn status(&self) -> Value {
        self.noah.see(&self.path).await
    }

    async fn letters(&self) -> Vec<Value> {
        self.noah.see(&format!("{}/dead", self.path)).await.as_array().unwrap().clone()
    }

    async fn revisions(&self) -> Vec<u64> {
        self.letters().await.iter().map(|letter| letter["revision"].as_u64().unwrap()).collect()
    }

    /// Waits until exactly these events are dead letters.
    async fn are_dead(&self, revisions: &[u64]) {
        eventually(&format!("{revisions:?} are the dead letters"), || async {
            (self.revisions().await == revisions).then_some(())
        })
        .await;
    }

    /// One event that was given up, after which the endpoint takes what it is sent.
    async fn with_one(&self) -> u64 {
        let dead = self.put("dead").await;
        self.are_dead(&[dead]).await;
        self.receiver.behave(SAYS_YES);
        dead
    }

    fn hits(&self, revision: u64) -> Vec<Hit> {
        self.receiver.hits().into_iter().filter(|hit| hit.revision() == revision).collect()
    }
}

fn attempts(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| hit.headers["noah-attempt"].clone()).collect()
}

async fn an_event_is_given_up_and_the_watch_goes_on(given: Given) {
    let dead = [given.put("a").await, given.put("b").await];
    given.are_dead(&dead).await;
    given.receiver.behave(SAYS_YES);
    let next = given.put("c").await;
    given.receiver.until_revision(next).await;
    let (letters, hits) = (given.letters().await, given.hits(dead[0]));
    let (letter, last) = (&letters[0], hits.last().unwrap());
    assert_eq!(letter["channel"], "//noah/ephemerals/p/a");
    assert_eq!((&letter["action"], &letter["redriven"]), (&json!("create"), &json!(false)));
    assert_eq!(letter["attempts"], hits.len());
    assert!(hits.len() >= 3, "it was tried: {}", hits.len());
    assert!(letter["error"].as_str().unwrap().contains("500"), "{letter}");
    assert_eq!(letter["event"], last.json(), "what was to be delivered");
    let time = |name: &str| DateTime::parse_from_rfc3339(letter[name].as_str().unwrap()).unwrap();
    let tried_for = (time("last_attempt") - time("first_attempt")).num_milliseconds();
    assert!((0..=1_500).contains(&tried_for), "{tried_for} ms");
    assert_eq!(given.noah.see(&format!("{}/dead/{}", given.path, dead[0])).await, *letter);
    let second = given.hits(dead[1]);
    assert_eq!(attempts(&second)[0], "1", "each event has its own attempts");
    assert!(second[0].at > last.at, "one after the other");
    eventually("the watch is up to date", || async {
        let status = given.status().await;
        let is = (&status["state"], &status["dead_letters"], &status["attempts"]);
        (is == (&json!("current"), &json!(2), &json!(0)) && status["cursor"] == next).then_some(())
    })
    .await;
}

async fn letters_are_listed_a_page_at_a_time(given: Given) {
    let dead = [given.put("a").await, given.put("b").await, given.put("c").await];
    given.are_dead(&dead).await;
    let (mut path, mut found) = (format!("{}/dead?limit=1", given.path), Vec::new());
    loop {
        let answer = given.noah.get(&path).await;
        let page = answer.json();
        assert_eq!(page.as_array().unwrap().len(), 1);
        found.push(page[0]["revision"].as_u64().unwrap());
        let Some(link) = answer.header("link") else { break };
        let url = link.split(['<', '>']).nth(1).unwrap();
        path = url.strip_prefix(&given.noah.url()).unwrap().to_owned();
    }
    assert_eq!(found, dead);
    for query in ["limit=0", "limit=x", "limit=1001", "after=x"] {
        assert_eq!(given.noah.get(&format!("{}/dead?{query}", given.path)).await.status, 422, "{query}");
    }
}

async fn a_letter_that_is_sent_again_and_delivered_is_gone(given: Given) {
    let dead = given.with_one().await;
    let before = given.hits(dead);
    let answer = given.noah.put_ok(&format!("{}/dead/{dead}/redrive", given.path), "").await.json();
    assert_eq!(answer, json!({"action": "redrive", "result": "success", "letters": 1}));
    given.are_dead(&[]).await;
    let after = given.hits(dead);
    assert_eq!(after.len(), before.len() + 1, "one attempt");
    let (first, last) = (&before[0], after.last().unwrap());
    assert_eq!((&last.body, &last.headers["webhook-id"]), (&first.body, &first.headers["webhook-id"]));
    assert_eq!(last.headers["noah-attempt"], after.len().to_string(), "the attempts are counted on");
    assert_eq!(given.noah.get(&format!("{}/dead/{dead}", given.path)).await.status, 404);
    let next = given.put("next").await;
    given.receiver.until_revision(next).await;
}

async fn a_letter_that_is_refused_again_is_kept_with_one_more_attempt(given: Given) {
    let dead = [given.put("a").await, given.put("b").await];
    given.are_dead(&dead).await;
    let before = given.letters().await;
    let all = format!("{}/dead/redrive", given.path);
    assert_eq!(given.noah.put_ok(&all, "").await.json()["letters"], 2);
    let after = eventually("both were tried once more", || async {
        let now = given.letters().await;
        let more = |n: usize| now[n]["attempts"].as_u64().unwrap() > before[n]["attempts"].as_u64().unwrap();
        (more(0) && more(1)).then_some(now)
    })
    .await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after["attempts"].as_u64(), before["attempts"].as_u64().map(|attempts| attempts + 1));
        assert_eq!((&after["redriven"], &after["first_attempt"]), (&json!(false), &before["first_attempt"]));
        assert_eq!(after["event"], before["event"]);
    }
    given.receiver.behave(SAYS_YES);
    given.noah.put_ok(&all, "").await;
    given.are_dead(&[]).await;
    let again = given.receiver.revisions();
    assert!(again.ends_with(&dead), "the oldest first: {again:?}");
    assert_eq!(given.noah.put_ok(&all, "").await.json()["letters"], 0, "nothing is left");
}

async fn letters_are_thrown_away_one_by_one_or_all(given: Given) {
    let dead = [given.put("a").await, given.put("b").await, given.put("c").await];
    given.are_dead(&dead).await;
    let hits = given.receiver.count();
    let one = given.noah.delete(&format!("{}/dead/{}", given.path, dead[1])).await.json();
    assert_eq!(one, json!({"action": "delete", "result": "success", "letters": 1}));
    assert_eq!(given.revisions().await, [dead[0], dead[2]]);
    assert_eq!(given.noah.delete(&format!("{}/dead", given.path)).await.json()["letters"], 2);
    assert_eq!(given.revisions().await, Vec::<u64>::new());
    assert_eq!(given.noah.put_ok(&format!("{}/dead/redrive", given.path), "").await.json()["letters"], 0);
    assert_eq!(given.noah.delete(&format!("{}/dead", given.path)).await.json()["letters"], 0);
    given.receiver.behave(SAYS_YES);
    let next = given.put("next").await;
    given.receiver.until_revision(next).await;
    assert_eq!(given.receiver.count(), hits + 1, "what was thrown away is not sent");
}

async fn a_letter_that_is_not_there_is_not_found(given: Given) {
    let live = given.put("a").await;
    given.are_dead(&[live]).await;
    let nobody = "/watches/Ly9ub2FofGR1bW15Oi8veA==";
    for path in
        [&format!("{}/dead/{}", given.path, live + 1), &format!("{nobody}/dead/{live}"), &format!("{nobody}/dead")]
    {
        assert_eq!(given.noah.get(path).await.status, 404, "GET {path}");
        assert_eq!(given.noah.delete(path).await.status, 404, "DELETE {path}");
        assert_eq!(given.noah.put(&format!("{path}/redrive"), "").await.status, 404, "PUT {path}/redrive");
    }
    assert_eq!(given.noah.get(&format!("{}/dead/x", given.path)).await.status, 404);
    assert_eq!(given.revisions().await, [live]);
}

async fn letters_go_with_their_watch(given: Given) {
    let dead = given.with_one().await;
    let deleted = given.noah.delete(&given.path).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    assert_eq!(given.noah.get(&format!("{}/dead", given.path)).await.status, 404);
    let events = given.noah.database.whole_log().await;
    let said: Vec<(&str, &str)> =
        events.iter().map(|event| (event.action.as_str(), event.record.key.collection().as_str())).collect();
    assert!(said.ends_with(&[("delete", "watches"), ("delete", "dead-letters")]), "{said:?}");
    let again = given.noah.watch_with(PATTERN, &given.receiver.url("/"), &json!({})).await;
    assert_eq!(again, given.path);
    assert_eq!(given.revisions().await, Vec::<u64>::new(), "one of that name made later has none");
    assert_eq!(given.noah.put(&format!("{again}/dead/{dead}/redrive"), "").await.status, 404);
}

async fn of_dead_letters_only_those_are_told_who_ask_for_them(given: Given) {
    let (noah, everything, asking) = (&given.noah, Receiver::start().await, Receiver::start().await);
    let all = noah.watch_with("//noah", &everything.url("/"), &json!({})).await;
    let wild = noah.watch_with("//noah/**", &everything.url("/wild"), &json!({})).await;
    let asks = noah.watch_with("//noah/dead-letters", &asking.url("/"), &json!({})).await;
    let first = given.put("a").await;
    given.are_dead(&[first]).await;
    let told = asking.at_least(1).await[0].json();
    assert_eq!(
        (&told["action"], &told["letter"], &told["attempts"].is_u64()),
        (&json!("create"), &json!(first), &true)
    );
    assert!(told["error"].as_str().unwrap().contains("500"), "{told}");
    assert!(told["pubcategory"].as_str().unwrap().starts_with("//noah/dead-letters/"), "{told}");

    // What the asking one does not take becomes a letter too, of which it is not told.
    asking.behave(SAYS_NO);
    let second = given.put("b").await;
    given.are_dead(&[first, second]).await;
    let own = eventually("the asking one has a letter of its own", || async {
        let letters = noah.see(&format!("{asks}/dead")).await;
        letters[0]["channel"].as_str().map(str::to_owned)
    })
    .await;
    assert!(own.starts_with("//noah/dead-letters/"), "{own}");
    asking.behave(SAYS_YES);
    let last = noah.put_ok("/ephemerals/last", "").await.revision();
    everything.until_revision(last).await;
    // The last event is one that most are not told of.
    assert_eq!(noah.delete(&format!("{}/dead/{first}", given.path)).await.status, 200);
    eventually("the asking one is told of the deletion", || async {
        asking.last().filter(|hit| hit.json()["action"] == "delete")
    })
    .await;
    let of = |hit: &Hit| hit.json()["watch"].as_str().unwrap().to_owned();
    let theirs = told["watch"].as_str().unwrap();
    assert!(asking.hits().iter().all(|hit| of(hit) == theirs), "never of its own");
    let channels: Vec<String> =
        everything.hits().iter().map(|hit| hit.json()["pubcategory"].as_str().unwrap().to_owned()).collect();
    assert!(!channels.iter().any(|channel| channel.contains("dead-letters")), "{channels:?}");

    for path in [all, wild, asks] {
        eventually("nothing waits for it", || async {
            let status = noah.see(&path).await;
            (status["lag"] == 0 && status["state"] == "current").then_some(())
        })
        .await;
    }
}

async fn a_letter_to_be_sent_again_is_sent_after_a_restart(mut given: Given) {
    let dead = given.with_one().await;
    given.noah.put_ok(&format!("{}/pause", given.path), "").await;
    given.noah.put_ok(&format!("{}/dead/redrive", given.path), "").await;
    assert_eq!(given.letters().await[0]["redriven"], json!(true));
    let hits = given.receiver.count();
    given.noah.terminate();
    given.noah.start_again();
    assert_eq!((given.revisions().await, given.receiver.count()), (vec![dead], hits), "it is paused");
    given.noah.put_ok(&format!("{}/resume", given.path), "").await;
    given.are_dead(&[]).await;
    assert_eq!(given.receiver.count(), hits + 1);
}

/// A server that gives an event up after six seconds.
struct Patient(Given);

impl Patient {
    async fn on(backend: Backend) -> Self {
        Self(Given::up_after(backend, "6s").await)
    }
}

async fn attempts_and_their_clock_go_on_after_kill_9(Patient(mut given): Patient) {
    let event = given.put("a").await;
    let status = eventually("three attempts are noted", || async {
        Some(given.status().await).filter(|status| status["attempts"].as_u64() >= Some(3))
    })
    .await;
    given.noah.kill9();
    given.noah.start_again();
    let started = std::time::Instant::now();
    let before = given.receiver.count();
    given.receiver.at_least(before + 1).await;
    given.are_dead(&[event]).await;
    let (letters, hits) = (given.letters().await, given.hits(event));
    let counted: Vec<usize> = attempts(&hits).iter().map(|attempt| attempt.parse().unwrap()).collect();
    // The kill may have come between an attempt and its note; that one has its number again.
    let repeated = counted.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(counted.is_sorted() && counted[0] == 1 && repeated <= 1, "{counted:?}");
    assert_eq!(letters[0]["attempts"], *counted.last().unwrap());
    assert_eq!(letters[0]["first_attempt"], status["first_attempt"], "the clock does not start anew");
    assert!(started.elapsed() < Duration::from_secs(6), "after {:?} since the restart", started.elapsed());
}

on_both_stores!(Given:
    an_event_is_given_up_and_the_watch_goes_on,
    letters_are_listed_a_page_at_a_time,
    a_letter_that_is_sent_again_and_delivered_is_gone,
    a_letter_that_is_refused_again_is_kept_with_one_more_attempt,
    letters_are_thrown_away_one_by_one_or_all,
    a_letter_that_is_not_there_is_not_found,
    letters_go_with_their_watch,
    of_dead_letters_only_those_are_told_who_ask_for_them,
    a_letter_to_be_sent_again_is_sent_after_a_restart,
);

mod patient {
    use super::*;

    on_both_stores!(Patient: attempts_and_their_clock_go_on_after_kill_9);
}
