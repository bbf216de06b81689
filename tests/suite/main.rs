//! The suite: the contract of the stores, the original's recording, and the whole server from outside.

mod amqp;
mod agents;
mod bad_input;
mod cli;
mod contract;
mod crash;
mod edges;
mod events;
mod feed;
mod figures;
mod layers;
mod outage;
mod page;
mod poke;
mod race;
mod readme;
mod recovery;
mod retention;
mod roundtrip;
mod settings;
mod snapshot;
mod support;
mod watching;
mod wire;
