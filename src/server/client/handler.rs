//! What the application hears: the [`Handler`] trait, and [`Events`], which makes one out of closures.
//!
//! A handler belongs to a namespace, not to a client. It runs where the client's packets are read, one call after the other in their order,
//! with no lock held. What has to wait gives the client a future: see [`Events::on_async`] and [`Socket::run`].

use crate::codec::args::Args;
use crate::proto::reason::Reason;
use crate::server::Core;
use crate::server::client::socket::Socket;
use crate::server::log::entry::{Entry, RequestId};
use crate::server::namespace::hash::Keyed;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The application's side of a namespace.
pub trait Handler: Send + Sync + 'static {
    /// A client has joined the namespace, for the first time or again ([`Socket::recovered`]).
    fn connect(&self, _socket: &Socket) {}
    /// A client's event.
    fn event(&self, _socket: &Socket, _event: Event<'_>) {}
    /// A client has left; its rooms and data can still be read.
    fn disconnect(&self, _socket: &Socket, _reason: Reason) {}
    /// Another server's event, see [`Namespace::server_side_emit`](crate::server::namespace::Namespace::server_side_emit).
    fn server_event(&self, _event: ServerEvent<'_>) {}
}

/// The handler of a namespace that has none: clients may join, nothing happens.
impl Handler for () {}

/// A client's event.
#[derive(Debug)]
pub struct Event<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments.
    pub args: Args,
    /// The way to acknowledge it, if the client asked for that.
    pub ack: Option<Ack>,
}

impl Event<'_> {
    /// The same with a name of its own, for a future.
    #[must_use]
    pub fn into_owned(self) -> OwnedEvent {
        OwnedEvent { name: self.name.into(), args: self.args, ack: self.ack }
    }
}

/// An [`Event`] that a future can keep.
#[derive(Debug)]
pub struct OwnedEvent {
    /// Its name.
    pub name: Box<str>,
    /// Its arguments.
    pub args: Args,
    /// The way to acknowledge it, if the client asked for that.
    pub ack: Option<Ack>,
}

/// The acknowledgement that a client waits for. It is sent once, because sending consumes it; dropped, it is never sent.
#[derive(Debug)]
pub struct Ack {
    socket: Socket,
    id: u64,
    /// The namespace's last entry when the client's event came: what its handler sends comes later, and before the acknowledgement.
    since: u64,
}

impl Ack {
    pub(crate) fn new(socket: Socket, id: u64, since: u64) -> Ack {
        Ack { socket, id, since }
    }

    /// Answers the client.
    pub fn send(self, args: impl Into<Args>) {
        self.socket.send_ack(self.id, &args.into(), self.since);
    }
}

/// Another server's event.
#[derive(Debug)]
pub struct ServerEvent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments.
    pub args: &'a Args,
    /// The way to answer it, if the other server asked for that.
    pub ack: Option<ServerAck>,
}

/// The answer that another server waits for. Dropped, it is never sent, and the other server counts this one as silent.
pub struct ServerAck {
    core: Arc<Core>,
    asker: Arc<str>,
    request: RequestId,
}

impl ServerAck {
    pub(crate) fn new(core: Arc<Core>, asker: Arc<str>, request: RequestId) -> ServerAck {
        ServerAck { core, asker, request }
    }

    /// Answers the other server.
    pub fn send(self, args: impl Into<Args>) {
        self.core.answer(&self.asker, Entry::ServerAnswer { request: self.request, args: args.into() });
    }
}

impl fmt::Debug for ServerAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerAck({}, {})", self.asker, self.request)
    }
}

/// Why an acknowledgement did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// Not within the time given.
    Timeout,
    /// The client left the namespace.
    Disconnected,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AckError::Timeout => "operation has timed out",
            AckError::Disconnected => "socket has been disconnected",
        })
    }
}

impl std::error::Error for AckError {}

/// Why a client may not join: it gets this as `connect_error`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectError {
    /// The error's `message`.
    pub message: String,
    /// The error's `data`, if any.
    pub data: Option<Value>,
}

impl ConnectError {
    /// An error without data.
    #[must_use]
    pub fn new(message: &str) -> ConnectError {
        ConnectError { message: message.to_owned(), data: None }
    }

    /// Adds data.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> ConnectError {
        self.data = Some(data);
        self
    }
}

/// A middleware's decision about a client, to be made now or later: who must wait moves it to a task of its own.
/// Dropped without a decision it refuses.
pub struct Next(Option<Decide>);

type Decide = Box<dyn FnOnce(Result<(), ConnectError>) + Send>;

impl Next {
    pub(crate) fn new(decide: Decide) -> Next {
        Next(Some(decide))
    }

    /// The next middleware is asked, or the client joins.
    pub fn accept(mut self) {
        self.decide(Ok(()));
    }

    /// The client gets a `connect_error`.
    pub fn refuse(mut self, error: ConnectError) {
        self.decide(Err(error));
    }

    pub(crate) fn decide_as(mut self, verdict: Result<(), ConnectError>) {
        self.decide(verdict);
    }

    fn decide(&mut self, verdict: Result<(), ConnectError>) {
        if let Some(decide) = self.0.take() {
            decide(verdict);
        }
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        self.decide(Err(ConnectError::new("not accepted")));
    }
}

/// A middleware: sees a client before it joins.
pub(crate) type Middleware = Arc<dyn Fn(&Socket, Next) + Send + Sync>;

type OnSocket = Box<dyn Fn(&Socket) + Send + Sync>;
type OnEvent = Box<dyn Fn(&Socket, Event<'_>) + Send + Sync>;
type OnDisconnect = Box<dyn Fn(&Socket, Reason) + Send + Sync>;

/// A [`Handler`] made of closures.
///
/// ```
/// use rill::Events;
///
/// let chat = Events::new()
///     .on_connect(|socket| { let _ = socket.join("lobby"); })
///     .on("say", |socket, event| { let _ = socket.to("lobby").emit("said", event.args); });
/// ```
#[derive(Default)]
pub struct Events {
    connect: Option<OnSocket>,
    events: HashMap<String, OnEvent, Keyed>,
    any: Option<OnEvent>,
    disconnect: Option<OnDisconnect>,
}

impl Events {
    /// No closures yet.
    #[must_use]
    pub fn new() -> Events {
        Events::default()
    }

    /// Called when a client has joined.
    #[must_use]
    pub fn on_connect(mut self, f: impl Fn(&Socket) + Send + Sync + 'static) -> Events {
        self.connect = Some(Box::new(f));
        self
    }

    /// Called when a client has joined; its first event is handled when the future is ready.
    #[must_use]
    pub fn on_connect_async<F: Future<Output = ()> + Send + 'static>(
        self,
        f: impl Fn(Socket) -> F + Send + Sync + 'static,
    ) -> Events {
        self.on_connect(move |socket| socket.run(f(socket.clone())))
    }

    /// Called for events of this name.
    #[must_use]
    pub fn on(mut self, name: &str, f: impl Fn(&Socket, Event<'_>) + Send + Sync + 'static) -> Events {
        self.events.insert(name.to_owned(), Box::new(f));
        self
    }

    /// Called for events of this name; the client's next event is handled when the future is ready. Other clients go on meanwhile, and so do
    /// this one's heartbeats and its answers to [`Socket::emit_with_ack`]. A client with
    /// [`waiting_events`](crate::Limits::waiting_events) waiting is read no further until half of them are done.
    ///
    /// ```
    /// # async fn find(name: String) -> Option<u64> { Some(name.len() as u64) }
    /// use rill::Events;
    ///
    /// let shop = Events::new().on_async("price", |_socket, event| async move {
    ///     let price = match event.args.string(0) {
    ///         Some(name) => find(name).await, // a database, for example
    ///         None => None,
    ///     };
    ///     if let Some(ack) = event.ack {
    ///         ack.send(price.map_or(serde_json::Value::Null, Into::into));
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn on_async<F: Future<Output = ()> + Send + 'static>(
        self,
        name: &str,
        f: impl Fn(Socket, OwnedEvent) -> F + Send + Sync + 'static,
    ) -> Events {
        self.on(name, move |socket, event| socket.run(f(socket.clone(), event.into_owned())))
    }

    /// Called for events that have no closure of their own.
    #[must_use]
    pub fn on_any(mut self, f: impl Fn(&Socket, Event<'_>) + Send + Sync + 'static) -> Events {
        self.any = Some(Box::new(f));
        self
    }

    /// Called when a client has left, and all its events have been handled.
    #[must_use]
    pub fn on_disconnect_async<F: Future<Output = ()> + Send + 'static>(
        self,
        f: impl Fn(Socket, Reason) -> F + Send + Sync + 'static,
    ) -> Events {
        self.on_disconnect(move |socket, reason| socket.run(f(socket.clone(), reason)))
    }

    /// Called when a client has left.
    #[must_use]
    pub fn on_disconnect(mut self, f: impl Fn(&Socket, Reason) + Send + Sync + 'static) -> Events {
        self.disconnect = Some(Box::new(f));
        self
    }
}

impl Handler for Events {
    fn connect(&self, socket: &Socket) {
        if let Some(f) = &self.connect {
            f(socket);
        }
    }

    fn event(&self, socket: &Socket, event: Event<'_>) {
        if let Some(f) = self.events.get(event.name).or(self.any.as_ref()) {
            f(socket, event);
        }
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        if let Some(f) = &self.disconnect {
            f(socket, reason);
        }
    }
}
