//! A profile in a configuration file: a name, or a table with more.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use regex::bytes::RegexBuilder;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{super::outcome::Outcome, Profile, gate::LockKind, known::Kind, table::Rule};

/// How large a pattern may become, in bytes: it is the owner's own, but a slip should not cost the node's memory.
const PATTERN_MAX: usize = 1 << 20;

/// `profile = { is = "puppet", lock_file = "…" }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    is: String,
    /// Replaces the places where the program's lock usually is.
    lock_file: Option<PathBuf>,
    /// How that is read; as the program's own when nothing is said.
    lock: Option<LockKind>,
    /// Replaces the places of the files that disable it.
    disabled_file: Option<PathBuf>,
    #[serde(default)]
    codes: BTreeMap<String, Outcome>,
    #[serde(default)]
    tail: Vec<RawRule>,
    otherwise: Option<Outcome>,
}

/// `{ regex = "…", outcome = "locked", codes = [1] }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    regex: String,
    outcome: Outcome,
    #[serde(default)]
    codes: Vec<i32>,
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

/// Reads either, with the table's own words for what is wrong in it.
struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = Profile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a profile, or a table with is = \"…\"")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Profile, E> {
        name.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Profile, A::Error> {
        Raw::deserialize(MapAccessDeserializer::new(map))?.resolve().map_err(A::Error::custom)
    }
}

impl Raw {
    fn resolve(self) -> Result<Profile, String> {
        let kind = match Kind::named(&self.is) {
            Some(kind) => kind,
            None => return Err(self.is.parse::<Profile>().err().unwrap_or_default()),
        };
        let has_own = !self.codes.is_empty() || !self.tail.is_empty() || self.otherwise.is_some();
        if has_own && kind != Kind::Custom {
            return Err(format!("codes, tail and otherwise are for is = \"custom\"; {:?} has its own", self.is));
        }
        let mut profile = Profile::of(kind);
        for (text, outcome) in self.codes {
            profile.table.codes.insert(exit_code(&text)?, outcome);
        }
        profile.table.rules.extend(self.tail.into_iter().map(RawRule::resolve).collect::<Result<Vec<_>, _>>()?);
        profile.table.otherwise = self.otherwise.unwrap_or(profile.table.otherwise);
        if self.lock.is_some() && self.lock_file.is_none() {
            return Err("lock = \"…\" says how lock_file is read, and there is no lock_file".to_owned());
        }
        if let Some(path) = self.lock_file {
            profile.files.locks = vec![kind.lock(path, self.lock)];
        }
        if let Some(path) = self.disabled_file {
            profile.files.disabled = vec![path];
        }
        if kind == Kind::Custom && profile.table.codes.is_empty() && profile.table.rules.is_empty() {
            return Err("a custom profile needs codes, as in codes = { 0 = \"unchanged\", 2 = \"changed\" }".to_owned());
        }
        Ok(profile)
    }
}

impl RawRule {
    fn resolve(self) -> Result<Rule, String> {
        let pattern = RegexBuilder::new(&self.regex).size_limit(PATTERN_MAX).build();
        // The library's words go over several lines, with a mark below the place.
        let pattern = pattern.map_err(|error| {
            let why = error.to_string();
            format!("the regex {:?} cannot be used: {}", self.regex, why.lines().last().unwrap_or_default().trim())
        })?;
        Ok(Rule { pattern, outcome: self.outcome, codes: self.codes })
    }
}

fn exit_code(text: &str) -> Result<i32, String> {
    let code = text.parse().ok().filter(|code| (0..=255).contains(code));
    code.ok_or_else(|| format!("{text:?} is no exit code: they are 0 to 255"))
}
