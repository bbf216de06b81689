//! The side of ZMTP that connects: <https://rfc.zeromq.org/spec/37/> (3.1), without security (the NULL mechanism).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Kind;

/// The longest frame a peer may send. It has nothing to say but subscriptions and short commands.
const MOST_READ: u64 = 64 * 1024;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
const GREETING_BYTES: usize = 64;

/// A part of a message, or a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) is_command: bool,
    pub(super) body: Vec<u8>,
}

impl Frame {
    /// What follows the name, when this is the command of that name.
    pub(super) fn command(&self, name: &str) -> Option<&[u8]> {
        let (length, rest) = self.body.split_first().filter(|_| self.is_command)?;
        let (found, data) = rest.split_at_checked(usize::from(*length))?;
        (found == name.as_bytes()).then_some(data)
    }
}

/// A message of several parts, ready to be sent.
pub(super) fn message(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 9).sum());
    for (n, part) in parts.iter().enumerate() {
        put_frame(if n + 1 < parts.len() { MORE } else { 0 }, part, &mut out);
    }
    out
}

/// A command, ready to be sent.
pub(super) fn command(name: &str, data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("names of commands are short");
    let body = [&[length], name.as_bytes(), data].concat();
    let mut out = Vec::with_capacity(body.len() + 9);
    put_frame(COMMAND, &body, &mut out);
    out
}

fn put_frame(flags: u8, body: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(body.len()) {
        Ok(length) => out.extend([flags, length]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend((body.len() as u64).to_be_bytes());
        }
    }
    out.extend(body);
}

/// Reads one frame.
pub(super) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let flags = from.read_u8().await?;
    let length = if flags & LONG == 0 { u64::from(from.read_u8().await?) } else { from.read_u64().await? };
    if length > MOST_READ {
        return Err(io::Error::other("it sends more than a receiver has to say"));
    }
    let mut body = vec![0; usize::try_from(length).expect("it was compared")];
    from.read_exact(&mut body).await?;
    Ok(Frame { is_command: flags & COMMAND != 0, body })
}

/// Greets a peer. Says whether it speaks 3.1, which knows PING.
///
/// # Errors
/// Why the two cannot talk, in words.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, kind: Kind) -> Result<bool, String> {
    let broken = |error: io::Error| format!("it ended the handshake of ZeroMQ: {error}");
    stream.write_all(&greeting()).await.map_err(broken)?;
    let mut theirs = [0; GREETING_BYTES];
    // The older protocols send less than 64 bytes and then wait; their version is in the eleventh.
    stream.read_exact(&mut theirs[..11]).await.map_err(broken)?;
    if theirs[0] != 0xFF || theirs[9] & 1 == 0 || theirs[10] < 3 {
        return Err("it does not speak ZMTP 3, the protocol of ZeroMQ since 4.0".to_owned());
    }
    stream.read_exact(&mut theirs[11..]).await.map_err(broken)?;
    let mechanism = String::from_utf8_lossy(&theirs[12..32]);
    let mechanism = mechanism.trim_end_matches('\0');
    if mechanism != "NULL" {
        return Err(format!("it wants the security mechanism {mechanism:?}; Noah speaks NULL only"));
    }
    stream.write_all(&command("READY", &property("Socket-Type", kind.as_str()))).await.map_err(broken)?;
    let ready = read_frame(stream).await.map_err(broken)?;
    if let Some(reason) = ready.command("ERROR") {
        return Err(format!("it refused: {:?}", String::from_utf8_lossy(reason.get(1..).unwrap_or_default())));
    }
    let properties = ready.command("READY").ok_or("it does not follow the handshake of ZeroMQ")?;
    let theirs_is = socket_type(properties).unwrap_or_default();
    if !kind.receivers().contains(&theirs_is.as_str()) {
        let wanted = kind.receivers().join(" or ");
        return Err(format!("it is a socket of type {theirs_is:?}, which must be {wanted} for {}", kind.as_str()));
    }
    Ok(theirs[10] > 3 || theirs[11] >= 1)
}

fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    (greeting[0], greeting[8], greeting[9]) = (0xFF, 1, 0x7F);
    (greeting[10], greeting[11]) = (3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn property(name: &str, value: &str) -> Vec<u8> {
    let name_length = u8::try_from(name.len()).expect("names of properties are short");
    let length = u32::try_from(value.len()).expect("their values are short too");
    [&[name_length], name.as_bytes(), &length.to_be_bytes(), value.as_bytes()].concat()
}

/// The property `Socket-Type`; names of properties are the same in any case.
fn socket_type(mut properties: &[u8]) -> Option<String> {
    loop {
        let (length, rest) = properties.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        properties = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            frames.push(read_frame(&mut bytes).await.unwrap());
        }
        frames
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let long = vec![7; 256];
        assert_eq!(message(&[b"a", b""]), [1, 1, b'a', 0, 0]);
        assert_eq!(message(&[&long])[..9], [2, 0, 0, 0, 0, 0, 0, 1, 0]);
        let read = frames(&message(&[b"a", &long])).await;
        assert_eq!(read, [b"a".to_vec(), long].map(|body| Frame { is_command: false, body }));
        let read = frames(&command("PING", &[0, 0, 9])).await;
        assert_eq!(read[0].command("PING"), Some(&[0, 0, 9][..]));
        assert_eq!(read[0].command("PONG"), None);
        assert!(read_frame(&mut &[2, 1, 0, 0, 0, 0, 0, 0, 0][..]).await.is_err(), "too long");
    }

    #[test]
    fn a_socket_type_is_found_among_properties_and_nonsense_is_no_panic() {
        let properties = [property("Identity", ""), property("socket-type", "PULL")].concat();
        assert_eq!(socket_type(&properties).as_deref(), Some("PULL"));
        for end in 0..properties.len() {
            assert_eq!(socket_type(&properties[..end]), None);
        }
        let odd = Frame { is_command: true, body: vec![9, b'R'] };
        assert_eq!(odd.command("READY"), None);
    }
}
