//! Receipts: what a poke listener last said of one of its hooks, as the ephemeral `/pokes/HOST/HOOK`; and how far the
//! hooks are with a change.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};

use super::{Cause, List, Name, Pattern, Query, Record, Select, Status, ephemeral, host};

/// What the paths of receipts begin with.
const PREFIX: &str = "/pokes/";

static ALL: LazyLock<Pattern> = LazyLock::new(|| Pattern::parse("//noah/ephemerals/pokes").expect("it is a pattern"));

/// Whether a path is that of a receipt. A run leads to receipts, so they lead to no run unless somebody asks for that.
#[must_use]
pub fn is_one<S: AsRef<str>>(segments: &[S]) -> bool {
    ALL.matches(segments)
}

/// Whether a change at this path is one that hooks with this pattern run for: of receipts only where the pattern is about
/// nothing else.
#[must_use]
pub fn is_heard<S: AsRef<str>>(pattern: &Pattern, segments: &[S]) -> bool {
    pattern.matches(segments) && (!is_one(segments) || ALL.covers(pattern))
}

/// What a hook does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Nothing waits and nothing runs.
    #[default]
    Idle,
    /// A poke waits: for its time, for a lock, or for the next try.
    Pending,
    /// The command runs.
    Running,
}

/// What a listener says of a hook. Keys that are not known here are passed over, and those that are missing are
/// nothing, so that older and newer listeners can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// The name of its host,
    pub host: String,
    /// and its own.
    pub hook: String,
    /// The patterns that it is poked for; none when it takes any poke.
    pub patterns: Vec<String>,
    /// What it does.
    pub state: Activity,
    /// The newest revision that it knows of: that of the poke that waits or runs, or ran last.
    pub revision: Option<u64>,
    /// The highest revision that a clean run began behind.
    pub applied: Option<u64>,
    /// How the last run ended: `changed`, `failed`, …; `None` before the first.
    pub outcome: Option<String>,
    /// Its exit code, if it had one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Its id.
    pub run: Option<String>,
    /// When it began, as RFC 3339 has it.
    pub started: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
    /// The causes of the pokes that it was for.
    pub causes: Vec<String>,
    /// The end of what it printed.
    pub tail: String,
}

/// How far a hook is with a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A clean run began behind it.
    Applied,
    /// A run for it is under way.
    Running,
    /// It waits, or has not come there yet.
    Pending,
    /// The last run for it failed.
    Failed,
    /// Nothing is known of the hook, or its host is down.
    Silent,
}

/// How far one hook is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The host.
    pub host: String,
    /// The hook; `None` when nothing is known of any.
    pub hook: Option<String>,
    /// How far it is.
    pub state: Standing,
    /// The highest revision that it has applied.
    pub applied: Option<u64>,
    /// How its last run ended,
    pub outcome: Option<String>,
    /// which that was,
    pub run: Option<String>,
    /// and when.
    pub ended: Option<String>,
}

/// Which hooks are asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Those of these hosts, each of which must have one; `None` is all hosts that said something.
    pub hosts: Option<Vec<Name>>,
    /// Those of the hosts with this tag, each of which must have one.
    pub tag: Option<Name>,
    /// Those of this name.
    pub hook: Option<Name>,
    /// Those that are poked for something this pattern matches.
    pub pattern: Option<Pattern>,
}

impl Receipt {
    /// What led to it: what the last run was for, and that run.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let run = self.run.as_ref().map(|run| format!("run:{run}"));
        let words: Vec<&str> = self.causes.last().into_iter().chain(&run).map(String::as_str).collect();
        Cause::parse(&words.join(" ")).ok().flatten()
    }

    fn is_poked_for(&self, wanted: &Pattern) -> bool {
        let patterns = self.patterns.iter().filter_map(|text| Pattern::parse(text).ok());
        self.patterns.is_empty() || patterns.into_iter().any(|one| one.covers(wanted) || wanted.covers(&one))
    }

    fn standing(&self, is_down: bool, target: u64) -> Standing {
        let has_come = self.revision >= Some(target);
        match self.state {
            _ if self.applied >= Some(target) => Standing::Applied,
            _ if is_down => Standing::Silent,
            Activity::Running if has_come => Standing::Running,
            _ if has_come && self.is_failed() => Standing::Failed,
            _ => Standing::Pending,
        }
    }

    fn is_failed(&self) -> bool {
        let kept_waiting = ["unchanged", "changed", "reboot", "locked", "disabled"];
        self.outcome.as_deref().is_some_and(|outcome| !kept_waiting.contains(&outcome))
    }
}

impl Scope {
    /// What has to be read: receipts, and hosts.
    #[must_use]
    pub fn queries(&self) -> [Query; 2] {
        let hosts = List::of(Select::all("hosts"));
        let within = self.tag.iter().map(|tag| format!("tags/{}", super::encode_segment(tag.as_str()))).collect();
        let receipts = List::of(Select::under("ephemerals", format!("ephemerals{PREFIX}")));
        [Query::List(receipts), Query::List(List { within, ..hosts })]
    }

    /// How far each hook is with `target`, by what [`Scope::queries`] found, in the order of hosts and hooks.
    #[must_use]
    pub fn progress(&self, receipts: &[Record], hosts: &[Record], target: u64) -> Vec<Progress> {
        let mut of_host: BTreeMap<String, Vec<Receipt>> = BTreeMap::new();
        for receipt in receipts.iter().filter_map(stored).filter(|receipt| self.asks_for(receipt)) {
            of_host.entry(receipt.host.clone()).or_default().push(receipt);
        }
        let down = hosts.iter().filter(|record| host::status(record) == Status::Down.as_str());
        let down: HashSet<Cow<'_, str>> = down.map(|record| record.key.name()).collect();
        let mut names: Vec<String> = match (&self.hosts, &self.tag) {
            (Some(hosts), _) => hosts.iter().map(|name| name.as_str().to_owned()).collect(),
            (None, Some(_)) => hosts.iter().map(|record| record.key.name().into_owned()).collect(),
            (None, None) => of_host.keys().cloned().collect(),
        };
        names.sort();
        names.dedup();
        let mut all = Vec::new();
        for name in names {
            let is_down = down.contains(name.as_str());
            match of_host.remove(&name) {
                None => all.push(Progress::silent(name)),
                Some(found) => all.extend(found.into_iter().map(|receipt| Progress::of(receipt, is_down, target))),
            }
        }
        all
    }

    fn asks_for(&self, receipt: &Receipt) -> bool {
        self.hook.as_ref().is_none_or(|hook| hook.as_str() == receipt.hook)
            && self.pattern.as_ref().is_none_or(|pattern| receipt.is_poked_for(pattern))
    }
}

impl Progress {
    fn silent(host: String) -> Self {
        Self { host, hook: None, state: Standing::Silent, applied: None, outcome: None, run: None, ended: None }
    }

    fn of(receipt: Receipt, is_down: bool, target: u64) -> Self {
        let state = receipt.standing(is_down, target);
        let Receipt { host, hook, applied, outcome, run, ended, .. } = receipt;
        Self { host, hook: Some(hook), state, applied, outcome, run, ended }
    }
}

/// Whether all have come to the end of it; nobody has not.
#[must_use]
pub fn is_converged(progress: &[Progress]) -> bool {
    !progress.is_empty() && progress.iter().all(|one| one.state == Standing::Applied)
}

/// The receipt in an ephemeral; `None` when it is something else. Its path says whose it is, whatever it says itself.
fn stored(record: &Record) -> Option<Receipt> {
    let (host, hook) = ephemeral::path(record).strip_prefix(PREFIX)?.split_once('/')?;
    let receipt: Receipt = serde_json::from_slice(ephemeral::bytes(record)).ok()?;
    Some(Receipt { host: host.to_owned(), hook: hook.to_owned(), ..receipt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_as_far_as_its_receipt_says() {
        let receipt = |state, revision, applied, outcome: Option<&str>| Receipt {
            state,
            revision: Some(revision),
            applied,
            outcome: outcome.map(str::to_owned),
            ..Receipt::default()
        };
        use Activity::{Idle, Pending, Running};
        for (receipt, is_down, standing) in [
            (receipt(Idle, 10, Some(10), Some("changed")), false, Standing::Applied),
            (receipt(Idle, 10, Some(10), Some("changed")), true, Standing::Applied),
            (receipt(Idle, 9, Some(9), Some("changed")), false, Standing::Pending),
            (receipt(Idle, 9, Some(9), Some("changed")), true, Standing::Silent),
            (receipt(Running, 10, Some(9), Some("failed")), false, Standing::Running),
            (receipt(Running, 9, Some(8), Some("changed")), false, Standing::Pending),
            (receipt(Pending, 10, Some(9), Some("failed")), false, Standing::Failed),
            (receipt(Pending, 10, Some(9), Some("locked")), false, Standing::Pending),
            (receipt(Pending, 11, None, None), false, Standing::Pending),
            (receipt(Idle, 10, None, Some("timeout")), false, Standing::Failed),
            (receipt(Idle, 10, None, Some("timeout")), true, Standing::Silent),
        ] {
            assert_eq!(receipt.standing(is_down, 10), standing, "{receipt:?}, down: {is_down}");
        }
    }
}
