//! The layers of the settings, which of them wins, and what is refused.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, time::Duration};

use noah::{
    agents::egress::{Rule, Rules},
    settings::{LogFormat, Settings, SettingsError, Sources, shown_url},
};
use tempfile::TempDir;

use crate::support::command;

/// Settings from a file, variables and flags, as `noah serve` finds them.
#[derive(Default)]
struct Given {
    directory: Option<TempDir>,
    file: Option<PathBuf>,
    variables: HashMap<&'static str, OsString>,
    flags: Vec<(&'static str, String)>,
    port: Option<u16>,
}

impl Given {
    fn file(mut self, text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("noah.toml");
        std::fs::write(&path, text).expect("the file is written");
        (self.directory, self.file) = (Some(directory), Some(path));
        self
    }

    fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    fn flag(mut self, key: &'static str, value: &str) -> Self {
        self.flags.push((key, value.to_owned()));
        self
    }

    fn load(&self) -> Result<Settings, SettingsError> {
        let variable = |name: &str| self.variables.get(name).cloned();
        let (flags, file) = (self.flags.clone(), self.file.clone());
        Settings::load(&Sources { flags, port: self.port, file, variable: &variable })
    }

    fn settings(&self) -> Settings {
        self.load().expect("these settings are right")
    }

    fn refusal(&self) -> String {
        self.load().expect_err("these settings are wrong").to_string()
    }
}

fn file(text: &str) -> Given {
    Given::default().file(text)
}

#[test]
fn the_shipped_file_says_the_documented_defaults() {
    let settings = Given::default().settings();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:5678");
    assert_eq!(settings.store.url, "sqlite:noah.db");
    assert_eq!(settings.store.namespace, "noah");
    assert_eq!(settings.store.durability.to_string(), "everysec");
    assert_eq!((settings.agents, settings.insecure), (true, false));
    assert_eq!(settings.ephemeral_max_bytes, 512 * 1024);
    assert_eq!(settings.body_max_bytes, 1024 * 1024);
    assert_eq!(settings.header_max_bytes, 16 * 1024);
    assert_eq!(settings.request_timeout, Duration::from_secs(30));
    assert_eq!(settings.shutdown_deadline, Duration::from_secs(10));
    assert_eq!((settings.log.format, settings.log.level.as_str()), (LogFormat::Human, "info"));
    assert_eq!((settings.retention.events, settings.retention.age), (1_000_000, Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(settings.delivery.connect_timeout, Duration::from_secs(5));
    assert_eq!(settings.delivery.timeout, Duration::from_secs(30));
    assert_eq!(settings.delivery.response_max_bytes, 64 * 1024);
    assert_eq!((settings.delivery.concurrency, settings.delivery.concurrency_per_host), (512, 64));
    assert_eq!((settings.delivery.ca_file, settings.delivery.client_cert), (None, None));
    assert_eq!(settings.egress, Rules::default());
    assert_eq!(settings.delivery.retry_first, Duration::from_secs(1));
    assert_eq!(settings.delivery.retry_max, Duration::from_secs(600));
    assert!((settings.delivery.jitter - 0.2).abs() < f64::EPSILON);
}

#[test]
fn the_shipped_file_is_a_file_that_can_be_given_and_comments_every_key() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/noah.toml")).expect("it ships");
    file(&text).settings();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
        // `retry_max` is described together with `retry_first` above it.
        let above = lines[..at].iter().rev().find(|line| !line.starts_with("retry_first")).copied().unwrap_or_default();
        assert!(above.starts_with('#'), "no comment above {line:?}");
    }
}

#[test]
fn every_key_has_a_flag() {
    let output = command().args(["serve", "--help"]).output().expect("it runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/noah.toml")).expect("it ships");
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}-");
        } else if let Some((key, _)) = line.split_once(" = ") {
            let flag = if key == "agents" { "no-agents" } else { key };
            let flag = format!("--{section}{}", flag.replace('_', "-"));
            assert!(help.lines().any(|line| line.split([' ', ',']).any(|word| word == flag)), "there is no {flag}");
        }
    }
}

#[test]
fn each_layer_is_stronger_than_the_one_below() {
    let given = file("namespace = \"file\"\n[log]\nformat = \"json\"\n");
    assert_eq!(given.settings().store.namespace, "file");
    assert_eq!(given.settings().log.format, LogFormat::Json);
    let given = given.variable("NOAH_NAMESPACE", "variable").variable("NOAH_LOG_FORMAT", "human");
    assert_eq!(given.settings().store.namespace, "variable");
    assert_eq!(given.settings().log.format, LogFormat::Human);
    let given = given.flag("namespace", "flag").flag("log.format", "json");
    assert_eq!(given.settings().store.namespace, "flag");
    assert_eq!(given.settings().log.format, LogFormat::Json);
    assert_eq!(given.settings().delivery.timeout, Duration::from_secs(30), "what nobody says is the default");
}

#[test]
fn every_type_can_come_from_a_variable() {
    let given = Given::default()
        .variable("NOAH_AGENTS", "false")
        .variable("NOAH_BODY_MAX_BYTES", "2048")
        .variable("NOAH_DELIVERY_JITTER", "1")
        .variable("NOAH_DELIVERY_TIMEOUT", "1500ms")
        .variable("NOAH_DELIVERY_CONNECT_TIMEOUT", "1s");
    let settings = given.settings();
    assert!(!settings.agents);
    assert_eq!(settings.body_max_bytes, 2048);
    assert!((settings.delivery.jitter - 1.0).abs() < f64::EPSILON);
    assert_eq!(settings.delivery.timeout, Duration::from_millis(1500));
}

#[test]
fn a_list_is_in_brackets_in_a_file_and_has_commas_elsewhere() {
    let shown = |rules: &[Rule]| rules.iter().map(ToString::to_string).collect::<Vec<_>>();
    let given = file("[egress]\nallow = [\"10.0.0.0/8\", \"*.Example.com\"]\ndeny = [\"::1\"]");
    assert_eq!(shown(&given.settings().egress.allow), ["10.0.0.0/8", "*.example.com"]);
    assert_eq!(shown(&given.settings().egress.deny), ["::1"]);
    let given = given.variable("NOAH_EGRESS_ALLOW", "192.168.0.0/16, hooks.example.com,10.1.2.3");
    assert_eq!(shown(&given.settings().egress.allow), ["192.168.0.0/16", "hooks.example.com", "10.1.2.3"]);
    let given = given.flag("egress.deny", "0.0.0.0/0,::/0").flag("egress.allow", "");
    assert_eq!(shown(&given.settings().egress.deny), ["0.0.0.0/0", "::/0"]);
    assert_eq!(given.settings().egress.allow, [], "none is a list as well");
}

#[test]
fn a_file_is_a_path_and_an_empty_one_is_none() {
    let given = file("[delivery]\nca_file = \"/etc/ca.pem\"").variable("NOAH_DELIVERY_CLIENT_CERT", "id.pem");
    assert_eq!(given.settings().delivery.ca_file, Some(PathBuf::from("/etc/ca.pem")));
    assert_eq!(given.settings().delivery.client_cert, Some(PathBuf::from("id.pem")));
    assert_eq!(given.flag("delivery.ca_file", "").settings().delivery.ca_file, None);
}

#[test]
fn the_originals_variables_and_port_still_work() {
    let given =
        file("store = \"redis://file\"\n").variable("REDIS_URL", "redis://old:6379/1").variable("NOAH_ESIZE", "600000");
    assert_eq!(given.settings().store.url, "redis://old:6379/1");
    assert_eq!(given.settings().ephemeral_max_bytes, 600_000);
    let given = given.variable("NOAH_STORE", "redis://new").variable("NOAH_EPHEMERAL_MAX_BYTES", "700000");
    assert_eq!(given.settings().store.url, "redis://new");
    assert_eq!(given.settings().ephemeral_max_bytes, 700_000);
    let mut given = file("listen = \"[::1]:1\"\n");
    given.port = Some(9292);
    assert_eq!(given.settings().listen.to_string(), "[::1]:9292");
}

#[test]
fn the_file_can_be_named_by_a_variable_and_the_flag_wins() {
    let (one, other) = (file("namespace = \"one\""), file("namespace = \"other\""));
    let path = one.file.as_ref().and_then(|path| path.to_str()).expect("a path in UTF-8");
    assert_eq!(Given::default().variable("NOAH_CONFIG", path).settings().store.namespace, "one");
    assert_eq!(other.variable("NOAH_CONFIG", path).settings().store.namespace, "other");
}

#[test]
fn an_empty_or_unknown_variable_counts_as_not_set() {
    let given = Given::default().variable("NOAH_LISTEN", "").variable("NOAH_PATH", "/x").variable("NOAH_LISTENN", "x");
    assert_eq!(given.settings().listen.port(), 5678);
}

#[test]
fn there_are_no_plug_ins_unless_a_directory_is_named() {
    assert_eq!(Given::default().settings().plugins, None);
    let given = file("plugins = \"/usr/lib/noah\"\n");
    assert_eq!(given.settings().plugins.as_deref(), Some(std::path::Path::new("/usr/lib/noah")));
    assert_eq!(given.variable("NOAH_PLUGINS", "here").flag("plugins", "").settings().plugins, None);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_right_one() {
    let words = file("lisen = \"127.0.0.1:1\"").refusal();
    assert!(words.contains("\"lisen\"") && words.contains("did you mean \"listen\"?"), "{words}");
    let words = file("[delivery]\nretry_frist = \"1s\"").refusal();
    assert!(words.contains("did you mean \"delivery.retry_first\"?"), "{words}");
    let words = file("retry_max = \"1s\"").refusal();
    assert!(words.contains("did you mean \"delivery.retry_max\"?"), "{words}");
    let words = file("[xyzzy]").refusal();
    assert!(words.contains("\"xyzzy\"") && words.contains("examples/noah.toml"), "{words}");
}

#[test]
fn a_wrong_value_is_refused_with_its_key_its_origin_and_what_is_allowed() {
    let cases = [
        ("body_max_bytes = \"big\"", "body_max_bytes cannot be \"big\"", "a whole number"),
        ("body_max_bytes = 0", "body_max_bytes cannot be 0", "from 64 to"),
        ("ephemeral_max_bytes = -1", "ephemeral_max_bytes cannot be -1", "from 1 to"),
        ("header_max_bytes = 1000000", "header_max_bytes cannot be 1000000", "to 65536"),
        ("agents = 1", "agents cannot be 1", "true or false"),
        ("request_timeout = 30", "request_timeout cannot be 30", "text in quotes"),
        ("request_timeout = \"30\"", "request_timeout cannot be \"30\"", "30s, 10m"),
        ("request_timeout = \"0s\"", "request_timeout cannot be \"0s\"", "from 1ms to 1h"),
        ("durability = \"sometimes\"", "durability cannot be \"sometimes\"", "always, everysec or none"),
        ("store = \"mysql:x\"", "store cannot be", "sqlite:FILE"),
        ("namespace = \"{x}\"", "namespace cannot be", "letters"),
        ("listen = \"5678\"", "listen cannot be \"5678\"", "127.0.0.1:5678"),
        ("log = \"json\"", "log cannot be \"json\"", "section"),
        ("[listen]\nport = 1", "there is no setting \"listen.port\"", "listen"),
        ("[log]\nformat = \"xml\"", "log.format cannot be \"xml\"", "human or json"),
        ("[log]\nlevel = \"loud\"", "log.level cannot be \"loud\"", "warn"),
        ("[retention]\nevents = 0", "retention.events cannot be 0", "a number of events from 1 to"),
        ("[retention]\nage = \"10ms\"", "retention.age cannot be \"10ms\"", "from 1s to 100years"),
        ("[delivery]\nconcurrency = 0", "delivery.concurrency cannot be 0", "from 1 to 65536"),
        (
            "[delivery]\nconcurrency_per_host = 65537",
            "delivery.concurrency_per_host cannot be 65537",
            "from 1 to 65536",
        ),
        ("[delivery]\nresponse_max_bytes = -1", "delivery.response_max_bytes cannot be -1", "from 0 to"),
        ("[delivery]\nca_file = 1", "delivery.ca_file cannot be 1", "text in quotes"),
        ("[egress]\nallow = \"10.0.0.1\"", "egress.allow cannot be \"10.0.0.1\"", "a list, in brackets"),
        ("[egress]\nallow = [1]", "egress.allow cannot be a list", "10.0.0.0/8"),
        ("[egress]\ndeny = [\"10.0.0.1\", \"10.0.0.0/33\"]", "egress.deny cannot be", "\"10.0.0.0/33\" is none"),
        ("[delivery]\njitter = 1.5", "delivery.jitter cannot be 1.5", "from 0 to 1"),
    ];
    for (text, key, allowed) in cases {
        let words = file(text).refusal();
        assert!(words.contains(key) && words.contains(allowed) && words.contains("noah.toml"), "{text}: {words}");
    }
    let words = Given::default().variable("NOAH_ESIZE", "many").refusal();
    assert!(words.contains("NOAH_ESIZE") && words.contains("\"many\""), "{words}");
    let words = Given::default().flag("log.level", "infoo").refusal();
    assert!(words.contains("--log-level"), "{words}");
}

#[test]
fn contradictions_are_refused() {
    let words = file("[delivery]\nconnect_timeout = \"31s\"").refusal();
    assert!(words.contains("delivery.connect_timeout (31s) is more than delivery.timeout (30s)"), "{words}");
    let words = file("[delivery]\nretry_max = \"500ms\"").refusal();
    assert!(words.contains("delivery.retry_first (1s) is more than delivery.retry_max (500ms)"), "{words}");
    let words = file("[delivery]\nconcurrency = 63").refusal();
    assert!(words.contains("delivery.concurrency_per_host (64) is more than delivery.concurrency (63)"), "{words}");
}

#[test]
fn those_without_a_token_may_do_everything_on_loopback_and_nothing_beyond() {
    for listen in ["0.0.0.0:5678", "127.0.0.1:1"] {
        let settings = Given::default().flag("listen", listen).settings();
        assert!(settings.access.loopback.is_admin() && settings.access.anonymous.rules().is_empty());
        assert_eq!(settings.bootstrap_token_file, None);
    }
}

#[test]
fn what_those_without_a_token_may_do_is_a_list_of_rules() {
    let rules = |given: Given| {
        let rules = given.settings().access.anonymous.rules().iter().map(ToString::to_string).collect::<Vec<_>>();
        rules.join(" ")
    };
    assert_eq!(
        rules(file("[access]\nanonymous = [\"write,read=//noah/a\", \"all=//noah/b\"]")),
        "read,write=//noah/a all=//noah/b"
    );
    let flag = |text| Given::default().flag("access.anonymous", text);
    assert_eq!(rules(flag("read,write=//noah/a,delete=//noah/b")), "read,write=//noah/a delete=//noah/b");
    assert_eq!(rules(flag("")), "");
    for wrong in ["read", "reed=//noah", "read=/hosts", "admin=//noah/hosts", "read=//noah,write"] {
        let words = flag(wrong).refusal();
        assert!(words.contains("--access-anonymous") && words.contains("read,write=//noah"), "{wrong}: {words}");
    }
}

#[test]
fn a_password_is_shown_nowhere() {
    let given = Given::default().flag("store", "redis://user:hunter2@redis:6379/0");
    assert!(!format!("{:?}", given.settings()).contains("hunter2"));
    for text in
        ["store = \"mysql://u:hunter2@h\"", "store = \"redis://u:hunter2@h\nx", "store = [\"redis://:hunter2@h\"]"]
    {
        let words = file(text).refusal();
        assert!(!words.contains("hunter2"), "{words}");
    }
    assert_eq!(shown_url("https://u:hunter2@h:81/p?token=hunter2#hunter2"), "https://h:81/p");
}
