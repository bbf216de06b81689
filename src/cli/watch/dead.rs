use reqwest::Method;
use serde_json::Value;

use super::Named;
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    list::{self, text},
    output::{self, Output},
    table::Table,
};

/// List a watch's dead letters: the events that were given up
///
/// They are kept until `noah watch redrive` has brought them to the endpoint, or `noah watch discard` has thrown
/// them away. REDRIVE says which are to be sent again. With --output json each comes with its whole event.
#[derive(Debug, clap::Args)]
pub struct Dead {
    #[command(flatten)]
    watch: Named,
    /// At most so many, up to 1000; 100 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// Only those behind this revision, to go on where a list ended
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Dead {
    pub fn run(self) -> Done {
        let request = Request::new(Method::GET, format!("{}/dead", self.watch.path()?));
        let request = request.maybe("limit", self.limit).maybe("after", self.after);
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        list::say_if_more(&answer);
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        output::text(&table(&client.json(&answer)?).render())
    }
}

fn table(letters: &Value) -> Table {
    let mut table = Table::new(&["REVISION", "ACTION", "CHANNEL", "ATTEMPTS", "LAST ATTEMPT", "REDRIVE", "ERROR"]);
    for letter in letters.as_array().into_iter().flatten() {
        let mut row: Vec<String> =
            ["revision", "action", "channel", "attempts", "last_attempt"].map(|field| text(letter, field)).into();
        row.push(if letter["redriven"] == true { "waiting".to_owned() } else { String::new() });
        row.push(text(letter, "error"));
        table.row(row);
    }
    table
}

/// How many dead letters an answer is about, in words.
pub fn count(answer: &Value) -> (u64, String) {
    let letters = answer["letters"].as_u64().unwrap_or_default();
    let words = match letters {
        0 => "no dead letters".to_owned(),
        1 => "1 dead letter".to_owned(),
        more => format!("{more} dead letters"),
    };
    (letters, words)
}
