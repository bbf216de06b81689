use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The lines of a stream, of which no more than a certain length is kept in memory.
pub(super) struct Lines<R> {
    stream: BufReader<R>,
    longest: usize,
    line: Vec<u8>,
    /// The rest of a line that was too long is still to be thrown away.
    in_rest: bool,
}

/// A line, without its end.
pub(super) struct Line<'a> {
    /// The line, or its beginning.
    pub(super) bytes: &'a [u8],
    /// Whether that is all of it.
    pub(super) is_whole: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(stream: R, longest: usize) -> Self {
        Self { stream: BufReader::new(stream), longest, line: Vec::new(), in_rest: false }
    }

    /// The next line; the last needs no end. Of one that is too long it is the beginning, as soon as that is known.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        loop {
            let read = self.stream.fill_buf().await?;
            if read.is_empty() {
                let line = Line { bytes: &self.line, is_whole: true };
                return Ok(Some(line).filter(|line| !line.bytes.is_empty()));
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            let (used, was_rest) = (part.len() + usize::from(end.is_some()), self.in_rest);
            let room = self.longest - self.line.len();
            if !was_rest {
                self.line.extend_from_slice(&part[..part.len().min(room)]);
            }
            let is_whole = was_rest || part.len() <= room;
            self.stream.consume(used);
            self.in_rest = end.is_none() && (was_rest || !is_whole);
            if !was_rest && (end.is_some() || !is_whole) {
                return Ok(Some(Line { bytes: &self.line, is_whole }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_an_end_is_not_waited_for() {
        let mut lines = Lines::new(tokio::io::repeat(b'x'), 4);
        let line = lines.next().await.unwrap().unwrap();
        assert_eq!((line.bytes, line.is_whole), (&b"xxxx"[..], false));
    }

    #[tokio::test]
    async fn lines_are_read_up_to_their_limit() {
        let long = "x".repeat(20_000);
        let text = format!("a\n\n{long}\n1234\n12345\nend");
        let mut lines = Lines::new(text.as_bytes(), 4);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.is_whole));
        }
        let want = [("a", true), ("", true), ("xxxx", false), ("1234", true), ("1234", false), ("end", true)];
        assert_eq!(read, want.map(|(text, is_whole)| (text.to_owned(), is_whole)));
    }
}
