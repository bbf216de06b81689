//! Against a server of the original, which knows nothing of waiting.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{Block, ends};
use crate::support::eventually;

const NOTHING: (u16, &str) = (404, r#"{"result":"failure","error_message":"Resource not found"}"#);

/// A server that gives these answers one after the other, the last of them for ever, in the original's way: each is
/// there at once, and no header says anything about it.
struct Original {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Original {
    fn start(answers: &'static [(u16, &'static str)]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                if lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count() == 0 {
                    continue;
                }
                let (status, body) = answers[counted.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
                let head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn it_is_asked_again_at_each_interval() {
    let original = Original::start(&[NOTHING, NOTHING, (200, "not yet"), (200, "ready")]);
    let end = ends(&original.url, "ephemerals/e --data ready --retry-interval 100ms", 0).await;
    assert_eq!(original.asked(), 4);
    assert!(end.took >= Duration::from_millis(300), "it did not rest: {:?}", end.took);
}

#[tokio::test]
async fn its_404_is_judged_by_the_rule_and_wrong_data_is_not() {
    let original = Original::start(&[NOTHING]);
    ends(&original.url, "ephemerals/e --on-failure pass", 0).await;
    ends(&original.url, "ephemerals/e --on-failure fail", 1).await;
    ends(&original.url, "ephemerals/e --absent", 0).await;
    assert_eq!(original.asked(), 3);
    let wrong = Original::start(&[(200, "wrong")]);
    ends(&wrong.url, "ephemerals/e --data x --on-failure pass --timeout 500ms --retry-interval 50ms", 1).await;
    assert!(wrong.asked() > 3, "it asked {} times", wrong.asked());
}

#[tokio::test]
async fn its_lists_are_counted_here_as_it_knows_no_filters() {
    let down = r#"{"web":{"h1":{"status":"up","tags":["t"]},"h2":{"status":"down","tags":["t"]}}}"#;
    let up = r#"{"web":{"h1":{"status":"up","tags":["t"]},"h2":{"status":"up","tags":["t"]}}}"#;
    let answers = Box::leak(Box::new([(200, down), (200, down), (200, up)]));
    let original = Original::start(answers);
    let mut block = Block::start(&original.url, "services/web --count 2 --status up --tag t --retry-interval 50ms");
    eventually("it asks", || async { (original.asked() > 0).then_some(()) }).await;
    assert!(block.runs() || original.asked() == 3);
    assert_eq!(block.end().await.code, Some(0));
    assert_eq!(original.asked(), 3);
}

#[tokio::test]
async fn another_servers_404_is_not_that_there_is_nothing() {
    let other = Original::start(&[(404, "<html>")]);
    let end = ends(&other.url, "ephemerals/e --on-failure pass", 1).await;
    assert!(end.said.contains("not as Noah does"), "{}", end.said);
}
