use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{super::Egress, Target, zmtp};

/// How long after its connection a subscriber may take to say what it wants.
const SETTLES: Duration = Duration::from_secs(1);
/// How many bytes of subscriptions are kept of one peer.
const MOST_TOPICS: usize = 1 << 20;

/// A connection to one receiver.
pub(super) struct Link {
    shared: Arc<Shared>,
    seen: watch::Receiver<Seen>,
    reading: JoinHandle<()>,
    has_topics: bool,
    /// Whether the peer answers a PING.
    answers: bool,
    since: Instant,
}

struct Shared {
    writer: Mutex<Writer>,
    /// A write was begun and not ended: nothing can follow it.
    torn: AtomicBool,
}

struct Writer {
    stream: OwnedWriteHalf,
    pings: u64,
}

/// What the peer has said so far.
#[derive(Default)]
struct Seen {
    topics: Vec<Vec<u8>>,
    pongs: u64,
    closed: Option<String>,
}

impl Link {
    /// Connects to an address that is allowed, and shakes hands.
    ///
    /// # Errors
    /// Why that did not work, in words.
    pub(super) async fn connect(target: &Target, egress: &Egress) -> Result<Self, String> {
        let addresses = egress.resolve(&target.host, target.port).await?;
        let mut stream =
            TcpStream::connect(&addresses[..]).await.map_err(|error| format!("it cannot be reached: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let answers = zmtp::greet(&mut stream, target.kind).await?;
        let (reader, stream) = stream.into_split();
        let shared = Shared { writer: Mutex::new(Writer { stream, pings: 0 }), torn: AtomicBool::new(false) };
        let (shared, (tell, seen)) = (Arc::new(shared), watch::channel(Seen::default()));
        let reading = tokio::spawn(read(reader, Arc::clone(&shared), tell));
        let has_topics = target.kind.has_topics();
        Ok(Self { shared, seen, reading, has_topics, answers, since: Instant::now() })
    }

    /// Whether something can still be sent on it, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.shared.torn.load(Ordering::Relaxed) && self.seen.borrow().closed.is_none()
    }

    /// Sends one message. When the peer speaks ZMTP 3.1, its answer to a PING that follows the message says that
    /// it has read the message; of an older one it is only known that the connection took it.
    ///
    /// # Errors
    /// Why it did not work, in words. The link is of no use then.
    pub(super) async fn send(&self, topic: &str, body: &[u8]) -> Result<(), String> {
        if self.has_topics && !self.is_wanted(topic.as_bytes()).await {
            return Ok(());
        }
        let message = zmtp::message(&[topic.as_bytes(), body]);
        let ping = self.shared.send(&message, self.answers).await.map_err(|error| gone(&error))?;
        let mut seen = self.seen.clone();
        let answered = seen.wait_for(|seen| seen.pongs >= ping || seen.closed.is_some()).await;
        match answered.map_err(|_| "the connection is no more")?.closed.clone() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// Whether the peer has subscribed to a topic, or does so in the first moments.
    async fn is_wanted(&self, topic: &[u8]) -> bool {
        let mut seen = self.seen.clone();
        let wanted = |seen: &Seen| seen.closed.is_some() || seen.topics.iter().any(|prefix| topic.starts_with(prefix));
        timeout_at(self.since + SETTLES, seen.wait_for(wanted)).await.is_ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Shared {
    /// Writes a message, and a PING if wanted; returns that one's number, 0 without.
    async fn send(&self, message: &[u8], ping: bool) -> io::Result<u64> {
        let mut writer = self.writer.lock().await;
        if !ping {
            self.write(&mut writer, message).await?;
            return Ok(0);
        }
        writer.pings += 1;
        let number = writer.pings;
        // No time to live (two zero bytes), and the number as the context that the answer repeats.
        let ping = zmtp::command("PING", &[&[0, 0], &number.to_be_bytes()[..]].concat());
        self.write(&mut writer, message).await?;
        self.write(&mut writer, &ping).await?;
        Ok(number)
    }

    async fn write(&self, writer: &mut Writer, bytes: &[u8]) -> io::Result<()> {
        // Whoever waits for this may stop waiting at any time, in the middle of a message too.
        if self.torn.swap(true, Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        writer.stream.write_all(bytes).await?;
        self.torn.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Notes what the peer says, until the connection ends.
async fn read(stream: OwnedReadHalf, shared: Arc<Shared>, tell: watch::Sender<Seen>) {
    let mut stream = BufReader::new(stream);
    let why = loop {
        let frame = match zmtp::read_frame(&mut stream).await {
            Ok(frame) => frame,
            Err(error) => break gone(&error),
        };
        if let Some(data) = frame.command("PING") {
            let pong = zmtp::command("PONG", data.get(2..).unwrap_or_default());
            let mut writer = shared.writer.lock().await;
            if let Err(error) = shared.write(&mut writer, &pong).await {
                break gone(&error);
            }
            continue;
        }
        let mut is_too_much = false;
        tell.send_modify(|seen| {
            note(seen, &frame);
            is_too_much =
                seen.topics.iter().map(|topic| topic.len() + size_of::<Vec<u8>>()).sum::<usize>() > MOST_TOPICS;
        });
        if is_too_much {
            break "it has too many subscriptions".to_owned();
        }
    };
    tell.send_modify(|seen| seen.closed = Some(why));
}

/// A subscription is a command in ZMTP 3.1, and a message with a 1 or a 0 before the topic in 3.0.
fn note(seen: &mut Seen, frame: &zmtp::Frame) {
    let message = |first: u8| match frame.body.split_first() {
        Some((found, topic)) if !frame.is_command && *found == first => Some(topic),
        _ => None,
    };
    if let Some(context) = frame.command("PONG") {
        let number = context.try_into().map_or(0, u64::from_be_bytes);
        seen.pongs = seen.pongs.max(number);
    } else if let Some(topic) = frame.command("SUBSCRIBE").or(message(1)) {
        seen.topics.push(topic.to_vec());
    } else if let Some(topic) = frame.command("CANCEL").or(message(0))
        && let Some(at) = seen.topics.iter().position(|known| known == topic)
    {
        seen.topics.swap_remove(at);
    }
}

fn gone(error: &io::Error) -> String {
    format!("its connection ended: {error}")
}
