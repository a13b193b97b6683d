//! A handler made of closures.
//!
//! As many as one likes for each event: they are called in the order in which they were added, as listeners of the official server are.

use crate::codec::args::Args;
use crate::proto::reason::Reason;
use crate::server::client::handler::{Event, Handler, OwnedEvent, ServerEvent};
use crate::server::client::socket::Socket;
use crate::server::namespace::hash::Keyed;
use std::collections::HashMap;

type OnSocket = Box<dyn Fn(&Socket) + Send + Sync>;
type OnEvent = Box<dyn Fn(&Socket, Event<'_>) + Send + Sync>;
type OnAny = Box<dyn Fn(&Socket, &Event<'_>) + Send + Sync>;
type Before = Box<dyn Fn(&Socket, &mut Event<'_>) -> bool + Send + Sync>;
type OnOutgoing = Box<dyn Fn(&Socket, &str, &Args) + Send + Sync>;
type OnDisconnect = Box<dyn Fn(&Socket, Reason) + Send + Sync>;
type OnServerEvent = Box<dyn Fn(ServerEvent<'_>) + Send + Sync>;

/// A [`Handler`] made of closures.
///
/// ```
/// use rill::Events;
///
/// let chat = Events::new()
///     .on_connect(|socket| { let _ = socket.join("lobby"); })
///     .on("say", |socket, event| { let _ = socket.to("lobby").emit("said", event.args); });
/// ```
///
/// An event goes to all closures of [`on_any`](Events::on_any), then to those of [`before`](Events::before), which may stop it, then to those of its
/// name; if there are none, to those of [`fallback`](Events::fallback).
#[derive(Default)]
pub struct Events {
    connect: Vec<OnSocket>,
    any: Vec<OnAny>,
    before: Vec<Before>,
    events: HashMap<String, Vec<OnEvent>, Keyed>,
    fallback: Vec<OnEvent>,
    outgoing: Vec<OnOutgoing>,
    disconnect: Vec<OnDisconnect>,
    server: HashMap<String, Vec<OnServerEvent>, Keyed>,
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
        self.connect.push(Box::new(f));
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

    /// Called for events of this name. Of several closures the first that acknowledges the event answers it.
    #[must_use]
    pub fn on(mut self, name: &str, f: impl Fn(&Socket, Event<'_>) + Send + Sync + 'static) -> Events {
        self.events.entry(name.to_owned()).or_default().push(Box::new(f));
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
    ///         ack.send(price);
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

    /// Sees every event, before the closures of its name.
    #[must_use]
    pub fn on_any(mut self, f: impl Fn(&Socket, &Event<'_>) + Send + Sync + 'static) -> Events {
        self.any.push(Box::new(f));
        self
    }

    /// A middleware for events: sees every event, may change it, and says whether it goes on. One that it stops it may answer itself, by taking
    /// the event's `ack`. What it has to know of each client is best kept in [`Socket::extensions`].
    #[must_use]
    pub fn before(mut self, f: impl Fn(&Socket, &mut Event<'_>) -> bool + Send + Sync + 'static) -> Events {
        self.before.push(Box::new(f));
        self
    }

    /// Called for events that have no closure of their own.
    #[must_use]
    pub fn fallback(mut self, f: impl Fn(&Socket, Event<'_>) + Send + Sync + 'static) -> Events {
        self.fallback.push(Box::new(f));
        self
    }

    /// Hears of every event that goes to a client, one call for each receiver; see [`Handler::outgoing`].
    #[must_use]
    pub fn on_any_outgoing(mut self, f: impl Fn(&Socket, &str, &Args) + Send + Sync + 'static) -> Events {
        self.outgoing.push(Box::new(f));
        self
    }

    /// Called when a client has left; its rooms and data can still be read.
    #[must_use]
    pub fn on_disconnect(mut self, f: impl Fn(&Socket, Reason) + Send + Sync + 'static) -> Events {
        self.disconnect.push(Box::new(f));
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

    /// Called for another server's events of this name, see [`Namespace::server_side_emit`](crate::Namespace::server_side_emit).
    #[must_use]
    pub fn on_server_event(mut self, name: &str, f: impl Fn(ServerEvent<'_>) + Send + Sync + 'static) -> Events {
        self.server.entry(name.to_owned()).or_default().push(Box::new(f));
        self
    }
}

/// Calls all of them; the last gets the event itself, the others copies.
#[cold]
fn call_several(closures: &[OnEvent], socket: &Socket, mut event: Event<'_>) {
    if let Some((last, others)) = closures.split_last() {
        others.iter().for_each(|f| f(socket, event.share()));
        last(socket, event);
    }
}

impl Events {
    fn call(&self, socket: &Socket, event: Event<'_>) {
        match &self.events.get(event.name).unwrap_or(&self.fallback)[..] {
            [only] => only(socket, event),
            several => call_several(several, socket, event),
        }
    }

    #[cold]
    fn call_listened(&self, socket: &Socket, mut event: Event<'_>) {
        self.any.iter().for_each(|f| f(socket, &event));
        if self.before.iter().all(|f| f(socket, &mut event)) {
            self.call(socket, event);
        }
    }
}

impl Handler for Events {
    fn connect(&self, socket: &Socket) {
        self.connect.iter().for_each(|f| f(socket));
    }

    fn event(&self, socket: &Socket, event: Event<'_>) {
        match self.any.is_empty() && self.before.is_empty() {
            true => self.call(socket, event),
            false => self.call_listened(socket, event),
        }
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.disconnect.iter().for_each(|f| f(socket, reason));
    }

    fn server_event(&self, mut event: ServerEvent<'_>) {
        if let Some((last, others)) = self.server.get(event.name).and_then(|closures| closures.split_last()) {
            others.iter().for_each(|f| f(event.share()));
            last(event);
        }
    }

    fn outgoing(&self, socket: &Socket, name: &str, args: &Args) {
        self.outgoing.iter().for_each(|f| f(socket, name, args));
    }

    fn hears_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }
}
