use noah::{
    agents::{Agent, Delivery, Http, Options, Outcome},
    primitives::{Endpoint, Pattern, watch::Watch},
    settings::Settings,
};

/// What agents are told by these settings over the defaults.
pub fn agent_options(settings: &[(&'static str, &str)]) -> Options {
    Settings::with(settings).unwrap().agent_options()
}

/// The HTTP agent with these settings over the defaults.
pub fn http_agent(settings: &[(&'static str, &str)]) -> Http {
    Http::new(&agent_options(settings)).unwrap()
}

/// A watch without options on everything.
pub fn watch_to(endpoint: &str) -> Watch {
    let schemes = ["http", "https"];
    Watch::plain(Pattern::parse("//noah").unwrap(), Endpoint::parse(endpoint, &schemes).unwrap())
}

/// The first attempt to deliver an event.
pub fn delivery() -> Delivery {
    Delivery {
        id: "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b-42".to_owned(),
        revision: 42,
        action: "update",
        channel: "//noah/hosts/web1".to_owned(),
        label: "//noah/hosts/web1".to_owned(),
        time: 1_700_000_000_123,
        attempt: 1,
        body: br#"{"name":"web1","status":"up"}"#.as_slice().into(),
    }
}

/// One attempt to deliver to this endpoint.
pub async fn deliver(agent: &impl Agent, endpoint: &str) -> Outcome {
    agent.deliver(&watch_to(endpoint), &delivery()).await
}

/// Why an attempt failed, which it must have.
pub fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::RetryAfter { why, .. } => why,
        other => panic!("it did not fail: {other:?}"),
    }
}
