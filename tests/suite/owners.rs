//! Several servers on one store: each watch is delivered by one of them at a time.

mod backlog;
mod sharing;
mod trouble;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Answer, Backend, Client, Database, Noah, Receiver, Sibling, eventually};

const WATCHES: usize = 20;
const PARTS: usize = 128;
/// How soon another server has to deliver for the watches of one that died.
const TAKEN_OVER: Duration = Duration::from_secs(5);

/// Two servers on one store, with watches that both have a share of.
struct Pair {
    noah: Noah,
    other: Sibling,
    receiver: Receiver,
    paths: Vec<String>,
}

impl Pair {
    async fn on(backend: Backend) -> Self {
        Self::over(Database::on(backend).await).await
    }

    async fn over(database: Database) -> Self {
        Self::with(database, &[]).await
    }

    async fn with(database: Database, args: &[&str]) -> Self {
        let noah = Noah::start(database, args);
        let receiver = Receiver::start().await;
        let mut paths = Vec::new();
        for n in 0..WATCHES {
            let endpoint = receiver.url(&hook(n));
            paths.push(noah.watch_with(&format!("//noah/ephemerals/w{n}"), &endpoint, &json!({})).await);
        }
        let other = noah.sibling();
        let mut pair = Self { noah, other, receiver, paths };
        pair.shared_by(2).await;
        pair
    }

    /// Waits until each of `count` servers has its fair share.
    async fn shared_by(&mut self, count: usize) {
        let database = std::cell::RefCell::new(&mut self.noah.database);
        eventually(&format!("{count} servers share all parts"), || async {
            let owners = owners(&mut database.borrow_mut());
            let fair = |held: &usize| (PARTS / count..=PARTS.div_ceil(count)).contains(held);
            (owners.len() == count && owners.values().all(fair) && owners.values().sum::<usize>() == PARTS)
                .then_some(())
        })
        .await;
    }

    /// What each watch has to be told, by the log.
    async fn wanted(&self) -> Vec<Vec<u64>> {
        let mut wanted = vec![Vec::new(); WATCHES];
        for event in self.noah.database.whole_log().await {
            let watch = event.record.key.as_str().strip_prefix("ephemerals/w").and_then(|rest| rest.split('/').next());
            if let Some(watch) = watch {
                wanted[watch.parse::<usize>().unwrap()].push(event.revision);
            }
        }
        wanted
    }

    /// Waits until each watch was told the newest event there is for it; what it has to be told, and what it was.
    async fn told(&self) -> Vec<(Vec<u64>, Vec<u64>)> {
        let mut all = Vec::new();
        for (n, wanted) in self.wanted().await.into_iter().enumerate() {
            eventually(&format!("watch {n} is told its last event"), || async {
                wanted.last().is_none_or(|last| self.receiver.revisions_at(&hook(n)).contains(last)).then_some(())
            })
            .await;
            all.push((wanted, self.receiver.revisions_at(&hook(n))));
        }
        all
    }

    /// Each watch was told everything, once and in order.
    async fn told_once(&self) {
        for (n, (wanted, told)) in self.told().await.into_iter().enumerate() {
            assert_eq!(told, wanted, "watch {n}");
        }
    }

    /// Each watch was told everything, and what it was told for the first time is in order; how often something
    /// was told again.
    async fn told_in_order(&self) -> usize {
        let mut again = 0;
        for (n, (wanted, told)) in self.told().await.into_iter().enumerate() {
            let mut first = Vec::new();
            for revision in told {
                if first.contains(&revision) {
                    again += 1;
                } else {
                    first.push(revision);
                }
            }
            assert_eq!(first, wanted, "watch {n}");
        }
        again
    }
}

fn hook(watch: usize) -> String {
    format!("/w{watch}")
}

/// How many parts each owner has, as it lies in the store.
fn owners(database: &mut Database) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    let mut count = |owner: String| *owners.entry(owner).or_default() += 1;
    if database.backend == Backend::Redis {
        let parts: BTreeMap<u16, String> = database.redis().ask(&["HGETALL", "{noah}:parts"]);
        let owner = |text: String| text.split(' ').next().unwrap().to_owned();
        parts.into_values().map(owner).filter(|owner| owner != "-").for_each(&mut count);
    } else {
        let file = Connection::open(database.file()).unwrap();
        let mut select = file.prepare("SELECT hex(owner) FROM parts WHERE owner IS NOT NULL").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).for_each(&mut count);
    }
    owners
}

/// Writes for all watches, one after the other, a few hundred times a second, until it is told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<usize>,
}

impl Traffic {
    fn through(client: &Client) -> Self {
        let (client, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let (mut written, mut pace) = (0, tokio::time::interval(Duration::from_millis(3)));
            for n in 0.. {
                pace.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/ephemerals/w{}/{}", n % WATCHES, n % 3);
                let put = client.request(reqwest::Method::PUT, &path).body(n.to_string());
                // While the store is away nothing is taken; what was is in the log.
                written += usize::from(Answer::try_of(put).await.is_ok_and(|answer| answer.status == 200));
            }
            written
        });
        Self { stop, writing }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}
