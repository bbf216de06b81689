//! What Redis says when it will not, in words for whoever has to see to it. They name no address and no value, so
//! clients may read them.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::StoreError;

/// What Redis begins its refusal with, what that is called here, and what to do about it.
const WORDS: [(&str, &str, &str); 14] = [
    (
        "OOM",
        "Redis is out of memory, and takes no writes",
        "nothing was written; reads and deletions go on. Raise maxmemory, keep less of the log (retention), or delete \
         something",
    ),
    (
        "MISCONF",
        "Redis cannot save to its disk, and takes no writes",
        "nothing was written; reads go on. The log of Redis says why it could not save; often its disk is full",
    ),
    (
        "NOREPLICAS",
        "Redis has too few replicas, and takes no writes",
        "nothing was written; reads go on. See min-replicas-to-write of Redis, and whether its replicas run",
    ),
    (
        "READONLY",
        "The Redis is a replica, and takes no writes",
        "nothing was written. After a failover this passes by itself where the store is given by its Sentinels \
         (redis+sentinel://…); else the store's address is to name the primary",
    ),
    (
        "LOADING",
        "Redis is loading its data",
        "nothing was done. It began a short while ago, and works when all of its data is read",
    ),
    ("MASTERDOWN", "The Redis is a replica that has lost its primary", "nothing was done; wait for the failover"),
    ("BUSY", "Redis is busy with a long script", "nothing was done; the log of Redis may say whose it is"),
    (
        "NOAUTH",
        "Redis asks for a password",
        "give it in the store's address (redis://USER:PASSWORD@HOST) or as store_password_file",
    ),
    (
        "WRONGPASS",
        "Redis refuses the user or the password",
        "check those in the store's address or in store_password_file, and that the user is on (ACL GETUSER)",
    ),
    (
        "NOPERM",
        "The user of the store may not do in Redis what Noah needs",
        "examples/noah.toml has the ACL rule; ACL LOG of Redis tells what was refused",
    ),
    (
        "ERR max number of clients",
        "Redis has no room for another connection",
        "raise maxclients of Redis, or see whose connections there are (CLIENT LIST)",
    ),
    ("ERR AUTH", "Redis knows no password, and was given one", "take it out of the store's address, or set one there"),
    (
        "DENIED",
        "Redis takes only connections of its own machine",
        "give it a password; see protected-mode in redis.conf",
    ),
    ("ERR DB index", "Redis has no database of that number", "see `databases` of Redis, and the store's address"),
];

/// What a script says when its user may not run one of its commands.
const SCRIPT_NOPERM: &str = "The user executing the script can't";

/// What Redis says to an event whose revision is not behind those of the log.
const LOG_AHEAD: &str = "The ID specified in XADD is equal or smaller";

/// The refusal of this code.
fn told(code: &str) -> Option<StoreError> {
    let (_, what, hint) = WORDS.into_iter().find(|(known, ..)| *known == code)?;
    Some(StoreError::Unable { what, hint })
}

/// What is said where the connected Redis turns out to be a replica.
pub(super) fn replica() -> StoreError {
    told("READONLY").expect("it is in the table")
}

/// What is said where the user may not run all commands.
pub(super) fn no_permission() -> StoreError {
    told("NOPERM").expect("it is in the table")
}

/// Whether Redis refused the first write of a script, so that nothing was written: behind that it refuses none of these.
pub(super) fn is_before_any_write(error: &StoreError) -> bool {
    let StoreError::Unable { what, .. } = error else { return false };
    let codes = ["OOM", "MISCONF", "NOREPLICAS", "READONLY"];
    WORDS.iter().any(|(code, words, _)| codes.contains(code) && words == what)
}

/// Redis' own words: its code and what follows it.
fn words(error: &RedisError) -> Option<String> {
    let code = error.code()?;
    Some(format!("{code} {}", error.detail().unwrap_or_default()))
}

/// The code of the table that these words begin with. Redis before 7 wraps what a script's command says:
/// `ERR Error running script (call to f_…): @user_script:1: -OOM command not allowed …`
fn code_in(words: &str) -> Option<&'static str> {
    if words.contains(SCRIPT_NOPERM) {
        return Some("NOPERM");
    }
    let inner = words.starts_with("ERR Error running script").then(|| words.split(": -").nth(1)).flatten();
    let begins = |text: &str, code: &str| {
        text.strip_prefix(code).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '.']))
    };
    WORDS.iter().map(|(code, ..)| *code).find(|code| {
        begins(words, code)
            || (code.starts_with("ERR ") && words.starts_with(code))
            || inner.is_some_and(|inner| begins(inner, code))
    })
}

/// Whether another connection may do better: to a new primary, with other rights, or because the store is put right when
/// one is made.
pub(super) fn wants_another(error: &RedisError) -> bool {
    error.is_connection_dropped()
        || error.is_io_error()
        || words(error).is_some_and(|words| {
            is_log_ahead(&words)
                || code_in(&words).is_some_and(|code| ["READONLY", "MASTERDOWN", "NOAUTH", "NOPERM"].contains(&code))
        })
}

/// Whether a commit was stopped in its middle before this one, see `heal.lua`.
fn is_log_ahead(words: &str) -> bool {
    words.contains(LOG_AHEAD)
}

impl From<RedisError> for StoreError {
    /// Redis says `ERR` to what it can never do; its other words (LOADING, READONLY, OOM, …), and those of the
    /// network, name a state that passes. None of them repeats a value.
    fn from(error: RedisError) -> Self {
        if let Some(told) = words(&error).and_then(|words| told(code_in(&words)?)) {
            tracing::debug!(%error, "Redis refuses");
            return told;
        }
        if words(&error).is_some_and(|words| is_log_ahead(&words)) {
            return Self::Unavailable("its log is ahead of its newest revision; that is put right now".to_owned());
        }
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) => Self::Corrupt(error.to_string()),
            // What is said to a password that is wrong, by those that do not begin with WRONGPASS.
            ErrorKind::AuthenticationFailed => told("WRONGPASS").expect("it is in the table"),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_old_and_new_redis_mean_the_same() {
        for (words, code) in [
            ("OOM command not allowed when used memory > 'maxmemory'. script: f00, on @user_script:50.", Some("OOM")),
            (
                "ERR Error running script (call to f_0): @user_script:52: @user_script: 52: -OOM command not allowed",
                Some("OOM"),
            ),
            (
                "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -READONLY You can't write",
                Some("READONLY"),
            ),
            ("ERR The user executing the script can't run this command or subcommand script: f00", Some("NOPERM")),
            ("ERR max number of clients reached", Some("ERR max number of clients")),
            ("ERR DB index is out of range", Some("ERR DB index")),
            ("ERR AUTH <password> called without any password configured", Some("ERR AUTH")),
            ("BUSYKEY Target key name already exists.", None),
            ("ERR wrong number of arguments", None),
            ("WRONGTYPE Operation against a key", None),
        ] {
            assert_eq!(code_in(words), code, "{words}");
        }
    }
}
