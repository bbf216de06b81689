use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{
    poke::{
        config::{HookConfig, OneOrMany, OsWord, RetryWord},
        profile::Profile,
    },
    settings::parse_duration,
};

/// The one hook of the command line: the same options as in a file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The command")]
pub struct HookArgs {
    /// Its name, in URLs and receipts
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,
    /// The channels it is for, like //noah/hosts/web1; without this, it runs for any poke
    #[arg(long, value_name = "PATTERN", requires = "argv")]
    pattern: Vec<String>,
    /// What its exit codes mean: exit, chef, puppet or salt
    #[arg(long, value_name = "PROFILE", requires = "argv")]
    profile: Option<Profile>,
    /// How long a run may take
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    timeout: Option<Duration>,
    /// How long a run that was told to end may take to do so [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    kill_after: Option<Duration>,
    /// Where it runs
    #[arg(long, value_name = "DIRECTORY", requires = "argv")]
    cwd: Option<PathBuf>,
    /// As whom it runs
    #[arg(long, value_name = "USER", requires = "argv")]
    user: Option<String>,
    /// The least time between the starts of two runs [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    min_interval: Option<Duration>,
    /// By chance up to so much later, so that not all nodes run at once
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    splay: Option<Duration>,
    /// A run begins once no poke came for this long,
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    quiet_for: Option<Duration>,
    /// but no later than this after the first [default: ten times --quiet-for]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "quiet_for")]
    at_most: Option<Duration>,
    /// Pokes that are older than this and have not led to a clean run are dropped
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    max_age: Option<Duration>,
    /// Whether a run that is not clean is tried again: never, or until-clean
    #[arg(long, value_name = "WHEN", value_parser = RetryWord::parse, requires = "argv")]
    retry: Option<RetryWord>,
    /// The pause after the first failure; it doubles from there [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "retry")]
    retry_first: Option<Duration>,
    /// The longest pause [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "retry")]
    retry_max: Option<Duration>,
    /// Poke itself when it has not run for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "argv")]
    every: Option<Duration>,
    /// Hooks of the same lane do not run at the same time
    #[arg(long, value_name = "LANE", requires = "argv")]
    lane: Option<String>,
    /// The command and its arguments, after --
    #[arg(last = true, value_name = "CMD")]
    argv: Vec<OsString>,
}

impl HookArgs {
    /// The hook, if there is a command.
    pub fn config(self) -> Option<HookConfig> {
        if self.argv.is_empty() {
            return None;
        }
        Some(HookConfig {
            name: self.name,
            argv: self.argv.into_iter().map(OsWord).collect(),
            pattern: (!self.pattern.is_empty()).then_some(OneOrMany::Many(self.pattern)),
            profile: self.profile,
            timeout: self.timeout,
            kill_after: self.kill_after,
            cwd: self.cwd,
            user: self.user,
            min_interval: self.min_interval,
            splay: self.splay,
            quiet_for: self.quiet_for,
            at_most: self.at_most,
            max_age: self.max_age,
            retry: self.retry,
            retry_first: self.retry_first,
            retry_max: self.retry_max,
            lane: self.lane,
            every: self.every,
            ..HookConfig::default()
        })
    }
}
