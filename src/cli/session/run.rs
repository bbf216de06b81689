use std::{convert::Infallible, ffi::OsString, time::Duration};

use reqwest::Method;
use serde_json::json;

use crate::cli::{
    Done, block_on,
    child::{Child, Signals, exit_as, interrupted},
    client::{Client, Request, Target, encode_path, while_told_later},
    failure::Failure,
    keeper::{Keeper, parse_ttl},
    output,
};

/// Keep a session for as long as a command runs
///
/// NOAH_SESSION has the session's id in the command's environment. What is put with --put is tied to the session: it
/// ends with the command, or, when this is killed or its machine dies, when the session's time is over. The command
/// goes on whatever happens to the session; should that end while it runs, a new one takes its place.
///
/// Exits with the command's code.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// For how long the session outlives its last sign of life
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_ttl)]
    ttl: Duration,
    /// The session's name for people
    #[arg(long)]
    name: Option<String>,
    /// What to put: ephemerals/PATH=VALUE, hosts/HOST=STATUS or services/SERVICE/HOST=STATUS; may be given several times
    #[arg(long = "put", value_name = "PATH=VALUE", value_parser = parse_put)]
    puts: Vec<Put>,
    #[command(flatten)]
    target: Target,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    argv: Vec<OsString>,
}

/// A record that is tied to the session.
#[derive(Debug, Clone)]
struct Put {
    path: String,
    body: Vec<u8>,
}

fn parse_put(text: &str) -> Result<Put, String> {
    let words = "it is written ephemerals/PATH=VALUE, hosts/HOST=STATUS or services/SERVICE/HOST=STATUS";
    let (path, value) = text.split_once('=').ok_or(words)?;
    let body = match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["ephemerals", _, ..] => value.to_owned(),
        ["hosts", _] => json!({"status": value}).to_string(),
        ["services", _, _] => json!({"status": value, "host_status": "up"}).to_string(),
        _ => return Err(words.to_owned()),
    };
    Ok(Put { path: path.to_owned(), body: body.into_bytes() })
}

impl Run {
    pub fn run(self) -> Done {
        let client = self.target.client()?;
        let paths = self.puts.iter().map(|put| encode_path(&put.path)).collect::<Result<Vec<_>, _>>()?;
        block_on(self.attend(&client, &paths))
    }

    async fn attend(&self, client: &Client, paths: &[String]) -> Done {
        let mut signals = Signals::listen()?;
        let mut session = tokio::select! {
            session = self.open(client) => session?,
            signal = signals.next() => return Err(interrupted(signal)),
        };
        let put = tokio::select! {
            put = self.put(&mut session, client, paths) => put,
            signal = signals.next() => Err(interrupted(signal)),
        };
        let done = match put {
            Ok(()) => self.work(&mut session, client, paths, &mut signals).await,
            Err(failure) => Err(failure),
        };
        session.end().await;
        done
    }

    async fn open<'a>(&self, client: &'a Client) -> Result<Keeper<'a>, Failure> {
        while_told_later(async || Keeper::open(client, self.ttl, self.name.as_deref()).await).await
    }

    /// Puts all that is to be tied to the session, which lives on for as long as that takes.
    async fn put(&self, session: &mut Keeper<'_>, client: &Client, paths: &[String]) -> Done {
        let id = session.id().to_owned();
        let all = async {
            for (put, path) in self.puts.iter().zip(paths) {
                let request = Request::new(Method::PUT, path).query("session", &id).body(Some(put.body.clone()));
                while_told_later(async || client.send(request.clone()).await).await?;
            }
            Ok(())
        };
        tokio::select! {
            done = all => done,
            _ = session.keep() => Err(Failure::unmet("the session has ended before all was put")
                .hint("somebody ended it, or it could not be renewed in time; a greater --ttl bears more")),
        }
    }

    /// Runs the command, and keeps the session meanwhile.
    async fn work<'a>(
        &self,
        session: &mut Keeper<'a>,
        client: &'a Client,
        paths: &[String],
        signals: &mut Signals,
    ) -> Done {
        let variables = [("NOAH_SESSION", session.id().to_owned())];
        let mut child = Child::start(&self.argv, &variables, false)?;
        let command = async {
            loop {
                tokio::select! {
                    status = child.ended() => return status,
                    signal = signals.next() => child.signal(signal),
                }
            }
        };
        tokio::select! {
            status = command => exit_as(status?),
            never = self.keep(session, client, paths) => match never {},
        }
    }

    /// Keeps a session, and makes another in its place whenever it is lost.
    async fn keep<'a>(&self, session: &mut Keeper<'a>, client: &'a Client, paths: &[String]) -> Infallible {
        loop {
            session.keep().await;
            output::remark("noah: the session has ended while the command runs; making a new one");
            while let Err(failure) = self.renew(session, client, paths).await {
                let pause = failure.pause((self.ttl / 3).min(Duration::from_secs(5)));
                let _ = failure.report();
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn renew<'a>(&self, session: &mut Keeper<'a>, client: &'a Client, paths: &[String]) -> Done {
        // In its place at once, so that it is ended whatever comes of the rest.
        *session = self.open(client).await?;
        self.put(session, client, paths).await
    }
}
