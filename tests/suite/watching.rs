//! The way of an event from a commit to an endpoint.

mod delivery;
mod progress;
