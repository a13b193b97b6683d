//! Rill: a Socket.IO server (Engine.IO protocol 4, Socket.IO protocol 5) with rooms and connection state recovery, for every official client.
//!
//! # A first server
//!
//! Handlers belong to a namespace. They run on the client's own task, in the order of its packets; what has to wait is spawned.
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
//! # Who may come in
//!
//! A middleware sees each client before it joins. It may decide at once, or keep [`Next`] and decide later.
//!
//! ```
//! use rill::{ConnectError, Options, Server};
//! use serde_json::{Value, json};
//!
//! let server = Server::in_memory(Options::default());
//! let admin = server.of("/admin");
//! admin.use_middleware(|socket, next| {
//!     let auth: Value = serde_json::from_str(socket.auth()).unwrap_or_default();
//!     match auth["token"] == "open sesame" {
//!         true => next.accept(),
//!         // The client's `connect_error` has this message, and this as `data`.
//!         false => next.refuse(ConnectError::new("who are you?").with_data(json!({"retry": false}))),
//!     }
//! });
//! ```
//!
//! # Questions and answers
//!
//! Acknowledgements go both ways, with binary data and time-outs. A broadcast collects the answers of all its receivers.
//!
//! ```
//! use rill::{Args, Events, Options, Server};
//!
//! let server = Server::in_memory(Options::default());
//! let game = server.of("/game");
//! game.handle(Events::new().on_connect(|socket| {
//!     let question = Args::new().with_binary(vec![1, 2, 3]);
//!     let asked = socket.emit_with_ack("solve", question, Some(2_000), |answer| match answer {
//!         Ok(args) => println!("answered {}", args.text()),
//!         Err(error) => println!("no answer: {error}"),
//!     });
//!     assert!(asked.is_ok());
//! }));
//! let asked = game.to("lobby").except("judges").timeout(500).emit_with_ack("ready?", (), |acks| {
//!     println!("{} ready, {} silent", acks.answers.len(), acks.missing);
//! });
//! assert!(asked.is_ok());
//! ```
//!
//! # Recovery
//!
//! On by default ([`Options::recovery`]). A client that comes back within the window has its id, rooms and data, and exactly the events it
//! missed, once each and in order; then [`Socket::recovered`] is true. Where that can't be proved it is told that it is new. Events with
//! acknowledgement, volatile and local ones are not kept. Every event then ends with one more string argument, the client's offset, as with
//! the official server.
//!
//! # Several servers
//!
//! Servers that share a log in Redis ([`io::redis::RedisStreams`]) are one to their clients: a broadcast reaches the clients of all, rooms
//! and questions span them, and a session is given back by any of them. Calls return before Redis has answered: an acknowledgement is sent
//! after what its handler has emitted, and [`Socket::when_saved`] tells when rooms and data are in the session record.
//!
//! ```no_run
//! use rill::io::redis::{RedisOptions, RedisStreams};
//! use rill::server::redis::Names;
//! use rill::{Limits, Options, Server, io};
//! use std::sync::Arc;
//!
//! # async fn example() -> std::io::Result<()> {
//! let redis = RedisOptions {
//!     host: "localhost".into(),
//!     port: 6379,
//!     username: String::new(),
//!     password: String::new(),
//!     names: Names { streams: "socket.io".into(), sessions: "sio:session:".into() },
//! };
//! let streams = RedisStreams::new(redis, &Limits::default(), io::clock(), None);
//! let server = Server::new(Options::default(), Arc::new(streams.clone()), io::clock(), io::random());
//! // Other servers reach this one at port 3000, for requests that a proxy has given to the wrong server.
//! tokio::spawn(streams.run(server.clone(), Some(3000)));
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
//! rill::run(listener, server, std::future::pending()).await;
//! # Ok(()) }
//! ```
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
pub mod id;
pub mod io;
pub mod limits;
pub mod proto;
pub mod server;

pub use codec::args::Args;
pub use io::{run, run_on};
pub use limits::Limits;
pub use proto::reason::Reason;
pub use server::broadcast::Broadcast;
pub use server::handler::{Ack, AckError, ConnectError, Event, Events, Handler, Next, ServerAck, ServerEvent};
pub use server::namespace::Namespace;
pub use server::socket::{EmitError, Socket};
pub use server::{Gathered, Options, Recovery, Server};
