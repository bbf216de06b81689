//! All that a plug-in writes to its stdout.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use noah::agents::{Outcome, heard};
use tokio::io::{AsyncRead, ReadBuf};

/// How many requests were made.
const ASKED: u64 = 4;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub fn check(input: &[u8]) {
    let (answers, why) = heard(input, ASKED).now_or_never().expect("all of it is there");
    is_told(&why);
    for outcome in answers.iter().flatten() {
        match outcome {
            Outcome::Delivered => {}
            Outcome::Refused { why } | Outcome::Gone { why } => is_told(why),
            Outcome::RetryAfter { why, wait, .. } => {
                is_told(why);
                assert!(wait.is_none_or(|wait| wait <= YEAR), "{wait:?}");
            }
        }
    }
    let pieces = Pieces { rest: input, length: input.len() % 5 + 1 };
    let again = heard(pieces, ASKED).now_or_never().expect("all of it is there");
    assert_eq!((answers, why), again, "it does not matter in which pieces it comes");
}

/// What is logged and shown of it is one line, and not a long one.
fn is_told(why: &str) {
    assert!(!why.is_empty() && why.chars().count() <= 500 && !why.chars().any(char::is_control), "{why:?}");
}

/// A stream that gives a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    length: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self.length.min(self.rest.len()).min(buffer.remaining());
        let (piece, rest) = self.rest.split_at(length);
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}
