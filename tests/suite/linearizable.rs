//! Conditional writes of one record by many clients, while the server is killed and started again: what they were
//! told has to be what one record, touched by one client at a time, would have told them.

mod checker;
mod proofs;
pub mod random;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use futures_util::future::join_all;
use reqwest::Method;
use tokio::sync::{Barrier, Semaphore};

use crate::support::{Answer, Client, Noah, eventually, on_both_stores};
use checker::{Action, Condition, Operation, Outcome, check};
use random::Random;

const CLIENTS: usize = 20;
/// Operations of each client in a round: a history is checked as a whole, and has at most [`checker::MOST`].
const OPERATIONS: usize = 5;
const ROUNDS: u64 = 40;

/// What all clients of a round share.
struct Round {
    path: String,
    start: Barrier,
    answered: Semaphore,
    clock: Instant,
    values: AtomicU32,
}

impl Round {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap()
    }

    /// Sends one operation. `None` when it certainly never happened, or tells nothing.
    async fn send(&self, client: &Client, action: Action) -> Option<Operation> {
        let (method, condition, body) = match action {
            Action::Get => (Method::GET, Condition::None, String::new()),
            Action::Put(condition, value) => (Method::PUT, condition, value.to_string()),
            Action::Delete(condition) => (Method::DELETE, condition, String::new()),
        };
        let request = client.request(method, &self.path).body(body);
        let request = match condition {
            Condition::None => request,
            Condition::Match(revision) => request.header("if-match", format!("\"{revision}\"")),
            Condition::Absent => request.header("if-none-match", "*"),
        };
        let start = self.now();
        let answer = Answer::try_of(request).await;
        let end = self.now();
        let outcome = match &answer {
            Ok(answer) => outcome(action, answer),
            Err(error) if error.is_connect() => return None,
            Err(_) => Outcome::Unknown,
        };
        match outcome {
            Outcome::Unknown if action == Action::Get => None,
            Outcome::Unknown => Some(Operation { start, end: u64::MAX, action, outcome }),
            _ => Some(Operation { start, end, action, outcome }),
        }
    }
}

fn outcome(action: Action, answer: &Answer) -> Outcome {
    let revision = || answer.revision();
    match (answer.status, action) {
        (200, Action::Get) => Outcome::Found(revision(), answer.text().parse().unwrap()),
        (200, _) => Outcome::Done(revision(), answer.json()["action"] == "create"),
        (404, _) => Outcome::Nothing(revision()),
        (412, _) if answer.header("etag").is_some() => Outcome::RefusedAt(revision()),
        (412, _) => Outcome::RefusedWithout(revision()),
        (503, _) => Outcome::Unknown,
        (status, _) => panic!("{action:?}: {status} {}", answer.text()),
    }
}

/// One client: reads, and writes on the revision it has last heard of, or without looking.
async fn run(round: Arc<Round>, client: Client, mut random: Random) -> Vec<Operation> {
    let mut history = Vec::new();
    let mut heard: Option<u64> = None;
    round.start.wait().await;
    while history.len() < OPERATIONS {
        let value = round.values.fetch_add(1, Ordering::Relaxed);
        let matching = heard.map_or(Condition::Absent, Condition::Match);
        let action = match random.up_to(20) {
            0..6 => Action::Get,
            6..12 => Action::Put(matching, value),
            12..14 => Action::Put(Condition::Absent, value),
            14..17 => Action::Put(Condition::None, value),
            17..19 => Action::Delete(Condition::None),
            _ => Action::Delete(heard.map_or(Condition::None, Condition::Match)),
        };
        let done = round.send(&client, action).await;
        match done.map(|done| done.outcome) {
            Some(Outcome::Found(at, _) | Outcome::Done(at, _) | Outcome::RefusedAt(at)) => heard = Some(at),
            Some(Outcome::Nothing(_) | Outcome::RefusedWithout(_)) => heard = None,
            None | Some(Outcome::Unknown) => is_back(&client).await,
        }
        history.extend(done);
        round.answered.add_permits(1);
    }
    history
}

async fn is_back(client: &Client) {
    eventually("the server is back", || async {
        let asked = Answer::try_of(client.request(Method::GET, "/readyz")).await;
        asked.ok().filter(|answer| answer.status == 200)
    })
    .await;
}

/// All clients on one record, with the server killed in their midst, and one look at what has come of it.
async fn play(noah: &mut Noah, number: u64) -> Vec<Operation> {
    let round = Arc::new(Round {
        path: format!("/ephemerals/register/{number}"),
        start: Barrier::new(CLIENTS),
        answered: Semaphore::new(0),
        clock: Instant::now(),
        values: AtomicU32::new(0),
    });
    let mut random = Random::of(number);
    let clients = (0..CLIENTS).map(|client| {
        let seed = Random::of(number * 1_000 + client as u64);
        tokio::spawn(run(Arc::clone(&round), noah.client().clone(), seed))
    });
    let clients: Vec<_> = clients.collect();
    let answered = 5 + random.up_to((CLIENTS * OPERATIONS / 2) as u64);
    let _ = round.answered.acquire_many(u32::try_from(answered).unwrap()).await.unwrap();
    noah.kill9();
    noah.start_again_where_it_was();
    let mut history: Vec<Operation> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    history.extend(round.send(noah.client(), Action::Get).await);
    history
}

async fn conditional_writes_are_linearizable_while_the_server_is_killed(mut noah: Noah) {
    let (mut done, mut refused, mut unknown, mut happened, mut states) = (0, 0, 0, 0, 0);
    for number in 1..=ROUNDS {
        let history = play(&mut noah, number).await;
        match check(&history) {
            Ok(looked_at) => states += looked_at,
            Err(left) => panic!("round {number} is not linearizable; no order gets in\n{left:#?}\nof\n{history:#?}"),
        }
        let count = |is: fn(&Outcome) -> bool| history.iter().filter(|one| is(&one.outcome)).count();
        done += count(|outcome| matches!(outcome, Outcome::Done(..)));
        refused += count(|outcome| matches!(outcome, Outcome::RefusedAt(_) | Outcome::RefusedWithout(_)));
        unknown += count(|outcome| *outcome == Outcome::Unknown);
        let found = |value| history.iter().any(|one| matches!(one.outcome, Outcome::Found(_, found) if found == value));
        happened += history
            .iter()
            .filter(|one| {
                one.outcome == Outcome::Unknown && matches!(one.action, Action::Put(_, value) if found(value))
            })
            .count();
    }
    println!(
        "{done} done, {refused} refused, {unknown} without an answer, of which {happened} were seen to have happened; \
         {states} states"
    );
    assert!(done > 500 && refused > 500 && unknown > 50, "too little of it happened to show anything");
}

on_both_stores!(Noah: conditional_writes_are_linearizable_while_the_server_is_killed);
