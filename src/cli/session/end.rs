use reqwest::Method;

use crate::cli::{
    Done, block_on,
    client::{Request, Target, encode_path},
    output::Output,
    put,
};

/// End a session: what is tied to it ends as if its time had run out
#[derive(Debug, clap::Args)]
pub struct End {
    /// The session's id
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl End {
    pub fn run(self) -> Done {
        let path = format!("sessions/{}", self.id);
        let client = self.target.client()?;
        let answer = block_on(client.send(Request::new(Method::DELETE, encode_path(&path)?)))?;
        put::report(&path, &answer, self.output)
    }
}
