use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::{EphemeralPath, Name, configuration, ephemeral, host, service};

/// The kinds of records, each in a collection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// `hosts/NAME`
    Hosts,
    /// `services/NAME/HOST`
    Services,
    /// `applications/NAME`
    Applications,
    /// `configurations/NAME`
    Configurations,
    /// `ephemerals/PATH`
    Ephemerals,
    /// `tags/NAME`
    Tags,
    /// `links/NAME`
    Links,
    /// `watches/PATTERN`, a tab, `ENDPOINT`
    Watches,
    /// `dead-letters/NAME/REVISION`, the name of a watch
    DeadLetters,
    /// `sessions/ID`
    Sessions,
    /// `locks/NAME/ID`, the id of the session that holds the lock or waits for it
    Locks,
    /// `tokens/ID`
    Tokens,
}

impl Collection {
    /// All of them, in the order the index page shows them.
    pub const ALL: [Self; 12] = [
        Self::Hosts,
        Self::Services,
        Self::Applications,
        Self::Configurations,
        Self::Ephemerals,
        Self::Tags,
        Self::Links,
        Self::Watches,
        Self::DeadLetters,
        Self::Sessions,
        Self::Locks,
        Self::Tokens,
    ];

    /// The word in keys and URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Services => "services",
            Self::Applications => "applications",
            Self::Configurations => "configurations",
            Self::Ephemerals => "ephemerals",
            Self::Tags => "tags",
            Self::Links => "links",
            Self::Watches => "watches",
            Self::DeadLetters => "dead-letters",
            Self::Sessions => "sessions",
            Self::Locks => "locks",
            Self::Tokens => "tokens",
        }
    }

    /// The field that is the value of such a record, if it has one: an ephemeral's data, a configuration's body, a
    /// status.
    #[must_use]
    pub fn value_field(self) -> Option<&'static str> {
        match self {
            Self::Hosts => Some(host::STATUS),
            Self::Services => Some(service::STATUS),
            Self::Configurations => Some(configuration::BODY),
            Self::Ephemerals => Some(ephemeral::DATA),
            Self::Applications
            | Self::Tags
            | Self::Links
            | Self::Watches
            | Self::DeadLetters
            | Self::Sessions
            | Self::Locks
            | Self::Tokens => None,
        }
    }

    /// The collection of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|collection| collection.as_str() == word)
    }
}

/// Under what a record is stored: its collection, a slash, and its name with `%` and `/` escaped
/// (an ephemeral's path is taken as it is). Keys sort the way lists are shown, and a copy of one costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of a record with one name.
    #[must_use]
    pub fn named(collection: Collection, name: &Name) -> Self {
        Self(format!("{}/{}", collection.as_str(), encode_segment(name.as_str())).into())
    }

    /// The key of a service on a host.
    #[must_use]
    pub fn service(service: &Name, host: &Name) -> Self {
        Self(format!("{}{}", Self::service_prefix(service), encode_segment(host.as_str())).into())
    }

    /// What the keys of a service on all its hosts begin with.
    #[must_use]
    pub fn service_prefix(service: &Name) -> String {
        format!("services/{}/", encode_segment(service.as_str()))
    }

    /// The key of an ephemeral.
    #[must_use]
    pub fn ephemeral(path: &EphemeralPath) -> Self {
        Self(["ephemerals", path.as_str()].concat().into())
    }

    /// The key of a watch; it begins with the pattern, so that watches sort by it. A tab is in neither half, and
    /// sorts before whatever is.
    #[must_use]
    pub fn watch(pattern: &str, endpoint: &str) -> Self {
        Self(format!("watches/{}\t{}", encode_segment(pattern), encode_segment(endpoint)).into())
    }

    /// The key of an event that was given up, by the name of its watch and its revision, in the order of revisions.
    #[must_use]
    pub fn dead_letter(watch: &str, revision: u64) -> Self {
        Self(format!("dead-letters/{}/{revision:020}", encode_segment(watch)).into())
    }

    /// The key of a session.
    #[must_use]
    pub fn session(id: Uuid) -> Self {
        Self(format!("sessions/{id}").into())
    }

    /// The key of a session's place in the queue of a lock.
    #[must_use]
    pub fn ticket(lock: &Name, session: Uuid) -> Self {
        Self(format!("{}{session}", Self::ticket_prefix(lock)).into())
    }

    /// What the keys of all places in the queue of a lock begin with.
    #[must_use]
    pub fn ticket_prefix(lock: &Name) -> String {
        format!("locks/{}/", encode_segment(lock.as_str()))
    }

    /// A key as a store kept it; `None` when its collection is not known here.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let (collection, _) = text.split_once('/')?;
        Collection::parse(collection).map(|_| Self(text.into()))
    }

    /// The whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which collection it is in.
    #[must_use]
    pub fn collection(&self) -> Collection {
        Collection::parse(self.parts().0).expect("every constructor begins with a collection")
    }

    /// Everything after the collection and its slash, as stored.
    #[must_use]
    pub fn rest(&self) -> &str {
        self.parts().1
    }

    /// The last segment, unescaped: the name of anything that has one, the host of a service.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        decode_segment(self.0.rsplit('/').next().unwrap_or_default())
    }

    /// The first segment after the collection, unescaped: the name of a service.
    #[must_use]
    pub fn first(&self) -> Cow<'_, str> {
        decode_segment(self.rest().split('/').next().unwrap_or_default())
    }

    /// The segments that patterns and policies are matched against, below `//noah`, for what is no watch: those of
    /// [`Event::segments`](super::Event::segments).
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        let (collection, rest) = self.parts();
        let mut segments = vec![collection.to_owned()];
        match self.collection() {
            // Its path is not escaped, so there is nothing to decode.
            Collection::Ephemerals => segments.extend(rest.split('/').map(ToOwned::to_owned)),
            Collection::Locks => segments.push(self.first().into_owned()),
            Collection::Links => {
                let name = decode_segment(rest);
                segments.push(name.strip_prefix('/').unwrap_or(&name).to_owned());
            }
            _ => segments.extend(rest.split('/').map(|segment| decode_segment(segment).into_owned())),
        }
        segments
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').expect("every constructor puts a slash after the collection")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::stored(&text).ok_or_else(|| de::Error::custom("a key of an unknown collection"))
    }
}

/// A name as one segment of a key: `%` and `/` are escaped, nothing else is.
#[must_use]
pub fn encode_segment(name: &str) -> Cow<'_, str> {
    if name.contains(['%', '/']) {
        Cow::Owned(name.replace('%', "%25").replace('/', "%2F"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The name that [`encode_segment`] made the segment of.
#[must_use]
pub fn decode_segment(segment: &str) -> Cow<'_, str> {
    if segment.contains('%') {
        Cow::Owned(segment.replace("%2F", "/").replace("%25", "%"))
    } else {
        Cow::Borrowed(segment)
    }
}
