//! A hook: what the node's owner says is to run, and when. Nothing of it can be changed by a request.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use super::{account::Account, config::Problem, event::VARIABLES, profile::Profile};
use crate::{
    poke::event::Event,
    primitives::{Pattern, receipt},
};

/// The longest name of a hook, in bytes.
const MAX_NAME: usize = 64;

/// The least time between the starts of two runs, unless told otherwise: so that a thousand changes within a second
/// make at most two runs of a command that is quick, too.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How long a command that was told to end may take to do so, unless told otherwise, before it is killed.
pub const KILL_AFTER: Duration = Duration::from_secs(10);

/// One command, and how it is run.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its name, in URLs and receipts.
    pub name: String,
    /// The program and its arguments; never empty.
    pub argv: Vec<OsString>,
    /// The channels it is for; none when it is for all.
    pub patterns: Vec<Pattern>,
    /// What its exit codes mean.
    pub profile: Profile,
    /// How long a run may take; `None` is as long as it likes.
    pub timeout: Option<Duration>,
    /// How long a run that was told to end may take to do so.
    pub kill_after: Duration,
    /// Where it runs; `None` is where the listener does.
    pub cwd: Option<PathBuf>,
    /// As whom it runs; `None` is as the listener.
    pub user: Option<Account>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// The least time between the starts of two runs.
    pub min_interval: Duration,
    /// At most so much later than it could, by chance, so that not all nodes run at once.
    pub splay: Duration,
    /// A run begins once no poke came for this long,
    pub quiet_for: Duration,
    /// but no later than this after the first.
    pub at_most: Duration,
    /// Pokes that wait for longer are dropped.
    pub max_age: Option<Duration>,
    /// Whether a run that did not come out clean is tried again.
    pub retry: Retry,
    /// Hooks of the same lane do not run at the same time.
    pub lane: Option<String>,
    /// It pokes itself when it has not run for this long.
    pub every: Option<Duration>,
}

/// Whether a run that did not come out clean is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not until the next poke.
    Never,
    /// Until it does: after `first`, and then twice as long each time, up to `max`.
    UntilClean {
        /// The pause after the first failure.
        first: Duration,
        /// The longest pause.
        max: Duration,
    },
}

impl Hook {
    /// A hook of this command, with the defaults for everything else.
    #[must_use]
    pub fn new(name: &str, argv: Vec<OsString>) -> Self {
        Self {
            name: name.to_owned(),
            argv,
            patterns: Vec::new(),
            profile: Profile::default(),
            timeout: None,
            kill_after: KILL_AFTER,
            cwd: None,
            user: None,
            env: BTreeMap::new(),
            min_interval: MIN_INTERVAL,
            splay: Duration::ZERO,
            quiet_for: Duration::ZERO,
            at_most: Duration::ZERO,
            max_age: None,
            retry: Retry::Never,
            lane: None,
            every: None,
        }
    }

    /// Whether a poke that names no hook is for this one. A signal says nothing of a channel, so it is for the hooks
    /// that take any; a gap may hide anything, so it is for all.
    #[must_use]
    pub fn is_for(&self, event: &Event) -> bool {
        (self.patterns.is_empty() || event.segments().is_some()) && self.lets_pass(event)
    }

    /// Whether a poke that names this hook is let through: one without a channel is. Receipts are only for a pattern that
    /// is about receipts, or each run would lead to the next.
    #[must_use]
    pub fn lets_pass(&self, event: &Event) -> bool {
        let Some(segments) = event.segments().filter(|_| !event.is_gap()) else { return true };
        if self.patterns.is_empty() {
            return !receipt::is_one(&segments);
        }
        self.patterns.iter().any(|pattern| receipt::is_heard(pattern, &segments))
    }

    /// Looks for what cannot work, or would be a mistake.
    pub fn check(&self) -> Result<(), Problem> {
        let refuse = |words: &str| Err(Problem::hook(&self.name, words));
        let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(named) {
            return refuse("a name has 1 to 64 letters, digits, dots, dashes and underscores");
        }
        if self.argv.first().is_none_or(|program| program.is_empty()) {
            return refuse("argv is missing: the program and its arguments, as a list of words");
        }
        let broken = |text: &str| text.is_empty() || text.contains(['=', '\0']);
        if let Some(name) = self.env.keys().find(|name| broken(name)) {
            return refuse(&format!("env: {name:?} cannot be the name of a variable"));
        }
        if let Some(name) = self.env.keys().find(|name| VARIABLES.contains(&name.as_str())) {
            return refuse(&format!("env: {name} is said by the listener itself; give the variable another name"));
        }
        if self.quiet_for > self.at_most {
            return refuse("at_most is shorter than quiet_for; it is the longest that quiet is waited for");
        }
        if let Retry::UntilClean { first, max } = self.retry
            && (first.is_zero() || max < first)
        {
            return refuse("retry_first is above 0s, and at most retry_max");
        }
        if [self.every, self.timeout, self.max_age].into_iter().flatten().any(|time| time.is_zero()) {
            return refuse("every, timeout and max_age are above 0s; leave them out for none");
        }
        Ok(())
    }
}

impl Retry {
    /// How long to wait after so many failures, `chance` being between 0 and 1; `None` when there is no other try.
    #[must_use]
    pub fn pause(self, failures: u32, chance: f64) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::UntilClean { first, max } => Some(doubled(first, max, failures, chance)),
        }
    }
}

/// `first`, twice as long each further time up to `max`, and a fifth of it more or less.
#[must_use]
pub fn doubled(first: Duration, max: Duration, times: u32, chance: f64) -> Duration {
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(max).mul_f64(0.8 + 0.4 * chance)
}

#[cfg(test)]
mod tests {
    use actix_web::web::Bytes;

    use super::*;

    fn hook(patterns: &[&str]) -> Hook {
        let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        Hook { patterns, ..Hook::new("chef", vec!["true".into()]) }
    }

    #[test]
    fn a_pattern_lets_through_what_it_matches_and_gaps() {
        let event = |body: &'static str| Event::parse(Bytes::from_static(body.as_bytes()));
        let (one, all) = (hook(&["//noah/hosts", "//noah/ephemerals/a%2Fb"]), hook(&[]));
        let of_receipts = hook(&["//noah/ephemerals/pokes/web1"]);
        let receipt = event(r#"{"pubcategory":"//noah/ephemerals/pokes/web1/chef"}"#);
        assert!(!all.lets_pass(&receipt) && !hook(&["//noah/ephemerals"]).is_for(&receipt), "it would poke itself");
        assert!(of_receipts.is_for(&receipt));
        for (body, is_for, passes) in [
            (r#"{"pubcategory":"//noah/hosts/h1"}"#, true, true),
            (r#"{"pubcategory":"//noah/ephemerals/a%2Fb/c"}"#, true, true),
            (r#"{"pubcategory":"//noah/services/h1"}"#, false, false),
            (r#"{"pubcategory":"//noah/services","action":"gap"}"#, true, true),
            ("a signal", false, true),
            (r#"{"pubcategory":"elsewhere"}"#, false, true),
        ] {
            assert_eq!(one.is_for(&event(body)), is_for, "{body}");
            assert_eq!(one.lets_pass(&event(body)), passes, "{body}");
            assert!(all.is_for(&event(body)) && all.lets_pass(&event(body)), "{body}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::UntilClean { first: Duration::from_secs(10), max: Duration::from_secs(60) };
        let pauses: Vec<u64> = [1, 2, 3, 4, 40].iter().map(|n| retry.pause(*n, 0.5).unwrap().as_secs()).collect();
        assert_eq!(pauses, [10, 20, 40, 60, 60]);
        assert_eq!(retry.pause(1, 0.0), Some(Duration::from_secs(8)));
        assert_eq!(Retry::Never.pause(1, 0.5), None);
    }

    #[test]
    fn what_would_be_a_mistake_is_refused() {
        let problem = |change: &dyn Fn(&mut Hook)| {
            let mut hook = hook(&[]);
            change(&mut hook);
            hook.check().err().map(|problem| problem.to_string())
        };
        assert_eq!(problem(&|_| {}), None);
        type Change<'a> = (&'a str, &'a dyn Fn(&mut Hook));
        let refused: [Change<'_>; 7] = [
            ("name", &|hook| hook.name = "a/b".to_owned()),
            ("argv", &|hook| hook.argv.clear()),
            ("NOAH_CAUSE", &|hook| drop(hook.env.insert("NOAH_CAUSE".to_owned(), String::new()))),
            ("at_most", &|hook| hook.quiet_for = Duration::from_secs(1)),
            ("retry_max", &|hook| {
                hook.retry = Retry::UntilClean { first: Duration::from_secs(2), max: Duration::from_secs(1) };
            }),
            ("every", &|hook| hook.every = Some(Duration::ZERO)),
            ("max_age", &|hook| hook.max_age = Some(Duration::ZERO)),
        ];
        for (word, change) in refused {
            assert!(problem(change).is_some_and(|words| words.contains(word)), "{word}");
        }
    }
}
