use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use crate::primitives::{Pattern, Segment};

/// Patterns, each with a value, found by the paths they match. A look-up costs the path's depth and its matches,
/// and not the number of patterns.
#[derive(Debug)]
pub struct Trie<T>(Node<T>);

#[derive(Debug)]
struct Node<T> {
    /// Nearly always one.
    values: SmallVec<[T; 2]>,
    /// Most nodes are ends: there may be very many of them, so they are kept small.
    below: Option<Box<Below<T>>>,
}

/// What comes next: a word, a `*`, a `**`.
#[derive(Debug)]
struct Below<T> {
    words: HashMap<Box<str>, Node<T>>,
    one: Option<Node<T>>,
    any: Option<Box<Node<T>>>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { values: SmallVec::new(), below: None }
    }
}

impl<T> Default for Below<T> {
    fn default() -> Self {
        Self { words: HashMap::new(), one: None, any: None }
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self(Node::default())
    }
}

impl<T: Clone + Ord> Trie<T> {
    /// Adds a pattern and its value.
    pub fn insert(&mut self, pattern: &Pattern, value: T) {
        let mut node = &mut self.0;
        for segment in pattern.segments() {
            let below = node.below.get_or_insert_default();
            node = match segment {
                Segment::Is(word) => below.words.entry(word.clone()).or_default(),
                Segment::One => below.one.get_or_insert_default(),
                Segment::Any => below.any.get_or_insert_default(),
            };
        }
        node.values.push(value);
    }

    /// Removes what [`Trie::insert`] added.
    pub fn remove(&mut self, pattern: &Pattern, value: &T) {
        self.0.remove(pattern.segments(), value);
    }

    /// The values of all patterns that match a path, each once.
    #[must_use]
    pub fn matches<S: AsRef<str>>(&self, path: &[S]) -> Vec<T> {
        let mut found = Vec::new();
        self.0.collect(path, &mut found, &mut HashSet::new());
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl<T: Clone + Ord> Node<T> {
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.below.is_none()
    }

    fn remove(&mut self, segments: &[Segment], value: &T) {
        let Some((segment, rest)) = segments.split_first() else {
            self.values.retain(|held| held != value);
            return;
        };
        let Some(below) = &mut self.below else { return };
        let child = match segment {
            Segment::Is(word) => below.words.get_mut(word),
            Segment::One => below.one.as_mut(),
            Segment::Any => below.any.as_deref_mut(),
        };
        let Some(child) = child else { return };
        child.remove(rest, value);
        if child.is_empty() {
            match segment {
                Segment::Is(word) => drop(below.words.remove(word)),
                Segment::One => below.one = None,
                Segment::Any => below.any = None,
            }
        }
        if below.words.is_empty() && below.one.is_none() && below.any.is_none() {
            self.below = None;
        }
    }

    /// A pattern matches everything below it, so each node on the way has matched.
    ///
    /// Behind a `**` the same node is reached in many ways with the same rest of the path; `seen` holds those
    /// nodes and how much was left, so that each is gone into once and no pattern can make a look-up explode.
    fn collect<S: AsRef<str>>(&self, path: &[S], found: &mut Vec<T>, seen: &mut HashSet<(*const Self, usize)>) {
        found.extend_from_slice(&self.values);
        let Some(below) = &self.below else { return };
        if let Some(any) = &below.any {
            for skipped in 0..=path.len() {
                let rest = &path[skipped..];
                // Whoever went in here before went on to all that is shorter.
                if !seen.insert((&raw const **any, rest.len())) {
                    break;
                }
                any.collect(rest, found, seen);
            }
        }
        if let Some((word, rest)) = path.split_first() {
            if let Some(child) = below.words.get(word.as_ref()) {
                child.collect(rest, found, seen);
            }
            if let Some(one) = &below.one {
                one.collect(rest, found, seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns() -> impl Strategy<Value = Vec<String>> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("*"), Just("**")];
        let pattern =
            prop::collection::vec(segment, 0..5).prop_map(|segments| format!("//noah/{}", segments.join("/")));
        prop::collection::vec(pattern, 0..12)
    }

    #[test]
    fn many_double_stars_and_a_deep_path_cost_no_more_than_their_product() {
        let mut trie = Trie::default();
        let pattern = format!("//noah/{}", ["**/a"; 30].join("/"));
        trie.insert(&Pattern::parse(&pattern).unwrap(), 1);
        trie.insert(&Pattern::parse(&format!("{pattern}/b")).unwrap(), 2);
        assert_eq!(trie.matches(&vec!["a"; 2000]), [1]);
    }

    proptest! {
        #[test]
        fn it_finds_exactly_the_patterns_that_match(
            patterns in patterns(),
            path in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 0..6),
        ) {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            let mut trie = Trie::default();
            for (number, pattern) in patterns.iter().enumerate() {
                trie.insert(pattern, number);
            }
            let expected: Vec<usize> = (0..patterns.len()).filter(|number| patterns[*number].matches(&path)).collect();
            prop_assert_eq!(trie.matches(&path), expected);
            for (number, pattern) in patterns.iter().enumerate() {
                trie.remove(pattern, &number);
            }
            prop_assert!(trie.0.is_empty());
        }
    }
}
