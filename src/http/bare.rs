//! A body for the answers that the HTTP library gives by itself.
//!
//! What is no HTTP at all, has too large a head, or comes too slowly never reaches a handler: the library answers
//! `400`, `431` or `408` without a body and closes. Noah's clients are promised a JSON body with every error,
//! so this looks at what is written to a connection and adds one to an answer that has none.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::{
    answer::JSON,
    error::failure_body,
    limits::Seat,
    patience::{Late, Patience},
    progress::{Backlog, Progress},
};

/// The news that the client of a connection says nothing more, which is all that is to be seen of it when it has
/// gone away. The HTTP library does not end a request that is being worked on for that: the client may still read.
#[derive(Debug, Clone, Default)]
pub struct HangUp(Arc<Notify>);

impl HangUp {
    /// Waits for it.
    pub async fn wait(&self) {
        self.0.notified().await;
        // It stays so, for whoever asks next.
        self.0.notify_one();
    }
}

/// A connection whose bare error answers get a body.
pub struct Connection<T> {
    io: T,
    hang_up: HangUp,
    patience: Patience,
    progress: Progress,
    /// Its place among all connections.
    _seat: Seat,
    /// What replaced the last bare answer and is not written yet.
    pending: Vec<u8>,
}

impl<T> Connection<T> {
    /// Wraps a connection on which the head of a request may take so long, and so long whatever is written may not move.
    pub fn new(io: T, seat: Seat, patience: Duration) -> Self {
        Self {
            io,
            hang_up: HangUp::default(),
            patience: Patience::new(patience),
            progress: Progress::new(patience),
            _seat: seat,
            pending: Vec::new(),
        }
    }

    /// What it wraps.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The news of its client's end.
    pub fn hang_up(&self) -> HangUp {
        self.hang_up.clone()
    }
}

/// The answer with a body in place of a bare one: an error's head, and nothing behind it.
fn with_body(written: &[u8]) -> Option<Vec<u8>> {
    let status = written.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let message = match status {
        b"400" => "The request is not valid HTTP/1.1",
        b"408" => "The request head did not arrive in time",
        b"431" => "Request head too large",
        _ => return None,
    };
    let head = std::str::from_utf8(written).ok()?.strip_suffix("\r\n\r\n")?;
    // An answer of a handler is written with its body, or at least with that body's length.
    let mut lines = head.split("\r\n");
    let first = lines.next()?;
    let mut bare = false;
    let mut kept = String::new();
    for line in lines {
        if line.eq_ignore_ascii_case("content-length: 0") {
            bare = true;
        } else if !line.to_ascii_lowercase().starts_with("connection:") {
            kept.push_str(line);
            kept.push_str("\r\n");
        }
    }
    let body = failure_body(message, None);
    let length = body.len();
    bare.then(|| {
        format!("{first}\r\n{kept}content-type: {JSON}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .into_bytes()
    })
}

impl<T: AsyncWrite + Backlog + Unpin> Connection<T> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.pending);
            let written = ready!(self.progress.judge(cx, &self.io, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Backlog + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_pending(cx))?;
        this.patience.wrote(buf);
        // Only errors are looked at; the fourth digit of the line is the status's first.
        if buf.get(9) == Some(&b'4')
            && let Some(answer) = with_body(buf)
        {
            this.pending = answer;
            // It is taken as a whole; what does not go out at once goes out before anything else.
            let _ = this.poll_pending(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.progress.judge(cx, &this.io, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pending(cx))?;
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.progress.judge(cx, &this.io, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pending(cx))?;
        let shut = Pin::new(&mut this.io).poll_shutdown(cx);
        this.progress.judge(cx, &this.io, shut)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if Pin::new(&mut this.io).poll_read(cx, buf)?.is_ready() {
            let read = &buf.filled()[before..];
            if read.is_empty() {
                this.hang_up.0.notify_one();
            }
            this.patience.read(read);
            return Poll::Ready(Ok(()));
        }
        match this.patience.poll_late(cx) {
            None => Poll::Pending,
            // As if the client had hung up; what is pending is written before the connection is closed.
            Some(late) => {
                if late == Late::Head && this.pending.is_empty() {
                    let bare = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
                    this.pending = with_body(bare).unwrap_or_default();
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::with_body;

    #[test]
    fn a_bare_error_gets_a_body_of_the_length_it_says() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\ndate: x\r\n\r\n";
        let answer = String::from_utf8(with_body(bare).unwrap()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())) && head.contains("date: x"), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["result"], "failure");
    }

    #[test]
    fn answers_of_handlers_are_left_alone() {
        for answer in [
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert!(with_body(answer).is_none());
        }
    }
}
