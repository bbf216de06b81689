//! Requests that HTTP has nothing against, and Noah has.

use super::{everything, exchange, refused, request, works};
use crate::support::{Noah, on_both_stores};

/// Something of each kind, so that bad requests could do harm.
async fn prepare(noah: &Noah) {
    noah.put_ok("/services/web/h1", r#"{"status":"up","host_status":"up"}"#).await;
    noah.put_ok("/applications/app/configurations/conf", r#"{"format":"string","body":"1"}"#).await;
    noah.put_ok("/hosts/h1/tag", r#"{"tags":"t"}"#).await;
    noah.put_ok("/hosts/h1/link", r#"{"link_name":"/org"}"#).await;
    noah.watch("//noah/services", "dummy://x").await;
    noah.put_ok("/ephemerals/a", "x").await;
}

/// Each of these is refused with one of the statuses, and leaves everything as it was.
async fn all_refused(noah: &Noah, statuses: &[u16], requests: &[(&str, &str, &[u8])]) {
    let before = everything(noah).await;
    for (method, path, body) in requests {
        let what = format!("{method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        let answer = exchange(noah, &request(method, path, body)).await;
        refused(&what, &answer, statuses);
    }
    assert_eq!(everything(noah).await, before, "something was written");
    works(noah).await;
}

/// Routes that take JSON, and a body each that is right.
const ROUTES: [(&str, &str, &str); 14] = [
    ("PUT", "/hosts/new", r#"{"status":"up"}"#),
    ("PUT", "/hosts/h1", r#"{"status":"down"}"#),
    ("PUT", "/services/new/h1", r#"{"status":"up","host_status":"up"}"#),
    ("PUT", "/applications/new", r#"{"name":"new"}"#),
    ("PUT", "/applications/new/configurations/new", r#"{"format":"string","body":"x"}"#),
    ("PUT", "/configurations/new", r#"{"format":"string","body":"x"}"#),
    ("PUT", "/hosts/h1/tag", r#"{"tags":"new"}"#),
    ("DELETE", "/hosts/h1/tag", r#"{"tags":"t"}"#),
    ("PUT", "/hosts/h1/link", r#"{"link_name":"/new"}"#),
    ("DELETE", "/hosts/h1/link", r#"{"link_name":"/org"}"#),
    ("PUT", "/services/web/h1/tag", r#"{"tags":"new"}"#),
    ("PUT", "/hosts/h1/watch", r#"{"endpoint":"dummy://new"}"#),
    ("PUT", "/watches", r#"{"pattern":"//noah/new","endpoint":"dummy://new"}"#),
    ("DELETE", "/watches", r#"{"pattern":"//noah/services","endpoint":"dummy://x"}"#),
];

async fn bodies_that_are_not_json_are_400(noah: Noah) {
    prepare(&noah).await;
    for (method, path, right) in ROUTES {
        let cut = &right.as_bytes()[..right.len() - 1];
        let twice = [right, right].concat();
        let utf_16: Vec<u8> = right.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let nested = "[".repeat(100_000);
        let bad: [&[u8]; 9] = [
            b"",
            b"   ",
            cut,
            twice.as_bytes(),
            b"status=up",
            b"{'status':'up'}",
            b"{\"status\":\"\xff\"}",
            &utf_16,
            nested.as_bytes(),
        ];
        let requests: Vec<_> = bad.iter().map(|body| (method, path, *body)).collect();
        all_refused(&noah, &[400], &requests).await;
    }
}

async fn keys_that_are_missing_or_too_many_are_missing_parameters(noah: Noah) {
    prepare(&noah).await;
    let before = everything(&noah).await;
    for (method, path, right) in ROUTES {
        let with_more = right.replacen('{', r#"{"more":1,"#, 1);
        let misspelt = right.replacen("\":", "s\":", 1);
        for body in [&with_more, &misspelt, "{}", "[]", "null", "1", "\"status\"", "true"] {
            let answer = exchange(&noah, &request(method, path, body.as_bytes())).await;
            let words = refused(&format!("{method} {path} {body}"), &answer, &[400]);
            assert_eq!(words, "Missing Parameters", "{method} {path} {body}");
        }
    }
    assert_eq!(everything(&noah).await, before, "something was written");
    works(&noah).await;
}

async fn values_of_a_wrong_type_are_422(noah: Noah) {
    prepare(&noah).await;
    let before = everything(&noah).await;
    for (method, path, right) in ROUTES {
        let right: serde_json::Value = serde_json::from_str(right).unwrap();
        for name in right.as_object().unwrap().keys() {
            for wrong in ["null", "1", "1.5", "true", "{}", "{\"a\":\"b\"}", "[1]", "[null]", "[[\"a\"]]"] {
                let mut body = right.clone();
                body[name] = serde_json::from_str(wrong).unwrap();
                let what = format!("{method} {path} {body}");
                let answer = exchange(&noah, &request(method, path, body.to_string().as_bytes())).await;
                // Where nothing of that name can be there to delete, that may be said instead.
                let statuses: &[u16] = match (method, path) {
                    ("DELETE", "/watches") => &[404, 422],
                    // To the original a name that is not that of the path was one that is missing.
                    ("PUT", "/applications/new") => &[400],
                    _ => &[422],
                };
                refused(&what, &answer, statuses);
            }
        }
    }
    assert_eq!(everything(&noah).await, before, "something was written");
    works(&noah).await;
}

async fn values_that_are_not_allowed_are_422(noah: Noah) {
    prepare(&noah).await;
    let long = "x".repeat(256);
    let tags = format!(r#"{{"tags":"{long}"}}"#);
    let link = format!(r#"{{"link_name":"{long}"}}"#);
    let pattern = format!(r#"{{"pattern":"//noah/{}","endpoint":"dummy://x"}}"#, "x".repeat(3000));
    let endpoint = format!(r#"{{"pattern":"//noah/x","endpoint":"http://x/{}"}}"#, "x".repeat(3000));
    let deep = format!(r#"{{"pattern":"//noah{}","endpoint":"dummy://x"}}"#, "/a".repeat(500));
    let requests: [(&str, &str, &[u8]); 22] = [
        ("PUT", "/hosts/h1", br#"{"status":""}"#),
        ("PUT", "/hosts/h1", br#"{"status":"UP"}"#),
        ("PUT", "/hosts/h1", br#"{"status":"up "}"#),
        ("PUT", "/services/web/h1", br#"{"status":"up","host_status":"maybe"}"#),
        ("PUT", "/services/web/h1", br#"{"status":"maybe","host_status":"up"}"#),
        ("PUT", "/services/new/new", br#"{"status":"maybe","host_status":"up"}"#),
        ("PUT", "/configurations/conf", br#"{"format":"","body":"x"}"#),
        ("PUT", "/configurations/conf", br#"{"format":"string","body":""}"#),
        ("PUT", "/hosts/h1/tag", br#"{"tags":""}"#),
        ("PUT", "/hosts/h1/tag", br#"{"tags":["good",""]}"#),
        ("PUT", "/hosts/h1/tag", b"{\"tags\":\"a\\u0000b\"}"),
        ("PUT", "/hosts/h1/tag", tags.as_bytes()),
        ("PUT", "/hosts/h1/link", br#"{"link_name":""}"#),
        ("PUT", "/hosts/h1/link", link.as_bytes()),
        ("PUT", "/hosts/h1/watch", br#"{"endpoint":""}"#),
        ("PUT", "/watches", br#"{"pattern":"/noah/hosts","endpoint":"dummy://x"}"#),
        ("PUT", "/watches", br#"{"pattern":"//noahs","endpoint":"dummy://x"}"#),
        ("PUT", "/watches", br#"{"pattern":"//noah/x","endpoint":"gopher://x"}"#),
        ("PUT", "/watches", br#"{"pattern":"//noah/x","endpoint":"nowhere"}"#),
        ("PUT", "/watches", pattern.as_bytes()),
        ("PUT", "/watches", endpoint.as_bytes()),
        ("PUT", "/watches", deep.as_bytes()),
    ];
    all_refused(&noah, &[422], &requests).await;
}

async fn names_that_are_none_are_refused(noah: Noah) {
    prepare(&noah).await;
    let long = "x".repeat(256);
    let up = br#"{"status":"up"}"#.as_slice();
    let long_host = format!("/hosts/{long}");
    let long_service = format!("/services/web/{long}");
    let long_path = format!("/ephemerals/{}", "x/".repeat(2100));
    let requests: [(&str, &str, &[u8]); 8] = [
        ("PUT", &long_host, up),
        ("PUT", &long_service, br#"{"status":"up","host_status":"up"}"#),
        ("PUT", "/hosts/a%00b", up),
        ("PUT", "/hosts/a%0Ab", up),
        ("PUT", "/hosts/a%7F", up),
        ("PUT", &long_path, b"x"),
        ("PUT", "/ephemerals/a%00b", b"x"),
        ("PUT", "/ephemerals/hosts/x", b"x"),
    ];
    all_refused(&noah, &[422], &requests).await;
}

async fn paths_that_cannot_be_decoded_are_400(noah: Noah) {
    prepare(&noah).await;
    let mut requests: Vec<(&str, &str, &[u8])> = Vec::new();
    for path in ["/hosts/%", "/hosts/%4", "/hosts/%zz", "/hosts/a%f", "/hosts/%ff", "/hosts/%C3%28", "/services/%/h1"] {
        requests.push(("PUT", path, br#"{"status":"up"}"#));
        requests.push(("GET", path, b""));
        requests.push(("DELETE", path, b""));
    }
    for path in ["/ephemerals/%", "/ephemerals/a/%g1", "/ephemerals/%ff", "/watches/%", "/tags/%ff", "/%ff", "/%"] {
        requests.push(("GET", path, b""));
    }
    requests.push(("PUT", "/ephemerals/%ff", b"x"));
    all_refused(&noah, &[400], &requests).await;
}

async fn queries_that_are_not_understood_are_refused(noah: Noah) {
    prepare(&noah).await;
    let requests: [(&str, &str, &[u8]); 5] = [
        ("GET", "/hosts?limit=-1", b""),
        ("GET", "/hosts?limit=many", b""),
        ("GET", "/hosts?limit=99999999999999999999", b""),
        ("GET", "/services?status=maybe", b""),
        ("GET", "/hosts?tag=%ff", b""),
    ];
    all_refused(&noah, &[400, 422], &requests).await;
}

async fn conditions_that_are_not_understood_are_400(noah: Noah) {
    prepare(&noah).await;
    let before = everything(&noah).await;
    for header in ["If-Match: 7", "If-Match: \"x\"", "If-Match: ", "If-Match: \"1\" \"2\""] {
        let head = format!("PUT /hosts/h1 HTTP/1.1\r\nHost: noah\r\n{header}\r\nContent-Length: 17\r\n\r\n");
        let answer = exchange(&noah, &[head.as_bytes(), br#"{"status":"down"}"#].concat()).await;
        refused(header, &answer, &[400, 412]);
    }
    assert_eq!(everything(&noah).await, before, "something was written");
    works(&noah).await;
}

async fn verbs_that_a_route_does_not_know_are_405(noah: Noah) {
    prepare(&noah).await;
    let before = everything(&noah).await;
    for (method, path, allowed) in [
        ("POST", "/hosts/h1", "PUT"),
        ("PATCH", "/services/web/h1", "PUT"),
        ("PUT", "/hosts", "GET"),
        ("DELETE", "/tags", "GET"),
        ("POST", "/watches", "PUT"),
        ("POST", "/ephemerals/a", "PUT"),
        ("BREW", "/hosts/h1", "DELETE"),
        ("PUT", "/", "GET"),
    ] {
        let answer = exchange(&noah, &request(method, path, br#"{"status":"down"}"#)).await;
        refused(&format!("{method} {path}"), &answer, &[405]);
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.split(',').any(|word| word.trim() == allowed), "{method} {path}: Allow: {allow}");
        assert!(!allow.split(',').any(|word| word.trim() == method), "{method} {path}: Allow: {allow}");
    }
    let answer = exchange(&noah, &request("GET", "/no/such/thing", b"")).await;
    assert_eq!(refused("an unknown route", &answer, &[404]), "Resource not found");
    assert_eq!(everything(&noah).await, before, "something was written");
}

async fn failures_are_json_whatever_they_repeat(noah: Noah) {
    for path in ["/hosts/%22%5C%0A", "/hosts/%3Cscript%3E", "/no%22such%5C/thing%01"] {
        let body = r#"{"status":"\"}\\\u0001<script>"}"#;
        let answer = exchange(&noah, &request("PUT", path, body.as_bytes())).await;
        refused(path, &answer, &[404, 405, 422]);
    }
    works(&noah).await;
}

on_both_stores!(Noah:
    bodies_that_are_not_json_are_400,
    keys_that_are_missing_or_too_many_are_missing_parameters,
    values_of_a_wrong_type_are_422,
    values_that_are_not_allowed_are_422,
    names_that_are_none_are_refused,
    paths_that_cannot_be_decoded_are_400,
    queries_that_are_not_understood_are_refused,
    conditions_that_are_not_understood_are_400,
    verbs_that_a_route_does_not_know_are_405,
    failures_are_json_whatever_they_repeat,
);
