//! The original made two records of one, and answered one in twenty with 500.

use std::collections::BTreeSet;

use crate::support::{Client, Noah, on_both_stores};

const CLIENTS: usize = 64;
const ROUNDS: usize = 50;

/// One answer's action, id and revision.
async fn put(client: Client, path: String, data: String) -> (String, String, u64) {
    let answer = client.put_ok(&path, data).await;
    let (json, revision) = (answer.json(), answer.revision());
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (text("action"), text("id"), revision)
}

async fn sixty_four_clients_make_one_record_between_them(noah: Noah) {
    for round in 0..ROUNDS {
        let path = format!("/ephemerals/race/{round}");
        let puts: Vec<_> = (0..CLIENTS)
            .map(|client| tokio::spawn(put(noah.client().clone(), path.clone(), format!("from {client}"))))
            .collect();
        let (mut creates, mut ids, mut revisions) = (0, BTreeSet::new(), BTreeSet::new());
        for put in puts {
            let (action, id, revision) = put.await.unwrap();
            creates += usize::from(action == "create");
            ids.insert(id);
            revisions.insert(revision);
        }
        assert_eq!((creates, ids.len()), (1, 1), "one create and one record in round {round}");
        let first = (round * CLIENTS) as u64;
        let all: BTreeSet<u64> = (first + 1..=first + CLIENTS as u64).collect();
        assert_eq!(revisions, all, "a revision for each PUT of round {round}");
    }
    let events = noah.database.whole_log().await;
    assert_eq!(events.len(), CLIENTS * ROUNDS);
    for (n, event) in events.iter().enumerate() {
        let round = n / CLIENTS;
        assert_eq!(event.revision, n as u64 + 1);
        assert_eq!(event.record.key.as_str(), format!("ephemerals/race/{round}"));
        assert_eq!(event.action.as_str(), if n % CLIENTS == 0 { "create" } else { "update" });
    }
}

on_both_stores!(Noah: sixty_four_clients_make_one_record_between_them);
