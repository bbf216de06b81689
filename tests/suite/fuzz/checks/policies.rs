//! The rules of a policy, a line each up to an empty one, and paths, a line each.

use noah::primitives::{Pattern, Policy, Right, Rule};
use serde_json::Value;

const MOST_PATHS: usize = 8;
const MOST_WORDS: usize = 64;

pub fn check(input: &[u8]) {
    let text = super::text(input);
    let (rules, paths) = text.split_once("\n\n").unwrap_or((&text, ""));
    let lines: Vec<&str> = rules.split('\n').filter(|line| Rule::parse(line).is_ok()).collect();
    for line in &lines {
        let rule = Rule::parse(line).expect("it was just read");
        assert_eq!(Rule::parse(&rule.to_string()).as_ref(), Ok(&rule), "{line}");
    }
    let Ok(policy) = Policy::parse(&lines) else { return assert!(lines.len() > Policy::MOST_RULES) };
    let shown = serde_json::to_value(&policy).expect("it is text");
    assert_eq!(Policy::from_json(&shown).as_ref(), Ok(&policy), "{shown}");
    let texts = Value::from(policy.rules().iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(Policy::from_json(&texts).as_ref(), Ok(&policy), "{texts}");
    for path in paths.split('\n').take(MOST_PATHS) {
        let words: Vec<&str> = path.split('/').take(MOST_WORDS).collect();
        for right in Right::ALL {
            is_allowed_rightly(&policy, right, &words);
        }
        if let Ok(pattern) = Pattern::parse(path) {
            covers_rightly(&policy, &pattern);
        }
    }
    gives_less_with_less(&policy, &lines, paths);
}

/// The same as [`Policy::allows`], by the rules as they are shown.
fn is_allowed_rightly(policy: &Policy, right: Right, path: &[&str]) {
    let rules: Vec<String> = policy.rules().iter().map(ToString::to_string).collect();
    let gives = |rule: &str, right: Right| {
        let (words, pattern) = rule.split_once('=').expect("a rule has one");
        let pattern = Pattern::parse(pattern).expect("it was read before");
        let is_everything = pattern.matches::<&str>(&[]);
        let has = words.split(',').any(|word| match word {
            "all" => is_everything || right != Right::Admin,
            word => word == right.as_str(),
        });
        (has && pattern.matches(path), has && is_everything)
    };
    let is_admin = rules.iter().any(|rule| gives(rule, Right::Admin).1);
    let allowed =
        if path.first() == Some(&"tokens") { is_admin } else { rules.iter().any(|rule| gives(rule, right).0) };
    assert_eq!(policy.allows(right, path), allowed, "{rules:?}, {right}, {path:?}");
    assert_eq!(policy.is_admin(), is_admin, "{rules:?}");
    assert_eq!(policy.everywhere(right), rules.iter().any(|rule| gives(rule, right).1), "{rules:?}, {right}");
    assert!(policy.some(right) || !policy.allows(right, path), "{rules:?}, {right}");
}

/// Who may do something to all that a pattern is for may do it to each.
fn covers_rightly(policy: &Policy, pattern: &Pattern) {
    let paths = super::patterns::examples(pattern);
    for right in Right::ALL.into_iter().filter(|right| policy.covers(*right, pattern)) {
        for path in paths.iter().filter(|path| path.first().is_none_or(|first| first != "tokens")) {
            assert!(policy.allows(right, path), "{right} on {pattern}, and not on {path:?}");
        }
    }
}

/// A policy that lacks a rule allows nothing that it did not with it.
fn gives_less_with_less(policy: &Policy, lines: &[&str], paths: &str) {
    let Some((_, rest)) = lines.split_first() else { return };
    let less = Policy::parse(rest).expect("each is right");
    for path in paths.split('\n').take(MOST_PATHS) {
        let words: Vec<&str> = path.split('/').take(MOST_WORDS).collect();
        for right in Right::ALL {
            assert!(!less.allows(right, &words) || policy.allows(right, &words), "{right} on {path}");
        }
    }
}
