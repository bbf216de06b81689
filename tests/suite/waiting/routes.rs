//! Every readable route can be waited for, in every way.

use reqwest::Method;

use super::{held_until, met_at_once};
use crate::support::{Answer, Noah, on_both_stores};

/// A change: `PUT` and `DELETE` lines as one would send them.
type Steps = &'static [&'static str];

/// A route, and how what it reads comes, changes and goes.
struct Case {
    path: &'static str,
    come: Steps,
    change: Steps,
    go: Steps,
}

const HOST: Steps = &[r#"PUT /hosts/h {"status":"up"}"#];
const HOST_CHANGES: Steps = &[r#"PUT /hosts/h {"status":"down"}"#];
const HOST_GOES: Steps = &["DELETE /hosts/h"];
const SERVICE: Steps = &[r#"PUT /services/s/h {"status":"up","host_status":"up"}"#];
const SERVICE_CHANGES: Steps = &[r#"PUT /services/s/h {"status":"down","host_status":"up"}"#];
const SERVICE_GOES: Steps = &["DELETE /services/s/h"];
const CONFIGURATION: Steps = &[r#"PUT /configurations/c {"format":"string","body":"1"}"#];
const ATTACHED: Steps = &[r#"PUT /applications/a/configurations/c {"format":"string","body":"1"}"#];
const CONFIGURATION_CHANGES: Steps = &[r#"PUT /configurations/c {"format":"string","body":"2"}"#];
const CONFIGURATION_GOES: Steps = &["DELETE /configurations/c"];
const APPLICATION: Steps = &[r#"PUT /applications/a {"name":"a"}"#];
const APPLICATION_GOES: Steps = &["DELETE /applications/a"];
const EPHEMERAL: Steps = &["PUT /ephemerals/dir/e 1"];
const EPHEMERAL_CHANGES: Steps = &["PUT /ephemerals/dir/e 2"];
const EPHEMERAL_GOES: Steps = &["DELETE /ephemerals/dir/e"];
const TAG: Steps = &[r#"PUT /hosts/h {"status":"up"}"#, r#"PUT /hosts/h/tag {"tags":"t"}"#];
const TAG_GOES: Steps = &[r#"DELETE /hosts/h/tag {"tags":"t"}"#];
const LINK: Steps = &[r#"PUT /hosts/h {"status":"up"}"#, r#"PUT /hosts/h/link {"link_name":"group"}"#];
const LINK_GOES: Steps = &[r#"DELETE /hosts/h/link {"link_name":"group"}"#];
const WATCH: Steps = &[r#"PUT /watches {"pattern":"//noah/hosts","endpoint":"http://127.0.0.1:9/"}"#];
const WATCH_CHANGES: Steps = &[r#"PUT /watches {"pattern":"//noah/hosts/h","endpoint":"http://127.0.0.1:9/2"}"#];
const WATCH_GOES: Steps = &[
    r#"DELETE /watches {"pattern":"//noah/hosts/h","endpoint":"http://127.0.0.1:9/2"}"#,
    r#"DELETE /watches {"pattern":"//noah/hosts","endpoint":"http://127.0.0.1:9/"}"#,
];

const CASES: [Case; 23] = [
    Case { path: "/hosts", come: HOST, change: HOST_CHANGES, go: HOST_GOES },
    Case { path: "/hosts?status=up", come: HOST, change: HOST, go: HOST_CHANGES },
    Case { path: "/hosts?limit=5", come: HOST, change: HOST_CHANGES, go: HOST_GOES },
    Case { path: "/hosts?tag=t", come: TAG, change: HOST_CHANGES, go: TAG_GOES },
    Case { path: "/hosts/h", come: HOST, change: HOST_CHANGES, go: HOST_GOES },
    Case { path: "/hosts/h/services/s", come: SERVICE, change: SERVICE_CHANGES, go: SERVICE_GOES },
    Case { path: "/services", come: SERVICE, change: SERVICE_CHANGES, go: SERVICE_GOES },
    Case { path: "/services/s", come: SERVICE, change: SERVICE_CHANGES, go: HOST_GOES },
    Case { path: "/services/s/h", come: SERVICE, change: SERVICE_CHANGES, go: SERVICE_GOES },
    Case { path: "/applications", come: APPLICATION, change: ATTACHED, go: APPLICATION_GOES },
    Case { path: "/applications/a", come: ATTACHED, change: CONFIGURATION_CHANGES, go: APPLICATION_GOES },
    Case {
        path: "/applications/a/configurations/c",
        come: ATTACHED,
        change: CONFIGURATION_CHANGES,
        go: CONFIGURATION_GOES,
    },
    Case { path: "/configurations", come: CONFIGURATION, change: CONFIGURATION_CHANGES, go: CONFIGURATION_GOES },
    Case {
        path: "/configurations?short=true",
        come: CONFIGURATION,
        change: CONFIGURATION_CHANGES,
        go: CONFIGURATION_GOES,
    },
    Case { path: "/configurations/c", come: CONFIGURATION, change: CONFIGURATION_CHANGES, go: CONFIGURATION_GOES },
    Case { path: "/ephemerals", come: EPHEMERAL, change: EPHEMERAL_CHANGES, go: EPHEMERAL_GOES },
    Case { path: "/ephemerals?prefix=/dir", come: EPHEMERAL, change: EPHEMERAL_CHANGES, go: EPHEMERAL_GOES },
    Case { path: "/ephemerals/dir/e", come: EPHEMERAL, change: EPHEMERAL_CHANGES, go: EPHEMERAL_GOES },
    Case { path: "/tags", come: TAG, change: HOST_CHANGES, go: TAG_GOES },
    Case { path: "/tags/t", come: TAG, change: HOST_CHANGES, go: HOST_GOES },
    Case { path: "/group", come: LINK, change: HOST_CHANGES, go: LINK_GOES },
    Case { path: "/group/hosts/h", come: LINK, change: HOST_CHANGES, go: LINK_GOES },
    Case { path: "/watches", come: WATCH, change: WATCH_CHANGES, go: WATCH_GOES },
];

async fn run(noah: &Noah, steps: Steps) {
    for step in steps {
        let mut words = step.splitn(3, ' ');
        let (verb, path) = (words.next().unwrap(), words.next().unwrap());
        let body = words.next().unwrap_or_default();
        let answer = Answer::of(noah.request(verb.parse::<Method>().unwrap(), path).body(body)).await;
        assert_eq!(answer.status, 200, "{step}: {}", answer.text());
    }
}

/// Everything that a case may have left.
async fn clean(noah: &Noah) {
    for path in ["/hosts/h", "/applications/a", "/configurations/c"] {
        noah.delete(path).await;
    }
}

fn with(path: &str, query: &str) -> String {
    format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' })
}

async fn every_route_can_be_waited_for(noah: Noah) {
    for Case { path, come, change, go } in CASES {
        let before = noah.get(&with(path, "wait=0s")).await;
        assert_eq!((before.status, before.header("noah-wait")), (404, Some("timeout")), "{path}");
        let came = held_until(&noah, path, run(&noah, come)).await;
        assert_eq!(came.status, 200, "{path}");
        assert_eq!(met_at_once(&noah, path).await.status, 200, "{path}");

        // From the 404 before, it changed; from what is there now it did not yet.
        met_at_once(&noah, &with(path, &format!("after={}", before.revision()))).await;
        let now = noah.get(&with(path, "wait=0s")).await.revision();
        let after = with(path, &format!("after={now}"));
        if change != come {
            let changed = held_until(&noah, &after, run(&noah, change)).await;
            assert!(changed.status == 200 && changed.revision() > now, "{path}");
            met_at_once(&noah, &after).await;
        }

        let now = noah.get(&with(path, "wait=0s")).await.revision();
        let gone = held_until(&noah, &with(path, "absent=true"), run(&noah, go)).await;
        assert_eq!(gone.status, 404, "{path}");
        assert!(gone.revision() > now, "{path}: the next wait can start from it");
        met_at_once(&noah, &with(path, "absent=true")).await;
        let gone = met_at_once(&noah, &with(path, &format!("after={now}"))).await;
        assert_eq!(gone.status, 404, "{path}: it went after that");
        clean(&noah).await;
    }
}

async fn what_goes_while_it_is_waited_for_has_changed(noah: Noah) {
    for Case { path, come, go, .. } in CASES {
        run(&noah, come).await;
        if path == "/watches" {
            // It goes in two steps.
            continue;
        }
        let now = noah.get(&with(path, "wait=0s")).await.revision();
        let gone = held_until(&noah, &with(path, &format!("after={now}")), run(&noah, go)).await;
        assert_eq!(gone.status, 404, "{path}");
        clean(&noah).await;
    }
}

async fn a_kind_of_a_links_members_is_there_as_soon_as_the_link_is(noah: Noah) {
    let empty = held_until(&noah, "/group/applications", run(&noah, LINK)).await;
    assert_eq!((empty.status, empty.text().as_str()), (200, "{}"));
    run(&noah, APPLICATION).await;
    let now = noah.get("/group/applications").await.revision();
    let join = noah.put_ok("/applications/a/link", r#"{"link_name":"group"}"#);
    let found = held_until(&noah, &format!("/group/applications?after={now}"), join).await;
    assert!(found.json()["a"].is_object(), "{}", found.text());
}

on_both_stores!(Noah:
    every_route_can_be_waited_for,
    what_goes_while_it_is_waited_for_has_changed,
    a_kind_of_a_links_members_is_there_as_soon_as_the_link_is,
);
