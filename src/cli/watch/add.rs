use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::named;
use crate::{
    cli::{
        Done, block_on,
        client::{Answer, Request, Target},
        failure::Failure,
        output::{self, Output},
        put,
    },
    primitives::{Hidden, SigningKey},
};

/// Deliver the changes that match a pattern to an endpoint
#[derive(Debug, clap::Args)]
pub struct Add {
    /// Like //noah/hosts/web1 or //noah/ephemerals/db: that and all below it; * is any one segment, ** any number
    pattern: String,
    /// Like http://web1:8080/, where `noah poke` listens
    endpoint: String,
    /// Which of the events that wait are delivered: all, or of each path only the latest
    #[arg(long, value_name = "all|latest", value_parser = ["all", "latest"], hide_possible_values = true)]
    deliver: Option<String>,
    /// What comes first: what changes from now on, each record as it currently is, or what came after a revision
    #[arg(long, value_name = "now|current|REVISION", value_parser = from)]
    from: Option<Value>,
    /// Sign deliveries as Standard Webhooks has it; without a value the server makes the secret, which is shown once.
    /// A value given here is seen in the shell's history and by `ps`; --secret-file is not
    #[arg(long, value_name = "whsec_…", num_args = 0..=1, default_missing_value = "", value_parser = secret)]
    secret: Option<Hidden>,
    /// Sign deliveries with the secret in this file; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
    /// Send this header with each delivery; may be given several times. It is seen in the shell's history and by `ps`
    #[arg(long, value_name = "NAME: VALUE", value_parser = hidden)]
    header: Vec<Hidden>,
    /// Send the headers in this file with each delivery, one a line; - is stdin
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// How an event is packed: as Noah's JSON by itself, or that as a CloudEvent 1.0 in binary mode
    #[arg(long, value_name = "noah|cloudevents", value_parser = ["noah", "cloudevents"], hide_possible_values = true)]
    content: Option<String>,
    /// The session it is tied to: when that ends, the watch is paused until it is added again
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl Add {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let body = self.body()?.to_string().into_bytes();
        let answer = block_on(
            client
                .send(Request::new(Method::PUT, "watches").maybe("session", self.session.as_deref()).body(Some(body))),
        )?;
        put::report(&named::shown(&self.pattern, &self.endpoint), &answer, self.output)?;
        self.show_secret(&answer)
    }

    fn body(&self) -> Result<Value, Failure> {
        let stdin = Some(Path::new("-"));
        if self.secret_file.as_deref() == stdin && self.header_file.as_deref() == stdin {
            return Err(Failure::usage("stdin holds either the secret or the headers")
                .hint("give --secret-file or --header-file a file"));
        }
        let mut body = json!({ "pattern": self.pattern, "endpoint": self.endpoint });
        let options = [
            ("deliver", self.deliver.as_deref().map(Value::from)),
            ("from", self.from.clone()),
            ("secret", self.signing()?),
            ("headers", self.headers()?),
            ("content", self.content.as_deref().map(Value::from)),
        ];
        for (key, value) in options {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        Ok(body)
    }

    /// The secret; `true` has the server make one.
    fn signing(&self) -> Result<Option<Value>, Failure> {
        let text = match (&self.secret, &self.secret_file) {
            (None, None) => return Ok(None),
            (Some(secret), _) if secret.reveal().is_empty() => return Ok(Some(true.into())),
            (Some(secret), _) => secret.reveal().to_owned(),
            (None, Some(file)) => read(file)?,
        };
        // Told here, as the server's words are about JSON.
        let key = SigningKey::parse(text.trim()).map_err(|_| {
            Failure::usage("a secret is whsec_ and 24 to 64 bytes in base64")
                .hint("--secret without a value has the server make one, and shows it once")
        })?;
        Ok(Some(key.to_text().into()))
    }

    fn headers(&self) -> Result<Option<Value>, Failure> {
        let file = self.header_file.as_deref().map(read).transpose()?.unwrap_or_default();
        let lines = file.lines().filter(|line| !line.trim().is_empty());
        let mut headers = Map::new();
        for line in self.header.iter().map(Hidden::reveal).chain(lines) {
            let (name, value) = header(line)?;
            if headers.keys().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(Failure::usage(format!("the header {name} is given twice"))
                    .hint("join its values with a comma, if its receiver takes that"));
            }
            headers.insert(name.to_owned(), value.into());
        }
        Ok((!headers.is_empty()).then_some(Value::Object(headers)))
    }

    /// The server says the secret it made in this answer and never again; in JSON it is there already.
    fn show_secret(&self, answer: &Answer) -> Done {
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match json["secret"].as_str() {
            Some(secret) if !self.output.json() => {
                output::text(&format!("secret: {secret}"))?;
                output::remark("Keep the secret where the endpoint finds it: it is never shown again.");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// `now`, `current` or a revision.
fn from(text: &str) -> Result<Value, String> {
    match text {
        "now" | "current" => Ok(text.into()),
        _ => text.parse::<u64>().map(Value::from).map_err(|_| "it is now, current or a revision, a number".to_owned()),
    }
}

fn hidden(text: &str) -> Result<Hidden, String> {
    Ok(Hidden::new(text))
}

/// The value of `--secret`, unless that was meant to have none.
fn secret(text: &str) -> Result<Hidden, String> {
    if text.starts_with("//") {
        return Err("that is a pattern; write --secret without a value behind the endpoint".to_owned());
    }
    hidden(text)
}

/// The name and the value of `Name: value`. What is wrong is told without it, as it may be a secret.
fn header(line: &str) -> Result<(&str, &str), Failure> {
    let (name, value) = line.split_once(':').map(|(name, value)| (name.trim(), value.trim())).unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::usage("a header is written 'Name: value'"));
    }
    Ok((name, value))
}

/// The text in a file, or on stdin.
fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin().lock().read_to_string(&mut text).map(drop),
        false => fs::read_to_string(file).map(|read| text = read),
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
    Ok(text)
}
