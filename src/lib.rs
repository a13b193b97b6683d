//! Rill: a Socket.IO server (Engine.IO protocol 4, Socket.IO protocol 5) with rooms and connection state recovery.
//!
//! The floors, lowest first; imports go down only: [`codec`] (bytes to values), [`proto`] (state machines without I/O), [`server`]
//! (namespaces, rooms, the log, recovery), [`io`] (sockets, tokio), [`app`] (what the binary adds for people).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod app;
pub mod codec;
pub mod id;
pub mod io;
pub mod limits;
pub mod proto;
pub mod server;

pub use codec::args::Args;
pub use io::run;
pub use limits::Limits;
pub use proto::session::Reason;
pub use server::broadcast::Broadcast;
pub use server::handler::{Ack, AckError, ConnectError, Event, Events, Handler, Next};
pub use server::namespace::Namespace;
pub use server::socket::{EmitError, Socket};
pub use server::{Options, Recovery, Server};
