//! Services: a status per service and host. The host shows the same status, so every change of a service
//! is a change of its host, in the same commit.

use std::collections::BTreeMap;

use serde::{Serialize, ser::SerializeMap};
use uuid::Uuid;

use super::{
    Check, Commit, Committed, Edit, Error, Frame, Key, Lifetime, Name, Op, Params, Plan, Record, Select, View, When,
    host,
};

pub(super) const STATUS: &str = "status";

/// The index of the hosts that have a service.
fn hosts(service: &Name) -> String {
    format!("hosts-with/{service}")
}

fn shown_on_host(service: &Name) -> String {
    format!("{}{service}", host::SERVICE)
}

/// A service on all its hosts.
#[must_use]
pub fn everywhere(service: &Name) -> Select {
    Select::under("services", Key::service_prefix(service))
}

/// `PUT /services/SERVICE/HOST` with `{"status": …, "host_status": …}`; makes or updates the host too. At the end of its
/// lifetime it turns down, and so does what the host shows of it; the host's own lifetime is another.
pub fn put(service: &Name, host: &Name, body: &[u8], lifetime: &Lifetime, when: &When) -> Result<Plan, Error> {
    let params = Params::parse(body, &["status", "host_status"])?;
    let (status, host_status) = (params.status("status")?, params.status("host_status")?);
    let on_host = Edit::default()
        .set(host::STATUS, host_status.as_str())
        .set(shown_on_host(service), status.as_str())
        .join(hosts(service));
    let key = Key::service(service, host);
    let own = Edit::default().set(STATUS, status.as_str()).join(host::services(host));
    let lease = lifetime
        .change(vec![host::turn_down(host::key(host), shown_on_host(service)), host::turn_down(key.clone(), STATUS)]);
    let ops = vec![Op::put(host::key(host), on_host), Op::put(key.clone(), own).leased(lease)];
    Ok(Plan::new(ops).tied(lifetime).when(&key, when))
}

/// The answer to [`put`].
#[derive(Debug, Serialize)]
pub struct PutAnswer<'a> {
    action: &'static str,
    result: &'static str,
    id: Uuid,
    name: &'a str,
    host: HostAnswer<'a>,
}

#[derive(Debug, Serialize)]
struct HostAnswer<'a> {
    name: &'a str,
    action: &'static str,
    status: &'a str,
}

/// What [`put`] is answered with.
#[must_use]
pub fn put_answer<'a>(service: &'a Name, host: &'a Name, commit: &'a Commit, done: &Committed) -> PutAnswer<'a> {
    let (on_host, own) = (done.one(0), done.one(1));
    PutAnswer {
        action: own.map_or("update", super::Applied::word),
        result: "success",
        id: own.map_or(Uuid::nil(), |own| own.id),
        name: service.as_str(),
        host: HostAnswer {
            name: host.as_str(),
            action: on_host.map_or("update", super::Applied::word),
            status: host::set_text(commit, 0, host::STATUS),
        },
    }
}

/// `DELETE /services/SERVICE/HOST`.
#[must_use]
pub fn delete(service: &Name, host: &Name, when: &When) -> Plan {
    let key = Key::service(service, host);
    let off_host = Edit::default().unset(shown_on_host(service)).leave(hosts(service));
    Plan::new(vec![Op::Delete { key: key.clone() }, Op::edit(host::key(host), off_host)])
        .when(&key, when)
        .require(Check::Exists(key), Error::NotFound)
}

/// The answer to [`delete`].
#[derive(Debug, Serialize)]
pub struct DeleteAnswer<'a> {
    action: &'static str,
    result: &'static str,
    id: Uuid,
    host: &'a str,
    service: &'a str,
}

/// What [`delete`] is answered with.
#[must_use]
pub fn delete_answer<'a>(service: &'a Name, host: &'a Name, done: &Committed) -> DeleteAnswer<'a> {
    DeleteAnswer {
        action: "delete",
        result: "success",
        id: done.one(0).map_or(Uuid::nil(), |own| own.id),
        host: host.as_str(),
        service: service.as_str(),
    }
}

/// `DELETE /services/SERVICE`: from all its hosts.
#[must_use]
pub fn delete_everywhere(service: &Name) -> Plan {
    let off_hosts = Edit::default().unset(shown_on_host(service)).leave(hosts(service));
    Plan::new(vec![
        Op::DeleteEach { select: everywhere(service) },
        Op::PutEach { select: Select::all(hosts(service)), edit: off_hosts },
    ])
    .require(Check::Any(everywhere(service)), Error::NotFound)
}

/// The answer to [`delete_everywhere`].
#[derive(Debug, Serialize)]
pub struct DeleteEverywhereAnswer<'a> {
    action: &'static str,
    result: &'static str,
    affected_hosts: usize,
    service: &'a str,
}

/// What [`delete_everywhere`] is answered with.
#[must_use]
pub fn delete_everywhere_answer<'a>(service: &'a Name, done: &Committed) -> DeleteEverywhereAnswer<'a> {
    DeleteEverywhereAnswer {
        action: "delete",
        result: "success",
        affected_hosts: done.results[0].len(),
        service: service.as_str(),
    }
}

/// Services by their name, and then by their host.
#[must_use]
pub fn by_name(records: &[Record], frame: Frame) -> BTreeMap<String, BTreeMap<String, View<'_>>> {
    let mut services: BTreeMap<String, BTreeMap<String, View<'_>>> = BTreeMap::new();
    for record in records {
        let hosts = services.entry(record.key.first().into_owned()).or_default();
        hosts.insert(record.key.name().into_owned(), View(record, frame));
    }
    services
}

pub(super) fn entries<M: SerializeMap>(record: &Record, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("status", record.text(STATUS))
}
