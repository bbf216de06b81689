//! From the log to the endpoints: which watches an event is for, in which order each gets its events, when a
//! failed delivery is tried again, and how far each watch has come.
//!
//! One [`Dispatcher`] reads the log and hands each event to the watches that match. A watch has a worker only
//! while it has something to deliver; it delivers one event at a time, and no other watch waits for it.

mod cursors;
mod dispatcher;
mod schedule;
mod trie;
mod worker;

pub use dispatcher::Dispatcher;
pub use schedule::Schedule;
pub use trie::Trie;
