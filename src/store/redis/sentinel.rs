//! Asking Sentinels which Redis is the primary.
//!
//! All of them are asked, and whoever knows of the newest election is believed: one that was cut off from the others
//! goes on naming the primary of before. The crate's own client asks one after the other, believes the first, and is
//! not asked again while a connection lasts; but a primary that was cut off keeps its connections.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{FromRedisValue, RedisConnectionInfo, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::sync::Mutex;

use super::{
    Settings, StoreError,
    address::Node,
    door::{self, Door},
};

/// How long a Sentinel may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How often they are asked while all seems well.
const EVERY: Duration = Duration::from_secs(1);

/// The Sentinels of a store, with the connections to them.
pub(super) struct Sentinels {
    asked: Vec<(Node, Mutex<Option<MultiplexedConnection>>)>,
    name: String,
    tls: bool,
    settings: Settings,
}

/// What one of them says: the primary, and the election that made it one.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    primary: Node,
    epoch: u64,
}

impl Sentinels {
    pub(super) fn new(asked: Vec<Node>, name: String, tls: bool, settings: Settings) -> Self {
        Self { asked: asked.into_iter().map(|node| (node, Mutex::default())).collect(), name, tls, settings }
    }

    /// The primary, as those say it who know of the newest election.
    pub(super) async fn primary(&self) -> Result<Node, StoreError> {
        newest(join_all(self.asked.iter().map(|(node, connection)| self.ask(node, connection))).await)
    }

    /// Waits until the primary is another one than this.
    pub(super) async fn moved_from(&self, primary: &Node) -> Node {
        loop {
            tokio::time::sleep(EVERY).await;
            // When none of them answers, nothing is known that would be better than what there is.
            if let Ok(now) = self.primary().await
                && now != *primary
            {
                return now;
            }
        }
    }

    async fn ask(&self, node: &Node, kept: &Mutex<Option<MultiplexedConnection>>) -> Result<Word, StoreError> {
        let mut kept = kept.lock().await;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect(node).await?,
        };
        let mut both = redis::pipe();
        // The first is the new primary from its promotion on, when the second does not tell of it yet; both tell
        // of the election then.
        both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        both.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        let answers: Result<Vec<RedisResult<Value>>, _> = both.ignore_errors().query_async(&mut connection).await;
        let mut answers = answers.map_err(unable)?.into_iter();
        *kept = Some(connection);
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil)).map_err(unable);
        let (primary, told) = (next()?, next()?);
        let primary: Option<Node> = FromRedisValue::from_redis_value(primary).map_err(|error| unable(error.into()))?;
        let epoch = field(&told, "config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        Ok(Word { primary: primary.ok_or(UNKNOWN)?, epoch })
    }

    async fn connect(&self, node: &Node) -> Result<MultiplexedConnection, StoreError> {
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = &self.settings.sentinel_user {
            login = login.set_username(user);
        }
        let file = self.settings.sentinel_password_file.as_deref();
        let door = Door::of(door::at(node, self.tls, login)?, file, &self.settings).await?;
        door.enter(ANSWER, ANSWER).await.map_err(unable)
    }
}

/// What those say who know of the newest election; or, when nobody says anything, why.
fn newest(words: Vec<Result<Word, StoreError>>) -> Result<Node, StoreError> {
    let mut newest: Option<Word> = None;
    let mut failure = None;
    for word in words {
        match word {
            Ok(word) if newest.as_ref().is_none_or(|newest| word.epoch > newest.epoch) => newest = Some(word),
            Ok(_) => {}
            // That one refuses is more than that another one cannot be reached.
            Err(error @ StoreError::Unable { .. }) => failure = Some(error),
            Err(error) => _ = failure.get_or_insert(error),
        }
    }
    newest.map(|word| word.primary).ok_or_else(|| failure.unwrap_or(NOBODY))
}

const NOBODY: StoreError = StoreError::Unable {
    what: "No Sentinel of the store answers",
    hint: "check that they run, and that the store's address names them",
};
const UNKNOWN: StoreError = StoreError::Unable {
    what: "The Sentinels of the store do not know a primary of this name",
    hint: "the name in the store's address is the one in `sentinel monitor NAME` of their configuration",
};

/// What a failure of a Sentinel means.
fn unable(error: RedisError) -> StoreError {
    match error.code() {
        None => StoreError::Unavailable(format!("a Sentinel: {error}")),
        Some("ERR") if error.detail().is_some_and(|words| words.contains("No such master")) => UNKNOWN,
        Some(_) => StoreError::Unable {
            what: "A Sentinel of the store refuses the user or the password",
            hint: "set store_sentinel_user and store_sentinel_password_file; a user needs no more than `+ping \
                   +sentinel|master +sentinel|get-master-addr-by-name`",
        },
    }
}

/// One of the pairs that `SENTINEL MASTER` answers.
fn field(told: &Value, name: &str) -> Option<String> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    match told {
        Value::Array(flat) => {
            flat.chunks_exact(2).find(|pair| text(&pair[0]).as_deref() == Some(name)).and_then(|pair| text(&pair[1]))
        }
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| text(key).as_deref() == Some(name)).and_then(|(_, value)| text(value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_of_the_newest_election_is_believed_and_the_others_are_not_needed() {
        let word = |host: &str, epoch| Ok(Word { primary: (host.to_owned(), 6379), epoch });
        let away = || Err(StoreError::Unavailable("x".to_owned()));
        assert_eq!(newest(vec![word("old", 3), word("new", 4), word("old", 3)]).unwrap().0, "new");
        assert_eq!(newest(vec![away(), Err(UNKNOWN), word("one", 0)]).unwrap().0, "one");
        for words in [vec![away(), Err(UNKNOWN)], vec![Err(UNKNOWN), away()]] {
            assert!(matches!(newest(words), Err(StoreError::Unable { .. })), "the one that says something is told");
        }
        assert!(matches!(newest(Vec::new()), Err(StoreError::Unable { .. })));
    }
}
