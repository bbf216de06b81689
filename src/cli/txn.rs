//! `noah txn [FILE|-]`

use std::{fs, path::PathBuf};

use reqwest::Method;
use serde_json::Value;

use super::{
    Done, block_on, body,
    client::{Answer, Request, Target},
    failure::Failure,
    output::{self, Output},
};

/// Do several operations all together, or none of them
///
/// There are 1 to 128, each of them put, delete or check with a path as in a URL:
///
///   {"ops": [
///     {"put": "/ephemerals/db/master", "data": "db2", "if_match": 41},
///     {"put": "/hosts/db2", "body": {"status": "up"}},
///     {"delete": "/services/db/db1"},
///     {"check": "/hosts/db2", "exists": true}]}
///
/// Every condition is about the state before the first of them. Exits with 1 when one does not hold.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The file with the operations; from stdin without one
    #[arg(value_name = "FILE|-", default_value = "-", hide_default_value = true)]
    file: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let operations = if self.file.as_os_str() == "-" {
            body::stdin()?
        } else {
            fs::read(&self.file)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", self.file.display())))?
        };
        let answer = block_on(client.send(Request::new(Method::POST, "txn").body(Some(operations))))?;
        if self.output.json() {
            return output::text(&String::from_utf8_lossy(&answer.body));
        }
        output::text(&told(&client.json(&answer)?, &answer))
    }
}

/// A line for each operation, and the store's revision.
fn told(json: &Value, answer: &Answer) -> String {
    let mut lines = String::new();
    for op in json["ops"].as_array().into_iter().flatten() {
        let done = match op["action"].as_str() {
            Some("create") => "created",
            Some("update") => "updated",
            Some("delete") => "deleted",
            _ => "as it should be",
        };
        let revision = op["revision"].as_u64().map(|revision| format!(", revision {revision}")).unwrap_or_default();
        lines.push_str(&format!("{}: {done}{revision}\n", op["path"].as_str().unwrap_or_default()));
    }
    let revision = answer.revision.map(|revision| format!(" at revision {revision}")).unwrap_or_default();
    format!("{lines}done{revision}")
}
