//! Two patterns, a line each, and paths below them.

use noah::{
    primitives::{Pattern, Segment, encode_segment},
    watches::Trie,
};

const MOST_PATHS: usize = 8;
const MOST_WORDS: usize = 128;

pub fn check(input: &[u8]) {
    let text = super::text(input);
    let mut lines = text.split('\n');
    let patterns: Vec<Pattern> = lines.by_ref().take(2).filter_map(|line| Pattern::parse(line).ok()).collect();
    let words = |line: &str| line.split('/').take(MOST_WORDS).map(str::to_owned).collect::<Vec<_>>();
    let mut paths: Vec<Vec<String>> = lines.take(MOST_PATHS).map(words).collect();
    paths.extend(patterns.iter().flat_map(examples));
    for pattern in &patterns {
        reads_back(pattern);
        assert!(pattern.covers(pattern), "{pattern} covers itself");
        for path in &paths {
            assert_eq!(pattern.matches(path), fits(pattern.segments(), path), "{pattern} and {path:?}");
        }
        for path in examples(pattern) {
            assert!(pattern.matches(&path), "{pattern} is for {path:?}");
        }
    }
    if let [one, other] = &patterns[..] {
        agree(one, other, &paths);
        agree(other, one, &paths);
    }
    is_found(&patterns, &paths);
}

/// What is written anew from what was understood is understood as the same.
fn reads_back(pattern: &Pattern) {
    assert!(pattern.as_str().len() <= Pattern::MAX_BYTES && pattern.segments().len() <= Pattern::MAX_SEGMENTS);
    assert_eq!(Pattern::parse(pattern.as_str()).as_ref(), Ok(pattern));
    let written = pattern.segments().iter().map(|segment| match segment {
        Segment::Is(word) => format!("/{}", encode_segment(word)),
        Segment::One => "/*".to_owned(),
        Segment::Any => "/**".to_owned(),
    });
    // The slash at the end does not count, and keeps one before it that does.
    let written = format!("//noah{}/", written.collect::<String>());
    if let Ok(again) = Pattern::parse(&written) {
        assert_eq!(again.segments(), pattern.segments(), "{pattern} and {written}");
    }
}

/// A pattern covers another only if it matches what the other does; and of a path, exactly if it matches it.
fn agree(wide: &Pattern, narrow: &Pattern, paths: &[Vec<String>]) {
    if wide.covers(narrow) {
        for path in paths {
            assert!(!narrow.matches(path) || wide.matches(path), "{wide} covers {narrow}, and not {path:?}");
        }
    }
    let literal: Option<Vec<&str>> = narrow
        .segments()
        .iter()
        .map(|segment| match segment {
            Segment::Is(word) => Some(&**word),
            Segment::One | Segment::Any => None,
        })
        .collect();
    if let Some(path) = literal {
        assert_eq!(wide.covers(narrow), wide.matches(&path), "{wide} and {path:?}");
    }
}

/// The index of all patterns finds those that match, and no longer one that was removed.
fn is_found(patterns: &[Pattern], paths: &[Vec<String>]) {
    let mut trie = Trie::default();
    for (at, pattern) in patterns.iter().enumerate() {
        trie.insert(pattern, at);
    }
    let matching = |from: usize, path: &[String]| {
        (from..patterns.len()).filter(|at| patterns[*at].matches(path)).collect::<Vec<_>>()
    };
    for path in paths {
        assert_eq!(trie.matches(path), matching(0, path), "{patterns:?} and {path:?}");
    }
    let Some(first) = patterns.first() else { return };
    trie.remove(first, &0);
    for path in paths {
        assert_eq!(trie.matches(path), matching(1, path), "{patterns:?} without the first, and {path:?}");
    }
}

/// Paths that a pattern is for.
pub(super) fn examples(pattern: &Pattern) -> Vec<Vec<String>> {
    ["", "x", "x/y"]
        .iter()
        .map(|any| {
            let words = pattern.segments().iter().flat_map(|segment| match segment {
                Segment::Is(word) => vec![word.to_string()],
                Segment::One => vec!["x".to_owned()],
                Segment::Any => any.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            });
            words.collect()
        })
        .collect()
}

/// The same as [`Pattern::matches`], in another way: word by word, which beginnings of the pattern fit so far.
fn fits(pattern: &[Segment], path: &[String]) -> bool {
    // A `**` may also stand for nothing.
    let skip = |at: &mut Vec<bool>| {
        for n in 0..pattern.len() {
            at[n + 1] |= at[n] && pattern[n] == Segment::Any;
        }
    };
    let mut at = vec![false; pattern.len() + 1];
    at[0] = true;
    skip(&mut at);
    for word in path {
        if at[pattern.len()] {
            return true;
        }
        let mut next = vec![false; pattern.len() + 1];
        for (n, segment) in pattern.iter().enumerate().filter(|(n, _)| at[*n]) {
            match segment {
                Segment::Any => next[n] = true,
                Segment::One => next[n + 1] = true,
                Segment::Is(wanted) => next[n + 1] |= **wanted == **word,
            }
        }
        at = next;
        skip(&mut at);
    }
    at[pattern.len()]
}
