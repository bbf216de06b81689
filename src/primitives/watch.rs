//! Watches: a pattern, and the endpoint its events are delivered to.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, ser::SerializeMap};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Check, Collection, Committed, Edit, Endpoint, Error, Frame, Hidden, Key, List, Name, Op, Params, Pattern, Plan,
    Query, Record, Segment, Select, SigningKey, View, When, decode_segment, service,
};

const PATTERN: &str = "pattern";
const ENDPOINT: &str = "endpoint";

/// A watch, as it is registered and as agents deliver for it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Which events it is about.
    pub pattern: Pattern,
    /// Where they are delivered to.
    pub endpoint: Endpoint,
    /// How they are packed.
    pub content: Content,
    /// What they are signed with.
    pub secret: Option<SigningKey>,
    /// Headers that an HTTP request carries besides its own: names in lower case, and values.
    pub headers: Vec<(String, Hidden)>,
}

/// How an event is packed for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// Noah's JSON, by itself.
    #[default]
    Noah,
    /// As a CloudEvent 1.0 in the transport's binary mode, with Noah's JSON as its data.
    CloudEvents,
}

impl Watch {
    /// A watch without any options.
    #[must_use]
    pub fn plain(pattern: Pattern, endpoint: Endpoint) -> Self {
        Self { pattern, endpoint, content: Content::default(), secret: None, headers: Vec::new() }
    }
}

/// The index of the watches with the same endpoint; their patterns may not cover each other.
fn siblings(endpoint: &Endpoint) -> String {
    format!("watches-of/{}", endpoint.as_str())
}

/// Reads the body of `PUT /watches`.
pub fn parse(body: &[u8], schemes: &[&str]) -> Result<Watch, Error> {
    let params = Params::parse(body, &[PATTERN, ENDPOINT])?;
    let (pattern, endpoint) = (params.text(PATTERN)?, params.text(ENDPOINT)?);
    Ok(Watch::plain(Pattern::parse(pattern)?, Endpoint::parse(endpoint, schemes)?))
}

/// Reads the body of `PUT …/watch` for the pattern of an object.
pub fn parse_for(pattern: &str, body: &[u8], schemes: &[&str]) -> Result<Watch, Error> {
    let params = Params::parse(body, &[ENDPOINT])?;
    let endpoint = match params.value(ENDPOINT) {
        Value::Null => return Err(Error::invalid("Need an endpoint")),
        Value::String(text) if text.is_empty() => return Err(Error::invalid("Need an endpoint")),
        _ => params.text(ENDPOINT)?,
    };
    let pattern = Pattern::parse(pattern)?;
    if pattern.segments().iter().any(|segment| !matches!(segment, Segment::Is(_))) {
        return Err(Error::invalid("A name that is * or ** cannot be watched by itself; watch what is above it"));
    }
    Ok(Watch::plain(pattern, Endpoint::parse(endpoint, schemes)?))
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
pub fn before_put(watch: &Watch) -> [Query; 1] {
    [Query::List(List::of(Select::all(siblings(&watch.endpoint))))]
}

/// Registers a watch, given the watches of the same endpoint. The plan holds only while they are all there
/// are: when [`Error::Contended`] comes of it, they have to be read again.
pub fn put(watch: &Watch, siblings_now: &[Record], object: Option<Check>, when: &When) -> Result<Plan, Error> {
    let key = Key::watch(watch.pattern.as_str(), watch.endpoint.as_str());
    let exists = siblings_now.iter().any(|sibling| sibling.key == key);
    // With `If-None-Match: *` an existing watch is a failed precondition, which the commit finds.
    if !(exists && when.if_absent) {
        refuse_overlap(watch, &key, siblings_now)?;
    }
    let index = siblings(&watch.endpoint);
    let edit =
        Edit::default().set(PATTERN, watch.pattern.as_str()).set(ENDPOINT, watch.endpoint.as_str()).join(index.clone());
    let op = Op::Put { key: key.clone(), id: Uuid::new_v4(), create: true, signal: false, cursor: true, edit };
    let mut plan = Plan::new(vec![op]).when(&key, when).whole();
    if let Some(check) = object {
        plan = plan.require(check, Error::NotFound);
    }
    let keys = siblings_now.iter().map(|sibling| sibling.key.clone()).collect();
    Ok(plan.require(Check::Members(index, keys), Error::Contended))
}

fn refuse_overlap(watch: &Watch, key: &Key, siblings: &[Record]) -> Result<(), Error> {
    if siblings.iter().any(|sibling| sibling.key == *key) {
        return Err(Error::Conflict("Record already exists"));
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

/// `DELETE /watches` with `{"pattern": …, "endpoint": …}`.
pub fn delete(body: &[u8], when: &When) -> Result<Plan, Error> {
    let params = Params::parse(body, &[PATTERN, ENDPOINT])?;
    let (Value::String(pattern), Value::String(endpoint)) = (params.value(PATTERN), params.value(ENDPOINT)) else {
        return Err(Error::NotFound);
    };
    let key = Key::watch(pattern, endpoint);
    Ok(Plan::new(vec![Op::Delete { key: key.clone() }])
        .when(&key, when)
        .require(Check::Exists(key), Error::NotFound)
        .whole())
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
}

/// What [`put`] and [`delete`] are answered with.
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
    })
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
    let fits = |(pattern, endpoint): &(&str, &str)| {
        endpoint.split_once(':').is_some_and(|(scheme, _)| Endpoint::parse(endpoint, &[scheme]).is_ok())
            && Pattern::parse(pattern).is_ok()
    };
    halves.filter(fits).take(MOST).map(|(pattern, endpoint)| Key::watch(pattern, endpoint)).collect()
}

/// The pattern and the endpoint of a stored watch, if this version still understands both.
#[must_use]
pub fn stored(record: &Record, schemes: &[&str]) -> Option<Watch> {
    let pattern = Pattern::parse(record.text(PATTERN)).ok()?;
    Some(Watch::plain(pattern, Endpoint::parse(record.text(ENDPOINT), schemes).ok()?))
}

/// `GET /watches`: an array.
#[must_use]
pub fn list(records: &[Record]) -> Vec<View<'_>> {
    records.iter().map(|record| View(record, Frame::Whole)).collect()
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("pattern", record.text(PATTERN))?;
    map.serialize_entry("endpoint", record.text(ENDPOINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_watch_whichever_bar_divides_it() {
        let name = BASE64_STANDARD.encode("//noah/a|b|http://h/x|y");
        let keys = keys_of(&name);
        assert!(keys.contains(&Key::watch("//noah/a|b", "http://h/x|y")), "{keys:?}");
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
