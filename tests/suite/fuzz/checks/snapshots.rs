//! A snapshot's file; or, where it does not begin like one, the kinds and the rows of its chunks, so that not every
//! change is one that the checksums find.

use std::io::Cursor;

use noah::store::snapshot::{Damage, Summary, inspect};
use tokio::runtime::{Builder, Runtime};

const LINE: &[u8] =
    br#"{"format":"noah-snapshot","version":1,"noah":"0.9.0","store":"sqlite","taken_at":"","revision":7,"clock":7}"#;
/// What is between two chunks.
const BETWEEN: &[u8] = b"\n--\n";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("there is memory for it");
}

pub fn check(input: &[u8]) {
    if !input.starts_with(b"{") {
        let _ = told(&whole(input));
        return;
    }
    let Some(summary) = told(input) else { return };
    assert_eq!(summary.bytes, input.len() as u64, "all of it was read");
    // Whatever becomes of a file on its way, it is not believed any more.
    let behind = summary.bytes as usize - 1;
    for at in [0, behind / 4, behind / 2, behind - behind / 4, behind] {
        let mut other = input.to_vec();
        other[at] ^= 1 << (at % 8);
        assert!(told(&other).is_none(), "a change at {at}");
        assert!(told(&input[..at]).is_none(), "cut at {at}");
    }
    assert!(told(&[input, b"\n"].concat()).is_none(), "there is more");
}

/// What is in a file; nothing when it is damaged, of which a line is told.
fn told(file: &[u8]) -> Option<Summary> {
    let reading = inspect(Cursor::new(file.to_vec()), &|_| {});
    match RUNTIME.with(|runtime| runtime.block_on(reading)) {
        Ok(summary) => Some(summary),
        Err(damage) => {
            let words = damage.to_string();
            assert!(!matches!(damage, Damage::Store(_)) && !words.contains("stopped"), "{words}");
            assert!(!words.is_empty() && words.len() < 2048 && !words.chars().any(char::is_control), "{words:?}");
            None
        }
    }
}

/// A file of these chunks, each a letter and its rows, with the right checksums.
fn whole(chunks: &[u8]) -> Vec<u8> {
    let mut file = [LINE, b"\n"].concat();
    let mut crc = chained(0, &[], &file);
    let mut rest = chunks;
    while !rest.is_empty() {
        let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let (chunk, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind.get(BETWEEN.len()..).unwrap_or_default();
        let (kind, rows) = chunk.split_first().unwrap_or((&b'R', &[]));
        let payload = zstd::bulk::compress(rows, 1).expect("there is memory for it");
        let mut frame = vec![*kind];
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or_default().to_le_bytes());
        frame.extend_from_slice(&u32::try_from(rows.len()).unwrap_or_default().to_le_bytes());
        crc = chained(crc, &frame, &payload);
        file.extend_from_slice(&frame);
        file.extend_from_slice(&crc.to_le_bytes());
        file.extend_from_slice(&payload);
    }
    file
}

fn chained(before: u32, frame: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&before.to_le_bytes());
    crc.update(frame);
    crc.update(payload);
    crc.finalize()
}
