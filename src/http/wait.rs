//! What a client waits for: `wait`, `until`, `after`, `absent` and `count` of a query.

use std::{fmt::Display, str::FromStr, time::Duration};

use super::{routes::Resource, target::Parameters};
use crate::{
    primitives::{Collection, Error, Record, Status},
    settings::parse_duration,
};

/// The longest wait of one request.
const MOST: Duration = Duration::from_secs(600);
/// The parameters that say what is waited for.
pub const PARAMETERS: [&str; 5] = ["wait", "until", "after", "absent", "count"];

/// What a client waits for, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// How long.
    pub time: Duration,
    /// Until something changed behind this revision.
    pub after: Option<u64>,
    wanted: Wanted,
}

/// How things should be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// Like whatever they are: it is only waited for a change.
    Anything,
    /// There is something.
    Present,
    /// There is nothing.
    Absent,
    /// The field of the record has this value.
    Equal(&'static str, Vec<u8>),
    /// There are at least so many.
    Count(usize),
}

/// What a resource is, to one who waits.
#[derive(Clone, Copy)]
enum Subject {
    /// Nothing that changes by events.
    Nothing,
    /// One thing; its kind when it is a record that may have a value.
    One(Option<Collection>),
    /// A list; whether its members are counted.
    List(bool),
}

fn subject(resource: &Resource) -> Subject {
    match resource {
        Resource::Host(_) => Subject::One(Some(Collection::Hosts)),
        Resource::ServiceOnHost(..) => Subject::One(Some(Collection::Services)),
        Resource::Attached(..) | Resource::Configuration(_) => Subject::One(Some(Collection::Configurations)),
        Resource::Ephemeral(_) => Subject::One(Some(Collection::Ephemerals)),
        Resource::Application(_)
        | Resource::Lock(_)
        | Resource::Tag(_)
        | Resource::Link(_)
        | Resource::LinkKind(..)
        | Resource::LinkMember(..) => Subject::One(None),
        Resource::Service(_) | Resource::All(Collection::Hosts | Collection::Services) => Subject::List(true),
        Resource::All(_) => Subject::List(false),
        _ => Subject::Nothing,
    }
}

impl Wait {
    /// Reads the parameters of a GET; `None` when it does not wait.
    ///
    /// # Errors
    /// [`Error::Malformed`], with what to write instead.
    pub fn parse(resource: &Resource, parameters: &Parameters) -> Result<Option<Self>, Error> {
        if matches!(resource, Resource::Convergence) {
            // It has a way of its own.
            return Ok(None);
        }
        let subject = subject(resource);
        let Some(time) = parameters.get("wait") else {
            // By itself, `after` of a list is where its page begins.
            let alone = |name: &&&str| match subject {
                Subject::Nothing => false,
                Subject::List(_) => **name != "after" && parameters.get(name).is_some(),
                Subject::One(_) => parameters.get(name).is_some(),
            };
            return match PARAMETERS.iter().find(alone) {
                None => Ok(None),
                Some(name) => Err(malformed(format!("{name} is for waiting: write ?wait=60s&{name}=… as well"))),
            };
        };
        if matches!(subject, Subject::Nothing) {
            return Err(malformed(
                "This cannot be waited for; records, tags, links and lists can, and GET /events is a stream",
            ));
        }
        let time = wait_time(time)?;
        let words = "after is a revision when it is waited for: a whole number, as Noah-Revision says it";
        let after = number(parameters, "after", words)?;
        let wanted = Wanted::parse(subject, parameters, after.is_some())?;
        Ok(Some(Self { time, after, wanted }))
    }

    /// Whether what is shown is as it should be, whenever it changed.
    pub fn holds(&self, shown: &[&Record]) -> bool {
        match &self.wanted {
            Wanted::Anything => true,
            Wanted::Present => !shown.is_empty(),
            Wanted::Absent => shown.is_empty(),
            Wanted::Equal(field, value) => {
                shown.first().is_some_and(|record| record.fields.get(*field).map_or(&[][..], Vec::as_slice) == value)
            }
            Wanted::Count(count) => shown.len() >= *count,
        }
    }
}

impl Wanted {
    fn parse(subject: Subject, parameters: &Parameters, has_after: bool) -> Result<Self, Error> {
        let absent = match parameters.get("absent") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(malformed("absent is true, or is left out")),
        };
        let until = parameters.get("until").map(|value| Self::equal(subject, value)).transpose()?;
        let count = number(parameters, "count", "count is a whole number")?.map(|count| {
            let limit = parameters.get("limit").and_then(|limit| limit.parse::<usize>().ok());
            match (subject, count) {
                (Subject::List(true), 0) => Err(malformed("count is at least 1; write absent=true to wait for none")),
                (Subject::List(true), count) if limit.is_some_and(|limit| limit < count) => {
                    Err(malformed("count is more than limit lets through; leave limit out, or raise it"))
                }
                (Subject::List(true), count) => Ok(Self::Count(count)),
                _ => Err(malformed("count is for lists of hosts and services: /services/NAME?status=up&count=3")),
            }
        });
        match (absent, until, count.transpose()?) {
            (false, None, None) if has_after => Ok(Self::Anything),
            (false, None, None) => Ok(Self::Present),
            (true, None, None) => Ok(Self::Absent),
            (false, Some(wanted), None) | (false, None, Some(wanted)) => Ok(wanted),
            _ => Err(malformed("Of until, absent and count only one can be waited for at a time")),
        }
    }

    fn equal(subject: Subject, value: &str) -> Result<Self, Error> {
        let field = match subject {
            Subject::One(Some(kind)) => kind.value_field(),
            _ => None,
        };
        match field {
            None => Err(malformed(
                "until is for what has one value: an ephemeral's data, a configuration's body, a host's or a \
                 service's status; write after=REVISION to wait for any change",
            )),
            Some(field) if field == "status" && Status::parse(value).is_err() => {
                Err(malformed("until is a status here: up, down or pending"))
            }
            Some(field) => Ok(Self::Equal(field, value.as_bytes().to_vec())),
        }
    }
}

/// Reads how long to wait.
///
/// # Errors
/// [`Error::Malformed`] when that is no duration, or too long.
pub fn wait_time(text: &str) -> Result<Duration, Error> {
    let time = parse_duration(text).map_err(|words| malformed(format!("wait: {words}")))?;
    if time > MOST {
        return Err(malformed("wait is at most 10m; ask again with after=REVISION, which misses nothing"));
    }
    Ok(time)
}

fn number<N: FromStr>(parameters: &Parameters, name: &str, words: &str) -> Result<Option<N>, Error> {
    parameters.get(name).map(|text| text.parse().map_err(|_| malformed(words))).transpose()
}

fn malformed(words: impl Display) -> Error {
    Error::Malformed(words.to_string())
}
