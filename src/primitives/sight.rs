//! What a policy lets somebody see: of lists, of the log, and of what watches are told.

use std::collections::HashSet;

use super::{Collection, Policy, Reading, Record, Right, watch};

impl Policy {
    /// Whether all lists are shown whole, so that nothing needs to be looked at one by one.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        // Others are not shown what is in the endpoints of watches.
        self.is_admin()
    }

    /// Whether an event whose record is at a path may be told ([`Record::segments`]).
    ///
    /// A dead letter holds an event of whatever its watch is about, so it takes `read` on all of that as well.
    #[must_use]
    pub fn hears<S: AsRef<str>>(&self, path: &[S]) -> bool {
        if self.is_admin() {
            return true;
        }
        let kind = path.first().map(AsRef::as_ref);
        // A watch's name holds its endpoint, and that of a dead letter the name of its watch.
        if matches!(kind, Some("watchers" | "dead-letters"))
            && path.get(1).is_some_and(|name| holds_password(name.as_ref()))
        {
            return false;
        }
        let is_letter = path.first().is_some_and(|kind| kind.as_ref() == Collection::DeadLetters.as_str());
        self.allows(Right::Read, path)
            && (!is_letter || path.get(1).is_some_and(|name| self.covers_watch(Right::Read, name.as_ref())))
    }

    /// Whether a record may be shown in a list: a watch to those who may have such a one (one whose endpoint holds a
    /// password only to those who may do everything), a place in the queue of a lock
    /// also to those who may take the lock, and anything else to those who may read it.
    #[must_use]
    pub fn sees(&self, record: &Record) -> bool {
        match record.key.collection() {
            Collection::Watches => {
                let may = |pattern| self.covers(Right::Watch, &pattern);
                watch::pattern_at(&record.key).is_some_and(may)
                    && (self.is_admin() || !watch::holds_password(&record.key))
            }
            Collection::Locks => {
                let path = record.segments();
                [Right::Read, Right::Lock].into_iter().any(|right| self.allows(right, &path))
            }
            _ => self.hears(&record.segments()),
        }
    }

    /// Leaves of what was read only what may be seen. A tag or a link is there for those who see something of it.
    pub fn hide_from(&self, reading: &mut Reading) {
        if self.sees_all() {
            return;
        }
        let is_group = |record: &Record| matches!(record.key.collection(), Collection::Tags | Collection::Links);
        for answer in &mut reading.answers {
            answer.records.retain(|record| is_group(record) || self.sees(record));
        }
        let shown = reading.shown().into_iter().filter(|record| !is_group(record));
        let groups: HashSet<String> = shown.flat_map(|record| record.indexes.iter().cloned()).collect();
        for answer in &mut reading.answers {
            answer.records.retain(|record| !is_group(record) || groups.contains(record.key.as_str()));
        }
    }

    /// Whether a right is there on all that the watch of a name is about, whichever of those that the name may stand for.
    fn covers_watch(&self, right: Right, name: &str) -> bool {
        let patterns = watch::patterns_of(name);
        !patterns.is_empty() && patterns.iter().all(|pattern| self.covers(right, pattern))
    }
}

fn holds_password(name: &str) -> bool {
    watch::keys_of(name).iter().any(watch::holds_password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::{Answer, Key};

    fn policy(rules: &[&str]) -> Policy {
        Policy::parse(rules).unwrap()
    }

    fn record(key: Key, indexes: &[&str]) -> Record {
        Record {
            key,
            id: uuid::Uuid::nil(),
            revision: 1,
            created_at: 0,
            updated_at: 0,
            cursor: None,
            notes: Vec::new(),
            lease: None,
            fields: Default::default(),
            indexes: indexes.iter().map(|index| (*index).to_owned()).collect(),
        }
    }

    fn at(text: &str) -> Record {
        record(Key::stored(text).unwrap(), &[])
    }

    #[test]
    fn a_dead_letter_is_seen_by_those_who_may_read_what_its_watch_is_about() {
        let watch = Key::watch("//noah/hosts", "http://h/");
        let letter = record(Key::dead_letter(&watch::name_of(&watch), 7), &[]);
        assert!(policy(&["read=//noah"]).sees(&letter));
        assert!(policy(&["read=//noah/dead-letters", "read=//noah/hosts"]).sees(&letter));
        assert!(!policy(&["read=//noah/dead-letters", "read=//noah/hosts/web1"]).sees(&letter));
        assert!(!policy(&["read=//noah/hosts"]).sees(&letter));
        assert!(!policy(&["read=//noah/dead-letters"]).hears(&["dead-letters", "no name", "7"]));
    }

    #[test]
    fn a_watch_is_seen_by_those_who_may_have_it() {
        let watch = record(Key::watch("//noah/hosts/web", "http://h/"), &[]);
        assert!(policy(&["watch=//noah/hosts"]).sees(&watch));
        assert!(!policy(&["read=//noah", "watch=//noah/hosts/web/1"]).sees(&watch));
        let ticket = at("locks/l/0e8a");
        assert!(policy(&["lock=//noah/locks/l"]).sees(&ticket) && policy(&["read=//noah/locks"]).sees(&ticket));
        assert!(!policy(&["lock=//noah/locks/m"]).sees(&ticket));
    }

    #[test]
    fn tokens_are_seen_by_admins_only() {
        for (rule, seen) in [("read,watch=//noah", false), ("admin=//noah", true), ("read=//noah/tokens", false)] {
            assert_eq!(policy(&[rule]).sees(&at("tokens/a")), seen, "{rule}");
            assert_eq!(policy(&[rule]).hears(&["tokens", "a"]), seen, "{rule}");
        }
    }

    #[test]
    fn a_tag_is_there_for_those_who_see_what_carries_it() {
        let carrier = |key: &str| record(Key::stored(key).unwrap(), &["tags/t"]);
        let reading = || {
            let tags = Answer { records: vec![at("tags/t"), at("tags/u")], count: 0 };
            Reading {
                revision: 1,
                answers: vec![tags, Answer { records: vec![carrier("hosts/a"), carrier("hosts/b")], count: 0 }],
            }
        };
        let left = |rule: &str| {
            let mut reading = reading();
            policy(&[rule]).hide_from(&mut reading);
            reading.shown().iter().map(|record| record.key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(left("read=//noah/hosts/b"), ["tags/t", "hosts/b"]);
        assert!(left("read=//noah/tags").is_empty());
        assert_eq!(left("all=//noah").len(), 4);
    }
}
