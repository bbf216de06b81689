//! What watches that do not match cost: nothing for a PUT, little memory, a start that is still short.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use noah::{
    primitives::{Reading, watch},
    store::{Durability, Store},
};

use super::{median, ms, percentile, resident};
use crate::support::{Backend, Client, Database, Noah, Receiver};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const CLIENTS: usize = 16;
const SAMPLES: usize = 100;

/// Registers watches that match nothing of what is put, behind the server's back.
async fn register(store: &Arc<dyn Store>, count: usize) {
    let one = |n: usize| {
        let body = format!(r#"{{"pattern":"//noah/hosts/h{n}","endpoint":"http://127.0.0.1:9/w{n}"}}"#);
        let wanted = watch::parse(body.as_bytes(), &["http"]).unwrap();
        let plan = watch::put(
            &wanted,
            Reading { revision: 0, answers: Vec::new() },
            None,
            &Default::default(),
            &Default::default(),
            &Default::default(),
            &Default::default(),
        );
        let store = Arc::clone(store);
        async move { store.commit(&plan.unwrap().commit).await.unwrap() }
    };
    stream::iter(0..count).map(one).buffer_unordered(64).for_each(|_| async {}).await;
}

struct Server {
    noah: Noah,
    receiver: Receiver,
    puts: usize,
    time: Duration,
    delays: Vec<f64>,
}

impl Server {
    async fn with(backend: Backend, watches: usize) -> Self {
        let database = Database::on(backend).await;
        let store = noah::store::open(&database.options(Durability::None)).await.unwrap();
        register(&store, watches).await;
        store.close().await;
        let start = Instant::now();
        let noah = Noah::start(database, &[]);
        while noah.get("/readyz").await.status != 200 {}
        let ready = start.elapsed();
        let receiver = Receiver::start().await;
        noah.watch("//noah/ephemerals/mine", &receiver.url("/")).await;
        noah.put_ok("/ephemerals/mine", "first").await;
        receiver.at_least(1).await;
        println!(
            "{backend:?}, {watches:6} watches: ready after {}, first delivery after {}, RSS {} KiB",
            ms(ready),
            ms(start.elapsed()),
            resident(noah.pid())
        );
        assert!(start.elapsed() < Duration::from_secs(5), "a start is ready within 5 s");
        Self { noah, receiver, puts: 0, time: Duration::ZERO, delays: Vec::new() }
    }

    /// PUTs a second of several clients, and then how long a delivery takes on a quiet server.
    async fn measure(&mut self) {
        let start = Instant::now();
        let puts = (0..CLIENTS).map(|client| put_until(self.noah.client().clone(), client, start + ROUND));
        let puts: usize = futures_util::future::join_all(puts).await.into_iter().sum();
        // All of them together, and no median: moving idle watches along is seldom, and is to be counted in.
        self.puts += puts;
        self.time += start.elapsed();
        let mut delays = Vec::new();
        for n in 0..SAMPLES {
            let (before, start) = (self.receiver.count(), Instant::now());
            self.noah.put_ok("/ephemerals/mine", n.to_string()).await;
            delays.push(self.receiver.arrival(before).await - start);
        }
        self.delays.push(percentile(&mut delays, 0.5).as_secs_f64());
    }
}

async fn put_until(client: Client, number: usize, end: Instant) -> usize {
    let mut done = 0;
    while Instant::now() < end {
        client.put_ok(&format!("/ephemerals/other/{number}"), "0123456789abcdef").await;
        done += 1;
    }
    done
}

async fn flat(backend: Backend) {
    let mut servers = Vec::new();
    for size in SIZES {
        servers.push(Server::with(backend, size).await);
    }
    let [few, .., many] = [&servers[0], &servers[1], &servers[2]].map(|server| resident(server.noah.pid()));
    let each = (many.saturating_sub(few)) * 1024 / SIZES[2] as u64;
    println!("{backend:?}: {each} bytes for an idle watch");
    for _ in 0..ROUNDS {
        for server in &mut servers {
            server.measure().await;
        }
    }
    let figures: Vec<(f64, f64)> = servers
        .iter_mut()
        .map(|server| (server.puts as f64 / server.time.as_secs_f64(), median(&mut server.delays)))
        .collect();
    for (size, (puts, delay)) in SIZES.iter().zip(&figures) {
        println!("{backend:?}, {size:6} watches: {puts:6.0} PUT/s, delivered after {:.3} ms (p50)", delay * 1000.0);
    }
    for (puts, delay) in &figures[1..] {
        assert!(*puts * 1.3 >= figures[0].0, "PUTs stay within 1.3 times");
        assert!(*delay <= figures[0].1 * 1.3, "deliveries stay within 1.3 times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn watches_that_do_not_match_cost_nothing_on_sqlite() {
    flat(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn watches_that_do_not_match_cost_nothing_on_redis() {
    flat(Backend::Redis).await;
}
