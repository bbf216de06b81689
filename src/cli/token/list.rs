use reqwest::Method;
use serde_json::Value;

use super::rules;
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    list::text,
    output::{self, Output},
    table::Table,
};

/// List the tokens
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl List {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let answer = block_on(client.list(Request::new(Method::GET, "tokens")))?;
        if self.output.json() {
            let body = answer.map_or_else(|| b"[]".to_vec(), |answer| answer.body);
            return output::text(&String::from_utf8_lossy(&body));
        }
        let json = answer.map(|answer| client.json(&answer)).transpose()?.unwrap_or_default();
        output::text(&table(&json).render())
    }
}

/// The tokens by their names, as people look for them.
fn table(json: &Value) -> Table {
    let mut table = Table::new(&["NAME", "ID", "ALLOWED", "EXPIRES", "NOTE"]);
    let mut tokens: Vec<&Value> = json.as_array().into_iter().flatten().collect();
    tokens.sort_by_key(|token| text(token, "name"));
    for token in tokens {
        let expires = match token["expired"].as_bool() {
            Some(true) => "expired".to_owned(),
            _ => text(token, "expires_at"),
        };
        let allowed = rules(&token["policy"]).join(" ");
        table.row(vec![text(token, "name"), text(token, "id"), allowed, expires, text(token, "note")]);
    }
    table
}
