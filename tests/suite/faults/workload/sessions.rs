//! Sessions, what is tied to them, and locks.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Request, Told, Writer};
use crate::faults::journal::{Effect, Held, Kind};

/// How long a session lives that is not renewed.
pub const TTL: Duration = Duration::from_millis(2_500);

/// A session that one client keeps.
struct Session {
    id: String,
    /// It has not ended before then: from when the newest renewal that was answered was sent.
    until: Instant,
}

/// Sessions one after the other, until it is over.
pub async fn run(mut writer: Writer) {
    while !writer.is_over() {
        if let Some(session) = begin(&mut writer).await {
            live(&mut writer, session).await;
        }
    }
}

async fn begin(writer: &mut Writer) -> Option<Session> {
    let body = json!({"ttl": "2500ms", "name": format!("client-{}", writer.number)}).to_string();
    let sent = Instant::now();
    let made = writer.write(Request::put(Kind::Session, "/sessions".to_owned(), body, Vec::new()).leased(TTL)).await?;
    let id = made.status.eq(&200).then(|| made.json()["id"].as_str().unwrap_or_default().to_owned())?;
    Some(Session { id, until: sent + TTL })
}

/// Some rounds of a session, and its end: by itself, or because nobody renews it.
async fn live(writer: &mut Writer, mut session: Session) {
    for _ in 0..2 + writer.any(8) {
        if writer.any(3) == 0 {
            tie(writer, &session).await;
        } else {
            hold(writer, &mut session).await;
        }
        if !renew(writer, &mut session).await || writer.is_over() {
            break;
        }
    }
    if writer.any(3) > 0 {
        let key = format!("sessions/{}", session.id);
        writer.write(Request::delete(Kind::SessionEnded, format!("/{key}"), vec![Effect::Gone(key)])).await;
    }
}

/// Renews it; whether it may still be there.
async fn renew(writer: &mut Writer, session: &mut Session) -> bool {
    let key = format!("sessions/{}", session.id);
    let request = Request::put(Kind::SessionRenewed, format!("/{key}"), "", vec![Effect::Put(key, Vec::new())]);
    let sent = Instant::now();
    let answer = writer.write(request.leased(TTL)).await;
    let status = answer.map_or(503, |answer| answer.status);
    if status == 200 {
        session.until = sent + TTL;
    }
    status != 404
}

/// Something that ends with the session.
async fn tie(writer: &mut Writer, session: &Session) {
    let key = format!("ephemerals/tied/{}", writer.any(4));
    let effects = vec![Effect::Put(key.clone(), vec![("data".to_owned(), session.id.clone().into_bytes())])];
    let path = format!("/{key}?session={}", session.id);
    writer.write(Request::put(Kind::EphemeralOfSession, path, session.id.clone(), effects)).await;
}

/// Gets in line for a lock, holds it for a moment, and gives it back.
async fn hold(writer: &mut Writer, session: &mut Session) {
    let (lock, id) = (format!("l{}", writer.any(2)), session.id.clone());
    let key = format!("locks/{lock}/{id}");
    let path = format!("/locks/{lock}?session={id}&wait=500ms");
    let effects = vec![Effect::Put(key.clone(), vec![("slots".to_owned(), b"1".to_vec())])];
    let taken = writer.write(Request::put(Kind::LockTaken, path, "", effects).told(Told::Fence)).await;
    let from = Instant::now();
    let holds = taken.filter(|answer| answer.status == 200);
    let fence = holds.and_then(|answer| answer.json()["fence"].as_u64());
    if fence.is_some() {
        tokio::time::sleep(Duration::from_millis(writer.any(300))).await;
        renew(writer, session).await;
    }
    let until = Instant::now().min(session.until);
    if let Some(fence) = fence.filter(|_| from < until) {
        writer.world.journal.held.lock().unwrap().push(Held { lock: lock.clone(), fence, from, until });
    }
    // Now and then only the session's end gives it back.
    if writer.any(6) > 0 {
        let path = format!("/locks/{lock}?session={id}");
        writer.write(Request::delete(Kind::LockGivenBack, path, vec![Effect::Gone(key)])).await;
    }
}
