//! The file of `noah poke`.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use noah::{
    poke::{
        config::{Config, resolve_all},
        event::VARIABLES,
        hook::Hook,
        pending::millis_of,
    },
    primitives::millis,
    rate::Limiter,
};

use super::SECRET;

pub fn check(input: &[u8]) {
    let text = super::text(input);
    let config = match Config::parse(&text) {
        Ok(config) => config,
        Err(problem) => {
            let words = problem.to_string();
            assert!(words.starts_with("line "), "{words}");
            hides_secrets(&text, &words);
            return;
        }
    };
    let Config { listener, mut trust, mut hooks, .. } = config;
    // What is on this machine is not what this is about, and some of its files never end.
    (trust.secrets_file, trust.tokens_file) = (None, None);
    hooks.iter_mut().for_each(|hook| hook.user = None);
    match trust.build() {
        Ok(trust) => drop(format!("{trust:?}")),
        Err(words) => hides_secrets(&text, &words),
    }
    if let Some(rate) = listener.rate {
        let limiter = Limiter::new(rate, listener.burst);
        let now = Instant::now();
        for peer in 0..3_u8 {
            assert_eq!(limiter.take(IpAddr::from([192, 0, 2, peer]), now), Ok(()), "the first is always let in");
        }
    }
    if let Ok(hooks) = resolve_all(hooks) {
        assert!(!hooks.is_empty());
        hooks.iter().for_each(can_be_run);
    }
}

/// A secret where it belongs is in no message about anything.
fn hides_secrets(text: &str, words: &str) {
    let is_elsewhere = text.lines().any(|line| {
        let is_place = ["secrets = [\"", "tokens = [\""].iter().any(|place| line.starts_with(place));
        line.contains(SECRET) && !(is_place && line.ends_with("\"]") && line.matches('"').count() == 2)
    });
    let is_text = !text.contains("'''") && !text.contains("\"\"\"") && text.lines().any(|line| line == "[trust]");
    assert!(is_elsewhere || !is_text || !words.contains(SECRET), "{words}");
}

/// Nothing that a hook says makes its worker fail later.
fn can_be_run(hook: &Hook) {
    assert_eq!(hook.check().map_err(|problem| problem.to_string()), Ok(()));
    for failures in [0, 1, 2, 31, 32, 33, u32::MAX] {
        let longest = hook.retry.pause(failures, 1.0).unwrap_or_default();
        assert!(hook.retry.pause(failures, 0.0).unwrap_or_default() <= longest);
        is_time(longest);
    }
    assert!(hook.env.keys().all(|name| !VARIABLES.contains(&name.as_str())));
    let times = [hook.kill_after, hook.min_interval, hook.splay, hook.quiet_for, hook.at_most];
    let more = [hook.timeout, hook.max_age, hook.every];
    times.into_iter().chain(more.into_iter().flatten()).for_each(is_time);
    let _ = hook.profile.advice(&hook.argv);
}

/// It can be added to the time that it is, by either clock, and more than once.
fn is_time(time: Duration) {
    assert!(Instant::now().checked_add(time).and_then(|end| end.checked_add(time)).is_some(), "{time:?}");
    assert!(
        millis().checked_add(millis_of(time)).and_then(|end| end.checked_add(millis_of(time))).is_some(),
        "{time:?}"
    );
}
