//! From the log to the endpoints: which watches an event is for, in which order each gets its events, when a
//! failed delivery is tried again, and how far each watch has come.
//!
//! Of all processes that deliver, each holds a share of the watches (`owner`). Its one [`Dispatcher`] reads the log
//! and hands each event to those of them that match (`registry`). A watch has a worker only while it has something to
//! deliver; it delivers one event at a time, and no other watch waits for it.

mod catch_up;
mod cursors;
mod dispatch;
mod dispatcher;
mod message;
mod metrics;
mod notes;
mod owner;
mod present;
mod registry;
mod schedule;
pub mod sealing;
mod status;
mod takeover;
mod trie;
mod watched;
mod worker;

pub use dispatcher::{Dispatcher, Options, Probe};
pub use schedule::Schedule;
pub use status::{Status, statuses};
pub use trie::Trie;
