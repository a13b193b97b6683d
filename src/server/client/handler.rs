//! What the application hears: the [`Handler`] trait; [`Events`](crate::Events) makes one out of closures.
//!
//! A handler belongs to a namespace, not to a client. It runs where the client's packets are read, one call after the other in their order,
//! with no lock held. What has to wait gives the client a future: see [`Events::on_async`](crate::Events::on_async) and [`Socket::run`].

use crate::codec::args::Args;
use crate::proto::reason::Reason;
use crate::server::Core;
use crate::server::client::socket::{EmitError, Socket};
use crate::server::log::entry::{Entry, RequestId};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// An event goes to a client; only where [`hears_outgoing`](Handler::hears_outgoing) says so. Events that the client missed and gets when it comes
    /// back have been told when they were sent.
    fn outgoing(&self, _socket: &Socket, _name: &str, _args: &Args) {}
    /// Whether this handler wants to hear of what is sent, which costs a call for each receiver.
    fn hears_outgoing(&self) -> bool {
        false
    }
}

/// The handler of a namespace that has none: clients may join, nothing happens.
impl Handler for () {}

/// One handler for several namespaces.
impl<T: Handler + ?Sized> Handler for Arc<T> {
    fn connect(&self, socket: &Socket) {
        (**self).connect(socket);
    }

    fn event(&self, socket: &Socket, event: Event<'_>) {
        (**self).event(socket, event);
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        (**self).disconnect(socket, reason);
    }

    fn server_event(&self, event: ServerEvent<'_>) {
        (**self).server_event(event);
    }

    fn outgoing(&self, socket: &Socket, name: &str, args: &Args) {
        (**self).outgoing(socket, name, args);
    }

    fn hears_outgoing(&self) -> bool {
        (**self).hears_outgoing()
    }
}

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

impl<'a> Event<'a> {
    /// The same for one more handler. The acknowledgement is sent by who is first.
    pub(crate) fn share(&mut self) -> Event<'a> {
        Event { name: self.name, args: self.args.clone(), ack: self.ack.as_mut().map(Ack::share) }
    }

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
    /// Where several handlers have it: whether one of them has answered.
    sent: Option<Arc<AtomicBool>>,
}

impl Ack {
    pub(crate) fn new(socket: Socket, id: u64, since: u64) -> Ack {
        Ack { socket, id, since, sent: None }
    }

    fn share(&mut self) -> Ack {
        let sent = Some(self.sent.get_or_insert_default().clone());
        Ack { socket: self.socket.clone(), id: self.id, since: self.since, sent }
    }

    /// Answers the client. What has no JSON form is answered as `null`.
    pub fn send(self, args: impl Into<Args>) {
        if is_first(&self.sent) {
            self.socket.send_ack(self.id, &args.into(), self.since);
        }
    }
}

fn is_first(sent: &Option<Arc<AtomicBool>>) -> bool {
    sent.as_ref().is_none_or(|sent| !sent.swap(true, Ordering::AcqRel))
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
    sent: Option<Arc<AtomicBool>>,
}

impl ServerEvent<'_> {
    /// The same for one more handler, as with [`Event::share`].
    pub(crate) fn share(&mut self) -> ServerEvent<'_> {
        ServerEvent { name: self.name, args: self.args, ack: self.ack.as_mut().map(ServerAck::share) }
    }
}

impl ServerAck {
    pub(crate) fn new(core: Arc<Core>, asker: Arc<str>, request: RequestId) -> ServerAck {
        ServerAck { core, asker, request, sent: None }
    }

    fn share(&mut self) -> ServerAck {
        let sent = Some(self.sent.get_or_insert_default().clone());
        ServerAck { core: self.core.clone(), asker: self.asker.clone(), request: self.request, sent }
    }

    /// Answers the other server.
    pub fn send(self, args: impl Into<Args>) {
        if !is_first(&self.sent) {
            return;
        }
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
    /// The question could not be sent; only [`Socket::ask`] says so here.
    NotSent(EmitError),
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AckError::Timeout => f.write_str("operation has timed out"),
            AckError::Disconnected => f.write_str("socket has been disconnected"),
            AckError::NotSent(error) => error.fmt(f),
        }
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
