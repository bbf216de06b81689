use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

/// A connection on which anything can be sent, well-formed or not.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects to `127.0.0.1:PORT`.
    pub async fn connect(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// The same on a connection that is there.
    pub fn of(connection: TcpStream) -> Self {
        Self(connection)
    }

    /// Sends bytes. A server that has already hung up is no failure: it may answer before it has read all.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The next answer; panics when there is none.
    pub async fn answer(&mut self) -> RawAnswer {
        self.try_answer(false).await.expect("the server hung up without an answer")
    }

    /// The next answer, of which no body follows when it is that to a HEAD; `None` when there is none.
    pub async fn try_answer(&mut self, head_only: bool) -> Option<RawAnswer> {
        timeout(PATIENCE, self.read(head_only)).await.expect("no answer in time")
    }

    /// Whether the server closes the connection within `patience`.
    pub async fn is_closed_within(&mut self, patience: Duration) -> bool {
        let mut bytes = [0; 1024];
        let gone = async {
            loop {
                match self.0.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        timeout(patience, gone).await.is_ok()
    }

    async fn read(&mut self, head_only: bool) -> Option<RawAnswer> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.ok()?);
            }
            let mut answer = RawAnswer::parse(&String::from_utf8_lossy(&head));
            if answer.status >= 200 {
                answer.body = if head_only { Vec::new() } else { self.body(&answer).await? };
                return Some(answer);
            }
        }
    }

    async fn body(&mut self, answer: &RawAnswer) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.0.read_exact(&mut body).await.ok()?;
        } else if answer.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(self.line().await?.trim(), 16).unwrap();
                let mut chunk = vec![0; size + 2];
                self.0.read_exact(&mut chunk).await.ok()?;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        } else if !matches!(answer.status, 204 | 304) {
            self.0.read_to_end(&mut body).await.ok()?;
        }
        Some(body)
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.push(self.0.read_u8().await.ok()?);
        }
        String::from_utf8(line).ok()
    }
}

/// An answer, taken apart by hand.
#[derive(Debug, Default)]
pub struct RawAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawAnswer {
    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Self {
            status: status.unwrap_or_else(|| panic!("no status line: {first:?}")),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
            body: Vec::new(),
        }
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The words of Noah's failure body, which this must be.
    pub fn failure(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text:?}"));
        assert_eq!(body["result"], "failure", "{text}");
        let words = body["error_message"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "it does not say what is wrong: {text}");
        words.to_owned()
    }
}
