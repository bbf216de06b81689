use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use crate::{
    agents::{Delivery, cloudevents},
    primitives::{
        SigningKey, millis,
        watch::{Content, Watch},
    },
};

/// What the HTTP binding of CloudEvents 1.0, section 3.1.3.2, has escaped in a header; what is not ASCII is as well.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The headers of one attempt. The watch's own come first, so that none of them can stand for one of Noah's.
pub(super) fn of(watch: &Watch, delivery: &Delivery) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &watch.headers {
        let broken = |_| format!("the watch's header {name:?} cannot be sent; register the watch again without it");
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|error| broken(error.to_string()))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|error| broken(error.to_string()))?, value);
    }
    let timestamp = millis() / 1000;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set(&mut headers, "webhook-id", &delivery.id)?;
    set(&mut headers, "webhook-timestamp", &timestamp.to_string())?;
    if let Some(key) = &watch.secret {
        set(&mut headers, "webhook-signature", &signature(key, &delivery.id, timestamp, &delivery.body))?;
    }
    set(&mut headers, "noah-revision", &delivery.revision.to_string())?;
    set(&mut headers, "noah-attempt", &delivery.attempt.to_string())?;
    if watch.content == Content::CloudEvents {
        for (name, value) in cloudevents::attributes(delivery) {
            set(&mut headers, &format!("ce-{name}"), &utf8_percent_encode(&value, ESCAPED).to_string())?;
        }
    }
    Ok(headers)
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let broken = || format!("the header {name} cannot be sent");
    let value = HeaderValue::from_str(value).map_err(|_| broken())?;
    headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?, value);
    Ok(())
}

/// The signature of Standard Webhooks 1.0: `v1,` and the HMAC-SHA256 of `ID.TIMESTAMP.BODY`, in base64.
fn signature(key: &SigningKey, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("an HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
