//! Locks: of those who want one, so many hold it at a time, first come, first served.
//!
//! Who wants a lock takes a ticket: a record that is tied to its session, is made once and never changed, so that its
//! revision is its place in the queue. Who holds the lock follows from the tickets: each whose place is before the
//! number of slots that it and all before it asked for. So nobody loses a lock to one who came later, nobody shares it
//! with more others than was asked for by any who came before, and locks are had in the order of the tickets. That is
//! why a ticket's revision is the fencing number as well: it grows with each that gets to hold the lock.

use std::{borrow::Cow, cmp::min, collections::BTreeMap};

use serde::{Serialize, ser::SerializeMap};
use uuid::Uuid;

use super::{
    Check, Collection, Edit, Ending, Error, Key, Lifetime, List, Name, Op, Plan, Query, Reading, Record, Select, When,
    rfc3339, session,
};

const SLOTS: &str = "slots";
const SESSION_NAME: &str = "session_name";

/// The most that may hold a lock at a time.
const MOST: u64 = 1_000;

/// A session has no ticket of a lock.
pub const UNKNOWN: Error = Error::Unknown("this session neither holds the lock nor waits for it");

/// The key of a session's ticket.
#[must_use]
pub fn key(name: &Name, session: Uuid) -> Key {
    Key::ticket(name, session)
}

/// Reads how many may hold a lock at a time.
pub fn parse_slots(text: &str) -> Result<u64, Error> {
    let slots = text.parse().ok().filter(|slots| (1..=MOST).contains(slots));
    slots.ok_or_else(|| Error::Malformed(format!("slots is a number from 1 to {MOST}")))
}

/// All tickets of a lock.
#[must_use]
pub fn queue(name: &Name) -> Query {
    Query::List(List::of(Select::under(Collection::Locks.as_str(), Key::ticket_prefix(name))))
}

/// All tickets of a lock, and the session that wants it.
#[must_use]
pub fn before_put(name: &Name, session: Uuid) -> [Query; 2] {
    [queue(name), Query::Get(session::key(session))]
}

/// All tickets of all locks.
#[must_use]
pub fn all() -> Query {
    Query::List(List::of(Select::all(Collection::Locks.as_str())))
}

/// Takes a ticket, if the session has none; `owner` is its record. The first check is that it is still there.
#[must_use]
pub fn put(name: &Name, owner: &Record, slots: u64) -> Plan {
    let key = key(name, owner.id);
    let edit = Edit::default().set(SLOTS, slots.to_string());
    let edit = session::name(owner).into_iter().fold(edit, |edit, name| edit.set(SESSION_NAME, name));
    let lifetime = Lifetime { ttl: None, owner: Some(owner.key.clone()) };
    let put = Op::put(key.clone(), edit).leased(lifetime.change(vec![Ending::Delete(key.clone())]));
    Plan::new(vec![put])
        .require(Check::Exists(owner.key.clone()), session::ended())
        // By another request of the same session; then that one's is as good.
        .require(Check::Absent(key), Error::Contended)
}

/// Gives a ticket back, and with it the lock, if that was held. The revision that a condition is about is the ticket's,
/// which is the fencing number.
#[must_use]
pub fn delete(name: &Name, session: Uuid, when: &When) -> Plan {
    let key = key(name, session);
    Plan::new(vec![Op::Delete { key: key.clone() }]).when(&key, when).require(Check::Exists(key), UNKNOWN)
}

/// Gives back this ticket and no later one.
#[must_use]
pub fn take_back(ticket: &Record) -> Plan {
    let key = ticket.key.clone();
    Plan::new(vec![Op::Delete { key: key.clone() }])
        .require(Check::Revision(key, vec![ticket.revision]), Error::Contended)
}

/// The name of the lock that a ticket is of.
#[must_use]
pub fn name(ticket: &Record) -> Cow<'_, str> {
    ticket.key.first()
}

/// How many a ticket lets hold the lock at a time.
#[must_use]
pub fn slots(ticket: &Record) -> u64 {
    ticket.text(SLOTS).parse().unwrap_or(1)
}

/// Those who want a lock, in their order.
#[derive(Debug)]
pub struct Queue<'a> {
    tickets: Vec<&'a Record>,
    /// How many of them hold it: the first ones.
    held: usize,
    /// How many may, by all of them.
    most: u64,
}

impl<'a> Queue<'a> {
    /// The queue of a lock's tickets.
    pub fn of(tickets: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut tickets: Vec<&Record> = tickets.into_iter().collect();
        tickets.sort_by_key(|ticket| ticket.revision);
        let (mut held, mut most) = (0, u64::MAX);
        for (place, ticket) in tickets.iter().enumerate() {
            most = min(most, slots(ticket));
            if (place as u64) < most {
                held += 1;
            }
        }
        Self { tickets, held, most }
    }

    /// The queue that [`queue`] or [`before_put`] has read.
    #[must_use]
    pub fn read(reading: &'a Reading) -> Self {
        Self::of(reading.answers.first().map_or(&[][..], |answer| &answer.records))
    }

    /// Those who hold the lock, in the order in which they got it.
    #[must_use]
    pub fn holders(&self) -> &[&'a Record] {
        &self.tickets[..self.held]
    }

    /// The ticket of a session, how many are before it, and whether it holds the lock.
    #[must_use]
    pub fn place(&self, name: &Name, session: Uuid) -> Option<(&'a Record, usize, bool)> {
        let own = key(name, session);
        let place = self.tickets.iter().position(|ticket| ticket.key == own)?;
        Some((self.tickets[place], place, place < self.held))
    }

    /// Whether one who came now would hold it at once.
    #[must_use]
    pub fn has_room(&self, slots: u64) -> bool {
        (self.tickets.len() as u64) < min(self.most, slots)
    }

    /// What one is told who wants it at once and cannot have it.
    #[must_use]
    pub fn busy(&self, name: &Name) -> Error {
        let one = |ticket: &&Record| {
            let who = ticket.fields.get(SESSION_NAME).map(|_| format!(" by {}", ticket.text(SESSION_NAME)));
            format!("{} (fence {})", who.unwrap_or_default(), ticket.revision)
        };
        let holders: Vec<String> = self.holders().iter().map(one).collect();
        let words = format!("The lock {name} is held{}", holders.join(" and"));
        Error::Refused { words, hint: "with wait=30s the request waits for its turn, first come, first served" }
    }
}

/// The answer to a PUT.
#[derive(Debug, Serialize)]
pub struct PutAnswer<'a> {
    action: &'static str,
    result: &'static str,
    name: &'a str,
    holder: bool,
    position: usize,
    fence: Option<u64>,
    slots: u64,
}

/// What a PUT is answered with; `is_new` says whether it took the ticket.
#[must_use]
pub fn put_answer<'a>(name: &'a Name, place: (&Record, usize, bool), is_new: bool) -> PutAnswer<'a> {
    let (ticket, position, holder) = place;
    PutAnswer {
        action: if is_new { "create" } else { "update" },
        result: "success",
        name: name.as_str(),
        holder,
        position,
        // Before it holds the lock it must not be taken for one who does.
        fence: holder.then_some(ticket.revision),
        slots: slots(ticket),
    }
}

/// A lock as GET shows it.
#[derive(Debug, Serialize)]
pub struct Lock<'a> {
    name: Cow<'a, str>,
    holders: Vec<Holder<'a>>,
    waiters: Vec<Holder<'a>>,
}

#[derive(Debug, Serialize)]
struct Holder<'a> {
    session: Cow<'a, str>,
    session_name: Option<&'a str>,
    slots: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    /// In the queue, that is.
    since: String,
}

impl<'a> Holder<'a> {
    fn of(ticket: &'a Record, holds: bool) -> Self {
        Self {
            session: ticket.key.name(),
            session_name: ticket.fields.contains_key(SESSION_NAME).then(|| ticket.text(SESSION_NAME)),
            slots: slots(ticket),
            fence: holds.then_some(ticket.revision),
            since: rfc3339(ticket.created_at),
        }
    }
}

/// The locks that these tickets are of, by their names.
#[must_use]
pub fn by_name(tickets: &[Record]) -> BTreeMap<String, Lock<'_>> {
    let mut locks: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for ticket in tickets {
        locks.entry(name(ticket).into_owned()).or_default().push(ticket);
    }
    locks.into_iter().map(|(name, tickets)| (name, shown(tickets))).collect()
}

fn shown<'a>(tickets: impl IntoIterator<Item = &'a Record>) -> Lock<'a> {
    let Queue { tickets, held, .. } = Queue::of(tickets);
    let (holders, waiters) = tickets.split_at(held);
    let all = |tickets: &[&'a Record], holds| tickets.iter().map(|ticket| Holder::of(ticket, holds)).collect();
    Lock {
        name: tickets.first().map(|ticket| name(ticket)).unwrap_or_default(),
        holders: all(holders, true),
        waiters: all(waiters, false),
    }
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("name", &name(record))?;
    map.serialize_entry("slots", &slots(record))?;
    map.serialize_entry("session_name", &record.fields.get(SESSION_NAME).map(|_| record.text(SESSION_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::{Action, Event};

    fn ticket(revision: u64, slots: u64) -> Record {
        Record {
            key: key(&Name::parse("l").unwrap(), Uuid::new_v4()),
            id: Uuid::new_v4(),
            revision,
            created_at: 0,
            updated_at: 0,
            cursor: None,
            notes: Vec::new(),
            lease: None,
            fields: [(SLOTS.to_owned(), slots.to_string().into_bytes())].into(),
            indexes: Default::default(),
        }
    }

    /// The revisions of those who hold a lock with tickets of these slots, which are numbered from 1.
    fn held(slots: &[u64]) -> Vec<u64> {
        let mut tickets: Vec<Record> = (1..).zip(slots).map(|(revision, slots)| ticket(revision, *slots)).collect();
        // The store gives them in the order of their keys.
        tickets.sort_by(|one, other| one.key.cmp(&other.key));
        Queue::of(&tickets).holders().iter().map(|ticket| ticket.revision).collect()
    }

    #[test]
    fn as_many_hold_a_lock_as_all_of_them_and_those_before_allow() {
        for (slots, holders) in [
            (&[][..], &[][..]),
            (&[1, 1, 1], &[1]),
            (&[3, 3, 3, 3], &[1, 2, 3]),
            (&[1, 3, 3], &[1]),
            (&[3, 1, 3], &[1]),
            (&[3, 3, 1], &[1, 2]),
            (&[3, 2, 3], &[1, 2]),
        ] {
            assert_eq!(held(slots), holders, "{slots:?}");
        }
    }

    #[test]
    fn there_is_room_for_whom_all_allow() {
        let tickets = [ticket(1, 3), ticket(2, 2)];
        assert!(Queue::of(&tickets[..1]).has_room(2) && !Queue::of(&tickets[..1]).has_room(1));
        assert!(!Queue::of(&tickets).has_room(3), "the second one allows two");
        assert!(Queue::of(&[]).has_room(1));
    }

    #[test]
    fn an_event_of_a_lock_does_not_name_its_session() {
        let record = ticket(1, 1);
        let id = record.key.name().into_owned();
        let event = Event { revision: 1, time: 0, action: Action::Create, record, cause: None, actor: None };
        assert_eq!(event.channel(), "//noah/locks/l");
        let json = serde_json::to_string(&crate::primitives::EventJson(&event)).unwrap();
        assert!(!json.contains(&id), "{json}");
    }
}
