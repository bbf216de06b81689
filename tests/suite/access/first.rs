//! The tokens that a server makes by itself: the one of the operator's file, and the first one of a store.

use super::{ADMIN, Guarded, who};
use crate::support::{Backend, Client, Database, Noah, Sibling, command, eventually, on_both_stores};

/// Beyond loopback.
const ANYWHERE: &str = "0.0.0.0:0";
const SHOWN: &str = "admin token (shown once): ";

on_both_stores! {
    Guarded:
    the_token_of_the_file_is_made_once_and_follows_the_file,
}

async fn the_token_of_the_file_is_made_once_and_follows_the_file(mut guarded: Guarded) {
    let count = async |client: &Client| client.see("/tokens").await.as_array().unwrap().len();
    let before = guarded.admin.see("/tokens/bootstrap").await;
    guarded.noah.terminate();
    guarded.noah.start_again();
    let admin = guarded.noah.client().bearing(ADMIN);
    assert_eq!((who(&admin).await.1.as_str(), count(&admin).await), ("bootstrap", 1));
    assert_eq!(admin.see("/tokens/bootstrap").await, before, "it is as it was");
    // Another secret is that of the same token.
    let file = guarded.noah.database.dir().join("bootstrap");
    let other = "x".repeat(32);
    std::fs::write(&file, &other).unwrap();
    guarded.noah.terminate();
    guarded.noah.start_again();
    let (old, new) = (guarded.noah.client().bearing(ADMIN), guarded.noah.client().bearing(&other));
    assert_eq!((who(&old).await.0, who(&new).await.1.as_str(), count(&new).await), (401, "bootstrap", 1));
}

#[tokio::test]
async fn a_file_that_holds_no_secret_is_refused() {
    let database = Database::on(Backend::Sqlite).await;
    let file = database.dir().join("bootstrap");
    let mut said = Vec::new();
    for text in [None, Some(""), Some("hunter2"), Some("two\nlines of what is said to be a secret here")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let mut serve = command();
        serve
            .args(["serve", "--listen", "127.0.0.1:0", "--store", &database.url(), "--bootstrap-token-file"])
            .arg(&file);
        let output = serve.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !words.contains("hunter2"), "{words}");
        said.push(words);
    }
    assert!(said[0].contains("cannot be read"), "{said:?}");
    assert!(said[1].contains("32 characters") && said[2].contains("32 characters"), "{said:?}");
}

/// The secrets that were printed.
fn shown(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix(SHOWN)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_beyond_loopback_make_one_token() {
    for backend in [Backend::Sqlite, Backend::Redis] {
        let database = Database::on(backend).await;
        // The schema is there, so that they come to it together.
        database.open().await.close().await;
        let siblings: Vec<Sibling> = std::thread::scope(|scope| {
            let start = |number: u32| {
                let database = &database;
                scope.spawn(move || Sibling::start_at(ANYWHERE, database, &[], 2_000 + number))
            };
            let starting: Vec<_> = (0..3).map(start).collect();
            starting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let secret = eventually("a token is shown", || async {
            let said: String = siblings.iter().map(Sibling::stdout).collect();
            shown(&said).first().map(|secret| (*secret).to_owned())
        })
        .await;
        for sibling in &siblings {
            assert_eq!(who(&sibling.bearing(&secret)).await, (200, "admin".to_owned()));
            assert!(!sibling.logs().contains(&secret));
        }
        let tokens = siblings[0].bearing(&secret).see("/tokens").await;
        assert_eq!(tokens.as_array().unwrap().len(), 1, "{tokens}");
        let said: String = siblings.iter().map(Sibling::stdout).collect();
        assert_eq!(shown(&said).len(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_first_token_is_made_only_where_there_would_be_no_way_in() {
    let mut noah = Noah::start_at(ANYWHERE, Database::on(Backend::Sqlite).await, &[]);
    eventually("a token is shown", || async { (!shown(&noah.logs()).is_empty()).then_some(()) }).await;
    // Who answers knows by then what a signal means.
    assert_eq!(noah.get("/healthz").await.status, 200);
    noah.terminate();
    noah.start_again();
    assert_eq!(shown(&noah.logs()), Vec::<&str>::new(), "there is one");
    for args in [&["--insecure"][..], &["--access-anonymous", "all=//noah"]] {
        let noah = Noah::start_at(ANYWHERE, Database::on(Backend::Sqlite).await, args);
        assert_eq!(noah.get("/tokens").await.status, 404, "{args:?}");
    }
    let noah = Noah::on(Backend::Sqlite).await;
    assert_eq!(noah.get("/tokens").await.status, 404, "on loopback nobody needs one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_token_is_made_when_the_store_is_there() {
    let mut noah = Noah::start_at(ANYWHERE, Database::over(crate::support::Redis::absent()).await, &[]);
    assert!(shown(&noah.logs()).is_empty());
    noah.database.redis().restart();
    let secret =
        eventually("a token is shown", || async { shown(&noah.logs()).first().map(|secret| (*secret).to_owned()) })
            .await;
    eventually("it opens", || async { (who(&noah.client().bearing(&secret)).await.1 == "admin").then_some(()) }).await;
}
