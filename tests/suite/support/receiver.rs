use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{PATIENCE, eventually};

/// What an endpoint does with a delivery, after having written it down.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// It answers with this status.
    Answer(u16),
    /// It sends the sender somewhere else.
    Redirect(String),
    /// It takes its time, and then says 200.
    Slow(Duration),
    /// It never answers.
    Hang,
}

/// One delivery.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The request's verb, which should be POST.
    pub method: String,
    /// The request's path and query.
    pub path: String,
    /// Its headers, by their names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
    /// When it came.
    pub at: Instant,
}

impl Hit {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The revision of the event in the body.
    pub fn revision(&self) -> u64 {
        self.json()["revision"].as_u64().unwrap_or_else(|| panic!("no revision: {}", self.json()))
    }
}

struct State {
    behaviour: Behaviour,
    hits: Vec<Hit>,
    /// How many there are.
    count: watch::Sender<usize>,
}

/// A real HTTP endpoint that writes down what it is sent.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

impl Receiver {
    /// An endpoint that says 200 to everything.
    pub async fn start() -> Self {
        let behaviour = Behaviour::Answer(200);
        let state = Arc::new(Mutex::new(State { behaviour, hits: Vec::new(), count: watch::Sender::new(0) }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, accepting: Some(tokio::spawn(accept(listener, Arc::clone(&state)))), state }
    }

    /// The endpoint, with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it does from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// Closes its port and all its connections.
    pub async fn go_away(&mut self) {
        let accepting = self.accepting.take().expect("it is there");
        accepting.abort();
        let _ = accepting.await;
    }

    /// Opens its port again.
    pub async fn come_back(&mut self) {
        let listener =
            eventually("the endpoint's port is free again", || async { TcpListener::bind(self.address).await.ok() })
                .await;
        self.accepting = Some(tokio::spawn(accept(listener, Arc::clone(&self.state))));
    }

    /// Everything it has been sent.
    pub fn hits(&self) -> Vec<Hit> {
        self.state.lock().unwrap().hits.clone()
    }

    /// How often it was sent something.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().hits.len()
    }

    /// What it was sent last.
    pub fn last(&self) -> Option<Hit> {
        self.state.lock().unwrap().hits.last().cloned()
    }

    /// The revisions it was sent, in the order they came.
    pub fn revisions(&self) -> Vec<u64> {
        self.hits().iter().map(Hit::revision).collect()
    }

    /// The revisions it was sent at this path, in the order they came.
    pub fn revisions_at(&self, path: &str) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let hits = state.hits.iter().filter(|hit| hit.path == path);
        hits.map(|hit| hit.headers["noah-revision"].parse().unwrap()).collect()
    }

    /// Everything it has been sent, once that is at least `count` deliveries.
    pub async fn at_least(&self, count: usize) -> Vec<Hit> {
        self.arrival(count - 1).await;
        self.hits()
    }

    /// When delivery `number`, counted from 0, came, once it did.
    pub async fn arrival(&self, number: usize) -> Instant {
        let mut count = self.state.lock().unwrap().count.subscribe();
        if timeout(PATIENCE, count.wait_for(|count| *count > number)).await.is_err() {
            panic!("{} of {} deliveries came to {}", self.count(), number + 1, self.address);
        }
        self.state.lock().unwrap().hits[number].at
    }

    /// Everything it has been sent, once the event of this revision is among it.
    pub async fn until_revision(&self, revision: u64) -> Vec<Hit> {
        let what = format!("the delivery of revision {revision} to {}", self.address);
        eventually(&what, || async {
            Some(self.hits()).filter(|hits| hits.iter().any(|hit| hit.revision() == revision))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

/// Serves connections; when this is aborted they all end with it.
async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::new(stream);
    loop {
        let hit = read(&mut stream).await?;
        let behaviour = {
            let mut state = state.lock().unwrap();
            state.hits.push(hit);
            state.count.send_replace(state.hits.len());
            state.behaviour.clone()
        };
        let (status, more) = match behaviour {
            Behaviour::Answer(status) => (status, String::new()),
            Behaviour::Redirect(to) => (302, format!("location: {to}\r\n")),
            Behaviour::Slow(time) => {
                tokio::time::sleep(time).await;
                (200, String::new())
            }
            Behaviour::Hang => std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {status} So It Is\r\n{more}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The next request of a connection; `None` at its end. One that was cut within its head may come without its body.
pub async fn read(stream: &mut BufReader<TcpStream>) -> Option<Hit> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Hit { method, path, headers, body, at: Instant::now() })
}
