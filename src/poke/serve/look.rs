//! A GET: how the hooks do, what has run, and what it printed.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Query,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Host;
use uuid::Uuid;

use super::{Refused, Shared, json, page, take, unreadable};
use crate::{
    poke::{
        engine::{HookState, Wait},
        record::{Phase, RunJson},
        run::log,
    },
    primitives::rfc3339,
};

type Result = std::result::Result<HttpResponse, Refused>;

const METRICS: &str = "application/openmetrics-text;version=1.0.0;charset=utf-8";
/// How long an answer with output waits for the run to begin.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many runs are listed unless told otherwise,
const LIMIT: u32 = 50;
/// and at most.
const LIMIT_MAX: u32 = 1000;

/// What can be looked at.
enum What<'a> {
    Health,
    Page,
    Metrics,
    Hooks,
    Hook(&'a str),
    Runs,
    Run(&'a str),
    Log(&'a str),
}

impl<'a> What<'a> {
    fn at(path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        Some(match segments[..] {
            [""] => Self::Page,
            ["healthz"] => Self::Health,
            ["metrics"] => Self::Metrics,
            ["hooks"] => Self::Hooks,
            ["hooks", name] => Self::Hook(name),
            ["runs"] => Self::Runs,
            ["runs", id] => Self::Run(id),
            ["runs", id, "log"] => Self::Log(id),
            _ => return None,
        })
    }
}

/// Whether there is something to look at here.
pub(super) fn is_there(path: &str) -> bool {
    What::at(path).is_some()
}

/// `GET /runs?hook=chef&limit=10`
#[derive(Debug, Deserialize)]
struct Asked {
    hook: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn look(request: &HttpRequest, shared: &Shared) -> Result {
    let what = What::at(request.path()).ok_or_else(|| super::not_allowed(request.path()))?;
    if matches!(what, What::Health) {
        return Ok(json(StatusCode::OK, &json!({ "result": "success" })));
    }
    let peer = take::peer(request);
    shared.trust.check_reader(request.headers(), &peer)?;
    refuse_borrowed_names(request)?;
    let engine = &shared.engine;
    match what {
        What::Health => unreachable!("it was answered"),
        What::Page => page::answer(request, shared).await,
        What::Metrics => {
            let text = engine.metrics.text(&engine.hooks());
            Ok(HttpResponse::Ok().content_type(METRICS).body(text))
        }
        What::Hooks => {
            let hooks: Vec<Value> = engine.hooks().iter().map(hook_json).collect();
            Ok(json(StatusCode::OK, &json!({ "hooks": hooks })))
        }
        What::Hook(name) => {
            let state = engine.hooks().into_iter().find(|state| state.hook == name);
            state
                .map(|state| json(StatusCode::OK, &hook_json(&state)))
                .ok_or_else(|| missing("hook", "GET /hooks lists them"))
        }
        What::Runs => runs(request, shared).await,
        What::Run(id) => {
            let run = match Uuid::parse_str(id) {
                Ok(id) => engine.find(id).await.map_err(unreadable)?,
                Err(_) => None,
            };
            let run = run.ok_or_else(|| missing("run", "GET /runs lists those that are remembered"))?;
            Ok(json(StatusCode::OK, &RunJson(&run)))
        }
        What::Log(id) => output(id, shared).await,
    }
}

async fn runs(request: &HttpRequest, shared: &Shared) -> Result {
    let asked = Query::<Asked>::from_query(request.query_string()).map_err(|_| {
        Refused::new(StatusCode::BAD_REQUEST, "The query cannot be read", "it is written ?hook=NAME&limit=50")
    })?;
    if let Some(name) = asked.hook.as_deref().filter(|name| !shared.engine.has(name)) {
        return Err(missing(&format!("hook {name:?}"), "GET /hooks lists them"));
    }
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let runs = shared.engine.runs(asked.hook.as_deref(), limit).await.map_err(unreadable)?;
    let runs: Vec<RunJson<'_>> = runs.iter().map(RunJson).collect();
    Ok(json(StatusCode::OK, &json!({ "runs": runs })))
}

/// All that is kept of what a run printed, as it comes.
async fn output(id: &str, shared: &Shared) -> Result {
    let engine = &shared.engine;
    let no_run = || missing("run", "GET /runs lists those that are remembered");
    let id = Uuid::parse_str(id).map_err(|_| no_run())?;
    let run = engine.find(id).await.map_err(unreadable)?.ok_or_else(no_run)?;
    if run.phase == Phase::Pending && timeout(PATIENCE, engine.begun(&run.hook, id)).await.is_err() {
        let hint = "ask again once it has; GET /hooks says what it waits for";
        return Err(Refused::new(StatusCode::CONFLICT, "The run has not begun", hint));
    }
    // What is not live is over, and has all of its output in the files.
    let live = engine.live(id).map(|live| live.printed());
    let printed = log::follow(engine.log_folder(), id, live);
    Ok(HttpResponse::Ok()
        .content_type("text/plain;charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .streaming(printed))
}

/// A web page elsewhere can have its own name resolve to this machine, and then its script could read what is here.
/// Whoever asks from this machine therefore asks for an address or for `localhost`; others need a token anyway.
fn refuse_borrowed_names(request: &HttpRequest) -> std::result::Result<(), Refused> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let is_own = match Host::parse(name) {
        Ok(Host::Domain(name)) => name == "localhost" || !name.contains('.'),
        Ok(_) => true,
        Err(_) => name.is_empty(),
    };
    if is_own || !take::peer(request).address.is_loopback() || request.headers().contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::FORBIDDEN,
        "From this machine, this is looked at under its address only",
        "ask for http://127.0.0.1 or http://localhost and the port",
    ))
}

fn missing(what: &str, hint: &str) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, format!("There is no such {what}"), hint)
}

/// How a hook does.
fn hook_json(state: &HookState) -> Value {
    json!({
        "hook": state.hook,
        "patterns": state.patterns,
        "state": state.activity,
        "waits_for": state.waits_for.map(Wait::as_str),
        "not_before": state.not_before.map(rfc3339),
        "revision": state.revision,
        "applied": state.applied,
        "pending": state.pending.as_ref().map(RunJson),
        "running": state.running.as_ref().map(RunJson),
        "last": state.last.as_deref().map(RunJson),
    })
}
