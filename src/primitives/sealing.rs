//! What is kept only under a key: values of private fields, as XChaCha20-Poly1305 seals them.
//!
//! A sealed value is `sealed:1:KEY:BASE64`: the version of this form, the id of the key, and the nonce with what is sealed. It
//! is bound to its record and its field, so that it opens nowhere else. Of several keys the first seals and all open, so
//! that one can take another's place.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Key;

const PREFIX: &str = "sealed:";
const VERSION: &str = "1";
/// The bytes of a key, and of a nonce: at random, there are so many of these that none comes twice.
const KEY: usize = 32;
const NONCE: usize = 24;

/// The keys that values are sealed under; without any, values are kept as they are. A clone has the same. Its `Debug`
/// shows no key.
#[derive(Clone, Default)]
pub struct Keyring(Arc<[SealingKey]>);

struct SealingKey {
    /// Follows from the key, so that nobody has to name keys, and no name can stand for two.
    id: String,
    cipher: XChaCha20Poly1305,
}

/// Why a value cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unopened {
    /// The key is not among those that are known.
    #[error("it is sealed under the key {0}, which is not in the file of keys here (secrets_key_file)")]
    UnknownKey(String),
    /// It was changed, is another's, or is of a newer version.
    #[error("it is not what was sealed for this watch, or was sealed by a newer noah")]
    Broken,
}

impl Keyring {
    /// Reads keys, one a line, each 32 bytes in base64; empty lines and those that begin with `#` mean nothing.
    ///
    /// # Errors
    /// What is wrong, without any key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<SealingKey> = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |words: &str| format!("line {}: {words}", number + 1);
            let bytes = BASE64_STANDARD.decode(line).ok().and_then(|bytes| <[u8; KEY]>::try_from(bytes).ok());
            let key = SealingKey::new(
                bytes.ok_or_else(|| refuse("a key is 32 bytes in base64, as `openssl rand -base64 32` makes one"))?,
            );
            if keys.iter().any(|other| other.id == key.id) {
                return Err(refuse("this key is there already; each is written once"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("there is no key in it; `openssl rand -base64 32` makes one".to_owned());
        }
        Ok(Self(keys.into()))
    }

    /// The id of the key that seals; none when values are kept as they are.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(|key| key.id.as_str())
    }

    /// A value as it is to be kept in a field of a record.
    ///
    /// # Panics
    /// When the operating system has no random numbers.
    #[must_use]
    pub fn seal(&self, record: &Key, field: &str, value: &[u8]) -> Vec<u8> {
        let Some(key) = self.0.first() else { return value.to_vec() };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the operating system has random numbers");
        let payload = Payload { msg: value, aad: &place(record, field) };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload).expect("a value is far from the cipher's limit");
        let text = BASE64_STANDARD.encode([&nonce[..], &sealed].concat());
        format!("{PREFIX}{VERSION}:{}:{text}", key.id).into_bytes()
    }

    /// The value that is kept in a field of a record.
    ///
    /// # Errors
    /// It is sealed, and cannot be opened.
    pub fn open(&self, record: &Key, field: &str, kept: &[u8]) -> Result<Vec<u8>, Unopened> {
        let Some(sealed) = kept.strip_prefix(PREFIX.as_bytes()) else { return Ok(kept.to_vec()) };
        let text = std::str::from_utf8(sealed).map_err(|_| Unopened::Broken)?;
        let mut parts = text.splitn(3, ':');
        let (Some(VERSION), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Unopened::Broken);
        };
        let key = self.0.iter().find(|key| key.id == id);
        // It is told on, so it has to look like an id.
        let shown = if is_id(id) { id } else { return Err(Unopened::Broken) };
        let key = key.ok_or_else(|| Unopened::UnknownKey(shown.to_owned()))?;
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| Unopened::Broken)?;
        let (nonce, msg) = bytes.split_first_chunk::<NONCE>().ok_or(Unopened::Broken)?;
        let payload = Payload { msg, aad: &place(record, field) };
        key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Unopened::Broken)
    }

    /// Whether a value is kept as it would be kept now: sealed under the first key, or as it is where there is none.
    #[must_use]
    pub fn is_current(&self, kept: &[u8]) -> bool {
        let prefix = self.first().map(|id| format!("{PREFIX}{VERSION}:{id}:"));
        prefix.is_none_or(|prefix| kept.starts_with(prefix.as_bytes()))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl SealingKey {
    fn new(bytes: [u8; KEY]) -> Self {
        let digest = Sha256::new().chain_update("noah: the id of a sealing key").chain_update(bytes).finalize();
        let id = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id, cipher: XChaCha20Poly1305::new(&bytes.into()) }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a value is bound to. No key of a record has a zero byte beside a field's name that could stand for another pair.
fn place(record: &Key, field: &str) -> Vec<u8> {
    let record = record.as_str();
    [&(record.len() as u64).to_le_bytes(), record.as_bytes(), field.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; KEY])
    }

    fn ring(bytes: &[u8]) -> Keyring {
        Keyring::parse(&bytes.iter().map(|byte| key(*byte) + "\n").collect::<String>()).unwrap()
    }

    fn record(pattern: &str) -> Key {
        Key::watch(pattern, "http://h/")
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let (keys, here) = (ring(&[1]), record("//noah/hosts"));
        let sealed = keys.seal(&here, "!secret", b"hunter2");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_ne!(sealed, keys.seal(&here, "!secret", b"hunter2"), "a nonce is used once");
        assert_eq!(keys.open(&here, "!secret", &sealed).unwrap(), b"hunter2");
        assert_eq!(keys.open(&record("//noah/host"), "!secret", &sealed), Err(Unopened::Broken));
        assert_eq!(keys.open(&here, "!headers", &sealed), Err(Unopened::Broken));
        let id = keys.first().unwrap().to_owned();
        assert_eq!(ring(&[2]).open(&here, "!secret", &sealed), Err(Unopened::UnknownKey(id.clone())));
        assert_eq!(Keyring::default().open(&here, "!secret", &sealed), Err(Unopened::UnknownKey(id)));
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let here = record("//noah/hosts");
        let (old, both) = (ring(&[1]).seal(&here, "!secret", b"a"), ring(&[2, 1]));
        assert_eq!(both.open(&here, "!secret", &old).unwrap(), b"a");
        assert!(!both.is_current(&old) && ring(&[1, 2]).is_current(&old));
        let new = both.seal(&here, "!secret", b"a");
        assert!(both.is_current(&new) && ring(&[2]).open(&here, "!secret", &new).is_ok());
        assert!(!both.is_current(b"whsec_x") && Keyring::default().is_current(b"whsec_x"));
        assert_eq!(
            both.open(&here, "!secret", b"whsec_x").unwrap(),
            b"whsec_x",
            "what was kept before there was a key"
        );
    }

    #[test]
    fn what_was_changed_does_not_open_whatever_it_is() {
        let (keys, here) = (ring(&[1]), record("//noah/hosts"));
        let sealed = String::from_utf8(keys.seal(&here, "!secret", b"hunter2")).unwrap();
        let id = keys.first().unwrap();
        let mut flipped = sealed.clone().into_bytes();
        let last = flipped.len() - 6;
        flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
        let others = [
            "sealed:".to_owned(),
            "sealed:1:".to_owned(),
            format!("sealed:1:{id}:"),
            format!("sealed:1:{id}:AAAA"),
            format!("sealed:1:{id}:no base64"),
            "sealed:1:\u{7}:AAAA".to_owned(),
            sealed.replace(":1:", ":2:"),
        ];
        for kept in others.into_iter().map(String::into_bytes).chain([flipped, b"sealed:\xff".to_vec()]) {
            assert_eq!(keys.open(&here, "!secret", &kept), Err(Unopened::Broken), "{kept:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_file_of_keys_is_refused_without_its_contents() {
        for text in ["", "# nothing\n", "hunter2", &key(1)[..40], &format!("{0}\n{0}", key(1))] {
            let words = Keyring::parse(text).unwrap_err();
            assert!(!words.contains("hunter2") && !words.contains("AQEB"), "{words}");
        }
        assert_eq!(format!("{:?}", ring(&[1])).len(), "[\"0123456789abcdef\"]".len());
    }
}
