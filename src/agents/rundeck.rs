use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use reqwest::{Client, RequestBuilder, Response, header::HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Agent, Delivery, Egress, Options, Outcome,
    http::{answer, client},
    told,
};
use crate::primitives::{Endpoint, watch::Watch};

/// The version of Rundeck's API that is spoken unless the endpoint says another: the first that takes a job's
/// options as JSON, and one that all later servers understand.
const API: u32 = 18;
const TOKEN: &str = "x-rundeck-auth-token";
/// How much of an answer is read to find out why Rundeck did not do it.
const MOST_READ: usize = 64 * 1024;

/// `rundeck://TOKEN@HOST[:4440]/[CONTEXT/]JOB-ID` and `rundecks://…` (TLS, port 4443): runs a job by
/// `POST /api/18/job/JOB-ID/run`, see <https://docs.rundeck.com/docs/api/>. The query may have `api=` (another
/// version of the API), `option.NAME=VALUE` (an option of the job) and `event=options` (what happened as the options
/// `noah_action`, `noah_channel` and `noah_revision`, which the job must have).
pub struct Rundeck {
    client: Client,
    egress: Egress,
    timeout: Duration,
}

/// An endpoint, understood.
#[derive(PartialEq, Eq)]
struct Job {
    /// Where it is run by a POST.
    url: Url,
    token: Option<HeaderValue>,
    options: Map<String, Value>,
    tells_event: bool,
}

impl Rundeck {
    /// An agent with its own pool of connections.
    ///
    /// # Errors
    /// Which of the options' files is wrong, or that the machine's TLS roots cannot be used.
    pub fn new(options: &Options) -> Result<Self, String> {
        let client = client::build(options, options.concurrency_per_host)?;
        Ok(Self { client, egress: options.egress.clone(), timeout: options.timeout })
    }

    fn request(&self, job: Job, watch: &Watch, delivery: &Delivery) -> RequestBuilder {
        let mut options = job.options;
        if job.tells_event {
            options.insert("noah_action".to_owned(), delivery.action.into());
            options.insert("noah_channel".to_owned(), delivery.channel.clone().into());
            options.insert("noah_revision".to_owned(), delivery.revision.to_string().into());
        }
        let mut request = self.client.post(job.url).timeout(self.timeout).header("accept", "application/json");
        for (name, value) in &watch.headers {
            if !(name == TOKEN && job.token.is_some()) {
                request = request.header(name, value.reveal());
            }
        }
        if let Some(token) = job.token {
            request = request.header(TOKEN, token);
        }
        let body = json!({ "options": options });
        request.header("content-type", "application/json").body(body.to_string())
    }
}

#[async_trait]
impl Agent for Rundeck {
    fn schemes(&self) -> Vec<String> {
        vec!["rundeck".to_owned(), "rundecks".to_owned()]
    }

    fn check(&self, watch: &Watch) -> Result<(), String> {
        let job = Job::of(&watch.endpoint)?;
        if job.token.is_none() && !watch.headers.iter().any(|(name, _)| name == TOKEN) {
            return Err(format!(
                "Rundeck wants a token: rundeck://TOKEN@HOST/JOB-ID, or {TOKEN} among the watch's headers"
            ));
        }
        self.egress.permits(job.url.host_str().unwrap_or_default(), &[])
    }

    async fn deliver(&self, watch: &Watch, delivery: &Delivery) -> Outcome {
        let job = match Job::of(&watch.endpoint) {
            Ok(job) => job,
            Err(why) => return Outcome::Refused { why },
        };
        // The client resolves names by way of the guard, and does not resolve addresses at all.
        if let Err(why) = self.egress.permits(job.url.host_str().unwrap_or_default(), &[]) {
            return Outcome::failed(why);
        }
        match self.request(job, watch, delivery).send().await {
            Ok(response) if response.status().is_success() => {
                answer::drain(response, MOST_READ).await;
                Outcome::Delivered
            }
            Ok(response) => match answer::judge(watch.endpoint.url(), response.status(), response.headers()) {
                Outcome::RetryAfter { why, wait, slow } => {
                    let words = said(response).await.map(|words| format!(": {words}")).unwrap_or_default();
                    Outcome::RetryAfter { why: format!("Rundeck: {why}{words}"), wait, slow }
                }
                other => other,
            },
            Err(error) => Outcome::failed(client::describe(error)),
        }
    }
}

impl Job {
    fn of(endpoint: &Endpoint) -> Result<Self, String> {
        let wrong = |what: &str| format!("An endpoint of Rundeck is rundeck://TOKEN@HOST[:PORT]/JOB-ID{what}");
        let (web, port) = if endpoint.url().scheme() == "rundeck" { ("http", 4440) } else { ("https", 4443) };
        let (_, rest) = endpoint.as_str().split_once(':').ok_or_else(|| wrong(""))?;
        let mut url = Url::parse(&format!("{web}:{rest}")).map_err(|_| wrong(""))?;
        // A port that the web's scheme has by itself is not to be seen in its URL.
        let port = endpoint.url().port().unwrap_or(port);
        let path = url.path().trim_end_matches('/').to_owned();
        let (context, job) = path.rsplit_once('/').filter(|(_, job)| !job.is_empty()).ok_or_else(|| wrong(""))?;
        let (mut api, mut options, mut tells_event) = (API, Map::new(), false);
        for (name, value) in endpoint.url().query_pairs() {
            match (name.as_ref(), name.strip_prefix("option.")) {
                ("api", _) => match value.parse() {
                    Ok(version) if version >= API => api = version,
                    _ => return Err(wrong(&format!("; api is {API} or more"))),
                },
                ("event", _) if value == "options" => tells_event = true,
                (_, Some(option)) if !option.is_empty() => _ = options.insert(option.to_owned(), value.into()),
                _ => return Err(wrong("?api=N&option.NAME=VALUE&event=options, and nothing else")),
            }
        }
        let token = token(&url).map_err(|()| wrong("; the token has a character that no header can have"))?;
        url.set_path(&format!("{context}/api/{api}/job/{job}/run"));
        url.set_query(None);
        url.set_fragment(None);
        let cleared =
            url.set_port(Some(port)).and_then(|()| url.set_username("")).and_then(|()| url.set_password(None));
        cleared.map_err(|()| wrong(""))?;
        Ok(Self { url, token, options, tells_event })
    }
}

/// The user info's last part: `TOKEN@` or `ANYONE:TOKEN@`.
fn token(url: &Url) -> Result<Option<HeaderValue>, ()> {
    let text = url.password().unwrap_or(url.username());
    if text.is_empty() {
        return Ok(None);
    }
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    let mut token = HeaderValue::from_bytes(&bytes).map_err(drop)?;
    token.set_sensitive(true);
    Ok(Some(token))
}

/// Why Rundeck did not do it, in its own words: the `message` of its JSON.
async fn said(mut response: Response) -> Option<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_READ {
            return None;
        }
    }
    let answer: Value = serde_json::from_slice(&body).ok()?;
    answer["message"].as_str().map(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Job, String> {
        Job::of(&Endpoint::parse(text, &["rundeck", "rundecks"]).unwrap())
    }

    #[test]
    fn an_endpoint_is_a_job_of_a_server() {
        let job = |text| of(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(job("rundeck://t@h/1-2").url.as_str(), "http://h:4440/api/18/job/1-2/run");
        assert_eq!(job("rundecks://t@h/1-2").url.as_str(), "https://h:4443/api/18/job/1-2/run");
        assert_eq!(job("rundeck://t@h:80/rundeck/1?api=47").url.as_str(), "http://h/rundeck/api/47/job/1/run");
        assert_eq!(job("rundeck://t@[::1]:1/1").url.as_str(), "http://[::1]:1/api/18/job/1/run");
        let all = job("rundeck://x:a%2Bb@h/1?option.a=1&option.b=x%20y&event=options");
        assert_eq!(all.token.unwrap().as_bytes(), b"a+b");
        assert_eq!(Value::from(all.options), json!({"a": "1", "b": "x y"}));
        assert!(all.tells_event && job("rundeck://h/1").token.is_none());
    }

    #[test]
    fn what_cannot_be_understood_is_refused_without_the_token() {
        for text in ["h", "h/", "h/1?api=17", "h/1?api=x", "h/1?event=all", "h/1?option.=1", "h/1?job=2"] {
            let words = of(&format!("rundeck://hunter2@{text}")).err().unwrap_or_else(|| panic!("{text}"));
            assert!(words.contains("JOB-ID") && !words.contains("hunter2"), "{words}");
        }
    }
}
