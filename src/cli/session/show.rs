use reqwest::Method;

use crate::cli::{
    Done, block_on,
    client::{Request, Target, encode_path},
    list::{text, words},
    output::{self, Output},
    table::Table,
};

/// Show a session: how long it lives, and what is tied to it
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The session's id
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let request = Request::new(Method::GET, encode_path(&format!("sessions/{}", self.id))?);
        let answer = block_on(client.send(request))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let session = client.json(&answer)?;
        let mut table = Table::new(&["ID", &text(&session, "id")]);
        for field in ["name", "ttl", "expires_in", "created_at"] {
            table.row(vec![field.to_uppercase().replace('_', " "), text(&session, field)]);
        }
        table.row(vec!["HOLDS".to_owned(), words(&session["holds"])]);
        output::text(&table.render())
    }
}
