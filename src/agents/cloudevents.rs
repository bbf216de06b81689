use super::Delivery;
use crate::primitives::rfc3339;

/// The attributes of CloudEvents 1.0 that an event has, by their names without any transport's prefix. `subject` is the
/// path of the event's channel; `noahrevision` is an extension.
///
/// Values are text as it is: what a transport cannot carry is its to encode.
pub(super) fn attributes(delivery: &Delivery) -> [(&'static str, String); 7] {
    let path = delivery.channel.strip_prefix(SOURCE).unwrap_or(&delivery.channel);
    let collection = path.split('/').find(|segment| !segment.is_empty());
    let kind = ["noah"].into_iter().chain(collection).chain([delivery.action]).collect::<Vec<_>>().join(".");
    [
        ("specversion", "1.0".to_owned()),
        ("id", delivery.id.clone()),
        ("source", SOURCE.to_owned()),
        ("type", kind),
        ("subject", if path.is_empty() { "/".to_owned() } else { path.to_owned() }),
        ("time", rfc3339(delivery.time)),
        ("noahrevision", delivery.revision.to_string()),
    ]
}

/// The registry, as the channels of its events begin.
const SOURCE: &str = "//noah";
