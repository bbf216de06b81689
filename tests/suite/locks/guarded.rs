//! What a lock is for: a resource that lets so many in at a time, and refuses those who have lost the lock.
//!
//! With one slot it would be enough to refuse whoever has a smaller number than the greatest one that was seen. With
//! several, those who hold the lock may be of any age: one may stay while others come and go. So when one comes and
//! there is no room, somebody has lost the lock without knowing it, and the resource asks who holds it: whoever does not
//! is put out, and is refused from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::support::Client;

/// What somebody did there.
#[derive(Debug, Clone)]
pub struct Deed {
    pub at: SystemTime,
    pub fence: u64,
    /// `enter`, `work` or `leave`.
    pub what: String,
    pub allowed: bool,
}

/// How it is there.
#[derive(Default)]
pub struct Inside {
    /// The names of those who are in, by their fencing numbers.
    pub now: BTreeMap<u64, String>,
    pub put_out: BTreeSet<u64>,
    /// More held the lock than there are slots.
    pub crowded: usize,
    pub history: Vec<Deed>,
}

/// The resource.
pub struct Guarded {
    client: Client,
    slots: usize,
    pub inside: Mutex<Inside>,
    pub port: u16,
}

impl Guarded {
    pub async fn start(client: &Client, slots: usize) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let guarded = Arc::new(Self { client: client.clone(), slots, inside: Mutex::default(), port });
        let serving = Arc::clone(&guarded);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        guarded
    }

    /// Lines like `enter 42 name`, each answered with `yes` or `no`; who hangs up leaves.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut entered = None;
        while let Ok(Some(line)) = lines.next_line().await {
            let words: Vec<&str> = line.split(' ').collect();
            let fence: u64 = words[1].parse().unwrap();
            let allowed = self.deed(words[0], fence, words[2]).await;
            entered = Some(fence);
            if write.write_all(if allowed { b"yes\n" } else { b"no\n" }).await.is_err() {
                break;
            }
        }
        if let Some(fence) = entered {
            self.inside.lock().await.now.remove(&fence);
        }
    }

    async fn deed(&self, what: &str, fence: u64, name: &str) -> bool {
        let mut inside = self.inside.lock().await;
        let allowed = match what {
            "enter" => self.enter(&mut inside, fence, name).await,
            "leave" => inside.now.remove(&fence).is_some(),
            _ => inside.now.contains_key(&fence),
        };
        inside.history.push(Deed { at: SystemTime::now(), fence, what: what.to_owned(), allowed });
        allowed
    }

    async fn enter(&self, inside: &mut Inside, fence: u64, name: &str) -> bool {
        if inside.now.len() >= self.slots {
            let holders = self.holders().await;
            let (stay, lost) = std::mem::take(&mut inside.now).into_iter().partition(|(one, _)| holders.contains(one));
            inside.now = stay;
            inside.put_out.extend(lost.into_keys());
            inside.crowded += usize::from(holders.len() > self.slots);
            if !holders.contains(&fence) || inside.now.len() >= self.slots {
                inside.put_out.insert(fence);
            }
        }
        let allowed = !inside.put_out.contains(&fence);
        if allowed {
            inside.now.insert(fence, name.to_owned());
        }
        allowed
    }

    async fn holders(&self) -> BTreeSet<u64> {
        let lock = self.client.get("/locks/guarded").await;
        let json = if lock.status == 200 { lock.json() } else { serde_json::Value::Null };
        json["holders"].as_array().into_iter().flatten().map(|holder| holder["fence"].as_u64().unwrap()).collect()
    }
}
