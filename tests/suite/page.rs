//! The front page: for people HTML that needs nothing from elsewhere, for programs the index.

use percent_encoding::percent_decode_str;
use reqwest::{Method, header::ACCEPT};

use crate::support::{Answer, Noah, Raw, on_both_stores};

async fn page(noah: &Noah) -> String {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = Answer::of(noah.request(Method::GET, "/").header(ACCEPT, accept)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/html;charset=utf-8"));
    answer.text()
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
    programs_get_the_index,
);
