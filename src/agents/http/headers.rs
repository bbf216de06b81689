use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::{
    agents::{Delivery, cloudevents},
    primitives::{
        millis, signature,
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
        set(&mut headers, "webhook-signature", &signature::sign(key, &delivery.id, timestamp, &delivery.body))?;
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
