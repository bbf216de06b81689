use std::collections::BTreeMap;

use regex::bytes::Regex;

use super::super::outcome::Outcome;

/// What a program's exit codes and words mean.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Looked at first, in this order.
    pub(super) rules: Vec<Rule>,
    pub(super) codes: BTreeMap<i32, Outcome>,
    /// What any other exit code means.
    pub(super) otherwise: Outcome,
}

/// What certain words at the end of the output mean.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) pattern: Regex,
    pub(super) outcome: Outcome,
    /// With which exit codes; none is with any.
    pub(super) codes: Vec<i32>,
}

impl Table {
    /// What the program said of itself, if it is something known.
    pub(super) fn said(&self, code: i32, tail: &[u8]) -> Option<Outcome> {
        let applies = |rule: &&Rule| rule.codes.is_empty() || rule.codes.contains(&code);
        self.rules.iter().filter(applies).find(|rule| rule.pattern.is_match(tail)).map(|rule| rule.outcome)
    }

    /// What the exit code alone means.
    pub(super) fn outcome(&self, code: i32) -> Outcome {
        self.codes.get(&code).copied().unwrap_or(self.otherwise)
    }
}
