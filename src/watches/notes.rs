use serde::{Deserialize, Serialize};

/// What is remembered about a watch's deliveries beside its cursor, also when another process takes over.
/// Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// How often the event behind the cursor was tried in vain.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// When it was tried first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    /// Why the last attempt that failed did, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<(String, i64)>>,
    /// When something was last delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<i64>,
    /// Whether a watch that begins with what is there has been told all of that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub present: bool,
    /// Whether its owner lacks the key of its secret.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// How many events its owner might not be told of.
    #[serde(skip_serializing_if = "is_none")]
    pub withheld: u64,
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Notes {
    /// The notes of a record; none when there are none, or they are a newer version's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// As they are stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always encodes")
    }

    /// One more attempt failed, and the next is at `next`.
    pub fn failed(&mut self, why: &str, now: i64, next: Option<i64>) {
        self.attempts += 1;
        self.since.get_or_insert(now);
        self.next = next;
        self.error = Some(Box::new((why.to_owned(), now)));
    }

    /// Why its secret is not known to its owner, or that it is; whether that is news.
    pub fn unopened(&mut self, why: Option<&str>, now: i64) -> bool {
        let known = self.error.as_ref().is_some_and(|error| Some(error.0.as_str()) == why);
        let news = self.sealed != why.is_some() || (why.is_some() && !known);
        self.sealed = why.is_some();
        if let Some(why) = why.filter(|_| news) {
            self.error = Some(Box::new((why.to_owned(), now)));
        }
        news
    }

    /// The event behind the cursor is dealt with; when it was delivered, if it was.
    pub fn over(&mut self, delivered: Option<i64>) {
        (self.attempts, self.since, self.next) = (0, None, None);
        self.success = delivered.or(self.success);
    }
}
