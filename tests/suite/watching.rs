//! The way of an event from a commit to an endpoint.

mod dead_letters;
mod delivery;
mod options;
mod pause;
mod present;
mod progress;
mod redrive;
mod which;
