//! The suite: the contract of the stores, the original's recording, and the whole server from outside.

mod bad_input;
mod cli;
mod contract;
mod crash;
mod edges;
mod egress;
mod events;
mod http_agent;
mod layers;
mod outage;
mod page;
mod poke;
mod race;
mod readme;
mod recovery;
mod roundtrip;
mod settings;
mod signing;
mod support;
mod tls;
mod watching;
mod wire;
