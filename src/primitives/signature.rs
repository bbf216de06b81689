//! Signatures as Standard Webhooks 1.0 has them: made by who delivers, verified by who listens.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::SigningKey;

/// What the signatures of this kind begin with: HMAC-SHA256.
const VERSION: &str = "v1,";

/// The value of `webhook-signature`: `v1,` and the HMAC-SHA256 of `ID.TIMESTAMP.BODY`, in base64.
#[must_use]
pub fn sign(key: &SigningKey, id: &str, timestamp: i64, body: &[u8]) -> String {
    format!("{VERSION}{}", BASE64_STANDARD.encode(mac(key, id, timestamp, body).finalize().into_bytes()))
}

/// Whether one of the signatures, which are separated by spaces, was made with one of the keys. Signatures of other
/// kinds are passed over. The time this takes says nothing of a key, nor of how much of a signature is right.
#[must_use]
pub fn is_signed(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8], signatures: &str) -> bool {
    let given = signatures.split(' ').filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix(VERSION)?).ok());
    let given: Vec<Vec<u8>> = given.collect();
    keys.iter().any(|key| {
        let mac = mac(key, id, timestamp, body);
        given.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    })
}

fn mac(key: &SigningKey, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("an HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key() -> SigningKey {
        SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
    }

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        assert_eq!(sign(&key(), ID, AT, BODY), SIGNATURE);
        assert!(is_signed(&[key()], ID, AT, BODY, SIGNATURE));
    }

    #[test]
    fn one_right_signature_with_one_of_the_keys_is_enough() {
        let other = SigningKey::generate();
        let several = format!("v1a,xyz {} v2,abc {SIGNATURE}", sign(&other, "x", 1, b""));
        assert!(is_signed(&[other.clone(), key()], ID, AT, BODY, &several));
        assert!(!is_signed(&[other], ID, AT, BODY, &several));
        assert!(!is_signed(&[], ID, AT, BODY, &several));
    }

    #[test]
    fn nothing_that_was_changed_is_signed() {
        let keys = [key()];
        assert!(!is_signed(&keys, "msg_p", AT, BODY, SIGNATURE));
        assert!(!is_signed(&keys, ID, AT + 1, BODY, SIGNATURE));
        assert!(!is_signed(&keys, ID, AT, b"{}", SIGNATURE));
        let bare = SIGNATURE.trim_start_matches(VERSION);
        for signatures in
            ["", " ", "v1,", "v1", bare, &SIGNATURE.replace("v1,", "v2,"), &SIGNATURE[..40], "v1,g0hM9Q=="]
        {
            assert!(!is_signed(&keys, ID, AT, BODY, signatures), "{signatures:?}");
        }
    }
}
