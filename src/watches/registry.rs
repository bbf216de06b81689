use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Trie, cursors::Cursors, message::Message, metrics::Census, watched::Watched, worker::Shared};
use crate::{
    primitives::{Action, Collection, Event, Hold, Key, Record, dead_letter, watch},
    store::part_of,
};

/// The watches this process delivers for, by their key and by what they match.
#[derive(Default)]
pub(super) struct Registry {
    /// The parts that are held, and of which revision their watches were when they were read.
    parts: BTreeMap<u16, (Hold, u64)>,
    next: usize,
    numbers: HashMap<Key, usize>,
    by_number: HashMap<usize, Arc<Watched>>,
    trie: Trie<usize>,
}

impl Registry {
    /// The parts whose watches are here.
    pub(super) fn parts(&self) -> impl Iterator<Item = Hold> {
        self.parts.values().map(|(hold, _)| *hold)
    }

    /// Takes parts in, whose watches are read after `revision`. They have numbers from the returned one on.
    pub(super) fn adopt(&mut self, parts: &[Hold], revision: u64) -> usize {
        self.parts.extend(parts.iter().map(|hold| (hold.part, (*hold, revision))));
        self.next
    }

    /// Takes in those of some watches that belong to the parts that were adopted with the number `first`; they are
    /// held back until [`Watched::begin`].
    pub(super) fn take_in(&mut self, watches: Vec<Record>, parts: &[Hold], shared: &Shared) {
        let mine = |record: &Record| parts.iter().any(|hold| hold.part == part_of(record.id));
        watches.iter().filter(|record| mine(record)).for_each(|record| drop(self.add(record, shared)));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Lets go of parts; their watches end.
    pub(super) fn let_go(&mut self, is_lost: impl Fn(&Hold) -> bool) -> Vec<Arc<Watched>> {
        self.parts.retain(|_, (hold, _)| !is_lost(hold));
        let lost = self.by_number.values().filter(|watched| is_lost(&watched.hold));
        let lost: Vec<Arc<Watched>> = lost.map(Arc::clone).collect();
        for watched in &lost {
            self.remove(&watched.key);
        }
        lost
    }

    /// Follows watches that are made, changed and deleted. What happened before they were read is known already.
    pub(super) fn learn(&mut self, event: &Event, shared: &Arc<Shared>) {
        match event.record.key.collection() {
            Collection::Watches if self.is_news(event) => match event.action {
                Action::Create if self.is_outlived(event) => {}
                Action::Create => {
                    let watched = self.add(&event.record, shared);
                    watched.iter().for_each(|watched| {
                        // It may begin with what was before.
                        watched.catch_up_to(event.revision - 1, shared);
                        watched.begin(shared);
                    });
                }
                _ if event.is_gone() => {
                    if self.same(event).is_some() {
                        self.remove(&event.record.key);
                    }
                }
                _ => {
                    let (paused, orphaned) =
                        (watch::paused(&event.record).is_some(), watch::is_orphaned(&event.record));
                    self.same(event).iter().for_each(|watched| {
                        if orphaned {
                            watched.collapse();
                        }
                        watched.belongs_to(watch::Owner::of(&event.record));
                        watched.pause(paused, shared);
                    });
                }
            },
            Collection::DeadLetters if event.record.indexes.contains(dead_letter::REDRIVEN) => {
                self.redrive(&event.record.key, shared);
            }
            _ => {}
        }
    }

    /// Has the watch of a dead letter look for those that are to be sent again.
    pub(super) fn redrive(&self, letter: &Key, shared: &Arc<Shared>) {
        for key in watch::keys_of(&dead_letter::watch_of(letter)) {
            self.at(&key).iter().for_each(|watched| watched.redrive(shared));
        }
    }

    /// Whether an event is about a watch of a part that is held, and happened after that was read.
    pub(super) fn is_news(&self, event: &Event) -> bool {
        self.parts.get(&part_of(event.record.id)).is_some_and(|(_, read_at)| event.revision > *read_at)
    }

    /// The watch that an event is about, if it is that which is here: one that was made anew has the same key.
    fn same(&self, event: &Event) -> Option<&Arc<Watched>> {
        self.at(&event.record.key).filter(|watched| watched.id == event.record.id)
    }

    /// Whether the watch of an event's key was read after the event: of two with the same key, that is the newer.
    fn is_outlived(&self, event: &Event) -> bool {
        let here = self.at(&event.record.key).and_then(|watched| self.parts.get(&watched.hold.part));
        here.is_some_and(|(_, read_at)| event.revision <= *read_at)
    }

    fn at(&self, key: &Key) -> Option<&Arc<Watched>> {
        self.by_number.get(self.numbers.get(key)?)
    }

    fn add(&mut self, record: &Record, shared: &Shared) -> Option<Arc<Watched>> {
        let (hold, _) = *self.parts.get(&part_of(record.id))?;
        if self.at(&record.key).is_some_and(|watched| watched.id == record.id) {
            return None;
        }
        self.remove(&record.key);
        let Some(watch) = watch::stored(record, &shared.agents.schemes(), &shared.keys) else {
            tracing::warn!(watch = %record.id, "no agent here delivers to the endpoint of this watch");
            return None;
        };
        let number = self.next;
        self.next += 1;
        self.trie.insert(&watch.pattern, number);
        self.numbers.insert(record.key.clone(), number);
        let watched = Arc::new(Watched::new(record, hold, watch));
        if watch::is_orphaned(record) {
            watched.collapse();
        }
        watched.note_unopened(shared);
        self.by_number.insert(number, Arc::clone(&watched));
        Some(watched)
    }

    fn remove(&mut self, key: &Key) {
        let Some(number) = self.numbers.remove(key) else { return };
        if let Some(watched) = self.by_number.remove(&number) {
            self.trie.remove(&watched.watch.pattern, &number);
            watched.end();
        }
    }

    /// The watches with a number from `first` on.
    pub(super) fn since(&self, first: usize) -> impl Iterator<Item = &Arc<Watched>> {
        self.by_number.iter().filter(move |(number, _)| **number >= first).map(|(_, watched)| watched)
    }

    /// Those of them that an event is for.
    pub(super) fn matching(&self, message: &Message, first: usize) -> impl Iterator<Item = &Arc<Watched>> {
        let found = self.trie.matches(message.segments()).into_iter().filter(move |number| *number >= first);
        found.filter_map(|number| self.by_number.get(&number)).filter(|watched| watched.may_be_told(message))
    }

    /// How they are doing.
    pub(super) fn census(&self, position: u64) -> Census {
        let mut census = Census::default();
        self.by_number.values().for_each(|watched| watched.count_in(&mut census, position));
        census
    }

    /// Moves the cursors of those for which nothing was up to `position`.
    pub(super) fn move_along(&self, position: u64, cursors: &Cursors) {
        self.by_number.values().filter(|watched| watched.skip_to(position)).for_each(|one| cursors.changed(one));
    }
}
