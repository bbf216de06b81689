//! The file of `noah serve`. A line of it that begins with `#NOAH_` is a variable of the environment instead.

use std::{cell::RefCell, ffi::OsString, fs, time::Duration};

use noah::{
    primitives::Policy,
    settings::{Settings, Sources, shown_url},
};
use tempfile::NamedTempFile;
use url::Url;

use super::SECRET;

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(file());
}

/// In memory, where the machine has such a place.
fn file() -> NamedTempFile {
    NamedTempFile::new_in("/dev/shm").or_else(|_| NamedTempFile::new()).expect("there is a place for files")
}

pub fn check(input: &[u8]) {
    FILE.with_borrow(|file| {
        fs::write(file.path(), input).expect("it can be written");
        let text = super::text(input);
        let variable = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix('#')?.strip_prefix(name)?.strip_prefix('='));
            value.map(OsString::from)
        };
        let path = file.path().to_owned();
        let sources = Sources { flags: Vec::new(), port: None, file: Some(path), variable: &variable };
        match Settings::load(&sources) {
            Ok(settings) => are_sound(&settings),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        for line in text.lines() {
            hides_password(line);
        }
    });
}

/// What is taken can be worked with.
fn are_sound(settings: &Settings) {
    let Settings { delivery, retention, .. } = settings;
    for policy in [&settings.access.loopback, &settings.access.anonymous] {
        let shown = serde_json::to_value(policy).expect("it is text");
        assert_eq!(Policy::from_json(&shown).as_ref(), Ok(policy), "{shown}");
    }
    assert!(settings.ephemeral_max_bytes > 0 && settings.body_max_bytes > 0);
    assert!(delivery.connect_timeout <= delivery.timeout && delivery.timeout > Duration::ZERO);
    assert!(delivery.retry_first <= delivery.retry_max && delivery.retry_max <= delivery.give_up_after);
    assert!(delivery.concurrency_per_host <= delivery.concurrency && delivery.concurrency > 0);
    assert!((0.0..=1.0).contains(&delivery.jitter));
    assert!(retention.events > 0 && retention.age > Duration::ZERO);
    // Whatever is added to a time that is near ours.
    let times = [delivery.give_up_after, delivery.timeout, retention.age, settings.request_timeout];
    assert!(times.iter().all(|time| i64::try_from(time.as_millis()).is_ok_and(|millis| millis < i64::MAX / 4)));
    let _ = settings.agent_options();
    for rule in settings.egress.allow.iter().chain(&settings.egress.deny) {
        assert_eq!(noah::agents::egress::Rule::parse(&rule.to_string()).as_ref(), Some(rule));
    }
}

/// A password in the URL of the store is in no message, wherever else it goes wrong.
fn hides_password(line: &str) {
    let value = line.split_once('=').map_or(line, |(_, value)| value).trim().trim_matches('"');
    let Some((before, behind)) = value.rsplit_once('@') else { return };
    let is_secret = before.starts_with("redis") && before.contains(&format!(":{SECRET}"));
    let is_host = Url::parse(value).is_ok_and(|url| url.host_str().is_some_and(|host| host.contains(SECRET)))
        || Url::parse(value).is_ok_and(|url| url.path().contains(SECRET));
    if !is_secret || behind.contains(SECRET) || is_host || value.contains('#') {
        return;
    }
    assert!(!shown_url(value).contains(SECRET), "{}", shown_url(value));
    match Settings::with(&[("store", value)]) {
        Ok(settings) => {
            let shown = format!("{settings:?}");
            assert!(!shown.contains(SECRET), "{shown}");
        }
        Err(error) => assert!(!error.to_string().contains(SECRET), "{error}"),
    }
}
