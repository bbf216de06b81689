//! Profiles as the owner of a node writes them.

use noah::poke::outcome::Outcome::{Changed, Disabled, Failed, Locked, Unchanged, Unknown};

use super::{judge, judged, read};

const ANSIBLE: &str = r#"
[profile]
is = "custom"
codes = { 0 = "changed", 2 = "failed", 4 = "failed", 99 = "killed" }
otherwise = "failed"
tail = [
    { regex = 'another run has the lock', outcome = "locked" },
    { regex = 'maintenance', outcome = "disabled", codes = [3] },
    { regex = '(?m)changed=0\b', outcome = "unchanged", codes = [0] },
]
"#;

#[test]
fn words_come_before_codes_in_the_order_they_are_written() {
    let profile = read(ANSIBLE).unwrap();
    assert_eq!(profile.name(), "custom");
    for (code, tail, outcome) in [
        (0, "host : ok=3 changed=2 failed=0", Changed),
        (0, "host : ok=3 changed=0 failed=0", Unchanged),
        (2, "host : ok=3 changed=0 failed=1", Failed),
        (5, "", Failed),
        (2, "another run has the lock", Locked),
        (0, "changed=0, another run has the lock", Locked),
        (3, "maintenance", Disabled),
        (2, "maintenance", Failed),
    ] {
        assert_eq!(judged(&profile, code, tail), outcome, "{code} {tail}");
    }
}

#[test]
fn a_code_that_a_custom_profile_does_not_name_is_unknown() {
    let profile = read("profile = { is = \"custom\", codes = { 0 = \"unchanged\" } }").unwrap();
    assert_eq!(judged(&profile, 0, ""), Unchanged);
    assert_eq!(judged(&profile, 1, ""), Unknown);
}

#[test]
fn a_profile_is_a_name_or_a_table_with_its_files() {
    assert_eq!(read("profile = \"chef\"").unwrap().name(), "chef");
    let table = "profile = { is = \"salt\", lock_file = \"/x\", disabled_file = \"/y\" }";
    assert_eq!(read(table).unwrap().name(), "salt");
    assert_eq!(judge("salt", 2, ""), Failed);
}

#[test]
fn a_wrong_profile_is_refused_with_the_way_out() {
    for (toml, hint) in [
        ("profile = \"ansible\"", "it is exit, chef, puppet, salt, or a table"),
        ("profile = \"custom\"", "is a table in the configuration file"),
        ("profile = 7", "the name of a profile, or a table"),
        ("profile = { is = \"ansible\" }", "it is exit, chef, puppet, salt, or a table"),
        ("profile = { lock_file = \"/x\" }", "missing field `is`"),
        ("profile = { is = \"custom\" }", "needs codes"),
        ("profile = { is = \"custom\", codes = { 256 = \"failed\" } }", "0 to 255"),
        ("profile = { is = \"custom\", codes = { x = \"failed\" } }", "no exit code"),
        ("profile = { is = \"custom\", codes = { 0 = \"good\" } }", "unknown variant `good`"),
        (
            "profile = { is = \"custom\", tail = [{ regex = \"(\", outcome = \"failed\" }] }",
            "the regex \"(\" cannot be used: error: unclosed group",
        ),
        ("profile = { is = \"custom\", tail = [{ regex = '\\w{999}{999}', outcome = \"failed\" }] }", "cannot be used"),
        ("profile = { is = \"custom\", tails = [] }", "unknown field `tails`, expected one of"),
        ("profile = { is = \"puppet\", codes = { 0 = \"failed\" } }", "are for is = \"custom\""),
        ("profile = { is = \"puppet\", lock = \"flock\" }", "there is no lock_file"),
    ] {
        let why = read(toml).unwrap_err();
        assert!(why.contains(hint), "{toml}: {why}");
    }
}
