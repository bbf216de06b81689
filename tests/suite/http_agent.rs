//! The HTTP agent on endpoints that answer oddly, slowly, at length, or not at all.

mod endpoint;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream::FuturesUnordered};
use noah::agents::{Agent, Agents, Http, Outcome};

use crate::support::{
    Behaviour, Receiver, agent_options, deliver, delivery, eventually, failure, http_agent, watch_to,
};
use endpoint::{Endpoint, Reaction, YES};

/// Delivers until a connection was used twice; every attempt must succeed.
async fn until_one_is_used_again(agent: &Http, endpoint: &Endpoint) {
    eventually("a connection is used again", || async {
        assert_eq!(deliver(agent, &endpoint.url()).await, Outcome::Delivered);
        endpoint.seen().iter().any(|requests| *requests > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_kept_connection_that_ends_as_the_next_request_comes_is_no_failure() {
    for end in [|| Reaction::Close, || Reaction::Reset] {
        let react = move |nth| if nth == 0 { Reaction::Say(YES.to_owned()) } else { end() };
        let endpoint = Endpoint::start(react).await;
        until_one_is_used_again(&http_agent(&[]), &endpoint).await;
        let seen = endpoint.seen();
        assert_eq!(seen.last(), Some(&1), "the request was made again on a new connection: {seen:?}");
    }
}

#[tokio::test]
async fn connections_that_ended_while_nobody_used_them_are_no_failure() {
    let mut receiver = Receiver::start().await;
    let agent = http_agent(&[]);
    for _ in 0..20 {
        assert_eq!(deliver(&agent, &receiver.url("/")).await, Outcome::Delivered);
        receiver.go_away().await;
        receiver.come_back().await;
    }
    assert_eq!(receiver.count(), 20);
}

#[tokio::test]
async fn a_new_connection_that_ends_without_an_answer_is_a_failure_after_one_request() {
    for (end, words) in [
        ((|| Reaction::Close) as fn() -> Reaction, "connection closed before message completed"),
        (|| Reaction::Reset, "eset"),
    ] {
        let endpoint = Endpoint::start(move |_| end()).await;
        let why = failure(deliver(&http_agent(&[]), &endpoint.url()).await);
        assert!(why.contains(words), "{why}");
        assert_eq!(endpoint.seen(), [1]);
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_failure_after_one_request_though_the_connection_was_kept() {
    let react = |nth| Reaction::Say(if nth == 0 { YES.to_owned() } else { "HTTP/9 what?\r\n\r\n".to_owned() });
    let endpoint = Endpoint::start(react).await;
    let agent = http_agent(&[]);
    let why = eventually("a connection is used again", || async {
        let outcome = deliver(&agent, &endpoint.url()).await;
        (outcome != Outcome::Delivered).then(|| failure(outcome))
    })
    .await;
    let seen = endpoint.seen();
    assert_eq!(seen.last(), Some(&2), "{seen:?}: {why}");
}

#[tokio::test]
async fn no_more_of_an_answer_is_read_than_the_settings_say() {
    let answer = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length));
    let chunked = |length: usize| {
        let chunk = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}")
    };
    const LENGTH: usize = 1 << 20;
    // What has come already is taken anyway, so a limit is kept to within what is read at once.
    let (less, enough) = ("1000", LENGTH.to_string());
    for all in [answer(LENGTH), chunked(LENGTH)] {
        let (agent, once) = (http_agent(&[("delivery.response_max_bytes", less)]), all.clone());
        let endpoint = Endpoint::start(move |_| Reaction::Say(once.clone())).await;
        for _ in 0..5 {
            assert_eq!(deliver(&agent, &endpoint.url()).await, Outcome::Delivered);
        }
        assert_eq!(endpoint.seen(), [1; 5], "each connection was closed");
        let endpoint = Endpoint::start(move |_| Reaction::Say(all.clone())).await;
        until_one_is_used_again(&http_agent(&[("delivery.response_max_bytes", &enough)]), &endpoint).await;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_taken_for_what_its_first_line_says() {
    let start = Instant::now();
    let agent = http_agent(&[]);
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let endless = Endpoint::start(move |_| Reaction::Endless(head)).await;
    assert_eq!(deliver(&agent, &endless.url()).await, Outcome::Delivered);
    let taken = eventually("the connection is closed", || async {
        let before = endless.taken();
        tokio::time::sleep(Duration::from_millis(50)).await;
        (before == endless.taken()).then_some(before)
    })
    .await;
    // The rest is what the sockets between them hold.
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    let dripping = Endpoint::start(move |_| Reaction::Drip(head)).await;
    assert_eq!(deliver(&agent, &dripping.url()).await, Outcome::Delivered);
    assert!(start.elapsed() < Duration::from_secs(20), "it was waited for");
}

#[tokio::test]
async fn an_endpoint_that_hangs_fails_when_the_time_is_up() {
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Hang);
    let agent = http_agent(&[("delivery.timeout", "200ms"), ("delivery.connect_timeout", "200ms")]);
    let start = Instant::now();
    let why = failure(deliver(&agent, &receiver.url("/")).await);
    assert!(why.contains("timed out") && start.elapsed() < Duration::from_secs(20), "{why}");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let agent = http_agent(&[]);
    let elsewhere = other.url("/").trim_end_matches('/').to_owned();
    for (to, shown) in [(other.url("/s3cret?s3cret"), elsewhere.as_str()), (METADATA.to_owned(), METADATA_HOST)] {
        receiver.behave(Behaviour::Redirect(to));
        let why = failure(deliver(&agent, &receiver.url("/s3cret")).await);
        assert!(why.contains(&format!("302 Found to {shown};")) && !why.contains("s3cret"), "{why}");
    }
    assert_eq!((receiver.count(), other.count()), (2, 0));
}

const METADATA_HOST: &str = "http://169.254.169.254";
const METADATA: &str = "http://169.254.169.254/s3cret";

#[tokio::test]
async fn statuses_say_whether_to_end_and_to_slow_down() {
    let agent = http_agent(&[]);
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Answer(410));
    let gone = deliver(&agent, &receiver.url("/")).await;
    assert!(matches!(gone, Outcome::Gone { .. }), "{gone:?}");
    for (status, is_slow) in [(429, true), (502, true), (503, true), (504, true), (500, false), (404, false)] {
        receiver.behave(Behaviour::Answer(status));
        let outcome = deliver(&agent, &receiver.url("/")).await;
        assert!(matches!(outcome, Outcome::RetryAfter { slow, .. } if slow == is_slow), "{outcome:?}");
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3600));
    let busy = move |_| Reaction::Say(format!("HTTP/1.1 503 Busy\r\nretry-after: {date}\r\ncontent-length: 0\r\n\r\n"));
    let outcome = deliver(&agent, &Endpoint::start(busy).await.url()).await;
    let Outcome::RetryAfter { wait: Some(wait), slow: true, .. } = outcome else { panic!("{outcome:?}") };
    assert!((3500..=3600).contains(&wait.as_secs()), "{wait:?}");
}

/// Agents of which each may do so much at the same time, and at one host.
fn agents(all: &'static str, per_host: &'static str, timeout: &'static str) -> Agents {
    let settings = [
        ("delivery.concurrency", all),
        ("delivery.concurrency_per_host", per_host),
        ("delivery.connect_timeout", "1s"),
        ("delivery.timeout", timeout),
    ];
    Agents::new(&agent_options(&settings)).unwrap()
}

#[tokio::test]
async fn a_host_that_hangs_uses_up_its_own_share_only() {
    let (hanging, other) = (Receiver::start().await, Receiver::start().await);
    hanging.behave(Behaviour::Hang);
    let agents = agents("4", "2", "10m");
    let (bad, good, event) = (watch_to(&hanging.url("/")), watch_to(&other.url("/")), delivery());
    let hopeless: FuturesUnordered<_> = (0..10).map(|_| agents.deliver(&bad, &event)).collect();
    let useful = async {
        hanging.at_least(2).await;
        for _ in 0..20 {
            assert_eq!(agents.deliver(&good, &event).await, Outcome::Delivered);
        }
    };
    tokio::select! {
        outcome = hopeless.into_future() => panic!("it did not hang: {:?}", outcome.0),
        () = useful => {}
    }
    assert_eq!((hanging.count(), other.count()), (2, 20));
}

#[tokio::test]
async fn an_agent_does_no_more_than_its_share_at_all_hosts_together() {
    let mut receivers = Vec::new();
    for _ in 0..4 {
        let receiver = Receiver::start().await;
        receiver.behave(Behaviour::Hang);
        receivers.push(receiver);
    }
    let (agents, event, start) = (agents("3", "2", "1s"), delivery(), Instant::now());
    let watches: Vec<_> = receivers.iter().map(|receiver| watch_to(&receiver.url("/"))).collect();
    futures_util::future::join_all(watches.iter().map(|watch| agents.deliver(watch, &event))).await;
    let hits = receivers.iter().flat_map(Receiver::hits);
    let mut times: Vec<Duration> = hits.map(|hit| hit.at - start).collect();
    times.sort_unstable();
    assert_eq!(times.len(), 4);
    assert!(times[3] >= Duration::from_secs(1), "the last began before another had ended: {times:?}");
}

#[tokio::test]
async fn waiting_for_a_turn_takes_nothing_from_the_time_for_an_attempt() {
    let slow = Endpoint::start(|_| Reaction::Say(YES.to_owned())).await;
    let hanging = Receiver::start().await;
    hanging.behave(Behaviour::Hang);
    let (agents, event) = (agents("1", "1", "1s"), delivery());
    let (bad, good) = (watch_to(&hanging.url("/")), watch_to(&slow.url()));
    // Three time-outs pass before the last may begin.
    let attempts = [&bad, &bad, &bad, &good].map(|watch| agents.deliver(watch, &event));
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes[3], Outcome::Delivered, "{outcomes:?}");
    assert!(outcomes[..3].iter().all(|outcome| failure(outcome.clone()).contains("timed out")), "{outcomes:?}");
    assert_eq!(hanging.count(), 3);
}

#[tokio::test]
async fn an_agent_knows_its_schemes() {
    assert_eq!(http_agent(&[]).schemes(), ["http", "https"]);
}
