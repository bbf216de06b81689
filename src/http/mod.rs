//! The HTTP server: from bytes on a connection to an [`api`] call and back.

mod answer;
mod api;
mod bare;
mod connections;
mod convergence;
mod dashboard;
mod denials;
mod error;
mod events;
mod guard;
mod limits;
mod lists;
pub mod live;
mod locks;
mod metrics;
mod openapi;
mod patience;
mod progress;
mod reading;
mod request;
mod rights;
mod routes;
mod server;
mod snapshot;
mod target;
mod tokens;
mod txn;
mod unread;
mod wait;
mod waiting;
mod watches;

pub use error::failure_body;
pub use server::Application;

/// How requests are read, for the checks of `tests/suite/fuzz`; no part of what the crate is for.
#[doc(hidden)]
pub mod reading_requests {
    pub use super::{
        routes::{Resource, Verb, resource},
        target::{Parameters, Path, encode},
    };
}
