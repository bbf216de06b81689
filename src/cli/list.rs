//! `noah list KIND`

use reqwest::Method;
use serde_json::Value;

use super::{
    Done, block_on,
    client::{Answer, Client, Request, Target},
    output::{self, Output},
    table::{Table, printable},
};
use crate::settings::shown_url;

/// How many ephemerals are asked for when nobody says how many: the server gives no list of them without a limit.
const EPHEMERALS: u64 = 1000;

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Hosts,
    Services,
    Applications,
    Configurations,
    Ephemerals,
    Tags,
    Watches,
    Sessions,
    Locks,
}

/// Lists what is stored of one kind.
#[derive(Debug, clap::Args)]
pub struct Args {
    kind: Kind,
    /// Only hosts or services that are up, down or pending
    #[arg(long)]
    status: Option<String>,
    /// Only what has this tag
    #[arg(long)]
    tag: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only what comes behind this name, to go on where a list with a limit ended
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let limit = self.limit.or((self.kind == Kind::Ephemerals).then_some(EPHEMERALS));
        let short = (self.kind == Kind::Configurations && !self.output.json()).then_some(true);
        let request = Request::new(Method::GET, self.kind.as_str())
            .maybe("status", self.status)
            .maybe("tag", self.tag)
            .maybe("after", self.after)
            .maybe("limit", limit)
            .maybe("short", short);
        block_on(show(&client, self.kind, request, self.output))
    }
}

/// Asks for a list and prints it.
pub async fn show(client: &Client, kind: Kind, request: Request, output: Output) -> Done {
    let answer = client.list(request).await?;
    answer.iter().for_each(say_if_more);
    if output.json() {
        let empty = if kind == Kind::Watches { "[]" } else { "{}" };
        return match answer {
            Some(answer) => output::text(&String::from_utf8_lossy(&answer.body)),
            None => output::text(empty),
        };
    }
    let json = match answer {
        Some(answer) => client.json(&answer)?,
        None => Value::Null,
    };
    output::text(&kind.table(&json).render())
}

/// Tells a person how to go on where this page of a list ends.
pub fn say_if_more(answer: &Answer) {
    if let Some(next) = &answer.next {
        output::remark(&format!("there is more: go on with --after '{}', or raise --limit", printable(next)));
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Services => "services",
            Self::Applications => "applications",
            Self::Configurations => "configurations",
            Self::Ephemerals => "ephemerals",
            Self::Tags => "tags",
            Self::Watches => "watches",
            Self::Sessions => "sessions",
            Self::Locks => "locks",
        }
    }

    fn table(self, json: &Value) -> Table {
        match self {
            Self::Hosts => by_name(json, ["HOST", "STATUS", "SERVICES", "TAGS", "UPDATED"], |host| {
                [text(host, "status"), statuses(&host["services"]), words(&host["tags"]), text(host, "updated_at")]
            }),
            Self::Services => services(json),
            Self::Applications => by_name(json, ["APPLICATION", "CONFIGURATIONS", "TAGS", "UPDATED"], |application| {
                let names: Vec<&str> = entries(&application["configurations"]).map(|(name, _)| name).collect();
                [names.join(" "), words(&application["tags"]), text(application, "updated_at")]
            }),
            Self::Configurations => by_name(json, ["CONFIGURATION", "FORMAT", "CREATED", "UPDATED"], |entry| {
                [text(entry, "format"), text(entry, "created_at"), text(entry, "updated_at")]
            }),
            Self::Ephemerals => by_name(json, ["PATH", "BYTES", "TAGS", "UPDATED"], |ephemeral| {
                [text(ephemeral, "bytes"), words(&ephemeral["tags"]), text(ephemeral, "updated_at")]
            }),
            Self::Tags => by_name(json, ["TAG", "MEMBERS", "UPDATED"], |tag| [members(tag), text(tag, "updated_at")]),
            Self::Watches => watches(json),
            Self::Sessions => by_name(json, ["SESSION", "NAME", "TTL", "EXPIRES IN", "CREATED"], |session| {
                [text(session, "name"), text(session, "ttl"), text(session, "expires_in"), text(session, "created_at")]
            }),
            Self::Locks => locks(json),
        }
    }
}

/// A table of a map by name; `cells` makes all columns but the first, which is the name.
fn by_name<const N: usize, const M: usize>(
    json: &Value,
    heading: [&str; N],
    cells: impl Fn(&Value) -> [String; M],
) -> Table {
    const { assert!(N == M + 1, "the name and the other columns make the heading") };
    let mut table = Table::new(&heading);
    for (name, entry) in entries(json) {
        table.row([vec![name.to_owned()], cells(entry).to_vec()].concat());
    }
    table
}

fn services(json: &Value) -> Table {
    let mut table = Table::new(&["SERVICE", "HOST", "STATUS", "TAGS", "UPDATED"]);
    for (service, hosts) in entries(json) {
        for (host, entry) in entries(hosts) {
            let updated = text(entry, "updated_at");
            table.row(vec![service.into(), host.into(), text(entry, "status"), words(&entry["tags"]), updated]);
        }
    }
    table
}

fn watches(json: &Value) -> Table {
    let mut table = Table::new(&["PATTERN", "ENDPOINT", "NAME"]);
    for watch in json.as_array().into_iter().flatten() {
        table.row(vec![text(watch, "pattern"), shown_url(&text(watch, "endpoint")), text(watch, "name")]);
    }
    table
}

fn locks(json: &Value) -> Table {
    let mut table = Table::new(&["LOCK", "SESSION", "NAME", "SLOTS", "FENCE", "SINCE"]);
    for (name, lock) in entries(json) {
        for queue in ["holders", "waiters"] {
            for entry in lock[queue].as_array().into_iter().flatten() {
                let cells = ["session", "session_name", "slots", "fence", "since"].map(|field| text(entry, field));
                table.row([vec![name.to_owned()], cells.to_vec()].concat());
            }
        }
    }
    table
}

fn entries(json: &Value) -> impl Iterator<Item = (&str, &Value)> {
    json.as_object().into_iter().flatten().map(|(name, entry)| (name.as_str(), entry))
}

/// A field as the text of a cell; nothing when it is not there.
pub fn text(json: &Value, field: &str) -> String {
    match &json[field] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A list of words as the text of a cell.
pub fn words(json: &Value) -> String {
    let words: Vec<&str> = json.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    words.join(" ")
}

fn statuses(services: &Value) -> String {
    let words: Vec<String> =
        entries(services).map(|(name, status)| format!("{name}={}", status.as_str().unwrap_or("?"))).collect();
    words.join(" ")
}

/// How many of each kind carry a tag: `2 hosts 1 services`.
fn members(tag: &Value) -> String {
    let words: Vec<String> = entries(tag)
        .filter_map(|(kind, members)| members.as_object().map(|members| format!("{} {kind}", members.len())))
        .collect();
    words.join(" ")
}
