use serde_json::json;

use crate::support::{Backend, Noah, eventually};

#[tokio::test]
async fn each_event_is_a_line_of_the_log_without_the_passwords_of_watches() {
    let noah = Noah::on(Backend::Sqlite).await;
    noah.watch("//noah", "log://").await;
    noah.watch("//noah/none", "http://u:hunter2@127.0.0.1:1/").await;
    noah.put_ok("/ephemerals/long", "x".repeat(5000)).await;
    let last = noah.put_ok("/hosts/h1", json!({"status": "up"}).to_string()).await.revision();
    let lines = eventually("the last event is logged", || async {
        let logs = noah.logs();
        let lines: Vec<String> =
            logs.lines().filter(|line| line.contains("noah::agents::log")).map(str::to_owned).collect();
        lines.iter().any(|line| line.contains(&format!("revision={last}"))).then_some(lines)
    })
    .await;
    let [watch, long, host] = &lines[..] else { panic!("{lines:?}") };
    assert!(host.contains("create") && host.contains("//noah/hosts/h1"), "{host}");
    assert!(host.contains(r#""status":"up""#), "{host}");
    assert!(long.len() < 2000 && long.contains("xxx…"), "{long}");
    assert!(watch.contains("//noah/watchers/") && watch.contains("(hidden)"), "{watch}");
    assert!(!noah.logs().contains("hunter2"));
}
