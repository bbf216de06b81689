use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection nobody uses is kept.
pub const IDLE: Duration = Duration::from_secs(75);

/// How long a connection waits for the head of a request to be complete.
///
/// The HTTP library times the first head of a connection only. Whoever sent a complete request first could keep
/// the connection for ever with the first byte of a second.
pub struct Patience {
    head: Duration,
    /// Whether a head is awaited, and not a request worked on.
    waiting: bool,
    /// Whether a part of it came.
    begun: bool,
    /// How much of the empty line behind it came.
    ended: usize,
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What ran out.
#[derive(Debug, PartialEq, Eq)]
pub enum Late {
    /// A head that was begun.
    Head,
    /// Nothing was begun.
    Nothing,
}

const END: &[u8] = b"\r\n\r\n";

impl Patience {
    /// For a new connection, whose heads may take so long.
    pub fn new(head: Duration) -> Self {
        // The first is timed by the library; this is for what that does not see.
        let deadline = Instant::now() + IDLE + head;
        Self { head, waiting: true, begun: false, ended: 0, deadline, sleep: None }
    }

    /// What came in.
    pub fn read(&mut self, bytes: &[u8]) {
        if !self.waiting || bytes.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            // A little more than the library takes, so that it has the first word where it has one.
            self.deadline = Instant::now() + self.head + Duration::from_secs(1);
            self.sleep = None;
        }
        // As most heads come: whole.
        if bytes.ends_with(END) {
            (self.waiting, self.ended) = (false, 0);
            return;
        }
        for byte in bytes {
            self.ended = if *byte == END[self.ended] { self.ended + 1 } else { usize::from(*byte == END[0]) };
            if self.ended == END.len() {
                self.waiting = false;
                self.ended = 0;
                return;
            }
        }
    }

    /// What went out: a part of an answer, behind which the next head is awaited. It may have been begun already,
    /// together with the request before.
    pub fn wrote(&mut self, bytes: &[u8]) {
        if !bytes.starts_with(b"HTTP/1.1 100") {
            (self.waiting, self.begun, self.ended) = (true, false, 0);
            self.deadline = Instant::now() + IDLE + self.head;
        }
    }

    /// Whether the time is over; wakes the task when it will be.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Option<Late> {
        while self.waiting {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(self.deadline)));
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return None,
                Poll::Ready(()) if Instant::now() >= self.deadline => {
                    return Some(if self.begun { Late::Head } else { Late::Nothing });
                }
                // The deadline was put off since.
                Poll::Ready(()) => sleep.as_mut().reset(self.deadline),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn late(patience: &mut Patience) -> Option<Late> {
        patience.poll_late(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_was_begun_has_to_be_complete_in_time() {
        let mut patience = Patience::new(SECOND);
        patience.read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        tokio::time::advance(SECOND * 600).await;
        assert_eq!(late(&mut patience), None, "a request may take its time");
        patience.wrote(b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(late(&mut patience), None);
        patience.read(b"G");
        assert_eq!(late(&mut patience), None);
        tokio::time::advance(SECOND * 3).await;
        patience.read(b"E");
        assert_eq!(late(&mut patience), Some(Late::Head), "byte by byte is not in time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_with_the_request_before_is_not_waited_for_for_ever() {
        let mut patience = Patience::new(SECOND);
        patience.read(b"GET / HTTP/1.1\r\n\r\nGET");
        patience.wrote(b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(late(&mut patience), None);
        tokio::time::advance(IDLE + SECOND * 2).await;
        assert_eq!(late(&mut patience), Some(Late::Nothing));
    }
}
