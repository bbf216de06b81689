//! Headers that a watch adds to the HTTP requests made for it.

use std::ops::RangeInclusive;

/// The longest name and the longest value, in bytes.
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 4096;

/// What Noah says itself, or what is about the connection and not the event.
const RESERVED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "noah-", "ce-"];

/// A space, and the characters that are seen; a tab is neither.
const PRINTABLE: RangeInclusive<u8> = b' '..=b'~';

/// Checks a header, as RFC 9110 (sections 5.1, 5.5) has them: a name of letters, digits and some signs, and a value of
/// printable ASCII characters without spaces around it.
///
/// # Errors
/// What is wrong with it; never the value, which may be a secret.
pub fn header(name: &str, value: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(token) {
        return Err(format!("A header's name has 1 to {MAX_NAME} letters, digits, or any of - _ . and the like"));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(format!("The header {lower} is Noah's own to set; choose another name"));
    }
    if value.len() > MAX_VALUE || value.trim() != value || !value.bytes().all(|byte| PRINTABLE.contains(&byte)) {
        return Err(format!(
            "The value of the header {lower} has at most {MAX_VALUE} printable ASCII characters, and no space around them"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_may_want_is_taken() {
        for (name, value) in
            [("Authorization", "Bearer s3cret"), ("x-api_key", "a b; c=\"d\""), ("User-Agent", "me/1"), ("x.y", "")]
        {
            assert_eq!(header(name, value), Ok(()), "{name}: {value}");
        }
        assert_eq!(header("x", &"v".repeat(MAX_VALUE)), Ok(()));
    }

    #[test]
    fn what_noah_sets_itself_is_refused_in_any_case() {
        for name in ["Host", "content-length", "Content-Type", "TE", "Webhook-Signature", "noah-x", "CE-id", "Upgrade"]
        {
            let words = header(name, "x").unwrap_err();
            assert!(words.contains(&name.to_ascii_lowercase()), "{words}");
        }
        assert_eq!(header("noah", "x"), Ok(()), "the prefix has a hyphen");
    }

    #[test]
    fn what_would_be_another_request_is_refused_and_not_repeated() {
        let long = "x".repeat(MAX_NAME + 1);
        for name in ["", "a b", "a:b", "a\r\nb", "ä", "a\0", "(a)", &long] {
            header(name, "hunter2").unwrap_err();
        }
        for value in ["hunter2\r\nx: y", "hunter2\0", " hunter2", "hunter2\t", "hünter2", "a\thunter2"] {
            let words = header("x", value).unwrap_err();
            assert!(!words.contains("unter2"), "{words}");
        }
        header("x", &"v".repeat(MAX_VALUE + 1)).unwrap_err();
    }
}
