//! The listener's page: its hooks, what runs and waits, and what the last runs printed. It keeps itself as things are
//! now, where scripts may run.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Refused, Shared, json, unreadable};
use crate::{
    http::live::{POLICY, SCRIPT},
    poke::{
        engine::{HookState, Wait},
        outcome::Outcome,
        record::{Phase, Run},
    },
    primitives::{millis, rfc3339},
};

const STYLE: &str = include_str!("page.css");
/// How many runs are shown,
const SHOWN: u32 = 30;
/// and how much of what each printed.
const TAIL: usize = 4096;

/// The page for browsers, and for programs the ways from here.
pub(super) async fn answer(request: &HttpRequest, shared: &Shared) -> Result<HttpResponse, Refused> {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        let index = serde_json::json!({
            "poke": ["POST /", "POST /hooks/NAME"],
            "look": ["/hooks", "/hooks/NAME", "/runs?hook=NAME&limit=50", "/runs/ID", "/runs/ID/log", "/metrics", "/healthz"],
        });
        return Ok(json(StatusCode::OK, &index));
    }
    let runs = shared.engine.runs(None, SHOWN).await.map_err(unreadable)?;
    let page = page(&shared.engine.hooks(), &runs).into_string();
    Ok(HttpResponse::Ok()
        .content_type("text/html;charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(page))
}

fn page(hooks: &[HookState], runs: &[Run]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Noah poke" }
                style { (PreEscaped(STYLE)) }
            }
            body data-every="1000" {
                p #away hidden { "The listener does not answer; this is how it was." }
                header { h1 { "Noah poke" } p { "noah " (env!("CARGO_PKG_VERSION")) } }
                main {
                    section #hooks {
                        h2 { "Hooks" }
                        table { @for state in hooks { (hook(state)) } }
                    }
                    section #runs {
                        h2 { "Runs" }
                        @if runs.is_empty() { p.none { "none yet" } }
                        @for one in runs { (run(one)) }
                    }
                }
                footer { p { "The same as JSON: " a href="/hooks" { "/hooks" } " " a href="/runs" { "/runs" } " "
                    a href="/metrics" { "/metrics" } } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn hook(state: &HookState) -> Markup {
    html! {
        tr {
            td { b { (state.hook) } }
            td { @match (&state.running, &state.pending) {
                (Some(run), _) => { (mark("running")) " since " (time(run.started.unwrap_or_default())) }
                (None, Some(run)) => { (mark("pending")) " for " (state.waits_for.map_or("its turn", Wait::as_str))
                    @if state.not_before.is_some_and(|time| time > millis()) { ", next " (time(state.not_before.unwrap_or_default())) }
                    @if run.failures > 0 { ", after " (run.failures) " failures" } }
                (None, None) => span.none { "idle" },
            }
            @if state.running.is_some() && state.pending.is_some() { " " (mark("pending")) " one more" } }
            td { @if let Some(applied) = state.applied { "applied " (applied) } }
            td { @if let Some(last) = &state.last { "last: " (outcome(last)) } }
        }
    }
}

fn run(run: &Run) -> Markup {
    let tail = String::from_utf8_lossy(&run.tail[run.tail.len().saturating_sub(TAIL)..]);
    html! {
        article id={ "run-" (run.id) } {
            p {
                (outcome(run)) " " b { (run.hook) } " "
                @if let Some(path) = &run.path { (path) " " }
                @if let Some(revision) = run.revision { "revision " (revision) " " }
                @if run.pokes > 1 { "· " (run.pokes) " pokes " }
                @if run.is_over() { "· " (run.end()) " " }
                @if let Some(took) = run.duration_ms() { "· " (took) " ms " }
            }
            p.time {
                @if let Some(started) = run.started { (time(started)) } @else { "poked " (time(run.since)) }
                " · " a href={ "/runs/" (run.id) } { (run.id) }
                @if run.printed > 0 || run.phase == Phase::Running { " · " a href={ "/runs/" (run.id) "/log" } { "output" } }
            }
            @if !tail.trim().is_empty() { pre { (tail) } }
        }
    }
}

fn outcome(run: &Run) -> Markup {
    let word = match (run.phase, run.outcome) {
        (_, Some(outcome)) => outcome.as_str(),
        (Phase::Pending, None) => "pending",
        (Phase::Running, None) => "running",
        (Phase::Dropped, None) => "dropped",
        (Phase::Ended, None) => Outcome::Unknown.as_str(),
    };
    mark(word)
}

fn mark(word: &str) -> Markup {
    html! { span class={ "status " (word) } { (word) } }
}

fn time(millis: i64) -> Markup {
    let text = rfc3339(millis);
    html! { time datetime=(text) { (text) } }
}
