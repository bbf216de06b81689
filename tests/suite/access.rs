//! Who may do what: tokens, what each route needs, and what those may do who show nothing.

mod commands;
mod first;
mod held;
mod others;
pub mod routes;
mod seen;
mod tokens;
mod withheld;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Client, Database, Noah};

/// The secret of a token that may do everything.
const ADMIN: &str = "a secret of an operator, long enough";

/// A server on which nobody may do anything without a token, and a client that may do everything.
pub struct Guarded {
    pub noah: Noah,
    pub admin: Client,
}

impl Guarded {
    async fn on(backend: Backend) -> Self {
        Self::over(Database::on(backend).await, &["--access-loopback", ""])
    }

    /// One of whom more is known.
    pub fn over(database: Database, args: &[&str]) -> Self {
        let file = database.dir().join("bootstrap");
        std::fs::write(&file, format!("{ADMIN}\n")).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let noah = Noah::start(database, &[args, &["--bootstrap-token-file", &file]].concat());
        let admin = noah.client().bearing(ADMIN);
        Self { noah, admin }
    }

    /// Makes a token with this policy; its secret.
    pub async fn token(&self, name: &str, policy: &[&str]) -> String {
        self.token_with(name, policy, &json!({})).await["secret"].as_str().unwrap().to_owned()
    }

    /// Makes a token with more options; what was answered.
    async fn token_with(&self, name: &str, policy: &[&str], options: &Value) -> Value {
        let mut body = json!({"name": name, "policy": policy});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        self.admin.put_ok("/tokens", body.to_string()).await.json()
    }

    /// A client with a new token of this policy.
    pub async fn client(&self, name: &str, policy: &[&str]) -> Client {
        self.noah.client().bearing(&self.token(name, policy).await)
    }
}

/// Asks who this is; the status, and the name.
async fn who(client: &Client) -> (u16, String) {
    let answer = client.get("/whoami").await;
    let name = if answer.status == 200 { answer.json()["name"].as_str().unwrap().to_owned() } else { String::new() };
    (answer.status, name)
}

async fn send(client: &Client, method: &Method, path: &str, body: &str) -> Answer {
    let request = client.request(method.clone(), path).header("content-type", "application/json");
    Answer::of(request.body(body.to_owned())).await
}
