//! Hosts, services, applications, configurations, ephemerals, tags, links and transactions: a few of each, so that
//! clients get into each other's way.

use std::{collections::HashMap, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Request, Writer};
use crate::{
    faults::journal::{Condition, Effect, Kind, Seen},
    support::Answer,
};

/// How long records live that have a lifetime.
const TTL: Duration = Duration::from_millis(1_500);
const STATUSES: [&str; 3] = ["up", "down", "pending"];

/// What a client remembers.
#[derive(Default)]
struct Memory {
    /// The newest revision that it was told of each of its own ephemerals, from each server.
    own: HashMap<(usize, String), u64>,
    /// The revision that it believes contended ephemerals to be at.
    contended: HashMap<String, Option<u64>>,
}

/// Writes, now and then reads what it wrote, until it is over.
pub async fn run(mut writer: Writer, pace: Duration) {
    let (mut memory, mut ticks) = (Memory::default(), tokio::time::interval(pace));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !writer.is_over() {
        ticks.tick().await;
        let id = writer.world.journal.number();
        match writer.any(100) {
            0..14 => own(&mut writer, &mut memory, id).await,
            14..28 => contended(&mut writer, &mut memory, id).await,
            28..36 => look(&mut writer, &mut memory).await,
            number => {
                let request = match number {
                    36..44 => leased(&mut writer, id),
                    44..56 => transaction(&mut writer, id),
                    56..66 => fleet(&mut writer),
                    66..80 => settings(&mut writer, id),
                    80..94 => group(&mut writer),
                    _ => gone(&mut writer),
                };
                writer.write_as(id, request).await;
            }
        }
    }
}

fn text(name: &str, value: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), value.into())
}

fn put(key: &str, fields: Vec<(String, Vec<u8>)>) -> Effect {
    Effect::Put(key.to_owned(), fields)
}

/// An ephemeral that nobody else writes.
async fn own(writer: &mut Writer, memory: &mut Memory, id: u64) {
    let (number, which) = (writer.number, writer.any(12));
    let key = format!("ephemerals/own/{number}/{which}");
    let data = format!("data {id}");
    let request =
        Request::put(Kind::Ephemeral, format!("/{key}"), data.clone(), vec![put(&key, vec![text("data", data)])]);
    if let Some(answer) = writer.write_as(id, request).await.filter(|answer| answer.status == 200) {
        memory.own.insert((writer.server, key), answer.revision());
    }
}

/// Reads one of its own ephemerals.
async fn look(writer: &mut Writer, memory: &mut Memory) {
    let (number, which) = (writer.number, writer.any(12));
    let key = format!("ephemerals/own/{number}/{which}");
    let server = writer.any(2) as usize;
    let asking = writer.world.servers[server].request(Method::GET, &format!("/{key}"));
    let known = memory.own.get(&(server, key.clone())).copied().unwrap_or(0);
    let Ok(answer) = Answer::try_of(asking.timeout(super::PATIENCE)).await else { return };
    if answer.status == 200 {
        let seen = Seen { key, revision: answer.revision(), data: answer.body, known };
        writer.world.journal.reads.lock().unwrap().push(seen);
    } else if answer.status == 404 && known > 0 {
        let words = format!("{key} was at revision {known}, and then not there for the same server");
        writer.world.journal.wrong.lock().unwrap().push(words);
    }
}

/// An ephemeral that all write, under a condition.
async fn contended(writer: &mut Writer, memory: &mut Memory, id: u64) {
    let key = format!("ephemerals/contended/{}", writer.any(4));
    let believed = memory.contended.get(&key).copied().flatten();
    let condition = Some(believed.map_or(Condition::Absent, Condition::At));
    let request = if writer.any(8) == 0 {
        Request::delete(Kind::EphemeralDeleted, format!("/{key}"), vec![Effect::Gone(key.clone())])
    } else {
        let data = format!("data {id}");
        let effects = vec![put(&key, vec![text("data", data.clone())])];
        Request::put(Kind::EphemeralIf, format!("/{key}"), data, effects)
    };
    let is_gone = request.method == Method::DELETE;
    // One in eight does not look.
    let blind = writer.any(8) == 0;
    let answer = writer.write_as(id, if blind { request } else { request.when(condition) }).await;
    let now = match answer {
        Some(answer) if answer.status == 200 && !is_gone => Some(answer.revision()),
        Some(answer) if answer.status == 412 && answer.header("etag").is_some() => Some(answer.revision()),
        _ => None,
    };
    memory.contended.insert(key, now);
}

/// What has a lifetime, and is not always put again in time.
fn leased(writer: &mut Writer, id: u64) -> Request {
    let (number, which) = (writer.number, writer.any(6));
    if writer.any(2) == 0 {
        let key = format!("ephemerals/leased/{number}/{which}");
        let data = format!("data {id}");
        let effects = vec![put(&key, vec![text("data", data.clone())])];
        Request::put(Kind::EphemeralTtl, format!("/{key}?ttl=1500ms"), data, effects).leased(TTL)
    } else {
        let key = format!("hosts/leased-{number}-{which}");
        let effects = vec![put(&key, vec![text("status", "up")])];
        Request::put(Kind::HostTtl, format!("/{key}?ttl=1500ms"), r#"{"status":"up"}"#, effects).leased(TTL)
    }
}

/// Several at once, each of another record.
fn transaction(writer: &mut Writer, id: u64) -> Request {
    let (number, first) = (writer.number, writer.any(4));
    let (mut ops, mut effects) = (Vec::new(), Vec::new());
    for part in 0..2 + writer.any(3) {
        let key = format!("ephemerals/together/{number}/{}", first + part);
        let data = format!("data {id} part {part}");
        if part == 1 && writer.any(4) == 0 {
            ops.push(json!({"delete": format!("/{key}")}));
            effects.push(Effect::Gone(key));
        } else {
            ops.push(json!({"put": format!("/{key}"), "data": data}));
            effects.push(put(&key, vec![text("data", data)]));
        }
    }
    let (host, status) = (format!("hosts/h{}", writer.any(6)), STATUSES[writer.any(3) as usize]);
    ops.push(json!({"put": format!("/{host}"), "body": {"status": status}}));
    effects.push(put(&host, vec![text("status", status)]));
    let body = format!("body {id}");
    let configuration = format!("configurations/c{}", writer.any(4));
    ops.push(json!({"put": format!("/{configuration}"), "body": {"format": "string", "body": body}}));
    effects.push(put(&configuration, vec![text("body", body)]));
    Request::transaction(&json!({ "ops": ops }), effects)
}

/// Hosts and services.
fn fleet(writer: &mut Writer) -> Request {
    let (host, service) = (format!("h{}", writer.any(6)), format!("s{}", writer.any(3)));
    let (status, host_status) = (STATUSES[writer.any(3) as usize], STATUSES[writer.any(3) as usize]);
    let key = format!("hosts/{host}");
    if writer.any(3) == 0 {
        let body = json!({ "status": status }).to_string();
        return Request::put(Kind::Host, format!("/{key}"), body, vec![put(&key, vec![text("status", status)])]);
    }
    let body = json!({"status": status, "host_status": host_status}).to_string();
    let on_host = vec![text("status", host_status), text(&format!("service/{service}"), status)];
    let own = format!("services/{service}/{host}");
    let effects = vec![put(&own, vec![text("status", status)]), put(&key, on_host)];
    Request::put(Kind::Service, format!("/{own}"), body, effects)
}

/// Applications and configurations.
fn settings(writer: &mut Writer, id: u64) -> Request {
    let (application, name) = (format!("applications/a{}", writer.any(3)), format!("c{}", writer.any(4)));
    let (key, body) = (format!("configurations/{name}"), format!("body {id}"));
    let sent = json!({"format": "string", "body": body}).to_string();
    let own = put(&key, vec![text("format", "string"), text("body", body.clone())]);
    match writer.any(6) {
        0 => {
            let sent = json!({"name": application.rsplit('/').next()}).to_string();
            Request::put(Kind::Application, format!("/{application}"), sent, vec![put(&application, Vec::new())])
        }
        1 | 2 => {
            let shown = put(&application, vec![text(&format!("body/{name}"), body)]);
            Request::put(Kind::Attached, format!("/{application}/{key}"), sent, vec![own, shown])
        }
        3 => {
            let effects = vec![Effect::Out(application.clone(), format!("applications-with/{name}"))];
            Request::delete(Kind::Detached, format!("/{application}/{key}"), effects)
        }
        _ => Request::put(Kind::Configuration, format!("/{key}"), sent, vec![own]),
    }
}

/// Tags and links.
fn group(writer: &mut Writer) -> Request {
    let number = writer.number;
    let object = match writer.any(3) {
        0 => format!("hosts/h{}", writer.any(6)),
        1 => format!("configurations/c{}", writer.any(4)),
        _ => format!("ephemerals/own/{number}/{}", writer.any(12)),
    };
    let which = writer.any(4);
    let (tag, link) = (format!("tags/t{which}"), format!("links/g{which}"));
    let tagging = json!({"tags": format!("t{which}")}).to_string();
    let linking = json!({"link_name": format!("g{which}")}).to_string();
    let (is_in, is_out) = (Effect::In, Effect::Out);
    match writer.any(4) {
        0 => Request::put(Kind::Tagged, format!("/{object}/tag"), tagging, vec![is_in(object, tag)]),
        1 => Request::edit(Kind::Untagged, format!("/{object}/tag"), tagging, vec![is_out(object, tag)]),
        2 => Request::put(Kind::Linked, format!("/{object}/link"), linking, vec![is_in(object, link)]),
        _ => Request::edit(Kind::Unlinked, format!("/{object}/link"), linking, vec![is_out(object, link)]),
    }
}

/// Deletions, of which some take others along.
fn gone(writer: &mut Writer) -> Request {
    let (number, host, service) = (writer.number, writer.any(6), writer.any(3));
    let (kind, key) = match writer.any(6) {
        0 => (Kind::HostDeleted, format!("hosts/h{host}")),
        1 => (Kind::ServiceDeleted, format!("services/s{service}/h{host}")),
        2 => {
            let all = (0..6).map(|host| Effect::Gone(format!("services/s{service}/h{host}"))).collect();
            return Request::delete(Kind::ServiceDeletedEverywhere, format!("/services/s{service}"), all);
        }
        3 => (Kind::ApplicationDeleted, format!("applications/a{}", writer.any(3))),
        4 => (Kind::ConfigurationDeleted, format!("configurations/c{}", writer.any(4))),
        _ => (Kind::EphemeralDeleted, format!("ephemerals/together/{number}/{}", writer.any(6))),
    };
    Request::delete(kind, format!("/{key}"), vec![Effect::Gone(key)])
}

/// The JSON of an endpoint's watch.
pub fn watch_body(pattern: &str, endpoint: &str, deliver: &str) -> Value {
    json!({"pattern": pattern, "endpoint": endpoint, "deliver": deliver})
}
