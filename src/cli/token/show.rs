use reqwest::Method;

use super::{Named, described};
use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    output::{self, Output},
};

/// Show a token: what it may do, and until when
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    token: Named,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let answer = block_on(client.send(Request::new(Method::GET, self.token.path())))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        let shown = ["id", "note", "subject", "policy", "expires_at", "expired", "created_at", "updated_at"];
        output::text(&described(&client.json(&answer)?, &shown).render())
    }
}
