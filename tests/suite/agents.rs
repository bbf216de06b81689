//! What carries events to endpoints, one file for each transport, through the whole server. They do not know of the
//! store, so one is enough.

mod log;
mod plugin;
mod redis;
mod rundeck;
mod zmq;
