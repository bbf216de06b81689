//! How late records go whose lifetimes are over: 10,000 within one second, two servers on one store.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{ms, percentile};
use crate::{
    lifetimes::sharing::{expired, put_many},
    support::{Backend, Noah, eventually_within},
};

const MANY: usize = 10_000;
const SPREAD: Duration = Duration::from_secs(1);
/// How long putting them may take.
const PUTTING: Duration = Duration::from_secs(25);

async fn all_go_once_and_soon(backend: Backend) {
    let noah = Noah::on(backend).await;
    let sibling = noah.sibling();
    let (began, wall) = (Instant::now(), noah::primitives::millis());
    let over_at = began + PUTTING;
    put_many(&[noah.client().clone(), (*sibling).clone()], MANY, over_at, SPREAD).await;
    println!("{backend:?}: {MANY} were put in {:?}", began.elapsed());
    assert!(Instant::now() < over_at, "this machine is too slow for it");
    // Looks at the end of the log only, so as not to take part.
    let log = noah.database.open().await;
    eventually_within(2 * PUTTING, "all are over", || async {
        (log.window().await.unwrap().newest == 2 * MANY as u64).then_some(())
    })
    .await;
    assert_eq!(expired(&noah).await.len(), MANY);
    let mut over = BTreeMap::new();
    for event in noah.database.whole_log().await.into_iter().filter(|event| event.action.as_str() == "expire") {
        over.insert(event.record.key.name().parse::<usize>().unwrap(), event.time);
    }
    // As they were put: deadlines are at most the time that a PUT took later than that.
    let deadline = |n: usize| wall + (PUTTING + SPREAD.mul_f64(n as f64 / MANY as f64)).as_millis() as i64;
    let late = |(n, time): (&usize, &i64)| Duration::from_millis(u64::try_from(time - deadline(*n)).unwrap_or(0));
    let mut samples: Vec<Duration> = over.iter().map(late).collect();
    let (middle, slow) = (percentile(&mut samples, 0.5), percentile(&mut samples, 0.99));
    println!("{backend:?}: late by {} (p50), {} (p99), {} at most", ms(middle), ms(slow), ms(samples[MANY - 1]));
    assert!(slow <= Duration::from_millis(250), "{}", ms(slow));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn redis() {
    all_go_once_and_soon(Backend::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: needs a quiet machine and an optimized build"]
async fn sqlite() {
    all_go_once_and_soon(Backend::Sqlite).await;
}
