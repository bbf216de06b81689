//! The suite: the contract of the stores, the original's recording, and the whole server from outside.

mod bad_input;
mod cli;
mod cli_watch;
mod contract;
mod crash;
mod edges;
mod events;
mod layers;
mod outage;
mod page;
mod poke;
mod race;
mod readme;
mod recovery;
mod roundtrip;
mod settings;
mod support;
mod watching;
mod wire;
