use std::fmt;

use super::Error;

/// One segment of a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this word.
    Is(Box<str>),
    /// `*`: any one segment.
    One,
    /// `**`: any number of segments, none too.
    Any,
}

/// `//noah/<primitive>s/<path…>`: matches that path and everything below it, on whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

impl Pattern {
    /// The longest pattern, in bytes.
    pub const MAX_BYTES: usize = 2048;
    /// The most segments a pattern has.
    pub const MAX_SEGMENTS: usize = 64;

    /// Reads a pattern. A slash at the end does not count.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let below = text
            .strip_prefix("//noah")
            .filter(|below| below.is_empty() || below.starts_with('/'))
            .ok_or_else(|| Error::invalid("A pattern starts with //noah, like //noah/hosts/web1"))?;
        if text.len() > Self::MAX_BYTES || text.chars().any(char::is_control) {
            let words = format!("A pattern has at most {} bytes and no control characters", Self::MAX_BYTES);
            return Err(Error::invalid(words));
        }
        let path = below.strip_suffix('/').unwrap_or(below);
        let segments: Box<[Segment]> = path.split('/').skip(1).map(segment).collect();
        if segments.len() > Self::MAX_SEGMENTS {
            return Err(Error::invalid(format!("A pattern has at most {} segments", Self::MAX_SEGMENTS)));
        }
        Ok(Self { text: text.into(), segments })
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is made of, below `//noah`.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether a path of these segments, or something above it, is what this describes.
    #[must_use]
    pub fn matches<S: AsRef<str>>(&self, path: &[S]) -> bool {
        let pattern = &self.segments;
        let (mut at, mut word) = (0, 0);
        // Where the last `**` is tried with one more word than before. An earlier one need not be: whatever it could
        // leave to what follows it, the later one can as well.
        let mut again: Option<(usize, usize)> = None;
        while let Some(segment) = pattern.get(at) {
            let fits = match segment {
                Segment::Any => {
                    again = Some((at + 1, word));
                    at += 1;
                    continue;
                }
                Segment::One => word < path.len(),
                Segment::Is(wanted) => path.get(word).is_some_and(|word| **wanted == *word.as_ref()),
            };
            (at, word) = match (fits, &mut again) {
                (true, _) => (at + 1, word + 1),
                (false, Some((behind, from))) if *from < path.len() => {
                    *from += 1;
                    (*behind, *from)
                }
                (false, _) => return false,
            };
        }
        true
    }

    /// Whether everything that `other` matches is matched by this one too.
    ///
    /// It never says so wrongly; between two patterns with `**` it may miss that one covers the other.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        covers(&self.segments, &other.segments)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segment(word: &str) -> Segment {
    match word {
        "*" => Segment::One,
        "**" => Segment::Any,
        // Names hold no slash in a channel, so one in a name is written as the channel has it.
        word => Segment::Is(super::decode_segment(word).into()),
    }
}

/// Whether `wide`, or a beginning of what it covers, covers `narrow`: a table of the answers for all pairs of
/// remainders, from the last to the first, so that no pattern costs more than the product of the lengths.
fn covers(wide: &[Segment], narrow: &[Segment]) -> bool {
    // Row `w`, column `n`: does wide[w..] cover narrow[n..]? Nothing left of the wide one covers the rest.
    let mut below = vec![true; narrow.len() + 1];
    for segment in wide.iter().rev() {
        let mut row = vec![false; narrow.len() + 1];
        row[narrow.len()] = *segment == Segment::Any && below[narrow.len()];
        for n in (0..narrow.len()).rev() {
            row[n] = match (segment, &narrow[n]) {
                (Segment::Any, _) => below[n] || row[n + 1],
                (_, Segment::Any) => false,
                (Segment::One, _) => below[n + 1],
                (Segment::Is(word), Segment::Is(other)) => word == other && below[n + 1],
                (Segment::Is(_), Segment::One) => false,
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn matches(text: &str, path: &str) -> bool {
        pattern(text).matches(&path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn a_pattern_matches_its_path_and_everything_below() {
        assert!(matches("//noah", "hosts/h1"));
        assert!(matches("//noah/hosts", "hosts/h1"));
        assert!(matches("//noah/hosts/h1", "hosts/h1"));
        assert!(matches("//noah/ephemerals/a", "ephemerals/a/b/c"));
        assert!(matches("//noah/ephemerals/a/", "ephemerals/a"));
        assert!(!matches("//noah/ephemerals/a/b", "ephemerals/a"));
    }

    #[test]
    fn segments_are_compared_whole_and_are_no_regular_expressions() {
        assert!(!matches("//noah/hosts/h1", "hosts/h12"));
        assert!(!matches("//noah/.osts/h1", "hosts/h1"));
        assert!(matches("//noah/[", "["));
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        assert!(matches("//noah/*/web", "hosts/web"));
        assert!(!matches("//noah/*/web", "hosts/a/web"));
        assert!(matches("//noah/ephemerals/**/ready", "ephemerals/ready"));
        assert!(matches("//noah/ephemerals/**/ready", "ephemerals/a/b/ready/now"));
        assert!(!matches("//noah/ephemerals/**/ready", "ephemerals/a/b"));
    }

    #[test]
    fn coverage_follows_what_is_matched() {
        let covers = |wide, narrow| pattern(wide).covers(&pattern(narrow));
        assert!(covers("//noah", "//noah/hosts"));
        assert!(covers("//noah/hosts", "//noah/hosts/h1"));
        assert!(covers("//noah/*/h1", "//noah/hosts/h1/x"));
        assert!(covers("//noah/**/h1", "//noah/hosts/*/h1"));
        assert!(covers("//noah/**", "//noah"));
        assert!(!covers("//noah/hosts/h1", "//noah/hosts"));
        assert!(!covers("//noah/hosts/h1", "//noah/hosts/h12"));
        assert!(!covers("//noah/hosts/h1", "//noah/hosts/*"));
        assert!(!covers("//noah/*", "//noah/**"));
    }

    #[test]
    fn what_is_matched_is_what_covers_the_path_itself() {
        let words = ["a", "b", "*", "**"];
        let all = |depth: u32, letters: usize| {
            (0..=depth).flat_map(move |depth| {
                (0..letters.pow(depth)).map(move |number| {
                    (0..depth).map(|at| words[number / letters.pow(at) % letters]).collect::<Vec<_>>()
                })
            })
        };
        for text in all(5, 4).map(|words| words.iter().fold("//noah".to_owned(), |text, word| text + "/" + word)) {
            let pattern = pattern(&text);
            for path in all(4, 2) {
                let literal: Vec<Segment> = path.iter().map(|word| Segment::Is((*word).into())).collect();
                assert_eq!(pattern.matches(&path), covers(pattern.segments(), &literal), "{text} {path:?}");
            }
        }
    }

    #[test]
    fn what_does_not_start_with_noah_is_refused() {
        for text in ["", "foo", "//n", "/noah/hosts", "//noahs/x", "noah/hosts"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
