//! How much of this server one caller may have, and all together: requests by time, requests at once, and what they
//! may store. What is too much is refused in words, and never waits in a queue.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};

use super::{
    connections::Connections,
    error::{Cause, Failure},
};
use crate::{
    access::Identity,
    primitives::{
        Check, Collection, Commit, Error, Key, Op, Plan, Room, Select, decode_segment, encode_segment, lock, session,
        token::ANONYMOUS,
    },
    rate::{Limiter, source},
    settings::{self, Amounts, Settings},
};

/// What there may be, and what there is.
pub struct Limits {
    /// The longest data of an ephemeral.
    pub ephemeral_max_bytes: usize,
    settings: settings::Limits,
    by_token: Limiter<u64>,
    by_source: Limiter<IpAddr>,
    hasher: RandomState,
    turns: Arc<Seats>,
    waiters: Arc<Seats>,
    snapshots: Arc<Seats>,
    /// The connections that there are.
    pub connections: Connections,
    /// How many requests were refused here.
    refused: AtomicU64,
}

/// What is counted in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Records,
    Watches,
    Sessions,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Records, Self::Watches, Self::Sessions];

    /// What a record of this collection is counted as; the server's own are not.
    fn of(collection: Collection) -> Option<Self> {
        match collection {
            Collection::Watches => Some(Self::Watches),
            Collection::Sessions => Some(Self::Sessions),
            Collection::DeadLetters | Collection::Tokens => None,
            Collection::Hosts
            | Collection::Services
            | Collection::Applications
            | Collection::Configurations
            | Collection::Ephemerals
            | Collection::Tags
            | Collection::Links
            | Collection::Locks => Some(Self::Records),
        }
    }

    /// The index of what a caller has made. What was made without a token is not counted, but a session must be known to
    /// be nobody's.
    fn maker(self, caller: &Identity) -> Option<String> {
        let who = match caller.token_id() {
            Some(id) => encode_segment(id.as_str()).into_owned(),
            None if self == Self::Sessions => ANONYMOUS.to_owned(),
            None => return None,
        };
        Some(format!("made/{who}/{}", self.word()))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Watches => "watches",
            Self::Sessions => "sessions",
        }
    }

    fn collections(self) -> Vec<String> {
        let own = Collection::ALL.into_iter().filter(|collection| Self::of(*collection) == Some(self));
        own.map(|collection| collection.as_str().to_owned()).collect()
    }

    fn most(self, amounts: &Amounts) -> Option<u64> {
        match self {
            Self::Records => amounts.records,
            Self::Watches => amounts.watches,
            Self::Sessions => amounts.sessions,
        }
    }
}

impl Limits {
    /// Nothing is taken yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let (ephemeral_max_bytes, settings) = (settings.ephemeral_max_bytes, settings.limits.clone());
        Self {
            ephemeral_max_bytes,
            by_token: Limiter::new(settings.requests_per_token, None),
            by_source: Limiter::new(settings.requests_per_source, None),
            hasher: RandomState::new(),
            turns: Seats::new(settings.in_flight, settings.in_flight_per_caller),
            waiters: Seats::new(settings.waiters, settings.waiters_per_caller),
            snapshots: Seats::new(settings.snapshots, settings.snapshots),
            connections: Connections::new(&settings),
            refused: AtomicU64::new(0),
            settings,
        }
    }

    /// Refuses a target that is too long, and a source that asks too often; before anything is done for a request.
    ///
    /// # Errors
    /// Which of them, in words.
    pub fn check(&self, target: usize, peer: Option<IpAddr>) -> Result<(), Failure> {
        if target > self.settings.uri_max_bytes {
            return Err(Cause::UriTooLong(self.settings.uri_max_bytes).into());
        }
        let Some(peer) = peer else { return Ok(()) };
        let often = self.by_source.take(source(peer), Instant::now());
        often.map_err(|often| self.refuse(Cause::TooOften { who: "address", seconds: often.retry_after }))
    }

    /// The turn of a request of this caller.
    ///
    /// # Errors
    /// That they ask too often, have too many requests under way, or that all have.
    pub fn admit(self: &Arc<Self>, caller: &Identity) -> Result<Place, Failure> {
        let id = match (caller.token_id(), caller.address()) {
            (Some(token), _) => self.hasher.hash_one((true, token.as_str())),
            (None, address) => self.hasher.hash_one((false, address.map(source))),
        };
        if caller.token_id().is_some() {
            let often = self.by_token.take(id, Instant::now());
            often.map_err(|often| self.refuse(Cause::TooOften { who: "token", seconds: often.retry_after }))?;
        }
        let turn = self.turns.take(id).map_err(|full| self.refuse(Cause::Busy { full, held: false }))?;
        Ok(Place { limits: Arc::clone(self), caller: id, turn: Mutex::new(Some(turn)) })
    }

    /// A place among the snapshots that are taken, each of which may be a copy of the store.
    ///
    /// # Errors
    /// That there are as many as there may be.
    pub fn snapshot(&self) -> Result<Seat, Failure> {
        self.snapshots.take(0).map_err(|_| self.refuse(Cause::TooManySnapshots(self.settings.snapshots)))
    }

    fn refuse(&self, cause: Cause) -> Failure {
        self.refused.fetch_add(1, Ordering::Relaxed);
        cause.into()
    }

    /// How many requests were refused since the start, and how many are under way.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.turns.taken().all as u64)
    }

    /// Has a plan refused for which there is no room, which makes names that are too long or paths that are too deep, or
    /// which is about the sessions of others; and what it makes counted as this caller's.
    pub fn apply(&self, plan: &mut Plan, caller: &Identity) {
        self.check_names(plan);
        own_sessions(plan, caller);
        for kind in Kind::ALL {
            let maker = kind.maker(caller);
            if let Some(maker) = &maker {
                sign(&mut plan.commit, kind, maker);
            }
            let all = kind.most(&self.settings.all).map(|most| (most, kind.collections(), false));
            let maker = maker.filter(|_| caller.token_id().is_some());
            let own = kind.most(&self.settings.per_token).zip(maker).map(|(most, maker)| (most, vec![maker], true));
            for (most, indexes, own) in all.into_iter().chain(own) {
                let keys: HashSet<&Key> =
                    created(&plan.commit).filter(|key| Kind::of(key.collection()) == Some(kind)).collect();
                if !keys.is_empty() {
                    let keys = keys.into_iter().cloned().collect();
                    plan.add_check(Check::Room(Room { keys, indexes, most }), full(kind, most, own));
                }
            }
        }
    }

    /// What is there with such a name or path already stays as it is, and can be put.
    fn check_names(&self, plan: &mut Plan) {
        let (longest, deepest) = (self.settings.name_max_bytes, self.settings.path_max_depth);
        let refused = |key: &Key| match key.collection() {
            Collection::Ephemerals if key.rest().split('/').count() > deepest => {
                Some(format!("A path has at most {deepest} segments"))
            }
            collection
                if is_named(collection) && key.rest().split('/').any(|name| decode_segment(name).len() > longest) =>
            {
                Some(format!("A name has at most {longest} bytes"))
            }
            _ => None,
        };
        let wrong: Vec<_> =
            created(&plan.commit).filter_map(|key| Some((key.clone(), Error::invalid(refused(key)?)))).collect();
        for (key, error) in wrong {
            plan.add_check(Check::Exists(key), error);
        }
    }
}

/// A session is of whoever made it: for others, but those who may do everything, it is as if there were none. So it is
/// enough to know that its id is shown in lists and events.
fn own_sessions(plan: &mut Plan, caller: &Identity) {
    if caller.policy().is_admin() {
        return;
    }
    let Some(own) = Kind::Sessions.maker(caller) else { return };
    for (key, refusal) in sessions_of(&plan.commit) {
        plan.add_check(Check::Any(Select::under(own.clone(), key.as_str())), refusal);
    }
}

/// The sessions that a commit is about, and what is said where there is none.
fn sessions_of(commit: &Commit) -> Vec<(Key, Error)> {
    let is_session = |key: &&Key| key.collection() == Collection::Sessions;
    let checked = commit.checks.iter().filter_map(|check| match check {
        Check::Exists(key) | Check::Leased(_, key) => Some(key).filter(is_session),
        _ => None,
    });
    let done = commit.ops.iter().filter_map(|op| match op {
        Op::Put { key, create: false, .. } | Op::Delete { key } if is_session(&key) => {
            Some((key.clone(), session::UNKNOWN))
        }
        // A place in the queue of a lock has the name of its session.
        Op::Delete { key } if key.collection() == Collection::Locks => {
            Some((Key::session(key.name().parse().ok()?), lock::UNKNOWN))
        }
        _ => None,
    });
    done.chain(checked.map(|key| (key.clone(), session::ended()))).collect()
}

/// Whether what follows the collection in its keys are names that clients give.
fn is_named(collection: Collection) -> bool {
    !matches!(
        collection,
        Collection::Ephemerals
            | Collection::Watches
            | Collection::DeadLetters
            | Collection::Sessions
            | Collection::Tokens
    )
}

/// The records that a commit may create.
fn created(commit: &Commit) -> impl Iterator<Item = &Key> {
    commit.ops.iter().filter_map(|op| match op {
        Op::Put { key, create: true, .. } => Some(key),
        _ => None,
    })
}

/// Has what a commit creates counted under an index.
fn sign(commit: &mut Commit, kind: Kind, index: &str) {
    for op in &mut commit.ops {
        if let Op::Put { key, create: true, maker, .. } = op
            && Kind::of(key.collection()) == Some(kind)
        {
            *maker = Some(index.to_owned());
        }
    }
}

fn full(kind: Kind, most: u64, own: bool) -> Error {
    let what = kind.word();
    match own {
        true => Error::Refused {
            words: format!("The token has made as many {what} as it may, {most} (limits.{what}_per_token)"),
            hint: "delete some of them; the server's operator can raise the limit",
        },
        false => Error::Refused {
            words: format!("There are as many {what} as there may be, {most} (limits.{what})"),
            hint: "delete some; the server's operator can raise the limit",
        },
    }
}

/// The place of a request: a turn while it is worked on, a seat while it is held.
pub struct Place {
    limits: Arc<Limits>,
    caller: u64,
    turn: Mutex<Option<Seat>>,
}

impl Place {
    /// Exchanges the turn for a seat, for as long as the request is held.
    ///
    /// # Errors
    /// That too many are.
    pub fn hold(&self) -> Result<Seat, Failure> {
        let seat = self.limits.waiters.take(self.caller);
        let seat = seat.map_err(|full| self.limits.refuse(Cause::Busy { full, held: true }))?;
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(seat)
    }

    /// Keeps it until an answer is written.
    #[must_use]
    pub fn until_written(self, response: HttpResponse) -> HttpResponse {
        response.map_body(|_, answer| Written { answer, rest: Bytes::new(), _place: self }.boxed())
    }
}

/// How much of an answer is handed to the connection at once. It takes no more while it has about so much to write.
const PART: usize = 32 << 10;

/// The body of an answer that has a place: in parts, or it would be out of here, and in memory all the same.
struct Written {
    answer: BoxBody,
    rest: Bytes,
    _place: Place,
}

impl MessageBody for Written {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.answer).poll_next(cx)) {
                Some(Ok(bytes)) => this.rest = bytes,
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(this.rest.split_to(this.rest.len().min(PART)))))
    }
}

/// Who has taken all there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The caller has their share.
    Own(usize),
    /// All together.
    All(usize),
}

/// So many places, and so many for one caller.
pub(super) struct Seats {
    most: usize,
    most_per_caller: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
pub(super) struct Taken {
    pub(super) all: usize,
    /// By caller; nobody is here who has none.
    by: HashMap<u64, usize>,
}

/// A place that is given back when this is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    caller: u64,
}

impl Seats {
    pub(super) fn new(most: usize, most_per_caller: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_caller: most_per_caller.min(most), taken: Mutex::default() })
    }

    pub(super) fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        // Nothing that can panic leaves it halfway.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(self: &Arc<Self>, caller: u64) -> Result<Seat, Full> {
        let mut taken = self.taken();
        let own = taken.by.get(&caller).copied().unwrap_or(0);
        if own >= self.most_per_caller {
            return Err(Full::Own(self.most_per_caller));
        }
        if taken.all >= self.most {
            return Err(Full::All(self.most));
        }
        taken.all += 1;
        taken.by.insert(caller, own + 1);
        Ok(Seat { seats: Arc::clone(self), caller })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        match taken.by.get_mut(&self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by.remove(&self.caller)),
        }
    }
}
