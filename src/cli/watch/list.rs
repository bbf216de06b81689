use reqwest::Method;

use crate::cli::{
    Done, block_on,
    client::{Request, Target},
    list::{self, Kind},
    output::Output,
};

/// List the watches
#[derive(Debug, clap::Args)]
pub struct List {
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

impl List {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let request = Request::new(Method::GET, "watches").maybe("limit", self.limit).maybe("after", self.after);
        block_on(list::show(&client, Kind::Watches, request, self.output))
    }
}
