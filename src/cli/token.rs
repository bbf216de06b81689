//! `noah token …`: one file per subcommand.

mod change;
mod create;
mod list;
mod revoke;
mod rotate;
mod show;

use serde_json::Value;

use super::{
    Done,
    client::{Answer, encode_segment},
    list::text,
    output::{self, Output},
    table::Table,
};
use crate::primitives::Rule;

/// What can be done with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Change(change::Change),
    Rotate(rotate::Rotate),
    Revoke(revoke::Revoke),
}

impl Command {
    pub fn run(self) -> Done {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Change(change) => change.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

/// A token by its id or its name.
#[derive(Debug, clap::Args)]
struct Named {
    /// Its name, or its id
    name: String,
}

impl Named {
    fn path(&self) -> String {
        format!("tokens/{}", encode_segment(&self.name))
    }
}

/// Reads a rule of the command line as the server would.
fn rule(text: &str) -> Result<Rule, String> {
    Rule::parse(text).map_err(|error| error.to_string())
}

/// The rules of a policy as they are written.
fn rules(policy: &Value) -> Vec<String> {
    let words = |rule: &Value| {
        let rights: Vec<&str> = rule["rights"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = format!("{}={}", rights.join(","), text(rule, "pattern"));
        // With `all` in place of all of them.
        Rule::parse(&text).map_or(text, |rule| rule.to_string())
    };
    policy.as_array().into_iter().flatten().map(words).collect()
}

/// Shows a secret, which nobody can see again.
fn show_secret(answer: &Answer, output: Output) -> Done {
    if output.json() {
        return output::text(&String::from_utf8_lossy(&answer.body));
    }
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    output::text(&format!("{}: {}", text(&json, "name"), text(&json, "secret")))?;
    output::remark(
        "Keep the secret: it is never shown again. Commands find it in NOAH_TOKEN, or in a file: --token-file.",
    );
    if let Some(until) = json["old_secret_until"].as_str() {
        output::remark(&format!("The secret before it works until {until}."));
    }
    Ok(())
}

/// One line for each thing there is to say of a token, or of who one is.
pub(super) fn described(json: &Value, shown: &[&str]) -> Table {
    let mut table = Table::new(&["NAME", &text(json, "name")]);
    for field in shown.iter().copied().filter(|field| !json[*field].is_null()) {
        let heading = field.to_uppercase().replace('_', " ");
        if field == "policy" {
            let rules = rules(&json[field]);
            let none = rules.is_empty().then(String::new);
            for rule in rules.into_iter().chain(none) {
                table.row(vec![heading.clone(), rule]);
            }
        } else {
            table.row(vec![heading, text(json, field)]);
        }
    }
    table
}
