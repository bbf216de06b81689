//! What Noah knows about: one file per noun, and the few shared words they are told in.
//!
//! Everything here is plain data and rules. A noun's file parses what a client sent, says which
//! [`Plan`] a PUT or DELETE becomes, which [`Query`] a GET asks, and how a [`Record`] reads as the
//! original's JSON. Nothing here does I/O, so nothing here knows HTTP, a database or a runtime.

mod actor;
pub mod application;
mod cause;
mod change;
pub mod configuration;
pub mod dead_letter;
mod denial;
mod endpoint;
pub mod ephemeral;
mod error;
mod event;
mod header;
pub mod host;
mod json;
mod key;
mod lease;
pub mod link;
pub mod lock;
mod name;
mod params;
mod pattern;
mod policy;
mod printable;
mod query;
pub mod receipt;
mod record;
mod sealing;
mod secret;
pub mod service;
pub mod session;
mod sight;
pub mod signature;
mod status;
mod subject;
pub mod tag;
pub mod token;
pub mod transaction;
pub mod watch;

pub use actor::Actor;
pub use cause::Cause;
pub use change::{Action, Applied, Check, Commit, Committed, Edit, Hold, Op, Plan, Room, When};
pub use denial::{Denial, DenialJson};
pub use endpoint::Endpoint;
pub use error::Error;
pub use event::{Event, EventJson, Mark};
pub use header::header;
pub use json::{Frame, LINKABLE, View, millis, rfc3339};
pub use key::{Collection, Key, decode_segment, encode_segment};
pub use lease::{Ending, Lease, LeaseChange, Leased, Lifetime};
pub use name::{EphemeralPath, Name};
pub use params::Params;
pub use pattern::{Pattern, Segment};
pub use policy::{Policy, Right, Rule};
pub use printable::printable;
pub use query::{Answer, List, Query, Reading, Select};
pub use record::Record;
pub use sealing::{Keyring, Unopened};
pub use secret::{Hidden, SigningKey};
pub use status::Status;
pub use subject::Subject;
