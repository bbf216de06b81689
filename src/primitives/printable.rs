/// Words of somebody else as they may be shown: what would steer a terminal is written out, and what is behind `most`
/// characters is left out.
#[must_use]
pub fn printable(words: &str, most: usize) -> String {
    let mut shown = String::with_capacity(words.len().min(most));
    for (at, letter) in words.chars().enumerate() {
        match letter {
            _ if at == most => {
                shown.push('…');
                break;
            }
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out_and_what_is_long_is_cut() {
        assert_eq!(printable("a\u{1b}[2Jb\u{8}\n\u{9b}é", 100), "a\\u{1b}[2Jb\\u{8}\\n\\u{9b}é");
        assert_eq!(printable("ééé", 3), "ééé");
        assert_eq!(printable("éééé", 3), "ééé…");
    }
}
