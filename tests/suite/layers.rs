//! Dependencies point one way: `cli, http, poke → watches → agents, access → store → primitives`, and `tls` is between
//! `primitives` and the others. This reads the paths in `src/` and keeps it so.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The parts of the crate.
const LAYERS: [&str; 13] = [
    "primitives",
    "rate",
    "exposed",
    "tls",
    "store",
    "access",
    "agents",
    "watches",
    "http",
    "poke",
    "cli",
    "client",
    "settings",
];

/// What a part may use of the others, and which crates it must not know.
struct Rule {
    part: &'static str,
    may_use: &'static [&'static str],
    knows_no: &'static [&'static str],
}

const RULES: [Rule; 12] = [
    Rule {
        part: "primitives",
        may_use: &[],
        knows_no: &[
            "tokio",
            "actix_web",
            "actix_http",
            "actix_server",
            "actix_service",
            "redis",
            "rusqlite",
            "reqwest",
            "clap",
        ],
    },
    Rule {
        part: "tls",
        may_use: &["primitives", "exposed"],
        knows_no: &["actix_web", "actix_http", "actix_server", "actix_service", "redis", "rusqlite", "clap"],
    },
    Rule {
        part: "rate",
        may_use: &[],
        knows_no: &["tokio", "actix_web", "actix_http", "actix_server", "actix_service", "redis", "rusqlite", "clap"],
    },
    Rule {
        part: "exposed",
        may_use: &[],
        knows_no: &["tokio", "actix_web", "actix_http", "actix_server", "actix_service", "redis", "rusqlite", "clap"],
    },
    Rule {
        part: "store",
        may_use: &["primitives", "exposed", "tls"],
        knows_no: &["actix_web", "actix_http", "actix_server", "actix_service", "reqwest", "clap"],
    },
    Rule {
        part: "access",
        may_use: &["primitives", "rate", "store"],
        knows_no: &["actix_web", "actix_http", "actix_server", "actix_service", "redis", "rusqlite", "reqwest", "clap"],
    },
    Rule {
        part: "agents",
        may_use: &["primitives", "tls"],
        knows_no: &["actix_web", "actix_http", "actix_server", "actix_service", "rusqlite", "clap"],
    },
    Rule {
        part: "watches",
        may_use: &["primitives", "exposed", "store", "access", "agents"],
        knows_no: &["actix_web", "actix_http", "actix_server", "actix_service", "redis", "rusqlite", "reqwest", "clap"],
    },
    Rule {
        part: "http",
        may_use: &["primitives", "rate", "tls", "store", "access", "agents", "watches", "settings"],
        knows_no: &["redis", "rusqlite", "reqwest", "clap"],
    },
    Rule {
        // It talks to the API like any client, and what is pending is in a file of its own. Of the HTTP side it knows
        // only how a failure is told and what keeps a page live, of the settings how a duration is written, and of the agents how a broker is
        // connected to.
        part: "poke",
        may_use: &[
            "primitives",
            "rate",
            "exposed",
            "tls",
            "client",
            "http::failure_body",
            "http::live",
            "settings::parse_duration",
            "agents::amqp",
        ],
        knows_no: &["redis", "clap"],
    },
    Rule {
        part: "client",
        may_use: &["primitives", "tls", "settings", "store"],
        knows_no: &["redis", "rusqlite", "clap"],
    },
    Rule {
        part: "settings",
        may_use: &["primitives", "rate", "tls", "store", "agents"],
        knows_no: &["redis", "rusqlite"],
    },
];

/// One path in a source file that leads into another part or crate: its line and the path.
fn paths(source: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = without_comments(source);
    let words: Vec<(usize, &str)> = words(&code);
    let mut at = 0;
    while at < words.len() {
        let (offset, word) = words[at];
        let line = code[..offset].matches('\n').count() + 1;
        let starts_path = at == 0 || words[at - 1].1 != "::";
        if starts_path && words.get(at + 1).is_some_and(|(_, next)| *next == "::") {
            let mut rest = at;
            let mut supers = 0;
            while words.get(rest).is_some_and(|(_, word)| *word == "super") {
                (supers, rest) = (supers + 1, rest + 2);
            }
            if word == "crate" || word == "noah" {
                rest = at + 2;
            }
            let leads_out = rest > at && (supers == 0 || supers >= depth);
            if leads_out {
                leaves(&words, rest, "", &mut |path| found.push((line, format!("crate::{path}"))));
            } else if rest == at {
                found.push((line, word.to_owned()));
            }
        }
        at += 1;
    }
    found
}

/// The paths that a use tree at `at` names, two segments of each. Returns where the tree ends.
fn leaves(words: &[(usize, &str)], at: usize, before: &str, tell: &mut dyn FnMut(String)) -> usize {
    let Some(&(_, word)) = words.get(at) else { return at };
    if word == "{" {
        let mut at = at + 1;
        while words.get(at).is_some_and(|(_, word)| *word != "}") {
            at = leaves(words, at, before, tell);
            if words.get(at).is_some_and(|(_, word)| *word == ",") {
                at += 1;
            }
        }
        return at + 1;
    }
    let path = if before.is_empty() { word.to_owned() } else { format!("{before}::{word}") };
    let mut end = at + 1;
    if words.get(end).is_some_and(|(_, word)| *word == "::") {
        return leaves(words, end + 1, &path, tell);
    }
    if words.get(end).is_some_and(|(_, word)| *word == "as") {
        end += 2;
    }
    tell(path);
    end
}

/// Identifiers, `::`, braces and commas; everything else is one word of its own that no path goes through.
fn words(code: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            words.push((code.len() - rest.len(), &rest[..length]));
        }
        rest = &rest[length..];
    }
    words
}

/// The source with its line comments blanked out; there are no others in this house.
fn without_comments(source: &str) -> String {
    let code = |line: &str| line.split_once("//").map_or(line, |(code, _)| code).to_owned() + "\n";
    source.lines().map(code).collect()
}

/// What a file of `rule.part` uses and must not.
fn violations(rule: &Rule, source: &str, depth: usize) -> Vec<(usize, String)> {
    let allowed = |path: &str| {
        let first = path.split("::").next().unwrap_or_default();
        let own = first == rule.part || !LAYERS.contains(&first);
        own || rule.may_use.iter().any(|may| path == *may || path.starts_with(&format!("{may}::")))
    };
    let mut found = paths(source, depth);
    found.retain(|(_, path)| match path.strip_prefix("crate::") {
        Some(inner) => !allowed(inner),
        None => rule.knows_no.contains(&path.as_str()),
    });
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn dependencies_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for rule in &RULES {
        let (dir, file) = (src.join(rule.part), src.join(format!("{}.rs", rule.part)));
        let files = if dir.is_dir() { sources(&dir) } else { vec![file] };
        assert!(!files.is_empty(), "there is nothing in {}", dir.display());
        for file in files {
            let name = file.strip_prefix(&src).unwrap();
            let deep = name.components().count() - usize::from(name.ends_with("mod.rs"));
            for (line, path) in violations(rule, &fs::read_to_string(&file).unwrap(), deep.max(1)) {
                wrong.push(format!("src/{}:{line}: {} must not use {path}", name.display(), rule.part));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn found(part: &str, source: &str) -> Vec<String> {
    let rule = RULES.iter().find(|rule| rule.part == part).unwrap();
    violations(rule, source, 2).into_iter().map(|(_, path)| path).collect()
}

#[test]
fn a_path_that_points_the_wrong_way_is_found() {
    assert_eq!(found("primitives", "use crate::store::Store;"), ["crate::store::Store"]);
    assert_eq!(found("primitives", "use tokio::sync::watch;"), ["tokio"]);
    assert_eq!(
        found("store", "use crate::{\n  primitives::Key,\n  http::{a, b as c},\n};"),
        ["crate::http::a", "crate::http::b"]
    );
    assert_eq!(found("store", "fn f() { crate::watches::go(); }"), ["crate::watches::go"]);
    assert_eq!(found("store", "use super::super::cli::Args;"), ["crate::cli::Args"]);
    assert_eq!(found("http", "fn f(e: redis::RedisError) {}"), ["redis"]);
    assert_eq!(found("poke", "use crate::http::{failure_body, routes};"), ["crate::http::routes"]);
    assert_eq!(found("poke", "use crate::store;"), ["crate::store"]);
}

#[test]
fn a_path_that_points_the_right_way_is_not() {
    assert!(found("store", "use crate::primitives::{Key, Record};").is_empty());
    assert!(found("store", "use super::codec; // not crate::http").is_empty());
    assert!(found("store", "/// See [`crate::http`].\nuse redis::aio;").is_empty());
    assert!(found("watches", "use crate::{agents::Agents, store::Store};").is_empty());
    assert!(found("poke", "use crate::http::failure_body;").is_empty());
}
