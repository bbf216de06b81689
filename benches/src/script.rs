//! The call of Redis that a PUT of Noah is, as it was seen by MONITOR.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    VALUE, path,
    servers::{Places, Server, client, put},
};

/// What stands for the number of a path in `redis-benchmark`; as long as the number.
const RANDOM: &str = "__rand_int__";

/// One argument of a command, in JSON as base64.
#[derive(Debug, Clone)]
struct Argument(Vec<u8>);

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// EVALSHA and all its arguments, for the path [`path`]`(0)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call(Vec<Argument>);

impl Call {
    /// Has a Noah do a PUT on this Redis, and looks at what it asks of it. The script is known to Redis from then on.
    pub async fn of_a_put(places: &Places, redis: &Server) -> Result<Self> {
        let noah = places.noah_on_redis(redis).await?;
        let (http, url) = (client(), format!("{}{}", noah.url, path(0)));
        put(&http, &url, VALUE.to_owned()).await?;
        let mut monitor = TcpStream::connect(("127.0.0.1", redis.port)).await?;
        monitor.write_all(b"MONITOR\r\n").await?;
        let mut lines = BufReader::new(monitor).lines();
        lines.next_line().await?.context("Redis says that it monitors")?;
        put(&http, &url, VALUE.to_owned()).await?;
        let number = &path(0)[path(0).len() - RANDOM.len()..];
        while let Some(line) = lines.next_line().await? {
            if line.contains(r#""EVALSHA""#) && line.contains(number) {
                let call = Self(words(&line).into_iter().map(Argument).collect());
                noah.process.stop()?;
                return Ok(call);
            }
        }
        bail!("Redis has told of no script");
    }

    /// As `redis-benchmark` takes it, with its own word in place of the number. No argument of a process can hold a zero
    /// byte: those are in the time beside the operations, which the script decodes and does not look at, and become ones.
    pub fn for_benchmark(&self) -> Vec<OsString> {
        let arguments = self.0.iter().map(|Argument(bytes)| replaced(bytes, RANDOM.as_bytes()));
        arguments.map(|bytes| OsString::from_vec(bytes.into_iter().map(|byte| byte.max(1)).collect())).collect()
    }

    /// The same for another path and another value, which is the last argument.
    pub fn with(&self, number: &str, value: &[u8]) -> redis::Cmd {
        let mut command = redis::Cmd::new();
        let (_, arguments) = self.0.split_last().expect("a script has arguments");
        for Argument(bytes) in arguments {
            command.arg(replaced(bytes, number.as_bytes()));
        }
        command.arg(value);
        command
    }
}

/// With another number in place of that of path 0.
fn replaced(bytes: &[u8], by: &[u8]) -> Vec<u8> {
    let path = path(0);
    let number = &path.as_bytes()[path.len() - RANDOM.len()..];
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(number.len()).position(|window| window == number) {
        bytes[at..at + number.len()].copy_from_slice(by);
    }
    bytes
}

/// The quoted words of a line of MONITOR, without what Redis escapes.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.bytes();
    while rest.by_ref().any(|byte| byte == b'"') {
        let mut word = Vec::new();
        loop {
            match rest.next() {
                None | Some(b'"') => break,
                Some(b'\\') => word.push(match rest.next() {
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(b'a') => 7,
                    Some(b'b') => 8,
                    Some(b'x') => {
                        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0);
                        (digit(rest.next()) * 16 + digit(rest.next())) as u8
                    }
                    other => other.unwrap_or_default(),
                }),
                Some(byte) => word.push(byte),
            }
        }
        words.push(word);
    }
    words
}
