use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Error;

/// A text that is never written to logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A key that deliveries are signed with, as Standard Webhooks 1.0 has it: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    const PREFIX: &str = "whsec_";

    /// A new one, of 32 bytes from the operating system's generator.
    ///
    /// # Panics
    /// When the operating system has no random numbers.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = vec![0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        Self(bytes)
    }

    /// Reads `whsec_…`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = text.strip_prefix(Self::PREFIX).and_then(|rest| BASE64_STANDARD.decode(rest).ok());
        let key = bytes.filter(|bytes| (24..=64).contains(&bytes.len()));
        key.map(Self).ok_or_else(|| {
            Error::invalid(
                "A secret is whsec_ and 24 to 64 bytes in base64; with true, Noah makes one and shows it once",
            )
        })
    }

    /// `whsec_…`
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}{}", Self::PREFIX, BASE64_STANDARD.encode(&self.0))
    }

    /// The key of the HMAC.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_and_is_never_shown() {
        let key = SigningKey::generate();
        assert_eq!(SigningKey::parse(&key.to_text()).unwrap(), key);
        assert_ne!(SigningKey::generate(), key);
        assert_eq!(format!("{key:?} {:?}", Hidden::new("hunter2")), "SigningKey (hidden)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let short = format!("whsec_{}", BASE64_STANDARD.encode([0; 23]));
        let long = format!("whsec_{}", BASE64_STANDARD.encode([0; 65]));
        for text in ["", "whsec_", "whsec_!!!", "hunter2", &short, &long] {
            let error = SigningKey::parse(text).unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains("hunter2"), "{error}");
        }
    }
}
