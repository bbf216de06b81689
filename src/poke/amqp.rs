//! Pokes from a queue of a broker, for nodes that nobody can reach over HTTP.
//!
//! One message at a time: the broker sends the next after it was told that the one before is done with. It is told so
//! once the poke is durably pending, so a message is lost neither with this process nor with the connection; it may
//! come twice instead, which the engine makes one of while the first still waits. Whom to believe is the broker's to
//! say: who may write to the queue may poke.

use std::{future::Future, time::Duration};

use actix_web::web::Bytes;
use tokio::{pin, select, time::sleep};

use super::{
    engine::{Accepted, NotTaken},
    event::Event,
};
use crate::agents::amqp::{Message, Messages, Source};

/// The pauses between two tries to connect, from the first, doubling, to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// Why a connection was given up.
enum Gone {
    /// The listener stops.
    Stopping,
    /// Something is wrong with the connection, or no poke can be stored now.
    Broken(String),
}

/// Hands each message of `source` to `take` as an event, until `shutdown` is done. It connects again for ever.
///
/// A message longer than `body_max_bytes`, one that says that it is a CloudEvent and is none, and one for a hook that is
/// not there are rejected, which sends them to the queue's dead-letter exchange if it has one. One that cannot be
/// stored stays in its queue.
pub async fn listen<T, F>(source: &Source, body_max_bytes: usize, take: T, shutdown: impl Future<Output = ()>)
where
    T: Fn(Event) -> F,
    F: Future<Output = Result<Accepted, NotTaken>>,
{
    pin!(shutdown);
    let mut pause = PAUSES[0];
    loop {
        let opened = select! {
            () = &mut shutdown => return,
            opened = source.open() => opened,
        };
        let why = match opened {
            Err(why) => why,
            Ok(mut messages) => {
                tracing::info!(%source, "reading pokes from a queue");
                let mut handled = false;
                let gone = read(&mut messages, body_max_bytes, &take, &mut shutdown, &mut handled).await;
                if handled {
                    pause = PAUSES[0];
                }
                // What was not acknowledged goes back to its queue with the connection.
                messages.close().await;
                match gone {
                    Gone::Stopping => return,
                    Gone::Broken(why) => why,
                }
            }
        };
        tracing::warn!(%source, why, ?pause, "no pokes come from the queue; connecting again");
        select! {
            () = &mut shutdown => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Handles messages until there is a reason not to; `handled` says whether one was done with.
async fn read<T, F, S>(
    messages: &mut Messages,
    body_max_bytes: usize,
    take: &T,
    mut shutdown: &mut S,
    handled: &mut bool,
) -> Gone
where
    T: Fn(Event) -> F,
    F: Future<Output = Result<Accepted, NotTaken>>,
    S: Future<Output = ()> + Unpin,
{
    loop {
        let message = select! {
            biased;
            () = &mut shutdown => return Gone::Stopping,
            message = messages.next() => message,
        };
        // Once begun it is finished, so that a poke is not pending here and in its queue as well.
        let done = match message {
            Ok(message) => handle(&message, body_max_bytes, take).await,
            Err(why) => Err(Gone::Broken(why)),
        };
        match done {
            Ok(()) => *handled = true,
            Err(gone) => return gone,
        }
    }
}

async fn handle<T, F>(message: &Message, body_max_bytes: usize, take: &T) -> Result<(), Gone>
where
    T: Fn(Event) -> F,
    F: Future<Output = Result<Accepted, NotTaken>>,
{
    let event = match understand(message, body_max_bytes) {
        Ok(event) => event,
        Err(why) => return reject(message, &why).await,
    };
    match take(event).await {
        Ok(_) => message.ack().await.map_err(Gone::Broken),
        Err(NotTaken::Stopping) => Err(Gone::Stopping),
        Err(error @ NotTaken::NoSuchHook) => reject(message, &error.to_string()).await,
        Err(NotTaken::NotStored(why)) => Err(Gone::Broken(format!("the poke could not be stored: {why}"))),
    }
}

fn understand(message: &Message, body_max_bytes: usize) -> Result<Event, String> {
    let length = message.body().len();
    if length > body_max_bytes {
        return Err(format!("it has {length} bytes, and at most {body_max_bytes} are taken"));
    }
    let body = Bytes::copy_from_slice(message.body());
    Event::understand(message.content_type(), &|name| message.attribute(name), body).map_err(|error| error.to_string())
}

/// One line in the log, with nothing of the body.
async fn reject(message: &Message, why: &str) -> Result<(), Gone> {
    tracing::warn!(id = message.id().filter(|id| !id.contains(char::is_control)), why, "a message is rejected");
    message.reject().await.map_err(Gone::Broken)
}
