//! Rill: a Socket.IO server (Engine.IO protocol 4, Socket.IO protocol 5) with rooms and connection state recovery, for every official client.
//!
//! # A first server
//!
//! Handlers belong to a namespace. They run in the order of the client's packets; [those that wait](guide::waiting) too.
//!
//! ```no_run
//! use rill::{Events, Options, Server};
//!
//! # async fn example() -> std::io::Result<()> {
//! let server = Server::in_memory(Options::default());
//! server.of("/").handle(
//!     Events::new()
//!         .on("join", |socket, event| {
//!             let joined = event.args.string(0).map(|room| socket.join(room));
//!             // With recovery on, the room is in the client's session record before the client hears of it.
//!             if let Some(ack) = event.ack {
//!                 socket.when_saved(move |saved| ack.send(matches!(joined, Some(Ok(()))) && saved.is_ok()));
//!             }
//!         })
//!         .on("say", |socket, event| {
//!             let (Some(room), Some(text)) = (event.args.string(0), event.args.string(1)) else { return };
//!             // Everybody in the room but the sender; those who are away get it when they come back.
//!             let _ = socket.to(room).emit("said", text);
//!         }),
//! );
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! rill::run(listener, server, std::future::pending()).await;
//! # Ok(()) }
//! ```
//!
//! # The guide
//!
//! [`guide`] is a book in eleven chapters: [getting started](guide::getting_started), [rooms](guide::rooms),
//! [acknowledgements](guide::acks), [waiting](guide::waiting), [joining another server](guide::joining),
//! [middlewares](guide::middlewares), [recovery](guide::recovery), [cluster](guide::cluster),
//! [deploying](guide::deploying), [limits](guide::limits), and [coming from the Node server](guide::coming_from_node). Whole programs are
//! in `examples/`: a chat, a game lobby, a dashboard that another program feeds, an Axum application.
//!
//! # The floors
//!
//! Imports go down only: [`codec`] (bytes to values), [`proto`] (state machines without I/O), [`server`] (namespaces, rooms, the log, the
//! cluster, recovery), [`io`] (sockets, tokio, Redis), [`app`] (what the binary adds for people). What touches a stranger's bytes is `codec`,
//! `proto` and the doors in `io`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod app;
pub mod codec;
pub mod guide;
pub mod id;
pub mod io;
pub mod limits;
pub mod proto;
pub mod server;

pub use codec::args::{Args, ArgsError};
pub use codec::to_args::Binary;
pub use io::{Answer, Request, Service, WebSocket, run, run_on};
pub use limits::Limits;
pub use proto::reason::Reason;
pub use server::client::events::Events;
pub use server::client::extensions::Extensions;
pub use server::client::handler::{
    Ack, AckError, ConnectError, Event, Handler, Next, OwnedEvent, ServerAck, ServerEvent,
};
pub use server::client::socket::{EmitError, Socket};
pub use server::cluster::remote::RemoteSocket;
pub use server::log::entry::Rooms;
pub use server::namespace::Namespace;
pub use server::namespace::broadcast::Broadcast;
pub use server::namespace::family::Family;
pub use server::notice::{Level, Notice};
pub use server::pending::Pending;
pub use server::{Gathered, Options, Recovery, Server};
