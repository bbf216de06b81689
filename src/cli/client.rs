//! How a command is told which server it talks to, and which path.

use std::path::PathBuf;

use url::Url;

use super::failure::Failure;
pub use crate::client::{
    Answer, Client, Request,
    again::{PATIENCE, while_told_later},
    encode_segment, refused,
};
use crate::{client::secret, settings::shown_url, tls::outgoing::Files};

/// Where a server listens unless told otherwise.
const DEFAULT: &str = "http://localhost:5678";

/// `--ca-file` and `--client-cert`, for whoever reaches a server by `https://`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsArgs {
    /// Authorities of an https:// server's certificate besides those that the machine trusts, in PEM
    #[arg(long, env = "NOAH_CA_FILE", value_name = "FILE", hide_env_values = true)]
    ca_file: Option<String>,
    /// A certificate and its key to show to an https:// server that asks, in PEM
    #[arg(long, env = "NOAH_CLIENT_CERT", value_name = "FILE", hide_env_values = true)]
    client_cert: Option<String>,
}

impl TlsArgs {
    /// The files; a variable that is set but empty counts as not set.
    pub fn files(&self) -> Files {
        let path = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).map(PathBuf::from);
        Files { ca_file: path(&self.ca_file), client_cert: path(&self.client_cert) }
    }
}

/// `--url`, `--token-file` and what is for TLS, the same for every client command.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The server
    #[arg(long, env = "NOAH_URL", default_value = DEFAULT, hide_env_values = true)]
    url: String,
    /// A file with the secret of a token (also NOAH_TOKEN_FILE; or NOAH_TOKEN, the secret itself)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl Target {
    /// A client of that server. Nothing is sent yet.
    pub fn client(&self) -> Result<Client, Failure> {
        let usage = |words: &str| {
            Failure::usage(format!("{:?} cannot be a server's URL: {words}", shown_url(&self.url)))
                .hint("it is written http://HOST:PORT, as --url or in NOAH_URL")
        };
        let base = Url::parse(if self.url.is_empty() { DEFAULT } else { &self.url })
            .map_err(|error| usage(&error.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(usage("it starts with neither http:// nor https://"));
        }
        let client = Client::with_tls(base, &self.tls.files())?;
        client.with_token(secret::find(self.token_file.as_deref())?.as_ref())
    }
}

/// A path as a person writes it, `hosts/web 1` with or without a slash in front, as a URL has it.
pub fn encode_path(path: &str) -> Result<String, Failure> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let dots = |segment: &str| segment == "." || segment == "..";
    if path.is_empty() || path.split('/').any(dots) {
        return Err(Failure::usage(format!("{path:?} is no path"))
            .hint("a path is written hosts/web1, services/haproxy/web1 or ephemerals/db/master"));
    }
    // An ephemeral's path is what it is; in a name a slash has to be written %2F, or it would end the name.
    let encode = |segment: &str| match path.starts_with("ephemerals/") {
        true => encode_segment(segment),
        false => segment.split("%2F").map(encode_segment).collect::<Vec<_>>().join("%2F"),
    };
    let segments: Vec<String> = path.split('/').map(encode).collect();
    Ok(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_by_segment() {
        assert_eq!(encode_path("/hosts/web 1").unwrap(), "hosts/web%201");
        assert_eq!(encode_path("ephemerals/a%2Fb//ü/").unwrap(), "ephemerals/a%252Fb//%C3%BC/");
        assert_eq!(encode_path("services/haproxy::balanced/a?b#c").unwrap(), "services/haproxy::balanced/a%3Fb%23c");
        assert_eq!(encode_path("hosts/a%2Fb%").unwrap(), "hosts/a%2Fb%25");
        assert!(encode_path("/").is_err() && encode_path("hosts/../x").is_err());
    }
}
