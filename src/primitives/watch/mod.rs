//! Watches: a pattern, the endpoint its events are delivered to, and how it wants them.

mod options;
mod owner;
mod sealed;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, ser::SerializeMap};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Check, Collection, Committed, Edit, Ending, Endpoint, Error, Frame, Hidden, Key, Keyring, Lifetime, List, Name, Op,
    Params, Pattern, Plan, Query, Reading, Record, Segment, Select, SigningKey, View, When, dead_letter,
    decode_segment, service,
};
use options::Options;
pub use options::{Content, Deliver, From};
pub use owner::Owner;
pub use sealed::{Kept, kept, reseal};

const PATTERN: &str = "pattern";
const ENDPOINT: &str = "endpoint";
const PAUSED: &str = "paused";
/// Of a watch that is tied to a session, whether that is there or gone.
const SESSION: &str = "session";

/// The words of a conflict: there is such a watch, and it is nobody's;
pub const EXISTS: &str = "Record already exists";
/// or it is tied to a session, and what it is to be is not what it is.
pub const OTHER_OPTIONS: &str = "The watch is registered with other options";
const THERE: &str = "there";
const GONE: &str = "gone";

/// There is no watch of a name.
pub const UNKNOWN: Error = Error::Unknown("there is no watch of this name; GET /watches has the names of all");

/// A watch, as it is registered and as agents deliver for it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Which events it is about.
    pub pattern: Pattern,
    /// Where they are delivered to.
    pub endpoint: Endpoint,
    /// Which of them.
    pub deliver: Deliver,
    /// Whether what is there comes before what changes.
    pub from_current: bool,
    /// How they are packed.
    pub content: Content,
    /// What they are signed with.
    pub secret: Option<SigningKey>,
    /// Headers that an HTTP request carries besides its own: names in lower case, and values.
    pub headers: Vec<(String, Hidden)>,
    /// Why its secret or its headers are not known here: without them nothing is delivered for it.
    pub unopened: Option<String>,
}

/// A watch to be registered.
#[derive(Debug)]
pub struct Registration {
    /// The watch.
    pub watch: Watch,
    options: Options,
}

impl Watch {
    /// A watch without any options.
    #[must_use]
    pub fn plain(pattern: Pattern, endpoint: Endpoint) -> Self {
        Self {
            pattern,
            endpoint,
            deliver: Deliver::default(),
            from_current: false,
            content: Content::default(),
            secret: None,
            headers: Vec::new(),
            unopened: None,
        }
    }
}

impl Registration {
    fn new(pattern: Pattern, endpoint: Endpoint, options: Options) -> Result<Self, Error> {
        options.check(endpoint.url().scheme())?;
        Ok(Self { watch: Watch::plain(pattern, endpoint), options })
    }
}

/// The index of the watches with the same endpoint; their patterns may not cover each other.
fn siblings(endpoint: &Endpoint) -> String {
    format!("watches-of/{}", endpoint.as_str())
}

/// Reads the body of `PUT /watches`.
pub fn parse(body: &[u8], schemes: &[&str]) -> Result<Registration, Error> {
    let (params, options) = options::params(body, &[PATTERN, ENDPOINT])?;
    let (pattern, endpoint) = (params.text(PATTERN)?, params.text(ENDPOINT)?);
    Registration::new(Pattern::parse(pattern)?, Endpoint::parse(endpoint, schemes)?, options)
}

/// Reads the body of `PUT …/watch` for the pattern of an object.
pub fn parse_for(pattern: &str, body: &[u8], schemes: &[&str]) -> Result<Registration, Error> {
    let (params, options) = options::params(body, &[ENDPOINT])?;
    if options.generated {
        return Err(Error::invalid("This answers only the watch's name; have a secret made by PUT /watches"));
    }
    let endpoint = match params.value(ENDPOINT) {
        Value::Null => return Err(Error::invalid("Need an endpoint")),
        Value::String(text) if text.is_empty() => return Err(Error::invalid("Need an endpoint")),
        _ => params.text(ENDPOINT)?,
    };
    let pattern = Pattern::parse(pattern)?;
    if pattern.segments().iter().any(|segment| !matches!(segment, Segment::Is(_))) {
        return Err(Error::invalid("A name that is * or ** cannot be watched by itself; watch what is above it"));
    }
    Registration::new(pattern, Endpoint::parse(endpoint, schemes)?, options)
}

/// The pattern of one record. A pattern reads `%25` and `%2F`, which other keys than an ephemeral's use too.
#[must_use]
pub fn pattern_of(key: &Key) -> String {
    match key.collection() {
        Collection::Ephemerals => format!("//noah/{}", key.as_str().replace('%', "%25")),
        _ => format!("//noah/{key}"),
    }
}

/// The pattern of a service on all its hosts, and what has to be there for a watch on it.
#[must_use]
pub fn service_everywhere(name: &Name) -> (String, Check) {
    let prefix = Key::service_prefix(name);
    (format!("//noah/{}", prefix.trim_end_matches('/')), Check::Any(service::everywhere(name)))
}

/// What is read before a watch is registered: the watches of the same endpoint.
#[must_use]
pub fn before_put(wanted: &Registration) -> [Query; 1] {
    [Query::List(List::of(Select::all(siblings(&wanted.watch.endpoint))))]
}

/// Registers a watch of an owner, given what [`before_put`] read; its secret and headers are sealed with these keys. The
/// plan holds only while that is all there is: when
/// [`Error::Contended`] comes of it, it has to be read again.
///
/// A watch that is tied to a session is paused at the end of that. Its owner registers it again, as it was, and it goes on.
pub fn put(
    wanted: &Registration,
    read: Reading,
    object: Option<Check>,
    lifetime: &Lifetime,
    owner: &Owner,
    when: &When,
    keys: &Keyring,
) -> Result<Plan, Error> {
    let Registration { watch, options } = wanted;
    let head = read.revision;
    let siblings_now = &read.records();
    let key = Key::watch(watch.pattern.as_str(), watch.endpoint.as_str());
    let existing = siblings_now.iter().find(|sibling| sibling.key == key);
    let returns = existing.is_some_and(|watch| watch.fields.contains_key(SESSION));
    // A condition that does not hold is told before any other rule; the commit finds it.
    if !returns && when.holds(existing.map(|watch| watch.revision)) {
        refuse_overlap(watch, &key, siblings_now)?;
    }
    let index = siblings(&watch.endpoint);
    let after = match options.from {
        From::Revision(after) if after > head => {
            return Err(Error::invalid(format!("from is a revision up to {head}, which is the newest")));
        }
        From::Revision(after) => Some(after),
        From::Now | From::Current => None,
    };
    let edit =
        Edit::default().set(PATTERN, watch.pattern.as_str()).set(ENDPOINT, watch.endpoint.as_str()).join(index.clone());
    let edit = options.store(edit);
    let before = existing.filter(|_| returns);
    let opened = before.map(|watch| sealed::opened(watch, keys)).transpose();
    let opened = opened.map_err(|why| Error::Refused {
        words: format!("The watch's secret cannot be looked at: {why}"),
        hint: "give the server the key, or delete the watch and register it anew",
    })?;
    if opened.is_some_and(|watch| !options::are_those_of(&watch, &edit)) {
        return Err(Error::Refused {
            words: OTHER_OPTIONS.to_owned(),
            hint: "give it the options that it has, or delete it first; a secret that was generated is given as it is",
        });
    }
    let edit = sealed::seal(edit, &key, before, keys);
    let edit = match owner.field() {
        Some((field, owner)) => edit.set(field, owner),
        None => edit,
    };
    let edit = match &lifetime.owner {
        Some(_) => edit.set(SESSION, THERE),
        None => edit.unset(SESSION),
    };
    let ending =
        Ending::Turn { key: key.clone(), field: SESSION.to_owned(), from: THERE.to_owned(), to: GONE.to_owned() };
    let op = Op::put(key.clone(), edit).reader(after).leased(lifetime.change(vec![ending]));
    let mut plan = Plan::new(vec![op]).tied(lifetime).when(&key, when).whole();
    if let Some(check) = object {
        plan = plan.require(check, Error::NotFound);
    }
    let keys = siblings_now.iter().map(|sibling| sibling.key.clone()).collect();
    Ok(plan.require(Check::Members(index, keys), Error::Contended))
}

fn refuse_overlap(watch: &Watch, key: &Key, siblings: &[Record]) -> Result<(), Error> {
    if siblings.iter().any(|sibling| sibling.key == *key) {
        return Err(Error::Conflict(EXISTS));
    }
    let patterns: Vec<Pattern> =
        siblings.iter().filter_map(|sibling| Pattern::parse(sibling.text(PATTERN)).ok()).collect();
    if patterns.iter().any(|pattern| pattern.covers(&watch.pattern)) {
        return Err(Error::Conflict("Pattern is already provided"));
    }
    if patterns.iter().any(|pattern| watch.pattern.covers(pattern)) {
        return Err(Error::Conflict("Pattern would overwrite existing"));
    }
    Ok(())
}

/// `DELETE /watches` with `{"pattern": …, "endpoint": …}`; where an owner is given, only while the watch is tied to it.
pub fn delete(body: &[u8], when: &When, owner: Option<&Key>) -> Result<Plan, Error> {
    let params = Params::parse(body, &[PATTERN, ENDPOINT])?;
    let (Value::String(pattern), Value::String(endpoint)) = (params.value(PATTERN), params.value(ENDPOINT)) else {
        return Err(Error::NotFound);
    };
    Ok(delete_at(Key::watch(pattern, endpoint), when, owner))
}

/// The pattern that the body of [`delete`] names; one that is none names no watch.
pub fn named_in(body: &[u8]) -> Result<Pattern, Error> {
    let params = Params::parse(body, &[PATTERN, ENDPOINT])?;
    params.value(PATTERN).as_str().and_then(|text| Pattern::parse(text).ok()).ok_or(Error::NotFound)
}

/// Deletes the watch at a key, and its dead letters with it; where an owner is given, only while it is tied to that.
#[must_use]
pub fn delete_at(key: Key, when: &When, owner: Option<&Key>) -> Plan {
    let letters = Op::DeleteEach { select: dead_letter::all_of(&name_of(&key)) };
    Plan::new(vec![Op::Delete { key: key.clone() }, letters])
        .when(&key, when)
        .require(Check::Exists(key.clone()), Error::NotFound)
        .owned(&key, owner)
        .whole()
}

/// The answer to [`put`] and [`delete`]. A deleted watch has no times, as it was.
#[derive(Debug, Serialize)]
pub struct ChangeAnswer<'a> {
    action: &'static str,
    result: &'static str,
    id: Uuid,
    pattern: &'a str,
    name: String,
    endpoint: &'a str,
    created_at: Option<String>,
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// What [`put`] is answered with; a secret that Noah made is in it, and nowhere else.
#[must_use]
pub fn put_answer<'a>(wanted: &Registration, done: &'a Committed) -> Option<ChangeAnswer<'a>> {
    let secret = wanted.options.secret.as_ref().filter(|_| wanted.options.generated).map(SigningKey::to_text);
    Some(ChangeAnswer { secret, ..change_answer(done)? })
}

/// What [`delete`] is answered with.
#[must_use]
pub fn change_answer(done: &Committed) -> Option<ChangeAnswer<'_>> {
    let (applied, record) = (done.one(0)?, done.record(0)?);
    let time = |millis| (applied.action != Some(super::Action::Delete)).then(|| super::rfc3339(millis));
    Some(ChangeAnswer {
        action: applied.word(),
        result: "success",
        id: applied.id,
        pattern: record.text(PATTERN),
        name: name(record),
        endpoint: record.text(ENDPOINT),
        created_at: time(record.created_at),
        updated_at: time(record.updated_at),
        secret: None,
    })
}

/// `PUT /watches/NAME/pause`, and what an endpoint that is gone leads to: nothing is delivered until it is resumed.
#[must_use]
pub fn pause(key: Key, why: &str) -> Plan {
    edit(key, Edit::default().set(PAUSED, why))
}

/// `PUT /watches/NAME/resume`: goes on where it was paused.
#[must_use]
pub fn resume(key: Key) -> Plan {
    edit(key, Edit::default().unset(PAUSED))
}

fn edit(key: Key, edit: Edit) -> Plan {
    Plan::new(vec![Op::edit(key.clone(), edit)]).require(Check::Exists(key), UNKNOWN).whole()
}

/// Why a watch is paused, if it is.
#[must_use]
pub fn paused(record: &Record) -> Option<&str> {
    let by_request = record.fields.contains_key(PAUSED).then(|| record.text(PAUSED));
    by_request.or(is_orphaned(record).then_some("its session has ended"))
}

/// Whether the session that a watch is tied to has ended.
#[must_use]
pub fn is_orphaned(record: &Record) -> bool {
    record.text(SESSION) == GONE
}

/// A watch's name: base64 of `pattern|endpoint`.
#[must_use]
pub fn name(record: &Record) -> String {
    BASE64_STANDARD.encode(format!("{}|{}", record.text(PATTERN), record.text(ENDPOINT)))
}

/// The name of the watch at a key.
#[must_use]
pub fn name_of(key: &Key) -> String {
    BASE64_STANDARD.encode(decode_segment(key.rest()).replace('\t', "|"))
}

/// The keys a name may stand for: one for each `|` in it that has a pattern before and a URL behind it. The
/// name is anybody's, so there are at most a few.
#[must_use]
pub fn keys_of(name: &str) -> Vec<Key> {
    const MOST: usize = 8;
    const LONGEST: usize = Pattern::MAX_BYTES + 1 + Endpoint::MAX_BYTES;
    let decoded = BASE64_STANDARD.decode(name).ok().filter(|bytes| bytes.len() <= LONGEST);
    let Some(decoded) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return Vec::new();
    };
    let halves = decoded.match_indices('|').map(|(at, _)| (&decoded[..at], &decoded[at + 1..]));
    let fits = |(pattern, endpoint): &(&str, &str)| Endpoint::is_one(endpoint) && Pattern::parse(pattern).is_ok();
    halves.filter(fits).take(MOST).map(|(pattern, endpoint)| Key::watch(pattern, endpoint)).collect()
}

/// The patterns that the watch of a name may have, whether there is one or not.
#[must_use]
pub fn patterns_of(name: &str) -> Vec<Pattern> {
    keys_of(name).iter().filter_map(pattern_at).collect()
}

/// The pattern and the endpoint of a stored watch, if this version still understands both, and what these keys open.
#[must_use]
pub fn stored(record: &Record, schemes: &[&str], keys: &Keyring) -> Option<Watch> {
    let pattern = Pattern::parse(record.text(PATTERN)).ok()?;
    let mut watch = Watch::plain(pattern, Endpoint::parse(record.text(ENDPOINT), schemes).ok()?);
    options::restore(&mut watch, record, keys);
    Some(watch)
}

/// The pattern of a stored watch, if this version still understands it.
#[must_use]
pub fn pattern(record: &Record) -> Option<Pattern> {
    Pattern::parse(record.text(PATTERN)).ok()
}

/// The pattern of the watch at a key, if this version still understands it.
#[must_use]
pub fn pattern_at(key: &Key) -> Option<Pattern> {
    Pattern::parse(decode_segment(key.rest()).split('\t').next()?).ok()
}

/// Whether the endpoint in the key of a watch holds a password.
#[must_use]
pub fn holds_password(key: &Key) -> bool {
    let endpoint = key.rest().split_once('\t').map_or("", |(_, endpoint)| endpoint);
    url::Url::parse(&decode_segment(endpoint)).is_ok_and(|url| url.password().is_some())
}

/// After which revision a stored watch begins: where it was made, if it did not say.
#[must_use]
pub fn begins_after(record: &Record) -> u64 {
    options::begins_after(record).map_or(record.revision, |after| after.min(record.revision))
}

/// Whether a watch as an event tells of it lacks its secrets, so that it has to be read.
#[must_use]
pub fn is_incomplete(record: &Record) -> bool {
    options::is_incomplete(record)
}

/// `GET /watches`: an array.
#[must_use]
pub fn list(records: &[Record]) -> Vec<View<'_>> {
    records.iter().map(|record| View(record, Frame::Whole)).collect()
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("pattern", record.text(PATTERN))?;
    map.serialize_entry("endpoint", record.text(ENDPOINT))?;
    if let session @ (THERE | GONE) = record.text(SESSION) {
        map.serialize_entry(SESSION, session)?;
    }
    if let Some(why) = paused(record) {
        map.serialize_entry(PAUSED, why)?;
    }
    Owner::entries(record, map)?;
    options::entries(record, map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_watch_whichever_bar_divides_it() {
        let name = BASE64_STANDARD.encode("//noah/a|b|http://h/x|y");
        let keys = keys_of(&name);
        assert!(keys.contains(&Key::watch("//noah/a|b", "http://h/x|y")), "{keys:?}");
        for endpoint in ["HTTP://h/", " http://h/"] {
            let key = Key::watch("//noah", endpoint);
            assert_eq!(keys_of(&name_of(&key)), [key], "its scheme is written as it was given");
        }
        assert_eq!(keys_of(&name_of(&keys[0])).len(), keys.len());
    }

    #[test]
    fn a_name_of_nothing_but_bars_costs_nothing() {
        for decoded in ["|".repeat(11_900), "|".repeat(4_000), format!("//noah/{}http://h", "|".repeat(2_000))] {
            assert!(keys_of(&BASE64_STANDARD.encode(decoded)).len() <= 8);
        }
        assert!(keys_of("no base64!").is_empty());
    }
}
