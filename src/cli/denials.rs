//! `noah denials`

use reqwest::Method;
use serde_json::Value;

use super::{
    Done, block_on,
    client::{Request, Target},
    list::{self, text},
    output::{self, Output},
    table::Table,
};

/// Show which requests were refused, to whom and why, the newest first
///
/// These are requests without a right, with a wrong token, or with too many wrong ones. The newest 10,000 are kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At most so many, up to 1000; 100 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// Only those before this number, to go on where a list ended
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Done {
        let request = Request::new(Method::GET, "denials").maybe("limit", self.limit).maybe("after", self.after);
        let client = self.target.client()?;
        let answer = block_on(client.send(request))?;
        list::say_if_more(&answer);
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let denials = client.json(&answer)?;
        output::text(&table(&denials).render())
    }
}

fn table(denials: &Value) -> Table {
    let mut table = Table::new(&["NUMBER", "TIME", "STATUS", "ADDRESS", "ACTOR", "VERB", "PATH", "WHY"]);
    for denial in denials.as_array().into_iter().flatten() {
        let mut row: Vec<String> =
            ["number", "time", "status", "address", "actor", "verb", "path"].map(|field| text(denial, field)).into();
        let missed = denial["missed"].as_u64().filter(|missed| *missed > 0);
        let missed = missed.map_or_else(String::new, |missed| format!(" (and {missed} before it, not written down)"));
        row.push(format!("{}{missed}", text(denial, "why")));
        table.row(row);
    }
    table
}
