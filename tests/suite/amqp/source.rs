//! Pokes from a queue: a listener's end, with a RabbitMQ that the test starts, stops and looks into.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, ExchangeKind,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use noah::{
    agents::{Agent, Amqp, Delivery, Outcome, amqp::Source},
    poke::{
        amqp,
        engine::{Accepted, NotTaken},
        event::Event,
    },
    primitives::watch::{Content, Watch},
};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::TOPIC;
use crate::poke::{Poke, gate, pass};
use crate::support::{
    MAX_MESSAGE_BYTES, PATIENCE, Rabbit, agent_options, delivery, eventually, eventually_within, watch_to,
};

const QUEUE: &str = "pokes";
const DEAD: &str = "no-good";
const BODY_MAX_BYTES: usize = 64 * 1024;

/// What a listener has taken, and how it is told to go about it.
#[derive(Default)]
struct Taken {
    events: Mutex<Vec<Event>>,
    /// What the next ones are answered with, before the others are taken.
    refuse: Mutex<Vec<NotTaken>>,
}

/// A listener's end that runs; it takes as many as `room` lets it.
struct Listening {
    taken: Arc<Taken>,
    room: Arc<Semaphore>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listening {
    fn start(rabbit: &Rabbit, room: usize) -> Self {
        let source = Source::parse(&format!("{}?queue={QUEUE}", rabbit.url()), None).unwrap();
        let (taken, room) = (Arc::new(Taken::default()), Arc::new(Semaphore::new(room)));
        let (stop, stopped) = oneshot::channel();
        let (theirs, theirs_room) = (taken.clone(), room.clone());
        let task = tokio::spawn(async move {
            let take = |event| {
                let (taken, room) = (theirs.clone(), theirs_room.clone());
                async move {
                    room.acquire().await.unwrap().forget();
                    if let Some(why) = taken.refuse.lock().unwrap().pop() {
                        return Err(why);
                    }
                    taken.events.lock().unwrap().push(event);
                    Ok(Accepted { runs: Vec::new() })
                }
            };
            amqp::listen(&source, BODY_MAX_BYTES, take, async { drop(stopped.await) }).await;
        });
        Self { taken, room, stop, task }
    }

    async fn has_taken(&self, count: usize) -> Vec<Event> {
        // The broker takes seconds to come back, and connecting again waits longer each time.
        let look = || async {
            let events = self.taken.events.lock().unwrap().clone();
            (events.len() >= count).then_some(events)
        };
        eventually_within(3 * PATIENCE, &format!("{count} pokes are taken"), look).await
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
    }
}

/// A queue that survives the broker, with an exchange and a queue for what is no good.
async fn declare(rabbit: &Rabbit) {
    let (_connection, channel) = rabbit.connect().await;
    let none = FieldTable::default;
    channel
        .exchange_declare("dead".into(), ExchangeKind::Fanout, ExchangeDeclareOptions::default(), none())
        .await
        .unwrap();
    let mut arguments = none();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("dead".into()));
    for (queue, arguments, exchange) in [(DEAD, none(), "dead"), (QUEUE, arguments, TOPIC)] {
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), "noah.#".into(), options, none()).await.unwrap();
    }
}

/// Puts a message into the queue.
async fn send(channel: &Channel, kind: &str, body: &[u8]) {
    let properties = BasicProperties::default().with_content_type(kind.into()).with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(ShortString::default(), QUEUE.into(), options, body, properties).await.unwrap();
    assert!(sent.await.unwrap().is_ack());
}

/// `messages_unacknowledged` of the queue.
fn unacknowledged(rabbit: &Rabbit) -> String {
    let text = rabbit.ctl(&["list_queues", "--no-table-headers", "name", "messages_unacknowledged"]);
    let line = text.lines().find(|line| line.starts_with(QUEUE)).unwrap_or_default().to_owned();
    line.split_whitespace().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_become_pokes_one_at_a_time_and_what_is_no_good_goes_to_its_own_queue() {
    let rabbit = Rabbit::start();
    declare(&rabbit).await;
    let listening = Listening::start(&rabbit, 0);
    what_watches_send_is_understood(&rabbit, &listening).await;
    let (_connection, channel) = rabbit.connect().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    what_is_no_good_is_rejected(&rabbit, &channel, &listening).await;
    what_could_not_be_stored_comes_again(&rabbit, &channel, &listening).await;
    // A stop waits for nothing but the message in hand, and leaves nothing behind.
    listening.stop().await;
    send(&channel, "text/plain", b"later").await;
    assert_eq!(rabbit.depth(QUEUE).await, 1);
    // The agent's, which nobody uses any more, is closed after a while.
    let alone = || async { (rabbit.clients().len() == 1).then_some(()) };
    eventually_within(3 * PATIENCE, "only our own connection is left", alone).await;
}

async fn what_watches_send_is_understood(rabbit: &Rabbit, listening: &Listening) {
    let agent = Amqp::new(&agent_options(&[])).unwrap();
    let body = |n: u64| {
        format!(r#"{{"action":"update","path":"/hosts/web1","pubcategory":"//noah/hosts/web1","revision":{n}}}"#)
    };
    for (n, content) in [(1, Content::Noah), (2, Content::CloudEvents), (3, Content::Noah)] {
        let endpoint = noah::primitives::Endpoint::parse(&rabbit.url(), &["amqp"]).unwrap();
        let watch = Watch { endpoint, content, ..watch_to("http://to.be.replaced") };
        let outcome = agent.deliver(&watch, &Delivery { body: body(n).into(), ..delivery() }).await;
        assert_eq!(outcome, Outcome::Delivered, "{n}");
    }
    // One is in hand, and the broker keeps the others until it is done with.
    let waits = || async { (unacknowledged(rabbit) == "1" && rabbit.depth(QUEUE).await == 2).then_some(()) };
    eventually("one message is in hand", waits).await;
    listening.room.add_permits(3);
    let events = listening.has_taken(3).await;
    for (event, n) in events.iter().zip(1..) {
        assert_eq!(event.revision, Some(n));
        assert_eq!(event.path.as_deref(), Some("/hosts/web1"));
        assert_eq!(event.action.as_deref(), Some("update"));
        assert_eq!(event.channel.as_deref(), Some("//noah/hosts/web1"));
        assert_eq!(event.body, body(n));
    }
    eventually("all are acknowledged", || async { (unacknowledged(rabbit) == "0").then_some(()) }).await;
    assert_eq!(rabbit.depth(QUEUE).await, 0);
}

async fn what_is_no_good_is_rejected(rabbit: &Rabbit, channel: &Channel, listening: &Listening) {
    listening.room.add_permits(1);
    let large = vec![b' '; MAX_MESSAGE_BYTES];
    send(channel, "application/cloudevents+json", b"{").await;
    send(channel, "application/cloudevents+json", br#"{"specversion":"0.3"}"#).await;
    send(channel, "application/json", &large).await;
    send(channel, "text/plain", b"any body at all").await;
    let events = listening.has_taken(4).await;
    assert_eq!(events[3], Event::default(), "it is only a signal");
    let lengths: Vec<usize> = rabbit.take(DEAD, 3).await.iter().map(|message| message.data.len()).collect();
    assert_eq!(lengths, [1, 21, large.len()]);
    assert_eq!((rabbit.depth(QUEUE).await, rabbit.depth(DEAD).await), (0, 0));
    // A hook that is not there will not be there next time either.
    listening.taken.refuse.lock().unwrap().push(NotTaken::NoSuchHook);
    listening.room.add_permits(1);
    send(channel, "text/plain", b"x").await;
    assert_eq!(rabbit.take(DEAD, 1).await[0].data, b"x");
}

async fn what_could_not_be_stored_comes_again(rabbit: &Rabbit, channel: &Channel, listening: &Listening) {
    let full = || NotTaken::NotStored("the disk is full".to_owned());
    listening.taken.refuse.lock().unwrap().extend([full(), full()]);
    listening.room.add_permits(3);
    send(channel, "application/json", br#"{"revision":9}"#).await;
    assert_eq!(listening.has_taken(5).await[4].revision, Some(9));
    assert!(listening.taken.refuse.lock().unwrap().is_empty(), "it was refused twice before");
    assert_eq!(rabbit.depth(DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_comes_back_and_loses_no_poke() {
    let mut rabbit = Rabbit::start();
    let listening = Listening::start(&rabbit, 1);
    // It is there before its queue.
    declare(&rabbit).await;
    let (connection, channel) = rabbit.connect().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for n in 1..=5 {
        send(&channel, "application/json", format!(r#"{{"revision":{n}}}"#).as_bytes()).await;
    }
    listening.has_taken(1).await;
    drop((connection, channel));
    rabbit.kill9();
    rabbit.start_again();
    listening.room.add_permits(100);
    let all = || async {
        let events = listening.taken.events.lock().unwrap().clone();
        let mut revisions: Vec<u64> = events.iter().filter_map(|event| event.revision).collect();
        revisions.sort_unstable();
        revisions.dedup();
        (revisions == [1, 2, 3, 4, 5]).then_some(())
    };
    eventually_within(3 * PATIENCE, "all five are taken, some perhaps twice", all).await;
    rabbit.freeze();
    // A broker that says nothing does not hold up a stop for long.
    let asked = std::time::Instant::now();
    listening.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    rabbit.thaw();
}

/// The whole of it: a listener that is killed with a poke in its hands, and another in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_runs_what_comes_from_its_queue_and_loses_none_of_it_when_it_is_killed() {
    let rabbit = Rabbit::start();
    declare(&rabbit).await;
    let (_connection, channel) = rabbit.connect().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let queue = format!("{}?queue={QUEUE}", rabbit.url());
    let flags = ["--amqp", &queue];
    let command = ["sh", "-c", "echo $NOAH_REVISION >> started; read pass < gate; echo $NOAH_REVISION >> ran"];
    let poke = Poke::start_in(gate(), &flags, &command);
    send(&channel, "application/json", br#"{"revision":1,"pubcategory":"//noah/hosts/a"}"#).await;
    poke.wait_for("started", |text| text == "1\n");
    send(&channel, "application/json", br#"{"revision":2,"pubcategory":"//noah/hosts/a"}"#).await;
    eventually("both are acknowledged", || async {
        (rabbit.depth(QUEUE).await == 0 && unacknowledged(&rabbit) == "0").then_some(())
    })
    .await;
    let again = Poke::start_in(poke.kill(), &flags, &command);
    again.wait_for("started", |text| text.lines().count() == 2);
    pass(&again.path("gate"));
    again.wait_for("ran", |text| text == "2\n");
    assert!(!again.read("stderr").contains("guest"), "the password is in no log");
}

#[test]
fn a_source_is_an_amqp_uri_with_a_queue_and_its_password_is_never_shown() {
    let source = Source::parse("amqps://me:hunter2@broker.example/v?queue=a%20b", None).unwrap();
    assert_eq!(source.to_string(), "queue a b on broker.example:5671");
    assert!(!format!("{source:?}").contains("hunter2"));
    for text in [
        "hunter2",
        "http://h/?queue=hunter2",
        "amqp://h/hunter2",
        "amqp://h/?queue=",
        "amqp://h/?queue=hunter2&queue=b",
        "amqp://h/?queue=a&exchange=hunter2",
        "amqp://h/?queue=a#hunter2",
        "amqp:///?queue=hunter2",
        &format!("amqp://h/?queue=hunter2{}", "x".repeat(256)),
    ] {
        let why = Source::parse(text, None).unwrap_err();
        assert!(!why.contains("hunter2") && why.contains("AMQP") || why.contains("endpoint"), "{text}: {why}");
    }
    assert!(Source::parse("amqps://h/?queue=a", Some("/nowhere".as_ref())).unwrap_err().contains("/nowhere"));
}
