use reqwest::Method;
use serde_json::Value;

use super::Named;
use crate::{
    cli::{
        Done, block_on,
        client::{Request, Target},
        list::{text, words},
        output::{self, Output},
        table::Table,
    },
    settings::shown_url,
};

/// What is shown of a watch, in this order.
const SHOWN: [&str; 18] = [
    "pattern",
    "endpoint",
    "state",
    "paused",
    "deliver",
    "content",
    "from",
    "signed",
    "headers",
    "cursor",
    "lag",
    "dead_letters",
    "attempts",
    "first_attempt",
    "next_attempt",
    "last_success",
    "last_error",
    "last_error_at",
];

/// Show a watch and how it does: how far it has come, what waits, what went wrong
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    watch: Named,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub fn run(self) -> Done {
        let request = Request::new(Method::GET, self.watch.path()?);
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let watch = client.json(&answer)?;
        output::text(&table(&watch).render())?;
        if watch["dead_letters"].as_u64().is_some_and(|letters| letters > 0) {
            output::remark("`noah watch dead` shows the dead letters, `noah watch redrive` has them sent again");
        }
        Ok(())
    }
}

/// One line for each thing there is to say; options that are as usual and times that were never are not.
fn table(watch: &Value) -> Table {
    let mut table = Table::new(&["NAME", &text(watch, "name")]);
    for field in SHOWN.into_iter().filter(|field| !watch[field].is_null()) {
        let value = match field {
            "endpoint" => shown_url(&text(watch, field)),
            "headers" => words(&watch[field]),
            "lag" if watch["lag_is_more"] == true => format!("{} or more", watch[field]),
            _ => text(watch, field),
        };
        table.row(vec![field.to_uppercase().replace('_', " "), value]);
    }
    table
}
