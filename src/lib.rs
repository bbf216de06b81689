//! Noah: a registry that machines write to with curl, that remembers what changed, and that makes the right
//! commands run on the right machines because of it.
//!
//! What is where, from the bottom up; each part uses only those above it in this list:
//!
//! - [`primitives`]: hosts, services, applications, configurations, ephemerals, tags, links and watches. Their
//!   rules, their JSON, and the operations a change of one becomes. Plain data, no I/O.
//! - [`exposed`]: files with secrets that others can get at.
//! - [`tls`]: taking and making connections with TLS, for whoever listens or connects.
//! - [`rate`]: how often each of many may do something.
//! - [`store`]: commits operations with their events, reads records and the log. SQLite and Redis behind one trait.
//! - [`access`]: who makes a request, by the token they show, and what they may do.
//! - [`agents`]: one attempt to bring an event to an endpoint, one file per transport.
//! - [`watches`]: which events are for which watch, in which order, and when to try again.
//! - [`http`]: the server; one route table, one table of errors, the front page.
//! - [`poke`]: the listener on a node that runs fixed commands. It talks HTTP and knows no store.
//! - [`client`]: what the commands and the listener talk to a server through.
//! - [`cli`]: one file per command. [`settings`]: flags, variables, file and defaults become one value.
//!
//! `ARCHITECTURE.md` follows one PUT through all of them to a finished run.

pub mod access;
pub mod agents;
pub mod cli;
pub mod client;
pub mod exposed;
pub mod http;
pub mod poke;
pub mod primitives;
pub mod rate;
pub mod settings;
pub mod store;
pub mod tls;
pub mod watches;
