//! The front page: for people HTML that needs nothing from elsewhere, for programs the index.

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use reqwest::{Method, header::ACCEPT};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Backend, Behaviour, Noah, Raw, Receiver, eventually, on_both_stores};

async fn page(noah: &Noah) -> String {
    answer(noah).await.text()
}

async fn answer(noah: &Noah) -> Answer {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = Answer::of(noah.request(Method::GET, "/").header(ACCEPT, accept)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/html;charset=utf-8"));
    answer
}

/// A server that gives an event up after a second.
struct Hasty(Noah);

impl Hasty {
    async fn on(backend: Backend) -> Self {
        Self(Noah::with(backend, &["--delivery-give-up-after", "1s"]).await)
    }
}

/// The links of a page that stay on this server.
fn links(page: &str) -> Vec<String> {
    let all = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    all.filter(|link| link.starts_with('/')).collect()
}

async fn a_browser_gets_a_page_about_everything_there_is(noah: Noah) {
    noah.put_ok("/services/haproxy/web1.example", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/services/postgres/db7.example", r#"{"status":"pending","host_status":"down"}"#).await;
    noah.put_ok("/applications/shop/configurations/shop.yml", r#"{"format":"yaml","body":"a: 1"}"#).await;
    noah.put_ok("/ephemerals/deploys/shop", "42").await;
    noah.watch("//noah/ephemerals/deploys", "dummy://nowhere").await;
    let page = page(&noah).await;
    for word in [
        "Noah Start Page",
        "haproxy",
        "web1.example",
        "postgres",
        "db7.example",
        "up",
        "down",
        "pending",
        "shop",
        "shop.yml",
        "deploys/shop",
        "//noah/ephemerals/deploys",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(word), "the page does not say {word:?}:\n{page}");
    }
    for link in ["/hosts/web1.example", "/services/haproxy/web1.example", "/configurations/shop.yml"] {
        let decoded = links(&page).into_iter().any(|found| percent_decode_str(&found).decode_utf8_lossy() == link);
        assert!(decoded, "it does not link to {link}:\n{page}");
    }
}

async fn the_page_of_an_empty_store_is_a_page(noah: Noah) {
    let page = page(&noah).await;
    assert!(page.contains("Noah Start Page") && page.contains("</html>"), "{page}");
}

async fn what_the_page_links_to_is_there(noah: Noah) {
    noah.put_ok("/services/a%20b/h%3Fx%231", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/services/a%2Fb/%3Ch%3E", r#"{"status":"down","host_status":"up"}"#).await;
    noah.put_ok("/ephemerals/x/%25y/%C3%A4%3F%23", "42").await;
    let page = page(&noah).await;
    let links = links(&page);
    assert!(links.len() >= 5, "{links:?}");
    for link in links {
        let answer = noah.get(&link).await;
        // A kind nothing of which is stored is 404, as ever.
        let empty = ["/applications", "/configurations", "/watches", "/tags"];
        assert!(answer.status == 200 || empty.contains(&link.as_str()), "{link}: {}", answer.text());
    }
}

async fn names_cannot_break_out_of_the_page(noah: Noah) {
    let evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let quoted = "%22%20onmouseover%3D%22alert(2)";
    for name in [evil, quoted] {
        noah.put_ok(&format!("/services/{name}/{name}"), r#"{"status":"up","host_status":"up"}"#).await;
        noah.put_ok(&format!("/applications/{name}/configurations/{name}"), r#"{"format":"string","body":"x"}"#).await;
        noah.put_ok(&format!("/ephemerals/{name}"), "<script>alert(3)</script>").await;
        noah.put_ok(&format!("/hosts/{name}/tag"), r#"{"tags":"<script>alert(4)</script>"}"#).await;
    }
    noah.watch("//noah/<script>alert(5)</script>", "http://127.0.0.1:9/\"><script>alert(6)</script>").await;
    let page = page(&noah).await;
    assert!(!page.contains("<script>alert"), "a script got in:\n{page}");
    assert!(!page.contains("\" onmouseover"), "an attribute got in:\n{page}");
    assert!(page.contains("&lt;script&gt;alert(1)"), "the name is shown as text:\n{page}");
}

async fn the_page_loads_nothing_from_elsewhere(noah: Noah) {
    let page = page(&noah).await;
    for part in ["src=\"http", "src=\"//", "<link", "@import", "url(", "<iframe", "<object", "<embed"] {
        assert!(!page.contains(part), "the page has {part:?}:\n{page}");
    }
    for (at, _) in page.match_indices("src=") {
        assert!(page[at..].starts_with("src=\"/") || page[at..].starts_with("src=\"data:"), "{}", &page[at..at + 40]);
    }
}

/// The line of the watch with this pattern.
fn line(page: &str, pattern: &str) -> String {
    let watches = &page[page.find("<section id=\"watches\"").expect("there is a table of watches")..];
    let lines = watches.split("<tr>").find(|line| line.starts_with(&format!("<td>{pattern}</td>")));
    lines.unwrap_or_else(|| panic!("no line of {pattern}:\n{watches}")).to_owned()
}

async fn watches_say_how_they_do_and_those_with_trouble_come_first(noah: Noah) {
    let (well, ill) = (Receiver::start().await, Receiver::start().await);
    ill.behave(Behaviour::Answer(500));
    noah.watch("//noah/applications", &well.url("/")).await;
    noah.watch("//noah/hosts", &ill.url("/hunter2?t=hunter2").replace("http://", "http://u:hunter2@")).await;
    let paused = noah.watch("//noah/configurations", &well.url("/")).await.json()["name"].as_str().unwrap().to_owned();
    let name = paused.replace('/', "%2F").replace('+', "%2B");
    noah.put_ok(&format!("/watches/{name}/pause"), "").await;
    noah.put_ok("/configurations/c", r#"{"format":"string","body":"x"}"#).await;
    noah.put_ok("/applications/a", r#"{"name":"a"}"#).await;
    noah.put_ok("/hosts/h1", r#"{"status":"up"}"#).await;
    noah.put_ok("/hosts/h2", r#"{"status":"up"}"#).await;
    let says = async |pattern: &str, words: &[&str]| {
        eventually(&format!("{pattern} says {words:?}"), || async {
            let page = page(&noah).await;
            assert!(!page.contains("hunter2"), "a secret got in:\n{page}");
            let line = line(&page, pattern);
            words.iter().all(|word| line.contains(word)).then_some(page)
        })
        .await
    };
    says("//noah/applications", &[">current<", "delivered <time"]).await;
    let tried =
        ["status retrying", "2 events behind", "tried ", "next try 2", "it answered 500", "nothing delivered yet"];
    let page = says("//noah/hosts", &tried).await;
    assert!(line(&page, "//noah/configurations").contains("paused: on request · 1 event behind"), "{page}");
    let at = |pattern: &str| page.find(&line(&page, pattern)).unwrap();
    assert!(at("//noah/hosts") < at("//noah/configurations"), "{page}");
    assert!(at("//noah/configurations") < at("//noah/applications"), "{page}");
    assert!(page.contains("2 to look at"), "{page}");

    ill.behave(Behaviour::Answer(200));
    let page = says("//noah/hosts", &[">current<", "delivered <time"]).await;
    assert!(!page.contains("it answered 500"), "what is over is not shown:\n{page}");
    assert!(page.contains("1 to look at"), "{page}");
}

async fn dead_letters_are_counted(Hasty(noah): Hasty) {
    let ill = Receiver::start().await;
    ill.behave(Behaviour::Answer(500));
    noah.watch("//noah/hosts", &ill.url("/")).await;
    noah.put_ok("/hosts/h", r#"{"status":"up"}"#).await;
    let page = eventually("the dead letter is on the page", || async {
        Some(page(&noah).await).filter(|page| page.contains("1 dead letter"))
    })
    .await;
    assert!(line(&page, "//noah/hosts").contains("it answered 500") && page.contains("1 to look at"), "{page}");
}

/// That the script does keep the page up to date takes a browser; here is what it stands on.
async fn the_page_runs_its_own_script_and_no_other(noah: Noah) {
    let answer = answer(&noah).await;
    let page = answer.text();
    assert_eq!(page.matches("<script").count(), 1);
    let script = page.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    let policy = answer.header("content-security-policy").unwrap();
    let directives: Vec<&str> = policy.split("; ").collect();
    assert!(directives.contains(&"default-src 'none'") && directives.contains(&"connect-src 'self'"), "{policy}");
    assert!(directives.contains(&format!("script-src 'sha256-{hash}'").as_str()), "{policy}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for part in ["id=\"now\"", "id=\"away\" hidden", "id=\"hosts\"", "id=\"watches\""] {
        assert_eq!(page.matches(part).count(), 1, "{part}");
    }
}

async fn programs_get_the_index(noah: Noah) {
    for accept in ["", "Accept: application/json\r\n", "Accept: application/json, text/plain\r\n"] {
        let mut connection = Raw::connect(noah.address()).await;
        connection.send(format!("GET / HTTP/1.1\r\nHost: noah\r\n{accept}\r\n")).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json;charset=utf-8")));
        let index: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(index["noah_version"], env!("CARGO_PKG_VERSION"), "{accept:?}");
        assert!(index["redis_version"].is_string() && index["resources"].is_object(), "{index}");
    }
}

on_both_stores!(Noah:
    a_browser_gets_a_page_about_everything_there_is,
    the_page_of_an_empty_store_is_a_page,
    what_the_page_links_to_is_there,
    names_cannot_break_out_of_the_page,
    the_page_loads_nothing_from_elsewhere,
    watches_say_how_they_do_and_those_with_trouble_come_first,
    the_page_runs_its_own_script_and_no_other,
    programs_get_the_index,
);

mod given_up {
    use super::{Hasty, dead_letters_are_counted, on_both_stores};

    on_both_stores!(Hasty: dead_letters_are_counted);
}
