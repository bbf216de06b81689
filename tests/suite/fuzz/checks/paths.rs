//! The target of a request: a path, and behind a `?` its query.

use std::collections::{BTreeMap, BTreeSet};

use noah::{
    http::reading_requests::{Parameters, Path, Resource, Verb, encode, resource},
    primitives::{
        Action, Collection, EphemeralPath, Event, Key, Name, Pattern, Record, decode_segment, encode_segment, watch,
    },
};
use uuid::Uuid;

const VERBS: [Verb; 4] = [Verb::Get, Verb::Put, Verb::Delete, Verb::Post];

pub fn check(input: &[u8]) {
    let text = super::text(input);
    is_encoded(&text);
    if let Ok(name) = Name::parse(&text) {
        is_named(&name);
    }
    if let Ok(path) = EphemeralPath::parse(&format!("/{text}")) {
        is_kept(&path);
    }
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    for verb in VERBS {
        if let Ok(found) = resource(verb, &Path::new(path)) {
            is_found_again(&found);
        }
    }
    if let Ok(parameters) = Parameters::parse(query) {
        is_next(&parameters);
    }
}

/// What is encoded is decoded to what it was, in each of the ways to write it.
fn is_encoded(text: &str) {
    let encoded = encode(text);
    assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{encoded}");
    if !text.is_empty() {
        let path = format!("/x/{encoded}");
        assert_eq!(Path::new(&path).segments(), Ok(vec!["x".to_owned(), text.to_owned()]));
        assert_eq!(Path::new(&path).below("x"), Some(Ok(format!("/{text}"))));
    }
    let parameters = Parameters::parse(&format!("a=b&{encoded}={encoded}")).expect("it is encoded");
    assert_eq!(parameters.get(text), Some(text));
    let segment = encode_segment(text);
    assert!(!segment.contains('/'), "{segment}");
    assert_eq!(decode_segment(&segment), text);
}

/// A record is found under its name, and its own pattern is for its events and for no other's.
fn is_named(name: &Name) {
    let mut longer = format!("{name}x");
    if Name::parse(&longer).is_err() {
        longer = "x".to_owned();
    }
    let other = Name::parse(&longer).expect("it is short");
    for collection in [Collection::Hosts, Collection::Applications, Collection::Configurations, Collection::Tags] {
        let key = Key::named(collection, name);
        is_stored(&key);
        assert_eq!((key.collection(), key.name().as_ref()), (collection, name.as_str()));
        assert_ne!(key, Key::named(collection, &other));
        is_watched(&key, &Key::named(collection, &other));
    }
    for key in [Key::service(name, &other), Key::service(&other, name)] {
        is_stored(&key);
    }
    let key = Key::service(name, &other);
    assert_eq!((key.first().as_ref(), key.name().as_ref()), (name.as_str(), other.as_str()));
    assert!(key.as_str().starts_with(&Key::service_prefix(name)));
    let (everywhere, _) = watch::service_everywhere(name);
    assert!(pattern(&everywhere).is_none_or(|pattern| pattern.matches(&event(&key).record.segments())));
}

fn is_kept(path: &EphemeralPath) {
    let key = Key::ephemeral(path);
    is_stored(&key);
    assert_eq!(key.as_str().strip_prefix("ephemerals"), Some(path.as_str()));
    let other = EphemeralPath::parse(&format!("{}x", path.as_str()));
    // A slash at the end of a pattern does not count, so what is behind it is below.
    let other = other.ok().filter(|_| !path.as_str().ends_with('/')).map(|other| Key::ephemeral(&other));
    is_watched(&key, &other.unwrap_or_else(|| Key::named(Collection::Hosts, &Name::parse("x").expect("it is short"))));
}

fn is_stored(key: &Key) {
    assert_eq!(Key::stored(key.as_str()).as_ref(), Some(key));
}

fn is_watched(key: &Key, other: &Key) {
    let Some(pattern) = pattern(&watch::pattern_of(key)) else { return };
    assert!(pattern.matches(&event(key).record.segments()), "{pattern} is for {key}");
    let is_literal = !pattern.segments().iter().any(|segment| !matches!(segment, noah::primitives::Segment::Is(_)));
    if is_literal {
        assert!(!pattern.matches(&event(other).record.segments()), "{pattern} is not for {other}");
    }
    // What a listener reads from the channel is matched as the event itself is.
    let channel = event(key).channel();
    assert!(channel.starts_with("//noah/") && !channel.chars().any(char::is_control), "{channel:?}");
}

/// The longest are refused where a watch is made.
fn pattern(text: &str) -> Option<Pattern> {
    match Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let is_long = text.len() > Pattern::MAX_BYTES || text.matches('/').count() > Pattern::MAX_SEGMENTS;
            assert!(is_long, "{text}: {error}");
            None
        }
    }
}

fn event(key: &Key) -> Event {
    let record = Record {
        key: key.clone(),
        id: Uuid::nil(),
        revision: 1,
        created_at: 0,
        updated_at: 0,
        cursor: None,
        notes: Vec::new(),
        lease: None,
        fields: BTreeMap::new(),
        indexes: BTreeSet::new(),
    };
    Event { revision: 1, time: 0, action: Action::Update, record, cause: None, actor: None }
}

/// What a path names is found under the path that is written for it.
fn is_found_again(found: &Resource) {
    let path = match found {
        Resource::Host(name) => format!("/hosts/{}", encode(name.as_str())),
        Resource::Service(name) => format!("/services/{}", encode(name.as_str())),
        Resource::ServiceOnHost(name, host) => format!("/services/{}/{}", encode(name.as_str()), encode(host.as_str())),
        Resource::Application(name) => format!("/applications/{}", encode(name.as_str())),
        Resource::Configuration(name) => format!("/configurations/{}", encode(name.as_str())),
        Resource::Tag(name) => format!("/tags/{}", encode(name.as_str())),
        Resource::Lock(name) => format!("/locks/{}", encode(name.as_str())),
        Resource::Link(name) => format!("/{}", encode(name.as_str())),
        Resource::Watch(name) => format!("/watches/{}", encode(name)),
        Resource::Session(id) => format!("/sessions/{id}"),
        // Alone it is the list of all when it is read.
        Resource::Ephemeral(path) if path.as_str() != "/" => {
            format!("/ephemerals{}", path.as_str().split('/').map(encode).collect::<Vec<_>>().join("/"))
        }
        _ => return,
    };
    assert_eq!(resource(Verb::Get, &Path::new(&path)).as_ref(), Ok(found), "{path}");
}

/// The link to the next page asks for the same, but for where it begins.
fn is_next(parameters: &Parameters) {
    let next = Parameters::parse(&parameters.next_page("a/b c%")).expect("it is encoded");
    assert_eq!(next.get("after"), Some("a/b c%"));
    for name in ["status", "tag", "prefix", "limit", ""] {
        assert!(parameters.all(name).eq(next.all(name)), "{name}");
    }
}
