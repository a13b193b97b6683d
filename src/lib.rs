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
//! [`guide`] is a book in twelve chapters: [getting started](guide::getting_started), [rooms](guide::rooms),
//! [acknowledgements](guide::acks), [waiting](guide::waiting), [joining another server](guide::joining),
//! [middlewares](guide::middlewares), [recovery](guide::recovery), [cluster](guide::cluster), [deploying](guide::deploying),
//! [limits](guide::limits), [testing](guide::testing), and [coming from the Node server](guide::coming_from_node). Whole programs are
//! in `examples/`: a chat, a game lobby, a dashboard that another program feeds, an Axum application.
//!
//! # In pieces
//!
//! | | |
//! |---|---|
//! | the server | [`Server`], [`Options`], [`Limits`], [`run`], [`run_on`] |
//! | what is heard | [`Events`], [`Handler`], [`Event`], [`Args`], [`Ack`] |
//! | who is there | [`Namespace`], [`Family`], [`Socket`], [`Connection`], [`Change`] |
//! | who is spoken to | [`Broadcast`], [`Rooms`], [`Pending`], [`RemoteSocket`] |
//! | several servers | [`RedisStreams`], [`RedisOptions`] |
//! | a binary of one's own | [`Notice`], [`Metrics`], [`operator`] |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod floors;
pub mod guide;

// So that each floor names the others from the root.
use floors::{app, codec, id, io, limits, proto, server};

/// Not for applications: fuzz targets and the counting of instructions look at the floors themselves. Nothing here is promised to stay.
#[doc(hidden)]
pub mod internals {
    pub use crate::floors::{codec, id, limits, proto, server};
}

pub use codec::args::{Args, ArgsError};
pub use codec::http::{Head, Headers, Method, Response};
pub use codec::query::Query;
pub use codec::to_args::Binary;
pub use id::{Clock, Nsp, Offset, Random, Room, Sid, SocketId, Spawner, Task, Time};
pub use io::redis::{RedisOptions, RedisStatus, RedisStreams};
pub use io::workers::{Workers, runtime};
pub use io::{Answer, Request, Service, WebSocket, clock, random, run, run_on};
pub use limits::Limits;
pub use proto::handshake::{Offered, Refusal, Transport};
pub use proto::reason::Reason;
pub use server::changes::{Change, Changes};
pub use server::client::connection::Connection;
pub use server::client::events::Events;
pub use server::client::extensions::Extensions;
pub use server::client::handler::{
    Ack, AckError, ConnectError, Event, Handler, Next, OwnedEvent, ServerAck, ServerEvent,
};
pub use server::client::handshake::Handshake;
pub use server::client::socket::{EmitError, Socket};
pub use server::cluster::Neighbour;
pub use server::cluster::remote::RemoteSocket;
pub use server::log::entry::Rooms;
pub use server::log::streams::StreamError;
pub use server::metrics::{Counter, Metrics, RefusedReturn};
pub use server::namespace::Namespace;
pub use server::namespace::broadcast::Broadcast;
pub use server::namespace::family::Family;
pub use server::notice::{Level, Line, Notice};
pub use server::pending::Pending;
pub use server::recovery::record::Refused;
pub use server::redis::commands::Names;
pub use server::{
    AllowRequest, Cors, EngineHandler, Gathered, InitialHeaders, Log, Message, Options, Pages, Recovery, Server, Trusts,
};

/// Testing an application in memory, without ports and without waiting.
pub mod testing {
    pub use crate::server::testing::{Client, Heard, Stage};
}

/// The server `rill` in pieces: its configuration, its console, its files, for binaries of one's own.
pub mod operator {
    pub use crate::app::config::{Config, LogFormat, VARIABLES, table};
    pub use crate::app::console::notice::Said;
    pub use crate::app::console::operator::Operator;
    pub use crate::app::console::terminal::{Form, Terminal};
    pub use crate::app::files::Client;
    pub use crate::app::network::reachable;
    pub use crate::app::process::file_limit;
    pub use crate::app::spelling::meant;
}
