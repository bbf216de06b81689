//! Clients that write all there is to write, to either server, and write down what they were told.

pub mod records;
pub mod sessions;
pub mod watching;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;

use super::journal::{Condition, Effect, Journal, Kind, Outcome, Write, cause};
use crate::{
    linearizable::random::Random,
    support::{Answer, Client},
};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it rests where nobody is there.
const REST: Duration = Duration::from_millis(50);

/// What all clients share.
pub struct World {
    pub journal: Journal,
    pub servers: [Client; 2],
    pub over: AtomicBool,
}

/// One client.
pub struct Writer {
    pub world: Arc<World>,
    pub random: Random,
    pub number: usize,
    /// Which server it asked last.
    pub server: usize,
}

/// How an answer tells where a write is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By the revision of its record,
    Record,
    /// by the newest revision,
    End,
    /// by one for each operation,
    Each,
    /// or by a fencing number.
    Fence,
}

/// One request that writes.
pub struct Request {
    pub kind: Kind,
    pub method: Method,
    pub path: String,
    pub body: Vec<u8>,
    pub effects: Vec<Effect>,
    pub condition: Option<Condition>,
    pub ttl: Option<Duration>,
    pub told: Told,
}

impl Request {
    pub fn put(kind: Kind, path: String, body: impl Into<Vec<u8>>, effects: Vec<Effect>) -> Self {
        Self { method: Method::PUT, ..Self::new(kind, path, body, effects, Told::Record) }
    }

    /// A DELETE, which is answered with the newest revision.
    pub fn delete(kind: Kind, path: String, effects: Vec<Effect>) -> Self {
        Self { method: Method::DELETE, ..Self::new(kind, path, "", effects, Told::End) }
    }

    /// A DELETE that leaves its record.
    pub fn edit(kind: Kind, path: String, body: impl Into<Vec<u8>>, effects: Vec<Effect>) -> Self {
        Self { method: Method::DELETE, ..Self::new(kind, path, body, effects, Told::Record) }
    }

    fn new(kind: Kind, path: String, body: impl Into<Vec<u8>>, effects: Vec<Effect>, told: Told) -> Self {
        Self { kind, method: Method::POST, path, body: body.into(), effects, condition: None, ttl: None, told }
    }

    pub fn transaction(body: &Value, effects: Vec<Effect>) -> Self {
        Self::new(Kind::Transaction, "/txn".to_owned(), body.to_string(), effects, Told::Each)
    }

    pub fn when(self, condition: Option<Condition>) -> Self {
        Self { condition, ..self }
    }

    pub fn leased(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    pub fn told(self, told: Told) -> Self {
        Self { told, ..self }
    }
}

impl Writer {
    pub fn new(world: &Arc<World>, number: usize, seed: u64) -> Self {
        let random = Random::of(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Self { world: Arc::clone(world), random, number, server: 0 }
    }

    pub fn is_over(&self) -> bool {
        self.world.over.load(Ordering::Relaxed)
    }

    /// A number from 0 to below `limit`.
    pub fn any(&mut self, limit: u64) -> u64 {
        self.random.up_to(limit)
    }

    /// Sends a write to one of the servers and writes down what came of it; the answer, if there was one.
    pub async fn write(&mut self, request: Request) -> Option<Answer> {
        self.write_as(self.world.journal.number(), request).await
    }

    /// The same, for a write that has its number already.
    pub async fn write_as(&mut self, id: u64, request: Request) -> Option<Answer> {
        self.server = self.random.up_to(2) as usize;
        let client = &self.world.servers[self.server];
        let mut sending = client.request(request.method.clone(), &request.path).timeout(PATIENCE);
        sending = sending.header("noah-cause", cause(id)).header("content-type", "application/json");
        sending = match request.condition {
            Some(Condition::At(revision)) => sending.header("if-match", format!("\"{revision}\"")),
            Some(Condition::Absent) => sending.header("if-none-match", "*"),
            None => sending,
        };
        let sent = Instant::now();
        let answer = Answer::try_of(sending.body(request.body.clone())).await;
        let ended = Instant::now();
        let outcome = match &answer {
            Ok(answer) => self.outcome(&request, answer),
            Err(error) if error.is_connect() => Outcome::Unsent,
            Err(_) => Outcome::Unknown,
        };
        let mut effects = request.effects;
        if let (Kind::Session, Outcome::At(_), Ok(answer)) = (request.kind, &outcome, &answer) {
            let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
            effects = vec![Effect::Put(format!("sessions/{id}"), Vec::new())];
        }
        let rests = matches!(outcome, Outcome::Unsent | Outcome::Unknown | Outcome::Refused(503));
        let (kind, condition, ttl) = (request.kind, request.condition, request.ttl);
        let write = Write { id, kind, effects, condition, ttl, sent, ended, outcome };
        self.world.journal.writes.lock().unwrap().push(write);
        if rests {
            tokio::time::sleep(REST).await;
        }
        answer.ok()
    }

    fn outcome(&self, request: &Request, answer: &Answer) -> Outcome {
        match (answer.status, request.told) {
            (200, Told::Record) => Outcome::At(answer.revision()),
            (200, Told::End) => Outcome::Until(answer.revision()),
            // In line, but not first.
            (202, Told::Fence) => Outcome::Done,
            (200, Told::Fence) => Outcome::At(answer.json()["fence"].as_u64().unwrap_or(0)),
            (200, Told::Each) => {
                let ops = answer.json()["ops"].as_array().cloned().unwrap_or_default();
                Outcome::Each(ops.iter().map(|op| op["revision"].as_u64().unwrap_or(0)).collect())
            }
            // It takes several steps, and what went wrong may have done so after the first.
            (409 | 503, Told::Fence) => Outcome::Unknown,
            // It says so where it is known that nothing was done.
            (503, _) if answer.text().contains("nothing was") => Outcome::Refused(503),
            (503, _) => Outcome::Unknown,
            (400..500, _) => Outcome::Refused(answer.status),
            (status, _) => {
                let words = format!("{} {} was answered {status} {}", request.method, request.path, answer.text());
                self.world.journal.wrong.lock().unwrap().push(words);
                Outcome::Unknown
            }
        }
    }

    /// Sends a write until it is known to be done, or that it cannot be; for the end, when nothing fails any more.
    pub async fn insist(&mut self, make: impl Fn() -> Request) {
        for _ in 0..100 {
            if self.write(make()).await.is_some_and(|answer| answer.status < 500) {
                return;
            }
        }
    }
}
