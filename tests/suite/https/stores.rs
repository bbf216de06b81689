//! `rediss://` with an authority of one's own: as the store, and as an endpoint.

use noah::{
    agents::{Agent, Redis as Publisher},
    primitives::{Endpoint, Pattern, watch::Watch},
    store::{self, Durability, Options, StoreError, redis::Settings},
};

use super::*;
use crate::support::{Database, Redis, agent_options, delivery, free_port};

/// A Redis that speaks TLS too, and its URL.
fn redis(dir: &TempDir) -> (Redis, String) {
    let redis = Redis::start();
    let port = free_port().to_string();
    let (cert, key, ca) = (path(dir, "server.pem"), path(dir, "server.key"), path(dir, "authority.pem"));
    let files = ["tls-cert-file", &cert, "tls-key-file", &key, "tls-ca-cert-file", &ca];
    let words = [&["CONFIG", "SET"], &files[..], &["tls-auth-clients", "no", "tls-port", &port]].concat();
    redis.ask::<String>(&words);
    (redis, format!("rediss://localhost:{port}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_by_rediss_is_believed_by_its_ca_file() {
    let dir = certificates();
    let (_redis, url) = redis(&dir);
    let options = |ca_file: Option<&str>| Options {
        url: url.clone(),
        namespace: "noah".to_owned(),
        durability: Durability::Everysec,
        redis: Settings { ca_file: ca_file.map(|name| dir.path().join(name)), ..Settings::default() },
    };
    for distrusted in [None, Some("elsewhere.pem")] {
        let store = store::open(&options(distrusted)).await.unwrap();
        assert!(matches!(store.ready().await, Err(StoreError::Unavailable(_))), "{distrusted:?}");
        store.close().await;
    }
    for broken in ["missing", "client.key"] {
        let refused = store::open(&options(Some(broken))).await.err();
        assert!(
            matches!(&refused, Some(StoreError::Misconfigured(why)) if why.contains("store_ca_file")),
            "{refused:?}"
        );
    }
    // The whole server; the flag's name reaches the store.
    let database = Database::at(url).await;
    let noah = Noah::start(database, &["--store-ca-file", &path(&dir, "authority.pem")]);
    noah.put_ok("/ephemerals/a", "kept").await;
    assert_eq!(noah.get("/ephemerals/a").await.text(), "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_by_rediss_is_believed_by_the_ca_file_of_deliveries() {
    let dir = certificates();
    let (_redis, url) = redis(&dir);
    let endpoint = Endpoint::parse(&url, &["rediss"]).unwrap();
    let watch = Watch::plain(Pattern::parse("//noah").unwrap(), endpoint);
    let publish = async |settings: &[(&'static str, &str)]| {
        Publisher::new(&agent_options(settings)).unwrap().deliver(&watch, &delivery()).await
    };
    assert_ne!(publish(&[]).await, noah::agents::Outcome::Delivered);
    assert_eq!(publish(&[("delivery.ca_file", &path(&dir, "authority.pem"))]).await, noah::agents::Outcome::Delivered);
    let refused = Publisher::new(&agent_options(&[("delivery.ca_file", &path(&dir, "client.key"))])).err();
    assert!(refused.is_some_and(|why| why.contains("delivery.ca_file")));
}
