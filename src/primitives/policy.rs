//! What a caller may do: rights on patterns.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::Value;

use super::{Error, Pattern, Segment};

/// One thing that may be allowed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To see a record, and to be told of its changes.
    Read,
    /// To make and to change a record, its tags and its links.
    Write,
    /// To delete a record.
    Delete,
    /// To have changes delivered to an endpoint.
    Watch,
    /// To take a lock and to give it back.
    Lock,
    /// To manage tokens and to see what was denied; whoever has it has every other right.
    Admin,
}

impl Right {
    /// All of them, in the order they are written.
    pub const ALL: [Self; 6] = [Self::Read, Self::Write, Self::Delete, Self::Watch, Self::Lock, Self::Admin];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Watch => "watch",
            Self::Lock => "lock",
            Self::Admin => "admin",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == word)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rights(u8);

impl Rights {
    fn of(rights: impl IntoIterator<Item = Right>) -> Self {
        Self(rights.into_iter().fold(0, |set, right| set | right.bit()))
    }

    fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    fn words(self) -> impl Iterator<Item = &'static str> {
        Right::ALL.into_iter().filter(move |right| self.has(*right)).map(Right::as_str)
    }
}

/// Rights on a pattern: `read,write=//noah/ephemerals/db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    rights: Rights,
    pattern: Pattern,
}

impl Rule {
    /// Reads the text form: rights with commas between them, or `all`; `=`; a pattern.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what to write instead.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (rights, pattern) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("A rule is rights, = and a pattern, like read,write=//noah/hosts; not {text:?}"))
        })?;
        Self::new(rights.split(','), pattern)
    }

    fn new<'a>(words: impl Iterator<Item = &'a str>, pattern: &str) -> Result<Self, Error> {
        let pattern = Pattern::parse(pattern.trim())?;
        let is_everything = is_everything(&pattern);
        let mut rights = Rights::default();
        for word in words.map(str::trim) {
            rights.0 |= match word {
                "all" => Rights::of(Right::ALL.into_iter().filter(|right| is_everything || *right != Right::Admin)).0,
                "admin" if !is_everything => {
                    return Err(Error::invalid(format!("admin is for everything, //noah, and not for {pattern}")));
                }
                "admin" => Rights::of(Right::ALL).0,
                word => Right::parse(word).map(Right::bit).ok_or_else(|| {
                    Error::invalid(format!(
                        "A right is read, write, delete, watch, lock or admin, or all for all of them; not {word:?}"
                    ))
                })?,
            };
        }
        Ok(Self { rights, pattern })
    }

    /// Reads the text form, or `{"rights": ["read"], "pattern": "//noah"}`.
    fn from_json(value: &Value) -> Result<Self, Error> {
        let words = || {
            Error::invalid(
                "A rule is text like \"read,write=//noah/hosts\", or an object of two keys: rights, a list, and pattern",
            )
        };
        match value {
            Value::String(text) => Self::parse(text),
            Value::Object(rule) if rule.len() == 2 => {
                let rights = rule.get("rights").and_then(Value::as_array).filter(|list| !list.is_empty());
                let rights: Option<Vec<&str>> = rights.ok_or_else(words)?.iter().map(Value::as_str).collect();
                let pattern = rule.get("pattern").and_then(Value::as_str).ok_or_else(words)?;
                Self::new(rights.ok_or_else(words)?.into_iter(), pattern)
            }
            _ => Err(words()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if is_everything(&self.pattern) { 6 } else { 5 };
        match self.rights.words().collect::<Vec<_>>() {
            words if words.len() == all => write!(f, "all={}", self.pattern),
            words => write!(f, "{}={}", words.join(","), self.pattern),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rule = serializer.serialize_struct("Rule", 2)?;
        rule.serialize_field("rights", &self.rights.words().collect::<Vec<_>>())?;
        rule.serialize_field("pattern", self.pattern.as_str())?;
        rule.end()
    }
}

/// What somebody may do: what any of its rules allows, and nothing else.
///
/// Tokens, which are at `//noah/tokens`, are for those with `admin` only, whatever else a rule says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    rules: Box<[Rule]>,
    /// What is allowed on everything, so that the usual case is one look.
    everywhere: Rights,
    /// What is allowed somewhere.
    somewhere: Rights,
}

impl Policy {
    /// The most rules of one policy.
    pub const MOST_RULES: usize = 128;

    /// A policy of these rules.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are more than [`Policy::MOST_RULES`].
    pub fn new(rules: Vec<Rule>) -> Result<Self, Error> {
        if rules.len() > Self::MOST_RULES {
            return Err(Error::invalid(format!("A policy has at most {} rules", Self::MOST_RULES)));
        }
        let union = |rules: &mut dyn Iterator<Item = &Rule>| Rights(rules.fold(0, |set, rule| set | rule.rights.0));
        let everywhere = union(&mut rules.iter().filter(|rule| is_everything(&rule.pattern)));
        let somewhere = union(&mut rules.iter());
        Ok(Self { rules: rules.into(), everywhere, somewhere })
    }

    /// Reads a list of rules in their text form.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with the first that is.
    pub fn parse<S: AsRef<str>>(rules: &[S]) -> Result<Self, Error> {
        Self::new(rules.iter().map(|rule| Rule::parse(rule.as_ref())).collect::<Result<_, _>>()?)
    }

    /// Reads a JSON array of rules, each as text or as an object.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with the first that is.
    pub fn from_json(value: &Value) -> Result<Self, Error> {
        let rules = value.as_array().ok_or_else(|| {
            Error::invalid("A policy is a list of rules, like [\"read=//noah\", \"write=//noah/ephemerals/db\"]")
        })?;
        Self::new(rules.iter().map(Rule::from_json).collect::<Result<_, _>>()?)
    }

    /// Everything there is.
    #[must_use]
    pub fn everything() -> Self {
        Self::parse(&["all=//noah"]).expect("a test reads this rule")
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether it has a right on what is at a path, given by its segments below `//noah`
    /// ([`Event::segments`](super::Event::segments)).
    #[must_use]
    pub fn allows<S: AsRef<str>>(&self, right: Right, path: &[S]) -> bool {
        if path.first().is_some_and(|first| first.as_ref() == TOKENS) {
            return self.is_admin();
        }
        self.everywhere.has(right)
            || (self.somewhere.has(right)
                && self.rules.iter().any(|rule| rule.rights.has(right) && rule.pattern.matches(path)))
    }

    /// Whether one of its rules has a right on everything that a pattern matches.
    #[must_use]
    pub fn covers(&self, right: Right, pattern: &Pattern) -> bool {
        if matches!(pattern.segments().first(), Some(Segment::Is(first)) if **first == *TOKENS) {
            return self.is_admin();
        }
        self.everywhere.has(right)
            || (self.somewhere.has(right)
                && self.rules.iter().any(|rule| rule.rights.has(right) && rule.pattern.covers(pattern)))
    }

    /// Whether it has a right on all records but tokens, so that nothing needs to be looked at one by one.
    #[must_use]
    pub fn everywhere(&self, right: Right) -> bool {
        self.everywhere.has(right)
    }

    /// Whether it has a right anywhere at all.
    #[must_use]
    pub fn some(&self, right: Right) -> bool {
        self.somewhere.has(right)
    }

    /// Whether it may manage tokens, and so everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.everywhere.has(Right::Admin)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rules.serialize(serializer)
    }
}

/// The first segment of what only `admin` sees.
const TOKENS: &str = "tokens";

fn is_everything(pattern: &Pattern) -> bool {
    pattern.matches::<&str>(&[])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(rules: &[&str]) -> Policy {
        Policy::parse(rules).unwrap()
    }

    fn path(text: &str) -> Vec<&str> {
        text.split('/').collect()
    }

    #[test]
    fn a_right_is_where_a_rule_gives_it_and_below() {
        let policy = policy(&["read,write=//noah/ephemerals/db", "read=//noah/*/web1"]);
        assert!(policy.allows(Right::Read, &path("ephemerals/db/master")));
        assert!(policy.allows(Right::Write, &path("ephemerals/db")));
        assert!(policy.allows(Right::Read, &path("hosts/web1")));
        assert!(!policy.allows(Right::Write, &path("hosts/web1")));
        assert!(!policy.allows(Right::Read, &path("ephemerals/dbx")));
        assert!(!policy.allows(Right::Read, &path("ephemerals")));
        assert!(!policy.allows(Right::Delete, &path("ephemerals/db")));
        assert!(policy.some(Right::Write) && !policy.some(Right::Lock));
        assert!(!policy.everywhere(Right::Read));
    }

    #[test]
    fn a_pattern_is_covered_by_one_rule_or_not_at_all() {
        let policy = policy(&["watch=//noah/hosts", "watch=//noah/services", "read=//noah"]);
        let covers = |right, pattern| policy.covers(right, &Pattern::parse(pattern).unwrap());
        assert!(covers(Right::Watch, "//noah/hosts/*"));
        assert!(!covers(Right::Watch, "//noah/*"));
        assert!(covers(Right::Read, "//noah"));
    }

    #[test]
    fn nothing_is_allowed_by_no_rule() {
        let nobody = Policy::default();
        for right in Right::ALL {
            assert!(!nobody.allows(right, &path("hosts/a")) && !nobody.some(right));
            assert!(!nobody.covers(right, &Pattern::parse("//noah/hosts").unwrap()));
        }
    }

    #[test]
    fn admin_has_every_right_and_is_for_everything_only() {
        for rule in ["admin=//noah", "all=//noah", "admin=//noah/", "admin=//noah/**"] {
            let admin = policy(&[rule]);
            assert!(admin.is_admin(), "{rule}");
            assert!(Right::ALL.into_iter().all(|right| admin.allows(right, &path("hosts/a"))), "{rule}");
        }
        assert!(Rule::parse("admin=//noah/hosts").is_err());
        assert!(!policy(&["all=//noah/hosts"]).is_admin());
        assert!(!policy(&["all=//noah/hosts"]).some(Right::Admin));
        assert!(Policy::everything().is_admin());
    }

    #[test]
    fn tokens_are_for_admin_only() {
        let reader = policy(&["read,write,delete,watch,lock=//noah"]);
        assert!(reader.allows(Right::Read, &path("hosts/a")));
        assert!(!reader.allows(Right::Read, &path("tokens/a")));
        assert!(!reader.covers(Right::Watch, &Pattern::parse("//noah/tokens").unwrap()));
        assert!(policy(&["admin=//noah"]).allows(Right::Read, &path("tokens/a")));
        assert!(!policy(&["read=//noah/tokens"]).allows(Right::Read, &path("tokens/a")));
    }

    #[test]
    fn a_rule_reads_back_as_text_and_as_json() {
        for text in
            ["read=//noah", "read,write=//noah/ephemerals/db", "all=//noah", "all=//noah/hosts/*", "lock=//noah/**"]
        {
            let rule = Rule::parse(text).unwrap();
            assert_eq!(rule.to_string(), text);
            assert_eq!(Rule::from_json(&serde_json::to_value(&rule).unwrap()).unwrap(), rule, "{text}");
        }
        assert_eq!(Rule::parse(" write , read = //noah/hosts ").unwrap().to_string(), "read,write=//noah/hosts");
        let json = json!([{"rights": ["read", "delete"], "pattern": "//noah/hosts"}, "lock=//noah/locks"]);
        let policy = Policy::from_json(&json).unwrap();
        assert_eq!(serde_json::to_value(&policy).unwrap()[1], json!({"rights": ["lock"], "pattern": "//noah/locks"}));
        assert!(policy.allows(Right::Delete, &path("hosts/a")));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "read", "=//noah", "read=", "reed=//noah", "read,=//noah", "read=/hosts", "read://noah"] {
            assert!(matches!(Rule::parse(text), Err(Error::Invalid(_))), "{text}");
        }
        for json in [
            json!("read=//noah"),
            json!([1]),
            json!([{"rights": "read", "pattern": "//noah"}]),
            json!([{"rights": [], "pattern": "//noah"}]),
            json!([{"rights": [1], "pattern": "//noah"}]),
            json!([{"rights": ["read"]}]),
            json!([{"rights": ["read"], "pattern": "//noah", "x": 1}]),
            json!(vec!["read=//noah"; Policy::MOST_RULES + 1]),
        ] {
            assert!(matches!(Policy::from_json(&json), Err(Error::Invalid(_))), "{json}");
        }
    }
}
